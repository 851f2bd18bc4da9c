//! Schedules and the cron trigger against recordings of KEDA's.

#[test]
fn recorded_schedules() {
    let report = triggers::golden::cron(include_str!("golden/cron.jsonl"));
    println!("cron {}/{}", report.passed, report.total);
    assert_eq!(report.failures, []);
}
