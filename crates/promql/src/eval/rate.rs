//! Rates and differences over a range, extrapolated to its edges.

use super::matrix::Window;
use super::{Evaluator, RangeSeries};
use crate::labels::quote;
use crate::parser::ast::Expr;

/// What a member of the rate family computes.
#[derive(Clone, Copy)]
pub(super) struct RateKind {
    pub(super) counter: bool,
    pub(super) per_second: bool,
}

impl RateKind {
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "rate" => Self {
                counter: true,
                per_second: true,
            },
            "increase" => Self {
                counter: true,
                per_second: false,
            },
            "delta" => Self {
                counter: false,
                per_second: false,
            },
            _ => return None,
        })
    }
}

/// Whether the sample after `prev` begins a new count, told by its start timestamp.
pub(super) fn start_resets(prev_start: i64, prev_t: i64, start: i64, t: i64) -> bool {
    if start == 0 || start >= t {
        return false;
    }
    if start > prev_t {
        return true;
    }
    // Deltas begin where the sample before ended; a first sample without a known start is the
    // unknown beginning of a cumulative count instead.
    start == prev_t && prev_start != 0 && prev_start < prev_t
}

impl Evaluator<'_> {
    pub(super) fn rate(
        &mut self,
        kind: RateKind,
        s: RangeSeries<'_>,
        w: Window,
        at: &Expr,
    ) -> Option<f64> {
        let points = s.points;
        let start_of = |i: usize| s.starts.map_or(0, |x| x[i]);
        let first_start = if kind.counter { start_of(0) } else { 0 };
        let (first_t, first) = points[0];
        let (last_t, last) = points[points.len() - 1];
        // A count that began inside the window was zero there, so nothing is extrapolated.
        let begins_inside = first_start != 0 && first_start > w.start && first_start < first_t;
        if points.len() < 2 && !begins_inside {
            return None;
        }
        let mut result = last - first;
        let mut overlap = false;
        if kind.counter {
            for i in 1..points.len() {
                let (prev_t, prev) = points[i - 1];
                let (t, v) = points[i];
                let (ps, st) = (start_of(i - 1), start_of(i));
                overlap |= st != 0 && st < prev_t && st != ps;
                if v < prev || start_resets(ps, prev_t, st, t) {
                    result += prev;
                }
            }
        }
        if overlap {
            let text = format!(
                "sample has start time that overlaps with previous sample timestamp for metric {}",
                quote(s.labels.name())
            );
            self.warn(at, text);
        }
        let mut from = first_t;
        let intervals = (points.len() - 1) as f64;
        if begins_inside {
            result += first;
            from = first_start;
        }
        let sampled = (last_t - from) as f64 / 1e3;
        let average = (last_t - first_t) as f64 / 1e3 / intervals;
        let threshold = average * 1.1;
        let mut to_start = (from - w.start) as f64 / 1e3;
        let mut to_end = (w.end - last_t) as f64 / 1e3;
        if begins_inside {
            to_start = 0.0;
        } else if to_start >= threshold {
            to_start = average / 2.0;
        }
        if kind.counter && !begins_inside && result > 0.0 && first >= 0.0 {
            // A counter cannot have been negative, so it is not followed back below zero.
            to_start = to_start.min(sampled * (first / result));
        }
        if intervals == 0.0 {
            to_end = 0.0;
        } else if to_end >= threshold {
            to_end = average / 2.0;
        }
        let mut factor = (sampled + to_start + to_end) / sampled;
        if kind.per_second {
            factor /= w.seconds();
        }
        Some(result * factor)
    }

    /// `irate` and `idelta`: the last two samples only.
    pub(super) fn instant_rate(&mut self, is_rate: bool, s: RangeSeries<'_>) -> Option<f64> {
        let n = s.points.len();
        let (t1, v1) = *s.points.get(n.checked_sub(2)?)?;
        let (t2, v2) = s.points[n - 1];
        if !is_rate {
            return Some(v2 - v1);
        }
        let start_of = |i: usize| s.starts.map_or(0, |x| x[i]);
        let reset = v2 < v1 || start_resets(start_of(n - 2), t1, start_of(n - 1), t2);
        let rise = if reset { v2 } else { v2 - v1 };
        (t2 > t1).then(|| rise / ((t2 - t1) as f64 / 1e3))
    }
}
