//! Custom kinds: what a CustomResourceDefinition adds to the table, and what happens when it goes.

mod names;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::deletion::DeleteOptions;
use crate::resource::{Endpoint, Resource, resource_name};
use crate::status::Status;
use crate::value;
use names::{accepted_names, claim};

/// The stored kind of definitions themselves.
pub const RESOURCE: &str = "customresourcedefinitions.apiextensions.k8s.io";
/// Holds a definition until its objects are gone.
pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// The condition of a definition that is going.
const TERMINATING: &str = "Terminating";

/// A column of `kubectl get`.
#[derive(Clone, Debug)]
pub struct Column {
    /// Heading.
    pub name: String,
    /// string, integer, number, boolean or date.
    pub kind: String,
    /// OpenAPI format.
    pub format: String,
    /// Explanation.
    pub description: String,
    /// Shown with `-o wide` only when above 0.
    pub priority: i64,
    /// Where the cell comes from.
    pub path: String,
}

/// One version of a custom kind.
#[derive(Debug)]
pub struct Version {
    /// `v1alpha1`
    pub name: String,
    /// Whether it answers requests.
    pub served: bool,
    /// `schema.openAPIV3Schema`, as written.
    pub schema: Value,
    /// The same, read for use.
    pub structural: Option<crate::hooks::Structural>,
    /// Columns of `kubectl get`.
    pub columns: Vec<Column>,
    /// Where /scale finds replicas, status replicas and the selector.
    pub scale: Option<ScalePaths>,
    /// Fields that field selectors may name, as JSON paths.
    pub selectable: Vec<String>,
}

/// JSON paths of the scale subresource.
#[derive(Clone, Debug)]
pub struct ScalePaths {
    /// Wished-for replicas.
    pub spec: String,
    /// Present replicas.
    pub status: String,
    /// The label selector as text; "" where there is none.
    pub selector: String,
}

/// The definition behind a custom kind.
#[derive(Debug)]
pub struct Custom {
    /// Name of the CustomResourceDefinition.
    pub name: String,
    /// The definition's spec, as written.
    pub spec: Value,
    /// The names that were accepted.
    pub names: Value,
    /// Its versions, in the order of the definition.
    pub versions: Vec<Version>,
    /// Objects stored up to this version of the store may have an earlier shape.
    pub since: u64,
}

impl Custom {
    /// The version of that name.
    pub fn version(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|v| v.name == name)
    }
}

/// Rows and endpoints that a definition stands for; `since` as in [`Custom`].
fn read(crd: &Value, since: u64) -> Option<(Arc<Resource>, Vec<Endpoint>)> {
    let spec = crd.get("spec")?;
    let group = value::text(spec, &["group"]).to_owned();
    let names = accepted_names(crd).unwrap_or(&spec["names"]);
    let plural = value::text(names, &["plural"]).to_owned();
    let kind = value::text(names, &["kind"]).to_owned();
    if group.is_empty() || plural.is_empty() || kind.is_empty() {
        return None;
    }
    let mut storage = String::new();
    let mut subresources = Vec::new();
    let mut versions = Vec::new();
    for raw in value::list(spec, &["versions"]) {
        let name = value::text(raw, &["name"]).to_owned();
        if raw["storage"] == true {
            storage.clone_from(&name);
        }
        let scale = value::at(raw, &["subresources", "scale"]).map(|s| ScalePaths {
            spec: value::text(s, &["specReplicasPath"]).to_owned(),
            status: value::text(s, &["statusReplicasPath"]).to_owned(),
            selector: value::text(s, &["labelSelectorPath"]).to_owned(),
        });
        for (wanted, has) in [
            (
                "status",
                value::at(raw, &["subresources", "status"]).is_some(),
            ),
            ("scale", scale.is_some()),
        ] {
            if has && !subresources.iter().any(|s| s == wanted) {
                subresources.push(wanted.to_owned());
            }
        }
        let schema = value::at(raw, &["schema", "openAPIV3Schema"])
            .cloned()
            .unwrap_or(Value::Null);
        versions.push(Version {
            served: raw["served"] == true,
            structural: crate::hooks::structural(&schema),
            schema,
            columns: columns(raw),
            scale,
            selectable: value::list(raw, &["selectableFields"])
                .iter()
                .map(|f| value::text(f, &["jsonPath"]).to_owned())
                .collect(),
            name,
        });
    }
    let words = |key: &str| -> Vec<String> {
        value::strings(names, &[key])
            .into_iter()
            .map(str::to_owned)
            .collect()
    };
    let singular = value::text(names, &["singular"]);
    let list_kind = value::text(names, &["listKind"]);
    let or = |text: &str, other: String| {
        if text.is_empty() {
            other
        } else {
            text.to_owned()
        }
    };
    let served: Vec<String> = versions
        .iter()
        .filter(|v| v.served)
        .map(|v| v.name.clone())
        .collect();
    let verbs = [
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "create",
        "update",
        "watch",
    ];
    let row = Arc::new(Resource {
        name: resource_name(&plural, &group).into(),
        version: storage,
        singular: or(singular, kind.to_lowercase()),
        list_kind: or(list_kind, format!("{kind}List")),
        namespaced: value::text(spec, &["scope"]) != "Cluster",
        short_names: words("shortNames"),
        categories: words("categories"),
        verbs: verbs.iter().map(|v| (*v).to_owned()).collect(),
        subresources,
        generation: true,
        versioned: true,
        upsert: false,
        custom: Some(Arc::new(Custom {
            name: value::name(crd).to_owned(),
            spec: spec.clone(),
            names: names.clone(),
            versions,
            since,
        })),
        group: group.clone(),
        kind,
        plural,
    });
    let endpoints = served
        .into_iter()
        .map(|version| Endpoint {
            row: row.clone(),
            group: group.clone(),
            version,
        })
        .collect();
    Some((row, endpoints))
}

fn columns(version: &Value) -> Vec<Column> {
    let given = value::list(version, &["additionalPrinterColumns"]);
    if given.is_empty() {
        return vec![Column {
            name: "Age".to_owned(),
            kind: "date".to_owned(),
            format: String::new(),
            description: CREATION.to_owned(),
            priority: 0,
            path: ".metadata.creationTimestamp".to_owned(),
        }];
    }
    given
        .iter()
        .map(|c| Column {
            name: value::text(c, &["name"]).to_owned(),
            kind: value::text(c, &["type"]).to_owned(),
            format: value::text(c, &["format"]).to_owned(),
            description: match value::text(c, &["description"]) {
                "" => format!(
                    "Custom resource definition column (in JSONPath format): {}",
                    value::text(c, &["jsonPath"])
                ),
                text => text.to_owned(),
            },
            priority: value::integer(c, &["priority"]).unwrap_or(0),
            path: value::text(c, &["jsonPath"]).to_owned(),
        })
        .collect()
}

const CREATION: &str = "CreationTimestamp is a timestamp representing the server time when this \
                        object was created. It is represented in RFC3339 form and is in UTC.";

/// The row of a definition that is served; built-in kinds have no definition.
fn served(cluster: &Cluster, name: &str) -> Option<Arc<Resource>> {
    let registry = cluster.registry();
    registry.row(name).filter(|r| r.custom.is_some()).cloned()
}

/// Stops serving a kind; its watches end.
fn retire(cluster: &Cluster, name: &str) {
    if served(cluster, name).is_some() {
        cluster.change_registry(|r| r.remove(name));
        wake(cluster, name);
    }
}

/// Has the watchers of a kind look whether it is still served.
fn wake(cluster: &Cluster, name: &str) {
    cluster.with_store(|store| {
        if let Some(shelf) = store.shelves.get(name) {
            shelf.wake.wake();
        }
    });
}

/// Serves a definition that was written, or lets go of one that is going.
pub(crate) fn after_write(cluster: &Cluster, crd: Arc<Value>) -> Arc<Value> {
    let name = value::name(&crd).to_owned();
    if cluster.get(RESOURCE, "", &name).is_err() {
        retire(cluster, &name);
        reconsider(cluster, &name);
        return crd;
    }
    if value::deleting(&crd) {
        return end(cluster, crd);
    }
    // What is written here leads back here once, with nothing left to write.
    let settled = cluster.modify_status(RESOURCE, "", &name, |object| settle(cluster, object));
    let settled = settled.unwrap_or_else(|_| crd.clone());
    serve(cluster, &settled);
    if !Arc::ptr_eq(&settled, &crd) {
        reconsider(cluster, &name);
    }
    settled
}

/// Goes on with a definition that is going: the mark first, then its objects.
fn end(cluster: &Cluster, crd: Arc<Value>) -> Arc<Value> {
    let name = value::name(&crd).to_owned();
    if value::condition(&crd, TERMINATING).is_some() {
        match served(cluster, &name) {
            Some(row) => purge(cluster, &row),
            None => release(cluster, &name),
        }
        return crd;
    }
    let marked = cluster.modify_status(RESOURCE, "", &name, |object| {
        let now = value::time(cluster.now());
        value::set_condition(
            value::map_mut(object, &["status"]),
            json!({
                "type": TERMINATING, "status": "True", "reason": "InstanceDeletionInProgress",
                "message": "CustomResource deletion is in progress",
                "lastTransitionTime": now,
            }),
        );
    });
    marked.unwrap_or(crd)
}

/// Lists a definition's kind, unless it is listed like that already.
fn serve(cluster: &Cluster, crd: &Value) {
    let established = value::condition(crd, "Established").is_some_and(|c| c["status"] == "True");
    if !established {
        return;
    }
    let before = served(cluster, value::name(crd));
    // A change of the status changes nothing for those who read and watch.
    if let Some(custom) = before.as_ref().and_then(|row| row.custom.as_ref())
        && custom.spec == crd["spec"]
        && accepted_names(crd) == Some(&custom.names)
    {
        return;
    }
    let since = match before {
        Some(_) => value::resource_version(crd).parse().unwrap_or(0),
        None => 0,
    };
    let Some((row, endpoints)) = read(crd, since) else {
        return;
    };
    cluster.change_registry(|registry| {
        // Versions that are served no longer must go too.
        registry.remove(&row.name);
        for endpoint in endpoints {
            registry.add(endpoint);
        }
    });
    wake(cluster, &row.name);
    crate::bootstrap::register_local(cluster, &row.group, &row.version);
}

/// Brings a definition's status up to its spec: names, conditions and stored versions.
fn settle(cluster: &Cluster, crd: &mut Value) {
    let now = value::time(cluster.now());
    let (names, conflict) = claim(cluster, crd);
    let storage = value::list(crd, &["spec", "versions"])
        .iter()
        .find(|v| v["storage"] == true)
        .map(|v| v["name"].clone());
    let status = value::map_mut(crd, &["status"]);
    status.insert("acceptedNames".to_owned(), names);
    let stored = status.entry("storedVersions").or_insert_with(|| json!([]));
    if !stored.is_array() {
        *stored = json!([]);
    }
    if let (Some(list), Some(storage)) = (stored.as_array_mut(), storage)
        && !list.contains(&storage)
    {
        list.push(storage);
    }
    let accepted = conflict.is_none();
    let (reason, message) =
        conflict.unwrap_or_else(|| ("NoConflicts", "no conflicts found".to_owned()));
    let word = if accepted { "True" } else { "False" };
    value::set_condition(
        value::map_mut(crd, &["status"]),
        json!({
            "type": "NamesAccepted", "status": word, "reason": reason, "message": message,
            "lastTransitionTime": now,
        }),
    );
    if value::condition(crd, "Established").is_some_and(|c| c["status"] == "True") {
        return;
    }
    let (reason, message) = if accepted {
        (
            "InitialNamesAccepted",
            "the initial names have been accepted",
        )
    } else {
        ("NotAccepted", "not all names are accepted")
    };
    value::set_condition(
        value::map_mut(crd, &["status"]),
        json!({
            "type": "Established", "status": word, "reason": reason, "message": message,
            "lastTransitionTime": now,
        }),
    );
}

/// Looks again at the definitions of a group that did not get all their names.
fn reconsider(cluster: &Cluster, changed: &str) {
    let (_, group) = crate::status::split(changed);
    for crd in cluster.list(RESOURCE, None) {
        let waits = value::condition(&crd, "NamesAccepted").is_some_and(|c| c["status"] != "True");
        if waits && value::name(&crd) != changed && value::text(&crd, &["spec", "group"]) == group {
            after_write(cluster, crd);
        }
    }
}

/// Refuses new objects of a kind whose definition is going.
pub(crate) fn check_open(cluster: &Cluster, custom: &Custom) -> Result<(), Status> {
    let crd = cluster
        .get(RESOURCE, "", &custom.name)
        .map_err(|_| Status::no_such_resource())?;
    if !value::deleting(&crd) {
        return Ok(());
    }
    let mut status = Status::method_not_allowed();
    status.message =
        "create not allowed while custom resource definition is terminating".to_owned();
    let (plural, group) = crate::status::split(&custom.name);
    status.kind = plural.to_owned();
    status.group = group.to_owned();
    Err(status)
}

/// Deletes the objects of a definition that is going.
fn purge(cluster: &Cluster, row: &Arc<Resource>) {
    for object in cluster.list(&row.name, None) {
        if !value::deleting(&object) {
            // One that cannot be deleted now keeps the definition alive, as it should, and is
            // tried again with the next removal.
            let _ = cluster.delete_quietly(row, &object, &DeleteOptions::default());
        }
    }
    if cluster.list(&row.name, None).is_empty() {
        release(cluster, &row.name);
    }
}

/// Whether objects of a definition exist.
pub(crate) fn has_objects(cluster: &Cluster, crd: &Value) -> bool {
    served(cluster, value::name(crd)).is_some_and(|row| !cluster.list(&row.name, None).is_empty())
}

/// Goes on with the end of a definition after one of its objects has gone.
pub(crate) fn after_removal(cluster: &Cluster, row: &Resource) {
    let Some(custom) = &row.custom else { return };
    let going = cluster
        .get(RESOURCE, "", &custom.name)
        .is_ok_and(|crd| value::deleting(&crd));
    if let (true, Ok(row)) = (going, cluster.row(&row.name)) {
        purge(cluster, &row);
    }
}

/// Lets a deleted definition go once its last object has gone.
fn release(cluster: &Cluster, name: &str) {
    let _ = cluster.modify(RESOURCE, "", name, |object| {
        if let Some(list) = object["metadata"]["finalizers"].as_array_mut() {
            list.retain(|f| f != CLEANUP);
        }
    });
}

/// Stops serving kinds whose definition is gone; their names are free.
pub(crate) fn refresh(cluster: &Cluster) {
    let gone: Vec<Arc<str>> = cluster
        .registry()
        .rows()
        .filter(|row| {
            row.custom
                .as_ref()
                .is_some_and(|c| cluster.get(RESOURCE, "", &c.name).is_err())
        })
        .map(|row| row.name.clone())
        .collect();
    for name in &gone {
        retire(cluster, name);
        reconsider(cluster, name);
    }
}
