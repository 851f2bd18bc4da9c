//! What a query gives: how many elements, and what the number stands for.

use promql::labels::{METRIC_NAME, MatchOp, Matcher};
use promql::parser::ast::{AggOp, BinOp, Cardinality, Expr, Kind as Node, Selector};
use promql::parser::{self, SyntaxError};

use crate::metrics::{self, Bound, Metric, Origin};

/// A query, read.
#[derive(Clone, Debug)]
pub struct Query {
    /// The text.
    pub text: String,
    /// The tree.
    pub expr: Expr,
}

/// One series selector of a query.
#[derive(Clone, Copy, Debug)]
pub struct Use<'q> {
    /// Name of the series, "" where it is not given by equality.
    pub name: &'q str,
    /// What the name tells.
    pub metric: Metric,
    /// All matchers.
    pub matchers: &'q [Matcher],
    /// Byte offsets in the query.
    pub range: (usize, usize),
}

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

impl Query {
    /// Reads a query.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        Ok(Self {
            text: text.to_owned(),
            expr: parser::parse(text)?,
        })
    }

    /// All series selectors, in the order of the text.
    pub fn uses(&self) -> Vec<Use<'_>> {
        let mut found = Vec::new();
        each_selector(&self.expr, &mut |expr, selector| {
            let name = name_of(selector);
            found.push(Use {
                name,
                metric: metrics::lookup(name),
                matchers: &selector.matchers,
                range: (expr.start, expr.end),
            });
        });
        found
    }

    /// How many elements it gives.
    pub fn elements(&self) -> Elements {
        shape(&self.expr).0
    }

    /// What the number stands for.
    pub fn meaning(&self) -> Meaning {
        meaning(&self.expr)
    }

    /// The longest range that it looks back, in seconds.
    pub fn look_back(&self) -> f64 {
        longest(&self.expr)
    }

    /// The number it gives where no series is there: `or vector(0)` makes one.
    pub fn without_series(&self) -> Option<f64> {
        without_series(&self.expr)
    }
}

fn name_of(selector: &Selector) -> &str {
    let by_name = |m: &&Matcher| m.name == METRIC_NAME && m.op == MatchOp::Equal;
    selector
        .matchers
        .iter()
        .find(by_name)
        .map_or("", |m| m.value.as_str())
}

fn each_selector<'q>(expr: &'q Expr, f: &mut impl FnMut(&'q Expr, &'q Selector)) {
    match &expr.kind {
        Node::Number(_) | Node::Text(_) => {}
        Node::Selector(selector) => f(expr, selector),
        Node::Subquery { expr, .. } | Node::Paren(expr) | Node::Unary { expr, .. } => {
            each_selector(expr, f);
        }
        Node::Binary { lhs, rhs, .. } => {
            each_selector(lhs, f);
            each_selector(rhs, f);
        }
        Node::Call { args, .. } => args.iter().for_each(|arg| each_selector(arg, f)),
        Node::Aggregate { param, expr, .. } => {
            if let Some(param) = param {
                each_selector(param, f);
            }
            each_selector(expr, f);
        }
    }
}

fn longest(expr: &Expr) -> f64 {
    let seconds = |d: &parser::ast::Duration| d.seconds(0.0, 0.0).unwrap_or(0.0);
    match &expr.kind {
        Node::Number(_) | Node::Text(_) => 0.0,
        Node::Selector(selector) => selector.range.as_ref().map_or(0.0, seconds),
        Node::Subquery { expr, range, .. } => seconds(range) + longest(expr),
        Node::Paren(expr) | Node::Unary { expr, .. } => longest(expr),
        Node::Binary { lhs, rhs, .. } => longest(lhs).max(longest(rhs)),
        Node::Call { args, .. } => args.iter().map(longest).fold(0.0, f64::max),
        Node::Aggregate { expr, .. } => longest(expr),
    }
}

fn without_series(expr: &Expr) -> Option<f64> {
    let expr = expr.inner();
    if let Some(number) = constant(expr) {
        return Some(number);
    }
    match &expr.kind {
        Node::Binary { op, lhs, rhs, .. } => {
            let (l, r) = (without_series(lhs), without_series(rhs));
            match op {
                BinOp::Or => l.or(r),
                BinOp::Add => Some(l? + r?),
                BinOp::Sub => Some(l? - r?),
                BinOp::Mul => Some(l? * r?),
                BinOp::Div => Some(l? / r?),
                _ => None,
            }
        }
        Node::Call { func, args } => match func.name {
            "absent" | "absent_over_time" => Some(1.0),
            "clamp_min" | "clamp_max" | "clamp" | "ceil" | "floor" | "round" | "abs" | "sort"
            | "sort_desc" | "label_replace" | "label_join" => without_series(args.first()?),
            _ => None,
        },
        Node::Aggregate {
            op: AggOp::Sum | AggOp::Avg | AggOp::Max | AggOp::Min,
            expr,
            ..
        } => without_series(expr),
        _ => None,
    }
}

/// A number that no series has a part in.
fn constant(expr: &Expr) -> Option<f64> {
    let expr = expr.inner();
    match &expr.kind {
        Node::Number(number) => Some(*number),
        Node::Unary { negative, expr } => {
            constant(expr).map(|number| if *negative { -number } else { number })
        }
        Node::Binary { op, lhs, rhs, .. } => {
            let (l, r) = (constant(lhs)?, constant(rhs)?);
            match op {
                BinOp::Add => Some(l + r),
                BinOp::Sub => Some(l - r),
                BinOp::Mul => Some(l * r),
                BinOp::Div => Some(l / r),
                _ => None,
            }
        }
        Node::Call { func, args } if func.name == "vector" => constant(args.first()?),
        _ => None,
    }
}

// === How many ===

/// The elements, and whether they carry no labels (two of those are one).
fn shape(expr: &Expr) -> (Elements, bool) {
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

// === What it stands for ===

fn meaning(expr: &Expr) -> Meaning {
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

    #[test]
    fn what_is_left_without_series() {
        assert_eq!(query("sum(x_y) or vector(0)").without_series(), Some(0.0));
        assert_eq!(
            query("sum(x_y or vector(2)) * 2").without_series(),
            Some(4.0)
        );
        assert_eq!(query("sum(x_y)").without_series(), None);
    }

    #[test]
    fn look_back_is_the_longest_range() {
        let text = "sum(rate(x_total[5m])) + avg(max_over_time(y_y[10m]))";
        assert_eq!(query(text).look_back(), 600.0);
    }
}
