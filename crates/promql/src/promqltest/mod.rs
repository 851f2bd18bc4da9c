//! Runs Prometheus' own query tests (`*.test` files) against this engine.
//!
//! A case passes when value, order, error and annotations are as its file expects, both as an
//! instant query and as a step of a range query. Native histograms can be loaded but not
//! evaluated, so cases whose result is one count as failed.

mod command;
mod compare;
mod series;

use crate::eval::{self, EvalOptions, QueryError, Span};
use crate::labels::{Labels, Matcher};
use crate::source::{SeriesData, Source};
use command::{Command, Eval, Kind};
use std::collections::BTreeMap;
use std::path::Path;

/// What became of one file's cases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileResult {
    /// File name without its folder.
    pub name: String,
    /// Cases that passed.
    pub passed: usize,
    /// Cases in the file.
    pub total: usize,
    /// A line for each failed case.
    pub failures: Vec<String>,
}

/// Runs every `.test` file of a folder, in order of their names.
pub fn run_dir(dir: &Path) -> std::io::Result<Vec<FileResult>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "test") {
            files.push(path);
        }
    }
    files.sort();
    let mut out = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path)?;
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        out.push(run_text(&name, &text));
    }
    Ok(out)
}

/// Runs the cases of one file.
pub fn run_text(name: &str, text: &str) -> FileResult {
    let mut result = FileResult {
        name: name.to_owned(),
        passed: 0,
        total: 0,
        failures: Vec::new(),
    };
    let mut data = Loaded::default();
    for (line, command) in command::parse(text) {
        match command {
            Command::Clear => data = Loaded::default(),
            Command::Load(series) => data.add(series),
            Command::Eval(case) => {
                result.total += 1;
                match run_case(&data, &case) {
                    Ok(()) => result.passed += 1,
                    Err(e) => result
                        .failures
                        .push(format!("{name}:{line}: {}: {e}", case.query)),
                }
            }
            Command::Bad { message, counts } => {
                result.total += usize::from(counts);
                result.failures.push(format!("{name}:{line}: {message}"));
            }
        }
    }
    result
}

fn run_case(data: &Loaded, case: &Eval) -> Result<(), String> {
    let options = EvalOptions::default();
    let outcome = match case.kind {
        Kind::Instant(t) => eval::instant(data, &case.query, t, &options),
        Kind::Range(span) => eval::range(data, &case.query, span, &options),
    };
    if let Err(e @ QueryError::Unsupported(_)) = &outcome {
        return Err(e.to_string());
    }
    if let Some(expected) = &case.fail {
        return match outcome {
            Ok(_) => Err("should have failed".into()),
            Err(e) if expected.iter().all(|x| x.matches(&e.to_string())) => Ok(()),
            Err(e) => Err(format!("failed with another error: {e}")),
        };
    }
    let found = outcome.map_err(|e| e.to_string())?;
    case.check_annotations(&found)?;
    compare::check(case, &found.value)?;
    let Kind::Instant(t) = case.kind else {
        return Ok(());
    };
    let about_range = ["range(", "step(", "start(", "end("]
        .iter()
        .any(|w| case.query.contains(w));
    if about_range || case.ordered || !compare::is_vector_or_scalar(&found.value) {
        return Ok(());
    }
    // The same at the middle step of a range query.
    let span = Span {
        start: t - 60_000,
        end: t + 60_000,
        step: 60_000,
    };
    match eval::range(data, &case.query, span, &options) {
        Ok(r) => compare::check_step(case, &r.value, t).map_err(|e| format!("in a range: {e}")),
        // Other steps may fail where this one does not.
        Err(_) => Ok(()),
    }
}

/// The samples a file has loaded.
#[derive(Default)]
struct Loaded(BTreeMap<Labels, Stored>);

/// Value and start timestamp by time.
type Stored = BTreeMap<i64, (f64, i64)>;

impl Loaded {
    fn add(&mut self, series: BTreeMap<Labels, Stored>) {
        for (labels, points) in series {
            self.0.entry(labels).or_default().extend(points);
        }
    }
}

impl Source for Loaded {
    fn select(
        &self,
        matchers: &[Matcher],
        mint: i64,
        maxt: i64,
        newest_only: bool,
    ) -> Vec<SeriesData> {
        let mut out = Vec::new();
        for (labels, stored) in &self.0 {
            if mint > maxt || !matchers.iter().all(|m| m.matches(labels.get(&m.name))) {
                continue;
            }
            let mut found: Vec<_> = stored.range(mint..=maxt).collect();
            if newest_only && found.len() > 1 {
                found = vec![found[found.len() - 1]];
            }
            if found.is_empty() {
                continue;
            }
            out.push(SeriesData {
                labels: labels.clone(),
                points: found.iter().map(|(t, (v, _))| (**t, *v)).collect(),
                starts: Some(found.iter().map(|(_, (_, s))| *s).collect()),
            });
        }
        out
    }
}

#[cfg(test)]
mod tests;
