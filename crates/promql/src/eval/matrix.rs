//! Range selectors and subqueries as arguments of functions.

use super::{Evaluator, QueryError, RangeSeries, Result, Sample, SubSeries, Value};
use crate::labels::Labels;
use crate::parser::ast::{Duration, Edges, Expr, Kind, TimeShift};
use std::collections::HashMap;
use std::rc::Rc;

/// The window that a range expression covers when evaluated at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Left edge, not part of the window.
    pub(crate) start: i64,
    /// Right edge, part of the window.
    pub(crate) end: i64,
}

impl Window {
    pub(crate) fn seconds(self) -> f64 {
        (self.end - self.start) as f64 / 1e3
    }
}

/// How many points lie at or before `t`; `hint` was the answer for a time near
/// by. A search of the whole series at each step of a query costs more than
/// everything else that the step does: the series do not fit into a cache.
pub(super) fn seek(points: &[(i64, f64)], hint: usize, t: i64) -> usize {
    let hint = hint.min(points.len());
    let (before, after) = points.split_at(hint);
    if before.last().is_some_and(|p| p.0 > t) {
        return before.partition_point(|p| p.0 <= t);
    }
    let mut reach = 1;
    while after.get(reach - 1).is_some_and(|p| p.0 <= t) {
        reach *= 2;
    }
    let (low, high) = (reach / 2, reach.min(after.len()));
    hint + low + after[low..high].partition_point(|p| p.0 <= t)
}

impl Evaluator<'_> {
    /// The window of a range expression at `t`.
    pub(super) fn window(&self, e: &Expr, t: i64) -> Result<Window> {
        let (range, time) = match &e.inner().kind {
            Kind::Selector(s) => (s.range.as_ref(), &s.time),
            Kind::Subquery { range, time, .. } => (Some(range), time),
            _ => (
                None,
                &TimeShift {
                    offset: None,
                    at: None,
                },
            ),
        };
        let Some(range) = range else {
            return Err(QueryError::Execution("a range vector was expected".into()));
        };
        let end = self.shifted(time, t, e)?;
        Ok(Window {
            start: end.saturating_sub(self.positive_ms(range, e)?),
            end,
        })
    }

    /// Calls `f` for each series of a range expression that has samples in the window.
    pub(super) fn for_each_series(
        &mut self,
        e: &Expr,
        t: i64,
        mut f: impl FnMut(&mut Self, RangeSeries<'_>) -> Result<()>,
    ) -> Result<()> {
        let e = e.inner();
        let w = self.window(e, t)?;
        match &e.kind {
            Kind::Selector(s) if s.edges == Edges::Plain => {
                let series = self.series_of(e);
                let mut edges = self.edges.remove(&e.id).unwrap_or_default();
                let known = !edges.is_empty();
                edges.resize(series.len(), [0, 0]);
                for (x, edges) in series.iter().zip(&mut edges) {
                    let find = |hint: usize, t: i64| match known {
                        true => seek(&x.points, hint, t),
                        false => x.points.partition_point(|p| p.0 <= t),
                    };
                    let (a, b) = (find(edges[0], w.start), find(edges[1], w.end));
                    *edges = [a, b];
                    if a >= b {
                        continue;
                    }
                    self.hold(b - a)?;
                    let s = RangeSeries {
                        labels: &x.labels,
                        points: &x.points[a..b],
                        starts: x.starts.as_ref().map(|s| &s[a..b]),
                        drop_name: false,
                    };
                    f(self, s)?;
                }
                self.edges.insert(e.id, edges);
                Ok(())
            }
            Kind::Selector(_) => Err(QueryError::Unsupported(
                "anchored and smoothed ranges outside of rate, increase, delta, changes and resets"
                    .into(),
            )),
            Kind::Subquery { expr, step, .. } => {
                let series = self.subquery(e, expr, step.as_ref(), w)?;
                for x in &series {
                    let s = RangeSeries {
                        labels: &x.labels,
                        points: &x.points,
                        starts: None,
                        drop_name: x.drop_name,
                    };
                    f(self, s)?;
                }
                Ok(())
            }
            _ => Err(QueryError::Execution("a range vector was expected".into())),
        }
    }

    fn subquery(
        &mut self,
        e: &Expr,
        inner: &Expr,
        step: Option<&Duration>,
        w: Window,
    ) -> Result<Vec<SubSeries>> {
        let step = match step {
            Some(s) => self.positive_ms(s, e)?,
            None => self.options.default_step_ms.max(1),
        };
        // Steps lie on multiples of the step, whatever the query's own times are.
        let mut at = w.start / step * step;
        if at <= w.start {
            at += step;
        }
        let mut out: Vec<SubSeries> = Vec::new();
        let mut index: HashMap<(Labels, bool), usize> = HashMap::new();
        let mut points = 0;
        while at <= w.end {
            let v = match self.inner.get(&(inner.id, at)) {
                Some(v) => v.clone(),
                None => {
                    let v = match self.eval(inner, at)? {
                        Value::Vector(v) => v,
                        Value::Scalar(v) => vec![Sample::new(Labels::empty(), v)],
                        Value::Text(_) => Vec::new(),
                    };
                    let v = Rc::new(v);
                    self.remember(inner.id, at, &v);
                    v
                }
            };
            points += v.len();
            self.hold(points)?;
            for s in v.iter() {
                let i = *index
                    .entry((s.labels.clone(), s.drop_name))
                    .or_insert_with(|| {
                        out.push(SubSeries {
                            labels: s.labels.clone(),
                            drop_name: s.drop_name,
                            points: Vec::new(),
                        });
                        out.len() - 1
                    });
                if out[i].points.last().is_some_and(|p| p.0 == at) {
                    return Err(super::same_labelset());
                }
                out[i].points.push((at, s.v));
            }
            at += step;
        }
        Ok(out)
    }

    // Windows of neighbouring steps overlap. A full memory is emptied as a whole, which keeps
    // its upkeep cheap.
    fn remember(&mut self, id: usize, at: i64, v: &Rc<Vec<Sample>>) {
        const MOST: usize = 100_000;
        if self.inner.len() >= MOST {
            self.inner.clear();
        }
        self.inner.insert((id, at), v.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeking_finds_what_a_search_finds_whatever_the_hint() {
        let points: Vec<(i64, f64)> = [1, 2, 2, 5, 9, 9, 30].map(|t| (t, 0.0)).to_vec();
        for length in 0..=points.len() {
            let points = &points[..length];
            for t in 0..32 {
                let found = points.partition_point(|p| p.0 <= t);
                for hint in 0..10 {
                    assert_eq!(seek(points, hint, t), found, "{length} {t} {hint}");
                }
            }
        }
    }
}
