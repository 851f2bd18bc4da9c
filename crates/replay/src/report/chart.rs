//! Charts as inline SVG: step lines over time, and points of cost against
//! service.

use std::fmt::Write as _;

/// One line of a chart.
pub(super) struct Line {
    pub name: String,
    /// Name of its colour class, `c0` to `c5`.
    pub class: String,
    /// Points, sorted by x.
    pub points: Vec<(f64, f64)>,
    /// Steps instead of slopes.
    pub steps: bool,
}

const WIDTH: f64 = 900.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 34.0;
/// More points than this are thinned to the extremes of each pixel column.
const COLUMNS: usize = 800;

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Round numbers that cover 0 to `most`.
fn ticks(most: f64) -> Vec<f64> {
    let most = if most > 0.0 { most } else { 1.0 };
    let rough = most / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .iter()
        .map(|m| m * power)
        .find(|s| *s >= rough)
        .unwrap_or(power);
    let count = (most / step).ceil() as usize;
    (0..=count).map(|n| n as f64 * step).collect()
}

struct Frame {
    x_most: f64,
    y_most: f64,
    height: f64,
}

impl Frame {
    fn x(&self, x: f64) -> f64 {
        LEFT + x / self.x_most * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, y: f64) -> f64 {
        let inner = self.height - TOP - BOTTOM;
        TOP + inner - y / self.y_most * inner
    }

    fn open(&self, title: &str) -> String {
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{}\">",
            self.height,
            escape(title)
        )
    }

    fn grid(&self, out: &mut String, xs: &[(f64, String)], ys: &[f64], y_unit: &str) {
        for y in ys {
            let at = self.y(*y);
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}{y_unit}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0,
                trim(*y)
            );
        }
        let base = self.height - BOTTOM;
        for (x, label) in xs {
            let at = self.x(*x);
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{base}\"/>\
                 <text class=\"tick\" x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                base + 18.0,
                escape(label)
            );
        }
    }
}

fn trim(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Lines over time; x is seconds.
pub(super) fn over_time(title: &str, lines: &[Line], seconds: f64, unit: &str) -> String {
    let most = lines
        .iter()
        .flat_map(|l| l.points.iter().map(|p| p.1))
        .fold(0.0, f64::max);
    let ys = ticks(most);
    let frame = Frame {
        x_most: seconds.max(1.0),
        y_most: ys.last().copied().unwrap_or(1.0),
        height: 280.0,
    };
    let (unit_seconds, name) = match seconds {
        s if s > 3.0 * 86_400.0 => (86_400.0, "d"),
        s if s > 3.0 * 3600.0 => (3600.0, "h"),
        _ => (60.0, "min"),
    };
    let xs: Vec<(f64, String)> = ticks(seconds / unit_seconds)
        .into_iter()
        .filter(|t| t * unit_seconds <= seconds * 1.0001)
        .map(|t| (t * unit_seconds, format!("{} {name}", trim(t))))
        .collect();
    let mut out = frame.open(title);
    frame.grid(&mut out, &xs, &ys, unit);
    for line in lines {
        let _ = write!(
            out,
            "<path class=\"line {}\" d=\"{}\"><title>{}</title></path>",
            line.class,
            path(&frame, line, seconds),
            escape(&line.name)
        );
    }
    out.push_str("</svg>");
    out
}

fn path(frame: &Frame, line: &Line, end: f64) -> String {
    let points = thin(&line.points, end);
    let mut out = String::new();
    let mut last = None;
    for (x, y) in &points {
        let (px, py) = (frame.x(*x), frame.y(*y));
        match last {
            None => {
                let _ = write!(out, "M{px:.1} {py:.1}");
            }
            Some(before) if line.steps => {
                let _ = write!(out, "H{px:.1}");
                if before != py {
                    let _ = write!(out, "V{py:.1}");
                }
            }
            Some(_) => {
                let _ = write!(out, "L{px:.1} {py:.1}");
            }
        }
        last = Some(py);
    }
    if line.steps {
        let _ = write!(out, "H{:.1}", frame.x(end));
    }
    out
}

/// At most two points for each pixel column: its lowest and highest value.
fn thin(points: &[(f64, f64)], end: f64) -> Vec<(f64, f64)> {
    if points.len() <= 2 * COLUMNS {
        return points.to_vec();
    }
    let column = |x: f64| (x / end * COLUMNS as f64) as usize;
    let mut out: Vec<(f64, f64)> = Vec::new();
    for group in points.chunk_by(|a, b| column(a.0) == column(b.0)) {
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

/// A point of a cost-against-service chart.
pub(super) struct Dot {
    pub name: String,
    pub x: f64,
    pub y: f64,
    pub class: String,
    pub label: bool,
}

/// Cost (x) against unmet demand in percent (y).
pub(super) fn cost_against_service(title: &str, dots: &[Dot]) -> String {
    let xs = ticks(dots.iter().map(|d| d.x).fold(0.0, f64::max));
    let ys = ticks(dots.iter().map(|d| d.y).fold(0.0, f64::max));
    let frame = Frame {
        x_most: xs.last().copied().unwrap_or(1.0),
        y_most: ys.last().copied().unwrap_or(1.0),
        height: 360.0,
    };
    let labels: Vec<(f64, String)> = xs.iter().map(|x| (*x, trim(*x))).collect();
    let mut out = frame.open(title);
    frame.grid(&mut out, &labels, &ys, " %");
    for dot in dots {
        let (x, y) = (frame.x(dot.x), frame.y(dot.y));
        let name = escape(&dot.name);
        let _ = write!(
            out,
            "<circle class=\"dot {}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"><title>{name}: {:.1} \
             GPU-hours, {:.3} % unmet</title></circle>",
            dot.class, dot.x, dot.y
        );
        if dot.label {
            // Near the right edge the label goes to the left of its dot.
            let (dx, anchor) = if x > WIDTH * 0.7 {
                (-9.0, "end")
            } else {
                (9.0, "start")
            };
            let _ = write!(
                out,
                "<text class=\"name\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{name}</text>",
                x + dx,
                y - 7.0
            );
        }
    }
    out.push_str("</svg>");
    out
}
