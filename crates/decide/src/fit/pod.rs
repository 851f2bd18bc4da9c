//! What the scheduler knows about one pod.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::selector::Selector;
use serde_json::Value;

use super::affinity::{NodeTerm, Preferred, node_terms, preferred_terms};
use super::labels::{selector, with_own};
use super::resources::{Resources, array, of_pod};

/// A pod's identity inside the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodKey {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl std::fmt::Display for PodKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A toleration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toleration {
    key: String,
    exists: bool,
    value: String,
    effect: String,
}

/// A taint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value, often empty.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

impl Taint {
    /// Reads `spec.taints`.
    pub fn list(spec: &Value) -> Vec<Self> {
        array(spec, "taints")
            .map(|t| Self {
                key: text(t, "key"),
                value: text(t, "value"),
                effect: text(t, "effect"),
            })
            .collect()
    }

    /// Whether pods without a toleration are kept off.
    pub fn is_hard(&self) -> bool {
        matches!(self.effect.as_str(), "NoSchedule" | "NoExecute")
    }
}

impl Toleration {
    fn parse(value: &Value) -> Self {
        Self {
            key: text(value, "key"),
            exists: value["operator"] == "Exists",
            value: text(value, "value"),
            effect: text(value, "effect"),
        }
    }

    /// Whether this toleration covers `taint`.
    pub fn covers(&self, taint: &Taint) -> bool {
        (self.effect.is_empty() || self.effect == taint.effect)
            && (self.key == taint.key || (self.key.is_empty() && self.exists))
            && (self.exists || self.value == taint.value)
    }
}

/// A host port that a container wants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    protocol: String,
    address: String,
    port: i64,
}

impl HostPort {
    /// Whether both cannot be had on one node.
    pub fn clashes(&self, other: &Self) -> bool {
        let everywhere = |a: &str| a.is_empty() || a == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.address == other.address
                || everywhere(&self.address)
                || everywhere(&other.address))
    }
}

/// A topology spread constraint.
#[derive(Clone, Debug)]
pub struct Spread {
    /// Label whose values are the domains.
    pub topology_key: String,
    /// Largest allowed difference.
    pub max_skew: i64,
    /// Domains that must exist before the smallest counts.
    pub min_domains: i64,
    /// Which pods are counted.
    pub selector: Selector,
    /// Whether nodes that the pod's own affinity excludes are left out.
    pub honor_affinity: bool,
    /// Whether nodes with taints that the pod does not tolerate are left out.
    pub honor_taints: bool,
}

/// A required affinity or anti-affinity to other pods.
#[derive(Clone, Debug)]
pub struct PodTerm {
    /// Which pods are meant.
    pub selector: Selector,
    /// Namespaces they are looked for in; `None` is every namespace.
    pub namespaces: Option<BTreeSet<String>>,
    /// Label whose value makes two nodes one place.
    pub topology_key: String,
    /// Weight of a preferred term, 0 for a required one.
    pub weight: i64,
}

impl PodTerm {
    /// Whether `pod` is one of those meant.
    pub fn meant(&self, pod: &PodInfo) -> bool {
        self.namespaces
            .as_ref()
            .is_none_or(|n| n.contains(&*pod.key.namespace))
            && self.selector.matches(&pod.labels)
    }
}

/// A pod as the scheduler sees it.
#[derive(Clone, Debug)]
pub struct PodInfo {
    /// Namespace and name.
    pub key: PodKey,
    /// Unique id, empty in tests.
    pub uid: String,
    /// Node that it is assigned to.
    pub node: Option<Arc<str>>,
    /// Node that a preemption has picked for it.
    pub nominated: Option<Arc<str>>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// What it asks for.
    pub requests: Resources,
    /// CPU and memory that count when nodes are compared.
    pub compared: (i64, i64),
    /// `spec.nodeSelector`.
    pub node_selector: BTreeMap<String, String>,
    /// Required node affinity: any of the terms; `None` when there is none.
    pub required: Option<Vec<NodeTerm>>,
    /// Preferred node affinity.
    pub preferred: Vec<Preferred>,
    /// Tolerations.
    pub tolerations: Vec<Toleration>,
    /// Priority.
    pub priority: i64,
    /// `preemptionPolicy: Never`.
    pub never_preempts: bool,
    /// Hard topology spread constraints.
    pub spread: Vec<Spread>,
    /// Soft topology spread constraints.
    pub soft_spread: Vec<Spread>,
    /// Required affinity to pods.
    pub affinity: Vec<PodTerm>,
    /// Required anti-affinity to pods.
    pub anti_affinity: Vec<PodTerm>,
    /// Preferred affinity (positive weights) and anti-affinity (negative).
    pub preferred_pods: Vec<PodTerm>,
    /// Host ports.
    pub ports: Vec<HostPort>,
    /// Names of the PersistentVolumeClaims that it mounts.
    pub claims: Vec<String>,
    /// Kind and uid of the controller that owns it.
    pub controller: Option<(String, String)>,
    /// Succeeded or Failed: holds no resources any more.
    pub finished: bool,
    /// Marked for deletion.
    pub terminating: bool,
    /// Annotations, which the node planner reads.
    pub annotations: BTreeMap<String, String>,
    /// Names of its volumes that stay behind on the node's disk: hostPath, and
    /// emptyDir other than in memory.
    pub local_volumes: Vec<String>,
    /// `status.startTime` or the creation time, as text that sorts by time.
    pub started: String,
    /// Everything that decides where it may go, as one text: pods with equal
    /// texts have equal chances. The node that it has got is left out.
    pub class: Arc<str>,
}

impl PodInfo {
    /// Reads a Pod object.
    pub fn parse(pod: &Value) -> Self {
        let (meta, spec) = (&pod["metadata"], &pod["spec"]);
        let namespace = match meta["namespace"].as_str() {
            Some(ns) if !ns.is_empty() => ns,
            _ => "default",
        };
        let labels = strings(&meta["labels"]);
        let (requests, compared) = of_pod(spec);
        let affinity = &spec["affinity"];
        let pod_terms = |path: &str| {
            affinity
                .pointer(path)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .map(|t| pod_term(t, namespace, &labels, 0))
                .collect::<Vec<_>>()
        };
        let (hard, soft): (Vec<_>, Vec<_>) = array(spec, "topologySpreadConstraints")
            .partition(|c| c["whenUnsatisfiable"] != "ScheduleAnyway");
        let mut preferred_pods = weighted(affinity, "podAffinity", namespace, &labels, 1);
        preferred_pods.extend(weighted(
            affinity,
            "podAntiAffinity",
            namespace,
            &labels,
            -1,
        ));
        Self {
            key: PodKey {
                namespace: Arc::from(namespace),
                name: Arc::from(meta["name"].as_str().unwrap_or("")),
            },
            uid: text(meta, "uid"),
            node: optional(spec, "nodeName"),
            nominated: optional(&pod["status"], "nominatedNodeName"),
            requests,
            compared,
            node_selector: strings(&spec["nodeSelector"]),
            required: node_terms(affinity),
            preferred: preferred_terms(affinity),
            tolerations: array(spec, "tolerations").map(Toleration::parse).collect(),
            priority: spec["priority"].as_i64().unwrap_or(0),
            never_preempts: spec["preemptionPolicy"] == "Never",
            spread: hard.into_iter().map(|c| spread(c, &labels)).collect(),
            soft_spread: soft.into_iter().map(|c| spread(c, &labels)).collect(),
            affinity: pod_terms("/podAffinity/requiredDuringSchedulingIgnoredDuringExecution"),
            anti_affinity: pod_terms(
                "/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution",
            ),
            preferred_pods,
            ports: ports(spec),
            claims: array(spec, "volumes")
                .filter_map(|v| v.pointer("/persistentVolumeClaim/claimName"))
                .filter_map(|n| n.as_str().map(str::to_owned))
                .collect(),
            controller: array(meta, "ownerReferences")
                .find(|r| r["controller"] == true)
                .map(|r| (text(r, "kind"), text(r, "uid"))),
            finished: matches!(
                pod["status"]["phase"].as_str(),
                Some("Succeeded" | "Failed")
            ),
            terminating: !meta["deletionTimestamp"].is_null(),
            annotations: strings(&meta["annotations"]),
            local_volumes: array(spec, "volumes")
                .filter(|v| {
                    let memory = v["emptyDir"]["medium"] == "Memory";
                    v["hostPath"].is_object() || (v["emptyDir"].is_object() && !memory)
                })
                .map(|v| text(v, "name"))
                .collect(),
            started: pod["status"]["startTime"]
                .as_str()
                .or_else(|| meta["creationTimestamp"].as_str())
                .unwrap_or("")
                .to_owned(),
            class: class(namespace, &meta["labels"], spec),
            labels,
        }
    }

    /// Whether every hard taint among `taints` is tolerated.
    pub fn tolerates(&self, taints: &[Taint]) -> bool {
        taints
            .iter()
            .filter(|t| t.is_hard())
            .all(|t| self.covers(t))
    }

    /// Whether some toleration covers `taint`.
    pub fn covers(&self, taint: &Taint) -> bool {
        self.tolerations.iter().any(|t| t.covers(taint))
    }

    /// Whether a DaemonSet owns it.
    pub fn is_daemon(&self) -> bool {
        self.controller
            .as_ref()
            .is_some_and(|(kind, _)| kind == "DaemonSet")
    }

    /// Whether where it may go depends on other pods, not on its node alone.
    pub fn looks_at_others(&self) -> bool {
        !self.spread.is_empty() || !self.affinity.is_empty() || !self.anti_affinity.is_empty()
    }
}

/// The parts of a pod that scheduling reads, as one text.
fn class(namespace: &str, labels: &Value, spec: &Value) -> Arc<str> {
    let containers = |field: &str| {
        array(spec, field)
            .map(|c| {
                let port =
                    |p: &Value| format!("{}/{}/{}", p["hostIP"], p["hostPort"], p["protocol"]);
                let hosts: Vec<_> = array(c, "ports")
                    .filter(|p| p["hostPort"].is_number())
                    .map(port)
                    .collect();
                format!("{}{}{hosts:?}", c["resources"], c["restartPolicy"])
            })
            .collect::<Vec<_>>()
            .join(",")
    };
    let claims: Vec<_> = array(spec, "volumes")
        .filter_map(|v| v.get("persistentVolumeClaim"))
        .collect();
    let parts = [
        "nodeSelector",
        "affinity",
        "tolerations",
        "priority",
        "preemptionPolicy",
        "topologySpreadConstraints",
        "overhead",
        "resources",
    ]
    .map(|field| spec[field].to_string())
    .join("|");
    let text = format!(
        "{namespace}|{labels}|{}|{}|{parts}|{claims:?}",
        containers("containers"),
        containers("initContainers")
    );
    Arc::from(text)
}

fn ports(spec: &Value) -> Vec<HostPort> {
    array(spec, "containers")
        .flat_map(|c| array(c, "ports"))
        .filter_map(|p| {
            let port = p["hostPort"].as_i64().filter(|p| *p > 0)?;
            Some(HostPort {
                protocol: p["protocol"].as_str().unwrap_or("TCP").to_owned(),
                address: text(p, "hostIP"),
                port,
            })
        })
        .collect()
}

fn spread(constraint: &Value, own: &BTreeMap<String, String>) -> Spread {
    let selector = with_own(
        selector(&constraint["labelSelector"]),
        &constraint["matchLabelKeys"],
        own,
    );
    Spread {
        topology_key: text(constraint, "topologyKey"),
        max_skew: constraint["maxSkew"].as_i64().unwrap_or(1),
        min_domains: constraint["minDomains"].as_i64().unwrap_or(1),
        selector,
        honor_affinity: constraint["nodeAffinityPolicy"] != "Ignore",
        honor_taints: constraint["nodeTaintsPolicy"] == "Honor",
    }
}

fn weighted(
    affinity: &Value,
    kind: &str,
    namespace: &str,
    labels: &BTreeMap<String, String>,
    sign: i64,
) -> Vec<PodTerm> {
    array(
        &affinity[kind],
        "preferredDuringSchedulingIgnoredDuringExecution",
    )
    .map(|p| {
        let weight = p["weight"].as_i64().unwrap_or(1);
        pod_term(&p["podAffinityTerm"], namespace, labels, sign * weight)
    })
    .collect()
}

fn pod_term(term: &Value, namespace: &str, own: &BTreeMap<String, String>, weight: i64) -> PodTerm {
    let selector = with_own(
        selector(&term["labelSelector"]),
        &term["matchLabelKeys"],
        own,
    );
    let mut names: BTreeSet<String> = array(term, "namespaces")
        .filter_map(|n| n.as_str().map(str::to_owned))
        .collect();
    let by_label = &term["namespaceSelector"];
    let namespaces = if by_label.is_object() {
        // Only the label that every namespace carries can be decided here;
        // an empty selector means every namespace.
        match by_label.pointer("/matchLabels/kubernetes.io~1metadata.name") {
            Some(name) => {
                names.extend(name.as_str().map(str::to_owned));
                Some(names)
            }
            None => None,
        }
    } else {
        if names.is_empty() {
            names.insert(namespace.to_owned());
        }
        Some(names)
    };
    PodTerm {
        selector,
        namespaces,
        topology_key: text(term, "topologyKey"),
        weight,
    }
}

/// A string field, empty when absent.
pub(super) fn text(of: &Value, field: &str) -> String {
    of[field].as_str().unwrap_or("").to_owned()
}

fn optional(of: &Value, field: &str) -> Option<Arc<str>> {
    of[field].as_str().filter(|s| !s.is_empty()).map(Arc::from)
}

/// A map of strings, such as labels.
pub(super) fn strings(map: &Value) -> BTreeMap<String, String> {
    map.as_object()
        .into_iter()
        .flatten()
        .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
        .collect()
}
