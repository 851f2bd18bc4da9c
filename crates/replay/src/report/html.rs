//! One self-contained page: no request leaves it, it follows the reader's
//! light or dark setting, and its tables scroll sideways on a phone.

use super::chart::{Dot, Line, cost_against_service, escape, over_time};
use super::text::{HEADS, cells, grouped, percent, title};
use super::{Report, span};

const STYLE: &str = "
:root{color-scheme:light dark;--bg:#fff;--fg:#1a1d21;--dim:#5c6670;--grid:#e3e7eb;--card:#f6f8fa;--warn:#9a3412;
--c0:#1f6feb;--c1:#d1570f;--c2:#1a7f37;--c3:#8250df;--c4:#bf3989;--c5:#5c6670}
@media (prefers-color-scheme:dark){:root{--bg:#0d1117;--fg:#e6edf3;--dim:#9aa5b1;--grid:#2a313a;
--card:#161b22;--warn:#fdba74;--c0:#58a6ff;--c1:#ffa657;--c2:#56d364;--c3:#bc8cff;--c4:#ff7bba;
--c5:#9aa5b1}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:1000px;background:var(--bg);color:var(--fg);
font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1.1rem;margin:1.6rem 0 .4rem}
p{margin:.4rem 0;overflow-wrap:anywhere}.dim{color:var(--dim)}.warn{color:var(--warn);font-weight:600}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .6rem;text-align:right;border-bottom:1px solid var(--grid);white-space:nowrap}
th:first-child,td:first-child{text-align:left}th{color:var(--dim);font-weight:600}
tr.good td:first-child::after{content:' \u{25cf}';color:var(--c2)}
svg{width:100%;height:auto;display:block;background:var(--card);border-radius:8px}
.grid{stroke:var(--grid);stroke-width:1}.tick{fill:var(--dim);font:12px system-ui,sans-serif}
.name{fill:var(--fg);font:12px system-ui,sans-serif}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round}.dot{stroke:var(--bg);stroke-width:1.5}
.c0{stroke:var(--c0)}.c1{stroke:var(--c1)}.c2{stroke:var(--c2)}.c3{stroke:var(--c3)}
.c4{stroke:var(--c4)}.c5{stroke:var(--c5)}.f0{fill:var(--c0)}.f1{fill:var(--c1)}.f2{fill:var(--c2)}.f3{fill:var(--c3)}.f4{fill:var(--c4)}
.f5{fill:var(--c5)}
.key{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;font-size:.9rem;margin:.3rem 0}
.key i{display:inline-block;width:1.2em;height:.25em;margin-right:.4em;vertical-align:middle}
@media (max-width:600px){.tick,.name{font-size:24px}.line{stroke-width:3}.dot{r:9}}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem .8rem;margin:.4rem 0}
dt{color:var(--dim)}dd{margin:0}
";

impl Report {
    /// The report as a page.
    pub fn to_html(&self) -> String {
        let mut body = String::new();
        body += "<h1>What the policy would have done</h1>";
        for warning in &self.warnings {
            body += &format!("<p class=\"warn\">Partial: {}</p>", escape(warning));
        }
        body += &format!(
            "<p class=\"dim\">{}: {}, {} GPU-hours of work, at most {} GPUs</p>",
            escape(&self.source),
            span(self.load.end as f64 / 1000.0),
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
            let line = |name: &str, class: &str, pick: &dyn Fn(&(i64, u32, u32)) -> u32| Line {
                name: name.to_owned(),
                class: class.to_owned(),
                points: f
                    .rows
                    .iter()
                    .map(|r| (r.0 as f64 / 1000.0, f64::from(pick(r))))
                    .collect(),
                steps: true,
            };
            let lines = [
                line("observed replicas", "c5", &|r| r.1),
                line("replayed replicas", "c0", &|r| r.2),
            ];
            body += &self.chart("Observed and replayed replicas", &lines);
        }
        if let Some(note) = self.saturation() {
            body += &format!("<p class=\"warn\">{}</p>", escape(&note));
        }
        body += "<h2>Cost and service</h2>";
        body += &self.table();
        body += &self.dots();
        body += "<h2>Replicas and demand</h2>";
        body += &self.chart("GPUs over time", &self.lines());
        body += "<h2>Model</h2><dl>";
        for (what, text) in self.model_lines() {
            body += &format!("<dt>{what}</dt><dd>{}</dd>", escape(&text));
        }
        body += "</dl><p class=\"dim\">Ideal: the fewest GPU-hours with as much unmet, had the \
                 load been known beforehand. Unmet: work that could not be served.</p>";
        format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <title>rheostat replay</title><style>{STYLE}</style></head><body>{body}</body></html>\n"
        )
    }

    fn table(&self) -> String {
        let shown = if self.model.pools.is_empty() {
            7
        } else {
            HEADS.len()
        };
        let mut out = String::from("<div class=\"scroll\"><table><thead><tr>");
        for head in &HEADS[..shown] {
            out += &format!("<th>{head}</th>");
        }
        out += "</tr></thead><tbody>";
        let mut line = |cells: Vec<String>, class: &str| {
            out += &format!("<tr class=\"{class}\">");
            for cell in cells.iter().take(shown) {
                out += &format!("<td>{}</td>", escape(cell));
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
            line(cells(name, &row.outcome, Some(row.oracle_gpu_hours)), class);
            if let Some(more) = &row.if_more {
                line(
                    cells("if demand was 1.5 x there".to_owned(), more, None),
                    "dim",
                );
            }
        }
        out += "</tbody></table></div>";
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

    /// Demand, and the GPUs of the policies whose course was kept.
    fn lines(&self) -> Vec<Line> {
        let time = |t: i64| t as f64 / 1000.0;
        let load = &self.load;
        let demand = load.times.iter().zip(&load.gpus);
        let mut lines = vec![Line {
            name: "demand, GPUs of work".to_owned(),
            class: "c5".to_owned(),
            points: demand.map(|(t, g)| (time(*t), *g)).collect(),
            steps: !load.linear,
        }];
        for (at, row) in self.rows.iter().enumerate().take(5) {
            if row.outcome.timeline.is_empty() {
                continue;
            }
            lines.push(Line {
                name: format!("GPUs of {}", self.named(at)),
                class: format!("c{at}"),
                points: row
                    .outcome
                    .timeline
                    .iter()
                    .map(|p| (time(p.t), f64::from(p.replicas * row.gpus)))
                    .collect(),
                steps: true,
            });
        }
        lines
    }

    fn chart(&self, name: &str, lines: &[Line]) -> String {
        let mut out = String::from("<div class=\"key\">");
        for line in lines {
            out += &format!(
                "<span><i style=\"background:var(--{})\"></i>{}</span>",
                line.class,
                escape(&line.name)
            );
        }
        out += "</div>";
        out + &over_time(name, lines, self.load.end as f64 / 1000.0, "")
    }
}
