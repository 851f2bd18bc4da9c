//! Shrinking: nodes that nobody needs go after a while.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::disruption::{Budgets, blocker, disabled, goes_with_node};
use super::events::Event;
use super::explain::NodeOutcome;
use super::types::{
    InstanceState, Leaving, Observed, Plan, PoolView, Removal, Settings, State, TaintChange, Told,
    after, elapsed,
};
use super::world::{World, usable};
use super::{CANDIDATE_TAINT, LEAVING_TAINT};
use crate::fit::{NodeInfo, PodInfo};

/// How long a taint may take to be seen.
const UNSEEN: Duration = Duration::from_secs(15);
const NO_PLACE: &str = "NoPlaceToMovePods";
/// Reasons why a node stays that the owners of pods and nodes can change.
const TOLD: [&str; 3] = [
    "ScaleDownDisabledAnnotation",
    "BlockedByPod",
    "BlockedByOnCompletionPod",
];

/// A node that might go.
struct Candidate<'a> {
    pool: &'a PoolView,
    node: &'a NodeInfo,
    /// It has been there for long and cannot be used.
    unready: bool,
    utilization: f64,
    /// Pods that would have to move.
    pods: Vec<Arc<PodInfo>>,
}

impl Candidate<'_> {
    /// Since when it is not needed, or not usable; from now on if that is new.
    fn since(&self, now: Timestamp, state: &mut State) -> Timestamp {
        let (is, was) = if self.unready {
            (&mut state.unready, &mut state.unneeded)
        } else {
            (&mut state.unneeded, &mut state.unready)
        };
        was.remove(&*self.node.name);
        *is.entry(self.node.name.to_string()).or_insert(now)
    }
}

/// Marks, empties and removes nodes that are not needed.
pub(super) fn handle(
    settings: &Settings,
    seen: &Observed,
    now: Timestamp,
    world: &mut World,
    plan: &mut Plan,
) {
    let budgets = Budgets::new(&seen.budgets);
    let mut candidates = Vec::new();
    for pool in seen.pools.iter().filter(|p| p.scales()) {
        for instance in &pool.instances {
            let explain = |plan: &mut Plan, outcome| {
                plan.explanation
                    .nodes
                    .insert(instance.name.clone(), outcome);
            };
            if instance.state == InstanceState::Deleting {
                explain(plan, NodeOutcome::Leaving);
                continue;
            }
            let Some(node) = seen.cluster.node(&instance.name) else {
                explain(
                    plan,
                    NodeOutcome::Upcoming {
                        ordered: instance.ordered,
                    },
                );
                continue;
            };
            if node.taints.iter().any(|t| t.key == LEAVING_TAINT) {
                explain(plan, NodeOutcome::Leaving);
                leave(settings, pool, node, &budgets, now, plan);
                continue;
            }
            // The taint was asked for a moment ago and is not seen yet.
            let asked = plan.state.leaving.get(&instance.name).map(|l| l.since);
            if asked.is_some_and(|at| elapsed(at, now) < UNSEEN) {
                explain(plan, NodeOutcome::Leaving);
                plan.wake_at(asked.map(|at| after(at, UNSEEN)));
                continue;
            }
            plan.state.leaving.remove(&instance.name);
            if world.upcoming.contains_key(&instance.name) {
                plan.state.unneeded.remove(&instance.name);
                plan.state.unready.remove(&instance.name);
                explain(
                    plan,
                    NodeOutcome::Upcoming {
                        ordered: instance.ordered,
                    },
                );
                continue;
            }
            match consider(settings, pool, node, world, &budgets) {
                Ok(candidate) => candidates.push(candidate),
                Err(outcome) => {
                    explain(plan, outcome);
                    needed(node, plan);
                }
            }
        }
    }
    // Empty nodes first, then the least used; the youngest name first among equals,
    // so that a pool keeps its oldest nodes.
    candidates.sort_by(|a, b| {
        (a.pods.len().min(1).cmp(&b.pods.len().min(1)))
            .then(a.utilization.total_cmp(&b.utilization))
            .then(a.pods.len().cmp(&b.pods.len()))
            .then(b.node.name.cmp(&a.node.name))
    });
    let leaving = seen
        .pools
        .iter()
        .map(|pool| (pool.group.clone(), count_leaving(pool, seen, &plan.state)))
        .collect();
    select(settings, now, world, budgets, candidates, leaving, plan);
    tell_kept(settings, now, plan);
}

/// Nodes of a pool that are on their way out and still count in its target.
fn count_leaving(pool: &PoolView, seen: &Observed, state: &State) -> u32 {
    let leaves = |name: &str| {
        let removed = state.leaving.get(name).is_some_and(|l| l.removed);
        let node = seen.cluster.node(name);
        !removed && node.is_some_and(|n| n.taints.iter().any(|t| t.key == LEAVING_TAINT))
    };
    let live = pool
        .instances
        .iter()
        .filter(|i| i.state != InstanceState::Deleting);
    live.map(|i| u32::from(leaves(&i.name))).sum()
}

/// Whether a node is used little enough and holds nothing that must stay.
fn consider<'a>(
    settings: &Settings,
    pool: &'a PoolView,
    node: &'a NodeInfo,
    world: &World,
    budgets: &Budgets<'_>,
) -> Result<Candidate<'a>, NodeOutcome> {
    let unready = !usable(node, pool);
    // What runs on a node that does not work is no use of it.
    let utilization = if unready { 0.0 } else { utilization(node) };
    if world.promised.contains_key(&node.name) || utilization > settings.threshold {
        return Err(NodeOutcome::Needed { utilization });
    }
    if let Some(detail) = disabled(node) {
        return Err(kept("ScaleDownDisabledAnnotation", detail));
    }
    let mut pods = Vec::new();
    for pod in node.pods.values().filter(|p| holds(node, p)) {
        if let Some((reason, detail)) = blocker(pod, budgets, settings.local_storage) {
            return Err(kept(reason, detail));
        }
        pods.push(pod.clone());
    }
    Ok(Candidate {
        pool,
        node,
        unready,
        utilization,
        pods,
    })
}

fn kept(reason: &'static str, detail: String) -> NodeOutcome {
    NodeOutcome::Kept { reason, detail }
}

/// Whether a pod has to be gone before its node goes. Nobody confirms the end of
/// a pod whose node does not work.
fn holds(node: &NodeInfo, pod: &PodInfo) -> bool {
    !goes_with_node(pod) && (node.ready || !pod.terminating)
}

/// Share in use: of the GPUs where there are some, else the larger of CPU and memory.
fn utilization(node: &NodeInfo) -> f64 {
    let mut used = node.used.clone();
    for pod in node.pods.values().filter(|p| p.is_daemon()) {
        used.subtract(&pod.requests);
    }
    let share = |used: i64, all: i64| {
        if all <= 0 {
            0.0
        } else {
            used as f64 / all as f64
        }
    };
    let gpus = node.allocatable.gpus();
    if gpus > 0 {
        return share(used.gpus(), gpus);
    }
    share(used.cpu, node.allocatable.cpu).max(share(used.memory, node.allocatable.memory))
}

/// Goes through the candidates, best first, and lets go of those that can be spared.
#[allow(clippy::too_many_arguments)]
fn select(
    settings: &Settings,
    now: Timestamp,
    world: &mut World,
    mut budgets: Budgets<'_>,
    candidates: Vec<Candidate<'_>>,
    mut going: BTreeMap<String, u32>,
    plan: &mut Plan,
) {
    let growing: BTreeSet<String> = plan.orders.iter().map(|o| o.group.clone()).collect();
    let mut gone: BTreeSet<String> = BTreeSet::new();
    let mut started = 0;
    for candidate in candidates {
        let Candidate {
            pool, node, pods, ..
        } = &candidate;
        let name = node.name.to_string();
        let taken = going.get(&pool.group).copied().unwrap_or(0);
        let refusal = if pool.target.saturating_sub(taken) <= pool.min {
            let least = format!("group {} has {} nodes at the least", pool.group, pool.min);
            Some(("NodeGroupMinSizeReached", least))
        } else if growing.contains(&pool.group) {
            let grows = format!("group {} grows in this very plan", pool.group);
            Some(("NotUnneededOtherReason", grows))
        } else if world.promised.contains_key(&node.name) {
            Some((NO_PLACE, "pods from elsewhere are to come here".to_owned()))
        } else {
            None
        };
        if let Some((reason, detail)) = refusal {
            plan.explanation.nodes.insert(name, kept(reason, detail));
            needed(node, plan);
            continue;
        }
        if let Some(detail) = budgets.refusal(pods) {
            // It goes on being unneeded: the budget may allow more at any moment.
            candidate.since(now, &mut plan.state);
            let outcome = kept("BlockedByPod", detail);
            plan.explanation.nodes.insert(name, outcome);
            continue;
        }
        gone.insert(name.clone());
        if !pods.is_empty() && !world.relocate(pods, &gone) {
            gone.remove(&name);
            let outcome = kept(NO_PLACE, "its pods fit on no other node".to_owned());
            plan.explanation.nodes.insert(name, outcome);
            needed(node, plan);
            continue;
        }
        *going.entry(pool.group.clone()).or_default() += 1;
        let since = candidate.since(now, &mut plan.state);
        let wait = if candidate.unready {
            settings.unready
        } else {
            settings.unneeded
        };
        let until = after(since, wait).max(held_until(settings, pool, &plan.state));
        plan.explanation
            .nodes
            .insert(name, NodeOutcome::Unneeded { since, until });
        if until > now || started >= settings.parallel {
            plan.wake_at(Some(if until > now {
                until
            } else {
                after(now, Duration::from_secs(10))
            }));
            soft_taint(node, since, plan);
            continue;
        }
        started += 1;
        budgets.take(pods);
        mark(settings, &candidate, now, plan);
    }
}

/// A pool does not shrink shortly after it has grown or failed to.
fn held_until(settings: &Settings, pool: &PoolView, state: &State) -> Timestamp {
    let grown = state
        .grown
        .get(&pool.group)
        .map(|t| after(*t, settings.delay_after_add));
    let failed = state.backoffs.get(&pool.group).map(|b| {
        let at = b.until.checked_sub(b.step).unwrap_or(Timestamp::MIN);
        after(at, settings.delay_after_failure)
    });
    grown.max(failed).unwrap_or(Timestamp::MIN)
}

/// Starts to remove a node.
fn mark(settings: &Settings, candidate: &Candidate<'_>, now: Timestamp, plan: &mut Plan) {
    let (node, pods) = (candidate.node, &candidate.pods);
    let name = node.name.to_string();
    plan.taints.push(TaintChange {
        node: name.clone(),
        key: LEAVING_TAINT,
        value: Some(now.as_second().to_string()),
        effect: "NoSchedule",
    });
    plan.events.push(Event::marked(&name));
    if pods.is_empty() {
        plan.events.push(Event::removing_empty(&name));
    } else {
        let keys: Vec<_> = pods.iter().map(|p| p.key.clone()).collect();
        plan.events
            .push(Event::removing(&name, candidate.utilization, &keys));
        plan.events.extend(pods.iter().map(|p| Event::moving(p)));
        plan.evictions.extend(keys);
    }
    plan.state.unneeded.remove(&name);
    plan.state.unready.remove(&name);
    let drain = !pods.is_empty();
    plan.state.leaving.insert(
        name,
        Leaving {
            since: now,
            drain,
            asked: now,
            removed: false,
        },
    );
    plan.wake_at(Some(after(now, settings.delay_after_taint)));
}

/// Tells why little used nodes stay, where somebody could do something about it:
/// once they would be gone otherwise, then more and more rarely.
fn tell_kept(settings: &Settings, now: Timestamp, plan: &mut Plan) {
    let mut stays = BTreeMap::new();
    for (name, outcome) in &plan.explanation.nodes {
        if let NodeOutcome::Kept { reason, detail } = outcome
            && TOLD.contains(reason)
        {
            stays.insert(name.clone(), detail.clone());
        }
    }
    plan.state.kept.retain(|name, _| stays.contains_key(name));
    for (name, detail) in stays {
        let known = plan.state.kept.get(&name);
        // A new reason is only taken note of: the owner may be about to see to it.
        let new = known.is_none_or(|t| *t.text != *detail);
        match Told::again(known, settings, settings.kept_after, "", &detail, now) {
            Ok(told) => {
                plan.wake_at(Some(after(now, told.wait)));
                if !new {
                    plan.events.push(Event::kept(&name, &detail));
                }
                plan.state.kept.insert(name, told);
            }
            Err(until) => plan.wake_at(Some(until)),
        }
    }
}

/// Goes on with a node that carries the taint.
fn leave(
    settings: &Settings,
    pool: &PoolView,
    node: &NodeInfo,
    budgets: &Budgets<'_>,
    now: Timestamp,
    plan: &mut Plan,
) {
    let name = node.name.to_string();
    let off = |effect| TaintChange {
        node: node.name.to_string(),
        key: LEAVING_TAINT,
        value: None,
        effect,
    };
    let Some(leaving) = plan.state.leaving.get_mut(&name) else {
        // Left over from an earlier life of the planner.
        plan.taints.push(off("NoSchedule"));
        return;
    };
    if leaving.removed {
        return;
    }
    let due = after(leaving.since, settings.delay_after_taint);
    let busy: Vec<&PodInfo> = node
        .pods
        .values()
        .map(|p| &**p)
        .filter(|p| holds(node, p))
        .collect();
    let limit = after(leaving.since, settings.drain);
    if due > now {
        plan.wake_at(Some(due));
    } else if busy.is_empty() {
        leaving.removed = true;
        let accepted = if leaving.drain {
            Event::removed(&name)
        } else {
            Event::removed_empty(&name)
        };
        plan.removals.push(Removal {
            group: pool.group.clone(),
            node: name,
            accepted: vec![accepted],
        });
    } else if !leaving.drain || limit <= now {
        // A pod came in between, or would not go: the node stays.
        if leaving.drain {
            let told = Event::not_drained(&name, &busy, settings.drain);
            plan.events.push(told);
            plan.events.extend(busy.iter().map(|p| Event::not_moved(p)));
        }
        plan.state.leaving.remove(&name);
        plan.taints.push(off("NoSchedule"));
        needed(node, plan);
    } else {
        // An eviction may be refused for a while, by a disruption budget for one.
        if after(leaving.asked, settings.evict_again) <= now {
            leaving.asked = now;
            // What would have kept the node keeps its pod too: one that came
            // meanwhile, or whose owner has changed his mind. A budget without
            // room is left to the server, which knows better than this look.
            let free = |p: &PodInfo| blocker(p, budgets, settings.local_storage).is_none();
            let asked = busy.iter().filter(|p| !p.terminating && free(p));
            plan.evictions.extend(asked.map(|p| p.key.clone()));
        }
        let again = after(leaving.asked, settings.evict_again);
        plan.wake_at(Some(limit.min(again)));
    }
}

/// Marks an unneeded node so that new pods rather go elsewhere.
fn soft_taint(node: &NodeInfo, since: Timestamp, plan: &mut Plan) {
    if node.taints.iter().any(|t| t.key == CANDIDATE_TAINT) {
        return;
    }
    plan.taints.push(TaintChange {
        node: node.name.to_string(),
        key: CANDIDATE_TAINT,
        value: Some(since.as_second().to_string()),
        effect: "PreferNoSchedule",
    });
}

/// Takes note that a node is needed (again).
fn needed(node: &NodeInfo, plan: &mut Plan) {
    plan.state.unneeded.remove(&*node.name);
    plan.state.unready.remove(&*node.name);
    if node.taints.iter().any(|t| t.key == CANDIDATE_TAINT) {
        plan.taints.push(TaintChange {
            node: node.name.to_string(),
            key: CANDIDATE_TAINT,
            value: None,
            effect: "PreferNoSchedule",
        });
    }
}
