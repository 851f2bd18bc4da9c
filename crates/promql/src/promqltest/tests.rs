//! The harness itself, and the score on Prometheus' files where they are at hand.

use super::*;

/// Cases that passed when last looked at; the number only ever rises. (Two of Prometheus 3.14,
/// `fill_left` and `fill_right` with `group_right`, are left out since: 3.16 answers otherwise,
/// and so do we, see `tests/prometheus.rs`.)
const COMMITTED: usize = 1514;

#[test]
fn a_small_file_is_judged_case_by_case() {
    let text = "load 1m\n  a{x=\"1\"} 1+1x3 _ stale\n  b _x2 5\n\n\
                eval instant at 2m a\n  a{x=\"1\"} 3\n\n\
                eval instant at 2m sum(a)\n  {} 4\n\n\
                eval range from 0 to 2m step 1m b\n  b _ _ 5\n\n\
                eval instant at 2m sum(\n  expect fail regex: unexpected end of .*\n\n\
                eval instant at 1m 1 + 1\n  2\n\n\
                eval instant at 1m histogram_count({{}})\n";
    let r = run_text("x.test", text);
    assert_eq!((r.passed, r.total), (4, 6), "{:#?}", r.failures);
    assert!(r.failures[0].starts_with("x.test:8: sum(a): {}: expected 4, got 3"));
}

#[test]
fn the_score_on_the_prometheus_files_does_not_fall() {
    let shared = std::env::var("RHEOSTAT_SHARED")
        .map(std::path::PathBuf::from)
        .unwrap_or_else(|_| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"));
    let dir = shared.join("promqltest");
    let Ok(results) = run_dir(&dir) else {
        println!(
            "skipped: no query tests at {} (set RHEOSTAT_SHARED)",
            dir.display()
        );
        return;
    };
    let passed: usize = results.iter().map(|r| r.passed).sum();
    let total: usize = results.iter().map(|r| r.total).sum();
    println!("promqltest: {passed}/{total}");
    if std::env::var_os("PROMQLTEST_FAILURES").is_some() {
        for r in &results {
            println!("{} {}/{}", r.name, r.passed, r.total);
            r.failures.iter().for_each(|f| println!("  {f}"));
        }
    }
    assert!(
        passed >= COMMITTED,
        "{passed} cases pass, {COMMITTED} did before"
    );
}
