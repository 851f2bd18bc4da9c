//! Several policies over one load, on as many threads as are given.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::load::{Load, Observed};
use crate::model::Model;
use crate::oracle::Oracle;
use crate::policy::Policy;
use crate::sim::{Outcome, Point, Watch, run};

/// One line of a report.
#[derive(Clone, Debug)]
pub struct Row {
    /// The policy.
    pub name: String,
    /// File and line.
    pub place: String,
    /// `hpa` or `direct`.
    pub actuation: &'static str,
    /// GPUs of a replica.
    pub gpus: u32,
    /// What the model takes the policy to do: see [`Policy::terms`].
    pub terms: Vec<String>,
    /// What it came to.
    pub outcome: Outcome,
    /// Fewest GPU-hours with as much unmet; `None` with a queue, which lets
    /// foresight serve work later than it came.
    pub oracle_gpu_hours: Option<f64>,
    /// Replicas that foresight moves together, see [`Oracle::step`].
    pub oracle_step: u32,
    /// The swept field's value.
    pub swept: Option<f64>,
    /// In a sweep: whether no other variant is better in both cost and service.
    pub efficient: Option<bool>,
    /// With saturated observations: if demand was half as much again there.
    pub if_more: Option<Outcome>,
}

/// A policy to run.
#[derive(Clone, Debug)]
pub struct Job {
    /// The policy.
    pub policy: Policy,
    /// The swept field's value.
    pub swept: Option<f64>,
    /// Keep its timeline.
    pub timeline: bool,
}

/// How much more demand is assumed where it was saturated.
pub const MORE: f64 = 1.5;

/// Runs all jobs; `progress` is told the share done, from any thread.
pub fn run_all(
    model: &Model,
    load: &Load,
    observed: Option<&Observed>,
    jobs: &[Job],
    threads: usize,
    progress: &(dyn Fn(f64) + Sync),
) -> Vec<Row> {
    let more = observed.filter(|o| o.saturated_fraction() > 0.0);
    let more = more.map(|o| o.scaled(MORE));
    let initial = observed.and_then(|o| o.replicas.first().copied());
    let initial = initial.and_then(|n| i32::try_from(n).ok());
    let lag = i64::try_from(model.lag().as_millis()).unwrap_or(i64::MAX);
    // One for each size of a replica, whatever the number of policies.
    let mut oracles: BTreeMap<u32, Oracle> = BTreeMap::new();
    for job in jobs {
        oracles
            .entry(job.policy.gpus)
            .or_insert_with(|| Oracle::new(load, job.policy.gpus, lag));
    }
    let rows: Mutex<Vec<Option<Row>>> = Mutex::new(vec![None; jobs.len()]);
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(at) else { return };
            let tell = |share: f64| {
                let whole = done.load(Ordering::Relaxed) as f64;
                progress((whole + share) / jobs.len() as f64);
            };
            let mut watch = Watch {
                timeline: job.timeline,
                progress: Some(&tell),
                initial,
                ..Watch::default()
            };
            let outcome = run(model, load, &job.policy, &mut watch);
            let if_more = more.as_ref().map(|load| {
                let mut watch = Watch {
                    initial,
                    ..Watch::default()
                };
                run(model, load, &job.policy, &mut watch)
            });
            let oracle = &oracles[&job.policy.gpus];
            let ideal = (!model.queueing).then(|| oracle.gpu_hours(outcome.unmet_fraction));
            let row = Row {
                name: job.policy.name.clone(),
                place: job.policy.place.clone(),
                actuation: job.policy.actuation.as_str(),
                gpus: job.policy.gpus,
                terms: job.policy.terms(),
                oracle_gpu_hours: ideal,
                oracle_step: oracle.step(),
                outcome,
                swept: job.swept,
                efficient: None,
                if_more,
            };
            if let Ok(mut rows) = rows.lock() {
                rows[at] = Some(row);
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.clamp(1, jobs.len().max(1)) {
            scope.spawn(work);
        }
        work();
    });
    let rows = rows.into_inner().unwrap_or_default();
    let mut rows: Vec<Row> = rows.into_iter().flatten().collect();
    mark(&mut rows);
    rows
}

/// Marks the efficient variants of a sweep.
fn mark(rows: &mut [Row]) {
    let swept: Vec<usize> = (0..rows.len())
        .filter(|n| rows[*n].swept.is_some())
        .collect();
    let points: Vec<(f64, f64)> = swept
        .iter()
        .map(|n| (rows[*n].outcome.gpu_hours, rows[*n].outcome.unmet_fraction))
        .collect();
    for (n, good) in swept.iter().zip(crate::sweep::efficient(&points)) {
        rows[*n].efficient = Some(good);
    }
}

/// How near a replay came to what really happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Fidelity {
    /// Mean distance of the replica counts.
    pub mean_error: f64,
    /// The same, as a share of the mean count that was observed.
    pub relative_error: f64,
    /// Share of the time with the very same count.
    pub same_fraction: f64,
    /// Largest distance.
    pub most: u32,
    /// Observed and replayed replicas, by row: milliseconds, then counts.
    pub rows: Vec<(i64, u32, u32)>,
}

impl Fidelity {
    /// Compares a timeline with the observed replicas.
    pub fn of(observed: &Observed, timeline: &[Point]) -> Self {
        let load = &observed.load;
        let (mut error, mut same, mut sum, mut most) = (0.0, 0.0, 0.0, 0);
        let mut rows = Vec::with_capacity(load.times.len());
        let mut at = 0;
        for (row, t) in load.times.iter().enumerate() {
            while timeline.get(at + 1).is_some_and(|p| p.t <= *t) {
                at += 1;
            }
            let ours = timeline.get(at).map_or(0, |p| p.replicas);
            let theirs = observed.replicas[row];
            let span = (load.times.get(row + 1).unwrap_or(&load.end) - t) as f64;
            let distance = ours.abs_diff(theirs);
            error += span * f64::from(distance);
            sum += span * f64::from(theirs);
            same += if distance == 0 { span } else { 0.0 };
            most = most.max(distance);
            rows.push((*t, theirs, ours));
        }
        let total = load.end as f64;
        Self {
            mean_error: error / total,
            relative_error: if sum > 0.0 { error / sum } else { 0.0 },
            same_fraction: same / total,
            most,
            rows,
        }
    }
}
