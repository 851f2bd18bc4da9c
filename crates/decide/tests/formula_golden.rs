//! Formulas against recordings of KEDA's.

#[test]
fn recorded_formulas() {
    let report = decide::formula::golden::run(include_str!("golden/formula.jsonl"));
    for (id, wrong) in &report.failures {
        println!("{id}: {wrong}");
    }
    println!("formula {}/{}", report.passed, report.total);
    assert_eq!(report.passed, report.total);
}
