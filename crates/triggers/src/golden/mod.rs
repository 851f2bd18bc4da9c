//! Judges the triggers by recordings of KEDA's. The task runner and the tests
//! share it.

mod cron;
mod hpa_spec;
mod prometheus;

use std::panic::AssertUnwindSafe;

use api::golden::{self, Report};
use futures::FutureExt as _;

/// Cases of `prometheus_scaler/1` that come out otherwise, with the reason.
pub const PROMETHEUS_DIFFERS: &[(&str, &str)] = &[
    ("p0068", AWS),
    ("p0312", AWS),
    ("p0394", AWS),
    ("p0414", AWS),
];
const AWS: &str = "AWS request signing is refused when the trigger is built";

/// Cases of `hpa_spec/1` that come out otherwise, with the reason.
pub const HPA_SPEC_DIFFERS: &[(&str, &str)] = &[(
    "k0168",
    "that the workload is missing is found by the operator, before an HPA is made",
)];

/// Format `prometheus_scaler/1`. Wants a runtime whose clock is paused: some
/// recorded answers take longer than the trigger waits.
pub async fn prometheus_scaler(text: &str) -> Report {
    let mut report = Report::default();
    for case in golden::split(text).1 {
        let outcome = match case {
            Err(failure) => Err(failure),
            Ok(case) => {
                let checked = AssertUnwindSafe(prometheus::check(&case)).catch_unwind();
                let checked = checked.await.unwrap_or_else(|_| Err("panic".to_owned()));
                checked.map_err(|wrong| (golden::name(&case), wrong))
            }
        };
        report.add(outcome);
    }
    report
}

/// Format `hpa_spec/1`.
pub fn hpa_spec(text: &str) -> Report {
    golden::run(text, |case, _| {
        hpa_spec::check(case).err().into_iter().collect()
    })
}

/// Format `cron/1`.
pub fn cron(text: &str) -> Report {
    golden::run(text, |case, _| {
        cron::check(case).err().into_iter().collect()
    })
}
