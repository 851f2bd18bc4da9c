//! The live panel: fixed rows at the bottom of the terminal, lines scrolling
//! away above them.

use std::io::{self, Stdout};

use lab::view::{PoolView, Snapshot, WorkloadView};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Row, Table, Widget as _, Wrap};
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};

/// Workloads shown at most; the rest is counted.
const WORKLOADS: usize = 4;
/// Widest bar of GPU utilization.
const BAR: usize = 20;

/// The panel.
pub struct Panel {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Panel {
    /// Takes the bottom rows of the terminal; `None` where it is too small.
    pub fn open(pools: usize) -> Option<Self> {
        let height = u16::try_from(pools + 2 * WORKLOADS.min(2) + 6).ok()?;
        let (width, rows) = crossterm::terminal::size().ok()?;
        if rows < height + 6 || width < 72 {
            return None;
        }
        let options = TerminalOptions {
            viewport: Viewport::Inline(height),
        };
        let backend = CrosstermBackend::new(io::stdout());
        Some(Self {
            terminal: Terminal::with_options(backend, options).ok()?,
        })
    }

    /// Writes a line above the panel.
    pub fn above(&mut self, text: &str, warning: bool) -> io::Result<()> {
        let style = if warning {
            Style::new().fg(Color::Yellow)
        } else {
            Style::new()
        };
        self.insert(text, style)
    }

    /// Writes a step of the story above the panel.
    pub fn step(&mut self, text: &str) -> io::Result<()> {
        self.insert(
            text,
            Style::new().fg(Color::Cyan).add_modifier(Modifier::BOLD),
        )
    }

    fn insert(&mut self, text: &str, style: Style) -> io::Result<()> {
        let width = usize::from(self.terminal.size()?.width).max(1);
        // Words wrap, so a row may end early; one spare row for long texts.
        let rows = text.chars().count().div_ceil(width).max(1);
        let rows = u16::try_from(if rows > 1 { rows + rows / 4 } else { rows }).unwrap_or(u16::MAX);
        let paragraph = Paragraph::new(text.to_owned())
            .style(style)
            .wrap(Wrap { trim: false });
        self.terminal
            .insert_before(rows, |buffer| paragraph.render(buffer.area, buffer))
    }

    /// Draws the panel anew.
    pub fn draw(&mut self, view: &Snapshot) -> io::Result<()> {
        self.terminal.draw(|frame| render(frame, view)).map(drop)
    }

    /// Leaves the panel as it is and puts the cursor below it.
    pub fn close(&mut self) -> io::Result<()> {
        self.terminal.show_cursor()?;
        println!();
        Ok(())
    }
}

fn render(frame: &mut Frame<'_>, view: &Snapshot) {
    let title = format!(
        " rheostat lab  {} ",
        view.time.strftime("%Y-%m-%d %H:%M:%S")
    );
    let block = Block::new().borders(Borders::TOP).title(title);
    let inner = block.inner(frame.area());
    frame.render_widget(block, frame.area());
    let pools = u16::try_from(view.pools.len() + 1).unwrap_or(u16::MAX);
    let [top, bottom] =
        Layout::vertical([Constraint::Length(pools), Constraint::Min(2)]).areas(inner);
    frame.render_widget(pool_table(&view.pools), top);
    workloads(frame, bottom, &view.workloads);
}

fn pool_table(pools: &[PoolView]) -> Table<'_> {
    let head =
        Row::new(["POOL", "NODES", "OF MAX", "READY", "GPUS", "IN USE"]).style(Modifier::BOLD);
    let rows = pools.iter().map(|pool| {
        Row::new([
            pool.name.clone(),
            if pool.target as usize == pool.nodes {
                pool.nodes.to_string()
            } else {
                format!("{}>{}", pool.nodes, pool.target)
            },
            pool.max.to_string(),
            pool.ready.to_string(),
            pool.gpus.to_string(),
            pool.gpus_used.to_string(),
        ])
    });
    let widths = [24, 8, 8, 8, 8, 8].map(Constraint::Length);
    Table::new(rows, widths).header(head)
}

fn workloads(frame: &mut Frame<'_>, area: Rect, workloads: &[WorkloadView]) {
    let mut lines = Vec::new();
    for workload in workloads.iter().take(WORKLOADS) {
        let pods = workload
            .pods
            .iter()
            .map(|(state, n)| format!("{n} {state}"));
        let pods = pods.collect::<Vec<_>>().join(", ");
        lines.push(Line::from(vec![
            Span::styled(workload.name.clone(), Modifier::BOLD),
            Span::raw(format!(
                "  replicas {} (wants {}, {} to {})  {pods}",
                workload.replicas, workload.desired, workload.min, workload.max
            )),
        ]));
        lines.push(Line::from(vec![
            Span::raw("  GPU "),
            bar(workload.utilization),
            Span::raw(format!("  {}", workload.metric)),
        ]));
        if let Some(limited) = &workload.limited {
            lines.push(Line::styled(
                format!("  {limited}"),
                Style::new().fg(Color::Yellow),
            ));
        }
    }
    if workloads.len() > WORKLOADS {
        lines.push(Line::raw(format!(
            "… and {} more",
            workloads.len() - WORKLOADS
        )));
    }
    if workloads.is_empty() {
        lines.push(Line::styled("no autoscaled workload yet", Modifier::DIM));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn bar(utilization: Option<f64>) -> Span<'static> {
    let Some(percent) = utilization else {
        return Span::styled("no replica runs", Modifier::DIM);
    };
    let full = ((percent / 100.0 * BAR as f64).round() as usize).min(BAR);
    let colour = if percent > 80.0 {
        Color::Red
    } else {
        Color::Green
    };
    let text = format!(
        "{}{} {percent:>3.0}%",
        "█".repeat(full),
        "░".repeat(BAR - full)
    );
    Span::styled(text, Style::new().fg(colour))
}
