//! The prometheus trigger against recordings of KEDA's.

use triggers::golden::{PROMETHEUS_DIFFERS, prometheus_scaler};

#[tokio::test(start_paused = true)]
async fn recorded_prometheus_triggers() {
    let report = prometheus_scaler(include_str!("golden/prometheus_scaler.jsonl")).await;
    for (name, wrong) in &report.failures {
        println!("{name}: {wrong}");
    }
    println!("prometheus_scaler {}/{}", report.passed, report.total);
    let expected: Vec<_> = PROMETHEUS_DIFFERS.iter().map(|(id, _)| *id).collect();
    assert_eq!(
        report.failed_ids(),
        expected,
        "cases that fail are listed, each with its reason"
    );
}
