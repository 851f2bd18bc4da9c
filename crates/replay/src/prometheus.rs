//! The past as a Prometheus server tells it: which ranges to ask for, and what
//! the answers hold. Asking is the caller's.

use promql::parser::ast::AggOp;
use serde_json::Value;

use crate::error::{InputError, Read};
use crate::load::{Observed, Sight};
use crate::policy::Policy;

/// Most points asked for at once; servers refuse more than 11,000.
const MOST_POINTS: i64 = 10_000;

/// A stretch of time in steps. Milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// First point.
    pub from: i64,
    /// Last point at most.
    pub to: i64,
    /// Distance of the points.
    pub step: i64,
}

impl Stretch {
    /// Checks that there is something to ask for.
    pub fn new(from: i64, to: i64, step: i64) -> Read<Self> {
        let fail = |problem: &str| Err(InputError::new("--from/--to", problem));
        if to <= from {
            return fail("the end is not after the start");
        }
        if step <= 0 || to - from < 2 * step {
            return fail(
                "the time is shorter than two steps; give a longer one or a smaller --step",
            );
        }
        Ok(Self { from, to, step })
    }

    /// The parts that are asked for one by one.
    pub fn parts(&self) -> Vec<Stretch> {
        let mut out = Vec::new();
        let mut from = self.from;
        while from <= self.to {
            let to = (from + (MOST_POINTS - 1) * self.step).min(self.to);
            out.push(Stretch { from, to, ..*self });
            from = to + self.step;
        }
        out
    }

    /// The form fields of a range query.
    pub fn fields(&self, query: &str) -> [(&'static str, String); 4] {
        let seconds = |ms: i64| format!("{}.{:03}", ms / 1000, ms % 1000);
        [
            ("query", query.to_owned()),
            ("start", seconds(self.from)),
            ("end", seconds(self.to)),
            ("step", seconds(self.step)),
        ]
    }

    fn points(&self) -> usize {
        usize::try_from((self.to - self.from) / self.step + 1).unwrap_or(0)
    }
}

/// One query's values on the grid of a stretch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// One for each point; `None` is a hole.
    pub values: Vec<Option<f64>>,
    /// What the server warned of.
    pub warnings: Vec<String>,
}

impl Series {
    /// Adds the answer to one part.
    pub fn add(&mut self, place: &str, query: &str, part: &Stretch, body: &[u8]) -> Read<()> {
        let fail = |problem: String| InputError::new(place, format!("query {query}: {problem}"));
        let answer: Value = serde_json::from_slice(body)
            .map_err(|e| fail(format!("the answer is not whole JSON ({e})")))?;
        if answer["status"] != "success" {
            let error = answer["error"]
                .as_str()
                .unwrap_or("the answer has no status success");
            return Err(fail(error.to_owned()));
        }
        for warning in answer["warnings"].as_array().into_iter().flatten() {
            let text = warning.as_str().unwrap_or("").to_owned();
            if !self.warnings.contains(&text) {
                self.warnings.push(text);
            }
        }
        let series = answer["data"]["result"].as_array();
        let series = series.filter(|_| answer["data"]["resultType"] == "matrix");
        let series = series.ok_or_else(|| fail("the answer is no matrix".to_owned()))?;
        let mut values = vec![None; part.points()];
        match series.as_slice() {
            [] => {}
            [one] => {
                for point in one["values"].as_array().into_iter().flatten() {
                    let t = point[0].as_f64().map(|s| (s * 1000.0).round() as i64);
                    let value = point[1].as_str().and_then(|v| v.parse::<f64>().ok());
                    let (Some(t), Some(value)) = (t, value) else {
                        return Err(fail("a point of the answer is not readable".to_owned()));
                    };
                    let at = usize::try_from((t - part.from) / part.step).unwrap_or(usize::MAX);
                    if let Some(slot) = values.get_mut(at) {
                        *slot = value.is_finite().then_some(value);
                    }
                }
            }
            several => {
                return Err(fail(format!(
                    "it gives {} series where one is needed; aggregate it",
                    several.len()
                )));
            }
        }
        self.values.extend(values);
        Ok(())
    }
}

/// What was read of a workload.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The policy's own query.
    pub signal: Series,
    /// Replicas.
    pub replicas: Series,
    /// Ready replicas.
    pub ready: Series,
}

/// The three queries: the policy's own, replicas, ready replicas.
pub fn queries(policy: &Policy, replicas: Option<&str>, ready: Option<&str>) -> [String; 3] {
    let workload = &policy.workload;
    let kind = workload.kind.to_ascii_lowercase();
    let standard = |what: &str| {
        format!(
            "max(kube_{kind}_status_replicas{what}{{namespace=\"{}\",{kind}=\"{}\"}})",
            workload.namespace, workload.name
        )
    };
    let signal = policy.triggers.first().map(|t| t.signal.query.clone());
    [
        signal.unwrap_or_default(),
        replicas.map_or_else(|| standard(""), str::to_owned),
        ready.map_or_else(|| standard("_ready"), str::to_owned),
    ]
}

/// Reconstructs the load. What is not whole is an error, or with `partial` a
/// list of what is wrong with it.
pub fn observed(
    place: &str,
    policy: &Policy,
    stretch: &Stretch,
    history: &History,
    sight: &Sight,
    partial: bool,
) -> Read<(Observed, Vec<String>)> {
    let query = policy
        .triggers
        .first()
        .map_or("", |t| t.signal.query.as_str());
    let fail = |problem: String| InputError::new(place, problem);
    let plain = policy
        .triggers
        .first()
        .and_then(|t| t.signal.shape()?.plain());
    let Some((op, unit, factor)) = plain.filter(|p| p.2 != 0.0) else {
        return Err(fail(format!(
            "query {query} cannot be turned back into load: only a sum or an average of one \
             utilization metric can; record it with such a query and give --observed"
        )));
    };
    let mut problems = Vec::new();
    for (name, series) in [
        (query, &history.signal),
        ("the workload's replicas", &history.replicas),
        ("the workload's ready replicas", &history.ready),
    ] {
        for warning in &series.warnings {
            problems.push(format!("{name}: the server warns: {warning}"));
        }
        let missing = series.values.iter().filter(|v| v.is_none()).count();
        if missing == series.values.len() {
            return Err(fail(format!(
                "{name}: there is no value in the whole time; check the query and the time"
            )));
        }
        if missing > 0 {
            let first = series.values.iter().position(Option::is_none).unwrap_or(0);
            let at = stretch.from + first as i64 * stretch.step;
            let at = jiff::Timestamp::from_millisecond(at)
                .map_or_else(|_| at.to_string(), |t| t.to_string());
            problems.push(format!(
                "{name}: {missing} of {} points are missing, the first at {at}",
                series.values.len()
            ));
        }
    }
    if !problems.is_empty() && !partial {
        return Err(fail(format!(
            "{}; choose a time without holes, or take what there is with --allow-partial",
            problems.join("; ")
        )));
    }
    let held = |series: &Series| -> Vec<f64> {
        let first = series
            .values
            .iter()
            .flatten()
            .next()
            .copied()
            .unwrap_or(0.0);
        let mut last = first;
        let hold = |v: &Option<f64>| {
            last = v.unwrap_or(last);
            last
        };
        series.values.iter().map(hold).collect()
    };
    if !problems.is_empty() {
        problems.push("where points are missing the last value was held".to_owned());
    }
    let (signal, replicas, ready) = (
        held(&history.signal),
        held(&history.replicas),
        held(&history.ready),
    );
    let count = |v: f64| v.max(0.0).round() as u32;
    let replicas: Vec<u32> = replicas.into_iter().map(count).collect();
    let ready: Vec<f64> = ready.into_iter().map(|v| f64::from(count(v))).collect();
    let gpus = f64::from(sight.gpus);
    let utilization: Vec<f64> = signal
        .iter()
        .zip(&ready)
        .map(|(value, ready)| {
            let share = unit.share(value / factor);
            let share = match op {
                AggOp::Sum if *ready > 0.0 => share / (ready * gpus),
                AggOp::Sum => 0.0,
                _ => share,
            };
            (share * 100.0).clamp(0.0, 100.0)
        })
        .collect();
    let step = stretch.step;
    let times: Vec<i64> = (0..signal.len() as i64)
        .map(|n| stretch.from + n * step)
        .collect();
    let observed =
        Observed::reconstruct(&times, &utilization, &replicas, Some(&ready), step, sight);
    Ok((observed, problems))
}
