//! Evaluation of a checked syntax tree over a [`Source`].
//!
//! Every expression is evaluated once per step. Series are read once per query, before the
//! first step, and the evaluator looks into what was read.

mod aggregate;
mod arithmetic;
mod binary;
mod extended;
mod functions;
mod histogram;
mod info;
mod labelfns;
mod matrix;
mod notes;
mod overtime;
mod places;
mod rate;
mod select;
mod time;
mod top;

use crate::labels::Labels;
use crate::number::{is_histogram, is_stale};
use crate::parser::ast::{At, Duration, Expr, Kind, TimeShift, ValueType};
use crate::parser::{self, position};
use crate::source::{SeriesData, Source};
use notes::Notes;
use places::Places;
use std::collections::HashMap;
use std::rc::Rc;

/// What an evaluation may cost and how it treats time.
#[derive(Clone, Debug)]
pub struct EvalOptions {
    /// How far an instant selector looks back, in milliseconds.
    pub lookback_ms: i64,
    /// Most samples held at a time.
    pub max_samples: usize,
    /// Most elementary steps, so that no query runs for ever.
    pub max_work: u64,
    /// Step of subqueries that name none, in milliseconds.
    pub default_step_ms: i64,
}

impl Default for EvalOptions {
    fn default() -> Self {
        Self {
            lookback_ms: 300_000,
            max_samples: 50_000_000,
            max_work: 100_000_000,
            default_step_ms: 60_000,
        }
    }
}

/// The span of a query in milliseconds; an instant query has equal start and end.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// First step.
    pub start: i64,
    /// Last possible step.
    pub end: i64,
    /// Distance of the steps; 0 for an instant query.
    pub step: i64,
}

/// Why a query has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// It does not parse or has a type error.
    #[error("{0}")]
    Parse(String),
    /// It failed while running.
    #[error("{0}")]
    Execution(String),
    /// It needs something this engine does not have.
    #[error("not supported: {0}")]
    Unsupported(String),
}

/// A query's value.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryValue {
    /// A number (instant queries).
    Scalar(f64),
    /// Text (instant queries).
    Text(String),
    /// One sample per series (instant queries).
    Vector(Vec<(Labels, f64)>),
    /// Several samples per series, ordered by labels.
    Matrix(Vec<(Labels, Vec<(i64, f64)>)>),
}

/// A query's value and what is to be said about it.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryResult {
    /// The value.
    pub value: QueryValue,
    /// Warnings, in order of their text.
    pub warnings: Vec<String>,
    /// Remarks of less weight.
    pub infos: Vec<String>,
}

/// Evaluates an expression at one time.
pub fn instant(
    source: &dyn Source,
    query: &str,
    t: i64,
    options: &EvalOptions,
) -> Result<QueryResult, QueryError> {
    let expr = parse(query)?;
    let span = Span {
        start: t,
        end: t,
        step: 0,
    };
    let mut ev = Evaluator::new(source, query, span, options);
    ev.prepare(&expr)?;
    let value = match expr.value_type() {
        ValueType::Matrix => ev.top_matrix(&expr, t)?,
        _ => match ev.eval(&expr, t)? {
            Value::Scalar(v) => QueryValue::Scalar(v),
            Value::Text(s) => QueryValue::Text(s),
            Value::Vector(v) => {
                let out: Vec<_> = v.into_iter().map(|s| (s.final_labels(), s.v)).collect();
                no_duplicates(out.iter().map(|s| &s.0))?;
                QueryValue::Vector(out)
            }
        },
    };
    Ok(ev.notes.finish(value))
}

/// Evaluates an expression at each step of a span.
pub fn range(
    source: &dyn Source,
    query: &str,
    span: Span,
    options: &EvalOptions,
) -> Result<QueryResult, QueryError> {
    let expr = parse(query)?;
    if !matches!(expr.value_type(), ValueType::Scalar | ValueType::Vector) {
        return Err(QueryError::Parse(format!(
            "invalid expression type {:?} for range query, must be Scalar or instant Vector",
            expr.value_type().describe()
        )));
    }
    let mut ev = Evaluator::new(source, query, span, options);
    ev.prepare(&expr)?;
    let mut places = Places::default();
    let mut out: Vec<Vec<(i64, f64)>> = Vec::new();
    let mut t = span.start;
    while t <= span.end {
        match ev.eval(&expr, t)? {
            Value::Scalar(v) => {
                let place = places.of(&Labels::empty(), false, Labels::empty);
                out.resize(places.len(), Vec::new());
                out[place].push((t, v));
            }
            Value::Text(_) => {}
            Value::Vector(v) => {
                places.begin(v.len());
                for s in v {
                    let place = places.of(&s.labels, s.drop_name, || s.final_labels());
                    out.resize(places.len(), Vec::new());
                    let points = &mut out[place];
                    if points.last().is_some_and(|p| p.0 == t) {
                        return Err(same_labelset());
                    }
                    points.push((t, s.v));
                    ev.held += 1;
                }
            }
        }
        ev.hold(0)?;
        if span.step <= 0 {
            break;
        }
        t += span.step;
    }
    let mut series: Vec<_> = places.into_labels().into_iter().zip(out).collect();
    series.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(ev.notes.finish(QueryValue::Matrix(series)))
}

fn parse(query: &str) -> Result<Expr, QueryError> {
    parser::parse(query).map_err(|e| QueryError::Parse(e.render(query)))
}

fn same_labelset() -> QueryError {
    QueryError::Execution("vector cannot contain metrics with the same labelset".into())
}

fn no_duplicates<'a>(labels: impl Iterator<Item = &'a Labels>) -> Result<(), QueryError> {
    let mut seen = std::collections::HashSet::new();
    for l in labels {
        if !seen.insert(l) {
            return Err(same_labelset());
        }
    }
    Ok(())
}

/// One element of an instant vector.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) labels: Labels,
    pub(crate) v: f64,
    /// The name goes at the end; functions on the way can still see it.
    pub(crate) drop_name: bool,
}

impl Sample {
    fn new(labels: Labels, v: f64) -> Self {
        Self {
            labels,
            v,
            drop_name: false,
        }
    }

    fn final_labels(&self) -> Labels {
        if self.drop_name {
            self.labels.without_metadata()
        } else {
            self.labels.clone()
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Scalar(f64),
    Text(String),
    Vector(Vec<Sample>),
}

/// A series of a range, borrowed.
#[derive(Clone, Copy)]
pub(crate) struct RangeSeries<'a> {
    pub(crate) labels: &'a Labels,
    pub(crate) points: &'a [(i64, f64)],
    pub(crate) starts: Option<&'a [i64]>,
    pub(crate) drop_name: bool,
}

/// A series of a subquery.
#[derive(Default)]
pub(crate) struct SubSeries {
    labels: Labels,
    drop_name: bool,
    points: Vec<(i64, f64)>,
}

pub(crate) struct Evaluator<'a> {
    source: &'a dyn Source,
    query: &'a str,
    span: Span,
    options: &'a EvalOptions,
    notes: Notes,
    /// What selectors read, by expression id.
    read: HashMap<usize, Rc<Vec<SeriesData>>>,
    /// Where the last window of a selector began and ended, series by series, by expression id.
    /// An instant selector's has only an end.
    edges: HashMap<usize, Vec<[usize; 2]>>,
    /// Results inside subqueries, by expression id and time; windows of neighbouring steps
    /// overlap.
    inner: HashMap<(usize, i64), Rc<Vec<Sample>>>,
    /// Groups of aggregations, by the id of what is aggregated.
    places: HashMap<usize, Places>,
    held: usize,
    work: u64,
}

type Result<T, E = QueryError> = std::result::Result<T, E>;

impl<'a> Evaluator<'a> {
    fn new(source: &'a dyn Source, query: &'a str, span: Span, options: &'a EvalOptions) -> Self {
        Self {
            source,
            query,
            span,
            options,
            notes: Notes::default(),
            read: HashMap::new(),
            edges: HashMap::new(),
            inner: HashMap::new(),
            places: HashMap::new(),
            held: 0,
            work: 0,
        }
    }

    /// Counts samples held at this moment on top of the result so far.
    fn hold(&mut self, n: usize) -> Result<()> {
        self.work += 1 + n as u64;
        if self.held + n > self.options.max_samples {
            return Err(QueryError::Execution(
                "query processing would load too many samples into memory in query execution"
                    .into(),
            ));
        }
        if self.work > self.options.max_work {
            return Err(QueryError::Execution(format!(
                "the query takes more than {} evaluation steps; use a longer step or a shorter range",
                self.options.max_work
            )));
        }
        Ok(())
    }

    fn duration_ms(&self, d: &Duration, e: &Expr) -> Result<i64> {
        let step = self.span.step as f64 / 1e3;
        let range = (self.span.end - self.span.start) as f64 / 1e3;
        let fail = |m: String| {
            QueryError::Parse(format!(
                "{}: parse error: {m}",
                position(self.query, e.start)
            ))
        };
        let s = d.seconds(step, range).map_err(fail)?;
        // As Prometheus has it: what is written counts in nanoseconds, what is computed in
        // milliseconds, and neither is rounded up to the next millisecond.
        let ms = if d.is_computed() {
            (s * 1e3).trunc()
        } else {
            ((s * 1e9).round() / 1e6).trunc()
        };
        if !ms.is_finite() || ms.abs() > 1e15 {
            return Err(fail("duration out of range".into()));
        }
        Ok(ms as i64)
    }

    fn positive_ms(&self, d: &Duration, e: &Expr) -> Result<i64> {
        let ms = self.duration_ms(d, e)?;
        if ms > 0 {
            return Ok(ms);
        }
        Err(QueryError::Parse(format!(
            "{}: parse error: duration must be greater than 0",
            position(self.query, e.start)
        )))
    }

    /// The time that a selector or subquery looks at when evaluated at `t`.
    fn shifted(&self, time: &TimeShift, t: i64, e: &Expr) -> Result<i64> {
        let base = match time.at {
            None => t,
            Some(At::Time(ms)) => ms,
            Some(At::Start) => self.span.start,
            Some(At::End) => self.span.end,
        };
        let offset = match &time.offset {
            None => 0,
            Some(d) => self.duration_ms(d, e)?,
        };
        Ok(base.saturating_sub(offset))
    }

    pub(crate) fn eval(&mut self, e: &Expr, t: i64) -> Result<Value> {
        self.hold(0)?;
        match &e.kind {
            Kind::Number(v) => Ok(Value::Scalar(*v)),
            Kind::Text(s) => Ok(Value::Text(s.clone())),
            Kind::Paren(inner) => self.eval(inner, t),
            Kind::Selector(s) => {
                if s.range.is_some() {
                    return Err(range_vector_misplaced());
                }
                self.instant_selector(e, s, t).map(Value::Vector)
            }
            Kind::Subquery { .. } => Err(range_vector_misplaced()),
            Kind::Unary { negative, expr } => {
                let mut v = self.eval(expr, t)?;
                if *negative {
                    match &mut v {
                        Value::Scalar(x) => *x = -*x,
                        Value::Vector(samples) => {
                            for s in samples.iter_mut() {
                                self.refuse_histogram(s.v)?;
                                s.v = -s.v;
                                s.drop_name = true;
                            }
                        }
                        Value::Text(_) => {}
                    }
                }
                Ok(v)
            }
            Kind::Binary {
                op,
                return_bool,
                matching,
                lhs,
                rhs,
            } => {
                let l = self.eval(lhs, t)?;
                let r = self.eval(rhs, t)?;
                self.binary(e, *op, *return_bool, matching, l, r)
            }
            Kind::Call { func, args } => self.call(e, func, args, t),
            Kind::Aggregate {
                op,
                grouping,
                without,
                param,
                expr,
            } => self.aggregate(*op, grouping, *without, param.as_deref(), expr, t),
        }
    }

    pub(crate) fn scalar(&mut self, e: &Expr, t: i64) -> Result<f64> {
        match self.eval(e, t)? {
            Value::Scalar(v) => Ok(v),
            _ => Err(QueryError::Execution("a scalar was expected".into())),
        }
    }

    pub(crate) fn text(&mut self, e: &Expr, t: i64) -> Result<String> {
        match self.eval(e, t)? {
            Value::Text(v) => Ok(v),
            _ => Err(QueryError::Execution("a string was expected".into())),
        }
    }

    pub(crate) fn vector(&mut self, e: &Expr, t: i64) -> Result<Vec<Sample>> {
        match self.eval(e, t)? {
            Value::Vector(v) => {
                self.hold(v.len())?;
                Ok(v)
            }
            _ => Err(QueryError::Execution(
                "an instant vector was expected".into(),
            )),
        }
    }

    fn refuse_histogram(&self, v: f64) -> Result<()> {
        if is_histogram(v) {
            return Err(QueryError::Unsupported(
                "native histograms in this expression".into(),
            ));
        }
        Ok(())
    }
}

fn range_vector_misplaced() -> QueryError {
    QueryError::Execution("a range vector cannot be used here".into())
}

/// Whether a sample takes part in range functions.
fn in_range(v: f64) -> bool {
    !is_stale(v)
}

#[cfg(test)]
mod tests;
