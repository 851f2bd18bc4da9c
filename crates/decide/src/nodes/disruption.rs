//! Which pods may be made to move, and what keeps them where they are.

use std::sync::Arc;

use crate::budget::Budget;
use crate::fit::{NodeInfo, PodInfo};

const SAFE: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";
const SAFE_VOLUMES: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes";
const DISABLED: &str = "cluster-autoscaler.kubernetes.io/scale-down-disabled";
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Kinds of controllers that make a new pod when one is evicted.
const REPLACING: [&str; 4] = ["ReplicaSet", "ReplicationController", "Job", "StatefulSet"];

/// What the budgets still allow while a plan takes from them.
pub(super) struct Budgets<'a> {
    left: Vec<(&'a Budget, Option<i64>)>,
}

impl<'a> Budgets<'a> {
    pub fn new(budgets: &'a [Budget]) -> Self {
        Self {
            left: budgets.iter().map(|b| (b, b.allowed())).collect(),
        }
    }

    /// The pods go.
    pub fn take(&mut self, pods: &[Arc<PodInfo>]) {
        for (budget, left) in &mut self.left {
            let covered = pods.iter().filter(|p| covers(budget, p)).count();
            let covered = i64::try_from(covered).unwrap_or(i64::MAX);
            *left = left.map(|left| left.saturating_sub(covered));
        }
    }

    /// The sentence about a budget that lets none of `pods` go.
    ///
    /// One that lets some of them go is no obstacle: the others follow when it
    /// allows more.
    pub fn refusal(&self, pods: &[Arc<PodInfo>]) -> Option<String> {
        for pod in pods {
            let covering: Vec<_> = self.left.iter().filter(|(b, _)| covers(b, pod)).collect();
            if covering.len() > 1 {
                // The eviction API refuses such a pod for ever.
                return Some(format!(
                    "pod {} has more than one PodDisruptionBudget",
                    pod.key
                ));
            }
            if let Some((budget, _)) = covering
                .iter()
                .find(|(_, left)| left.is_some_and(|n| n < 1))
            {
                return Some(format!(
                    "PodDisruptionBudget {} allows no eviction of pod {}",
                    budget.name, pod.key
                ));
            }
        }
        None
    }

    fn covers(&self, pod: &PodInfo) -> bool {
        self.left.iter().any(|(b, _)| covers(b, pod))
    }
}

fn covers(budget: &Budget, pod: &PodInfo) -> bool {
    budget.namespace == pod.key.namespace && budget.selector.matches(&pod.labels)
}

/// Whether its owner wants a node kept.
pub(super) fn disabled(node: &NodeInfo) -> Option<String> {
    let off = node.annotations.get(DISABLED).is_some_and(|v| v == "true");
    off.then(|| format!("annotation {DISABLED} is true"))
}

/// Whether a pod is no reason to keep a node: it is there for the node's sake.
pub(super) fn goes_with_node(pod: &PodInfo) -> bool {
    pod.is_daemon() || pod.annotations.contains_key(MIRROR)
}

/// Why a pod may not be evicted to empty its node, as one word and as a
/// sentence; the first rule that knows
/// the pod decides (cluster autoscaler, drainability rules).
pub(super) fn blocker(
    pod: &PodInfo,
    budgets: &Budgets<'_>,
    local_storage: bool,
) -> Option<(&'static str, String)> {
    let why = |what: &str| Some(("BlockedByPod", format!("pod {} {what}", pod.key)));
    let safe = pod.annotations.get(SAFE).map(String::as_str);
    match safe {
        Some("true") => return None,
        Some("on-completion") => {
            let (_, detail) = why("is to complete first (safe-to-evict=on-completion)")?;
            return Some(("BlockedByOnCompletionPod", detail));
        }
        _ => {}
    }
    let replaced = pod
        .controller
        .as_ref()
        .is_some_and(|(kind, _)| REPLACING.contains(&kind.as_str()));
    if !replaced {
        return why("has no controller that would replace it");
    }
    if &*pod.key.namespace == "kube-system" && !budgets.covers(pod) {
        return why("is in kube-system and has no PodDisruptionBudget");
    }
    if safe == Some("false") {
        return why("is not safe to evict (safe-to-evict=false)");
    }
    let spared = pod.annotations.get(SAFE_VOLUMES).map_or("", String::as_str);
    let volume = pod
        .local_volumes
        .iter()
        .find(|v| !spared.split(',').any(|s| s == v.as_str()));
    match volume {
        Some(volume) if local_storage => why(&format!("keeps data on the node (volume {volume})")),
        _ => None,
    }
}
