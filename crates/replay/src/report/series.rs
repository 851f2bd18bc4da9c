//! The numbers of a chart over time, as the page's script takes them: one list
//! of moments and, for each line, its value at each of them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// One line of a chart.
pub(super) struct Line {
    pub name: String,
    /// Name of its colour, `c0` to `c5`.
    pub colour: &'static str,
    /// Seconds and values, sorted by time.
    pub points: Vec<(f64, f64)>,
    /// Steps instead of slopes.
    pub steps: bool,
    /// Drawn faintly, under the others.
    pub faint: bool,
}

/// A line with more points than twice this keeps the extremes of each of so many
/// spans: zooming in still shows each minute of a day, each quarter of an hour
/// of two weeks.
const SPANS: usize = 1500;

/// A chart for the script. `gap` names two lines: where the first is above the
/// second, what lies between is shaded.
pub(super) fn chart(title: &str, lines: &[Line], end: f64, gap: Option<(usize, usize)>) -> Value {
    let thinned: Vec<Vec<(f64, f64)>> = lines.iter().map(|l| thin(&l.points, end)).collect();
    let moments: BTreeSet<i64> = thinned
        .iter()
        .flatten()
        .map(|p| p.0)
        .chain([end])
        .map(|s| (s * 1000.0) as i64)
        .collect();
    let times: Vec<f64> = moments.iter().map(|ms| *ms as f64 / 1000.0).collect();
    let lines: Vec<Value> = lines
        .iter()
        .zip(&thinned)
        .map(|(line, points)| {
            json!({
                "name": line.name,
                "colour": line.colour,
                "steps": line.steps,
                "faint": line.faint,
                "values": at_each(&times, points, line.steps),
            })
        })
        .collect();
    json!({"title": title, "times": times, "lines": lines, "gap": gap})
}

/// The value at each moment: the last one, or on the way to the next.
fn at_each(times: &[f64], points: &[(f64, f64)], steps: bool) -> Vec<Option<f64>> {
    let mut next = 0;
    times
        .iter()
        .map(|t| {
            while points.get(next).is_some_and(|p| p.0 <= t + 5e-4) {
                next += 1;
            }
            let before = points.get(next.checked_sub(1)?)?;
            let value = match points.get(next) {
                Some(after) if !steps => {
                    before.1 + (after.1 - before.1) * (t - before.0) / (after.0 - before.0)
                }
                _ => before.1,
            };
            Some((value * 1000.0).round() / 1000.0)
        })
        .collect()
}

/// At most two points for each span: its lowest and its highest value.
fn thin(points: &[(f64, f64)], end: f64) -> Vec<(f64, f64)> {
    if points.len() <= 2 * SPANS {
        return points.to_vec();
    }
    let span = |x: f64| (x / end * SPANS as f64) as usize;
    let mut out: Vec<(f64, f64)> = Vec::new();
    for group in points.chunk_by(|a, b| span(a.0) == span(b.0)) {
        let low = group.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1));
        let high = group.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
        let (Some(low), Some(high)) = (low, high) else {
            continue;
        };
        let (first, second) = if low.0 <= high.0 {
            (low, high)
        } else {
            (high, low)
        };
        out.push(first);
        if second != first {
            out.push(second);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(points: &[(f64, f64)], steps: bool) -> Line {
        Line {
            name: String::new(),
            colour: "c0",
            points: points.to_vec(),
            steps,
            faint: false,
        }
    }

    #[test]
    fn lines_of_different_moments_are_joined_in_one_list() {
        let lines = [
            line(&[(0.0, 1.0), (20.0, 3.0)], false),
            line(&[(5.0, 2.0), (10.0, 4.0)], true),
        ];
        let chart = chart("", &lines, 30.0, None);
        assert_eq!(chart["times"], json!([0.0, 5.0, 10.0, 20.0, 30.0]));
        assert_eq!(
            chart["lines"][0]["values"],
            json!([1.0, 1.5, 2.0, 3.0, 3.0])
        );
        assert_eq!(
            chart["lines"][1]["values"],
            json!([null, 2.0, 4.0, 4.0, 4.0])
        );
    }

    #[test]
    fn a_long_line_keeps_its_extremes() {
        let points: Vec<(f64, f64)> = (0..100_000)
            .map(|n| (f64::from(n), if n == 77_777 { 9.0 } else { 1.0 }))
            .collect();
        let thinned = thin(&points, 100_000.0);
        assert!(thinned.len() <= 2 * SPANS);
        assert!(thinned.contains(&(77_777.0, 9.0)));
    }
}
