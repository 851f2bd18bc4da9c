//! Which pods are about to exist: those that wait for a node, those that a
//! workload has still to make, and those that come with every node.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::selector::{LabelSelector, Selector};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::types::ReplicaPlan;
use crate::fit::PodInfo;

/// The parts of a workload that say which pods it is about to make.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    replicas: i64,
    namespace: String,
    selector: Selector,
    /// A pod as it makes them, its name the workload's.
    pod: Value,
}

impl Workload {
    /// Reads a Deployment; `None` where it makes no pods that could be known
    /// beforehand: its pods are refused, or it selects none.
    pub fn parse(object: &Value) -> Option<Self> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let conditions = status["conditions"].as_array();
        // A controller whose pods are refused makes none, whatever it wants.
        let stuck = conditions
            .into_iter()
            .flatten()
            .any(|c| c["type"] == "ReplicaFailure" && c["status"] == "True");
        // The priority is known only once the server has read its class.
        let classed = spec["template"]["spec"]["priorityClassName"].is_string();
        let replicas = spec["replicas"].as_i64().unwrap_or(1);
        if stuck || classed || replicas <= 0 {
            return None;
        }
        let selector = LabelSelector::deserialize(&spec["selector"]).ok()?;
        Some(Self {
            replicas,
            namespace: object["metadata"]["namespace"].as_str()?.to_owned(),
            selector: selector.to_selector().ok()?,
            pod: pod_of(object, "ReplicaSet"),
        })
    }

    /// Whether a pod of its namespace is one of its own.
    fn owns(&self, pod: &PodInfo) -> bool {
        !pod.finished && !pod.terminating && self.selector.matches(&pod.labels)
    }
}

/// Replicas that workloads have been given and that have no pods yet: their
/// nodes can be ordered while the pods are still being made.
pub fn replica_plans<'a>(
    workloads: impl Iterator<Item = &'a Workload>,
    pods: impl Iterator<Item = &'a PodInfo>,
) -> Vec<ReplicaPlan> {
    let mut by_namespace: BTreeMap<&str, Vec<&PodInfo>> = BTreeMap::new();
    for pod in pods {
        by_namespace
            .entry(&pod.key.namespace)
            .or_default()
            .push(pod);
    }
    let mut plans = Vec::new();
    for workload in workloads {
        let near = by_namespace.get(workload.namespace.as_str());
        let near = near.into_iter().flatten();
        let there = near.filter(|pod| workload.owns(pod)).count();
        let there = i64::try_from(there).unwrap_or(i64::MAX);
        let missing = u32::try_from(workload.replicas.saturating_sub(there)).unwrap_or(0);
        if missing > 0 {
            let pod = Arc::new(PodInfo::parse(&workload.pod));
            plans.push(ReplicaPlan { pod, missing });
        }
    }
    plans
}

/// A pod of a DaemonSet object, as it comes with a new node.
pub fn daemon_pod(set: &Value) -> Value {
    pod_of(set, "DaemonSet")
}

/// Whether `pod`, read from `object`, waits for a node that is not in view: the
/// scheduler has found none, and no preemption has picked one.
pub fn waits(object: &Value, pod: &PodInfo) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    let refused = conditions.into_iter().flatten().any(|c| {
        c["type"] == "PodScheduled" && c["status"] == "False" && c["reason"] == "Unschedulable"
    });
    refused && pod.node.is_none() && pod.nominated.is_none() && !pod.finished && !pod.terminating
}

/// A pod as the template of `object` makes it.
fn pod_of(object: &Value, controller: &str) -> Value {
    let (meta, template) = (&object["metadata"], &object["spec"]["template"]);
    json!({
        "metadata": {
            "name": meta["name"], "namespace": meta["namespace"],
            "labels": template["metadata"]["labels"],
            "annotations": template["metadata"]["annotations"],
            "ownerReferences": [
                {"kind": controller, "name": meta["name"], "uid": meta["uid"], "controller": true},
            ],
        },
        "spec": template["spec"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(replicas: i64) -> Value {
        json!({
            "metadata": {"name": "w", "namespace": "team", "uid": "1"},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": "w"}},
                "template": {"metadata": {"labels": {"app": "w"}}, "spec": {"containers": [
                    {"resources": {"limits": {"nvidia.com/gpu": 2}}},
                ]}},
            },
        })
    }

    fn pod(namespace: &str, phase: &str) -> PodInfo {
        PodInfo::parse(&json!({
            "metadata": {"name": "p", "namespace": namespace, "labels": {"app": "w"}},
            "status": {"phase": phase},
        }))
    }

    fn missing(object: &Value, pods: &[PodInfo]) -> Option<u32> {
        let workload = Workload::parse(object);
        let plans = replica_plans(workload.iter(), pods.iter());
        plans.first().map(|p| p.missing)
    }

    #[test]
    fn replicas_without_a_pod_are_planned_as_their_template_makes_them() {
        let object = deployment(3);
        let pods = [
            pod("team", "Running"),
            pod("team", "Failed"),
            pod("other", "Running"),
        ];
        assert_eq!(missing(&object, &pods), Some(2));
        let workload = Workload::parse(&object);
        let plan = &replica_plans(workload.iter(), pods.iter())[0];
        assert_eq!(plan.pod.key.to_string(), "team/w");
        assert_eq!(plan.pod.requests.gpus(), 2);
        assert_eq!(missing(&deployment(1), &pods), None, "all are there");
        assert_eq!(missing(&deployment(0), &[]), None);
    }

    #[test]
    fn nothing_is_planned_for_pods_that_are_refused_or_whose_priority_is_not_known() {
        let mut refused = deployment(3);
        refused["status"]["conditions"] = json!([{"type": "ReplicaFailure", "status": "True"}]);
        assert_eq!(missing(&refused, &[]), None);
        let mut classed = deployment(3);
        classed["spec"]["template"]["spec"]["priorityClassName"] = json!("high");
        assert_eq!(missing(&classed, &[]), None);
        let set = PodInfo::parse(&daemon_pod(&classed));
        assert!(set.is_daemon(), "one of every node needs no priority");
    }

    #[test]
    fn a_pod_waits_once_it_is_refused_and_has_no_node_in_view() {
        let object = |spec: Value, nominated: &str, reason: &str| {
            json!({
                "metadata": {"name": "p", "namespace": "team"}, "spec": spec,
                "status": {"nominatedNodeName": nominated, "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": reason},
                ]},
            })
        };
        let waits = |object: &Value| super::waits(object, &PodInfo::parse(object));
        assert!(waits(&object(json!({}), "", "Unschedulable")));
        assert!(!waits(&object(json!({}), "", "SchedulingGated")));
        assert!(!waits(&object(json!({}), "n", "Unschedulable")));
        assert!(!waits(&object(
            json!({"nodeName": "n"}),
            "",
            "Unschedulable"
        )));
    }
}
