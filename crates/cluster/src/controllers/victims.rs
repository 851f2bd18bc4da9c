//! Which pods go first when a replica set shrinks.

use std::collections::BTreeMap;
use std::sync::Arc;

use decide::victims::{COST, Candidate, order};
use jiff::Timestamp;
use serde_json::Value;

use super::object::{annotation, created, text, time_at, uid};
use crate::value::{condition, list};

fn read<'a>(pod: &'a Value, siblings: &BTreeMap<String, i64>) -> Candidate<'a> {
    let node = text(pod, &["spec", "nodeName"]);
    let ready = condition(pod, "Ready").filter(|c| c["status"] == "True");
    Candidate {
        assigned: !node.is_empty(),
        phase: match text(pod, &["status", "phase"]) {
            "Pending" => 0,
            "Running" => 2,
            _ => 1,
        },
        ready: ready.is_some(),
        cost: annotation(pod, COST)
            .and_then(|c| c.parse().ok())
            .unwrap_or(0),
        siblings: siblings.get(node).copied().unwrap_or(0),
        ready_since: ready.and_then(|c| time_at(c, &["lastTransitionTime"])),
        restarts: list(pod, &["status", "containerStatuses"])
            .iter()
            .filter_map(|c| c["restartCount"].as_i64())
            .max()
            .unwrap_or(0),
        created: created(pod),
        uid: uid(pod),
    }
}

/// The first `n` pods to go.
pub(crate) fn choose(
    pods: Vec<Arc<Value>>,
    siblings: &BTreeMap<String, i64>,
    n: i64,
    now: Timestamp,
) -> Vec<Arc<Value>> {
    let mut all: Vec<(Candidate<'_>, &Arc<Value>)> =
        pods.iter().map(|p| (read(p, siblings), p)).collect();
    all.sort_by(|a, b| order(&a.0, &b.0, now));
    all.into_iter()
        .take(usize::try_from(n).unwrap_or(0))
        .map(|(_, pod)| pod.clone())
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
