//! The HPA algorithm against recordings of Kubernetes' own controller.

use decide::hpa::golden::run;

fn judge(name: &str, text: &str, floor: usize) {
    let report = run(text);
    for (id, wrong) in &report.failures {
        println!("{id}: {wrong}");
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
fn hpa_reconcile() {
    judge(
        "hpa_reconcile",
        include_str!("golden/hpa_reconcile.jsonl"),
        646,
    );
}

#[test]
fn hpa_reconcile_behavior() {
    judge(
        "hpa_reconcile_behavior",
        include_str!("golden/hpa_reconcile_behavior.jsonl"),
        445,
    );
}

#[test]
fn hpa_reconcile_multi() {
    judge(
        "hpa_reconcile_multi",
        include_str!("golden/hpa_reconcile_multi.jsonl"),
        480,
    );
}
