//! HorizontalPodAutoscalers: when each is evaluated, and what becomes of the decision.
//!
//! [`decide::hpa`] holds the algorithm. This edge reads the target, its pods and the metrics,
//! writes the scale and the status, and records the events.

mod observe;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use decide::hpa::{
    self, HpaDecision, HpaEvent, HpaInput, HpaMemory, HpaSpec, HpaStatus, ScaleWrite,
};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::{Method, Request};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::object::{int, name, namespace, uid};
use super::queue::Queue;
use super::record;
use crate::{Change, ChangeKind, Cluster};

const RESOURCE: &str = "horizontalpodautoscalers.autoscaling";
const SOURCE: &str = "horizontal-pod-autoscaler";
/// HPAs evaluated at the same time: a slow metric holds up only so many.
const WORKERS: usize = 5;
const CONFLICT_PAUSE: Duration = Duration::from_millis(10);

type Key = (Arc<str>, Arc<str>);

/// Takes note of a decision: the HPA as it was read, when, and why.
pub type Report = Arc<dyn Fn(&Value, Timestamp, hpa::Explanation) + Send + Sync>;

/// What is remembered of one HPA.
struct Entry {
    uid: String,
    generation: i64,
    /// The steps are counted from here.
    since: Instant,
    memory: HpaMemory,
    /// The pods that its target's scale selects.
    selector: String,
    running: bool,
    /// The spec changed while it was evaluated.
    again: bool,
}

/// The outcome of one evaluation.
struct Outcome {
    key: Key,
    /// `None` for an HPA that is gone.
    learned: Option<(HpaMemory, String)>,
}

/// Runs the autoscaler; never returns.
pub async fn run(cluster: Cluster, period: Duration, report: Option<Report>) {
    let mut changes = cluster.subscribe();
    let mut autoscaler = Autoscaler {
        cluster,
        period,
        report,
        entries: BTreeMap::new(),
        queue: Queue::new(),
    };
    autoscaler.relist();
    let mut running = FuturesUnordered::new();
    loop {
        while let Some(change) = changes.try_next() {
            autoscaler.observe(change);
        }
        let now = Instant::now();
        while running.len() < WORKERS
            && let Some(key) = autoscaler.queue.pop(now)
        {
            if let Some(evaluation) = autoscaler.start(key, now) {
                running.push(evaluation);
            }
        }
        let wake = autoscaler
            .queue
            .next_at()
            .filter(|_| running.len() < WORKERS);
        let sleep = async {
            match wake {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(outcome) = running.next() => autoscaler.finish(outcome),
            change = changes.next() => autoscaler.observe(change),
            () = sleep => {}
        }
    }
}

struct Autoscaler {
    cluster: Cluster,
    period: Duration,
    report: Option<Report>,
    entries: BTreeMap<Key, Entry>,
    queue: Queue<Key>,
}

impl Autoscaler {
    fn relist(&mut self) {
        for hpa in self.cluster.list(RESOURCE, None) {
            self.see(&hpa);
        }
    }

    fn observe(&mut self, change: Change) {
        match change.kind {
            ChangeKind::Lagged => self.relist(),
            // What is gone is noticed at its next step: one that comes back before keeps its
            // memory. Its pods are the others' at once.
            ChangeKind::Deleted => {
                let hpa = &change.object;
                let key: Key = (namespace(hpa).into(), name(hpa).into());
                if let Some(entry) = self.entries.get_mut(&key)
                    && &*change.resource == RESOURCE
                {
                    entry.selector.clear();
                }
            }
            _ if &*change.resource == RESOURCE => self.see(&change.object),
            _ => {}
        }
    }

    /// A new HPA and a changed spec are looked at at once.
    fn see(&mut self, hpa: &Value) {
        let key: Key = (namespace(hpa).into(), name(hpa).into());
        let generation = int(hpa, &["metadata", "generation"]);
        match self.entries.get_mut(&key) {
            Some(e) if e.uid == uid(hpa) && e.generation == generation => return,
            Some(e) => {
                if e.uid != uid(hpa) {
                    e.uid = uid(hpa).to_owned();
                    e.since = Instant::now();
                }
                e.generation = generation;
                if e.running {
                    e.again = true;
                    return;
                }
            }
            None => {
                let entry = Entry {
                    uid: uid(hpa).to_owned(),
                    generation,
                    since: Instant::now(),
                    memory: HpaMemory::default(),
                    selector: String::new(),
                    running: false,
                    again: false,
                };
                self.entries.insert(key.clone(), entry);
            }
        }
        self.queue.add(key);
    }

    fn start(
        &mut self,
        key: Key,
        now: Instant,
    ) -> Option<impl Future<Output = Outcome> + Send + use<>> {
        let others = self
            .entries
            .range((key.0.clone(), "".into())..)
            .take_while(|((ns, _), _)| *ns == key.0)
            .filter(|((_, name), e)| *name != key.1 && !e.selector.is_empty())
            .map(|((_, name), e)| hpa::OtherHpa {
                name: name.to_string(),
                selector: e.selector.clone(),
            })
            .collect();
        let period = self.period;
        let entry = self.entries.get_mut(&key)?;
        if entry.running {
            entry.again = true;
            return None;
        }
        entry.running = true;
        let steps = (now - entry.since).as_nanos() / period.as_nanos().max(1) + 1;
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        self.queue
            .add_at(key.clone(), entry.since + period.saturating_mul(steps));
        let memory = entry.memory.clone();
        let cluster = self.cluster.clone();
        let report = self.report.clone();
        Some(async move {
            let learned = evaluate(&cluster, &key, memory, others, period, report).await;
            Outcome { key, learned }
        })
    }

    fn finish(&mut self, outcome: Outcome) {
        let Outcome { key, learned } = outcome;
        let Some((memory, selector)) = learned else {
            self.entries.remove(&key);
            // It may have come back in the meantime.
            if let Ok(hpa) = self.cluster.get(RESOURCE, &key.0, &key.1) {
                self.see(&hpa);
            }
            return;
        };
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.memory = memory;
            entry.selector = selector;
            entry.running = false;
            if std::mem::take(&mut entry.again) {
                self.queue.add(key);
            }
        }
    }
}

/// Evaluates one HPA; `None` if it does not exist.
async fn evaluate(
    cluster: &Cluster,
    (ns, name): &Key,
    memory: HpaMemory,
    others: Vec<hpa::OtherHpa>,
    period: Duration,
    report: Option<Report>,
) -> Option<(HpaMemory, String)> {
    let hpa = cluster.get(RESOURCE, ns, name).ok()?;
    let Ok(spec) = HpaSpec::from_json(&hpa["spec"]) else {
        return Some((memory, String::new()));
    };
    let target = observe::Target::find(cluster, ns, &spec.scale_target_ref);
    let mut input = HpaInput {
        namespace: ns.to_string(),
        name: name.to_string(),
        generation: hpa["metadata"]["generation"].as_i64(),
        status: HpaStatus::from_json(&hpa["status"]),
        scale: observe::scale(cluster, &target).await,
        others,
        config: hpa::HpaConfig {
            sync_period: period,
            ..hpa::HpaConfig::default()
        },
        spec,
        ..HpaInput::default()
    };
    let selector = match &input.scale {
        hpa::ScaleObservation::Found { selector, .. } => selector.clone(),
        _ => String::new(),
    };
    for query in hpa::wants(&input) {
        let (reading, sampled) = observe::metric(cluster, ns, &query.what).await;
        input.metrics.insert(query.index, reading);
        if let Some(sampled) = sampled {
            input.sampled.insert(query.index, sampled);
        }
    }
    // With thousands of pods it matters that none is read where none counts.
    if hpa::needs_pods(&input) {
        input.pods = observe::pods(cluster, ns, &selector);
    }
    let now = cluster.now();
    let evaluation = hpa::evaluate(&input, &memory, now);
    let write = match (evaluation.scale_to, &target) {
        (Some(replicas), Ok(target)) => Some(write_scale(cluster, target, replicas).await),
        (Some(_), Err(_)) => Some(ScaleWrite::Failed("the target has no scale".to_owned())),
        (None, _) => None,
    };
    let mut decision = evaluation.finish(write, cluster.now());
    if let Some(report) = report {
        report(&hpa, now, std::mem::take(&mut decision.explanation));
    }
    Some((publish(cluster, &hpa, decision), selector))
}

/// Writes status and events; returns what to remember.
fn publish(cluster: &Cluster, hpa: &Value, decision: HpaDecision) -> HpaMemory {
    let HpaDecision {
        status,
        write_status,
        events,
        memory,
        ..
    } = decision;
    let tell = |e: &HpaEvent| record(cluster, SOURCE, hpa, e.kind(), &e.reason, &e.message);
    events.iter().for_each(tell);
    if write_status {
        let written = cluster.modify_status(RESOURCE, namespace(hpa), name(hpa), |h| {
            h["status"] = status
        });
        match written {
            Err(e) if !e.is_not_found() => {
                tell(&hpa::status_write_failed(name(hpa), &e.to_string()).0);
            }
            _ => {}
        }
    }
    memory
}

/// Writes the replica count, again if somebody else wrote in between.
async fn write_scale(cluster: &Cluster, target: &observe::Target, replicas: i32) -> ScaleWrite {
    let mut last = String::new();
    for attempt in 0..hpa::SCALE_WRITE_TRIES {
        if attempt > 0 {
            tokio::time::sleep(CONFLICT_PAUSE).await;
        }
        let mut scale = match observe::get(cluster, &target.scale_path).await {
            Ok(scale) => scale,
            Err(e) => return ScaleWrite::Failed(e.message),
        };
        crate::value::map_mut(&mut scale, &["spec"]).insert("replicas".into(), json!(replicas));
        let request = Request::builder()
            .method(Method::PUT)
            .uri(&target.scale_path)
            .header(http::header::CONTENT_TYPE, "application/json")
            // Whose the replicas are: clients that apply are told.
            .header(http::header::USER_AGENT, "kube-controller-manager")
            .body(scale.to_string().into());
        let Ok(request) = request else {
            return ScaleWrite::Failed(format!("bad path {}", target.scale_path));
        };
        match observe::send(cluster, request).await {
            Ok(_) => return ScaleWrite::Done,
            Err(e) if e.code == 409 => last = e.message,
            Err(e) => return ScaleWrite::Failed(e.message),
        }
    }
    ScaleWrite::Failed(last)
}
