//! What was observed, turned back into load.

#![allow(clippy::unwrap_used)]

mod common;

use common::{policy, scaled_object};
use replay::load::{Observed, Sight};
use replay::prometheus::{History, Series, Stretch, observed, queries};

const SIGHT: Sight = Sight {
    gpus: 2,
    saturated: 99.0,
    lag_ms: 0,
    starting_shown: true,
};

fn csv(text: &str) -> Observed {
    Observed::from_csv("o.csv", text, &SIGHT).unwrap()
}

#[test]
fn the_mean_is_over_the_replicas_that_are_shown() {
    // Two replicas of two GPUs, one ready and at 80 %, the other starting.
    let whose = csv("time,utilization,replicas,ready,shown\n0,40,2,1,2\n10,40,2,1,2\n");
    let ready = csv("time,utilization,replicas,ready\n0,80,2,1\n10,80,2,1\n");
    assert_eq!(whose.load.gpus, [1.6, 1.6]);
    assert_eq!(ready.load.gpus, [1.6, 1.6]);
    assert_eq!(whose.saturated, [false, false]);
}

#[test]
fn demand_is_not_known_while_nobody_serves() {
    let seen = csv("time,utilization,replicas,ready\n0,0,0,0\n10,0,1,0\n20,100,1,1\n30,50,1,1\n");
    assert_eq!(seen.saturated, [true, true, true, false]);
    assert_eq!(seen.saturated_fraction(), 0.75);
}

fn series(values: &[Option<f64>]) -> Series {
    Series {
        values: values.to_vec(),
        warnings: Vec::new(),
    }
}

#[test]
fn an_average_counts_the_gpus_it_is_over_and_zero_replicas_are_no_hole() {
    let avg = policy(&scaled_object("avg(DCGM_FI_DEV_GPU_UTIL) * 2", "5", ""));
    let asked = queries("p", &avg, None, Some("r")).unwrap();
    assert_eq!(asked[0], "avg(DCGM_FI_DEV_GPU_UTIL) * 2");
    assert_eq!(asked[1], "count(DCGM_FI_DEV_GPU_UTIL)");
    assert_eq!(asked[3], "r");
    let stretch = Stretch::new(0, 45_000, 15_000).unwrap();
    let one = Sight { gpus: 1, ..SIGHT };
    let mut history = History {
        signal: series(&[None, None, Some(80.0), Some(100.0)]),
        shown: series(&[None, None, Some(2.0), Some(2.0)]),
        replicas: series(&[Some(0.0), Some(2.0), Some(2.0), Some(2.0)]),
        ready: series(&[Some(0.0), Some(0.0), Some(1.0), Some(2.0)]),
    };
    let (seen, problems) = observed("p", &avg, &stretch, &history, &one, false).unwrap();
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(seen.load.gpus, [0.0, 0.0, 0.8, 1.0]);
    assert_eq!(seen.saturated, [true, true, false, false]);
    // With a replica that serves it is one.
    history.ready = series(&[Some(0.0), Some(1.0), Some(1.0), Some(2.0)]);
    let error = observed("p", &avg, &stretch, &history, &one, false).unwrap_err();
    assert!(
        error.to_string().contains("1 of 4 points are missing"),
        "{error}"
    );
}
