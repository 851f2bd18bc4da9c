//! Binary operators on scalars and vectors: matching, grouping, filling, sets.

use super::arithmetic::{compare, scalar_op};
use super::{Evaluator, QueryError, Result, Sample, Value};
use crate::labels::{Labels, METRIC_NAME, is_metadata_label};
use crate::number::is_histogram;
use crate::parser::ast::{BinOp, Cardinality, Expr, Matching};
use std::collections::{HashMap, HashSet};

/// The part of a label set that decides which elements match.
fn signature(l: &Labels, m: &Matching) -> Labels {
    if m.on {
        l.filter(|n| m.labels.iter().any(|x| x == n))
    } else {
        l.filter(|n| n != METRIC_NAME && !m.labels.iter().any(|x| x == n))
    }
}

impl Evaluator<'_> {
    pub(super) fn binary(
        &mut self,
        e: &Expr,
        op: BinOp,
        return_bool: bool,
        m: &Matching,
        lhs: Value,
        rhs: Value,
    ) -> Result<Value> {
        Ok(match (lhs, rhs) {
            (Value::Scalar(a), Value::Scalar(b)) => Value::Scalar(scalar_op(op, a, b)),
            (Value::Vector(v), Value::Scalar(b)) => {
                Value::Vector(self.with_scalar(e, op, return_bool, v, b, false)?)
            }
            (Value::Scalar(a), Value::Vector(v)) => {
                Value::Vector(self.with_scalar(e, op, return_bool, v, a, true)?)
            }
            (Value::Vector(l), Value::Vector(r)) if op.is_set() => {
                Value::Vector(set_op(op, m, l, r))
            }
            (Value::Vector(l), Value::Vector(r)) => {
                Value::Vector(self.vectors(e, op, return_bool, m, l, r)?)
            }
            _ => {
                return Err(QueryError::Execution(
                    "binary expression must contain only scalar and instant vector types".into(),
                ));
            }
        })
    }

    /// Whether a histogram takes part in an operation that leaves it out with a remark.
    fn skip_mixed(&mut self, e: &Expr, op: BinOp, a: f64, b: f64) -> Result<bool> {
        let (ha, hb) = (is_histogram(a), is_histogram(b));
        if !ha && !hb {
            return Ok(false);
        }
        let both = ha && hb;
        let scaling = matches!(op, BinOp::Mul) || (op == BinOp::Div && ha && !hb);
        let unknown = both && matches!(op, BinOp::Add | BinOp::Sub | BinOp::Eq | BinOp::Ne);
        if unknown || (scaling && !both) {
            return Err(QueryError::Unsupported(
                "operators on native histograms".into(),
            ));
        }
        let kind = |h: bool| if h { "histogram" } else { "float" };
        let text = format!(
            "incompatible sample types encountered for binary operator {:?}: {} {} {}",
            op.text(),
            kind(ha),
            op.text(),
            kind(hb)
        );
        self.info_note(e, text);
        Ok(true)
    }

    fn with_scalar(
        &mut self,
        e: &Expr,
        op: BinOp,
        return_bool: bool,
        v: Vec<Sample>,
        scalar: f64,
        scalar_left: bool,
    ) -> Result<Vec<Sample>> {
        let mut out = Vec::with_capacity(v.len());
        for mut s in v {
            let (a, b) = if scalar_left {
                (scalar, s.v)
            } else {
                (s.v, scalar)
            };
            if self.skip_mixed(e, op, a, b)? {
                continue;
            }
            if op.is_comparison() && !return_bool {
                if compare(op, a, b) {
                    out.push(s);
                }
                continue;
            }
            s.v = scalar_op(op, a, b);
            s.drop_name = true;
            out.push(s);
        }
        Ok(out)
    }

    fn vectors(
        &mut self,
        e: &Expr,
        op: BinOp,
        return_bool: bool,
        m: &Matching,
        lhs: Vec<Sample>,
        rhs: Vec<Sample>,
    ) -> Result<Vec<Sample>> {
        // From here on "many" is the side that may have several elements per match.
        let swap = m.card == Cardinality::OneToMany;
        let (many, one) = if swap { (rhs, lhs) } else { (lhs, rhs) };
        let (fill_many, fill_one) = if swap {
            (m.fill_right, m.fill_left)
        } else {
            (m.fill_left, m.fill_right)
        };
        let filled = fill_many.is_some() || fill_one.is_some();
        let (none, some) = (
            many.is_empty() && one.is_empty(),
            many.is_empty() || one.is_empty(),
        );
        if none || (some && !filled) {
            return Ok(Vec::new());
        }
        let mut by_signature: HashMap<Labels, usize> = HashMap::with_capacity(one.len());
        for (i, s) in one.iter().enumerate() {
            let sig = signature(&s.labels, m);
            if let Some(first) = by_signature.insert(sig.clone(), i) {
                let side = if swap { "left" } else { "right" };
                return Err(QueryError::Execution(format!(
                    "found duplicate series for the match group {sig} on the {side} hand-side of \
                     the operation: [{}, {}];many-to-many matching not allowed: matching labels \
                     must be unique on one side",
                    one[first].labels, s.labels
                )));
            }
        }
        let mut matched: HashSet<Labels> = HashSet::new();
        let mut produced: HashSet<(Labels, Labels)> = HashSet::new();
        let mut out = Vec::new();
        let drops = !op.is_comparison();
        let mut pair = |ev: &mut Self, x: &Sample, y: &Sample, sig: &Labels| -> Result<()> {
            let (l, r) = if swap { (y, x) } else { (x, y) };
            if ev.skip_mixed(e, op, l.v, r.v)? {
                return Ok(());
            }
            let keep = !op.is_comparison() || return_bool || compare(op, l.v, r.v);
            let value = match op.is_comparison() {
                true if return_bool => scalar_op(op, l.v, r.v),
                true => l.v,
                false => scalar_op(op, l.v, r.v),
            };
            // A filtered pair still counts when matches must be unique.
            let labels = result_labels(&x.labels, &y.labels, drops, m);
            if m.card == Cardinality::OneToOne {
                if !matched.insert(sig.clone()) {
                    return Err(QueryError::Execution(
                        "multiple matches for labels: many-to-one matching must be explicit \
                         (group_left/group_right)"
                            .into(),
                    ));
                }
            } else if !produced.insert((sig.clone(), labels.clone())) {
                return Err(QueryError::Execution(
                    "multiple matches for labels: grouping labels must ensure unique matches"
                        .into(),
                ));
            }
            if keep {
                // A name that is taken from the other side is not the one to drop.
                let renamed = m.include.iter().any(|n| n == METRIC_NAME);
                let drop_name = return_bool || (x.drop_name && !renamed);
                out.push(Sample {
                    labels,
                    v: value,
                    drop_name,
                });
            }
            Ok(())
        };
        let mut seen: HashSet<Labels> = HashSet::new();
        for x in &many {
            let sig = signature(&x.labels, m);
            match by_signature.get(&sig) {
                Some(&i) => pair(self, x, &one[i], &sig)?,
                None => {
                    if let Some(v) = fill_one {
                        let y = Sample::new(fill_labels(&x.labels, m), v);
                        pair(self, x, &y, &sig)?;
                    }
                }
            }
            seen.insert(sig);
        }
        if let Some(v) = fill_many {
            for y in &one {
                let sig = signature(&y.labels, m);
                if !seen.contains(&sig) {
                    let x = Sample::new(fill_labels(&y.labels, m), v);
                    pair(self, &x, y, &sig)?;
                }
            }
        }
        Ok(out)
    }
}

/// Labels of an element that stands in for a missing one.
fn fill_labels(other: &Labels, m: &Matching) -> Labels {
    let matched = signature(other, m);
    // A name that is matched on is part of the match.
    if m.on {
        matched
    } else {
        matched.without_metadata()
    }
}

fn result_labels(many: &Labels, one: &Labels, drops_name: bool, m: &Matching) -> Labels {
    let mut out = if drops_name {
        many.filter(|n| !is_metadata_label(n))
    } else {
        many.clone()
    };
    if m.card == Cardinality::OneToOne {
        let listed = |n: &str| m.labels.iter().any(|x| x == n);
        out = if m.on {
            out.filter(listed)
        } else {
            out.filter(|n| !listed(n))
        };
    }
    for name in &m.include {
        out = out.with(name, one.get(name));
    }
    out
}

fn set_op(op: BinOp, m: &Matching, lhs: Vec<Sample>, rhs: Vec<Sample>) -> Vec<Sample> {
    match op {
        BinOp::Or => {
            let left: HashSet<Labels> = lhs.iter().map(|s| signature(&s.labels, m)).collect();
            let mut out = lhs;
            out.extend(
                rhs.into_iter()
                    .filter(|s| !left.contains(&signature(&s.labels, m))),
            );
            out
        }
        _ => {
            let right: HashSet<Labels> = rhs.iter().map(|s| signature(&s.labels, m)).collect();
            let want = op == BinOp::And;
            lhs.into_iter()
                .filter(|s| right.contains(&signature(&s.labels, m)) == want)
                .collect()
        }
    }
}
