//! The table of kinds: names, scope, verbs and subresources of everything that is served.
//!
//! Built-in rows come from `resources.txt`; a CustomResourceDefinition adds rows
//! while the cluster runs. A row is the stored form; an endpoint is one version
//! under which it is served (HPAs have two, events have two groups).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::crd::Custom;

/// One stored kind.
#[derive(Debug)]
pub struct Resource {
    /// `pods`, `deployments.apps`: plural and group, as Kubernetes prints it.
    pub name: Arc<str>,
    /// API group, "" for core.
    pub group: String,
    /// Version in which objects are stored.
    pub version: String,
    /// Kind, e.g. `Deployment`.
    pub kind: String,
    /// Kind of a list, e.g. `DeploymentList`.
    pub list_kind: String,
    /// Plural, e.g. `deployments`.
    pub plural: String,
    /// Singular, e.g. `deployment`.
    pub singular: String,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Abbreviations.
    pub short_names: Vec<String>,
    /// Groups of kinds such as `all`.
    pub categories: Vec<String>,
    /// Verbs of the main endpoint.
    pub verbs: Vec<String>,
    /// Names of the subresources.
    pub subresources: Vec<String>,
    /// Whether the server keeps metadata.generation.
    pub generation: bool,
    /// Whether an update has to say which version it was made from.
    pub versioned: bool,
    /// Whether a PUT creates an object that is not there.
    pub upsert: bool,
    /// The definition behind a custom kind.
    pub custom: Option<Arc<Custom>>,
}

impl Resource {
    /// apiVersion of stored objects.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// Whether /status is served, so that the main endpoint leaves status alone.
    pub fn has_status(&self) -> bool {
        self.has_subresource("status")
    }

    /// Whether the named subresource is served.
    pub fn has_subresource(&self, name: &str) -> bool {
        self.subresources.iter().any(|s| s == name)
    }
}

/// `v1`, `apps/v1`
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

/// One version under which a row is served.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The stored kind behind it.
    pub row: Arc<Resource>,
    /// Group it is served under.
    pub group: String,
    /// Version it is served under.
    pub version: String,
}

impl Endpoint {
    /// apiVersion of objects read here.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// Whether the kind is still served as it was when this endpoint was looked up.
    pub(crate) fn is_current(&self, cluster: &crate::Cluster) -> bool {
        cluster
            .registry()
            .endpoint(&self.group, &self.version, &self.row.plural)
            .is_some_and(|e| Arc::ptr_eq(&e.row, &self.row))
    }

    /// Whether objects read here differ from the stored form.
    pub fn is_stored_form(&self) -> bool {
        self.group == self.row.group && self.version == self.row.version
    }

    /// `events.events.k8s.io`: how errors of this endpoint name the resource.
    pub fn name(&self) -> String {
        if self.group.is_empty() {
            self.row.plural.clone()
        } else {
            format!("{}.{}", self.row.plural, self.group)
        }
    }
}

const ALL_VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// Everything that is served now.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    rows: BTreeMap<Arc<str>, Arc<Resource>>,
    /// In order of discovery.
    endpoints: Vec<Endpoint>,
    index: BTreeMap<(String, String, String), usize>,
}

impl Registry {
    /// The kinds every cluster has.
    pub fn builtin() -> Self {
        let mut registry = Self::default();
        for line in include_str!("resources.txt")
            .lines()
            .filter(|l| !l.starts_with('#'))
        {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [
                group,
                version,
                plural,
                kind,
                singular,
                scope,
                short,
                categories,
                verbs,
                subs,
                writes,
            ] = fields.as_slice()
            else {
                continue;
            };
            let group = if *group == "core" { "" } else { group };
            let (storage_group, storage_version) = match (group, *version, *plural) {
                ("events.k8s.io", _, _) => ("", "v1"),
                ("autoscaling", "v1", _) => ("autoscaling", "v2"),
                _ => (group, *version),
            };
            let name = resource_name(plural, storage_group);
            let words = |list: &str| -> Vec<String> {
                if list == "-" {
                    vec![]
                } else {
                    list.split(',').map(str::to_owned).collect()
                }
            };
            let row = registry
                .rows
                .get(name.as_str())
                .cloned()
                .unwrap_or_else(|| {
                    Arc::new(Resource {
                        group: storage_group.to_owned(),
                        version: storage_version.to_owned(),
                        kind: (*kind).to_owned(),
                        list_kind: format!("{kind}List"),
                        plural: (*plural).to_owned(),
                        singular: (*singular).to_owned(),
                        namespaced: *scope == "N",
                        short_names: words(short),
                        categories: words(categories),
                        verbs: if *verbs == "*" {
                            ALL_VERBS.iter().map(|v| (*v).to_owned()).collect()
                        } else {
                            words(verbs)
                        },
                        subresources: words(subs),
                        generation: words(writes).contains(&"generation".to_owned()),
                        versioned: words(writes).contains(&"versioned".to_owned()),
                        upsert: words(writes).contains(&"upsert".to_owned()),
                        custom: None,
                        name: name.into(),
                    })
                });
            registry.add(Endpoint {
                row,
                group: group.to_owned(),
                version: (*version).to_owned(),
            });
        }
        registry
    }

    /// Serves one more endpoint, replacing one of the same address.
    pub fn add(&mut self, endpoint: Endpoint) {
        let address = (
            endpoint.group.clone(),
            endpoint.version.clone(),
            endpoint.row.plural.clone(),
        );
        self.rows
            .insert(endpoint.row.name.clone(), endpoint.row.clone());
        match self.index.get(&address) {
            Some(&at) => self.endpoints[at] = endpoint,
            None => {
                self.index.insert(address, self.endpoints.len());
                self.endpoints.push(endpoint);
            }
        }
    }

    /// Stops serving a stored kind altogether.
    pub fn remove(&mut self, name: &str) {
        self.rows.remove(name);
        self.endpoints.retain(|e| &*e.row.name != name);
        self.index = self
            .endpoints
            .iter()
            .enumerate()
            .map(|(i, e)| {
                (
                    (e.group.clone(), e.version.clone(), e.row.plural.clone()),
                    i,
                )
            })
            .collect();
    }

    /// The stored kind called `pods`, `deployments.apps`.
    pub fn row(&self, name: &str) -> Option<&Arc<Resource>> {
        self.rows.get(name).or_else(|| {
            // The other group under which events are known.
            if name == "events.events.k8s.io" {
                self.rows.get("events")
            } else {
                None
            }
        })
    }

    /// The endpoint at /apis/GROUP/VERSION/PLURAL.
    pub fn endpoint(&self, group: &str, version: &str, plural: &str) -> Option<&Endpoint> {
        let address = (group.to_owned(), version.to_owned(), plural.to_owned());
        self.index.get(&address).map(|&i| &self.endpoints[i])
    }

    /// The endpoint that serves a kind.
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Endpoint> {
        self.endpoints
            .iter()
            .find(|e| e.group == group && e.version == version && e.row.kind == kind)
    }

    /// All endpoints in order of discovery.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// All stored kinds.
    pub fn rows(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.rows.values()
    }
}

/// `pods`, `deployments.apps`
pub fn resource_name(plural: &str, group: &str) -> String {
    if group.is_empty() {
        plural.to_owned()
    } else {
        format!("{plural}.{group}")
    }
}
