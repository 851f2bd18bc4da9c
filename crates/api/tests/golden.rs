//! Quantities, selectors and durations against recordings of Kubernetes' and
//! Go's own.

use api::golden::{Report, quantity, selector_duration};

fn judge(name: &str, report: &Report, floor: usize) {
    for (case, wrong) in &report.failures {
        println!("{case}: {wrong}");
    }
    println!("{name} {}/{}", report.passed, report.total);
    assert!(
        report.passed >= floor,
        "{name}: {} of {}",
        report.passed,
        report.total
    );
}

#[test]
fn quantities_are_those_of_kubernetes() {
    let report = quantity(include_str!("golden/quantity.jsonl"));
    judge("quantity", &report, 1030);
}

#[test]
fn selectors_and_durations_are_those_of_kubernetes() {
    let report = selector_duration(include_str!("golden/selector_duration.jsonl"));
    judge("selector_duration", &report, 205);
}
