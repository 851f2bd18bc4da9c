//! The objects of the cluster that planning needs, followed by watches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::selector::LabelSelector;
use decide::fit::{PodInfo, PodKey, Snapshot};
use decide::nodes::{Budget, Observed, PoolView, ReplicaPlan};
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::watcher::{self, Event};
use serde_json::{Value, json};

use crate::followed::{Followed, Objects, value, watch};

/// The parts of a workload that say which pods it is about to make.
#[derive(PartialEq)]
struct Workload {
    replicas: i64,
    selector: Value,
    namespace: String,
    pod: Option<Value>,
}

impl Workload {
    /// Reads a Deployment, ReplicaSet or StatefulSet.
    fn read(object: &Value) -> Self {
        let conditions = object["status"]["conditions"].as_array();
        // A controller whose pods are refused makes none, whatever it wants.
        let stuck = conditions
            .into_iter()
            .flatten()
            .any(|c| c["type"] == "ReplicaFailure" && c["status"] == "True");
        let replicas = object["spec"]["replicas"].as_i64().unwrap_or(1);
        Self {
            replicas: if stuck { 0 } else { replicas },
            selector: object["spec"]["selector"].clone(),
            namespace: object["metadata"]["namespace"]
                .as_str()
                .unwrap_or("")
                .to_owned(),
            pod: pod_of(object, "ReplicaSet"),
        }
    }
}

/// A pod as the template of `object` makes it. `None` where its priority is
/// known only once the server has read its class.
fn pod_of(object: &Value, controller: &str) -> Option<Value> {
    let template = &object["spec"]["template"];
    if template["spec"]["priorityClassName"].is_string() && controller != "DaemonSet" {
        return None;
    }
    let meta = &object["metadata"];
    Some(json!({
        "metadata": {
            "name": meta["name"], "namespace": meta["namespace"],
            "labels": template["metadata"]["labels"],
            "annotations": template["metadata"]["annotations"],
            "ownerReferences": [
                {"kind": controller, "name": meta["name"], "uid": meta["uid"], "controller": true},
            ],
        },
        "spec": template["spec"],
    }))
}

/// Nodes and pods.
pub(crate) struct ClusterView {
    nodes: Objects,
    pods: Objects,
    listed: (bool, bool),
    unseen_nodes: Option<BTreeSet<String>>,
    unseen_pods: Option<BTreeSet<PodKey>>,
    known_pods: BTreeMap<PodKey, Arc<PodInfo>>,
    budgets: Followed<Value>,
    daemons: Followed<Option<Value>>,
    workloads: Followed<Workload>,
    /// Nodes and the pods on them.
    pub snapshot: Snapshot,
    /// Pods that the scheduler found no node for.
    pub pending: BTreeMap<PodKey, Arc<PodInfo>>,
    /// Node uids, which events carry.
    pub uids: BTreeMap<String, String>,
}

impl ClusterView {
    pub fn new(client: &kube::Client) -> Self {
        let budgets = ApiResource::erase::<PodDisruptionBudget>(&());
        let daemons = ApiResource::erase::<DaemonSet>(&());
        let workloads = ApiResource::erase::<Deployment>(&());
        Self {
            nodes: watch(client, &ApiResource::erase::<Node>(&())),
            pods: watch(client, &ApiResource::erase::<Pod>(&())),
            budgets: Followed::new(client, &budgets, Value::clone).named("disruption budgets"),
            daemons: Followed::new(client, &daemons, |d| pod_of(d, "DaemonSet"))
                .named("daemon sets"),
            workloads: Followed::new(client, &workloads, Workload::read).named("deployments"),
            listed: (false, false),
            unseen_nodes: None,
            unseen_pods: None,
            known_pods: BTreeMap::new(),
            snapshot: Snapshot::default(),
            pending: BTreeMap::new(),
            uids: BTreeMap::new(),
        }
    }

    /// Whether every list has been read once.
    pub fn is_complete(&self) -> bool {
        self.listed == (true, true)
            && self.budgets.is_listed()
            && self.daemons.is_listed()
            && self.workloads.is_listed()
    }

    /// What planning reads of the objects beside nodes and pods.
    pub fn observe(&mut self, pools: Vec<PoolView>) -> Observed {
        let pods = self.daemons.values().flatten().map(PodInfo::parse);
        Observed {
            pools,
            daemons: pods.map(Arc::new).collect(),
            budgets: self.budgets.values().map(Budget::parse).collect(),
            plans: self.plans(),
            pending: self.pending.values().cloned().collect(),
            cluster: std::mem::take(&mut self.snapshot),
        }
    }

    /// Replicas that Deployments have been given and that have no pods yet: their
    /// nodes can be ordered while the pods are still being made.
    fn plans(&self) -> Vec<ReplicaPlan> {
        let mut plans = Vec::new();
        for workload in self.workloads.values() {
            let Some(pod) = workload.pod.as_ref().filter(|_| workload.replicas > 0) else {
                continue;
            };
            let selector = serde_json::from_value::<LabelSelector>(workload.selector.clone());
            let Some(selector) = selector.ok().and_then(|s| s.to_selector().ok()) else {
                continue;
            };
            let there = self.known_pods.values().filter(|p| {
                *p.key.namespace == *workload.namespace
                    && !p.finished
                    && !p.terminating
                    && selector.matches(&p.labels)
            });
            let there = i64::try_from(there.count()).unwrap_or(i64::MAX);
            let missing = u32::try_from(workload.replicas.saturating_sub(there)).unwrap_or(0);
            if missing > 0 {
                let pod = Arc::new(PodInfo::parse(pod));
                plans.push(ReplicaPlan { pod, missing });
            }
        }
        plans
    }

    /// Waits for the next change; true if planning may come to something else.
    pub async fn next(&mut self) -> bool {
        tokio::select! {
            biased;
            Some(event) = self.nodes.next() => self.node_event(event),
            Some(event) = self.pods.next() => self.pod_event(event),
            Some(event) = self.workloads.event() => self.workloads.take(event),
            Some(event) = self.budgets.event() => self.budgets.take(event),
            Some(event) = self.daemons.event() => self.daemons.take(event),
            // A watcher goes on for ever.
            else => std::future::pending().await,
        }
    }

    fn node_event(&mut self, event: Result<Event<DynamicObject>, watcher::Error>) -> bool {
        match event {
            Ok(Event::Init) => {
                self.unseen_nodes = Some(self.uids.keys().cloned().collect());
                false
            }
            Ok(Event::InitApply(object)) => {
                let object = value(&object);
                if let Some(unseen) = &mut self.unseen_nodes {
                    unseen.remove(name(&object));
                }
                self.set_node(&object)
            }
            Ok(Event::InitDone) => {
                for gone in self.unseen_nodes.take().into_iter().flatten() {
                    self.drop_node(&gone);
                }
                self.listed.0 = true;
                true
            }
            Ok(Event::Apply(object)) => self.set_node(&value(&object)),
            Ok(Event::Delete(object)) => {
                self.drop_node(name(&value(&object)));
                true
            }
            Err(error) => {
                tracing::warn!(%error, "watching nodes failed, trying again");
                false
            }
        }
    }

    fn set_node(&mut self, node: &Value) -> bool {
        let uid = node["metadata"]["uid"].as_str().unwrap_or("").to_owned();
        self.uids.insert(name(node).to_owned(), uid);
        self.snapshot.set_node(node)
    }

    fn drop_node(&mut self, name: &str) {
        self.uids.remove(name);
        self.snapshot.remove_node(name);
    }

    fn pod_event(&mut self, event: Result<Event<DynamicObject>, watcher::Error>) -> bool {
        match event {
            Ok(Event::Init) => {
                // A copy: a list that breaks off begins again with all of them.
                self.unseen_pods = Some(self.known_pods.keys().cloned().collect());
                false
            }
            Ok(Event::InitApply(object)) => {
                let object = value(&object);
                let key = PodInfo::parse(&object).key;
                if let Some(unseen) = &mut self.unseen_pods {
                    unseen.remove(&key);
                }
                self.set_pod(&object)
            }
            Ok(Event::InitDone) => {
                for gone in self.unseen_pods.take().into_iter().flatten() {
                    self.drop_pod(&gone);
                }
                self.listed.1 = true;
                true
            }
            Ok(Event::Apply(object)) => self.set_pod(&value(&object)),
            Ok(Event::Delete(object)) => self.drop_pod(&PodInfo::parse(&value(&object)).key),
            Err(error) => {
                tracing::warn!(%error, "watching pods failed, trying again");
                false
            }
        }
    }

    fn set_pod(&mut self, object: &Value) -> bool {
        let pod = Arc::new(PodInfo::parse(object));
        self.known_pods.insert(pod.key.clone(), pod.clone());
        if pod.node.is_some() || pod.finished {
            let waited = self.pending.remove(&pod.key).is_some();
            let was = self.snapshot.place_of(&pod.key).cloned();
            let now = pod.node.clone().filter(|_| !pod.finished);
            self.snapshot.set_pod(pod);
            return waited || was != now;
        }
        // Placed by a preemption, it has a node in view already.
        if refused(object) && pod.nominated.is_none() && !pod.terminating {
            let old = self.pending.insert(pod.key.clone(), pod.clone());
            return old.is_none_or(|old| old.class != pod.class || old.uid != pod.uid);
        }
        self.pending.remove(&pod.key).is_some()
    }

    fn drop_pod(&mut self, key: &PodKey) -> bool {
        self.known_pods.remove(key);
        let waited = self.pending.remove(key).is_some();
        self.snapshot.remove_pod(key) || waited
    }
}

/// Whether the scheduler has said that it finds no node.
fn refused(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| {
        c["type"] == "PodScheduled" && c["status"] == "False" && c["reason"] == "Unschedulable"
    })
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or("")
}
