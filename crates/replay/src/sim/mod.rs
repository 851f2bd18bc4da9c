//! The event-driven simulator: a policy's controllers over a load, in time.
//!
//! Every decision is taken by `decide` (and by `triggers` for what a query's
//! answer means). Nothing happens between two events, so a span costs what
//! happens in it: polls, syncs, replicas that come and go.

mod fleet;
mod signals;

use api::quantity::{Format, Quantity};
use decide::explain::{Explanation, Object, Record, Workload};
use decide::hpa::{
    self, DirectMemory, HpaInput, HpaMemory, HpaStatus, Occasion, ScaleObservation, Seen,
};
use decide::scale::fallback::{self, MetricRead, Read as TriggerRead, Settled};
use decide::scale::{self, Observation, Rule};
use jiff::Timestamp;

use crate::load::Load;
use crate::model::Model;
use crate::policy::{Actuation, Policy, Trigger};
use fleet::{Fleet, millis};
use signals::{Answer, Signals};
use triggers::Reading;

/// What a policy came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// GPU-hours of the replicas that existed, ready or not.
    pub gpu_hours: f64,
    /// GPU-hours of the nodes from order to deletion; `None` without pools.
    pub node_gpu_hours: Option<f64>,
    /// What the pools cost; `None` without pools.
    pub cost: Option<f64>,
    /// Work that came, in GPU-hours.
    pub work_gpu_hours: f64,
    /// Share of the work that was not served: when it came, or (with a queue)
    /// until the end.
    pub unmet_fraction: f64,
    /// Share of the time with more work than ready replicas could do.
    pub overloaded_fraction: f64,
    /// Changes of the wanted replica count.
    pub scale_events: u64,
    /// Replicas that existed, on average over the time.
    pub mean_replicas: f64,
    /// Most replicas at once.
    pub max_replicas: u32,
    /// Most nodes that were ordered or there at once; `None` without pools.
    pub max_nodes: Option<u32>,
    /// How long work waited on average; `None` without a queue.
    pub mean_wait_seconds: Option<f64>,
    /// Replicas over time, where it was asked for.
    pub timeline: Vec<Point>,
}

/// Replicas from a moment on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Milliseconds since the load's begin.
    pub t: i64,
    /// Replicas that exist.
    pub replicas: u32,
    /// Replicas that serve.
    pub ready: u32,
    /// GPUs of the nodes.
    pub node_gpus: f64,
}

/// What a run is to keep and to tell.
#[derive(Default)]
pub struct Watch<'a> {
    /// Keep the timeline.
    pub timeline: bool,
    /// Evaluate in full and hand over each decision.
    pub log: Option<&'a mut dyn FnMut(Record)>,
    /// Told now and then how much of the load has passed, 0 to 1.
    pub progress: Option<&'a dyn Fn(f64)>,
    /// Replicas at the start, instead of the manifest's.
    pub initial: Option<i32>,
    /// Evaluate in full even without a log; the outcome is the same.
    pub in_full: bool,
}

struct Sim<'a> {
    model: &'a Model,
    load: &'a Load,
    policy: &'a Policy,
    fleet: Fleet,
    signals: Signals,
    /// Replicas that the workload asks for.
    wanted: i32,
    hpa: HpaMemory,
    direct: DirectMemory,
    asleep: bool,
    /// The HPA's status, in full evaluations.
    status: HpaStatus,
    keda: Option<Keda>,
    readings: Vec<Option<i64>>,
    /// How far the ledger has got.
    at: i64,
    place: usize,
    queue: f64,
    gpu_ms: f64,
    node_ms: f64,
    price_ms: f64,
    flow: crate::load::Flow,
    events: u64,
    max_replicas: u32,
    max_nodes: u32,
    timeline: Option<Vec<Point>>,
}

/// KEDA's loop.
struct Keda {
    object: api::keda::ScaledObject,
    /// The last poll's answers, for cached metrics.
    answers: Vec<Result<Answer, String>>,
    /// Polls that would only repeat the last one, but for the time.
    quiet: Option<Quiet>,
}

struct Quiet {
    activity: Vec<bool>,
    replicas: i32,
    /// The last of them, not taken yet.
    pending: Option<Observation>,
}

fn stamp(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
}

/// Replays a policy.
pub fn run(model: &Model, load: &Load, policy: &Policy, watch: &mut Watch<'_>) -> Outcome {
    let mut sim = Sim::new(model, load, policy, watch);
    let full = watch.in_full || watch.log.is_some();
    let direct = policy.actuation == Actuation::Direct;
    let sample = sim.signals.period();
    let poll_every = match (&policy.keda, policy.paused) {
        (Some(object), None) => Some(if direct {
            sample
        } else {
            i64::try_from(object.spec.polling_seconds()).unwrap_or(30) * 1000
        }),
        _ => None,
    };
    let acts = policy.paused.is_none();
    let sync_every = acts.then(|| millis(model.hpa.sync_period).max(1) + millis(model.hpa_latency));
    let sample_every = (acts && direct).then_some(sample);
    let mut next_poll = poll_every.map_or(i64::MAX, |_| 0);
    let mut next_sync = sync_every.map_or(i64::MAX, |_| 0);
    let mut next_sample = sample_every.unwrap_or(i64::MAX);
    let mut told = 0;
    loop {
        let now = sim
            .fleet
            .next()
            .min(sim.signals.next())
            .min(next_poll)
            .min(next_sync)
            .min(next_sample);
        if now >= load.end {
            break;
        }
        let epoch = load.origin;
        if sim.signals.next() <= now {
            sim.advance(now);
            let queue = sim.queue;
            sim.signals.pass(now, epoch, &sim.fleet, load, queue);
        }
        if sim.fleet.next() <= now {
            sim.change(now, |fleet| fleet.pass(now));
        }
        if next_poll <= now {
            next_poll = now + poll_every.unwrap_or(i64::MAX);
            sim.poll(now, watch);
        }
        if next_sync <= now {
            next_sync = now + sync_every.unwrap_or(i64::MAX);
            sim.sync(now, full, direct.then_some(Occasion::Sync), watch);
        }
        if next_sample <= now {
            next_sample = now + sample_every.unwrap_or(i64::MAX);
            sim.sync(now, full, direct.then_some(Occasion::Sample), watch);
        }
        if let Some(tell) = watch.progress
            && now - told > load.end / 200
        {
            told = now;
            tell(now as f64 / load.end as f64);
        }
    }
    sim.finish()
}

impl<'a> Sim<'a> {
    fn new(model: &'a Model, load: &'a Load, policy: &'a Policy, watch: &Watch<'_>) -> Self {
        let wanted = match policy.paused {
            Some(Some(count)) => count.max(0),
            _ => watch.initial.unwrap_or(policy.initial),
        };
        let keda = policy.keda.as_ref().map(|object| {
            let mut object = object.clone();
            object.metadata.creation_timestamp = Some(scale::seconds(stamp(load.origin)));
            Keda {
                object,
                answers: Vec::new(),
                quiet: None,
            }
        });
        let mut sim = Self {
            model,
            load,
            policy,
            fleet: Fleet::new(model, policy, load.origin),
            signals: Signals::new(model, policy),
            wanted,
            hpa: HpaMemory::default(),
            direct: DirectMemory::default(),
            asleep: false,
            status: HpaStatus::default(),
            keda,
            readings: Vec::new(),
            at: 0,
            place: 0,
            queue: 0.0,
            gpu_ms: 0.0,
            node_ms: 0.0,
            price_ms: 0.0,
            flow: crate::load::Flow::default(),
            events: 0,
            max_replicas: 0,
            max_nodes: 0,
            timeline: watch.timeline.then(Vec::new),
        };
        // What is there at the start has been there for long.
        let count = usize::try_from(wanted).unwrap_or(0);
        sim.fleet.begin(count);
        sim.note(0);
        sim.signals.begin();
        sim
    }

    /// Accounts for the time until `now`.
    fn advance(&mut self, now: i64) {
        if now <= self.at {
            return;
        }
        let span = (now - self.at) as f64;
        let gpus = f64::from(self.policy.gpus);
        self.gpu_ms += span * gpus * self.fleet.replicas.len() as f64;
        self.node_ms += span * self.fleet.node_gpus;
        self.price_ms += span * self.fleet.price;
        let capacity = gpus * f64::from(self.fleet.ready);
        let queue = self.model.queueing.then_some(&mut self.queue);
        let flow = self
            .load
            .flow(&mut self.place, self.at, now, capacity, queue);
        self.flow.work += flow.work;
        self.flow.unmet += flow.unmet;
        self.flow.over += flow.over;
        self.flow.waiting += flow.waiting;
        self.at = now;
    }

    /// Changes the fleet, with the time before it accounted for.
    fn change(&mut self, now: i64, change: impl FnOnce(&mut Fleet)) {
        self.advance(now);
        change(&mut self.fleet);
        self.note(now);
    }

    fn note(&mut self, now: i64) {
        self.signals.note(now, &self.fleet, self.queue);
        let replicas = u32::try_from(self.fleet.replicas.len()).unwrap_or(u32::MAX);
        self.max_replicas = self.max_replicas.max(replicas);
        self.max_nodes = self.max_nodes.max(self.fleet.nodes);
        if let Some(timeline) = &mut self.timeline {
            let point = Point {
                t: now,
                replicas,
                ready: self.fleet.ready,
                node_gpus: self.fleet.node_gpus,
            };
            match timeline.last_mut() {
                Some(last) if last.t == now => *last = point,
                _ => timeline.push(point),
            }
        }
    }

    fn scale(&mut self, to: i32, now: i64) {
        if to == self.wanted || to < 0 {
            return;
        }
        self.events += 1;
        self.wanted = to;
        let count = usize::try_from(to).unwrap_or(0);
        self.change(now, |fleet| fleet.scale(count, now));
    }

    // === KEDA's loop ===

    fn poll(&mut self, now: i64, watch: &mut Watch<'_>) {
        let epoch = self.load.origin;
        // A log has every poll, also those that change nothing.
        let logs = watch.log.is_some();
        let answers = self.signals.read(now, epoch, self.policy, self.load);
        let Some(keda) = &mut self.keda else { return };
        let failed = answers.iter().any(Result::is_err);
        let active = |a: &Result<Answer, String>| a.as_ref().is_ok_and(|a| a.active);
        let same = keda.quiet.as_ref().is_some_and(|quiet| {
            !failed
                && !logs
                && quiet.replicas == self.wanted
                && answers.len() == quiet.activity.len()
                && answers
                    .iter()
                    .zip(&quiet.activity)
                    .all(|(a, q)| active(a) == *q)
        });
        let cached = self.policy.triggers.iter().any(|t| t.cached);
        if same && !cached {
            // Only the time of the last one counts; it is taken when it matters.
            if let Some(Quiet {
                pending: Some(pending),
                ..
            }) = &mut keda.quiet
            {
                pending.now = stamp(epoch + now);
                return;
            }
        }
        let observation = Observation {
            metrics: reads(self.policy, answers),
            resource_triggers: 0,
            replicas: Ok(self.wanted),
            ready_pods: i32::try_from(self.fleet.ready).ok(),
            hpa: None,
            now: stamp(epoch + now),
        };
        if cached {
            keda.answers = answers.to_vec();
        }
        if same && let Some(quiet) = &mut keda.quiet {
            quiet.pending = Some(observation);
            return;
        }
        if let Some(pending) = keda.quiet.take().and_then(|q| q.pending) {
            keda.object.status =
                scale::step(&keda.object, self.policy.composite.as_ref(), &pending).status;
        }
        let activity = answers.iter().map(active).collect();
        let composite = self.policy.composite.as_ref();
        let decision = scale::step(&keda.object, composite, &observation);
        keda.object.status = decision.status;
        if let Some(log) = watch.log.as_deref_mut() {
            let object = self.policy.object.clone();
            let explanation = Explanation::ScaledObject(decision.explanation.clone());
            log(record(self.policy, observation.now, object, explanation));
        }
        // These lines of the table read nothing that time alone changes. A formula
        // may be about the time, and failures are counted in their order.
        let plain = composite.is_none() && !fallback::is_enabled(&keda.object.spec);
        let repeats = plain && matches!(decision.explanation.rule, Rule::Active | Rule::Idle);
        if repeats && decision.scale.is_none() && !failed {
            keda.quiet = Some(Quiet {
                activity,
                replicas: self.wanted,
                pending: None,
            });
        }
        if let Some(scale) = decision.scale {
            self.scale(scale.to, now);
        }
    }

    // === the HPA, or direct actuation ===

    fn sync(&mut self, now: i64, full: bool, direct: Option<Occasion>, watch: &mut Watch<'_>) {
        if !self.policy.wants(self.wanted, self.asleep) {
            self.readings.clear();
            self.readings.resize(self.policy.spec.metrics.len(), None);
        } else {
            self.read(now);
        }
        let at = stamp(self.load.origin + now);
        let existing = self.fleet.replicas.len();
        let seen = Seen {
            current: self.wanted,
            running: i32::try_from(existing).unwrap_or(i32::MAX),
            ready: (existing > 0).then_some(self.fleet.ready as usize),
            asleep: self.asleep,
            readings: &self.readings,
        };
        let numbers = &self.policy.numbers;
        let plain = |outcome: hpa::Outcome| (outcome.desired, outcome.asleep);
        let (desired, asleep) = match direct {
            Some(occasion) if full => {
                let input = self.input();
                let both = (&input, &seen);
                let (outcome, explanation) =
                    hpa::direct_explained(numbers, &mut self.direct, both, occasion, at);
                self.tell(at, explanation, watch);
                // Where an HPA would read it again.
                self.status.set_scaled_to_zero(outcome.asleep, at);
                plain(outcome)
            }
            Some(occasion) => plain(hpa::direct(numbers, &mut self.direct, &seen, occasion, at)),
            None if full => self.in_full(at, watch),
            None => plain(numbers.evaluate(&mut self.hpa, &seen, at)),
        };
        self.asleep = asleep;
        self.scale(desired, now);
    }

    /// Fills in the readings of all metrics of the HPA, as the metrics API
    /// answers them: every answer is settled, which counts failures and applies
    /// the fallback, and a formula makes one metric of them.
    fn read(&mut self, now: i64) {
        let epoch = self.load.origin;
        let fresh = self.signals.read(now, epoch, self.policy, self.load);
        self.readings.clear();
        let Some(keda) = &mut self.keda else {
            let milli = |a: &Result<Answer, String>| a.as_ref().ok().map(|a| a.milli);
            self.readings.extend(fresh.iter().map(milli));
            return;
        };
        let ready = i32::try_from(self.fleet.ready).ok();
        let spec = &keda.object.spec;
        let health = &mut keda.object.status.health;
        let mut settled = Vec::with_capacity(fresh.len());
        for (at, (trigger, fresh)) in self.policy.triggers.iter().zip(fresh).enumerate() {
            let kept = keda.answers.get(at).filter(|_| trigger.cached);
            let read = metric_read(trigger, kept.unwrap_or(fresh));
            let outcome = fallback::settle(spec, health, &read, Some(self.wanted), ready);
            settled.push((read.metric, outcome));
        }
        let outcome = |settled: &Settled| match settled {
            Settled::Value { value, active, .. } => {
                let (value, active) = (value.max(0.0), *active);
                Some(Reading { value, active }.quantity().milli_value())
            }
            Settled::Nil | Settled::Error(_) => None,
        };
        let Some(composite) = &self.policy.composite else {
            self.readings
                .extend(settled.iter().map(|(_, s)| outcome(s)));
            return;
        };
        let by_name: Vec<(&str, &Settled)> = settled.iter().map(|(n, s)| (n.as_str(), s)).collect();
        let value = composite.value(spec.fallback.as_ref(), &by_name, stamp(epoch + now));
        self.readings.push(outcome(&value));
    }

    /// The evaluation with all its texts.
    fn in_full(&mut self, at: Timestamp, watch: &mut Watch<'_>) -> (i32, bool) {
        let decision = hpa::reconcile(&self.input(), &self.hpa, at);
        self.tell(at, decision.explanation, watch);
        self.hpa = decision.memory;
        self.status = HpaStatus::from_json(&decision.status);
        let asleep = self.status.condition("ScaledToZero");
        let asleep = asleep.is_some_and(|c| c.status == "True");
        (decision.scale_to.unwrap_or(self.wanted), asleep)
    }

    fn tell(&self, at: Timestamp, explanation: hpa::Explanation, watch: &mut Watch<'_>) {
        if let Some(log) = watch.log.as_deref_mut() {
            let (policy, explanation) = (self.policy, Explanation::Hpa(explanation));
            log(record(policy, at, policy.hpa(), explanation));
        }
    }

    /// What is there, as the API would show it.
    fn input(&self) -> HpaInput {
        let policy = self.policy;
        let name = |n: usize| {
            let source = policy.spec.metrics.get(n).and_then(|m| m.external.as_ref());
            source.map_or("", |s| s.metric.name.as_str())
        };
        let external = |(n, value): (usize, &Option<i64>)| {
            let read = match value {
                Some(milli) => Ok(vec![Quantity::from_milli(*milli, Format::DecimalSI)]),
                None => Err(format!("metric:{} encountered error", name(n))),
            };
            (n, hpa::MetricObservation::External(read))
        };
        let label = ("app".to_owned(), policy.workload.name.clone());
        let pod = |r: &fleet::Replica| hpa::PodObservation {
            name: policy.workload.pod(r.number),
            labels: [label.clone()].into(),
            phase: if r.bound() { "Running" } else { "Pending" }.to_owned(),
            ready: Some((if r.ready { "True" } else { "False" }.to_owned(), None)),
            ..hpa::PodObservation::default()
        };
        HpaInput {
            namespace: policy.workload.namespace.clone(),
            name: policy.workload.name.clone(),
            spec: policy.spec.clone(),
            status: self.status.clone(),
            scale: ScaleObservation::Found {
                spec_replicas: self.wanted,
                status_replicas: i32::try_from(self.fleet.replicas.len()).unwrap_or(i32::MAX),
                selector: format!("app={}", policy.workload.name),
            },
            metrics: self.readings.iter().enumerate().map(external).collect(),
            pods: self.fleet.replicas.iter().map(pod).collect(),
            config: self.model.hpa.clone(),
            ..HpaInput::default()
        }
    }

    fn finish(mut self) -> Outcome {
        self.advance(self.load.end);
        let hours = |ms: f64| ms / 3_600_000.0;
        let total = self.load.end as f64 / 1000.0;
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let pools = !self.model.pools.is_empty();
        let unmet = match self.model.queueing {
            true => self.queue,
            false => self.flow.unmet,
        };
        Outcome {
            gpu_hours: hours(self.gpu_ms),
            node_gpu_hours: pools.then_some(hours(self.node_ms)),
            cost: pools.then_some(hours(self.price_ms)),
            work_gpu_hours: self.flow.work / 3600.0,
            unmet_fraction: share(unmet, self.flow.work),
            overloaded_fraction: share(self.flow.over, total),
            scale_events: self.events,
            mean_replicas: share(
                self.gpu_ms,
                f64::from(self.policy.gpus) * self.load.end as f64,
            ),
            max_replicas: self.max_replicas,
            max_nodes: pools.then_some(self.max_nodes),
            mean_wait_seconds: self
                .model
                .queueing
                .then_some(share(self.flow.waiting, self.flow.work)),
            timeline: self.timeline.unwrap_or_default(),
        }
    }
}

fn record(policy: &Policy, time: Timestamp, object: Object, explanation: Explanation) -> Record {
    Record {
        time,
        object,
        target: Workload {
            kind: policy.workload.kind.clone(),
            name: policy.workload.name.clone(),
        },
        explanation,
    }
}

fn metric_read(trigger: &Trigger, answer: &Result<Answer, String>) -> MetricRead {
    MetricRead {
        metric: trigger.metric.clone(),
        target: trigger.target,
        read: match answer {
            Ok(answer) => TriggerRead::Value {
                value: answer.milli as f64 / 1000.0,
                active: answer.active,
            },
            Err(error) => TriggerRead::Failed(error.clone()),
        },
    }
}

fn reads(policy: &Policy, answers: &[Result<Answer, String>]) -> Vec<MetricRead> {
    let pairs = policy.triggers.iter().zip(answers);
    pairs.map(|(t, a)| metric_read(t, a)).collect()
}
