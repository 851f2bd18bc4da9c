//! Why a replica count is what it is: one type tree over the explanations that
//! decisions carry.
//!
//! Each part of the core explains its own decisions ([`crate::hpa`],
//! [`crate::scale`], [`crate::nodes`]). A [`Record`] puts one of them beside
//! its time and object. A log is a sequence of records, one JSON object a line;
//! it is kept in order of time by whoever decides: the lab, the operator, a
//! replay.

mod account;
mod history;
mod text;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{hpa, nodes, scale};

pub use account::{Account, Kind, Missing, Question, account, moment};
pub use history::{History, Limits};
pub use text::render;

/// One decision with its time, object and reasons: one line of a log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// When it was decided.
    pub time: Timestamp,
    /// The object whose rule decided.
    pub object: Object,
    /// The workload whose replicas or pods it is about, in the object's
    /// namespace. Records are joined by it.
    pub target: Workload,
    /// Why.
    pub explanation: Explanation,
}

/// An object of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Object {
    /// `HorizontalPodAutoscaler`, `ScaledObject`, `Deployment` ….
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A workload of a known namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Workload {
    /// `Deployment`, `StatefulSet` or a kind of the user's own.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// What one part of the core has to say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "camelCase")]
pub enum Explanation {
    /// The autoscaler's replica count.
    Hpa(hpa::Explanation),
    /// One poll of a ScaledObject.
    ScaledObject(scale::Explanation),
    /// Pods of the workload that wait for a node.
    Nodes(WaitingPods),
}

/// Pods without a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WaitingPods {
    /// What becomes of each, by name. Empty when none waits any more.
    pub pods: BTreeMap<String, nodes::PodOutcome>,
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.to_lowercase(), self.name)
    }
}
