//! Queries that depend on counts only: all ready replicas show the same value,
//! all starting ones 0.

use promql::parser::ast::{AggOp, BinOp, Cardinality, Expr, Kind};

use super::{Metrics, Unit, Workload};

/// What an exporter's page shows of the workload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Page {
    /// GPUs of ready replicas.
    pub ready: u32,
    /// GPUs of replicas that are starting and show 0.
    pub starting: u32,
    /// How busy the GPUs of ready replicas are, 0 to 1.
    pub share: f64,
}

/// A query as a tree over [`Page`].
#[derive(Clone, Debug)]
pub enum Shape {
    /// A number.
    Number(f64),
    /// An aggregation over the GPUs.
    Over(AggOp, Unit),
    /// Sign changed.
    Negated(Box<Shape>),
    /// Arithmetic.
    Arithmetic(BinOp, Box<Shape>, Box<Shape>),
    /// The left side, or the number where it is empty.
    OrNumber(Box<Shape>, f64),
}

impl Shape {
    pub(super) fn sum(unit: Unit) -> Self {
        Self::Over(AggOp::Sum, unit)
    }

    pub(super) fn of(expr: &Expr, metrics: &Metrics, workload: &Workload) -> Option<Self> {
        let shape = Self::read(expr, metrics, workload)?;
        // A scalar is an error for KEDA, which the engine's way reports.
        (!shape.is_number()).then_some(shape)
    }

    fn is_number(&self) -> bool {
        match self {
            Self::Number(_) => true,
            Self::Negated(x) => x.is_number(),
            Self::Arithmetic(_, a, b) => a.is_number() && b.is_number(),
            Self::Over(..) | Self::OrNumber(..) => false,
        }
    }

    fn read(expr: &Expr, metrics: &Metrics, workload: &Workload) -> Option<Self> {
        match &expr.inner().kind {
            Kind::Number(n) => Some(Self::Number(*n)),
            Kind::Unary { negative, expr } => {
                let inner = Self::read(expr, metrics, workload)?;
                Some(match negative {
                    true => Self::Negated(Box::new(inner)),
                    false => inner,
                })
            }
            Kind::Aggregate {
                op: op @ (AggOp::Sum | AggOp::Avg | AggOp::Min | AggOp::Max | AggOp::Count),
                grouping,
                without: false,
                param: None,
                expr,
            } if grouping.is_empty() => {
                let Kind::Selector(selector) = &expr.inner().kind else {
                    return None;
                };
                let plain = selector.range.is_none()
                    && selector.time.at.is_none()
                    && selector.time.offset.is_none()
                    && !selector.matchers.iter().any(|m| workload.divides(m));
                let name = selector.matchers.iter().find(|m| m.name == "__name__")?;
                let unit = metrics.unit(&name.value)?;
                plain.then_some(Self::Over(*op, unit))
            }
            Kind::Binary {
                op: BinOp::Or,
                matching,
                lhs,
                rhs,
                ..
            } if !matching.explicit => {
                let Kind::Call { func, args } = &rhs.inner().kind else {
                    return None;
                };
                let [number] = args.as_slice() else {
                    return None;
                };
                let Kind::Number(number) = number.inner().kind else {
                    return None;
                };
                let left = Self::read(lhs, metrics, workload)?;
                let fits = func.name == "vector" && !left.is_number();
                fits.then(|| Self::OrNumber(Box::new(left), number))
            }
            Kind::Binary {
                op: op @ (BinOp::Add | BinOp::Sub | BinOp::Mul | BinOp::Div),
                matching,
                lhs,
                rhs,
                ..
            } if !matching.explicit
                && matching.card == Cardinality::OneToOne
                && matching.fill_left.is_none()
                && matching.fill_right.is_none() =>
            {
                let (a, b) = (
                    Self::read(lhs, metrics, workload)?,
                    Self::read(rhs, metrics, workload)?,
                );
                Some(Self::Arithmetic(*op, Box::new(a), Box::new(b)))
            }
            _ => None,
        }
    }

    /// The query's value; `None` where its result is empty.
    pub fn value(&self, page: &Page) -> Option<f64> {
        match self {
            Self::Number(n) => Some(*n),
            Self::Negated(inner) => Some(-inner.value(page)?),
            Self::OrNumber(inner, otherwise) => Some(inner.value(page).unwrap_or(*otherwise)),
            Self::Arithmetic(op, a, b) => {
                let (a, b) = (a.value(page)?, b.value(page)?);
                Some(match op {
                    BinOp::Add => a + b,
                    BinOp::Sub => a - b,
                    BinOp::Mul => a * b,
                    _ => a / b,
                })
            }
            Self::Over(op, unit) => {
                let count = f64::from(page.ready + page.starting);
                if count == 0.0 {
                    return None;
                }
                let shown = unit.show(page.share);
                let sum = shown * f64::from(page.ready);
                let all_ready = page.starting == 0;
                Some(match op {
                    AggOp::Sum => sum,
                    AggOp::Avg => sum / count,
                    AggOp::Count => count,
                    AggOp::Min if !all_ready => 0.0,
                    AggOp::Max if page.ready == 0 => 0.0,
                    _ => shown,
                })
            }
        }
    }

    /// Where the query is a sum or an average of one metric, times a number:
    /// the operator, the metric's unit and the factor. Other shapes cannot be
    /// turned back into load.
    pub fn plain(&self) -> Option<(AggOp, Unit, f64)> {
        match self {
            Self::Over(op @ (AggOp::Sum | AggOp::Avg), unit) => Some((*op, *unit, 1.0)),
            Self::OrNumber(inner, 0.0) => inner.plain(),
            Self::Arithmetic(op, a, b) => match (op, a.as_ref(), b.as_ref()) {
                (BinOp::Mul, x, Self::Number(n)) | (BinOp::Mul, Self::Number(n), x) => {
                    x.plain().map(|(op, unit, f)| (op, unit, f * n))
                }
                (BinOp::Div, x, Self::Number(n)) => {
                    x.plain().map(|(op, unit, f)| (op, unit, f / n))
                }
                _ => None,
            },
            _ => None,
        }
    }
}
