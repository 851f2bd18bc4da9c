//! Functions of range vectors.

use super::aggregate::{extreme, quantile, quantile_warning};
use super::rate::{RateKind, start_resets};
use super::{Evaluator, QueryError, RangeSeries, Result, Sample};
use crate::labels::{METRIC_NAME, MatchOp, quote};
use crate::number::{Mean, Sum, is_histogram};
use crate::parser::ast::{Edges, Expr, Kind};
use crate::parser::functions::Function;

/// What a function does with a range that holds native histograms.
#[derive(Clone, Copy, PartialEq)]
enum Mixed {
    /// Counts samples of either kind.
    Takes,
    /// Looks at floats and says so.
    Ignores,
    /// Refuses a mix.
    Warns,
}

fn mixed(name: &str) -> Mixed {
    match name {
        "count_over_time"
        | "present_over_time"
        | "last_over_time"
        | "first_over_time"
        | "ts_of_first_over_time"
        | "ts_of_last_over_time" => Mixed::Takes,
        "sum_over_time" | "avg_over_time" | "rate" | "increase" | "delta" | "irate" | "idelta"
        | "changes" | "resets" => Mixed::Warns,
        _ => Mixed::Ignores,
    }
}

impl Evaluator<'_> {
    pub(super) fn range_call(
        &mut self,
        func: &Function,
        args: &[Expr],
        t: i64,
    ) -> Result<Vec<Sample>> {
        let name = func.name;
        let (range, numbers): (&Expr, Vec<f64>) = if name == "quantile_over_time" {
            let q = self.scalar(&args[0], t)?;
            (&args[1], vec![q])
        } else {
            let mut n = Vec::new();
            for a in &args[1..] {
                n.push(self.scalar(a, t)?);
            }
            (&args[0], n)
        };
        if name == "double_exponential_smoothing" {
            for (what, v) in [("smoothing", numbers[0]), ("trend", numbers[1])] {
                if !(v > 0.0 && v < 1.0) {
                    let message = format!(
                        "invalid {what} factor. Expected: 0 < {} < 1, got: {v}",
                        if what == "smoothing" { "sf" } else { "tf" }
                    );
                    return Err(QueryError::Execution(message));
                }
            }
        }
        if let Kind::Selector(s) = &range.inner().kind
            && s.edges != Edges::Plain
        {
            return self.extended(name, range.inner(), s, t);
        }
        let w = self.window(range, t)?;
        let keeps_name = matches!(name, "last_over_time" | "first_over_time");
        let mut named_alike = false;
        let mut out = Vec::new();
        self.for_each_series(range, t, |ev, s| {
            let floats;
            let mut s = s;
            let histograms = s.points.iter().filter(|p| is_histogram(p.1)).count();
            if histograms > 0 && mixed(name) != Mixed::Takes {
                if !ev.settle_mix(name, s, histograms, range)? {
                    return Ok(());
                }
                floats = s
                    .points
                    .iter()
                    .copied()
                    .filter(|p| !is_histogram(p.1))
                    .collect::<Vec<_>>();
                s.points = &floats;
                s.starts = None;
            }
            let v = match RateKind::of(name) {
                Some(kind) => {
                    let v = ev.rate(kind, s, w, range);
                    if v.is_some() && kind.counter && !named_alike {
                        ev.note_non_counter(s, range);
                        named_alike = has_one_name(range);
                    }
                    v
                }
                None => ev.over_time(name, &numbers, s, t, args),
            };
            if let Some(v) = v {
                let drop_name = s.drop_name || !keeps_name;
                out.push(Sample {
                    labels: s.labels.clone(),
                    v,
                    drop_name,
                });
            }
            Ok(())
        })?;
        Ok(out)
    }

    /// Whether a range with native histograms goes on with its floats.
    fn settle_mix(
        &mut self,
        name: &str,
        s: RangeSeries<'_>,
        histograms: usize,
        at: &Expr,
    ) -> Result<bool> {
        let metric = quote(s.labels.name());
        let all = histograms == s.points.len();
        if mixed(name) == Mixed::Ignores {
            if !all {
                self.info_note(at, format!(
                    "ignored histograms in a range containing both floats and histograms for metric name {metric}"
                ));
            }
            return Ok(!all);
        }
        let counts_changes = matches!(name, "changes" | "resets");
        let sums = matches!(name, "sum_over_time" | "avg_over_time");
        let mut looked_at = s.points;
        if matches!(name, "irate" | "idelta") {
            looked_at = &s.points[s.points.len().saturating_sub(2)..];
            if looked_at.iter().all(|p| !is_histogram(p.1)) {
                return Ok(true);
            }
        }
        if looked_at.len() < 2 && !sums && !counts_changes {
            // Too short for a result of any kind.
            return Ok(false);
        }
        if looked_at.iter().all(|p| is_histogram(p.1)) || counts_changes {
            return Err(QueryError::Unsupported(format!(
                "{name}() of native histograms"
            )));
        }
        self.warn(
            at,
            format!("encountered a mix of histograms and floats for metric name {metric}"),
        );
        Ok(false)
    }

    fn note_non_counter(&mut self, s: RangeSeries<'_>, at: &Expr) {
        let name = s.labels.name();
        let counter = ["_total", "_sum", "_count", "_bucket"]
            .iter()
            .any(|x| name.ends_with(x));
        if !name.is_empty() && !counter {
            let text = format!(
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {}",
                quote(name)
            );
            self.info_note(at, text);
        }
    }

    pub(super) fn over_time(
        &mut self,
        name: &str,
        numbers: &[f64],
        s: RangeSeries<'_>,
        t: i64,
        args: &[Expr],
    ) -> Option<f64> {
        let p = s.points;
        let values = || p.iter().map(|x| x.1);
        let seconds = |ms: i64| ms as f64 / 1e3;
        let (first, last) = (*p.first()?, *p.last()?);
        Some(match name {
            "count_over_time" => p.len() as f64,
            "present_over_time" => 1.0,
            "last_over_time" => last.1,
            "first_over_time" => first.1,
            "ts_of_first_over_time" => seconds(first.0),
            "ts_of_last_over_time" => seconds(last.0),
            "sum_over_time" => {
                let mut sum = Sum::default();
                values().for_each(|v| sum.add(v));
                sum.total()
            }
            "avg_over_time" => {
                let mut m = Mean::default();
                values().for_each(|v| m.add(v));
                m.value()
            }
            "min_over_time" => extreme(&values().collect::<Vec<_>>(), |a, b| a < b),
            "max_over_time" => extreme(&values().collect::<Vec<_>>(), |a, b| a > b),
            "ts_of_min_over_time" => seconds(place(p, |a, b| a <= b)),
            "ts_of_max_over_time" => seconds(place(p, |a, b| a >= b)),
            "stdvar_over_time" => variance(values()),
            "stddev_over_time" => variance(values()).sqrt(),
            "mad_over_time" => {
                let mut v: Vec<f64> = values().collect();
                if v.iter().any(|x| x.is_nan()) {
                    return Some(f64::NAN);
                }
                let median = quantile(0.5, &mut v);
                v.iter_mut().for_each(|x| *x = (*x - median).abs());
                quantile(0.5, &mut v)
            }
            "quantile_over_time" => {
                let q = numbers[0];
                if !(0.0..=1.0).contains(&q) {
                    self.warn(&args[0], quantile_warning(q));
                }
                quantile(q, &mut values().collect::<Vec<_>>())
            }
            "changes" => {
                let differ =
                    |w: &[(i64, f64)]| w[0].1 != w[1].1 && !(w[0].1.is_nan() && w[1].1.is_nan());
                p.windows(2).filter(|w| differ(w)).count() as f64
            }
            "resets" => {
                let start_of = |i: usize| s.starts.map_or(0, |x| x[i]);
                let reset = |i: &usize| {
                    let ((t1, v1), (t2, v2)) = (p[i - 1], p[*i]);
                    v2 < v1 || start_resets(start_of(i - 1), t1, start_of(*i), t2)
                };
                (1..p.len()).filter(reset).count() as f64
            }
            "irate" => return self.instant_rate(true, s),
            "idelta" => return self.instant_rate(false, s),
            "deriv" => {
                if p.len() < 2 {
                    return None;
                }
                regression(p, first.0).0
            }
            "predict_linear" => {
                if p.len() < 2 {
                    return None;
                }
                let (slope, intercept) = regression(p, t);
                slope * numbers[0] + intercept
            }
            "double_exponential_smoothing" => {
                if p.len() < 2 {
                    return None;
                }
                smoothing(p, numbers[0], numbers[1])
            }
            _ => return None,
        })
    }
}

/// Whether all series of a range have the same name, so that one look at it is enough.
fn has_one_name(range: &Expr) -> bool {
    matches!(&range.inner().kind, Kind::Selector(s)
        if s.matchers.iter().any(|m| m.name == METRIC_NAME && m.op == MatchOp::Equal))
}

/// Time of the last sample that is at least as good as the ones before.
fn place(p: &[(i64, f64)], as_good: impl Fn(f64, f64) -> bool) -> i64 {
    let mut best = p[0];
    for &x in &p[1..] {
        if as_good(x.1, best.1) || best.1.is_nan() {
            best = x;
        }
    }
    best.0
}

/// Population variance with compensated running sums.
fn variance(values: impl Iterator<Item = f64>) -> f64 {
    let (mut n, mut mean, mut aux) = (0.0, Sum::default(), Sum::default());
    for v in values {
        n += 1.0;
        let delta = v - (mean.sum + mean.c);
        mean.add(delta / n);
        aux.add(delta * (v - (mean.sum + mean.c)));
    }
    (aux.sum + aux.c) / n
}

/// Slope and value at `at` of the least-squares line.
pub(super) fn regression(p: &[(i64, f64)], at: i64) -> (f64, f64) {
    if p.iter().all(|x| x.1 == p[0].1) {
        return if p[0].1.is_infinite() {
            (f64::NAN, f64::NAN)
        } else {
            (0.0, p[0].1)
        };
    }
    let mut sums = [Sum::default(); 4];
    for &(t, v) in p {
        let x = (t - at) as f64 / 1e3;
        for (s, add) in sums.iter_mut().zip([x, v, x * v, x * x]) {
            s.add(add);
        }
    }
    let n = p.len() as f64;
    let [sx, sy, sxy, sxx] = sums.map(|s| s.sum + s.c);
    let covariance = sxy - sx * sy / n;
    let variance = sxx - sx * sx / n;
    let slope = covariance / variance;
    (slope, sy / n - slope * sx / n)
}

fn smoothing(p: &[(i64, f64)], sf: f64, tf: f64) -> f64 {
    let mut level = p[0].1;
    let mut trend = p[1].1 - p[0].1;
    for (i, &(_, v)) in p.iter().enumerate().skip(1) {
        // The first trend is the first difference; from then on it is smoothed.
        let previous = if i == 1 { p[0].1 } else { level };
        let x = sf * v;
        let y = (1.0 - sf) * (previous + trend);
        let next = x + y;
        trend = tf * (next - previous) + (1.0 - tf) * trend;
        level = next;
    }
    level
}
