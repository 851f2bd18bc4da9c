//! The objects of the cluster that planning needs, followed by watches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use decide::budget::Budget;
use decide::fit::{PodInfo, PodKey, Snapshot};
use decide::nodes::{Observed, PoolView, Workload, daemon_pod, replica_plans, waits};
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::watcher::{self, Event};
use serde_json::Value;

use crate::followed::{Followed, Objects, Outage, value, watch};

/// Nodes and pods.
pub(crate) struct ClusterView {
    nodes: Objects,
    pods: Objects,
    listed: (bool, bool),
    outages: (Outage, Outage),
    unseen_nodes: Option<BTreeSet<String>>,
    unseen_pods: Option<BTreeSet<PodKey>>,
    known_pods: BTreeMap<PodKey, Arc<PodInfo>>,
    budgets: Followed<Budget>,
    daemons: Followed<Value>,
    workloads: Followed<Option<Workload>>,
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
            budgets: Followed::new(client, ("disruption budgets", &budgets), Budget::parse),
            daemons: Followed::new(client, ("daemon sets", &daemons), daemon_pod),
            workloads: Followed::new(client, ("deployments", &workloads), Workload::parse),
            outages: (Outage::of("nodes"), Outage::of("pods")),
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
        let daemons = self.daemons.values().map(PodInfo::parse);
        let pods = self.known_pods.values().map(|pod| &**pod);
        Observed {
            pools,
            daemons: daemons.map(Arc::new).collect(),
            budgets: self.budgets.values().cloned().collect(),
            plans: replica_plans(self.workloads.values().flatten(), pods),
            pending: self.pending.values().cloned().collect(),
            cluster: std::mem::take(&mut self.snapshot),
        }
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
        self.outages.0.note(&event);
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
            Err(_) => false,
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
        self.outages.1.note(&event);
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
            Err(_) => false,
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
        if waits(object, &pod) {
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

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or("")
}
