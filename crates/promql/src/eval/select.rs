//! Reading series for selectors, once per query, and instant selectors.

use super::matrix::seek;
use super::{Evaluator, QueryValue, Result, Sample, in_range, no_duplicates};
use crate::number::is_stale;
use crate::parser::ast::{Edges, Expr, Kind, Selector};
use crate::source::SeriesData;
use std::rc::Rc;

impl Evaluator<'_> {
    /// Reads what every selector of the expression will need.
    pub(super) fn prepare(&mut self, e: &Expr) -> Result<()> {
        self.prepare_for(e, self.span.start, self.span.end)
    }

    /// `lo` and `hi` are the first and last time at which `e` will be evaluated.
    pub(super) fn prepare_for(&mut self, e: &Expr, lo: i64, hi: i64) -> Result<()> {
        match &e.kind {
            Kind::Number(_) | Kind::Text(_) => Ok(()),
            Kind::Paren(x) | Kind::Unary { expr: x, .. } => self.prepare_for(x, lo, hi),
            Kind::Binary { lhs, rhs, .. } => {
                self.prepare_for(lhs, lo, hi)?;
                self.prepare_for(rhs, lo, hi)
            }
            Kind::Aggregate { expr, param, .. } => {
                if let Some(p) = param {
                    self.prepare_for(p, lo, hi)?;
                }
                self.prepare_for(expr, lo, hi)
            }
            Kind::Call { func, args } if func.name == "info" => {
                self.prepare_for(&args[0], lo, hi)?;
                self.prepare_info(e, args, lo, hi)
            }
            Kind::Call { args, .. } => args.iter().try_for_each(|a| self.prepare_for(a, lo, hi)),
            Kind::Subquery {
                expr,
                range,
                step,
                time,
            } => {
                let range = self.positive_ms(range, e)?;
                if let Some(s) = step {
                    self.positive_ms(s, e)?;
                }
                let lo = self.shifted(time, lo, e)?.saturating_sub(range);
                let hi = self.shifted(time, hi, e)?;
                self.prepare_for(expr, lo, hi)
            }
            Kind::Selector(s) => self.prepare_selector(e, s, lo, hi),
        }
    }

    fn prepare_selector(&mut self, e: &Expr, s: &Selector, lo: i64, hi: i64) -> Result<()> {
        let lookback = self.options.lookback_ms;
        let back = match &s.range {
            None => lookback,
            Some(r) if s.edges == Edges::Plain => self.positive_ms(r, e)?,
            Some(r) => self.positive_ms(r, e)?.saturating_add(lookback),
        };
        let forward = if s.edges == Edges::Smoothed {
            lookback
        } else {
            0
        };
        // Ranges are open on the left.
        let mint = self
            .shifted(&s.time, lo, e)?
            .saturating_sub(back)
            .saturating_add(1);
        let maxt = self.shifted(&s.time, hi, e)?.saturating_add(forward);
        let single = lo == hi || s.time.at.is_some();
        let newest_only = single && s.range.is_none() && s.edges == Edges::Plain;
        let mut series = self.source.select(&s.matchers, mint, maxt, newest_only);
        if s.range.is_some() {
            for x in &mut series {
                drop_stale(x);
            }
        }
        self.work += series
            .iter()
            .map(|s| s.points.len() as u64 + 1)
            .sum::<u64>();
        self.hold(0)?;
        self.read.insert(e.id, Rc::new(series));
        Ok(())
    }

    pub(super) fn series_of(&self, e: &Expr) -> Rc<Vec<SeriesData>> {
        self.read.get(&e.id).cloned().unwrap_or_default()
    }

    pub(super) fn instant_selector(
        &mut self,
        e: &Expr,
        s: &Selector,
        t: i64,
    ) -> Result<Vec<Sample>> {
        let at = self.shifted(&s.time, t, e)?;
        let series = self.series_of(e);
        let mut out = Vec::with_capacity(series.len());
        let mut edges = self.edges.remove(&e.id).unwrap_or_default();
        edges.resize(series.len(), [0, 0]);
        for (x, [_, end]) in series.iter().zip(&mut edges) {
            let v = if s.edges == Edges::Smoothed {
                self.smoothed_value(x, at)?
            } else {
                *end = seek(&x.points, *end, at);
                current(x, *end, at, self.options.lookback_ms).map(|i| x.points[i].1)
            };
            if let Some(v) = v {
                out.push(Sample::new(x.labels.clone(), v));
            }
        }
        self.edges.insert(e.id, edges);
        self.hold(out.len())?;
        Ok(out)
    }

    /// The value of a range vector at the top of an instant query.
    pub(super) fn top_matrix(&mut self, e: &Expr, t: i64) -> Result<QueryValue> {
        let mut out = Vec::new();
        self.for_each_series(e, t, |ev, s| {
            ev.hold(s.points.len())?;
            ev.held += s.points.len();
            let labels = if s.drop_name {
                s.labels.without_metadata()
            } else {
                s.labels.clone()
            };
            out.push((labels, s.points.to_vec()));
            Ok(())
        })?;
        no_duplicates(out.iter().map(|s| &s.0))?;
        out.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(QueryValue::Matrix(out))
    }
}

/// Index of the newest sample in `(at - lookback, at]` unless it says that the series is gone.
pub(super) fn newest(x: &SeriesData, at: i64, lookback: i64) -> Option<usize> {
    let end = x.points.partition_point(|p| p.0 <= at);
    current(x, end, at, lookback)
}

/// As [`newest`], where `end` points are known to lie at or before `at`.
fn current(x: &SeriesData, end: usize, at: i64, lookback: i64) -> Option<usize> {
    let i = end.checked_sub(1)?;
    let (pt, v) = x.points[i];
    (pt > at.saturating_sub(lookback) && !is_stale(v)).then_some(i)
}

fn drop_stale(x: &mut SeriesData) {
    if x.points.iter().all(|p| in_range(p.1)) {
        return;
    }
    if let Some(starts) = &mut x.starts {
        let kept = starts.iter().zip(&x.points).filter(|(_, p)| in_range(p.1));
        *starts = kept.map(|(s, _)| *s).collect();
    }
    x.points.retain(|p| in_range(p.1));
}
