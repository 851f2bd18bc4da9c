//! What other pods have to say about where a pod may go: spread constraints,
//! affinity and anti-affinity in both directions.
//!
//! Worked out once from the whole cluster and then kept up to date pod by pod,
//! so that placing many equal pods does not look at every node for each.

use std::collections::BTreeMap;

use super::filter::{Reason, Rejection, affinity_allows, refuse};
use super::pod::{PodInfo, PodTerm, Spread};
use super::snapshot::{NodeInfo, Snapshot};

/// How many pods stand behind an entry; entries of nobody are not kept.
type Counts<K> = BTreeMap<K, i64>;

/// A pod's neighbours as they matter to it. Holds for every pod of its class.
#[derive(Clone, Debug)]
pub struct Surroundings {
    spread: Vec<Domains>,
    /// Places where a pod is that every affinity term means, for each term.
    wanted: Vec<Counts<String>>,
    /// The pod itself is one that its affinity means.
    meets_itself: bool,
    /// Places that the pod's own anti-affinity rules out, for each term.
    avoided: Vec<Counts<String>>,
    /// Places (topology key, value) that other pods' anti-affinity rules out.
    forbidden: Counts<(String, String)>,
}

/// The domains of one spread constraint and the pods counted in each.
#[derive(Clone, Debug, Default)]
struct Domains {
    counts: Counts<String>,
    /// How many domains have that count.
    sizes: BTreeMap<i64, usize>,
    counts_itself: i64,
}

impl Surroundings {
    /// Looks around for `pod`. A cluster whose pods have no word in it costs a
    /// look at each node at the most.
    pub fn new(pod: &PodInfo, cluster: &Snapshot) -> Self {
        let mut out = Self {
            spread: vec![Domains::default(); pod.spread.len()],
            wanted: vec![Counts::new(); pod.affinity.len()],
            meets_itself: pod.affinity.iter().all(|t| t.meant(pod)),
            avoided: vec![Counts::new(); pod.anti_affinity.len()],
            forbidden: Counts::new(),
        };
        for (domains, constraint) in out.spread.iter_mut().zip(&pod.spread) {
            domains.counts_itself = i64::from(constraint.selector.matches(&pod.labels));
        }
        let looks = pod.looks_at_others();
        for node in cluster.nodes() {
            if looks {
                out.opened(pod, node);
            }
            if looks || node.has_anti_affinity() {
                for other in node.pods.values() {
                    out.shift(pod, other, node, 1);
                }
            }
        }
        out
    }

    /// A node has been added; pods on it are counted by [`Surroundings::shift`].
    pub fn opened(&mut self, pod: &PodInfo, node: &NodeInfo) {
        for (domains, constraint) in self.spread.iter_mut().zip(&pod.spread) {
            if let Some(value) = domain(constraint, pod, node) {
                domains.add(value, 0);
            }
        }
    }

    /// `other` has come to `node` (`by` is 1) or left it (`by` is -1).
    pub fn shift(&mut self, pod: &PodInfo, other: &PodInfo, node: &NodeInfo, by: i64) {
        for (domains, constraint) in self.spread.iter_mut().zip(&pod.spread) {
            if counts(constraint, pod, other)
                && let Some(value) = domain(constraint, pod, node)
            {
                domains.add(value, by);
            }
        }
        let place = |term: &PodTerm| node.labels.get(&term.topology_key);
        if !pod.affinity.is_empty() && pod.affinity.iter().all(|t| t.meant(other)) {
            for (wanted, term) in self.wanted.iter_mut().zip(&pod.affinity) {
                if let Some(value) = place(term) {
                    add(wanted, value.clone(), by);
                }
            }
        }
        for (avoided, term) in self.avoided.iter_mut().zip(&pod.anti_affinity) {
            if let Some(value) = place(term).filter(|_| term.meant(other)) {
                add(avoided, value.clone(), by);
            }
        }
        for term in &other.anti_affinity {
            if let Some(value) = place(term).filter(|_| term.meant(pod)) {
                let key = (term.topology_key.clone(), value.clone());
                add(&mut self.forbidden, key, by);
            }
        }
    }

    /// Whether the neighbours let the pod onto `node`.
    pub(super) fn allow(&self, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
        for (domains, constraint) in self.spread.iter().zip(&pod.spread) {
            domains.allow(constraint, node)?;
        }
        let place = |term: &PodTerm| node.labels.get(&term.topology_key);
        let first_of_its_kind = self.meets_itself && self.wanted.iter().all(BTreeMap::is_empty);
        let near = pod
            .affinity
            .iter()
            .zip(&self.wanted)
            .all(|(t, w)| place(t).is_some_and(|v| first_of_its_kind || w.contains_key(v)));
        if !near {
            return refuse(Reason::PodAffinity, false);
        }
        let too_near = pod
            .anti_affinity
            .iter()
            .zip(&self.avoided)
            .any(|(t, avoided)| place(t).is_some_and(|v| avoided.contains_key(v)));
        if too_near {
            return refuse(Reason::PodAntiAffinity, true);
        }
        if self
            .forbidden
            .keys()
            .any(|(key, value)| node.labels.get(key) == Some(value))
        {
            return refuse(Reason::ExistingAntiAffinity, true);
        }
        Ok(())
    }
}

fn add<K: Ord>(counts: &mut Counts<K>, key: K, by: i64) {
    use std::collections::btree_map::Entry;
    match counts.entry(key) {
        Entry::Occupied(mut entry) => {
            *entry.get_mut() += by;
            if *entry.get() <= 0 {
                entry.remove();
            }
        }
        Entry::Vacant(entry) => {
            if by > 0 {
                entry.insert(by);
            }
        }
    }
}

/// The domain that `node` lies in, if its pods count at all.
fn domain<'n>(constraint: &Spread, pod: &PodInfo, node: &'n NodeInfo) -> Option<&'n String> {
    let value = node.labels.get(&constraint.topology_key)?;
    let all_keys = pod
        .spread
        .iter()
        .all(|c| node.labels.contains_key(&c.topology_key));
    let counted = all_keys
        && (!constraint.honor_affinity || affinity_allows(pod, node))
        && (!constraint.honor_taints || pod.tolerates(&node.taints));
    counted.then_some(value)
}

/// Whether a spread constraint of `pod` counts `other`.
fn counts(constraint: &Spread, pod: &PodInfo, other: &PodInfo) -> bool {
    other.key.namespace == pod.key.namespace
        && !other.terminating
        && constraint.selector.matches(&other.labels)
}

/// Pods on `node` that a spread constraint of `pod` counts.
pub(super) fn matching(constraint: &Spread, pod: &PodInfo, node: &NodeInfo) -> i64 {
    let counted = node.pods.values().filter(|p| counts(constraint, pod, p));
    i64::try_from(counted.count()).unwrap_or(i64::MAX)
}

impl Domains {
    /// Makes sure that the domain is known and counts `by` more pods in it.
    fn add(&mut self, value: &str, by: i64) {
        let old = self.counts.get(value).copied();
        if by == 0 && old.is_some() {
            return;
        }
        let new = old.unwrap_or(0) + by;
        if let Some(old) = old
            && let Some(many) = self.sizes.get_mut(&old)
        {
            *many -= 1;
            if *many == 0 {
                self.sizes.remove(&old);
            }
        }
        *self.sizes.entry(new).or_default() += 1;
        match self.counts.get_mut(value) {
            Some(count) => *count = new,
            None => {
                self.counts.insert(value.to_owned(), new);
            }
        }
    }

    fn smallest(&self, constraint: &Spread) -> i64 {
        let domains = i64::try_from(self.counts.len()).unwrap_or(i64::MAX);
        if domains < constraint.min_domains {
            return 0;
        }
        self.sizes.keys().next().copied().unwrap_or(0)
    }

    fn allow(&self, constraint: &Spread, node: &NodeInfo) -> Result<(), Rejection> {
        let Some(value) = node.labels.get(&constraint.topology_key) else {
            return refuse(Reason::SpreadLabel, false);
        };
        let here = self.counts.get(value).copied().unwrap_or(0);
        if here + self.counts_itself - self.smallest(constraint) > constraint.max_skew {
            return refuse(Reason::Spread, true);
        }
        Ok(())
    }
}
