//! Cost against service as inline SVG: a point for each policy.

use std::fmt::Write as _;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 34.0;

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
    }
    let mut taken: Vec<Label> = Vec::new();
    for dot in dots.iter().filter(|d| d.label) {
        let free = Label::around(&frame, dot)
            .into_iter()
            .find(|l| l.clear_of(&frame, &taken, dots));
        // A name that finds no room is told by the point's title.
        let Some(label) = free else { continue };
        let _ = write!(
            out,
            "<text class=\"name\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            label.x,
            label.y,
            escape(&dot.name)
        );
        taken.push(label);
    }
    out.push_str("</svg>");
    out
}

/// Where a name may stand: its left end and base line.
struct Label {
    x: f64,
    y: f64,
    width: f64,
}

impl Label {
    const HEIGHT: f64 = 12.0;

    /// Right above, left above, right below, left below, and straight above.
    fn around(frame: &Frame, dot: &Dot) -> [Self; 5] {
        let (x, y) = (frame.x(dot.x), frame.y(dot.y));
        let width = 7.0 * dot.name.chars().count() as f64;
        let at = |dx: f64, dy: f64| Self {
            x: x + dx,
            y: y + dy,
            width,
        };
        [
            at(8.0, -6.0),
            at(-8.0 - width, -6.0),
            at(8.0, 15.0),
            at(-8.0 - width, 15.0),
            at(-width / 2.0, -11.0),
        ]
    }

    fn clear_of(&self, frame: &Frame, taken: &[Self], dots: &[Dot]) -> bool {
        let inside = self.x >= LEFT
            && self.x + self.width <= WIDTH
            && self.y <= frame.height - BOTTOM + Self::HEIGHT;
        let names = taken.iter().all(|t| {
            self.x > t.x + t.width + 3.0
                || t.x > self.x + self.width + 3.0
                || (self.y - t.y).abs() > Self::HEIGHT
        });
        let points = dots.iter().all(|d| {
            let (x, y) = (frame.x(d.x), frame.y(d.y));
            x + 5.0 < self.x
                || x - 5.0 > self.x + self.width
                || y + 5.0 < self.y - Self::HEIGHT
                || y - 5.0 > self.y
        });
        inside && names && points
    }
}
