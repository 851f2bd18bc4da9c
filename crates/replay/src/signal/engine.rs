//! Queries that the engine evaluates on the simulated series. Exact and slow.

use std::collections::{BTreeMap, VecDeque};

use promql::eval::{EvalOptions, QueryValue, instant};
use promql::labels::{Labels, MatchOp, Matcher};
use promql::number::stale_nan;
use promql::parser::ast::{Duration, Expr, Kind, TimeShift};
use promql::source::{SeriesData, Source};

use super::{Metrics, Unit, Workload};

/// How far an instant selector looks back.
const LOOKBACK_MS: i64 = 300_000;

/// What one scrape found.
#[derive(Clone, Debug)]
pub(crate) struct Scrape {
    /// When, in milliseconds since the epoch.
    pub at: i64,
    /// Number of each replica on the page, and how busy its GPUs are.
    pub replicas: Vec<(u64, f64)>,
}

/// A query for the engine.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    query: String,
    units: BTreeMap<String, Unit>,
    workload: Workload,
    /// How much history the query may look at, in milliseconds.
    pub(crate) reach: i64,
}

impl Engine {
    pub(super) fn of(query: &str, expr: &Expr, metrics: &Metrics, workload: &Workload) -> Self {
        Self {
            query: query.to_owned(),
            units: metrics.0.clone(),
            workload: workload.clone(),
            reach: LOOKBACK_MS + reach(expr),
        }
    }

    /// The query's value at `t`: one number, nothing, or why there is none.
    pub(crate) fn value(
        &self,
        scrapes: &VecDeque<Scrape>,
        gpus: u32,
        t: i64,
    ) -> Result<Option<f64>, String> {
        let source = Replicas {
            engine: self,
            scrapes,
            gpus,
        };
        let options = EvalOptions {
            lookback_ms: LOOKBACK_MS,
            ..EvalOptions::default()
        };
        let result = instant(&source, &self.query, t, &options).map_err(|e| e.to_string())?;
        match result.value {
            QueryValue::Vector(elements) => match elements.as_slice() {
                [] => Ok(None),
                [(_, value)] => Ok(Some(*value)),
                _ => Err(format!(
                    "prometheus query {} returned multiple elements",
                    self.query
                )),
            },
            QueryValue::Scalar(_) | QueryValue::Text(_) | QueryValue::Matrix(_) => Err(format!(
                "prometheus query {} is no instant vector",
                self.query
            )),
        }
    }
}

struct Replicas<'a> {
    engine: &'a Engine,
    scrapes: &'a VecDeque<Scrape>,
    gpus: u32,
}

impl Source for Replicas<'_> {
    fn select(
        &self,
        matchers: &[Matcher],
        mint: i64,
        maxt: i64,
        newest_only: bool,
    ) -> Vec<SeriesData> {
        let workload = &self.engine.workload;
        let names: Vec<(&String, Unit)> = self
            .engine
            .units
            .iter()
            .filter(|(name, _)| {
                let mut about = matchers.iter().filter(|m| m.name == "__name__");
                about.all(|m| m.matches(name))
            })
            .map(|(name, unit)| (name, *unit))
            .collect();
        // Every replica's series ends with a marker in the first scrape without it.
        let mut points: BTreeMap<u64, Vec<(i64, f64)>> = BTreeMap::new();
        let mut before: Vec<u64> = Vec::new();
        for scrape in self.scrapes.iter().filter(|s| s.at <= maxt) {
            let there: Vec<u64> = scrape.replicas.iter().map(|r| r.0).collect();
            if scrape.at >= mint {
                for (number, share) in &scrape.replicas {
                    points.entry(*number).or_default().push((scrape.at, *share));
                }
                for gone in before.iter().filter(|n| !there.contains(n)) {
                    points
                        .entry(*gone)
                        .or_default()
                        .push((scrape.at, stale_nan()));
                }
            }
            before = there;
        }
        let mut out = Vec::new();
        for (name, unit) in names {
            for (number, points) in &points {
                let pod = workload.pod(*number);
                for gpu in 0..self.gpus {
                    let labels = self.labels(name, &pod, gpu, matchers);
                    let fits = |m: &Matcher| {
                        workload.label(&m.name).is_none() && m.name != "gpu"
                            || m.name == "__name__"
                            || m.matches(labels.get(&m.name))
                    };
                    if !matchers.iter().all(fits) {
                        continue;
                    }
                    let mut shown: Vec<(i64, f64)> = points
                        .iter()
                        .map(|(t, share)| {
                            (
                                *t,
                                if share.is_nan() {
                                    *share
                                } else {
                                    unit.show(*share)
                                },
                            )
                        })
                        .collect();
                    if newest_only {
                        shown.drain(..shown.len().saturating_sub(1));
                    }
                    out.push(SeriesData {
                        labels,
                        points: shown,
                        starts: None,
                    });
                }
            }
        }
        out.sort_by(|a, b| a.labels.iter().cmp(b.labels.iter()));
        out
    }
}

impl Replicas<'_> {
    /// The labels of one GPU's series. A label that the model does not know
    /// has the value that the query asks for, so that grouping by it works.
    fn labels(&self, name: &str, pod: &str, gpu: u32, matchers: &[Matcher]) -> Labels {
        let workload = &self.engine.workload;
        let mut pairs: Vec<(String, String)> = matchers
            .iter()
            .filter(|m| m.op == MatchOp::Equal)
            .map(|m| (m.name.clone(), m.value.clone()))
            .collect();
        let asked: Vec<&str> = matchers.iter().map(|m| m.name.as_str()).collect();
        for label in ["namespace", "container", "pod", "deployment", "statefulset"] {
            for label in [label.to_owned(), format!("exported_{label}")] {
                let exported = label.starts_with("exported_");
                if exported && !asked.contains(&label.as_str()) {
                    continue;
                }
                let value = match label.ends_with("pod") {
                    true => Some(pod.to_owned()),
                    false => workload.label(&label),
                };
                pairs.extend(value.map(|value| (label, value)));
            }
        }
        pairs.push(("gpu".to_owned(), gpu.to_string()));
        pairs.push(("UUID".to_owned(), format!("GPU-{pod}-{gpu}")));
        pairs.push(("__name__".to_owned(), name.to_owned()));
        Labels::from_pairs(pairs)
    }
}

/// How far back a query looks, at most, in milliseconds.
fn reach(expr: &Expr) -> i64 {
    let span = |d: &Duration| {
        let seconds = d.seconds(0.0, 0.0).unwrap_or(0.0);
        (seconds.abs().min(1e9) * 1000.0) as i64
    };
    let shift = |t: &TimeShift| t.offset.as_ref().map_or(0, span);
    match &expr.kind {
        Kind::Number(_) | Kind::Text(_) => 0,
        Kind::Selector(s) => s.range.as_ref().map_or(0, span) + shift(&s.time),
        Kind::Subquery {
            expr, range, time, ..
        } => span(range) + shift(time) + reach(expr),
        Kind::Paren(e) | Kind::Unary { expr: e, .. } => reach(e),
        Kind::Binary { lhs, rhs, .. } => reach(lhs).max(reach(rhs)),
        Kind::Aggregate { expr, param, .. } => reach(expr).max(param.as_deref().map_or(0, reach)),
        Kind::Call { args, .. } => args.iter().map(reach).max().unwrap_or(0),
    }
}
