//! Replicas and the nodes under them. Which node takes a replica, which replica
//! goes first and which nodes are ordered or given back is decided by
//! `decide::{fit, victims, nodes}`; this file only carries it out in time. Of a
//! StatefulSet the highest ordinal goes first, and unless its pods are managed
//! in parallel each waits for the one before it to be ready.

use std::sync::Arc;

use api::pool::{NodeName, Pool};
use decide::fit::{NodeInfo, PodInfo, PodKey, Taint, Verdict, schedule};
use decide::nodes::{self, Instance, InstanceState, Observed, PoolView, State};
use decide::victims::{Candidate, order};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::model::Model;
use crate::policy::Policy;
use crate::signal::Workload;

/// A replica.
#[derive(Clone, Debug)]
pub(super) struct Replica {
    pub number: u64,
    uid: String,
    created: i64,
    /// Its node; with no pools modelled it has one without a name.
    node: Option<Arc<str>>,
    /// When it is ready, known once it has a node.
    ready_at: i64,
    pub ready: bool,
    key: Option<PodKey>,
}

impl Replica {
    pub(super) fn bound(&self) -> bool {
        self.node.is_some()
    }
}

/// An ordered node that has not come yet.
#[derive(Clone, Debug)]
struct Coming {
    at: i64,
    pool: usize,
    name: String,
}

/// Replicas and nodes of one policy.
#[derive(Debug)]
pub(super) struct Fleet {
    pub replicas: Vec<Replica>,
    lag: i64,
    settings: nodes::Settings,
    pools: Vec<Pool>,
    extra: i64,
    seen: Observed,
    state: State,
    coming: Vec<Coming>,
    pod: PodInfo,
    workload: Workload,
    /// Replicas that are to exist.
    wanted: usize,
    /// Each replica waits for the one before it to be ready.
    ordered: bool,
    next_number: u64,
    made: u32,
    plans: bool,
    dirty: bool,
    /// When the planner wants to be asked again.
    wake: i64,
    /// Replicas that are ready.
    pub ready: u32,
    /// Replicas that have a node and are not ready.
    pub starting: u32,
    /// When the next replica becomes ready.
    pub next_ready: i64,
    /// Nodes that are ordered or there.
    pub nodes: u32,
    /// GPUs of all nodes that are ordered or there.
    pub node_gpus: f64,
    /// What all nodes cost an hour.
    pub price: f64,
    epoch: i64,
}

const NEVER: i64 = i64::MAX;

fn stamp(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
}

impl Fleet {
    pub(super) fn new(model: &Model, policy: &Policy, epoch: i64) -> Self {
        let mut fleet = Self {
            replicas: Vec::new(),
            lag: millis(model.lag()),
            settings: model.nodes.clone(),
            pools: model.pools.clone(),
            extra: millis(model.gpu_ready),
            seen: Observed::default(),
            state: State::default(),
            coming: Vec::new(),
            pod: policy.pod.clone(),
            workload: policy.workload.clone(),
            wanted: 0,
            ordered: policy.ordered,
            next_number: 0,
            made: 0,
            plans: model.pools.iter().any(Pool::scales),
            dirty: true,
            wake: NEVER,
            ready: 0,
            starting: 0,
            next_ready: NEVER,
            nodes: 0,
            node_gpus: 0.0,
            price: 0.0,
            epoch,
        };
        for (at, pool) in model.pools.iter().enumerate() {
            fleet.seen.pools.push(PoolView {
                group: pool.name.clone(),
                min: pool.min,
                max: pool.max,
                target: 0,
                price: pool.price,
                priority: None,
                template: NodeInfo::parse(&node(pool, "template")),
                instances: Vec::new(),
            });
            for _ in 0..pool.count {
                let name = fleet.order_one(at, 0);
                fleet.arrive(at, &name);
            }
        }
        fleet
    }

    /// The replicas that are there when the load begins: ready where there is
    /// a node for them.
    pub(super) fn begin(&mut self, count: usize) {
        self.wanted = count;
        for _ in 0..count {
            self.create(0);
        }
        let lag = std::mem::replace(&mut self.lag, 0);
        self.place(0);
        self.lag = lag;
        self.count();
        self.dirty = true;
        self.plan(0);
    }

    /// When something happens here by itself.
    pub(super) fn next(&self) -> i64 {
        let node = self.coming.iter().map(|c| c.at).min().unwrap_or(NEVER);
        let plan = if self.plans { self.wake } else { NEVER };
        self.next_ready.min(node).min(plan)
    }

    /// Lets what is due at `now` happen.
    pub(super) fn pass(&mut self, now: i64) {
        if self.next_ready <= now {
            for replica in &mut self.replicas {
                if replica.bound() && replica.ready_at <= now {
                    replica.ready = true;
                }
            }
            self.count();
            if self.replicas.len() < self.wanted {
                self.grow(now);
                self.dirty = true;
            }
        }
        let mut arrived = false;
        while let Some(at) = self.coming.iter().position(|c| c.at <= now) {
            let coming = self.coming.remove(at);
            self.arrive(coming.pool, &coming.name);
            arrived = true;
        }
        if arrived {
            self.place(now);
            self.dirty = true;
        }
        if self.wake <= now {
            self.dirty = true;
        }
        self.plan(now);
    }

    /// Brings the number of replicas to `wanted`.
    pub(super) fn scale(&mut self, wanted: usize, now: i64) {
        self.wanted = wanted;
        if wanted < self.replicas.len() {
            self.shrink(wanted, now);
        } else {
            self.grow(now);
        }
        self.count();
        self.dirty = true;
        self.plan(now);
    }

    /// Makes the replicas that are missing, as far as their order allows.
    fn grow(&mut self, now: i64) {
        while self.replicas.len() < self.wanted {
            if self.ordered && self.replicas.iter().any(|r| !r.ready) {
                break;
            }
            self.create(now);
            if self.ordered {
                self.place(now);
            }
        }
        self.place(now);
    }

    fn create(&mut self, now: i64) {
        self.next_number += 1;
        let free = |n: &u64| self.replicas.iter().all(|r| r.number != *n);
        let number = match self.workload.has_ordinals() {
            true => (0..self.next_number).find(free).unwrap_or_default(),
            false => self.next_number,
        };
        // Uids are random; equals are told apart by them.
        let uid = format!(
            "{:016x}",
            self.next_number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        );
        self.replicas.push(Replica {
            number,
            uid,
            created: now,
            node: None,
            ready_at: NEVER,
            ready: false,
            key: None,
        });
    }

    /// Finds nodes for the replicas that wait, in their order.
    fn place(&mut self, now: i64) {
        let lag = self.lag;
        if self.pools.is_empty() {
            for replica in self.replicas.iter_mut().filter(|r| !r.bound()) {
                replica.node = Some(Arc::from(""));
                replica.ready_at = now + lag;
                replica.ready = lag == 0;
            }
            self.count();
            return;
        }
        let mut full = false;
        for replica in self.replicas.iter_mut().filter(|r| r.node.is_none()) {
            // All are alike: where one finds no place, the next finds none.
            if full {
                continue;
            }
            let mut pod = self.pod.clone();
            pod.key.name = Arc::from(self.workload.pod(replica.number));
            pod.uid.clone_from(&replica.uid);
            match schedule(&pod, &self.seen.cluster) {
                Verdict::Fits(best) if !best.is_empty() => {
                    let node = best[0].clone();
                    replica.key = Some(pod.key.clone());
                    pod.node = Some(node.clone());
                    self.seen.cluster.assign(Arc::new(pod), &node);
                    replica.node = Some(node);
                    replica.ready_at = now + lag;
                    replica.ready = lag == 0;
                }
                _ => full = !self.pod.looks_at_others(),
            }
        }
        self.count();
    }

    fn shrink(&mut self, wanted: usize, now: i64) {
        let mut siblings: std::collections::BTreeMap<Arc<str>, i64> = Default::default();
        for node in self.replicas.iter().filter_map(|r| r.node.clone()) {
            *siblings.entry(node).or_default() += 1;
        }
        let epoch = self.epoch;
        let mut all: Vec<(Candidate<'_>, u64)> = Vec::with_capacity(self.replicas.len());
        for r in &self.replicas {
            let node = r.node.as_ref().filter(|n| !n.is_empty());
            let siblings = node.and_then(|n| siblings.get(n)).copied().unwrap_or(0);
            let assigned = r.bound();
            let candidate = Candidate {
                assigned,
                phase: if assigned { 2 } else { 0 },
                ready: r.ready,
                cost: 0,
                siblings,
                ready_since: r.ready.then(|| stamp(epoch + r.ready_at)),
                restarts: 0,
                created: stamp(epoch + r.created),
                uid: &r.uid,
            };
            all.push((candidate, r.number));
        }
        let at = stamp(epoch + now);
        match self.workload.has_ordinals() {
            true => all.sort_by_key(|(_, ordinal)| std::cmp::Reverse(*ordinal)),
            false => all.sort_by(|a, b| order(&a.0, &b.0, at)),
        }
        let gone: Vec<u64> = all
            .iter()
            .take(self.replicas.len() - wanted)
            .map(|c| c.1)
            .collect();
        drop(all);
        let cluster = &mut self.seen.cluster;
        self.replicas.retain(|r| {
            let goes = gone.contains(&r.number);
            if let Some(key) = r.key.as_ref().filter(|_| goes) {
                cluster.remove_pod(key);
            }
            !goes
        });
        // Room may have come free for those that wait.
        self.place(now);
    }

    fn count(&mut self) {
        (self.ready, self.starting, self.next_ready) = (0, 0, NEVER);
        for replica in &self.replicas {
            if replica.ready {
                self.ready += 1;
            } else if replica.bound() {
                self.starting += 1;
                self.next_ready = self.next_ready.min(replica.ready_at);
            }
        }
    }

    // === nodes ===

    fn order_one(&mut self, pool: usize, ordered: i64) -> String {
        self.made += 1;
        let view = &mut self.seen.pools[pool];
        let name = format!("{}-{:06}", view.group, self.made);
        view.target += 1;
        view.instances.push(Instance {
            name: name.clone(),
            ordered: stamp(self.epoch + ordered),
            state: InstanceState::Creating,
        });
        self.nodes += 1;
        self.node_gpus += f64::from(self.pools[pool].gpus);
        self.price += self.pools[pool].price;
        name
    }

    fn arrive(&mut self, pool: usize, name: &str) {
        let view = &mut self.seen.pools[pool];
        if let Some(instance) = view.instances.iter_mut().find(|i| i.name == name) {
            instance.state = InstanceState::Running;
            self.seen.cluster.set_node(&node(&self.pools[pool], name));
        }
    }

    /// Asks the planner where anything has changed, and carries out its plan.
    fn plan(&mut self, now: i64) {
        // A plan's outcome may ask for another; it settles in a few rounds.
        for _ in 0..8 {
            if !self.plans || !self.dirty {
                return;
            }
            self.dirty = false;
            self.seen.pending = self
                .replicas
                .iter()
                .filter(|r| !r.bound())
                .map(|r| {
                    let mut pod = self.pod.clone();
                    pod.key.name = Arc::from(self.workload.pod(r.number));
                    pod.uid.clone_from(&r.uid);
                    Arc::new(pod)
                })
                .collect();
            let at = stamp(self.epoch + now);
            let plan = nodes::plan(&self.settings, &self.seen, &self.state, at);
            self.state = plan.state;
            self.wake = plan
                .wake
                .map_or(NEVER, |t| (t.as_millisecond() - self.epoch).max(now + 1));
            for order in &plan.orders {
                let pool = self.seen.pools.iter().position(|p| p.group == order.group);
                let Some(pool) = pool else { continue };
                let provision = millis(self.pools[pool].provision) + self.extra;
                for _ in order.from..order.to {
                    let name = self.order_one(pool, now);
                    let at = now + provision;
                    self.coming.push(Coming { at, pool, name });
                }
            }
            for change in &plan.taints {
                self.taint(change);
            }
            let mut moved = false;
            for key in &plan.evictions {
                moved |= self.evict(key, now);
            }
            for removal in &plan.removals {
                self.remove(&removal.node, now);
                moved = true;
            }
            if moved {
                self.place(now);
                self.dirty = true;
            }
            self.dirty |= !plan.taints.is_empty();
        }
    }

    fn taint(&mut self, change: &nodes::TaintChange) {
        let Some(node) = self.seen.cluster.node(&change.node) else {
            return;
        };
        let mut node = node.clone();
        node.taints.retain(|t| t.key != change.key);
        if let Some(value) = &change.value {
            let taint = json!({"taints": [{"key": change.key, "value": value,
                "effect": change.effect}]});
            node.taints.extend(Taint::list(&taint));
        }
        self.seen.cluster.imagine(node);
    }

    /// The pod goes and its replica set makes another.
    fn evict(&mut self, key: &PodKey, now: i64) -> bool {
        let Some(at) = self
            .replicas
            .iter()
            .position(|r| r.key.as_ref() == Some(key))
        else {
            return false;
        };
        self.replicas.remove(at);
        self.seen.cluster.remove_pod(key);
        self.create(now);
        self.count();
        true
    }

    fn remove(&mut self, name: &str, now: i64) {
        for (at, view) in self.seen.pools.iter_mut().enumerate() {
            let Some(place) = view.instances.iter().position(|i| i.name == name) else {
                continue;
            };
            view.instances.remove(place);
            view.target = view.target.saturating_sub(1);
            self.nodes = self.nodes.saturating_sub(1);
            self.node_gpus -= f64::from(self.pools[at].gpus);
            self.price -= self.pools[at].price;
            break;
        }
        self.coming.retain(|c| c.name != name);
        let stranded: Vec<PodKey> = self
            .replicas
            .iter()
            .filter(|r| r.node.as_deref() == Some(name))
            .filter_map(|r| r.key.clone())
            .collect();
        for key in &stranded {
            self.evict(key, now);
        }
        self.seen.cluster.remove_node(name);
    }
}

/// A node of a pool as the scheduler sees it.
fn node(pool: &Pool, name: &str) -> Value {
    pool.node(&NodeName {
        name,
        resource_group: "",
        region: "",
    })
}

pub(super) fn millis(time: std::time::Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4)
}
