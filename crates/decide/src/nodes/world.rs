//! The cluster as it will be when everything ordered has arrived.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::LEAVING_TAINT;
use super::types::{InstanceState, Observed, Plan, PoolView, Settings, elapsed};
use crate::fit::{Check, NodeInfo, PodInfo, PodKey, Snapshot};

/// Names of imagined nodes begin with this, which sorts behind every real name.
const NEW: char = '~';

/// Nodes to come beside those that are there.
pub(super) struct World {
    /// Nodes, imagined ones included, and the pods on them.
    pub cluster: Snapshot,
    /// Nodes that are ordered or not usable yet.
    pub upcoming: BTreeSet<String>,
    /// Pods without a node that were given one here, by node.
    pub promised: BTreeMap<Arc<str>, usize>,
    /// For each class of pods the node that took the last one: nodes before it are full.
    cursor: BTreeMap<Arc<str>, Arc<str>>,
    made: usize,
}

impl World {
    pub fn new(settings: &Settings, seen: &Observed, plan: &Plan, now: Timestamp) -> Self {
        let mut cluster = seen.cluster.clone();
        let mut upcoming = BTreeSet::new();
        for (pool, instance) in seen.instances() {
            let node = seen.cluster.node(&instance.name);
            let leaves = node.is_some_and(|n| n.taints.iter().any(|t| t.key == LEAVING_TAINT));
            let gone = plan.removals.iter().any(|r| r.node == instance.name)
                || plan.state.reported.contains(&instance.name);
            let comes = match instance.state {
                InstanceState::Deleting | InstanceState::Failed { .. } => false,
                InstanceState::Creating | InstanceState::Running => !gone && !leaves,
            };
            if !comes {
                cluster.remove_node(&instance.name);
                continue;
            }
            if node.is_some_and(|n| usable(n, pool)) {
                continue;
            }
            // A node that has been there for long without being usable is not
            // on its way any more.
            if node.is_some() && elapsed(instance.ordered, now) >= settings.provision {
                continue;
            }
            upcoming.insert(instance.name.clone());
            let mut imagined = from_template(pool, &instance.name);
            if let Some(node) = node {
                imagined.labels = merged(&imagined.labels, &node.labels);
                for pod in node.pods.values() {
                    imagined.place(pod.clone());
                }
            }
            cluster.imagine(imagined);
        }
        Self {
            cluster,
            upcoming,
            promised: BTreeMap::new(),
            cursor: BTreeMap::new(),
            made: 0,
        }
    }

    /// Puts a pod onto the first node that takes it.
    pub fn place(&mut self, pod: &Arc<PodInfo>) -> Option<Arc<str>> {
        let check = Check::new(pod, &self.cluster);
        let from = if pod.looks_at_others() {
            None
        } else {
            self.cursor.get(&pod.class)
        };
        let node = self
            .cluster
            .nodes()
            .skip_while(|n| from.is_some_and(|from| n.name < *from))
            .find(|n| check.filter(n).is_ok())
            .map(|n| n.name.clone())?;
        self.cursor.insert(pod.class.clone(), node.clone());
        self.promise(pod, &node);
        Some(node)
    }

    /// Adds a node of `pool` with this pod on it.
    pub fn open(&mut self, pool: &PoolView, pod: &Arc<PodInfo>) -> Arc<str> {
        let name = format!("{NEW}{}-{:06}", pool.group, self.made);
        self.made += 1;
        let node = from_template(pool, &name);
        let name = node.name.clone();
        self.cluster.imagine(node);
        self.promise(pod, &name);
        name
    }

    fn promise(&mut self, pod: &Arc<PodInfo>, node: &Arc<str>) {
        self.cluster.assign(pod.clone(), node);
        *self.promised.entry(node.clone()).or_default() += 1;
    }

    /// Whether `pods` fit on the nodes other than those in `without`; if so,
    /// they are there afterwards.
    pub fn relocate(&mut self, pods: &[Arc<PodInfo>], without: &BTreeSet<String>) -> bool {
        let mut trial = self.cluster.clone();
        let mut at: BTreeMap<PodKey, Arc<str>> = BTreeMap::new();
        for pod in pods {
            trial.remove_pod(&pod.key);
            let free = Arc::new(PodInfo {
                node: None,
                ..PodInfo::clone(pod)
            });
            let check = Check::new(&free, &trial);
            let place = trial
                .nodes()
                .filter(|n| !without.contains(&*n.name) && !self.upcoming.contains(&*n.name))
                .find(|n| check.filter(n).is_ok())
                .map(|n| n.name.clone());
            let Some(place) = place else { return false };
            at.insert(pod.key.clone(), place.clone());
            trial.assign(free, &place);
        }
        self.cluster = trial;
        for place in at.into_values() {
            *self.promised.entry(place).or_default() += 1;
        }
        true
    }
}

/// Whether a node can take the pods that its pool is for: Ready, and with its
/// GPUs reported, under whatever name.
pub(super) fn usable(node: &NodeInfo, pool: &PoolView) -> bool {
    node.ready && (pool.template.allocatable.gpus() == 0 || node.allocatable.gpus() > 0)
}

fn from_template(pool: &PoolView, name: &str) -> NodeInfo {
    let mut node = pool.template.clone();
    node.name = Arc::from(name);
    let mut labels = BTreeMap::clone(&node.labels);
    labels.insert("kubernetes.io/hostname".to_owned(), name.to_owned());
    node.labels = Arc::new(labels);
    node
}

fn merged(
    base: &BTreeMap<String, String>,
    over: &BTreeMap<String, String>,
) -> Arc<BTreeMap<String, String>> {
    let mut all = base.clone();
    all.extend(over.iter().map(|(k, v)| (k.clone(), v.clone())));
    Arc::new(all)
}
