//! Aggregation operators.

use super::{Evaluator, QueryError, Result, Sample};
use crate::labels::{Labels, is_metadata_label};
use crate::number::{Mean, Sum, format_plain, is_histogram};
use crate::parser::ast::{AggOp, Expr};
use std::cmp::Ordering;

struct Group {
    labels: Labels,
    drop_name: bool,
    members: Vec<Sample>,
}

impl Evaluator<'_> {
    pub(super) fn aggregate(
        &mut self,
        op: AggOp,
        grouping: &[String],
        without: bool,
        param: Option<&Expr>,
        expr: &Expr,
        t: i64,
    ) -> Result<super::Value> {
        let vector = self.vector(expr, t)?;
        let mut label = String::new();
        let mut number = f64::NAN;
        if let Some(p) = param {
            if op == AggOp::CountValues {
                label = self.text(p, t)?;
                if label.is_empty() || label.contains('\u{fffd}') {
                    let message = format!("invalid label name {}", crate::labels::quote(&label));
                    return Err(QueryError::Execution(message));
                }
            } else {
                number = self.scalar(p, t)?;
                self.check_param(op, p, &mut number, vector.is_empty())?;
            }
        }
        let groups = self.groups(expr, vector, grouping, without);
        let mut out = Vec::new();
        for g in groups {
            match op {
                AggOp::Topk | AggOp::Bottomk => self.top(op, number, g, expr, &mut out),
                AggOp::Limitk => {
                    let k = if number < 1.0 { 0 } else { number as usize };
                    out.extend(g.members.into_iter().take(k));
                }
                AggOp::LimitRatio => {
                    out.extend(
                        g.members
                            .into_iter()
                            .filter(|s| in_ratio(&s.labels, number)),
                    );
                }
                AggOp::CountValues => count_values(&label, g, &mut out)?,
                _ => {
                    let drop_name = g.drop_name;
                    let labels = g.labels.clone();
                    if let Some(v) = self.reduce(op, number, &g.members, expr)? {
                        out.push(Sample {
                            labels,
                            v,
                            drop_name,
                        });
                    }
                }
            }
        }
        Ok(super::Value::Vector(out))
    }

    fn check_param(&mut self, op: AggOp, p: &Expr, v: &mut f64, empty: bool) -> Result<()> {
        match op {
            AggOp::Topk | AggOp::Bottomk | AggOp::Limitk => {
                if v.is_nan() {
                    return Err(QueryError::Execution("Parameter value is NaN".into()));
                }
                if v.abs() >= i64::MAX as f64 {
                    let message = format!("Scalar value {} overflows int64", format_plain(*v));
                    return Err(QueryError::Execution(message));
                }
            }
            AggOp::LimitRatio => {
                if v.is_nan() {
                    return Err(QueryError::Execution("Ratio value is NaN".into()));
                }
                if v.abs() > 1.0 {
                    let capped = v.signum();
                    let text = format!(
                        "ratio value should be between -1 and 1, got {}, capping to {}",
                        format_plain(*v),
                        format_plain(capped)
                    );
                    *v = capped;
                    self.warn(p, text);
                }
            }
            AggOp::Quantile if !empty && !(0.0..=1.0).contains(v) => {
                self.warn(p, quantile_warning(*v));
            }
            _ => {}
        }
        Ok(())
    }

    fn ignored(&mut self, op: AggOp, at: &Expr) {
        let name = format!("{op:?}").to_ascii_lowercase();
        self.info_note(at, format!("ignored histogram in {name} aggregation"));
    }

    /// One number for a group, or none.
    fn reduce(&mut self, op: AggOp, q: f64, members: &[Sample], at: &Expr) -> Result<Option<f64>> {
        let histograms = members.iter().filter(|s| is_histogram(s.v)).count();
        let mut floats: Vec<f64> = Vec::with_capacity(members.len());
        floats.extend(members.iter().map(|s| s.v).filter(|v| !is_histogram(*v)));
        match op {
            AggOp::Count => return Ok(Some(members.len() as f64)),
            AggOp::Group => return Ok(Some(1.0)),
            AggOp::Sum | AggOp::Avg if histograms > 0 => {
                if floats.is_empty() {
                    return Err(QueryError::Unsupported("sums of native histograms".into()));
                }
                self.warn(
                    at,
                    "encountered a mix of histograms and floats for aggregation",
                );
                return Ok(None);
            }
            _ if histograms > 0 => self.ignored(op, at),
            _ => {}
        }
        if floats.is_empty() {
            return Ok(None);
        }
        Ok(Some(match op {
            AggOp::Sum => {
                let mut s = Sum::start(floats[0]);
                floats[1..].iter().for_each(|v| s.add(*v));
                s.total()
            }
            AggOp::Avg => {
                let mut m = Mean::default();
                floats.iter().for_each(|v| m.add(*v));
                m.value()
            }
            AggOp::Min => extreme(&floats, |a, b| a < b),
            AggOp::Max => extreme(&floats, |a, b| a > b),
            AggOp::Stdvar => variance(&floats),
            AggOp::Stddev => variance(&floats).sqrt(),
            _ => quantile(q, &mut floats),
        }))
    }

    /// The groups of a vector, in order of their first members. `of` is the expression that
    /// gave the vector.
    fn groups(
        &mut self,
        of: &Expr,
        vector: Vec<Sample>,
        grouping: &[String],
        without: bool,
    ) -> Vec<Group> {
        if vector.is_empty() {
            return Vec::new();
        }
        if grouping.is_empty() && !without {
            return vec![Group {
                labels: Labels::empty(),
                drop_name: vector.iter().any(|s| s.drop_name),
                members: vector,
            }];
        }
        let mut places = self.places.remove(&of.id).unwrap_or_default();
        places.begin_afresh(vector.len());
        let mut out: Vec<Group> = Vec::new();
        let mut at: Vec<Option<usize>> = vec![None; places.len()];
        for s in vector {
            let listed = |n: &str| grouping.iter().any(|g| g == n);
            let place = places.of(&s.labels, false, || match without {
                true => s.labels.filter(|n| !is_metadata_label(n) && !listed(n)),
                false => s.labels.filter(listed),
            });
            at.resize(places.len(), None);
            let i = *at[place].get_or_insert_with(|| {
                out.push(Group {
                    labels: places.labels(place).clone(),
                    drop_name: false,
                    members: Vec::new(),
                });
                out.len() - 1
            });
            out[i].drop_name |= s.drop_name;
            out[i].members.push(s);
        }
        self.places.insert(of.id, places);
        out
    }

    fn top(&mut self, op: AggOp, k: f64, g: Group, at: &Expr, out: &mut Vec<Sample>) {
        if k < 1.0 {
            return;
        }
        let before = g.members.len();
        let mut v: Vec<Sample> = g.members;
        v.retain(|s| !is_histogram(s.v));
        if v.len() != before {
            self.ignored(op, at);
        }
        out.extend(super::top::kept(v, k as usize, op == AggOp::Topk));
    }
}

pub(super) fn quantile_warning(q: f64) -> String {
    format!(
        "quantile value should be between 0 and 1, got {}",
        crate::number::format_general(q)
    )
}

/// Order of values, NaN always last.
pub(super) fn by_value(a: f64, b: f64, descending: bool) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        _ => {
            let o = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
            if descending { o.reverse() } else { o }
        }
    }
}

// The share of the hash space, so that a ratio r and r-1 complement each other.
fn in_ratio(labels: &Labels, ratio: f64) -> bool {
    let place = labels.stable_hash() as f64 / u64::MAX as f64;
    if ratio >= 0.0 {
        place < ratio || ratio >= 1.0
    } else {
        place >= 1.0 + ratio
    }
}

fn count_values(label: &str, g: Group, out: &mut Vec<Sample>) -> Result<()> {
    let mut counts: Vec<(String, f64)> = Vec::new();
    for s in g.members {
        if is_histogram(s.v) {
            return Err(QueryError::Unsupported(
                "count_values of native histograms".into(),
            ));
        }
        let text = format_plain(s.v);
        match counts.iter_mut().find(|(t, _)| *t == text) {
            Some((_, n)) => *n += 1.0,
            None => counts.push((text, 1.0)),
        }
    }
    for (text, n) in counts {
        out.push(Sample {
            labels: g.labels.with(label, &text),
            v: n,
            drop_name: g.drop_name,
        });
    }
    Ok(())
}

pub(super) fn extreme(v: &[f64], better: impl Fn(f64, f64) -> bool) -> f64 {
    let mut best = v[0];
    for &x in &v[1..] {
        if better(x, best) || best.is_nan() {
            best = x;
        }
    }
    best
}

/// Population variance by Welford's method.
fn variance(v: &[f64]) -> f64 {
    let (mut n, mut mean, mut m2) = (0.0, 0.0, 0.0);
    for &x in v {
        n += 1.0;
        let delta = x - mean;
        mean += delta / n;
        m2 += delta * (x - mean);
    }
    m2 / n
}

/// The q-quantile with linear interpolation; NaN values count as the smallest.
pub(super) fn quantile(q: f64, v: &mut [f64]) -> f64 {
    if v.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    v.sort_by(|a, b| match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        _ => a.partial_cmp(b).unwrap_or(Ordering::Equal),
    });
    let rank = q * (v.len() - 1) as f64;
    let lower = rank.floor().max(0.0) as usize;
    let upper = (lower + 1).min(v.len() - 1);
    let weight = rank - rank.floor();
    // Zero times an infinite neighbour would be NaN.
    if weight == 0.0 {
        return v[lower];
    }
    v[lower] * (1.0 - weight) + v[upper] * weight
}
