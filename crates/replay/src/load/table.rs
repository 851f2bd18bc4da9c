//! A CSV table with a time in its first column.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::error::{InputError, Read};

/// Steps longer than this many usual ones are holes.
const HOLE: i64 = 3;
/// Rows that a load may have; two weeks by the second are 1.2 million.
pub(crate) const MAX_ROWS: usize = 4_000_000;

/// The rows of a file, in time order without holes.
#[derive(Debug)]
pub struct Table {
    /// File name, for messages.
    pub file: String,
    /// Names of the columns; the first is the time.
    pub columns: Vec<String>,
    /// Milliseconds since the epoch (or since 0 where the file counts seconds
    /// from there).
    pub times: Vec<i64>,
    /// The other cells of each row.
    rows: Vec<(usize, Vec<String>)>,
    /// The usual step in milliseconds: the median.
    pub step: i64,
}

impl Table {
    /// Reads a text. The first line names the columns.
    pub fn read(file: &str, text: &str) -> Read<Self> {
        let whole = |problem: &str| InputError::new(file, problem);
        let mut lines = text
            .trim_start_matches('\u{feff}')
            .lines()
            .enumerate()
            .map(|(at, line)| (at + 1, line))
            .filter(|(_, line)| !line.trim().is_empty());
        let (_, header) = lines.next().ok_or_else(|| {
            whole("the file is empty; a first line with column names is expected")
        })?;
        let columns = cells(header);
        if time(&columns[0]).is_some() {
            return Err(InputError::new(
                format!("{file} line 1"),
                "the first line holds values, not names; put a line such as time,gpus on top",
            ));
        }
        let (mut times, mut rows) = (Vec::new(), Vec::new());
        for (line, text) in lines {
            let at = |problem: String| InputError::new(format!("{file} line {line}"), problem);
            if times.len() == MAX_ROWS {
                return Err(at(format!("more than {MAX_ROWS} rows; cut the file")));
            }
            let mut row = cells(text);
            if row.len() != columns.len() {
                return Err(at(format!(
                    "{} values where the header names {} columns",
                    row.len(),
                    columns.len()
                )));
            }
            let first = row.remove(0);
            let when = time(&first).ok_or_else(|| {
                at(format!(
                    "\"{}\" is no time; use seconds or RFC 3339 such as 2026-01-01T00:00:00Z",
                    brief(&first)
                ))
            })?;
            match times.last() {
                Some(last) if *last == when => {
                    return Err(at(format!("time {first} is there twice; keep one row")));
                }
                Some(last) if *last > when => {
                    return Err(at(format!(
                        "time {first} is earlier than the row before; sort the rows by time"
                    )));
                }
                _ => {}
            }
            times.push(when);
            rows.push((line, row));
        }
        if times.len() < 2 {
            return Err(whole(
                "it has fewer than two rows; a load needs a span of time",
            ));
        }
        let mut steps: Vec<i64> = times.windows(2).map(|w| w[1] - w[0]).collect();
        steps.sort_unstable();
        let step = steps[steps.len() / 2];
        for (at, pair) in times.windows(2).enumerate() {
            let gap = pair[1] - pair[0];
            if gap > HOLE * step {
                return Err(InputError::new(
                    format!("{file} line {}", rows[at + 1].0),
                    format!(
                        "there is a hole of {} s before this row (the usual step is {} s); fill \
                         it in or cut the file there",
                        seconds(gap),
                        seconds(step)
                    ),
                ));
            }
        }
        Ok(Self {
            file: file.to_owned(),
            columns,
            times,
            rows,
            step,
        })
    }

    /// The place of a named column among the values.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns[1..].iter().position(|c| c == name)
    }

    /// Names of the value columns, for messages.
    pub fn names(&self) -> String {
        self.columns[1..].join(", ")
    }

    /// The numbers of a column; each must be finite and not negative.
    pub fn numbers(&self, column: usize) -> Read<Vec<f64>> {
        let name = &self.columns[column + 1];
        let number = |(line, row): &(usize, Vec<String>)| {
            let text = &row[column];
            let at = |problem: String| {
                InputError::new(format!("{} line {line}, column {name}", self.file), problem)
            };
            let value: f64 = text.parse().map_err(|_| {
                at(match text.is_empty() {
                    true => "no value; a load must not have holes".to_owned(),
                    false => format!("\"{}\" is not a number", brief(text)),
                })
            })?;
            if !value.is_finite() {
                return Err(at(format!("{text} is not finite")));
            }
            if value < 0.0 {
                return Err(at(format!("{text} is negative")));
            }
            Ok(value)
        };
        self.rows.iter().map(number).collect()
    }

    /// The line of a row in the file.
    pub fn line(&self, row: usize) -> usize {
        self.rows[row].0
    }
}

fn seconds(ms: i64) -> String {
    format!("{}", ms as f64 / 1000.0)
}

fn cells(line: &str) -> Vec<String> {
    let plain = |cell: &str| {
        let cell = cell.trim();
        let inner = cell.strip_prefix('"').and_then(|c| c.strip_suffix('"'));
        inner.unwrap_or(cell).to_owned()
    };
    line.split(',').map(plain).collect()
}

/// As much of a cell as a message can carry.
fn brief(text: &str) -> String {
    text.chars().take(40).filter(|c| !c.is_control()).collect()
}

/// Milliseconds since the epoch, from seconds or RFC 3339; a time without a
/// zone is UTC.
pub fn time(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        // As far as the calendar of the core reaches.
        let fits = seconds.is_finite() && (0.0..=253_000_000_000.0).contains(&seconds);
        return fits.then(|| (seconds * 1000.0).round() as i64);
    }
    let stamp = text.parse::<Timestamp>().ok().or_else(|| {
        let civil: DateTime = text.parse().ok()?;
        Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
    })?;
    Some(stamp.as_millisecond())
}
