//! Which pods go first when a replica set shrinks.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::object::{annotation, condition, created, text, time_at, uid};
use crate::value::list;

/// The annotation with which a pod says how much its loss costs.
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

struct Candidate {
    pod: Arc<Value>,
    assigned: bool,
    phase: u8,
    ready: bool,
    cost: i32,
    siblings: i64,
    ready_since: Option<Timestamp>,
    ready_age: u32,
    restarts: i64,
    age: u32,
    uid: String,
}

/// The place of a duration on a logarithmic scale: pods of about the same age count as equally
/// old, so that their random uids decide.
fn magnitude(from: Timestamp, now: Timestamp) -> u32 {
    let nanos = now.duration_since(from).as_nanos();
    u128::try_from(nanos)
        .ok()
        .and_then(u128::checked_ilog2)
        .unwrap_or(0)
}

impl Candidate {
    fn read(pod: Arc<Value>, siblings: &BTreeMap<String, i64>, now: Timestamp) -> Self {
        let node = text(&pod, &["spec", "nodeName"]);
        let ready = condition(&pod, "Ready").filter(|c| c["status"] == "True");
        let since = ready.and_then(|c| time_at(c, &["lastTransitionTime"]));
        Self {
            assigned: !node.is_empty(),
            phase: match text(&pod, &["status", "phase"]) {
                "Pending" => 0,
                "Running" => 2,
                _ => 1,
            },
            ready: ready.is_some(),
            cost: annotation(&pod, COST)
                .and_then(|c| c.parse().ok())
                .unwrap_or(0),
            siblings: siblings.get(node).copied().unwrap_or(0),
            ready_since: since,
            ready_age: since.map_or(0, |t| magnitude(t, now)),
            restarts: list(&pod, &["status", "containerStatuses"])
                .iter()
                .filter_map(|c| c["restartCount"].as_i64())
                .max()
                .unwrap_or(0),
            age: magnitude(created(&pod), now),
            uid: uid(&pod).to_owned(),
            pod,
        }
    }

    /// `Less`: goes before the other.
    fn compare(&self, other: &Self) -> Ordering {
        let first = (
            self.assigned,
            self.phase,
            self.ready,
            self.cost,
            Reverse(self.siblings),
        );
        let second = (
            other.assigned,
            other.phase,
            other.ready,
            other.cost,
            Reverse(other.siblings),
        );
        first
            .cmp(&second)
            .then_with(|| {
                if self.ready_since == other.ready_since {
                    return Ordering::Equal;
                }
                self.ready_age
                    .cmp(&other.ready_age)
                    .then_with(|| self.uid.cmp(&other.uid))
            })
            .then_with(|| other.restarts.cmp(&self.restarts))
            .then_with(|| self.age.cmp(&other.age))
            .then_with(|| self.uid.cmp(&other.uid))
    }
}

/// The first `n` pods to go.
pub(crate) fn choose(
    pods: Vec<Arc<Value>>,
    siblings: &BTreeMap<String, i64>,
    n: i64,
    now: Timestamp,
) -> Vec<Arc<Value>> {
    let mut all: Vec<Candidate> = pods
        .into_iter()
        .map(|p| Candidate::read(p, siblings, now))
        .collect();
    all.sort_by(Candidate::compare);
    all.into_iter()
        .take(usize::try_from(n).unwrap_or(0))
        .map(|c| c.pod)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, node: &str, phase: &str, ready: Option<&str>) -> Arc<Value> {
        let mut v = json!({
            "metadata": {"name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"nodeName": node}, "status": {"phase": phase},
        });
        if let Some(t) = ready {
            v["status"]["conditions"] =
                json!([{"type": "Ready", "status": "True", "lastTransitionTime": t}]);
        }
        Arc::new(v)
    }

    #[test]
    fn pods_that_serve_nobody_go_first_and_long_serving_ones_last() {
        let now: Timestamp = "2026-01-01T10:00:00Z".parse().unwrap();
        let pods = vec![
            pod("old", "n1", "Running", Some("2026-01-01T00:00:10Z")),
            pod("young", "n1", "Running", Some("2026-01-01T09:59:50Z")),
            pod("crowded", "n2", "Running", Some("2026-01-01T00:00:10Z")),
            pod("starting", "n1", "Pending", None),
            pod("waiting", "", "Pending", None),
        ];
        let siblings = BTreeMap::from([("n1".to_owned(), 1), ("n2".to_owned(), 3)]);
        let order: Vec<String> = choose(pods, &siblings, 5, now)
            .iter()
            .map(|p| text(p, &["metadata", "name"]).to_owned())
            .collect();
        assert_eq!(order, ["waiting", "starting", "crowded", "young", "old"]);
    }

    #[test]
    fn a_pod_can_ask_to_be_spared() {
        let now: Timestamp = "2026-01-01T10:00:00Z".parse().unwrap();
        let mut dear = Value::clone(&pod("a", "n", "Running", None));
        dear["metadata"]["annotations"] = json!({COST: "10"});
        let pods = vec![Arc::new(dear), pod("b", "n", "Running", None)];
        let first = choose(pods, &BTreeMap::new(), 1, now);
        assert_eq!(text(&first[0], &["metadata", "name"]), "b");
    }
}
