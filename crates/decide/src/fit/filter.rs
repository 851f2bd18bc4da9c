//! Whether a pod may run on a node, and if not, every reason that counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::pod::{PodInfo, PodTerm, Spread, Taint};
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

fn refuse(reason: Reason, resolvable: bool) -> Result<(), Rejection> {
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
    spread: Vec<Domains<'p>>,
    /// Places (topology key, value) where a pod is that every affinity term means.
    wanted: Vec<BTreeSet<String>>,
    /// No pod anywhere is meant, and the pod itself would be.
    first_of_its_kind: bool,
    /// Places that the pod's own anti-affinity rules out.
    avoided: Vec<BTreeSet<String>>,
    /// Places that other pods' anti-affinity rules out for this pod.
    forbidden: BTreeSet<(String, String)>,
}

#[derive(Debug)]
struct Domains<'p> {
    constraint: &'p Spread,
    counts: BTreeMap<String, i64>,
    smallest: i64,
    counts_itself: i64,
}

impl<'p> Check<'p> {
    /// Prepares the checks of `pod` against `cluster`.
    pub fn new(pod: &'p PodInfo, cluster: &Snapshot) -> Self {
        let spread = pod
            .spread
            .iter()
            .map(|c| Domains::count(c, pod, cluster))
            .collect();
        let places = |term: &PodTerm, meant: &dyn Fn(&PodInfo) -> bool| {
            cluster
                .nodes()
                .filter_map(|n| Some((n, n.labels.get(&term.topology_key)?)))
                .filter(|(n, _)| n.pods.values().any(|p| meant(p)))
                .map(|(_, value)| value.clone())
                .collect::<BTreeSet<_>>()
        };
        let all_terms = |p: &PodInfo| pod.affinity.iter().all(|t| t.meant(p));
        let wanted: Vec<_> = pod.affinity.iter().map(|t| places(t, &all_terms)).collect();
        let first_of_its_kind = wanted.iter().all(BTreeSet::is_empty) && all_terms(pod);
        let avoided = pod
            .anti_affinity
            .iter()
            .map(|t| places(t, &|p| t.meant(p)))
            .collect();
        let mut forbidden = BTreeSet::new();
        for node in cluster.nodes().filter(|n| n.has_anti_affinity()) {
            for term in node.pods.values().flat_map(|p| &p.anti_affinity) {
                if let Some(value) = node.labels.get(&term.topology_key)
                    && term.meant(pod)
                {
                    forbidden.insert((term.topology_key.clone(), value.clone()));
                }
            }
        }
        Self {
            pod,
            spread,
            wanted,
            first_of_its_kind,
            avoided,
            forbidden,
        }
    }

    /// Whether `node` takes the pod. The order of the checks is the
    /// scheduler's, and only the first that fails speaks.
    pub fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        on_node(self.pod, node)?;
        fits(self.pod, node)?;
        for domains in &self.spread {
            domains.allow(node)?;
        }
        self.allow_by_neighbours(node)
    }

    fn allow_by_neighbours(&self, node: &NodeInfo) -> Result<(), Rejection> {
        let place = |term: &PodTerm| node.labels.get(&term.topology_key);
        let near = self
            .pod
            .affinity
            .iter()
            .zip(&self.wanted)
            .all(|(t, w)| place(t).is_some_and(|v| self.first_of_its_kind || w.contains(v)));
        if !near {
            return refuse(Reason::PodAffinity, false);
        }
        let too_near = self
            .pod
            .anti_affinity
            .iter()
            .zip(&self.avoided)
            .any(|(t, avoided)| place(t).is_some_and(|v| avoided.contains(v)));
        if too_near {
            return refuse(Reason::PodAntiAffinity, true);
        }
        if self
            .forbidden
            .iter()
            .any(|(key, value)| node.labels.get(key) == Some(value))
        {
            return refuse(Reason::ExistingAntiAffinity, true);
        }
        Ok(())
    }
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

impl<'p> Domains<'p> {
    fn count(constraint: &'p Spread, pod: &PodInfo, cluster: &Snapshot) -> Self {
        let mut counts: BTreeMap<String, i64> = BTreeMap::new();
        let all_keys = |node: &NodeInfo| {
            pod.spread
                .iter()
                .all(|c| node.labels.contains_key(&c.topology_key))
        };
        for node in cluster.nodes().filter(|n| all_keys(n)) {
            let counted = (!constraint.honor_affinity || affinity_allows(pod, node))
                && (!constraint.honor_taints || pod.tolerates(&node.taints));
            let Some(value) = node
                .labels
                .get(&constraint.topology_key)
                .filter(|_| counted)
            else {
                continue;
            };
            *counts.entry(value.clone()).or_default() += matching(constraint, pod, node);
        }
        let enough = i64::try_from(counts.len()).unwrap_or(i64::MAX) >= constraint.min_domains;
        let smallest = if enough {
            counts.values().copied().min().unwrap_or(0)
        } else {
            0
        };
        let counts_itself = i64::from(constraint.selector.matches(&pod.labels));
        Self {
            constraint,
            counts,
            smallest,
            counts_itself,
        }
    }

    fn allow(&self, node: &NodeInfo) -> Result<(), Rejection> {
        let Some(value) = node.labels.get(&self.constraint.topology_key) else {
            return refuse(Reason::SpreadLabel, false);
        };
        let here = self.counts.get(value).copied().unwrap_or(0);
        if here + self.counts_itself - self.smallest > self.constraint.max_skew {
            return refuse(Reason::Spread, true);
        }
        Ok(())
    }
}

/// Pods on `node` that a spread constraint of `pod` counts.
pub(super) fn matching(constraint: &Spread, pod: &PodInfo, node: &NodeInfo) -> i64 {
    let counted = node.pods.values().filter(|p| {
        p.key.namespace == pod.key.namespace
            && !p.terminating
            && constraint.selector.matches(&p.labels)
    });
    i64::try_from(counted.count()).unwrap_or(i64::MAX)
}
