//! Behaviour that the language's own test files do not cover.

use super::*;
use crate::labels::Labels;
use crate::store::Store;

fn store() -> Store {
    let s = Store::default();
    for i in 0..120 {
        for pod in ["a", "b"] {
            let l = Labels::from_pairs([("__name__", "gpu"), ("pod", pod)]);
            s.append(&l, i * 5_000, i as f64).unwrap();
        }
    }
    s
}

#[test]
fn a_query_of_the_kind_that_scales_workloads() {
    let r = instant(
        &store(),
        "avg(gpu{pod=~\"a|b\"})",
        595_000,
        &EvalOptions::default(),
    )
    .unwrap();
    assert_eq!(r.value, QueryValue::Vector(vec![(Labels::empty(), 119.0)]));
}

#[test]
fn costs_are_bounded() {
    let tight = EvalOptions {
        max_samples: 100,
        ..EvalOptions::default()
    };
    let e = instant(&store(), "count_over_time(gpu[10m])", 595_000, &tight).unwrap_err();
    assert!(e.to_string().contains("too many samples"), "{e}");
    let short = EvalOptions {
        max_work: 10_000,
        ..EvalOptions::default()
    };
    let e = instant(
        &store(),
        "count_over_time(nothing[90d:1ms])",
        595_000,
        &short,
    );
    assert!(e.unwrap_err().to_string().contains("evaluation steps"));
}
