//! What the scheduler's picture of nodes depends on and somebody has to keep
//! up: the taint of cordoned nodes, and pods left behind by vanished nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use decide::fit::Snapshot;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::value;
use crate::{Cluster, DeleteOptions};

const CORDONED: &str = "node.kubernetes.io/unschedulable";
/// A node may come back; its pods are kept for this long.
const QUARANTINE: Duration = Duration::from_secs(40);

/// Gives a cordoned node its taint, and takes it off again.
pub(super) fn taint_cordoned(cluster: &Cluster, node: &Value) {
    let cordoned = node["spec"]["unschedulable"] == true;
    let tainted = value::list(node, &["spec", "taints"])
        .iter()
        .any(|t| t["key"] == CORDONED);
    if cordoned == tainted {
        return;
    }
    let now = value::time(cluster.now());
    // A node that has gone meanwhile needs no taint.
    let _ = cluster.modify("nodes", "", value::name(node), |node| {
        let spec = value::map_mut(node, &["spec"]);
        let mut taints = spec
            .get("taints")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        taints.retain(|t| t["key"] != CORDONED);
        if cordoned {
            taints.push(json!({"key": CORDONED, "effect": "NoSchedule", "timeAdded": now}));
        }
        if taints.is_empty() {
            spec.remove("taints");
        } else {
            spec.insert("taints".to_owned(), Value::Array(taints));
        }
    });
}

/// Nodes that are missing, and when their pods are given up.
#[derive(Debug, Default)]
pub(super) struct Missing(BTreeMap<Arc<str>, Instant>);

impl Missing {
    /// Takes note of a node that does not exist but has pods.
    pub fn note(&mut self, node: &str, now: Instant) {
        self.0.entry(Arc::from(node)).or_insert(now + QUARANTINE);
    }

    /// When [`Missing::give_up`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        self.0.values().min().copied()
    }

    /// Deletes the pods of nodes that have been missing for too long.
    pub fn give_up(&mut self, cluster: &Cluster, world: &Snapshot, now: Instant) {
        let due: Vec<_> = self
            .0
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(node, _)| node.clone())
            .collect();
        for node in due {
            self.0.remove(&node);
            for pod in world.stranded(&node) {
                let at_once = DeleteOptions {
                    grace_period_seconds: Some(0),
                    ..Default::default()
                };
                // Already gone is as good as deleted.
                let _ = cluster.delete("pods", &pod.namespace, &pod.name, at_once);
            }
        }
    }
}
