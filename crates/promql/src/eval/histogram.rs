//! Quantiles and fractions of classic histograms.

use super::{Evaluator, QueryError, Result, Sample};
use crate::labels::{Labels, quote};
use crate::number::{almost_equal, is_histogram, parse_float};
use crate::parser::ast::Expr;
use std::collections::HashMap;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    upper: f64,
    count: f64,
}

/// A quantile to compute: its value, where it is written, and the label that tells it apart.
pub(super) struct Wanted<'e> {
    pub(super) q: f64,
    pub(super) at: &'e Expr,
    pub(super) label: Option<(String, String)>,
}

struct Histogram {
    labels: Labels,
    buckets: Vec<Bucket>,
}

/// Relative dips up to this size come from float arithmetic and are mended silently.
const SMALL_DIP: f64 = 1e-12;

impl Evaluator<'_> {
    /// Puts the `_bucket` series of a vector together.
    fn histograms(&mut self, v: Vec<Sample>, at: &Expr) -> Result<Vec<Histogram>> {
        let mut out: Vec<Histogram> = Vec::new();
        let mut index: HashMap<Labels, usize> = HashMap::new();
        for s in v {
            if is_histogram(s.v) {
                return Err(QueryError::Unsupported(
                    "quantiles of native histograms".into(),
                ));
            }
            let le = s.labels.get("le");
            let Some(upper) = parse_float(le).filter(|upper| !upper.is_nan()) else {
                let text = format!(
                    "bucket label \"le\" is missing or has a malformed value of {} for metric name {}",
                    quote(le),
                    quote(s.labels.name())
                );
                self.warn(at, text);
                continue;
            };
            let labels = s.labels.filter(|n| n != "le");
            let i = *index.entry(labels.clone()).or_insert_with(|| {
                out.push(Histogram {
                    labels,
                    buckets: Vec::new(),
                });
                out.len() - 1
            });
            out[i].buckets.push(Bucket { upper, count: s.v });
        }
        Ok(out)
    }

    pub(super) fn histogram_quantile(
        &mut self,
        quantiles: &[Wanted<'_>],
        v: Vec<Sample>,
        at: &Expr,
    ) -> Result<Vec<Sample>> {
        for w in quantiles {
            if !(0.0..=1.0).contains(&w.q) {
                self.warn(w.at, super::aggregate::quantile_warning(w.q));
            }
        }
        let mut out = Vec::new();
        for h in self.histograms(v, at)? {
            let (buckets, forced) = prepared(h.buckets);
            if forced {
                let text = format!(
                    "input to histogram_quantile needed to be fixed for monotonicity (see \
                     https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile) \
                     for metric name {}",
                    quote(h.labels.name())
                );
                self.info_note(at, text);
            }
            for w in quantiles {
                let labels = match &w.label {
                    Some((name, value)) => h.labels.with(name, value),
                    None => h.labels.clone(),
                };
                out.push(Sample {
                    labels,
                    v: quantile(w.q, &buckets),
                    drop_name: true,
                });
            }
        }
        Ok(out)
    }

    pub(super) fn histogram_fraction(
        &mut self,
        lower: f64,
        upper: f64,
        v: Vec<Sample>,
        at: &Expr,
    ) -> Result<Vec<Sample>> {
        let mut out = Vec::new();
        for h in self.histograms(v, at)? {
            let mut buckets = h.buckets;
            buckets.sort_by(|a, b| a.upper.total_cmp(&b.upper));
            let buckets = merged(buckets);
            let v = fraction(lower, upper, &buckets);
            out.push(Sample {
                labels: h.labels,
                v,
                drop_name: true,
            });
        }
        Ok(out)
    }
}

/// Sorted, merged and monotonic buckets, and whether large dips had to be mended.
fn prepared(mut buckets: Vec<Bucket>) -> (Vec<Bucket>, bool) {
    buckets.sort_by(|a, b| a.upper.total_cmp(&b.upper));
    let mut buckets = merged(buckets);
    let mut forced = false;
    let mut prev = buckets[0].count;
    for b in &mut buckets[1..] {
        if b.count == prev {
            continue;
        }
        if almost_equal(b.count, prev, SMALL_DIP) {
            b.count = prev;
        } else if b.count < prev {
            b.count = prev;
            forced = true;
        } else {
            prev = b.count;
        }
    }
    (buckets, forced)
}

fn merged(buckets: Vec<Bucket>) -> Vec<Bucket> {
    let mut out: Vec<Bucket> = Vec::with_capacity(buckets.len());
    for b in buckets {
        match out.last_mut() {
            Some(last) if last.upper == b.upper => last.count += b.count,
            _ => out.push(b),
        }
    }
    out
}

fn quantile(q: f64, buckets: &[Bucket]) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let n = buckets.len();
    if n < 2 || buckets[n - 1].upper != f64::INFINITY {
        return f64::NAN;
    }
    let observations = buckets[n - 1].count;
    if observations == 0.0 {
        return f64::NAN;
    }
    let mut rank = q * observations;
    let b = first_with(&buckets[..n - 1], rank);
    if b == n - 1 {
        return buckets[n - 2].upper;
    }
    if b == 0 && buckets[0].upper <= 0.0 {
        return buckets[0].upper;
    }
    let (mut start, mut count) = (0.0, buckets[b].count);
    if b > 0 {
        start = buckets[b - 1].upper;
        count -= buckets[b - 1].count;
        rank -= buckets[b - 1].count;
    }
    start + (buckets[b].upper - start) * (rank / count)
}

/// The first bucket that holds the rank, or the number of buckets. Written out because counts
/// that are NaN leave no order, and then it is the search's own steps that decide: these are
/// Go's.
fn first_with(buckets: &[Bucket], rank: f64) -> usize {
    let (mut from, mut to) = (0, buckets.len());
    while from < to {
        let middle = (from + to) / 2;
        if buckets[middle].count >= rank {
            to = middle;
        } else {
            from = middle + 1;
        }
    }
    from
}

fn fraction(lower: f64, upper: f64, buckets: &[Bucket]) -> f64 {
    let Some(last) = buckets.last() else {
        return f64::NAN;
    };
    let count = last.count;
    if last.upper != f64::INFINITY || count == 0.0 {
        return f64::NAN;
    }
    if lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let rank_of = |v: f64| -> f64 {
        let mut rank = 0.0;
        // Below a positive first bound nothing is assumed to be negative.
        let mut from = if buckets[0].upper > 0.0 {
            0.0
        } else {
            f64::NEG_INFINITY
        };
        for b in buckets {
            if v <= from {
                return rank;
            }
            if v < b.upper {
                return if from.is_infinite() {
                    // Inside the open first bucket there is nothing to interpolate from.
                    b.count
                } else {
                    // Nothing of an open last bucket, unless its count is infinite or NaN.
                    rank + (b.count - rank) * (v - from) / (b.upper - from)
                };
            }
            rank = b.count;
            from = b.upper;
        }
        count
    };
    // Not f64::min, which prefers any number to NaN.
    let at_most = |rank: f64| if rank > count { count } else { rank };
    (at_most(rank_of(upper)) - at_most(rank_of(lower))) / count
}
