//! Queries computed from counts give what the query engine gives.

#![allow(clippy::unwrap_used)]

use promql::eval::{EvalOptions, QueryValue, instant};
use promql::labels::{Labels, Matcher};
use promql::source::{SeriesData, Source};
use proptest::prelude::*;
use replay::signal::{Metrics, Page, Signal, Unit, Workload};

struct Gpus<'a>(&'a Page);

impl Source for Gpus<'_> {
    fn select(&self, matchers: &[Matcher], _: i64, maxt: i64, _: bool) -> Vec<SeriesData> {
        let name = matchers.iter().find(|m| m.name == "__name__").unwrap();
        let unit = Metrics::default().unit(&name.value).unwrap();
        let shown = |n: u32| {
            if n < self.0.ready {
                unit.show(self.0.share)
            } else {
                0.0
            }
        };
        let gpus = (0..self.0.ready + self.0.starting).map(|n| SeriesData {
            labels: Labels::from_pairs([
                ("__name__", name.value.as_str()),
                ("deployment", "web"),
                ("gpu", "0"),
                ("UUID", &format!("GPU-{n}")),
                ("pod", &format!("web-7d4b9c6f8d-{n:05}")),
            ]),
            points: vec![(maxt, shown(n))],
            starts: None,
        });
        gpus.filter(|s| matchers.iter().all(|m| m.matches(s.labels.get(&m.name))))
            .collect()
    }
}

const QUERIES: &[&str] = &[
    "avg(DCGM_FI_DEV_GPU_UTIL)",
    "sum(DCGM_FI_DEV_GPU_UTIL{deployment=\"web\"})",
    "min(DCGM_FI_PROF_SM_ACTIVE)",
    "max(DCGM_FI_DEV_GPU_UTIL)",
    "count(DCGM_FI_DEV_GPU_UTIL)",
    "sum(DCGM_FI_PROF_GR_ENGINE_ACTIVE) * 100 / 70",
    "sum(DCGM_FI_DEV_GPU_UTIL) / count(DCGM_FI_DEV_GPU_UTIL)",
    "-(avg(DCGM_FI_DEV_GPU_UTIL)) + 100",
    "sum(DCGM_FI_DEV_GPU_UTIL) or vector(0)",
    "(avg(DCGM_FI_DEV_GPU_UTIL) - 5) * (2 + 1)",
    "sum(DCGM_FI_DEV_GPU_UTIL{pod=~\"web-.*\"})",
];

/// Queries on some of the workload's GPUs alone.
const OF_SOME: &[&str] = &[
    "sum(DCGM_FI_DEV_GPU_UTIL{gpu=\"1\"})",
    "count(DCGM_FI_DEV_GPU_UTIL{UUID!=\"GPU-1\"})",
    "avg(DCGM_FI_DEV_GPU_UTIL{pod=\"web-7d4b9c6f8d-00001\"})",
    "sum(DCGM_FI_DEV_GPU_UTIL{exported_pod=~\"web-.*1\"}) or vector(0)",
];

proptest! {
    #[test]
    fn counts_and_engine_agree(ready in 0..30u32, starting in 0..10u32, share in 0.0..1.0f64) {
        let page = Page { ready, starting, share };
        let workload = Workload {
            namespace: "default".to_owned(),
            kind: "Deployment".to_owned(),
            name: "web".to_owned(),
            container: "c".to_owned(),
        };
        for query in QUERIES.iter().chain(OF_SOME) {
            let signal = Signal::read("t", query, &Metrics::default(), &workload).unwrap();
            prop_assert_eq!(signal.needs_engine(), OF_SOME.contains(query), "{}", query);
            let Some(shape) = signal.shape() else { continue };
            let whole = instant(&Gpus(&page), query, 1_000_000, &EvalOptions::default()).unwrap();
            let QueryValue::Vector(found) = whole.value else { panic!("{query}") };
            let theirs = found.first().map(|s| s.1);
            // As a trigger hands it on.
            let text = |v: Option<f64>| v.map(|v| format!("{v:.3}"));
            prop_assert_eq!(text(shape.value(&page)), text(theirs), "{} {:?}", query, page);
        }
    }
}

#[test]
fn a_query_that_looks_at_more_is_left_to_the_engine() {
    let workload = Workload::default();
    for query in [
        "avg(avg_over_time(DCGM_FI_DEV_GPU_UTIL[1m]))",
        "avg by (namespace) (DCGM_FI_DEV_GPU_UTIL)",
        "quantile(0.9, DCGM_FI_DEV_GPU_UTIL)",
        "avg(DCGM_FI_DEV_GPU_UTIL offset 1m)",
    ] {
        let signal = Signal::read("t", query, &Metrics::default(), &workload).unwrap();
        assert!(signal.needs_engine(), "{query}");
    }
}

#[test]
fn a_metric_of_ones_own_can_be_declared() {
    let mut metrics = Metrics::default();
    metrics.add("my_gpu_busy=ratio").unwrap();
    assert_eq!(metrics.unit("my_gpu_busy"), Some(Unit::Ratio));
    assert!(metrics.add("my_gpu_busy=furlongs").is_err());
}
