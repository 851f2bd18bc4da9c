//! Node planning: how many nodes each pool should have, which node may go, and
//! what to tell about it.
//!
//! One pure function, [`plan`]: pools, nodes and pods as observed go in; orders,
//! removals, events, the next state and the time to look again come out, with
//! the reason for each pod and each node. Planning again on what a plan has
//! brought about changes nothing.

mod disruption;
mod down;
mod events;
mod expander;
mod explain;
mod fail;
mod replicas;
mod types;
mod up;
mod world;

#[cfg(test)]
mod tests;

use jiff::Timestamp;

pub use events::{Event, Target};
pub use expander::{Priorities, PrioritiesError};
pub use explain::{Explanation, NodeOutcome, PodOutcome, ReplicaOutcome};
pub use replicas::{Workload, daemon_pod, replica_plans, waits};
pub use types::{
    Backoff, Instance, InstanceState, Leaving, Observed, Order, Owed, Plan, PoolView, Registration,
    Removal, ReplicaPlan, Settings, State, TaintChange, Told,
};

use world::World;

/// Key of the taint on a node that is about to go.
pub const LEAVING_TAINT: &str = "ToBeDeletedByClusterAutoscaler";
/// Key of the soft taint on a node that nobody needs at the moment.
pub const CANDIDATE_TAINT: &str = "DeletionCandidateOfClusterAutoscaler";

/// Plans once.
pub fn plan(settings: &Settings, seen: &Observed, state: &State, now: Timestamp) -> Plan {
    let mut plan = Plan {
        state: state.clone(),
        ..Plan::default()
    };
    plan.state.follow(settings, seen, now);
    fail::handle(settings, seen, now, &mut plan);
    let mut world = World::new(settings, seen, &plan, now);
    up::handle(settings, seen, now, &mut world, &mut plan);
    down::handle(settings, seen, now, &mut world, &mut plan);
    let until = plan
        .state
        .backoffs
        .values()
        .map(|b| b.until)
        .filter(|t| *t > now)
        .min();
    plan.wake_at(until);
    plan
}
