//! `decide::fit` against recorded scenarios of the real scheduler.

/// Never goes down; 53 are recorded.
const AT_LEAST: usize = 53;

#[test]
fn recorded_scenarios_come_out_the_same() {
    let report = decide::fit::golden::run(include_str!("golden/scheduler.jsonl"));
    for (name, wrong) in &report.failures {
        println!("{name}: {wrong}");
    }
    println!("scheduler scenarios {}/{}", report.passed, report.total);
    assert!(report.passed >= AT_LEAST, "at least {AT_LEAST} expected");
}
