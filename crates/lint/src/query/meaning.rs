//! What the number that a query gives stands for, seen from the replicas.

use promql::parser::ast::{AggOp, BinOp, Expr, Kind as Node};

use super::{constant, each_selector, name_of};
use crate::metrics::{self, Bound};

/// What a number stands for, seen from the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// A fixed number.
    Constant,
    /// A value of each replica, device or target.
    Each,
    /// The mean, or another middle, over all of them.
    Mean,
    /// The largest or smallest of them.
    Extreme,
    /// A percentile or mean of a distribution (latency).
    Latency,
    /// All of them together.
    Total,
    /// How many there are.
    Count,
    /// Cannot be told.
    Unknown,
}

/// What a number stands for and how high it goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Meaning {
    /// Seen from the replicas.
    pub per: Per,
    /// Upper end of the number itself.
    pub bound: Bound,
    /// Upper end of each addend of a total.
    pub each: Bound,
}

impl Meaning {
    const UNKNOWN: Self = Self::of(Per::Unknown);

    const fn of(per: Per) -> Self {
        Self {
            per,
            bound: Bound::None,
            each: Bound::None,
        }
    }

    fn bounded(per: Per, bound: Bound) -> Self {
        Self {
            per,
            bound,
            each: Bound::None,
        }
    }

    fn map(self, f: impl Fn(f64) -> f64) -> Self {
        let one = |bound| match bound {
            Bound::At(value) => Bound::At(f(value)),
            // A share of unknown unit, scaled, has no known end.
            _ => Bound::None,
        };
        Self {
            per: self.per,
            bound: one(self.bound),
            each: one(self.each),
        }
    }
}

pub(super) fn meaning(expr: &Expr) -> Meaning {
    if let Some(number) = constant(expr) {
        return Meaning::bounded(Per::Constant, Bound::At(number));
    }
    match &expr.kind {
        Node::Number(_) | Node::Text(_) => Meaning::UNKNOWN,
        Node::Selector(selector) => {
            Meaning::bounded(Per::Each, metrics::lookup(name_of(selector)).bound)
        }
        Node::Paren(expr) | Node::Subquery { expr, .. } => meaning(expr),
        Node::Unary { negative, expr } => match negative {
            true => Meaning::UNKNOWN,
            false => meaning(expr),
        },
        Node::Aggregate { op, expr, .. } => {
            let inside = meaning(expr);
            match op {
                AggOp::Sum => Meaning {
                    per: match inside.per {
                        Per::Latency | Per::Constant => Per::Unknown,
                        _ => Per::Total,
                    },
                    bound: Bound::None,
                    each: match inside.per {
                        Per::Each | Per::Mean | Per::Extreme => inside.bound,
                        _ => Bound::None,
                    },
                },
                AggOp::Avg => match inside.per {
                    Per::Latency => inside,
                    Per::Each | Per::Mean | Per::Extreme => {
                        Meaning::bounded(Per::Mean, inside.bound)
                    }
                    Per::Total | Per::Count => Meaning::of(Per::Mean),
                    _ => Meaning::UNKNOWN,
                },
                AggOp::Max | AggOp::Min | AggOp::Quantile | AggOp::Topk | AggOp::Bottomk => {
                    match inside.per {
                        Per::Latency => inside,
                        Per::Each | Per::Mean | Per::Extreme => {
                            Meaning::bounded(Per::Extreme, inside.bound)
                        }
                        _ => Meaning::UNKNOWN,
                    }
                }
                AggOp::Count => Meaning::of(Per::Count),
                _ => Meaning::UNKNOWN,
            }
        }
        Node::Call { func, args } => call(func.name, args),
        Node::Binary {
            op,
            return_bool,
            lhs,
            rhs,
            ..
        } => binary(*op, *return_bool, lhs, rhs),
    }
}

fn call(name: &str, args: &[Expr]) -> Meaning {
    let first = || args.first().map_or(Meaning::UNKNOWN, meaning);
    match name {
        "avg_over_time" | "max_over_time" | "min_over_time" | "last_over_time"
        | "first_over_time" | "clamp_min" | "ceil" | "floor" | "round" | "abs" | "sort"
        | "sort_desc" | "label_replace" | "label_join" | "scalar" => first(),
        "quantile_over_time" => args.get(1).map_or(Meaning::UNKNOWN, meaning),
        "clamp_max" | "clamp" => {
            let inside = first();
            match args.last().and_then(constant) {
                Some(limit) => {
                    let bound = match inside.bound {
                        Bound::At(bound) => bound.min(limit),
                        _ => limit,
                    };
                    Meaning {
                        bound: Bound::At(bound),
                        ..inside
                    }
                }
                None => inside,
            }
        }
        "rate" | "irate" | "increase" | "delta" | "deriv" | "sum_over_time" | "count_over_time" => {
            Meaning::of(first().per)
        }
        "histogram_quantile" | "histogram_avg" => Meaning::of(Per::Latency),
        _ => Meaning::UNKNOWN,
    }
}

fn binary(op: BinOp, return_bool: bool, lhs: &Expr, rhs: &Expr) -> Meaning {
    if op.is_comparison() {
        return if return_bool {
            Meaning::UNKNOWN
        } else {
            meaning(lhs)
        };
    }
    let (left, right) = (meaning(lhs), meaning(rhs));
    match op {
        BinOp::And | BinOp::Unless => return left,
        BinOp::Or => {
            return match (left.per, right.per) {
                (_, Per::Constant) => left,
                (a, b) if a == b && left.bound == right.bound => left,
                _ => Meaning::UNKNOWN,
            };
        }
        _ => {}
    }
    match (constant(lhs), constant(rhs)) {
        (_, Some(c)) => match op {
            BinOp::Mul if c > 0.0 => left.map(|b| b * c),
            BinOp::Div if c > 0.0 => left.map(|b| b / c),
            BinOp::Add => left.map(|b| b + c),
            BinOp::Sub => left.map(|b| b - c),
            _ => Meaning::UNKNOWN,
        },
        (Some(c), _) => match op {
            BinOp::Mul if c > 0.0 => right.map(|b| b * c),
            BinOp::Add => right.map(|b| b + c),
            // Values are not negative: the rest is at most the whole.
            BinOp::Sub if right.bound != Bound::None => Meaning::bounded(right.per, Bound::At(c)),
            _ => Meaning::UNKNOWN,
        },
        _ => of_two(op, (lhs, left), (rhs, right)),
    }
}

fn of_two(op: BinOp, (lhs, left): (&Expr, Meaning), (rhs, right): (&Expr, Meaning)) -> Meaning {
    match (op, left.per, right.per) {
        (BinOp::Div, Per::Total, Per::Count) => Meaning::bounded(Per::Mean, left.each),
        (BinOp::Div, ..) if is_part_of(lhs, rhs) => Meaning::bounded(
            match left.per {
                Per::Total => Per::Mean,
                per => per,
            },
            Bound::At(1.0),
        ),
        (BinOp::Div, Per::Total, Per::Total) if is_mean_of_histogram(lhs, rhs) => {
            Meaning::of(Per::Latency)
        }
        (BinOp::Mul, Per::Mean, Per::Count) => Meaning {
            per: Per::Total,
            bound: Bound::None,
            each: left.bound,
        },
        (BinOp::Mul, Per::Count, Per::Mean) => Meaning {
            per: Per::Total,
            bound: Bound::None,
            each: right.bound,
        },
        (BinOp::Add, a, b) if a == b => {
            let bound = match (left.bound, right.bound) {
                (Bound::At(l), Bound::At(r)) => Bound::At(l + r),
                _ => Bound::None,
            };
            Meaning::bounded(a, bound)
        }
        _ => Meaning::UNKNOWN,
    }
}

/// `x / (x + y)`, which is at most 1.
fn is_part_of(part: &Expr, whole: &Expr) -> bool {
    let name = |expr: &Expr| {
        let mut names = Vec::new();
        each_selector(expr, &mut |_, selector| {
            names.push(name_of(selector).to_owned())
        });
        names
    };
    match &whole.inner().kind {
        Node::Binary {
            op: BinOp::Add,
            lhs,
            rhs,
            ..
        } => {
            let wanted = name(part);
            wanted.len() == 1
                && !wanted[0].is_empty()
                && (name(lhs) == wanted || name(rhs) == wanted)
        }
        Node::Aggregate { expr, .. } => match &part.inner().kind {
            Node::Aggregate { expr: part, .. } => is_part_of(part, expr),
            _ => false,
        },
        _ => false,
    }
}

/// `…_sum / …_count` of one histogram or summary.
fn is_mean_of_histogram(sum: &Expr, count: &Expr) -> bool {
    let ends = |expr: &Expr, suffix: &str| {
        let mut found = false;
        each_selector(expr, &mut |_, s| found |= name_of(s).ends_with(suffix));
        found
    };
    ends(sum, "_sum") && ends(count, "_count")
}

#[cfg(test)]
mod tests {
    use super::super::Query;
    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(text).expect("a valid query")
    }

    #[test]
    fn numbers_are_understood() {
        let table = [
            ("avg(DCGM_FI_DEV_GPU_UTIL)", Per::Mean, Bound::At(100.0)),
            (
                "max(DCGM_FI_DEV_GPU_UTIL) / 100",
                Per::Extreme,
                Bound::At(1.0),
            ),
            (
                "avg(avg_over_time(DCGM_FI_DEV_GPU_UTIL[5m]))",
                Per::Mean,
                Bound::At(100.0),
            ),
            (
                "sum(DCGM_FI_DEV_GPU_UTIL) / count(DCGM_FI_DEV_GPU_UTIL)",
                Per::Mean,
                Bound::At(100.0),
            ),
            ("sum(DCGM_FI_DEV_GPU_UTIL)", Per::Total, Bound::None),
            (
                "avg(DCGM_FI_DEV_GPU_UTIL) * count(DCGM_FI_DEV_GPU_UTIL)",
                Per::Total,
                Bound::None,
            ),
            ("avg(vllm:num_requests_running)", Per::Mean, Bound::None),
            (
                "sum(rate(http_requests_total[1m]))",
                Per::Total,
                Bound::None,
            ),
            (
                "histogram_quantile(0.9, sum by (le) (rate(x_bucket[5m])))",
                Per::Latency,
                Bound::None,
            ),
            (
                "sum(rate(x_sum[5m])) / sum(rate(x_count[5m]))",
                Per::Latency,
                Bound::None,
            ),
            (
                "avg(DCGM_FI_DEV_FB_USED / (DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE))",
                Per::Mean,
                Bound::At(1.0),
            ),
            (
                "100 * sum(DCGM_FI_DEV_FB_USED) / sum(DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE)",
                Per::Unknown,
                Bound::None,
            ),
            ("100 - avg(my_idle_percent)", Per::Mean, Bound::At(100.0)),
            ("avg(x_y) or vector(0)", Per::Mean, Bound::None),
            ("clamp_max(avg(x_y), 50)", Per::Mean, Bound::At(50.0)),
        ];
        for (text, per, bound) in table {
            let meaning = query(text).meaning();
            assert_eq!((meaning.per, meaning.bound), (per, bound), "{text}");
        }
    }
}
