//! Cases in which `cargo xtask promql-diff` found another answer than
//! Prometheus' own engine gives.

use promql::promqltest::run_text;

#[test]
fn what_the_comparison_with_prometheus_found_stays_mended() {
    let text = include_str!("data/prometheus-3.16.test");
    let result = run_text("prometheus-3.16.test", text);
    assert_eq!(result.passed, result.total, "{:#?}", result.failures);
    assert!(result.total > 15, "{}", result.total);
}
