//! What the planner sees, what it remembers and what it orders.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::events::Event;
use super::explain::Explanation;
use crate::budget::Budget;
use crate::fit::{NodeInfo, PodInfo, PodKey, Snapshot};

/// Times and limits.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A node goes after nobody has needed it for this long.
    pub unneeded: Duration,
    /// A pool does not shrink for this long after it has grown.
    pub delay_after_add: Duration,
    /// A pool does not shrink for this long after an order has failed.
    pub delay_after_failure: Duration,
    /// An ordered node that has not come up after this long is given up.
    pub provision: Duration,
    /// A machine whose node has gone away while it runs is given up after this long.
    pub vanished: Duration,
    /// Between the taint and the removal, so that a pod on its way is seen.
    pub delay_after_taint: Duration,
    /// A node that has not been usable for this long goes.
    pub unready: Duration,
    /// Whether a pod that keeps data on its node's disk keeps the node.
    pub local_storage: bool,
    /// A node that is used by more than this share is needed.
    pub threshold: f64,
    /// First pause after a failed order; doubles.
    pub backoff: Duration,
    /// Longest pause after failed orders.
    pub backoff_max: Duration,
    /// A pool's failures are forgotten after this long.
    pub backoff_memory: Duration,
    /// Pods of lower priority never make a pool grow.
    pub expendable: i64,
    /// The same is not told again for this long; doubles each time.
    pub repeat: Duration,
    /// Longest time after which the same is told again.
    pub repeat_max: Duration,
    /// Why a little used node stays is first told after this long.
    pub kept_after: Duration,
    /// Pods that would not leave a node are asked again after this long.
    pub evict_again: Duration,
    /// A node whose pods have not left after this long stays.
    pub drain: Duration,
    /// Most nodes that start to leave at a time.
    pub parallel: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let minutes = |m: u64| Duration::from_secs(60 * m);
        Self {
            unneeded: minutes(10),
            delay_after_add: minutes(10),
            delay_after_failure: minutes(3),
            provision: minutes(15),
            vanished: minutes(2),
            delay_after_taint: Duration::from_secs(5),
            unready: minutes(20),
            local_storage: true,
            threshold: 0.5,
            backoff: minutes(5),
            backoff_max: minutes(30),
            backoff_memory: minutes(180),
            expendable: -10,
            repeat: minutes(5),
            repeat_max: minutes(60),
            kept_after: minutes(10),
            evict_again: Duration::from_secs(10),
            drain: minutes(12),
            parallel: 10,
        }
    }
}

/// A pool and the machines behind it.
#[derive(Clone, Debug)]
pub struct PoolView {
    /// The cloud's name of the group, as events show it.
    pub group: String,
    /// Fewest nodes.
    pub min: u32,
    /// Most nodes.
    pub max: u32,
    /// Nodes that the cloud has been asked for, those that leave not counted.
    pub target: u32,
    /// Cost of a node for an hour; 0 when unknown.
    pub price: f64,
    /// Pools of higher priority are asked first, those without one last; the
    /// price decides among equals.
    pub priority: Option<i64>,
    /// What a new node will be like.
    pub template: NodeInfo,
    /// Its machines.
    pub instances: Vec<Instance>,
}

impl PoolView {
    /// Whether the planner may change its size.
    pub fn scales(&self) -> bool {
        self.min < self.max
    }
}

/// A machine of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Name of its node, also before the node exists.
    pub name: String,
    /// When it was ordered.
    pub ordered: Timestamp,
    /// What the cloud says about it.
    pub state: InstanceState,
}

/// What the cloud says about a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// Being made.
    Creating,
    /// Made; its node may still be missing.
    Running,
    /// Being removed.
    Deleting,
    /// It will not come.
    Failed {
        /// `OutOfResource` or `Other`.
        class: String,
        /// The cloud's code, e.g. `ZonalAllocationFailed`.
        code: String,
        /// The cloud's words.
        message: String,
    },
}

/// Replicas that a workload will have, before their pods exist.
#[derive(Clone, Debug)]
pub struct ReplicaPlan {
    /// A pod as the workload would make it; its name is the workload's.
    pub pod: Arc<PodInfo>,
    /// How many more than exist.
    pub missing: u32,
}

/// The world as observed.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Pools, in the order of configuration.
    pub pools: Vec<PoolView>,
    /// Nodes and the pods assigned to them.
    pub cluster: Snapshot,
    /// Pods that the scheduler found no node for.
    pub pending: Vec<Arc<PodInfo>>,
    /// Replicas to come.
    pub plans: Vec<ReplicaPlan>,
    /// A pod of each DaemonSet, as it would come with a new node.
    pub daemons: Vec<Arc<PodInfo>>,
    /// PodDisruptionBudgets.
    pub budgets: Vec<Budget>,
}

impl Observed {
    /// Machines of all pools.
    pub fn instances(&self) -> impl Iterator<Item = (&PoolView, &Instance)> {
        self.pools
            .iter()
            .flat_map(|p| p.instances.iter().map(move |i| (p, i)))
    }
}

/// A pool that is left alone for a while after a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Until then.
    pub until: Timestamp,
    /// How long that was.
    pub step: Duration,
}

/// A node on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// When it was tainted.
    pub since: Timestamp,
    /// It had pods to move.
    pub drain: bool,
    /// When its pods were last asked to go.
    pub asked: Timestamp,
    /// The cloud has been asked to remove it.
    pub removed: bool,
}

/// How far a machine has come with its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registration {
    /// Its node has not been there so far.
    Awaited,
    /// Its node is there.
    Present,
    /// Its node was there and is gone since then; or it was missing already when
    /// an old machine was first seen.
    Gone(Timestamp),
}

/// A refusal told about a pod or a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The pod's uid, "" for a node.
    pub uid: String,
    /// What was told.
    pub text: Arc<str>,
    /// When.
    pub at: Timestamp,
    /// How long until the same is told again.
    pub wait: Duration,
}

impl Told {
    /// What to remember when `text` is told now, or until when it is not. `first`
    /// is how long until what is new is told a second time; the wait doubles.
    pub(super) fn again(
        known: Option<&Self>,
        settings: &Settings,
        first: Duration,
        uid: &str,
        text: &str,
        now: Timestamp,
    ) -> Result<Self, Timestamp> {
        let (text, wait) = match known.filter(|t| *t.text == *text && t.uid == uid) {
            Some(told) if elapsed(told.at, now) < told.wait => {
                return Err(after(told.at, told.wait));
            }
            Some(told) => (
                told.text.clone(),
                told.wait.saturating_mul(2).min(settings.repeat_max),
            ),
            None => (Arc::from(text), first),
        };
        Ok(Self {
            uid: uid.to_owned(),
            text,
            at: now,
            wait,
        })
    }
}

/// An order that was made before the pods existed that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// When it was made.
    pub at: Timestamp,
    /// The group's size before, after, and at the most.
    pub sizes: (u32, u32, u32),
    /// How many pods are to be told.
    pub pods: u32,
}

/// What the planner remembers from one time to the next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Since when a node is not needed.
    pub unneeded: BTreeMap<String, Timestamp>,
    /// Since when a node that should be usable is not.
    pub unready: BTreeMap<String, Timestamp>,
    /// Nodes on their way out.
    pub leaving: BTreeMap<String, Leaving>,
    /// Pools that failed, by group.
    pub backoffs: BTreeMap<String, Backoff>,
    /// When a pool last grew, by group.
    pub grown: BTreeMap<String, Timestamp>,
    /// Failed machines already told about.
    pub reported: BTreeSet<String>,
    /// The last refusal told about each pod that waits.
    pub told: BTreeMap<PodKey, Told>,
    /// Orders made for replicas whose pods are still to be told about them, by group,
    /// the oldest first.
    pub owed: BTreeMap<String, Vec<Owed>>,
    /// The last reason told about each little used node that stays.
    pub kept: BTreeMap<String, Told>,
    /// Machines and their nodes, by name.
    pub machines: BTreeMap<String, Registration>,
}

impl State {
    /// Takes note of the machines' nodes and drops what is about things that are gone.
    pub(super) fn follow(&mut self, settings: &Settings, seen: &Observed, now: Timestamp) {
        let names: BTreeSet<&str> = seen.instances().map(|(_, i)| i.name.as_str()).collect();
        self.unneeded
            .retain(|node, _| names.contains(node.as_str()));
        self.unready.retain(|node, _| names.contains(node.as_str()));
        self.leaving.retain(|node, _| names.contains(node.as_str()));
        self.reported.retain(|node| names.contains(node.as_str()));
        self.owed.retain(|_, orders| {
            orders.retain(|o| o.pods > 0 && elapsed(o.at, now) < settings.provision);
            !orders.is_empty()
        });
        self.kept.retain(|node, _| names.contains(node.as_str()));
        if !self.told.is_empty() {
            let pending: BTreeSet<&PodKey> = seen.pending.iter().map(|p| &p.key).collect();
            self.told.retain(|key, _| pending.contains(key));
        }
        let day = Duration::from_secs(86_400);
        self.backoffs.retain(|_, b| elapsed(b.until, now) < day);
        self.machines
            .retain(|node, _| names.contains(node.as_str()));
        for (_, instance) in seen.instances() {
            let known = self.machines.get(&instance.name);
            let is = if seen.cluster.node(&instance.name).is_some() {
                Registration::Present
            } else {
                match known {
                    Some(Registration::Present) => Registration::Gone(now),
                    Some(known) => known.clone(),
                    // Nobody was looking when it came: nothing says that it never did.
                    None if elapsed(instance.ordered, now) >= settings.provision => {
                        Registration::Gone(now)
                    }
                    None => Registration::Awaited,
                }
            };
            if known != Some(&is) {
                self.machines.insert(instance.name.clone(), is);
            }
        }
    }

    /// A pool did not get what was ordered: it is left alone for a while.
    pub fn failed(&mut self, settings: &Settings, group: &str, now: Timestamp) {
        let step = match self.backoffs.get(group) {
            Some(b) if elapsed(b.until, now) < settings.backoff_memory => {
                b.step.saturating_mul(2).min(settings.backoff_max)
            }
            _ => settings.backoff,
        };
        let until = after(now, step);
        self.backoffs
            .insert(group.to_owned(), Backoff { until, step });
    }

    /// The cloud has refused to remove a node: it is asked again next time.
    pub fn not_removed(&mut self, node: &str) {
        if let Some(leaving) = self.leaving.get_mut(node) {
            leaving.removed = false;
        }
        if let Some(Registration::Gone(_)) = self.machines.get(node) {
            self.reported.remove(node);
        }
    }

    /// The taint could not be set on a node that was to leave: it is tried
    /// again, as the node has been unneeded for long enough already.
    pub fn not_marked(&mut self, settings: &Settings, node: &str) {
        if let Some(leaving) = self.leaving.remove(node) {
            let since = leaving.since.checked_sub(settings.unneeded);
            self.unneeded
                .insert(node.to_owned(), since.unwrap_or(Timestamp::MIN));
        }
    }

    /// Whether a pool is left alone at the moment.
    pub fn backs_off(&self, group: &str, now: Timestamp) -> bool {
        self.backoffs.get(group).is_some_and(|b| b.until > now)
    }
}

/// Nodes to ask a cloud for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Order {
    /// The group.
    pub group: String,
    /// Nodes asked for before.
    pub from: u32,
    /// Nodes asked for now.
    pub to: u32,
    /// The group's limit.
    pub max: u32,
    /// Pods that the new nodes are for.
    pub pods: Vec<String>,
    /// To tell before the cloud is asked.
    #[serde(skip)]
    pub before: Vec<Event>,
    /// To tell when the cloud has accepted.
    #[serde(skip)]
    pub accepted: Vec<Event>,
}

/// A machine to remove.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Removal {
    /// The group.
    pub group: String,
    /// The machine's (and the node's) name.
    pub node: String,
    /// To tell when the cloud has accepted.
    #[serde(skip)]
    pub accepted: Vec<Event>,
}

/// A taint to set (`value` present) or to take off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaintChange {
    /// The node.
    pub node: String,
    /// The taint's key.
    pub key: &'static str,
    /// Its value; `None` takes it off.
    pub value: Option<String>,
    /// Its effect.
    pub effect: &'static str,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Nodes to ask for.
    pub orders: Vec<Order>,
    /// Taints to change, before anything is removed.
    pub taints: Vec<TaintChange>,
    /// Pods to evict from nodes on their way out.
    pub evictions: Vec<PodKey>,
    /// Machines to remove.
    pub removals: Vec<Removal>,
    /// What else to tell.
    pub events: Vec<Event>,
    /// What to remember.
    pub state: State,
    /// When to plan again even if nothing changes.
    pub wake: Option<Timestamp>,
    /// Why.
    pub explanation: Explanation,
}

impl Plan {
    /// Asks to be called at `at` at the latest.
    pub(super) fn wake_at(&mut self, at: Option<Timestamp>) {
        self.wake = match (self.wake, at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }

    /// Whether there is nothing to do and nothing to tell.
    pub fn is_idle(&self) -> bool {
        self.orders.is_empty()
            && self.taints.is_empty()
            && self.evictions.is_empty()
            && self.removals.is_empty()
            && self.events.is_empty()
    }
}

/// `from` + `by`.
pub(super) fn after(from: Timestamp, by: Duration) -> Timestamp {
    from.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// Time from `since` to `now`, 0 if it lies ahead.
pub(super) fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or(Duration::ZERO)
}
