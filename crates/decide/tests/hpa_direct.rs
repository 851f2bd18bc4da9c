//! Acting on each sample never goes beyond what the HPA could have done.

#![allow(clippy::unwrap_used)]

use api::quantity::{Format, Quantity};
use decide::hpa::{
    DirectMemory, HpaConfig, HpaInput, HpaSpec, MetricObservation, Numbers, Occasion, Omitted,
    PodObservation, ScaleObservation, Seen, direct, direct_explained,
};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::json;

fn spec(min: i32, max: i32) -> HpaSpec {
    let spec = json!({"minReplicas": min, "maxReplicas": max, "metrics": [{"type": "External",
        "external": {"metric": {"name": "m"}, "target": {"type": "AverageValue",
        "averageValue": "10"}}}]});
    HpaSpec::from_json(&spec).unwrap()
}

fn numbers(min: i32, max: i32) -> Numbers {
    Numbers::of(&spec(min, max), &HpaConfig::default()).unwrap()
}

/// What the API shows of a course with as many ready pods as are asked for.
fn input(spec: &HpaSpec, current: i32, milli: i64) -> HpaInput {
    let pod = |n: i32| PodObservation {
        name: format!("w-{n}"),
        labels: [("app".to_owned(), "w".to_owned())].into(),
        phase: "Running".to_owned(),
        ready: Some(("True".to_owned(), None)),
        ..PodObservation::default()
    };
    let reading = Quantity::from_milli(milli, Format::DecimalSI);
    HpaInput {
        spec: spec.clone(),
        scale: ScaleObservation::Found {
            spec_replicas: current,
            status_replicas: current,
            selector: "app=w".to_owned(),
        },
        metrics: [(0, MetricObservation::External(Ok(vec![reading])))].into(),
        pods: (0..current).map(pod).collect(),
        ..HpaInput::default()
    }
}

/// Replicas after each step; a step is seconds since the last one and a reading.
fn course(numbers: &Numbers, steps: &[(i64, i64)]) -> Vec<(Timestamp, i32)> {
    let mut memory = DirectMemory::default();
    let mut now = Timestamp::from_second(1_767_225_600).unwrap();
    let mut synced = None;
    let mut current = numbers.bounds().0.max(1);
    let mut out = vec![(now, current)];
    for (gap, value) in steps {
        now += SignedDuration::from_secs(*gap);
        let due = synced.is_none_or(|at: Timestamp| now.duration_since(at).as_secs() >= 15);
        let occasion = if due {
            Occasion::Sync
        } else {
            Occasion::Sample
        };
        if due {
            synced = Some(now);
        }
        let seen = Seen {
            current,
            running: current,
            ready: usize::try_from(current).ok(),
            asleep: false,
            readings: &[Some(*value * 1000)],
        };
        current = direct(numbers, &mut memory, &seen, occasion, now).desired;
        out.push((now, current));
    }
    out
}

proptest! {
    #[test]
    fn the_reasons_lead_to_the_number(
        steps in proptest::collection::vec((1..9i64, 0..400i64), 1..60),
    ) {
        let spec = spec(1, 40);
        let numbers = numbers(1, 40);
        let (mut memory, mut told) = (DirectMemory::default(), DirectMemory::default());
        let mut now = Timestamp::from_second(1_767_225_600).unwrap();
        let mut current = 1;
        for (at, (gap, value)) in steps.into_iter().enumerate() {
            now += SignedDuration::from_secs(gap);
            let occasion = if at % 4 == 0 { Occasion::Sync } else { Occasion::Sample };
            let seen = Seen {
                current,
                running: current,
                ready: usize::try_from(current).ok(),
                asleep: false,
                readings: &[Some(value * 1000)],
            };
            let outcome = direct(&numbers, &mut memory, &seen, occasion, now);
            let both = (&input(&spec, current, value * 1000), &seen);
            let (same, e) = direct_explained(&numbers, &mut told, both, occasion, now);
            prop_assert_eq!((outcome, &memory), (same, &told));
            prop_assert_eq!(e.desired, outcome.desired);
            let asked = e.proposals[0].replicas.unwrap();
            prop_assert_eq!(e.steps.first().map_or(e.desired, |s| s.from), asked);
            prop_assert_eq!(e.steps.last().map_or(asked, |s| s.to), e.desired);
            for pair in e.steps.windows(2) {
                prop_assert_eq!(pair[0].to, pair[1].from);
            }
            for other in &e.otherwise {
                prop_assert!(other.replicas != e.desired);
                let between = other.without == Omitted::BetweenSyncs;
                prop_assert!(occasion == Occasion::Sample || !between);
            }
            current = outcome.desired;
        }
    }

    #[test]
    fn no_window_of_15_s_exceeds_the_hpas_cap(
        steps in proptest::collection::vec((1..9i64, 0..4000i64), 1..200),
    ) {
        let course = course(&numbers(1, 300), &steps);
        for (at, end) in &course {
            // The count that held 15 s before.
            let start = *at - SignedDuration::from_secs(15);
            let before = course.iter().rev().find(|c| c.0 <= start).unwrap_or(&course[0]);
            prop_assert!(*end <= (2 * before.1).max(4), "{before:?} {at} {end}");
            prop_assert!((1..=300).contains(end));
        }
    }

    #[test]
    fn samples_between_syncs_take_nothing_away(
        steps in proptest::collection::vec((1..6i64, 0..4000i64), 1..100),
    ) {
        let numbers = numbers(1, 300);
        let course = course(&numbers, &steps);
        let mut synced: Option<Timestamp> = None;
        for pair in course.windows(2) {
            let now = pair[1].0;
            let due = synced.is_none_or(|at| now.duration_since(at).as_secs() >= 15);
            if due {
                synced = Some(now);
            } else {
                prop_assert!(pair[1].1 >= pair[0].1);
            }
        }
    }
}

#[test]
fn a_lasting_step_is_answered_before_the_sync_and_a_spike_is_not() {
    let numbers = numbers(1, 50);
    // A sync at 5 s, samples each second after that.
    let mut steps = vec![(5, 10)];
    steps.extend((0..14).map(|n| (1, if n >= 2 { 40 } else { 10 })));
    let lasting = course(&numbers, &steps);
    let raised = lasting.iter().position(|c| c.1 == 4).unwrap();
    // It begins 3 s after the sync, and half a period of samples must agree.
    let after = lasting[raised].0.duration_since(lasting[1].0);
    assert_eq!(after.as_secs(), 11);
    let mut steps = vec![(5, 10)];
    steps.extend((0..14).map(|n| (1, if n == 4 { 40 } else { 10 })));
    assert!(course(&numbers, &steps).iter().all(|c| c.1 == 1));
}
