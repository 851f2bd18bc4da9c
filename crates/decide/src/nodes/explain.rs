//! Why a plan is what it is: one outcome for each pod and each node.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The reasons behind a plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Explanation {
    /// What becomes of each pod without a node, by `namespace/name`.
    pub pods: BTreeMap<String, PodOutcome>,
    /// What becomes of each node of a pool that may change its size.
    pub nodes: BTreeMap<String, NodeOutcome>,
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
        /// What.
        reason: &'static str,
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
