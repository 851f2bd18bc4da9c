//! What a pool says to a pod: the scheduler's filters on the node that the pool
//! would make.

use std::sync::Arc;

use api::pool::{NodeName, Pool};
use decide::fit::{Check, NodeInfo, PodInfo, PodKey, Reason, Snapshot, is_gpu};
use serde_json::{Map, Value};

use super::devices;
use crate::model::{Model, Workload};

/// More pods than a kubelet takes.
const PODS_PER_NODE: usize = 256;
/// Labels of a template whose value is made up, or may differ on real nodes.
const UNCERTAIN: &[&str] = &[
    "kubernetes.io/hostname",
    "kubernetes.azure.com/cluster",
    "kubernetes.azure.com/mode",
    "kubernetes.azure.com/nodepool-type",
    "kubernetes.azure.com/node-image-version",
    "kubernetes.azure.com/os-sku",
    "kubernetes.azure.com/role",
    "kubernetes.azure.com/storageprofile",
    "kubernetes.azure.com/storagetier",
    "kubernetes.azure.com/sku-cpu",
    "kubernetes.azure.com/sku-memory",
    "nvidia.com/gpu.product",
    "nvidia.com/gpu.memory",
    "nvidia.com/gpu.count",
];

/// The node that a pool would make, without what is made up.
pub(super) fn template(pool: &Pool) -> Value {
    let name = format!("{}-new", pool.name);
    let mut node = pool.node(&NodeName {
        name: &name,
        resource_group: "",
        region: "",
    });
    if let Some(labels) = node["metadata"]["labels"].as_object_mut() {
        labels.retain(|key, _| {
            let own = pool.labels.contains_key(key);
            let guessed = UNCERTAIN.contains(&key.as_str())
                || key.contains("topology.kubernetes.io/")
                || key.contains("failure-domain.")
                || (pool.sku.is_empty() && key.ends_with("/instance-type"));
            own || !guessed
        });
    }
    node
}

/// The pod without the labels that the template does not know: real nodes may
/// carry them.
fn on_known_labels(workload: &Workload<'_>, labels: &Value) -> PodInfo {
    let mut pod = workload.pod_json.clone();
    let known = |key: &str| labels.get(key).is_some();
    if let Some(selector) = pod["spec"]["nodeSelector"].as_object_mut() {
        let kept: Map<String, Value> = std::mem::take(selector)
            .into_iter()
            .filter(|(key, _)| known(key))
            .collect();
        *selector = kept;
    }
    const TERMS: &str =
        "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution";
    let mut any = false;
    let terms = pod
        .pointer_mut(&format!("{TERMS}/nodeSelectorTerms"))
        .and_then(Value::as_array_mut);
    for term in terms.into_iter().flatten() {
        let list = term
            .get_mut("matchExpressions")
            .and_then(Value::as_array_mut);
        if let Some(list) = list {
            list.retain(|e| {
                let absent = matches!(e["operator"].as_str(), Some("NotIn" | "DoesNotExist"));
                absent || known(e["key"].as_str().unwrap_or(""))
            });
            any |= list.is_empty() && term["matchFields"].is_null();
        }
    }
    if any && let Some(affinity) = pod.pointer_mut("/spec/affinity/nodeAffinity") {
        affinity["requiredDuringSchedulingIgnoredDuringExecution"] = Value::Null;
    }
    PodInfo::parse(&pod)
}

/// What a pool says to a pod.
#[derive(Clone)]
pub(in crate::rules) struct Answer<'p> {
    /// The pool.
    pub(super) pool: &'p Pool,
    /// Why a node of it takes no such pod.
    pub(super) refused: Option<Vec<Reason>>,
    /// How many such pods an empty node of it takes.
    pub(super) per_node: usize,
}

impl Answer<'_> {
    /// GPUs of the nodes are not known: neither a size nor a number was given.
    pub(super) fn unknown_gpus(&self) -> bool {
        self.pool.sku.is_empty()
            && self.pool.gpus == 0
            && self.pool.min == 0
            && self.pool.max > 0
            && self.refused.as_ref().is_some_and(|reasons| {
                reasons
                    .iter()
                    .all(|r| matches!(r, Reason::Insufficient(name) if is_gpu(name)))
            })
    }
}

/// What every pool says to every workload, by the workload's index.
pub(in crate::rules) fn ask_all<'a>(model: &Model<'_>, pools: &'a [Pool]) -> Vec<Vec<Answer<'a>>> {
    let nodes: Vec<(&Pool, Value)> = pools.iter().map(|pool| (pool, template(pool))).collect();
    let of = |workload: &Workload<'_>| {
        let nodes = nodes.iter();
        nodes
            .map(|(pool, node)| ask(pool, node, workload))
            .collect()
    };
    model.workloads.iter().map(of).collect()
}

fn ask<'p>(pool: &'p Pool, node: &Value, workload: &Workload<'_>) -> Answer<'p> {
    let pod = on_known_labels(workload, &node["metadata"]["labels"]);
    let node = NodeInfo::parse(node);
    let name = node.name.clone();
    let mut cluster = Snapshot::default();
    cluster.imagine(node);
    let mut refused = None;
    let mut per_node = 0;
    // Only pods with devices are counted; for others it is enough that one fits.
    let most = match devices(workload).is_empty() {
        true => 1,
        false => PODS_PER_NODE,
    };
    while per_node < most {
        let Some(node) = cluster.node(&name) else {
            break;
        };
        if let Err(rejection) = Check::new(&pod, &cluster).filter(node) {
            if per_node == 0 {
                refused = Some(rejection.reasons);
            }
            break;
        }
        let mut placed = pod.clone();
        placed.key = PodKey {
            namespace: pod.key.namespace.clone(),
            name: Arc::from(per_node.to_string()),
        };
        placed.node = Some(name.clone());
        cluster.assign(Arc::new(placed), &name);
        per_node += 1;
    }
    Answer {
        pool,
        refused,
        per_node,
    }
}
