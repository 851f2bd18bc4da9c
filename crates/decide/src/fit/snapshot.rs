//! The cluster as the scheduler sees it: nodes, the pods on them, what is used.
//!
//! Kept up to date object by object, so that one pod costs the work of one pod.
//! The node planner copies it and adds imagined nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::pod::{PodInfo, PodKey, Taint, strings};
use super::resources::Resources;

/// A node and what runs on it.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// Name.
    pub name: Arc<str>,
    /// Labels.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Annotations.
    pub annotations: Arc<BTreeMap<String, String>>,
    /// Taints.
    pub taints: Vec<Taint>,
    /// Cordoned.
    pub unschedulable: bool,
    /// Condition Ready is True.
    pub ready: bool,
    /// What pods may use in all.
    pub allocatable: Resources,
    /// What its pods ask for.
    pub used: Resources,
    /// CPU and memory in use as they count when nodes are compared.
    pub compared: (i64, i64),
    /// The unfinished pods assigned to it.
    pub pods: BTreeMap<PodKey, Arc<PodInfo>>,
    /// How many of them have a required anti-affinity.
    anti: usize,
    /// How many of them hold host ports.
    ports: usize,
    /// The Node object exists (pods can outlive it for a moment).
    exists: bool,
}

impl NodeInfo {
    fn unknown(name: Arc<str>) -> Self {
        Self {
            name,
            labels: Arc::default(),
            annotations: Arc::default(),
            taints: Vec::new(),
            unschedulable: false,
            ready: false,
            allocatable: Resources::default(),
            used: Resources::default(),
            compared: (0, 0),
            pods: BTreeMap::new(),
            anti: 0,
            ports: 0,
            exists: false,
        }
    }

    /// Reads a Node object, without pods.
    pub fn parse(node: &Value) -> Self {
        let name = node["metadata"]["name"].as_str().unwrap_or("");
        let mut out = Self::unknown(Arc::from(name));
        out.read(node);
        out
    }

    fn read(&mut self, node: &Value) {
        self.labels = Arc::new(strings(&node["metadata"]["labels"]));
        self.annotations = Arc::new(strings(&node["metadata"]["annotations"]));
        self.taints = Taint::list(&node["spec"]);
        self.unschedulable = node["spec"]["unschedulable"] == true;
        let conditions = node["status"]["conditions"].as_array();
        self.ready = conditions
            .into_iter()
            .flatten()
            .any(|c| c["type"] == "Ready" && c["status"] == "True");
        self.allocatable = Resources::parse(&node["status"]["allocatable"]);
        self.exists = true;
    }

    /// Puts a pod onto the node.
    pub fn place(&mut self, pod: Arc<PodInfo>) {
        self.take(&pod.key.clone());
        self.used.add(&pod.requests);
        self.compared.0 = self.compared.0.saturating_add(pod.compared.0);
        self.compared.1 = self.compared.1.saturating_add(pod.compared.1);
        self.anti += usize::from(!pod.anti_affinity.is_empty());
        self.ports += usize::from(!pod.ports.is_empty());
        self.pods.insert(pod.key.clone(), pod);
    }

    /// Takes a pod off the node.
    pub fn take(&mut self, key: &PodKey) -> Option<Arc<PodInfo>> {
        let pod = self.pods.remove(key)?;
        self.used.subtract(&pod.requests);
        self.compared.0 = self.compared.0.saturating_sub(pod.compared.0);
        self.compared.1 = self.compared.1.saturating_sub(pod.compared.1);
        self.anti -= usize::from(!pod.anti_affinity.is_empty());
        self.ports -= usize::from(!pod.ports.is_empty());
        Some(pod)
    }

    /// Whether pods on it hold host ports.
    pub(super) fn has_ports(&self) -> bool {
        self.ports > 0
    }

    /// Whether pods on it keep others away.
    pub(super) fn has_anti_affinity(&self) -> bool {
        self.anti > 0
    }
}

/// Nodes and pods of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    nodes: BTreeMap<Arc<str>, NodeInfo>,
    placed: BTreeMap<PodKey, Arc<str>>,
    claims: BTreeSet<(String, String)>,
    existing: usize,
}

impl Snapshot {
    /// Builds a snapshot from whole lists.
    pub fn new<'a>(
        nodes: impl IntoIterator<Item = &'a Value>,
        pods: impl IntoIterator<Item = &'a Value>,
    ) -> Self {
        let mut out = Self::default();
        for node in nodes {
            out.set_node(node);
        }
        for pod in pods {
            out.set_pod(Arc::new(PodInfo::parse(pod)));
        }
        out
    }

    /// Adds or updates a node; true if something changed that scheduling reads.
    pub fn set_node(&mut self, node: &Value) -> bool {
        let name: Arc<str> = Arc::from(node["metadata"]["name"].as_str().unwrap_or(""));
        let entry = self
            .nodes
            .entry(name.clone())
            .or_insert_with(|| NodeInfo::unknown(name.clone()));
        let before = (
            entry.exists,
            entry.labels.clone(),
            entry.annotations.clone(),
            entry.taints.clone(),
            entry.unschedulable,
            entry.ready,
            entry.allocatable.clone(),
        );
        self.existing += usize::from(!entry.exists);
        entry.read(node);
        before
            != (
                true,
                entry.labels.clone(),
                entry.annotations.clone(),
                entry.taints.clone(),
                entry.unschedulable,
                entry.ready,
                entry.allocatable.clone(),
            )
    }

    /// Adds a node that does not exist, to see what it would hold.
    pub fn imagine(&mut self, node: NodeInfo) {
        let name = node.name.clone();
        for key in node.pods.keys() {
            self.placed.insert(key.clone(), name.clone());
        }
        let node = NodeInfo {
            exists: true,
            ..node
        };
        let old = self.nodes.insert(name, node);
        self.existing += usize::from(!old.is_some_and(|o| o.exists));
    }

    /// Removes a node; pods still assigned to it are remembered.
    pub fn remove_node(&mut self, name: &str) {
        if let Some(node) = self.nodes.get_mut(name) {
            self.existing -= usize::from(node.exists);
            node.exists = false;
            if node.pods.is_empty() {
                self.nodes.remove(name);
            }
        }
    }

    /// Adds or updates a pod: it counts on its node unless it has finished.
    pub fn set_pod(&mut self, pod: Arc<PodInfo>) {
        self.remove_pod(&pod.key);
        let Some(name) = pod.node.clone().filter(|_| !pod.finished) else {
            return;
        };
        self.assign(pod, &name);
    }

    /// Counts a pod on a node before the API server says so.
    pub fn assign(&mut self, pod: Arc<PodInfo>, node: &Arc<str>) {
        self.placed.insert(pod.key.clone(), node.clone());
        self.nodes
            .entry(node.clone())
            .or_insert_with(|| NodeInfo::unknown(node.clone()))
            .place(pod);
    }

    /// Forgets a pod; true if it was counted on a node.
    pub fn remove_pod(&mut self, key: &PodKey) -> bool {
        let Some(name) = self.placed.remove(key) else {
            return false;
        };
        if let Some(node) = self.nodes.get_mut(&name) {
            node.take(key);
            if !node.exists && node.pods.is_empty() {
                self.nodes.remove(&name);
            }
        }
        true
    }

    /// Says that a PersistentVolumeClaim exists, or no longer does.
    pub fn set_claim(&mut self, namespace: &str, name: &str, exists: bool) {
        let key = (namespace.to_owned(), name.to_owned());
        if exists {
            self.claims.insert(key);
        } else {
            self.claims.remove(&key);
        }
    }

    /// The first claim of `pod` that does not exist.
    pub(super) fn missing_claim<'p>(&self, pod: &'p PodInfo) -> Option<&'p str> {
        pod.claims
            .iter()
            .find(|c| {
                !self
                    .claims
                    .contains(&(pod.key.namespace.to_string(), (*c).clone()))
            })
            .map(String::as_str)
    }

    /// The nodes that exist, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.values().filter(|n| n.exists)
    }

    /// The nodes that exist from this name on, by name.
    pub fn nodes_from(&self, name: &str) -> impl Iterator<Item = &NodeInfo> {
        let range = (std::ops::Bound::Included(name), std::ops::Bound::Unbounded);
        self.nodes
            .range::<str, _>(range)
            .map(|(_, n)| n)
            .filter(|n| n.exists)
    }

    /// One node.
    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.nodes.get(name).filter(|n| n.exists)
    }

    /// How many nodes exist.
    pub fn len(&self) -> usize {
        self.existing
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.existing == 0
    }

    /// The pods assigned to a node that does not exist.
    pub fn stranded(&self, node: &str) -> Vec<PodKey> {
        let lost = self.nodes.get(node).filter(|n| !n.exists);
        lost.into_iter()
            .flat_map(|n| n.pods.keys().cloned())
            .collect()
    }

    /// The node that a pod counts on.
    pub fn place_of(&self, key: &PodKey) -> Option<&Arc<str>> {
        self.placed.get(key)
    }
}
