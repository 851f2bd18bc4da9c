//! `anchored` and `smoothed` ranges: samples around the window stand in for its edges.

use super::rate::RateKind;
use super::{Evaluator, QueryError, RangeSeries, Result, Sample};
use crate::number::is_histogram;
use crate::parser::ast::{Edges, Expr, Selector};
use crate::source::SeriesData;

impl Evaluator<'_> {
    pub(super) fn extended(
        &mut self,
        name: &str,
        e: &Expr,
        s: &Selector,
        t: i64,
    ) -> Result<Vec<Sample>> {
        let w = self.window(e, t)?;
        let lookback = self.options.lookback_ms;
        let smoothed = s.edges == Edges::Smoothed;
        let series = self.series_of(e);
        let mut out = Vec::new();
        for x in series.iter() {
            let until = if smoothed {
                w.end.saturating_add(lookback)
            } else {
                w.end
            };
            let a = x
                .points
                .partition_point(|p| p.0 <= w.start.saturating_sub(lookback));
            let b = x.points.partition_point(|p| p.0 <= until);
            let points = &x.points[a..b.max(a)];
            self.hold(points.len())?;
            if points.iter().any(|p| is_histogram(p.1)) {
                return Err(QueryError::Unsupported(
                    "anchored and smoothed ranges of native histograms".into(),
                ));
            }
            // The last sample at or before the left edge begins the range.
            let first = points.partition_point(|p| p.0 <= w.start).saturating_sub(1);
            let v = match RateKind::of(name) {
                Some(kind) => {
                    let v =
                        edge_difference(points, first, (w.start, w.end), smoothed, kind.counter);
                    v.map(|v| if kind.per_second { v / w.seconds() } else { v })
                }
                None => {
                    let inside = points.last().is_some_and(|p| p.0 > w.start);
                    let s = RangeSeries {
                        labels: &x.labels,
                        points: &points[first.min(points.len())..],
                        starts: None,
                        drop_name: false,
                    };
                    if inside {
                        self.over_time(name, &[], s, t, &[])
                    } else {
                        None
                    }
                }
            };
            if let Some(v) = v {
                out.push(Sample {
                    labels: x.labels.clone(),
                    v,
                    drop_name: true,
                });
            }
        }
        Ok(out)
    }

    /// A `smoothed` instant selector: the line between the samples around `at`.
    pub(super) fn smoothed_value(&self, x: &SeriesData, at: i64) -> Result<Option<f64>> {
        if x.points.iter().any(|p| is_histogram(p.1)) {
            return Err(QueryError::Unsupported("smoothed native histograms".into()));
        }
        Ok(self.line_at(x, at))
    }

    fn line_at(&self, x: &SeriesData, at: i64) -> Option<f64> {
        let lookback = self.options.lookback_ms;
        let i = x.points.partition_point(|p| p.0 <= at);
        let before = *x.points.get(i.checked_sub(1)?)?;
        if before.0 <= at.saturating_sub(lookback) || !super::in_range(before.1) {
            return None;
        }
        if before.0 == at {
            return Some(before.1);
        }
        match x.points.get(i) {
            Some(after) if after.0 <= at.saturating_add(lookback) && super::in_range(after.1) => {
                Some(between(before, *after, at, false))
            }
            _ => Some(before.1),
        }
    }
}

fn between(a: (i64, f64), b: (i64, f64), at: i64, counter: bool) -> f64 {
    // Across a reset a counter rises from zero.
    let (y1, y2) = if counter && b.1 < a.1 {
        (0.0, b.1)
    } else {
        (a.1, b.1)
    };
    y1 + (y2 - y1) * (at - a.0) as f64 / (b.0 - a.0) as f64
}

fn edge_difference(
    p: &[(i64, f64)],
    first: usize,
    (start, end): (i64, i64),
    smoothed: bool,
    counter: bool,
) -> Option<f64> {
    let mut last = p.len().checked_sub(1)?;
    if smoothed {
        last = p[..last].partition_point(|x| x.0 < end);
    }
    if p[last].0 <= start || p[first].0 > end {
        return None;
    }
    let mut left = p[first].1;
    if smoothed && p[first].0 < start && first + 1 < p.len() {
        left = between(p[first], p[first + 1], start, counter);
    }
    let mut right = p[last].1;
    if smoothed && last > 0 && p[last].0 > end {
        right = between(p[last - 1], p[last], end, counter);
    }
    // Summed apart and added once: beside a large difference the order shows.
    let mut resets = 0.0;
    if counter {
        let mut previous = left;
        for &(t, v) in p {
            if t > start && t < end {
                if v < previous {
                    resets += previous;
                }
                previous = v;
            }
        }
        if right < previous {
            resets += previous;
        }
    }
    Some(right - left + resets)
}
