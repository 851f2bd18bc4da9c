//! The past as a Prometheus server tells it: which ranges to ask for, and what
//! the answers hold. Asking is the caller's.

use promql::parser::ast::{AggOp, Expr, Kind};
use serde_json::Value;

use crate::error::{InputError, Read};
use crate::load::{Observed, Sight};
use crate::policy::Policy;
use crate::signal::Unit;

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
    fn at(&self, point: usize) -> Option<f64> {
        self.values.get(point).copied().flatten()
    }

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
    /// GPUs that it aggregates, ready or not.
    pub shown: Series,
    /// Replicas.
    pub replicas: Series,
    /// Ready replicas.
    pub ready: Series,
}

/// The policy's query as a sum or an average of one metric.
struct Plain {
    op: AggOp,
    unit: Unit,
    factor: f64,
    /// What it aggregates, as written.
    selector: String,
}

fn plain(place: &str, policy: &Policy) -> Read<Plain> {
    let query = policy.triggers.first().map_or("", |t| &t.signal.query);
    let shape = policy.triggers.first().and_then(|t| t.signal.shape());
    let read = || {
        let (op, unit, factor) = shape?.plain().filter(|p| p.2 != 0.0)?;
        let expr = promql::parser::parse(query).ok()?;
        let part = selector(&expr)?;
        let selector = query.get(part.start..part.end)?.to_owned();
        Some(Plain {
            op,
            unit,
            factor,
            selector,
        })
    };
    read().ok_or_else(|| {
        InputError::new(
            place,
            format!(
                "query {query} cannot be turned back into load: only a sum or an average of one \
                 utilization metric can; record it with such a query and give --observed"
            ),
        )
    })
}

/// The first selector of an expression.
fn selector(expr: &Expr) -> Option<&Expr> {
    match &expr.kind {
        Kind::Selector(_) => Some(expr),
        Kind::Paren(inner) | Kind::Unary { expr: inner, .. } => selector(inner),
        Kind::Aggregate { expr: inner, .. } => selector(inner),
        Kind::Binary { lhs, rhs, .. } => selector(lhs).or_else(|| selector(rhs)),
        _ => None,
    }
}

/// What to ask for: the policy's own query, how many GPUs it aggregates,
/// replicas, ready replicas. `place` names the server.
pub fn queries(
    place: &str,
    policy: &Policy,
    replicas: Option<&str>,
    ready: Option<&str>,
) -> Read<[String; 4]> {
    let workload = &policy.workload;
    let kind = workload.kind.to_ascii_lowercase();
    let standard = |what: &str| {
        format!(
            "max(kube_{kind}_status_replicas{what}{{namespace=\"{}\",{kind}=\"{}\"}})",
            workload.namespace, workload.name
        )
    };
    let signal = policy.triggers.first().map(|t| t.signal.query.clone());
    Ok([
        signal.unwrap_or_default(),
        format!("count({})", plain(place, policy)?.selector),
        replicas.map_or_else(|| standard(""), str::to_owned),
        ready.map_or_else(|| standard("_ready"), str::to_owned),
    ])
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
    let query = policy.triggers.first().map_or("", |t| &t.signal.query);
    let fail = |problem: String| InputError::new(place, problem);
    let plain = plain(place, policy)?;
    let points = stretch.points();
    let mut problems = Vec::new();
    // Where no replica is ready there need not be a GPU to measure.
    let idle = |at: usize| history.ready.at(at) == Some(0.0);
    let count = format!("count({})", plain.selector);
    for (name, series, may_lack) in [
        (query, &history.signal, true),
        (count.as_str(), &history.shown, true),
        ("the workload's replicas", &history.replicas, false),
        ("the workload's ready replicas", &history.ready, false),
    ] {
        for warning in &series.warnings {
            problems.push(format!("{name}: the server warns: {warning}"));
        }
        let hole = |at: &usize| series.at(*at).is_none() && !(may_lack && idle(*at));
        let holes: Vec<usize> = (0..points).filter(hole).collect();
        let Some(first) = holes.first() else { continue };
        if series.values.iter().all(Option::is_none) {
            return Err(fail(format!(
                "{name}: there is no value in the whole time; check the query and the time"
            )));
        }
        let at = stretch.from + *first as i64 * stretch.step;
        let at = jiff::Timestamp::from_millisecond(at)
            .map_or_else(|_| at.to_string(), |t| t.to_string());
        problems.push(format!(
            "{name}: {} of {points} points are missing, the first at {at}",
            holes.len(),
        ));
    }
    if !problems.is_empty() && !partial {
        return Err(fail(format!(
            "{}; choose a time without holes, or take what there is with --allow-partial",
            problems.join("; ")
        )));
    }
    if !problems.is_empty() {
        problems.push("where points are missing the last value was held".to_owned());
    }
    let held = |series: &Series| -> Vec<f64> {
        let mut last = series.values.iter().flatten().next().copied();
        let mut hold = |at| {
            last = series.at(at).or(last);
            last.unwrap_or(0.0)
        };
        (0..points).map(&mut hold).collect()
    };
    let count = |v: f64| v.max(0.0).round() as u32;
    let replicas: Vec<u32> = held(&history.replicas).into_iter().map(count).collect();
    let ready = held(&history.ready);
    let ready: Vec<f64> = ready.into_iter().map(|v| f64::from(count(v))).collect();
    let (signal, gpus) = (held(&history.signal), held(&history.shown));
    let work = (0..points).map(|at| {
        if idle(at) && history.signal.at(at).is_none() {
            return 0.0;
        }
        let share = plain.unit.share(signal[at] / plain.factor).max(0.0);
        match plain.op {
            AggOp::Sum => share,
            // An average is over the GPUs of starting replicas, too.
            _ => share.min(1.0) * gpus[at],
        }
    });
    let work = work.collect();
    let times: Vec<i64> = (0..points as i64)
        .map(|n| stretch.from + n * stretch.step)
        .collect();
    let observed = Observed::of(&times, work, replicas, &ready, stretch.step, sight);
    Ok((observed, problems))
}
