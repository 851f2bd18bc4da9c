//! What must hold for every HPA, whatever its readings.

#![allow(clippy::unwrap_used)]

use api::quantity::Quantity;
use decide::hpa::*;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

fn quantity() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..2000i64).prop_map(|n| n.to_string()),
        any::<i64>().prop_map(|n| format!("{n}m")),
        (any::<i32>(), -30..30i32).prop_map(|(n, e)| format!("{n}e{e}")),
        Just("0".to_owned()),
    ]
}

fn policies() -> impl Strategy<Value = Value> {
    let one = (any::<bool>(), 0..200i32, 0..2000i32).prop_map(|(pods, value, period)| {
        json!({"type": if pods { "Pods" } else { "Percent" }, "value": value,
            "periodSeconds": period})
    });
    proptest::collection::vec(one, 0..3).prop_map(Value::Array)
}

fn rules() -> impl Strategy<Value = Value> {
    let select = prop_oneof![Just("Max"), Just("Min"), Just("Disabled")];
    (0..400i32, select, policies()).prop_map(|(window, select, policies)| {
        json!({"stabilizationWindowSeconds": window, "selectPolicy": select,
            "policies": policies})
    })
}

prop_compose! {
    fn behavior()(up in proptest::option::of(rules()), down in proptest::option::of(rules()))
        -> Value { json!({"scaleUp": up, "scaleDown": down}) }
}

prop_compose! {
    fn input()(
        min in 0..50i32,
        span in 0..100i32,
        current in prop_oneof![0..200i32, any::<i32>().prop_map(|n| n & i32::MAX)],
        running in prop_oneof![0..200i32, any::<i32>().prop_map(|n| n & i32::MAX)],
        averages in any::<bool>(),
        targets in proptest::collection::vec(quantity(), 0..3),
        series in proptest::collection::vec(proptest::collection::vec(quantity(), 0..3), 3),
        behavior in proptest::option::of(behavior()),
        ready in 0..5usize,
    ) -> HpaInput {
        let key = if averages { "averageValue" } else { "value" };
        let metrics: Vec<Value> = targets
            .iter()
            .map(|target| json!({"type": "External", "external": {"metric": {"name": "m"},
                "target": {"type": "Value", key: target}}}))
            .collect();
        let spec = json!({"minReplicas": min, "maxReplicas": (min + span).max(1),
            "metrics": metrics, "behavior": behavior,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "w"}});
        let pod = |n: usize| PodObservation {
            name: format!("p{n}"),
            labels: [("app".to_owned(), "w".to_owned())].into(),
            phase: "Running".to_owned(),
            ready: Some(("True".to_owned(), None)),
            ..PodObservation::default()
        };
        let readings = series.iter().enumerate().map(|(at, values)| {
            let values = values.iter().map(|v| Quantity::parse(v).unwrap()).collect();
            (at, MetricObservation::External(Ok(values)))
        });
        HpaInput {
            name: "w".to_owned(),
            spec: HpaSpec::from_json(&spec).unwrap(),
            scale: ScaleObservation::Found {
                spec_replicas: current,
                status_replicas: running,
                selector: "app=w".to_owned(),
            },
            metrics: readings.collect(),
            pods: (0..ready).map(pod).collect(),
            ..HpaInput::default()
        }
    }
}

fn start() -> Timestamp {
    Timestamp::from_second(1_767_225_600).unwrap()
}

proptest! {
    #[test]
    fn what_is_written_lies_within_the_bounds(mut input in input(), gaps in
        proptest::collection::vec(0..400i64, 6))
    {
        let (min, max) = (input.spec.min(), input.spec.max_replicas);
        let mut memory = HpaMemory::default();
        let mut now = start();
        for gap in gaps {
            let decision = reconcile(&input, &memory, now);
            if let (ScaleObservation::Found { spec_replicas, .. }, Some(to)) =
                (&mut input.scale, decision.scale_to)
            {
                prop_assert!(to != *spec_replicas);
                // Beyond 2^30 replicas the original's own doubling overflows.
                if *spec_replicas < 1 << 30 {
                    // A rate limit may hold a count outside the bounds only while it
                    // is there already.
                    prop_assert!(to >= min.min(*spec_replicas) && to <= max.max(*spec_replicas));
                }
                *spec_replicas = to.max(0);
            }
            prop_assert_eq!(decision.explanation.desired, decision.scale_to.unwrap_or(
                decision.explanation.current));
            input.status = HpaStatus::from_json(&decision.status);
            memory = decision.memory;
            now += SignedDuration::from_secs(gap);
        }
    }

    #[test]
    fn the_same_input_gives_the_same_decision(input in input()) {
        let run = || format!("{:?}", reconcile(&input, &HpaMemory::default(), start()));
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn a_status_reads_back_as_it_was_written(input in input()) {
        let decision = reconcile(&input, &HpaMemory::default(), start());
        let read = HpaStatus::from_json(&decision.status);
        prop_assert_eq!(read.to_json(), decision.status);
    }

    #[test]
    fn the_numbers_alone_are_those_of_the_whole_evaluation(
        mut input in input(), gaps in proptest::collection::vec(0..400i64, 6),
        values in proptest::collection::vec(proptest::option::of(quantity()), 18),
    ) {
        let Some(numbers) = Numbers::of(&input.spec, &input.config) else {
            prop_assert!(input.spec.metrics.is_empty());
            return Ok(());
        };
        let (mut whole, mut alone) = (HpaMemory::default(), HpaMemory::default());
        let mut asleep = false;
        let mut now = start();
        for (round, gap) in gaps.into_iter().enumerate() {
            let count = input.spec.metrics.len();
            let read: Vec<_> = (0..count)
                .map(|n| values[round * 3 + n].as_ref().map(|v| Quantity::parse(v).unwrap()))
                .collect();
            input.metrics = read.iter().cloned().enumerate().map(|(at, value)| {
                let value = value.map(|v| vec![v]).ok_or_else(|| "down".to_owned());
                (at, MetricObservation::External(value))
            }).collect();
            let readings: Vec<_> = read.iter().map(|v| v.as_ref().map(Quantity::milli_value)).collect();
            let decision = reconcile(&input, &whole, now);
            let ScaleObservation::Found { spec_replicas, status_replicas, .. } = &mut input.scale
            else { unreachable!() };
            let outcome = numbers.evaluate(&mut alone, &Seen {
                current: *spec_replicas,
                running: *status_replicas,
                ready: (!input.pods.is_empty()).then_some(input.pods.len()),
                asleep,
                readings: &readings,
            }, now);
            prop_assert_eq!(outcome.desired, decision.scale_to.unwrap_or(*spec_replicas));
            prop_assert_eq!(&alone, &decision.memory);
            *spec_replicas = outcome.desired.max(0);
            asleep = outcome.asleep;
            input.status = HpaStatus::from_json(&decision.status);
            whole = decision.memory;
            now += SignedDuration::from_secs(gap);
        }
    }
}
