//! A query, read: its series, its ranges, what it gives without any series; how
//! many elements it has (`elements`) and what the number stands for (`meaning`).

mod elements;
mod meaning;

use promql::labels::{METRIC_NAME, MatchOp, Matcher};
use promql::parser::ast::{AggOp, BinOp, Expr, Kind as Node, Selector};
use promql::parser::{self, SyntaxError};

use crate::metrics::{self, Metric, Origin};

pub use elements::Elements;
pub use meaning::{Meaning, Per};

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

/// Two operands that are paired by labels.
#[derive(Clone, Copy, Debug)]
pub struct Join<'q> {
    /// Labels of `on`.
    pub labels: &'q [String],
    /// Byte offsets in the query.
    pub range: (usize, usize),
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

    /// The joins of a GPU's series, as the exporter has it, with those of pods.
    pub fn joins(&self) -> Vec<Join<'_>> {
        let mut found = Vec::new();
        each_join(&self.expr, &mut found);
        found
    }

    /// How many elements it gives.
    pub fn elements(&self) -> Elements {
        elements::shape(&self.expr).0
    }

    /// What the number stands for.
    pub fn meaning(&self) -> Meaning {
        meaning::meaning(&self.expr)
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

fn each_join<'q>(expr: &'q Expr, found: &mut Vec<Join<'q>>) {
    // What passes a function may have been relabelled there.
    let origin = |side: &Expr| match &side.inner().kind {
        Node::Selector(selector) => Some(metrics::lookup(name_of(selector)).origin),
        _ => None,
    };
    match &expr.kind {
        Node::Number(_) | Node::Text(_) | Node::Selector(_) => {}
        Node::Subquery { expr, .. } | Node::Paren(expr) | Node::Unary { expr, .. } => {
            each_join(expr, found);
        }
        Node::Aggregate { expr, .. } => each_join(expr, found),
        Node::Call { args, .. } => args.iter().for_each(|arg| each_join(arg, found)),
        Node::Binary {
            matching, lhs, rhs, ..
        } => {
            let sides = (origin(lhs), origin(rhs));
            let joins = matches!(
                sides,
                (Some(Origin::Dcgm), Some(Origin::Container))
                    | (Some(Origin::Container), Some(Origin::Dcgm))
            );
            if joins && matching.on {
                found.push(Join {
                    labels: &matching.labels,
                    range: (expr.start, expr.end),
                });
            }
            each_join(lhs, found);
            each_join(rhs, found);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(text).expect("a valid query")
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
