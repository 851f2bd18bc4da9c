//! Judges this crate by recordings of the originals: JSON Lines, a header and
//! then one case a line. The task runner and the tests share it.

mod quantity;
mod selector_duration;

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;

/// How a file of recordings fared.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Cases in which everything was the same.
    pub passed: usize,
    /// Cases read.
    pub total: usize,
    /// For each other case its name and what differs.
    pub failures: Vec<(String, String)>,
}

impl Report {
    /// Counts one case: nothing, or its name and what differs.
    pub fn add(&mut self, outcome: Result<(), (String, String)>) {
        self.total += 1;
        match outcome {
            Ok(()) => self.passed += 1,
            Err(failure) => self.failures.push(failure),
        }
    }

    /// The ids of the cases that failed, sorted: what a list of known
    /// differences is compared with.
    pub fn failed_ids(&self) -> Vec<&str> {
        let names = self.failures.iter().map(|(name, _)| name.as_str());
        let mut ids: Vec<&str> = names
            .map(|name| name.split_once(' ').map_or(name, |(id, _)| id))
            .collect();
        ids.sort_unstable();
        ids
    }
}

/// Runs every case of a file; `check` gets the case and the header and says
/// what differs.
///
/// A line that is no JSON, and a case that makes the code under test panic, are
/// failures of that case alone.
pub fn run(text: &str, check: impl Fn(&Value, &Value) -> Vec<String>) -> Report {
    let (header, cases) = split(text);
    let mut report = Report::default();
    for case in cases {
        let outcome = case.and_then(|case| {
            let checked = catch_unwind(AssertUnwindSafe(|| check(&case, &header)));
            let wrong = checked.unwrap_or_else(|_| vec!["panic".to_owned()]);
            if wrong.is_empty() {
                Ok(())
            } else {
                Err((name(&case), wrong.join("; ")))
            }
        });
        report.add(outcome);
    }
    report
}

/// The header of a file, null where it has none, and its cases; a line that is
/// no JSON comes out as a failure.
pub fn split(text: &str) -> (Value, Vec<Result<Value, (String, String)>>) {
    let mut lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(n, line)| {
            serde_json::from_str::<Value>(line)
                .map_err(|error| (format!("line {}", n + 1), error.to_string()))
        })
        .peekable();
    let is_header = |line: &Result<Value, _>| {
        line.as_ref()
            .is_ok_and(|value: &Value| value["format"].is_string())
    };
    let header = lines.next_if(is_header).and_then(Result::ok);
    (header.unwrap_or_default(), lines.collect())
}

/// How a case is called in a [`Report`]: its id or name, family and kind.
pub fn name(case: &Value) -> String {
    let parts = ["id", "name", "family", "kind"].map(|key| case[key].as_str().unwrap_or(""));
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(" ")
}

/// Format `quantity/1`.
pub fn quantity(text: &str) -> Report {
    run(text, |case, _| quantity::check(case))
}

/// Format `selector_duration/1`.
pub fn selector_duration(text: &str) -> Report {
    run(text, |case, _| selector_duration::check(case))
}
