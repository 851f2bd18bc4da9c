//! Which families a page has: the shipped set, or a counters file in
//! dcgm-exporter's CSV form.

use crate::fields::{CATALOGUE, Field, MetricKind, Names};

/// One family of a page.
#[derive(Clone, Debug, PartialEq)]
pub struct Counter {
    /// Name as it is printed.
    pub name: String,
    /// Type.
    pub kind: MetricKind,
    /// Text of the HELP line.
    pub help: String,
    /// Where the value comes from.
    pub field: Field,
    /// Units of the value.
    pub names: Names,
}

/// The families of a page, ordered by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Counters {
    /// The families.
    pub rows: Vec<Counter>,
    /// Whether the driver's version stands on every series.
    pub driver_label: Option<&'static str>,
}

/// A counters file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("counters file line {line}: {problem}")]
pub struct CounterError {
    /// Line number, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
}

const DRIVER_LABELS: [&str; 2] = ["DCGM_FI_DRIVER_VERSION", "DCGM_FI_SYSTEM_DRIVER_VERSION"];

impl Counters {
    /// The shipped set.
    pub fn shipped(names: Names) -> Self {
        let rows = CATALOGUE
            .iter()
            .filter(|info| info.default)
            .map(|info| Counter {
                name: match names {
                    Names::Classic => info.classic.to_owned(),
                    Names::Dcgm47 => info.renamed.to_owned(),
                },
                kind: info.kind,
                help: match names {
                    Names::Dcgm47 if info.scale != 1.0 => {
                        let what = info.help.split(',').next().unwrap_or_default();
                        format!("{what}, in the unit of the name")
                    }
                    _ => info.help.to_owned(),
                },
                field: info.field,
                names,
            });
        let mut rows: Vec<_> = rows.collect();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        let driver_label = Some(match names {
            Names::Classic => DRIVER_LABELS[0],
            Names::Dcgm47 => DRIVER_LABELS[1],
        });
        Self { rows, driver_label }
    }

    /// Reads a counters file. Fields that exist but that no source of ours has
    /// are left out and returned by name.
    pub fn parse(text: &str) -> Result<(Self, Vec<String>), CounterError> {
        let mut counters = Self {
            rows: Vec::new(),
            driver_label: None,
        };
        let mut left_out = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line_number = at + 1;
            let fail = |problem: String| CounterError {
                line: line_number,
                problem,
            };
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let cells = cells(line).map_err(|p| fail(p.to_owned()))?;
            let [name, kind, help] = cells.as_slice() else {
                return Err(fail(format!(
                    "{} columns instead of three (name, type, help); quote a help text with a comma",
                    cells.len()
                )));
            };
            if kind == "label" {
                match DRIVER_LABELS.iter().find(|label| *label == name) {
                    Some(label) => counters.driver_label = Some(label),
                    None => left_out.push(name.clone()),
                }
                continue;
            }
            let kind = match kind.as_str() {
                "gauge" => MetricKind::Gauge,
                "counter" => MetricKind::Counter,
                "histogram" | "summary" => {
                    left_out.push(name.clone());
                    continue;
                }
                other => {
                    let known = "gauge, counter, histogram, summary or label";
                    return Err(fail(format!("\"{other}\" is no type; use {known}")));
                }
            };
            if counters.rows.iter().any(|row| row.name == *name) {
                return Err(fail(format!("{name} is listed twice")));
            }
            match Field::by_name(name) {
                Some((field, names)) => counters.rows.push(Counter {
                    name: name.clone(),
                    kind,
                    help: help.clone(),
                    field,
                    names,
                }),
                None if name.starts_with("DCGM_") || name.starts_with("dcgm_") => {
                    left_out.push(name.clone());
                }
                None => return Err(fail(format!("{name} is no field of DCGM"))),
            }
        }
        counters.rows.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((counters, left_out))
    }
}

/// The cells of one CSV line; a quoted cell may hold commas.
fn cells(line: &str) -> Result<Vec<String>, &'static str> {
    let (mut out, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => out.push(std::mem::take(&mut cell).trim().to_owned()),
            c => cell.push(c),
        }
    }
    if quoted {
        return Err("a quote is not closed");
    }
    out.push(cell.trim().to_owned());
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counters_file_chooses_the_families() {
        let text = "# Format\n\nDCGM_FI_DEV_GPU_UTIL, gauge, \"Busy, in percent\"\n\
                    DCGM_FI_DRIVER_VERSION, label, Driver\nDCGM_FI_DEV_BRAND, label, Brand\n\
                    DCGM_EXP_XID_ERRORS_COUNT, gauge, Errors\n";
        let (counters, left_out) = Counters::parse(text).unwrap();
        assert_eq!(counters.rows.len(), 1);
        assert_eq!(counters.rows[0].help, "Busy, in percent");
        assert_eq!(counters.driver_label, Some("DCGM_FI_DRIVER_VERSION"));
        assert_eq!(left_out, ["DCGM_FI_DEV_BRAND", "DCGM_EXP_XID_ERRORS_COUNT"]);
    }

    #[test]
    fn a_wrong_counters_file_names_the_line() {
        for (text, want) in [
            (
                "# c\nDCGM_FI_DEV_GPU_UTIL, gauge",
                "line 2: 2 columns instead of three",
            ),
            (
                "DCGM_FI_DEV_GPU_UTIL, gage, x",
                "line 1: \"gage\" is no type",
            ),
            ("GPU_UTIL, gauge, x", "line 1: GPU_UTIL is no field of DCGM"),
            ("A, gauge, \"x", "line 1: a quote is not closed"),
        ] {
            let error = Counters::parse(text).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
