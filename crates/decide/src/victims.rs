//! Which pods go first when a workload shrinks: the replica set's order.

use std::cmp::{Ordering, Reverse};

use jiff::Timestamp;

/// The annotation with which a pod says how much its loss costs.
pub const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// What counts about a pod.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// It has a node.
    pub assigned: bool,
    /// 0 pending, 1 unknown, 2 running.
    pub phase: u8,
    /// It is ready.
    pub ready: bool,
    /// Value of the annotation [`COST`], 0 without.
    pub cost: i32,
    /// Pods of the workload on its node.
    pub siblings: i64,
    /// Since when it is ready.
    pub ready_since: Option<Timestamp>,
    /// Most restarts of a container.
    pub restarts: i64,
    /// When it was created.
    pub created: Timestamp,
    /// Its uid, which decides between equals.
    pub uid: &'a str,
}

/// The place of a duration on a logarithmic scale: pods of about the same age
/// count as equally old, so that their random uids decide.
fn magnitude(from: Timestamp, now: Timestamp) -> u32 {
    let nanos = now.duration_since(from).as_nanos();
    u128::try_from(nanos)
        .ok()
        .and_then(u128::checked_ilog2)
        .unwrap_or(0)
}

/// `Less`: the first goes before the second.
pub fn order(a: &Candidate<'_>, b: &Candidate<'_>, now: Timestamp) -> Ordering {
    let rank = |c: &Candidate<'_>| (c.assigned, c.phase, c.ready, c.cost, Reverse(c.siblings));
    let ready_age = |c: &Candidate<'_>| c.ready_since.map_or(0, |t| magnitude(t, now));
    rank(a)
        .cmp(&rank(b))
        .then_with(|| {
            if a.ready_since == b.ready_since {
                return Ordering::Equal;
            }
            ready_age(a)
                .cmp(&ready_age(b))
                .then_with(|| a.uid.cmp(b.uid))
        })
        .then_with(|| b.restarts.cmp(&a.restarts))
        .then_with(|| magnitude(a.created, now).cmp(&magnitude(b.created, now)))
        .then_with(|| a.uid.cmp(b.uid))
}
