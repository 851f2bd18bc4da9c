//! One self-contained page: no request leaves it, it follows the reader's
//! light or dark setting, and on a phone a row of its table is a card.

use serde_json::{Value, json};

use super::scatter::{Dot, cost_against_service, escape};
use super::series::{self, Line};
use super::text::{HEADS, cells, grouped, percent, title};
use super::{Report, span};
use crate::sim::Point;
use crate::study::Row;

const STYLE: &str = include_str!("page/report.css");
const SCRIPT: &str = include_str!("page/report.js");
/// The chart library, MIT licence (`uPlot.LICENSE`), from npm's `uplot` 1.6.32.
const UPLOT: &str = include_str!("page/uPlot.min.js");
const UPLOT_STYLE: &str = include_str!("page/uPlot.min.css");
/// Nothing is asked of the network, whatever a name in a manifest contains.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
/// A load that begins before this counts seconds of its own; 2001 is the first
/// year whose seconds since the epoch have ten digits.
const FIRST_DATE: f64 = 1e9;
/// Colours of the policies; grey is the load's.
const COLOURS: [&str; 5] = ["c0", "c1", "c2", "c3", "c4"];

impl Report {
    /// The report as a page.
    pub fn to_html(&self) -> String {
        let end = self.load.end as f64 / 1000.0;
        let mut charts: Vec<Value> = Vec::new();
        let mut show = |body: &mut String, chart: Value| {
            let title = escape(chart["title"].as_str().unwrap_or_default());
            let at = charts.len();
            *body += &format!("<h3>{title}</h3><div class=\"chart\" id=\"chart{at}\"></div>");
            charts.push(chart);
        };
        let mut body = String::new();
        body += "<h1>What the policy would have done</h1>";
        for warning in &self.warnings {
            body += &format!("<p class=\"warn\">Partial: {}</p>", escape(warning));
        }
        body += &format!(
            "<p class=\"dim\">{}: {}, {} GPU-hours of work, at most {} GPUs</p>",
            escape(&self.source),
            span(end),
            grouped(self.load.gpu_hours(), 1),
            grouped(self.load.highest(), 2)
        );
        if let Some(f) = &self.fidelity {
            body += &format!(
                "<h2>Fidelity</h2><p>Mean error {:.2} replicas ({}), the same {} of the time, at \
                 most {} apart.</p>",
                f.mean_error,
                percent(f.relative_error),
                percent(f.same_fraction),
                f.most
            );
            let line = |name: &str, colour, pick: &dyn Fn(&(i64, u32, u32)) -> u32| Line {
                name: name.to_owned(),
                colour,
                points: f
                    .rows
                    .iter()
                    .map(|r| (r.0 as f64 / 1000.0, f64::from(pick(r))))
                    .collect(),
                steps: true,
                faint: false,
            };
            let lines = [
                line("observed replicas", "c5", &|r| r.1),
                line("replayed replicas", "c0", &|r| r.2),
            ];
            show(
                &mut body,
                series::chart("Observed and replayed replicas", &lines, end, None),
            );
        }
        if let Some(note) = self.saturation() {
            body += &format!("<p class=\"warn\">{}</p>", escape(&note));
        }
        body += "<h2>Cost and service</h2>";
        body += &self.table();
        body += &self.dots();
        body += "<h2>Replicas and demand</h2><p class=\"dim\">In GPUs. Where demand is above what \
                 the ready replicas can do, what lies between is red. Drag to zoom, double-click \
                 to see everything.</p><noscript><p>These charts need JavaScript.</p></noscript>";
        for (at, row) in self.rows.iter().enumerate() {
            if !row.outcome.timeline.is_empty() {
                show(&mut body, self.course(at, row));
            }
        }
        body += "<h2>Model</h2><dl>";
        for (what, text) in self.model_lines() {
            body += &format!("<dt>{what}</dt><dd>{}</dd>", escape(&text));
        }
        body += "</dl><p class=\"dim\">Ideal: the fewest GPU-hours with as much unmet, had the \
                 load been known beforehand. Unmet: work that could not be served.</p>";
        // In a script element `</` ends the data early, and `<!--` hides its end.
        let origin = self.load.origin as f64 / 1000.0;
        let data = json!({"charts": charts, "origin": (origin >= FIRST_DATE).then_some(origin)});
        let data = data.to_string().replace('<', "\\u003c");
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
             <title>rheostat replay</title>\n<style>{UPLOT_STYLE}\n{STYLE}</style>\n</head>\n\
             <body>\n{body}\n<script type=\"application/json\" id=\"data\">{data}</script>\n\
             <script>{UPLOT}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
        )
    }

    fn table(&self) -> String {
        let shown = if self.model.pools.is_empty() {
            7
        } else {
            HEADS.len()
        };
        let mut out = String::from("<table class=\"rows\"><thead><tr>");
        for head in &HEADS[..shown] {
            out += &format!("<th>{head}</th>");
        }
        out += "</tr></thead><tbody>";
        let mut line = |cells: Vec<String>, class: &str| {
            out += &format!("<tr class=\"{class}\">");
            for (head, cell) in HEADS.iter().zip(&cells).take(shown) {
                out += &format!("<td data-head=\"{head}\">{}</td>", escape(cell));
            }
            out += "</tr>";
        };
        for (at, row) in self.rows.iter().enumerate() {
            let name = self.named(at);
            let class = if row.efficient == Some(true) {
                "good"
            } else {
                ""
            };
            line(cells(name, &row.outcome, row.oracle_gpu_hours), class);
            if let Some(more) = &row.if_more {
                line(
                    cells("if demand was 1.5 x there".to_owned(), more, None),
                    "dim",
                );
            }
        }
        out += "</tbody></table>";
        if self.sweep.is_some() {
            out += "<p class=\"dim\">\u{25cf} efficient: no other value is better in both \
                    GPU-hours and unmet demand.</p>";
        }
        out
    }

    /// A short name for a chart: the swept value, or the letter that the table
    /// shows as well.
    fn mark(&self, at: usize) -> String {
        match self.rows[at].swept {
            Some(value) => format!("{value}"),
            None => char::from(b'A' + u8::try_from(at % 26).unwrap_or(0)).to_string(),
        }
    }

    /// A line's name with its letter.
    fn named(&self, at: usize) -> String {
        let row = &self.rows[at];
        let name = title(row, self).trim_end_matches(" *").to_owned();
        match row.swept.is_none() && self.rows.len() > 1 {
            true => format!("{} {name}", self.mark(at)),
            false => name,
        }
    }

    fn dots(&self) -> String {
        if self.rows.len() < 2 {
            return String::new();
        }
        let few = self.rows.len() <= 24;
        let dots: Vec<Dot> = self
            .rows
            .iter()
            .enumerate()
            .map(|(at, row)| Dot {
                name: self.mark(at),
                x: row.outcome.gpu_hours,
                y: row.outcome.unmet_fraction * 100.0,
                class: match row.efficient {
                    Some(true) => "f2".to_owned(),
                    Some(false) => "f5".to_owned(),
                    None => format!("f{}", at.min(4)),
                },
                label: few || row.efficient == Some(true) && self.rows.len() <= 60,
            })
            .collect();
        format!(
            "<p class=\"dim\">GPU-hours to the right, unmet demand upwards: lower left is better.\
             </p>{}",
            cost_against_service("GPU-hours against unmet demand", &dots)
        )
    }

    /// One policy's course under the demand.
    fn course(&self, at: usize, row: &Row) -> Value {
        let time = |t: i64| t as f64 / 1000.0;
        let load = &self.load;
        let colour = COLOURS[at % COLOURS.len()];
        let gpus = |name: &str, faint, pick: &dyn Fn(&Point) -> f64| Line {
            name: name.to_owned(),
            colour,
            points: (row.outcome.timeline.iter())
                .map(|p| (time(p.t), pick(p)))
                .collect(),
            steps: true,
            faint,
        };
        let size = f64::from(row.gpus);
        let mut lines = vec![
            Line {
                name: "demand".to_owned(),
                colour: "c5",
                points: (load.times.iter().zip(&load.gpus))
                    .map(|(t, g)| (time(*t), *g))
                    .collect(),
                steps: !load.linear,
                faint: false,
            },
            gpus("ready replicas", true, &|p| f64::from(p.ready) * size),
            gpus("replicas", false, &|p| f64::from(p.replicas) * size),
        ];
        if !self.model.pools.is_empty() {
            lines.push(Line {
                colour: "c5",
                ..gpus("nodes", true, &|p| p.node_gpus)
            });
        }
        series::chart(&self.named(at), &lines, time(load.end), Some((0, 1)))
    }
}
