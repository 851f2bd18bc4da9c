//! Whether a pod may run on a node, and if not, every reason that counts.

use std::fmt;
use std::sync::Arc;

use super::around::Surroundings;
use super::pod::{PodInfo, Taint};
use super::snapshot::{NodeInfo, Snapshot};

/// Why a node does not take a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The node is cordoned.
    Unschedulable,
    /// The pod names another node.
    OtherName,
    /// A hard taint without toleration.
    Taint,
    /// Node selector or required node affinity.
    Affinity,
    /// A host port is taken.
    Ports,
    /// The node's pod count is used up.
    TooManyPods,
    /// A resource is short.
    Insufficient(Arc<str>),
    /// A topology spread constraint would be broken.
    Spread,
    /// The node lacks a constraint's topology label.
    SpreadLabel,
    /// Affinity to pods.
    PodAffinity,
    /// The pod's own anti-affinity.
    PodAntiAffinity,
    /// The anti-affinity of a pod that is there already.
    ExistingAntiAffinity,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unschedulable => "node(s) were unschedulable",
            Self::OtherName => "node(s) didn't match the requested node name",
            Self::Taint => "node(s) had untolerated taint(s)",
            Self::Affinity => "node(s) didn't match Pod's node affinity/selector",
            Self::Ports => "node(s) didn't have free ports for the requested pod ports",
            Self::TooManyPods => "Too many pods",
            Self::Insufficient(name) => return write!(f, "Insufficient {name}"),
            Self::Spread => "node(s) didn't match pod topology spread constraints",
            Self::SpreadLabel => {
                "node(s) didn't match pod topology spread constraints (missing required label)"
            }
            Self::PodAffinity => "node(s) didn't match pod affinity rules",
            Self::PodAntiAffinity => "node(s) didn't match pod anti-affinity rules",
            Self::ExistingAntiAffinity => {
                "node(s) didn't satisfy existing pods anti-affinity rules"
            }
        })
    }
}

/// A node's refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Every reason of the first check that failed.
    pub reasons: Vec<Reason>,
    /// Whether removing other pods could help.
    pub resolvable: bool,
}

impl Rejection {
    /// Whether it can only pass when pods leave this very node or the node
    /// changes: pods that come elsewhere do not help.
    pub fn is_lasting(&self) -> bool {
        self.reasons.iter().all(|r| {
            !matches!(
                r,
                Reason::Spread
                    | Reason::PodAffinity
                    | Reason::PodAntiAffinity
                    | Reason::ExistingAntiAffinity
            )
        })
    }
}

pub(super) fn refuse(reason: Reason, resolvable: bool) -> Result<(), Rejection> {
    Err(Rejection {
        reasons: vec![reason],
        resolvable,
    })
}

/// The checks of one pod against a cluster, with what depends on all nodes
/// worked out once.
#[derive(Debug)]
pub struct Check<'p> {
    pod: &'p PodInfo,
    around: Surroundings,
}

impl<'p> Check<'p> {
    /// Prepares the checks of `pod` against `cluster`.
    pub fn new(pod: &'p PodInfo, cluster: &Snapshot) -> Self {
        let around = Surroundings::new(pod, cluster);
        Self { pod, around }
    }

    /// Whether `node` takes the pod.
    pub fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        filter(self.pod, &self.around, node)
    }
}

/// Whether `node` takes a pod with these surroundings. The order of the checks
/// is the scheduler's, and only the first that fails speaks.
pub fn filter(pod: &PodInfo, around: &Surroundings, node: &NodeInfo) -> Result<(), Rejection> {
    on_node(pod, node)?;
    fits(pod, node)?;
    around.allow(pod, node)
}

/// The checks that need the node alone and no amounts.
fn on_node(pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    if node.unschedulable {
        let cordon = Taint {
            key: "node.kubernetes.io/unschedulable".to_owned(),
            value: String::new(),
            effect: "NoSchedule".to_owned(),
        };
        if !pod.covers(&cordon) {
            return refuse(Reason::Unschedulable, false);
        }
    }
    if pod.node.as_ref().is_some_and(|name| *name != node.name) {
        return refuse(Reason::OtherName, false);
    }
    if !pod.tolerates(&node.taints) {
        return refuse(Reason::Taint, false);
    }
    if !affinity_allows(pod, node) {
        return refuse(Reason::Affinity, false);
    }
    let taken = |port| {
        node.pods
            .values()
            .flat_map(|p| &p.ports)
            .any(|held: &super::pod::HostPort| held.clashes(port))
    };
    if node.has_ports() && pod.ports.iter().any(taken) {
        return refuse(Reason::Ports, true);
    }
    Ok(())
}

/// Node selector and required node affinity.
pub(super) fn affinity_allows(pod: &PodInfo, node: &NodeInfo) -> bool {
    pod.node_selector
        .iter()
        .all(|(k, v)| node.labels.get(k) == Some(v))
        && pod
            .required
            .as_ref()
            .is_none_or(|terms| terms.iter().any(|t| t.matches(&node.name, &node.labels)))
}

/// Whether the node has room, with every resource that is short.
fn fits(pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    let mut reasons = Vec::new();
    let mut resolvable = true;
    if i64::try_from(node.pods.len()).unwrap_or(i64::MAX) >= node.allocatable.pods {
        reasons.push(Reason::TooManyPods);
    }
    let mut room = |name: &dyn Fn() -> Arc<str>, asked: i64, all: i64, used: i64| {
        if asked > 0 && asked > all - used {
            reasons.push(Reason::Insufficient(name()));
            resolvable &= asked <= all;
        }
    };
    let (asked, all, used) = (&pod.requests, &node.allocatable, &node.used);
    room(&|| Arc::from("cpu"), asked.cpu, all.cpu, used.cpu);
    room(
        &|| Arc::from("memory"),
        asked.memory,
        all.memory,
        used.memory,
    );
    let storage = (
        asked.ephemeral_storage,
        all.ephemeral_storage,
        used.ephemeral_storage,
    );
    room(
        &|| Arc::from("ephemeral-storage"),
        storage.0,
        storage.1,
        storage.2,
    );
    for (name, amount) in &asked.extended {
        room(&|| name.clone(), *amount, all.get(name), used.get(name));
    }
    if reasons.is_empty() {
        Ok(())
    } else {
        Err(Rejection {
            reasons,
            resolvable,
        })
    }
}
