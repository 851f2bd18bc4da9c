//! The planner's events, worded as the cluster autoscaler words them.

use std::time::Duration;

use api::duration::GoDuration;

use super::types::{Instance, Order, PoolView};
use crate::fit::{PodInfo, PodKey};

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A pod and its uid.
    Pod(PodKey, String),
    /// A node.
    Node(String),
    /// The status ConfigMap, for what is about a pool.
    Status,
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// About what.
    pub target: Target,
    /// A warning rather than normal.
    pub warning: bool,
    /// One word.
    pub reason: &'static str,
    /// The sentence.
    pub message: String,
}

impl Event {
    fn new(target: Target, warning: bool, reason: &'static str, message: String) -> Self {
        Self {
            target,
            warning,
            reason,
            message,
        }
    }

    /// `sizes` are the group's size before, after, and at the most.
    pub(super) fn triggered(pod: &PodInfo, group: &str, sizes: (u32, u32, u32)) -> Self {
        let (from, to, max) = sizes;
        let message = format!("pod triggered scale-up: [{{{group} {from}->{to} (max: {max})}}]");
        Self::new(pod_target(pod), false, "TriggeredScaleUp", message)
    }

    pub(super) fn not_triggered(pod: &PodInfo, why: &str) -> Self {
        let message = format!("pod didn't trigger scale-up: {why}");
        Self::new(pod_target(pod), false, "NotTriggerScaleUp", message)
    }

    pub(super) fn ordering(pool: &PoolView, to: u32) -> Self {
        let PoolView {
            group, target, max, ..
        } = pool;
        let message = format!(
            "Scale-up: setting group {group} size to {to} instead of {target} (max: {max})"
        );
        Self::new(Target::Status, false, "ScaledUpGroup", message)
    }

    pub(super) fn ordered(pool: &PoolView, to: u32) -> Self {
        let PoolView {
            group, target, max, ..
        } = pool;
        let message =
            format!("Scale-up: group {group} size set to {to} instead of {target} (max: {max})");
        Self::new(Target::Status, false, "ScaledUpGroup", message)
    }

    /// The cloud has refused an order.
    pub fn refused(order: &Order, error: &str) -> Self {
        let message = format!("Scale-up failed for group {}: {error}", order.group);
        Self::new(Target::Status, true, "FailedToScaleUpGroup", message)
    }

    /// The cloud has refused to remove a node.
    pub fn not_removed(node: &str, error: &str) -> Self {
        let message = format!("failed to delete empty node: {error}");
        Self::new(
            Target::Node(node.to_owned()),
            true,
            "ScaleDownFailed",
            message,
        )
    }

    pub(super) fn did_not_come(
        group: &str,
        count: usize,
        class: &str,
        code: &str,
        message: &str,
    ) -> Self {
        let message = format!(
            "Failed adding {count} nodes to group {group} due to {class}.{code}; \
             source errors: {message}"
        );
        Self::new(Target::Status, true, "ScaleUpFailed", message)
    }

    pub(super) fn timed_out(group: &str, after: Duration) -> Self {
        let message = format!(
            "Nodes added to group {group} failed to register within {}",
            go(after)
        );
        Self::new(Target::Status, true, "ScaleUpTimedOut", message)
    }

    pub(super) fn given_up(instance: &Instance) -> Self {
        let message = format!("Removed unregistered node {}", instance.name);
        Self::new(Target::Status, false, "DeleteUnregistered", message)
    }

    pub(super) fn vanished(instance: &Instance, ago: Duration) -> Self {
        let message = format!(
            "Removed unregistered node {}: its Node object has been gone for {}",
            instance.name,
            go(ago)
        );
        Self::new(Target::Status, false, "DeleteUnregistered", message)
    }

    pub(super) fn marked(node: &str) -> Self {
        let message = "marked the node as toBeDeleted/unschedulable".to_owned();
        Self::new(Target::Node(node.to_owned()), false, "ScaleDown", message)
    }

    pub(super) fn kept(node: &str, why: &str) -> Self {
        let message = format!("node is little used and stays: {why}");
        let target = Target::Node(node.to_owned());
        Self::new(target, false, "ScaleDownBlocked", message)
    }

    pub(super) fn removing_empty(node: &str) -> Self {
        let message = format!("Scale-down: removing empty node \"{node}\"");
        Self::new(Target::Status, false, "ScaleDownEmpty", message)
    }

    pub(super) fn removed_empty(node: &str) -> Self {
        let message = format!("Scale-down: empty node {node} removed");
        Self::new(Target::Status, false, "ScaleDownEmpty", message)
    }

    pub(super) fn removing(node: &str, utilization: f64, pods: &[PodKey]) -> Self {
        let pods: Vec<&str> = pods.iter().map(|p| &*p.name).collect();
        let message = format!(
            "Scale-down: removing node {node}, utilization: {utilization:.2}, \
             pods to reschedule: {}",
            pods.join(",")
        );
        Self::new(Target::Status, false, "ScaleDown", message)
    }

    pub(super) fn removed(node: &str) -> Self {
        let message = format!("Scale-down: node {node} removed with drain");
        Self::new(Target::Status, false, "ScaleDown", message)
    }

    pub(super) fn not_drained(node: &str, pods: &[&PodInfo], after: Duration) -> Self {
        let names: Vec<String> = pods.iter().map(|p| p.key.to_string()).collect();
        let message = format!(
            "failed to drain and delete node: pods still there after {}: {}",
            go(after),
            names.join(", ")
        );
        let target = Target::Node(node.to_owned());
        Self::new(target, true, "ScaleDownFailed", message)
    }

    pub(super) fn not_moved(pod: &PodInfo) -> Self {
        let message = "failed to delete pod for ScaleDown".to_owned();
        Self::new(pod_target(pod), true, "ScaleDownFailed", message)
    }

    pub(super) fn moving(pod: &PodInfo) -> Self {
        let message = "deleting pod for node scale down".to_owned();
        Self::new(pod_target(pod), false, "ScaleDown", message)
    }
}

fn pod_target(pod: &PodInfo) -> Target {
    Target::Pod(pod.key.clone(), pod.uid.clone())
}

/// A span as the originals print it, in whole seconds: `15m0s`.
fn go(span: Duration) -> GoDuration {
    GoDuration::from_secs(i64::try_from(span.as_secs()).unwrap_or(i64::MAX))
}
