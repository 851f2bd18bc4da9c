//! The report for a terminal.

use super::{Report, span};
use crate::sim::Outcome;
use crate::study::Row;

/// A number with thousands apart.
pub(super) fn grouped(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (whole, rest) = match text.find('.') {
        Some(at) => text.split_at(at),
        None => (text.as_str(), ""),
    };
    let mut out = String::new();
    for (at, c) in whole.chars().enumerate() {
        let left = whole.len() - at;
        if at > 0 && left % 3 == 0 && whole.as_bytes()[at - 1].is_ascii_digit() {
            out.push(',');
        }
        out.push(c);
    }
    out + rest
}

/// A share as percent, with digits where it is small.
pub(super) fn percent(share: f64) -> String {
    let value = share * 100.0;
    match value {
        0.0 => "0 %".to_owned(),
        v if v < 0.005 => "<0.01 %".to_owned(),
        v if v < 1.0 => format!("{v:.2} %"),
        v => format!("{v:.1} %"),
    }
}

pub(super) const HEADS: [&str; 9] = [
    "policy",
    "GPU-hours",
    "unmet",
    "overloaded",
    "changes",
    "ideal",
    "above it",
    "node GPU-h",
    "cost $",
];

/// The cells of one line, in the order of [`HEADS`].
pub(super) fn cells(name: String, o: &Outcome, ideal: Option<f64>) -> Vec<String> {
    let above = ideal.filter(|i| *i > 0.0).map(|i| o.gpu_hours / i - 1.0);
    let or_dash = |v: Option<String>| v.unwrap_or_else(|| "-".to_owned());
    vec![
        name,
        grouped(o.gpu_hours, 1),
        percent(o.unmet_fraction),
        percent(o.overloaded_fraction),
        grouped(o.scale_events as f64, 0),
        or_dash(ideal.map(|i| grouped(i, 1))),
        or_dash(above.map(|a| format!("{:+.0} %", a * 100.0))),
        or_dash(o.node_gpu_hours.map(|h| grouped(h, 1))),
        or_dash(o.cost.map(|c| grouped(c, 0))),
    ]
}

/// A line's name, with what sets it apart.
pub(super) fn title(row: &Row, report: &Report) -> String {
    let mut actuations: Vec<&str> = report.rows.iter().map(|r| r.actuation).collect();
    actuations.dedup();
    let acts = match actuations.len() > 1 || row.actuation == "direct" {
        true => format!(" ({})", row.actuation),
        false => String::new(),
    };
    let mark = if row.efficient == Some(true) {
        " *"
    } else {
        ""
    };
    format!("{}{acts}{mark}", row.name)
}

impl Report {
    /// The report as text.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for warning in &self.warnings {
            out += &format!("PARTIAL: {warning}\n");
        }
        if let Some(f) = &self.fidelity {
            out += &format!(
                "fidelity   {} against what was observed: mean error {:.2} replicas ({}), the \
                 same {} of the time, at most {} apart\n",
                self.rows.first().map_or("", |r| r.name.as_str()),
                f.mean_error,
                percent(f.relative_error),
                percent(f.same_fraction),
                f.most
            );
            out += &lines(&f.rows);
        }
        out += &format!(
            "load       {}: {}, {} GPU-hours of work, at most {} GPUs\n",
            self.source,
            span(self.load.end as f64 / 1000.0),
            grouped(self.load.gpu_hours(), 1),
            grouped(self.load.highest(), 2),
        );
        if let Some(note) = self.saturation() {
            out += &format!("at least   {note}\n");
        }
        for (what, text) in self.model_lines() {
            out += &format!("{what:<10} {text}\n");
        }
        out.push('\n');
        let mut table: Vec<Vec<String>> = vec![HEADS.map(str::to_owned).to_vec()];
        for row in &self.rows {
            table.push(cells(title(row, self), &row.outcome, row.oracle_gpu_hours));
            if let Some(more) = &row.if_more {
                table.push(cells("  if demand was 1.5 x there".to_owned(), more, None));
            }
        }
        if self.model.pools.is_empty() {
            for line in &mut table {
                line.truncate(7);
            }
        }
        let width = |column: usize| table.iter().map(|l| l[column].chars().count()).max();
        let widths: Vec<usize> = (0..table[0].len()).map(|c| width(c).unwrap_or(0)).collect();
        for line in &table {
            let mut text = format!("{:<1$}", line[0], widths[0]);
            for (cell, width) in line.iter().zip(&widths).skip(1) {
                text += &format!("  {cell:>width$}");
            }
            out += text.trim_end();
            out.push('\n');
        }
        if let Some(field) = &self.sweep {
            out += &format!("* no other {field} is better in both GPU-hours and unmet demand\n");
        }
        for row in &self.rows {
            if let Some(wait) = row.outcome.mean_wait_seconds {
                out += &format!("{}: work waited {wait:.1} s on average\n", row.name);
            }
        }
        out
    }
}

/// Observed and replayed replicas as two rows of blocks.
fn lines(rows: &[(i64, u32, u32)]) -> String {
    const WIDE: usize = 72;
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = rows.iter().map(|r| r.1.max(r.2)).max().unwrap_or(0).max(1);
    let draw = |pick: &dyn Fn(&(i64, u32, u32)) -> u32| -> String {
        (0..WIDE.min(rows.len()))
            .map(|column| {
                let row = &rows[column * rows.len() / WIDE.min(rows.len())];
                match pick(row) {
                    0 => ' ',
                    n => BLOCKS[(n as usize * 8).div_ceil(most as usize).clamp(1, 8) - 1],
                }
            })
            .collect()
    };
    format!(
        "  observed {}\n  replayed {}  (full height: {most} replicas)\n",
        draw(&|r| r.1),
        draw(&|r| r.2)
    )
}
