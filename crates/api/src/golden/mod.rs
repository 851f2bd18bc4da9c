//! Judges this crate by recordings of the originals: JSON Lines, a header and
//! then one case a line. The task runner and the tests share it.

mod quantity;
mod selector_duration;

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

/// Runs every case of a file; `check` gets the case and the header and says
/// what differs.
pub fn run(
    text: &str,
    check: impl Fn(&Value, &Value) -> Vec<String>,
) -> Result<Report, serde_json::Error> {
    let mut lines = text.lines().filter(|l| !l.trim().is_empty());
    let header: Value = serde_json::from_str(lines.next().unwrap_or("{}"))?;
    let mut report = Report::default();
    for line in lines {
        let case: Value = serde_json::from_str(line)?;
        report.total += 1;
        let wrong = check(&case, &header);
        if wrong.is_empty() {
            report.passed += 1;
        } else {
            let part = |key: &str| case[key].as_str().unwrap_or("").to_owned();
            let name = format!("{} {}{}", part("id"), part("family"), part("kind"));
            report.failures.push((name, wrong.join("; ")));
        }
    }
    Ok(report)
}

/// Format `quantity/1`.
pub fn quantity(text: &str) -> Result<Report, serde_json::Error> {
    run(text, |case, _| quantity::check(case))
}

/// Format `selector_duration/1`.
pub fn selector_duration(text: &str) -> Result<Report, serde_json::Error> {
    run(text, |case, _| selector_duration::check(case))
}
