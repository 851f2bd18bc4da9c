//! The objects of the cluster that planning needs, followed by watches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use decide::fit::{PodInfo, PodKey, Snapshot};
use futures::StreamExt as _;
use futures::stream::{BoxStream, Fuse};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::utils::{Backoff, StreamBackoff};
use kube::runtime::watcher::{self, Event};
use serde_json::Value;

/// Wait after a failed watch.
const RETRY: Duration = Duration::from_secs(1);

/// A back-off without chance in it.
struct Steady;

impl Iterator for Steady {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(RETRY)
    }
}

impl Backoff for Steady {
    fn reset(&mut self) {}
}

type Objects = Fuse<BoxStream<'static, Result<Event<DynamicObject>, watcher::Error>>>;

/// Nodes and pods.
pub(crate) struct ClusterView {
    nodes: Objects,
    pods: Objects,
    listed: (bool, bool),
    unseen_nodes: Option<BTreeSet<String>>,
    unseen_pods: Option<BTreeSet<PodKey>>,
    known_pods: BTreeSet<PodKey>,
    /// Nodes and the pods on them.
    pub snapshot: Snapshot,
    /// Pods that the scheduler found no node for.
    pub pending: BTreeMap<PodKey, Arc<PodInfo>>,
    /// Node uids, which events carry.
    pub uids: BTreeMap<String, String>,
}

impl ClusterView {
    pub fn new(client: &kube::Client) -> Self {
        let watch = |resource: ApiResource| -> Objects {
            let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
            StreamBackoff::new(watcher::watcher(api, watcher::Config::default()), Steady)
                .boxed()
                .fuse()
        };
        Self {
            nodes: watch(ApiResource::erase::<Node>(&())),
            pods: watch(ApiResource::erase::<Pod>(&())),
            listed: (false, false),
            unseen_nodes: None,
            unseen_pods: None,
            known_pods: BTreeSet::new(),
            snapshot: Snapshot::default(),
            pending: BTreeMap::new(),
            uids: BTreeMap::new(),
        }
    }

    /// Whether both lists have been read once.
    pub fn is_complete(&self) -> bool {
        self.listed == (true, true)
    }

    /// Waits for the next change; true if planning may come to something else.
    pub async fn next(&mut self) -> bool {
        tokio::select! {
            biased;
            Some(event) = self.nodes.next() => self.node_event(event),
            Some(event) = self.pods.next() => self.pod_event(event),
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
                self.unseen_pods = Some(self.known_pods.clone());
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
        self.known_pods.insert(pod.key.clone());
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

/// An object as JSON, which is what the rules read.
fn value(object: &DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or(Value::Null)
}
