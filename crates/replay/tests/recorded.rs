//! The run recorded from the real programs (Kubernetes 1.37.2, KEDA 2.20.2):
//! 1 → 4 → 8 → 10 replicas at 50 %, and 10 → 1 at 0 %. Its times, from
//! `timeline.txt`, count from the HPA's creation at 114.69 s.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use api::pool::Pool;
use common::{policy, scaled_object};
use replay::load::{Observed, Sight};
use replay::model::{Model, Stage};
use replay::study::Fidelity;
use replay::{Watch, run};

#[test]
fn the_recorded_run_is_replayed_within_one_hpa_period() {
    // What happened: (time, utilization, replicas, ready), in seconds of the recording.
    let events = [
        (115.0, 0.0, 1, 1),
        (177.03, 3.0, 1, 1),
        (207.50, 50.0, 1, 1),
        (219.88, 50.0, 4, 1),
        (234.93, 50.0, 8, 1),
        (249.95, 50.0, 10, 1),
        (264.53, 50.0, 10, 3),
        (291.13, 0.0, 10, 3),
        (580.59, 0.0, 1, 1),
    ];
    let mut text = String::from("time,utilization,replicas,ready\n");
    let start = 114.69;
    for second in 0..500 {
        let now = start + f64::from(second);
        let last = events
            .iter()
            .rev()
            .find(|e| e.0 <= now)
            .unwrap_or(&events[0]);
        text += &format!("{second},{},{},{}\n", last.1, last.2, last.3);
    }
    let sight = Sight {
        gpus: 1,
        saturated: 99.0,
        lag_ms: 0,
        starting_shown: true,
    };
    let observed = Observed::from_csv("recorded.csv", &text, &sight).unwrap();
    // A pool of at most three nodes, one there from the start; the two others
    // came 44 s after the pods that needed them.
    let pool = "name=gpu,gpus=1,min=1,max=3,count=1,provision=44s,taint=sku=gpu:NoSchedule";
    let model = Model {
        exporter: Duration::from_secs(1),
        scrape: Duration::from_secs(1),
        ready_lag: vec![Stage {
            name: String::new(),
            time: Duration::ZERO,
        }],
        gpu_ready: Duration::ZERO,
        pools: Pool::parse_all(&[pool]).unwrap(),
        ..Model::default()
    };
    let query = "avg(DCGM_FI_DEV_GPU_UTIL{deployment=\"my-gpu-workload\"})";
    let mut watch = Watch {
        timeline: true,
        ..Watch::default()
    };
    let outcome = run(
        &model,
        &observed.load,
        &policy(&scaled_object(query, "5", "")),
        &mut watch,
    );
    let mut steps: Vec<(f64, u32)> = Vec::new();
    for point in &outcome.timeline {
        if steps.last().is_none_or(|last| last.1 != point.replicas) {
            steps.push((start + point.t as f64 / 1000.0, point.replicas));
        }
    }
    let want = [(219.88, 4), (234.93, 8), (249.95, 10), (580.59, 1)];
    let got = &steps[1..];
    assert_eq!(got.len(), want.len(), "{steps:?}");
    for ((at, replicas), (then, theirs)) in got.iter().zip(want) {
        assert_eq!(*replicas, theirs, "{steps:?}");
        assert!((at - then).abs() <= 15.0, "{steps:?}");
    }
    let fidelity = Fidelity::of(&observed, &outcome.timeline);
    assert!(
        fidelity.mean_error < 0.1,
        "mean error {}",
        fidelity.mean_error
    );
}
