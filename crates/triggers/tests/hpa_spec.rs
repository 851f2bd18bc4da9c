//! HPAs that KEDA's own code made of ScaledObjects.

use triggers::golden::{HPA_SPEC_DIFFERS, hpa_spec};

#[test]
fn recorded_hpas_come_out_as_recorded() {
    let report = hpa_spec(include_str!("golden/hpa_spec.jsonl"));
    for (name, wrong) in &report.failures {
        println!("{name}: {wrong}");
    }
    println!("hpa_spec {}/{}", report.passed, report.total);
    let expected: Vec<_> = HPA_SPEC_DIFFERS.iter().map(|(id, _)| *id).collect();
    assert_eq!(report.failed_ids(), expected);
}
