//! Why a plan is what it is: one outcome for each pod and each node.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::types::ReplicaPlan;

/// The reasons behind a plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Explanation {
    /// What becomes of each pod without a node, by `namespace/name`.
    pub pods: BTreeMap<String, PodOutcome>,
    /// What becomes of each node of a pool that may change its size.
    pub nodes: BTreeMap<String, NodeOutcome>,
    /// What becomes of the planned replicas, in the order in which they were given.
    pub replicas: Vec<ReplicaOutcome>,
}

/// What becomes of replicas that are planned and do not exist yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaOutcome {
    /// `namespace/name` of the workload.
    pub workload: String,
    /// How many have room on nodes that are there.
    pub fit: u32,
    /// How many have room on nodes that are on their way.
    pub upcoming: u32,
    /// How many have nodes ordered for them by this plan.
    pub ordered: u32,
    /// How many cannot be had at the moment: no pool grows for them.
    pub refused: u32,
    /// Why not, by group.
    pub reasons: BTreeMap<String, Vec<String>>,
}

impl ReplicaOutcome {
    pub(super) fn new(plan: &ReplicaPlan) -> Self {
        Self {
            workload: plan.pod.key.to_string(),
            ..Self::default()
        }
    }

    pub(super) fn count(&mut self, outcome: &PodOutcome) {
        match outcome {
            PodOutcome::Fits { .. } => self.fit += 1,
            PodOutcome::WaitsFor { .. } => self.upcoming += 1,
            PodOutcome::Ordered { .. } => self.ordered += 1,
            PodOutcome::Expendable => {}
            PodOutcome::Refused { reasons } => {
                self.refused += 1;
                if self.reasons.is_empty() {
                    self.reasons.clone_from(reasons);
                }
            }
        }
    }

    /// How many of the planned replicas can be had with the pools as they are.
    pub fn obtainable(&self) -> u32 {
        self.fit + self.upcoming + self.ordered
    }
}

/// What becomes of a pod without a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PodOutcome {
    /// A node has room for it.
    Fits {
        /// The node.
        node: String,
    },
    /// A node on its way will take it.
    WaitsFor {
        /// The node.
        node: String,
    },
    /// A node was ordered for it.
    Ordered {
        /// The group.
        group: String,
    },
    /// No pool can help.
    Refused {
        /// Why, by group.
        reasons: BTreeMap<String, Vec<String>>,
    },
    /// Its priority is too low to make a pool grow.
    Expendable,
}

/// What becomes of a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum NodeOutcome {
    /// Ordered, or not usable yet.
    Upcoming {
        /// When it was ordered.
        ordered: Timestamp,
    },
    /// Used enough, or wanted by a pod that waits.
    Needed {
        /// Share in use, 0 to 1.
        utilization: f64,
    },
    /// Little used, but something keeps it.
    Kept {
        /// What, in the cluster autoscaler's one word.
        reason: &'static str,
        /// The sentence: which pod, annotation or budget.
        detail: String,
    },
    /// Not needed; it goes at that time unless it is needed again.
    Unneeded {
        /// Since when.
        since: Timestamp,
        /// When it goes.
        until: Timestamp,
    },
    /// On its way out.
    Leaving,
}
