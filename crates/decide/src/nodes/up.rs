//! Growing: nodes for the pods that nothing ordered so far will take.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::events::Event;
use super::explain::PodOutcome;
use super::types::{Observed, Order, Plan, PoolView, Settings, Told, after, elapsed};
use super::world::World;
use crate::fit::{Check, NodeInfo, PodInfo, PodKey};

const BACKING_OFF: &str = "in backoff after failed scale-up";
const AT_MAX: &str = "max node group size reached";

/// What is ordered for one pool in this plan.
#[derive(Default)]
struct Draft {
    nodes: u32,
    pods: Vec<Arc<PodInfo>>,
}

/// Orders nodes for pods without one, and says which pods cannot be helped.
pub(super) fn handle(
    settings: &Settings,
    seen: &Observed,
    now: Timestamp,
    world: &mut World,
    plan: &mut Plan,
) {
    let mut drafts: Vec<Draft> = seen.pools.iter().map(|_| Draft::default()).collect();
    let queue = demand(settings, seen, plan);
    let mut left: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    for (pod, _) in &queue {
        *left.entry(pod.class.clone()).or_default() += 1;
    }
    // Outcomes that hold for every further pod of a class: nodes only fill up.
    let mut settled: BTreeMap<Arc<str>, PodOutcome> = BTreeMap::new();
    let mut opened: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    for (pod, real) in queue {
        let alike = left.get(&pod.class).copied().unwrap_or(1);
        if let Some(count) = left.get_mut(&pod.class) {
            *count -= 1;
        }
        if let Some(outcome) = settled.get(&pod.class).filter(|_| !pod.looks_at_others()) {
            plan.explanation
                .pods
                .insert(pod.key.to_string(), outcome.clone());
            tell_refusal(settings, seen, now, &pod, outcome, real, plan);
            continue;
        }
        let outcome = if let Some(node) = world.place(&pod) {
            match opened.get(&node) {
                Some(pool) => {
                    drafts[*pool].pods.extend(real.then(|| pod.clone()));
                    PodOutcome::Ordered {
                        group: seen.pools[*pool].group.clone(),
                    }
                }
                None if world.upcoming.contains(&*node) => PodOutcome::WaitsFor {
                    node: node.to_string(),
                },
                None => PodOutcome::Fits {
                    node: node.to_string(),
                },
            }
        } else {
            match choose(seen, now, &pod, alike, world, plan, &drafts) {
                Ok(at) => {
                    let pool = &seen.pools[at];
                    opened.insert(world.open(pool, &pod), at);
                    drafts[at].nodes += 1;
                    drafts[at].pods.extend(real.then(|| pod.clone()));
                    PodOutcome::Ordered {
                        group: pool.group.clone(),
                    }
                }
                Err(reasons) => {
                    let outcome = PodOutcome::Refused { reasons };
                    settled.insert(pod.class.clone(), outcome.clone());
                    outcome
                }
            }
        };
        plan.explanation
            .pods
            .insert(pod.key.to_string(), outcome.clone());
        tell_refusal(settings, seen, now, &pod, &outcome, real, plan);
    }
    for (pool, draft) in seen.pools.iter().zip(drafts) {
        order(pool, draft, now, plan);
    }
}

/// Pods to find room for: the important first, then those that are hard to
/// place. The flag says whether the pod exists.
fn demand(settings: &Settings, seen: &Observed, plan: &mut Plan) -> Vec<(Arc<PodInfo>, bool)> {
    let mut queue = Vec::new();
    for pod in &seen.pending {
        if pod.is_daemon() || pod.terminating {
            continue;
        }
        if pod.priority < settings.expendable {
            plan.explanation
                .pods
                .insert(pod.key.to_string(), PodOutcome::Expendable);
            continue;
        }
        queue.push((pod.clone(), true));
    }
    for planned in &seen.plans {
        // Far beyond what any pool may hold; a bound on work, not a rule.
        for i in 0..planned.missing.min(10_000) {
            let key = PodKey {
                namespace: planned.pod.key.namespace.clone(),
                name: Arc::from(format!("{}-planned-{i:05}", planned.pod.key.name)),
            };
            queue.push((
                Arc::new(PodInfo {
                    key,
                    ..PodInfo::clone(&planned.pod)
                }),
                false,
            ));
        }
    }
    queue.sort_by_key(|(pod, real)| {
        (
            Reverse(pod.priority),
            Reverse(pod.requests.gpus()),
            Reverse(pod.requests.memory),
            Reverse(pod.requests.cpu),
            !real,
            pod.started.clone(),
            pod.key.clone(),
        )
    });
    queue
}

/// The pool whose new node serves such pods at the lowest cost, or why none does.
fn choose(
    seen: &Observed,
    now: Timestamp,
    pod: &PodInfo,
    alike: usize,
    world: &World,
    plan: &Plan,
    drafts: &[Draft],
) -> Result<usize, BTreeMap<String, Vec<String>>> {
    let check = Check::new(pod, &world.cluster);
    let mut reasons = BTreeMap::new();
    let mut found: Option<((f64, i64), usize)> = None;
    for (at, pool) in seen.pools.iter().enumerate().filter(|(_, p)| p.scales()) {
        let mut refuse = |why: Vec<String>| {
            reasons.insert(pool.group.clone(), why);
        };
        if plan.state.backs_off(&pool.group, now) {
            refuse(vec![BACKING_OFF.to_owned()]);
        } else if pool.target + drafts[at].nodes >= pool.max {
            refuse(vec![AT_MAX.to_owned()]);
        } else if let Err(rejection) = check.filter(&pool.template) {
            refuse(rejection.reasons.iter().map(ToString::to_string).collect());
        } else {
            let held = capacity(pod, &pool.template).min(alike).max(1);
            let spare = pool.template.allocatable.gpus() - pod.requests.gpus();
            let cost = (pool.price / held as f64, spare);
            if found.as_ref().is_none_or(|(best, _)| cost < *best) {
                found = Some((cost, at));
            }
        }
    }
    found.map(|(_, at)| at).ok_or(reasons)
}

/// How many such pods an empty node holds.
fn capacity(pod: &PodInfo, node: &NodeInfo) -> usize {
    let (asked, all) = (&pod.requests, &node.allocatable);
    let mut most = all.pods;
    let mut limit = |asked: i64, all: i64| {
        if asked > 0 {
            most = most.min(all / asked);
        }
    };
    limit(asked.cpu, all.cpu);
    limit(asked.memory, all.memory);
    limit(asked.ephemeral_storage, all.ephemeral_storage);
    for (name, amount) in &asked.extended {
        limit(*amount, all.get(name));
    }
    usize::try_from(most).unwrap_or(0)
}

/// Tells a pod why no pool grows for it, unless that was told lately; the same
/// is told more and more rarely.
fn tell_refusal(
    settings: &Settings,
    seen: &Observed,
    now: Timestamp,
    pod: &PodInfo,
    outcome: &PodOutcome,
    real: bool,
    plan: &mut Plan,
) {
    let PodOutcome::Refused { reasons } = outcome else {
        return;
    };
    if !real || !seen.pools.iter().any(PoolView::scales) {
        return;
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons.values().flatten() {
        *counts.entry(reason).or_default() += 1;
    }
    let mut parts: Vec<String> = counts.iter().map(|(why, n)| format!("{n} {why}")).collect();
    parts.sort();
    let why = parts.join(", ");
    let known = plan.state.told.get(&pod.key);
    let same = known.filter(|t| t.text == why && t.uid == pod.uid);
    let wait = match same {
        Some(told) if elapsed(told.at, now) < told.wait => {
            plan.wake_at(Some(after(told.at, told.wait)));
            return;
        }
        Some(told) => (told.wait * 2).min(settings.repeat_max),
        None => settings.repeat,
    };
    plan.wake_at(Some(after(now, wait)));
    plan.events.push(Event::not_triggered(pod, &why));
    let told = Told {
        uid: pod.uid.clone(),
        text: why,
        at: now,
        wait,
    };
    plan.state.told.insert(pod.key.clone(), told);
}

/// Turns a draft into an order, at least up to the pool's minimum.
fn order(pool: &PoolView, draft: Draft, now: Timestamp, plan: &mut Plan) {
    let short = if plan.state.backs_off(&pool.group, now) {
        0
    } else {
        pool.min.saturating_sub(pool.target)
    };
    let nodes = draft.nodes.max(short);
    if nodes == 0 {
        return;
    }
    let to = pool.target + nodes;
    let mut accepted = vec![Event::ordered(pool, to)];
    accepted.extend(draft.pods.iter().map(|pod| Event::triggered(pod, pool, to)));
    plan.state.grown.insert(pool.group.clone(), now);
    plan.orders.push(Order {
        group: pool.group.clone(),
        from: pool.target,
        to,
        max: pool.max,
        pods: draft.pods.iter().map(|p| p.key.to_string()).collect(),
        before: vec![Event::ordering(pool, to)],
        accepted,
    });
}
