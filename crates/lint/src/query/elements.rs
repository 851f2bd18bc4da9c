//! How many elements a query gives: KEDA takes one.

use promql::labels::{MatchOp, Matcher};
use promql::parser;
use promql::parser::ast::{AggOp, BinOp, Cardinality, Expr, Kind as Node, Selector};

use super::{constant, each_selector, name_of};
use crate::metrics::{self, Origin};

/// How many elements an expression gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Elements {
    /// None or one.
    One,
    /// There can be more.
    Many {
        /// What makes them, in bytes of the query.
        range: (usize, usize),
        /// Why, as half a sentence.
        why: String,
        /// Whether it is certain: the name alone may belong to a single series.
        sure: bool,
    },
}

/// The elements, and whether they carry no labels (two of those are one).
pub(super) fn shape(expr: &Expr) -> (Elements, bool) {
    match &expr.kind {
        Node::Number(_) | Node::Text(_) => (Elements::One, true),
        Node::Selector(selector) => (of_selector(expr, selector), false),
        Node::Subquery { expr, .. } | Node::Paren(expr) | Node::Unary { expr, .. } => shape(expr),
        Node::Aggregate {
            op,
            grouping,
            without,
            param,
            expr: inner,
        } => aggregate(expr, *op, grouping, *without, param.as_deref(), inner),
        Node::Call { func, args } => match func.name {
            "vector" | "absent" | "absent_over_time" | "scalar" | "time" | "pi" => {
                (Elements::One, func.name == "vector")
            }
            "histogram_quantile" => args.get(1).map_or((Elements::One, true), |buckets| {
                // The buckets of one histogram become one element.
                match &buckets.inner().kind {
                    Node::Aggregate {
                        op: AggOp::Sum,
                        grouping,
                        without: false,
                        expr: inner,
                        ..
                    } => {
                        let rest: Vec<String> =
                            grouping.iter().filter(|l| *l != "le").cloned().collect();
                        aggregate(buckets, AggOp::Sum, &rest, false, None, inner)
                    }
                    _ => shape(buckets),
                }
            }),
            _ => {
                let vector = args.iter().find(|arg| {
                    use parser::ast::ValueType::{Matrix, Vector};
                    matches!(arg.value_type(), Vector | Matrix)
                });
                vector.map_or((Elements::One, true), shape)
            }
        },
        Node::Binary {
            op,
            matching,
            lhs,
            rhs,
            ..
        } => {
            use parser::ast::ValueType::Scalar;
            if lhs.value_type() == Scalar {
                return shape(rhs);
            }
            if rhs.value_type() == Scalar {
                return shape(lhs);
            }
            let ((left, left_bare), (right, right_bare)) = (shape(lhs), shape(rhs));
            match op {
                BinOp::Or => match (&left, &right) {
                    (Elements::Many { .. }, _) => (left, false),
                    (_, Elements::Many { .. }) => (right, false),
                    _ if left_bare && right_bare => (Elements::One, true),
                    _ => (
                        Elements::Many {
                            range: (expr.start, expr.end),
                            why: "the two sides of `or` carry different labels, so both can be \
                                  in the answer"
                                .to_owned(),
                            sure: !matching.on,
                        },
                        false,
                    ),
                },
                BinOp::And | BinOp::Unless => (left, left_bare),
                _ => match matching.card {
                    Cardinality::ManyToOne => (left, left_bare),
                    Cardinality::OneToMany => (right, right_bare),
                    _ if left == Elements::One || right == Elements::One => {
                        (Elements::One, left_bare && right_bare)
                    }
                    // `on()` pairs at most one element with one.
                    _ if matching.on && matching.labels.is_empty() => (Elements::One, true),
                    _ => (left, false),
                },
            }
        }
    }
}

fn of_selector(expr: &Expr, selector: &Selector) -> Elements {
    let name = name_of(selector);
    let metric = metrics::lookup(name);
    let pinned = |label: &str| is_pinned(&selector.matchers, label);
    let single = pinned("UUID") || pinned("uuid");
    let what = match metric.origin {
        Origin::Dcgm => "is one series for each GPU",
        Origin::Engine => "is one series for each replica",
        Origin::Container => "is one series for each container",
        Origin::Broker | Origin::Exporter => "is one series for each scraped target",
        Origin::Recorded | Origin::Unknown => "may be several series",
    };
    let name = if name.is_empty() {
        "the selector"
    } else {
        name
    };
    Elements::Many {
        range: (expr.start, expr.end),
        why: format!("`{name}` {what}"),
        sure: metric.surely_many() && !single,
    }
}

fn is_pinned(matchers: &[Matcher], label: &str) -> bool {
    matchers
        .iter()
        .any(|m| m.name == label && m.op == MatchOp::Equal && !m.value.is_empty())
}

fn aggregate(
    whole: &Expr,
    op: AggOp,
    grouping: &[String],
    without: bool,
    param: Option<&Expr>,
    inner: &Expr,
) -> (Elements, bool) {
    let range = (whole.start, whole.end);
    let many = |why: String| Elements::Many {
        range,
        why,
        sure: true,
    };
    let inside = shape(inner);
    if matches!(
        op,
        AggOp::Topk | AggOp::Bottomk | AggOp::Limitk | AggOp::LimitRatio
    ) {
        let count = param.and_then(constant);
        return match count {
            Some(count) if count <= 1.0 && op != AggOp::LimitRatio && grouping.is_empty() => {
                (Elements::One, false)
            }
            Some(count) if op != AggOp::LimitRatio && inside.0 != Elements::One => {
                (many(format!("it keeps up to {count} elements")), false)
            }
            _ => inside,
        };
    }
    if op == AggOp::CountValues && inside.0 != Elements::One {
        return (
            many("it gives one element for each value".to_owned()),
            false,
        );
    }
    if without {
        let elements = match inside.0 {
            Elements::One => Elements::One,
            Elements::Many { .. } => many(format!(
                "`without ({})` keeps one element for each combination of the other labels",
                grouping.join(", ")
            )),
        };
        return (elements, false);
    }
    let mut selectors = Vec::new();
    each_selector(inner, &mut |_, selector| selectors.push(selector));
    let loose: Vec<&str> = grouping
        .iter()
        .map(String::as_str)
        .filter(|label| !selectors.iter().all(|s| is_pinned(&s.matchers, label)))
        .collect();
    let bare = grouping.is_empty();
    if loose.is_empty() || inside.0 == Elements::One {
        return (Elements::One, bare);
    }
    let why = format!(
        "`by ({})` keeps one element for each value of {}",
        grouping.join(", "),
        loose.join(", ")
    );
    (many(why), false)
}

#[cfg(test)]
mod tests {
    use super::super::Query;
    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(text).expect("a valid query")
    }

    #[test]
    fn elements_are_counted() {
        let one = [
            "sum(DCGM_FI_DEV_GPU_UTIL)",
            "avg(x_y) or vector(0)",
            "sum by (deployment) (x_y{deployment=\"a\"})",
            "histogram_quantile(0.9, sum by (le) (rate(x_bucket[5m])))",
            "topk(1, x_y)",
            "sum(x_y) / count(x_y)",
            "scalar(sum(x_y)) * vector(2)",
            "x_y * on() sum(z_z)",
            "max(x_y) > 3",
            "absent(x_y)",
        ];
        for text in one {
            assert_eq!(query(text).elements(), Elements::One, "{text}");
        }
        let many = [
            ("vllm:num_requests_waiting", true),
            ("rate(x_total[5m])", true),
            ("sum by (pod) (x_y)", true),
            ("avg without (pod) (x_y)", true),
            ("topk(3, x_y)", true),
            ("sum by (a) (x_y{a=\"1\"}) or vector(0)", true),
            ("histogram_quantile(0.9, rate(x_bucket[5m]))", true),
            (
                "histogram_quantile(0.9, sum by (le, pod) (rate(x_bucket[5m])))",
                true,
            ),
            ("q", false),
            ("job:util:sum", false),
            ("DCGM_FI_DEV_GPU_UTIL{UUID=\"GPU-1\"}", false),
        ];
        for (text, certain) in many {
            match query(text).elements() {
                Elements::Many { sure, .. } => assert_eq!(sure, certain, "{text}"),
                Elements::One => panic!("{text}: one"),
            }
        }
    }
}
