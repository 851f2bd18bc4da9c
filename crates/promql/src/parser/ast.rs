//! The syntax tree.

use super::functions::Function;
use crate::labels::Matcher;

/// The type of an expression's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// A number without labels.
    Scalar,
    /// One sample per series.
    Vector,
    /// Several samples per series.
    Matrix,
    /// Text.
    String,
}

impl ValueType {
    /// The name used in error messages.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
            Self::String => "string",
        }
    }
}

/// An expression with its place in the query text.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What it is.
    pub kind: Kind,
    /// Byte offset of its first character.
    pub start: usize,
    /// Byte offset after its last character.
    pub end: usize,
    /// Index that is unique within the query.
    pub id: usize,
    /// Levels of expressions below and including this one.
    pub depth: usize,
}

/// The sorts of expressions.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A number literal.
    Number(f64),
    /// A string literal.
    Text(String),
    /// A series selector, with a range or without.
    Selector(Selector),
    /// `expr[range:step]`
    Subquery {
        /// What is evaluated at each step.
        expr: Box<Expr>,
        /// How far back.
        range: Duration,
        /// Distance of the steps; the engine's default when absent.
        step: Option<Duration>,
        /// `offset` and `@`.
        time: TimeShift,
    },
    /// `(expr)`
    Paren(Box<Expr>),
    /// `+expr` or `-expr`
    Unary {
        /// Whether the sign is a minus.
        negative: bool,
        /// The operand.
        expr: Box<Expr>,
    },
    /// `lhs op rhs`
    Binary {
        /// The operator.
        op: BinOp,
        /// Comparison with the `bool` modifier.
        return_bool: bool,
        /// How elements of two vectors are paired.
        matching: Matching,
        /// Left operand.
        lhs: Box<Expr>,
        /// Right operand.
        rhs: Box<Expr>,
    },
    /// A function call.
    Call {
        /// The function.
        func: &'static Function,
        /// Its arguments.
        args: Vec<Expr>,
    },
    /// An aggregation.
    Aggregate {
        /// The operator.
        op: AggOp,
        /// Labels of `by` or `without`.
        grouping: Vec<String>,
        /// Whether `grouping` lists the labels to remove.
        without: bool,
        /// First parameter of `topk`, `quantile`, `count_values`, ….
        param: Option<Box<Expr>>,
        /// What is aggregated.
        expr: Box<Expr>,
    },
}

/// A series selector.
#[derive(Clone, Debug)]
pub struct Selector {
    /// All matchers, the metric name's included.
    pub matchers: Vec<Matcher>,
    /// Range of a range selector.
    pub range: Option<Duration>,
    /// How the edges of a range are treated.
    pub edges: Edges,
    /// `offset` and `@`.
    pub time: TimeShift,
}

/// Treatment of a range's edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Edges {
    /// Only samples inside count.
    #[default]
    Plain,
    /// `anchored`: the last sample before the range stands at its left edge.
    Anchored,
    /// `smoothed`: both edges are interpolated from the samples around them.
    Smoothed,
}

/// `offset` and `@` of a selector or subquery.
#[derive(Clone, Debug, Default)]
pub struct TimeShift {
    /// Looks this far back.
    pub offset: Option<Duration>,
    /// Evaluates at this time instead.
    pub at: Option<At>,
}

/// The argument of `@`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Milliseconds since the epoch.
    Time(i64),
    /// `start()`
    Start,
    /// `end()`
    End,
}

/// A duration, which may be computed from the query's own range and step.
#[derive(Clone, Debug, PartialEq)]
pub enum Duration {
    /// Seconds.
    Seconds(f64),
    /// `step()`
    Step,
    /// `range()`
    Range,
    /// `-d`
    Neg(Box<Duration>),
    /// `a op b`, op one of `+ - * / % ^`, `<` for min_of and `>` for max_of.
    Op(char, Box<Duration>, Box<Duration>),
}

impl Duration {
    /// The value in seconds for a query with the given step and range in seconds.
    pub fn seconds(&self, step: f64, range: f64) -> Result<f64, String> {
        Ok(match self {
            Self::Seconds(s) => *s,
            Self::Step => step,
            Self::Range => range,
            Self::Neg(d) => -d.seconds(step, range)?,
            Self::Op(op, a, b) => {
                let (a, b) = (a.seconds(step, range)?, b.seconds(step, range)?);
                match op {
                    '+' => a + b,
                    '-' => a - b,
                    '*' => a * b,
                    '/' if b == 0.0 => return Err("division by zero".into()),
                    '%' if b == 0.0 => return Err("modulo by zero".into()),
                    '/' => a / b,
                    '%' => a % b,
                    '^' => a.powf(b),
                    '<' => a.min(b),
                    _ => a.max(b),
                }
            }
        })
    }

    /// Whether the value is more than a number with a sign.
    pub fn is_computed(&self) -> bool {
        match self {
            Self::Seconds(_) => false,
            Self::Neg(d) => d.is_computed(),
            Self::Step | Self::Range | Self::Op(..) => true,
        }
    }

    /// Whether the value depends on the query's range or step.
    pub fn depends_on_query(&self) -> bool {
        match self {
            Self::Seconds(_) => false,
            Self::Step | Self::Range => true,
            Self::Neg(d) => d.depends_on_query(),
            Self::Op(_, a, b) => a.depends_on_query() || b.depends_on_query(),
        }
    }
}

/// Binary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum BinOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
    Unless,
}

impl BinOp {
    /// Whether the operator compares.
    pub fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Eq | Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge
        )
    }

    /// Whether the operator works on sets of series.
    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    /// The operator as written.
    pub fn text(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }
}

/// Which side of a binary operation may have several elements per match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Cardinality {
    /// One on each side.
    #[default]
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// How elements of two vectors are paired.
#[derive(Clone, Debug, Default)]
pub struct Matching {
    /// Which side may have several elements per match.
    pub card: Cardinality,
    /// Whether `labels` are those to match on (else those to ignore).
    pub on: bool,
    /// Labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// Whether `on` or `ignoring` was written at all.
    pub explicit: bool,
    /// Labels taken from the "one" side.
    pub include: Vec<String>,
    /// Value for elements that the left side lacks.
    pub fill_left: Option<f64>,
    /// Value for elements that the right side lacks.
    pub fill_right: Option<f64>,
}

/// Aggregation operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AggOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    Quantile,
    CountValues,
    Limitk,
    LimitRatio,
}

impl AggOp {
    /// Finds an operator by name, in any case.
    pub fn by_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "sum" => Self::Sum,
            "avg" => Self::Avg,
            "min" => Self::Min,
            "max" => Self::Max,
            "count" => Self::Count,
            "group" => Self::Group,
            "stddev" => Self::Stddev,
            "stdvar" => Self::Stdvar,
            "topk" => Self::Topk,
            "bottomk" => Self::Bottomk,
            "quantile" => Self::Quantile,
            "count_values" => Self::CountValues,
            "limitk" => Self::Limitk,
            "limit_ratio" => Self::LimitRatio,
            _ => return None,
        })
    }

    /// Whether the operator takes a parameter.
    pub fn has_param(self) -> bool {
        matches!(
            self,
            Self::Topk
                | Self::Bottomk
                | Self::Quantile
                | Self::CountValues
                | Self::Limitk
                | Self::LimitRatio
        )
    }
}

impl Expr {
    /// The type of the value.
    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            Kind::Number(_) => ValueType::Scalar,
            Kind::Text(_) => ValueType::String,
            Kind::Selector(s) if s.range.is_some() => ValueType::Matrix,
            Kind::Selector(_) | Kind::Aggregate { .. } => ValueType::Vector,
            Kind::Subquery { .. } => ValueType::Matrix,
            Kind::Paren(e) | Kind::Unary { expr: e, .. } => e.value_type(),
            Kind::Binary { lhs, rhs, .. } => {
                let scalar = |e: &Expr| e.value_type() == ValueType::Scalar;
                if scalar(lhs) && scalar(rhs) {
                    ValueType::Scalar
                } else {
                    ValueType::Vector
                }
            }
            Kind::Call { func, .. } => func.returns,
        }
    }

    /// The expression inside any parentheses.
    pub fn inner(&self) -> &Expr {
        let mut e = self;
        while let Kind::Paren(inner) = &e.kind {
            e = inner;
        }
        e
    }
}
