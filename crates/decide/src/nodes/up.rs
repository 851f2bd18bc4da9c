//! Growing: nodes for the pods that nothing ordered so far will take.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::events::Event;
use super::explain::{PodOutcome, ReplicaOutcome};
use super::types::{Observed, Order, Owed, Plan, PoolView, Settings, Told, after};
use super::world::World;
use crate::fit::{NodeInfo, PodInfo, PodKey};

const BACKING_OFF: &str = "in backoff after failed scale-up";
const AT_MAX: &str = "max node group size reached";
/// Most planned replicas of one workload that are looked at.
const MOST_PLANNED: u32 = 10_000;

/// What is ordered for one pool in this plan.
#[derive(Default)]
struct Draft {
    nodes: u32,
    pods: Vec<Arc<PodInfo>>,
    /// Replicas without a pod so far.
    planned: u32,
}

impl Draft {
    fn add(&mut self, pod: &Arc<PodInfo>, planned: Option<usize>) {
        match planned {
            Some(_) => self.planned += 1,
            None => self.pods.push(pod.clone()),
        }
    }
}

/// A pod to find room for.
struct Wanted {
    pod: Arc<PodInfo>,
    class: usize,
    /// The replica plan that it comes from; `None` for a pod that exists.
    plan: Option<usize>,
}

/// What is found out about a class of pods while they are handled.
#[derive(Default)]
struct Kin {
    /// How many are still to be handled.
    left: usize,
    /// Why there is no room, and after how many changes that was found. Nodes only
    /// fill up, so it holds for every further one, unless other pods matter to it
    /// and have come since.
    refused: Option<(PodOutcome, Arc<str>, usize)>,
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
    let mut replicas: Vec<ReplicaOutcome> = seen.plans.iter().map(ReplicaOutcome::new).collect();
    let queue = demand(settings, seen, world, plan);
    let mut kin: Vec<Kin> = Vec::new();
    for wanted in &queue {
        if kin.len() <= wanted.class {
            kin.resize_with(wanted.class + 1, Kin::default);
        }
        kin[wanted.class].left += 1;
    }
    let mut opened: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    for wanted in queue {
        let Wanted {
            pod,
            class,
            plan: planned,
        } = wanted;
        let alike = kin[class].left;
        kin[class].left -= 1;
        let known = kin[class].refused.as_ref();
        let known = known.filter(|(_, _, at)| !pod.looks_at_others() || *at == world.changes());
        let outcome = if let Some((outcome, why, _)) = known {
            if planned.is_none() {
                tell_refusal(settings, seen, now, &pod, why, plan);
            }
            outcome.clone()
        } else if let Some(node) = world.place(&pod, class) {
            match opened.get(&node) {
                Some(pool) => {
                    drafts[*pool].add(&pod, planned);
                    PodOutcome::Ordered {
                        group: seen.pools[*pool].group.clone(),
                    }
                }
                None => match world.upcoming.get(&*node) {
                    Some(at) => {
                        if planned.is_none() {
                            tell_owed(settings, &seen.pools[*at], now, &pod, plan);
                        }
                        PodOutcome::WaitsFor {
                            node: node.to_string(),
                        }
                    }
                    None => PodOutcome::Fits {
                        node: node.to_string(),
                    },
                },
            }
        } else {
            match choose(seen, now, &pod, class, alike, world, plan, &drafts) {
                Ok(at) => {
                    opened.insert(world.open(seen, at, &pod), at);
                    drafts[at].nodes += 1;
                    drafts[at].add(&pod, planned);
                    PodOutcome::Ordered {
                        group: seen.pools[at].group.clone(),
                    }
                }
                Err(reasons) => {
                    let why: Arc<str> = Arc::from(summary(&reasons));
                    let outcome = PodOutcome::Refused { reasons };
                    if planned.is_none() {
                        tell_refusal(settings, seen, now, &pod, &why, plan);
                    }
                    kin[class].refused = Some((outcome.clone(), why, world.changes()));
                    outcome
                }
            }
        };
        match planned {
            Some(at) => replicas[at].count(&outcome),
            None => {
                plan.explanation.pods.insert(pod.key.to_string(), outcome);
            }
        }
    }
    plan.explanation.replicas = replicas;
    for (pool, draft) in seen.pools.iter().zip(drafts) {
        order(pool, draft, now, plan);
    }
}

/// Pods to find room for: the important first, then those that are hard to
/// place, those that exist before those that are planned, the oldest first.
fn demand(settings: &Settings, seen: &Observed, world: &mut World, plan: &mut Plan) -> Vec<Wanted> {
    let mut queue = Vec::with_capacity(seen.pending.len());
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
        queue.push(Wanted {
            pod: pod.clone(),
            class: world.class(pod),
            plan: None,
        });
    }
    for (at, planned) in seen.plans.iter().enumerate() {
        if planned.pod.priority < settings.expendable {
            continue;
        }
        let free = PodInfo {
            node: None,
            ..PodInfo::clone(&planned.pod)
        };
        let class = world.class(&free);
        // Far beyond what any pool may hold; a bound on work, not a rule.
        for i in 0..planned.missing.min(MOST_PLANNED) {
            let key = PodKey {
                namespace: free.key.namespace.clone(),
                name: Arc::from(format!("{}-planned-{i:05}", free.key.name)),
            };
            let pod = PodInfo {
                key,
                ..free.clone()
            };
            queue.push(Wanted {
                pod: Arc::new(pod),
                class,
                plan: Some(at),
            });
        }
    }
    queue.sort_by(|a, b| {
        let (p, q) = (&*a.pod, &*b.pod);
        (q.priority.cmp(&p.priority))
            .then_with(|| q.requests.gpus().cmp(&p.requests.gpus()))
            .then_with(|| q.requests.memory.cmp(&p.requests.memory))
            .then_with(|| q.requests.cpu.cmp(&p.requests.cpu))
            .then_with(|| a.plan.cmp(&b.plan))
            .then_with(|| p.started.cmp(&q.started))
            .then_with(|| p.key.cmp(&q.key))
    });
    queue
}

/// The pool whose new node serves such pods best, or why none does: the highest
/// priority where pools have one, then the lowest price for each pod served,
/// then the fewest GPUs left over.
#[allow(clippy::too_many_arguments)]
fn choose(
    seen: &Observed,
    now: Timestamp,
    pod: &PodInfo,
    class: usize,
    alike: usize,
    world: &World,
    plan: &Plan,
    drafts: &[Draft],
) -> Result<usize, BTreeMap<String, Vec<String>>> {
    let mut reasons = BTreeMap::new();
    let mut found: Option<((Reverse<Option<i64>>, f64, i64), usize)> = None;
    for (at, pool) in seen.pools.iter().enumerate().filter(|(_, p)| p.scales()) {
        let refusal = if plan.state.backs_off(&pool.group, now) {
            vec![BACKING_OFF.to_owned()]
        } else if pool.target.saturating_add(drafts[at].nodes) >= pool.max {
            vec![AT_MAX.to_owned()]
        } else if let Err(rejection) = world.suits(pod, class, at) {
            rejection.reasons.iter().map(ToString::to_string).collect()
        } else {
            let template = &world.templates[at];
            let held = capacity(pod, template).min(alike).max(1);
            let spare = template.allocatable.gpus() - pod.requests.gpus();
            let cost = (Reverse(pool.priority), pool.price / held as f64, spare);
            if found.as_ref().is_none_or(|(best, _)| cost < *best) {
                found = Some((cost, at));
            }
            continue;
        };
        if found.is_none() {
            reasons.insert(pool.group.clone(), refusal);
        }
    }
    found.map(|(_, at)| at).ok_or(reasons)
}

/// Reasons of all pools as one text: `2 max node group size reached, 1 …`.
fn summary(reasons: &BTreeMap<String, Vec<String>>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons.values().flatten() {
        *counts.entry(reason).or_default() += 1;
    }
    let mut parts: Vec<String> = counts.iter().map(|(why, n)| format!("{n} {why}")).collect();
    parts.sort();
    parts.join(", ")
}

/// How many such pods a new node holds.
fn capacity(pod: &PodInfo, node: &NodeInfo) -> usize {
    let (asked, all, used) = (&pod.requests, &node.allocatable, &node.used);
    let mut most = all.pods - used.pods;
    let mut limit = |asked: i64, free: i64| {
        if asked > 0 {
            most = most.min(free / asked);
        }
    };
    limit(asked.cpu, all.cpu - used.cpu);
    limit(asked.memory, all.memory - used.memory);
    limit(
        asked.ephemeral_storage,
        all.ephemeral_storage - used.ephemeral_storage,
    );
    for (name, amount) in &asked.extended {
        limit(*amount, all.get(name) - used.get(name));
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
    why: &Arc<str>,
    plan: &mut Plan,
) {
    if !seen.pools.iter().any(PoolView::scales) {
        return;
    }
    let known = plan.state.told.get(&pod.key);
    match Told::again(known, settings, settings.repeat, &pod.uid, why, now) {
        Ok(told) => {
            plan.wake_at(Some(after(now, told.wait)));
            plan.events.push(Event::not_triggered(pod, why));
            plan.state.told.insert(pod.key.clone(), told);
        }
        Err(until) => plan.wake_at(Some(until)),
    }
}

/// Tells a pod that a node was ordered for it before it existed.
fn tell_owed(settings: &Settings, pool: &PoolView, now: Timestamp, pod: &PodInfo, plan: &mut Plan) {
    let known = plan.state.told.get(&pod.key);
    if known.is_some_and(|t| t.uid == pod.uid) {
        return;
    }
    let new = |owed: &Owed| {
        let made = Timestamp::from_second(owed.at.as_second()).unwrap_or(owed.at);
        pod.started.is_empty() || pod.started >= made.to_string()
    };
    let mut orders = plan.state.owed.get_mut(&pool.group).into_iter().flatten();
    let Some(owed) = orders.find(|o| o.pods > 0 && new(o)) else {
        return;
    };
    owed.pods -= 1;
    plan.events
        .push(Event::triggered(pod, &pool.group, owed.sizes));
    let told = Told {
        uid: pod.uid.clone(),
        text: Arc::from("triggered scale-up"),
        at: now,
        wait: settings.repeat,
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
    let to = pool.target.saturating_add(nodes);
    let mut accepted = vec![Event::ordered(pool, to)];
    let sizes = (pool.target, to, pool.max);
    let told = |pod: &Arc<PodInfo>| Event::triggered(pod, &pool.group, sizes);
    accepted.extend(draft.pods.iter().map(told));
    if draft.planned > 0 {
        let owed = Owed {
            at: now,
            sizes,
            pods: draft.planned,
        };
        let orders = plan.state.owed.entry(pool.group.clone());
        orders.or_default().push(owed);
    }
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
