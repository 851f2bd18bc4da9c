//! HPAs that KEDA's own code made of ScaledObjects.

#[test]
fn recorded_hpas_come_out_as_recorded() {
    let report = triggers::golden::hpa_spec(include_str!("golden/hpa_spec.jsonl"));
    for (name, wrong) in &report.failures {
        println!("{name}: {wrong}");
    }
    println!("hpa_spec {}/{}", report.passed, report.total);
    assert!(report.passed >= 180, "{} cases", report.passed);
}
