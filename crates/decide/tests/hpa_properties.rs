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

/// One External metric of `value` thousandths, all pods there and ready.
fn external(average: bool, target: i64, value: i64, current: i32, bounds: (i32, i32)) -> HpaInput {
    let key = if average { "averageValue" } else { "value" };
    let spec = json!({"minReplicas": bounds.0, "maxReplicas": bounds.1,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "w"},
        "metrics": [{"type": "External", "external": {"metric": {"name": "m"},
            "target": {"type": "Value", key: format!("{target}m")}}}]});
    let pod = |n: i32| PodObservation {
        name: format!("p{n}"),
        labels: [("app".to_owned(), "w".to_owned())].into(),
        phase: "Running".to_owned(),
        ready: Some(("True".to_owned(), None)),
        ..PodObservation::default()
    };
    let value = Quantity::from_milli(value, api::quantity::Format::DecimalSI);
    HpaInput {
        name: "w".to_owned(),
        spec: HpaSpec::from_json(&spec).unwrap(),
        scale: ScaleObservation::Found {
            spec_replicas: current,
            status_replicas: current,
            selector: "app=w".to_owned(),
        },
        metrics: [(0, MetricObservation::External(Ok(vec![value])))].into(),
        pods: (0..current).map(pod).collect(),
        ..HpaInput::default()
    }
}

fn recommendations() -> impl Strategy<Value = Vec<Recommendation>> {
    let one = (0..60i32, 0..700i64).prop_map(|(replicas, ago)| Recommendation {
        replicas,
        at: start() - SignedDuration::from_secs(ago),
    });
    proptest::collection::vec(one, 0..6)
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        4 => (-1000..1000i64).prop_map(|s| start() + SignedDuration::from_secs(s)),
        1 => Just(Timestamp::MIN),
        1 => Just(Timestamp::MAX),
    ]
}

fn any_span() -> impl Strategy<Value = std::time::Duration> {
    prop_oneof![
        (0..1000u64).prop_map(std::time::Duration::from_secs),
        Just(std::time::Duration::MAX),
    ]
}

fn any_memory() -> impl Strategy<Value = HpaMemory> {
    let recommendation =
        (any::<i32>(), any_time()).prop_map(|(replicas, at)| Recommendation { replicas, at });
    let event = || {
        let event = (any::<i32>(), any_time(), any::<bool>());
        let event = event.prop_map(|(change, at, outdated)| ScaleEvent {
            change,
            at,
            outdated,
        });
        proptest::collection::vec(event, 0..4)
    };
    let recommendations = proptest::collection::vec(recommendation, 0..4);
    (proptest::option::of(recommendations), event(), event()).prop_map(
        |(recommendations, up_events, down_events)| HpaMemory {
            recommendations,
            up_events,
            down_events,
        },
    )
}

fn any_metric() -> impl Strategy<Value = Value> {
    let kinds = [
        "External",
        "Object",
        "Pods",
        "Resource",
        "ContainerResource",
        "Sun",
        "",
    ];
    let kind = (0..kinds.len()).prop_map(move |n| kinds[n]);
    let target = (any::<u8>(), quantity(), any::<i32>()).prop_map(|(which, q, percent)| {
        let mut target = json!({"type": if which & 8 == 0 { "Value" } else { "AverageValue" }});
        if which & 1 == 0 {
            target["value"] = json!(q);
        }
        if which & 2 == 0 {
            target["averageValue"] = json!(q);
        }
        if which & 4 == 0 {
            target["averageUtilization"] = json!(percent);
        }
        target
    });
    (kind, target, any::<u8>()).prop_map(|(kind, target, sources)| {
        let named = json!({"metric": {"name": "m"}, "target": target,
            "describedObject": {"kind": "Service", "name": "s"}});
        let resource = json!({"name": if sources & 32 == 0 { "cpu" } else { "memory" },
            "container": if sources & 64 == 0 { "" } else { "c0" }, "target": target});
        let mut metric = json!({"type": kind});
        for (bit, key, source) in [
            (1, "external", &named),
            (2, "object", &named),
            (4, "pods", &named),
            (8, "resource", &resource),
            (16, "containerResource", &resource),
        ] {
            if sources & bit == 0 {
                metric[key] = source.clone();
            }
        }
        metric
    })
}

fn any_quantity() -> impl Strategy<Value = Quantity> {
    quantity().prop_map(|q| Quantity::parse(&q).unwrap())
}

fn any_reading() -> impl Strategy<Value = MetricObservation> {
    let usage = (0..5usize, any_time(), any_span(), any_quantity(), 0..3usize);
    let usage = usage.prop_map(|(pod, timestamp, window, value, containers)| PodUsage {
        pod: format!("p{pod}"),
        timestamp,
        window,
        containers: (0..containers)
            .map(|c| (format!("c{c}"), [("cpu".to_owned(), value.clone())].into()))
            .collect(),
    });
    let value = (0..5usize, any_time(), any_span(), any_quantity());
    let value = value.prop_map(|(pod, timestamp, window, value)| PodValue {
        pod: format!("p{pod}"),
        timestamp,
        window,
        value,
    });
    let series = proptest::collection::vec(any_quantity(), 0..4);
    prop_oneof![
        series.prop_map(|s| MetricObservation::External(Ok(s))),
        proptest::collection::vec(usage, 0..6).prop_map(|u| MetricObservation::Resource(Ok(u))),
        proptest::collection::vec(value, 0..6).prop_map(|v| MetricObservation::Pods(Ok(v))),
        any_quantity().prop_map(|q| MetricObservation::Object(Ok(q))),
        Just(MetricObservation::Object(Err("down".to_owned()))),
    ]
}

fn any_pod() -> impl Strategy<Value = PodObservation> {
    let phases = ["Running", "Pending", "Failed", ""];
    let parts = (
        0..5usize,
        0..4usize,
        any::<u8>(),
        proptest::option::of(any_time()),
    );
    (parts, any_time(), any_quantity(), 0..3usize).prop_map(
        move |((n, phase, bits, start_time), changed, request, containers)| PodObservation {
            name: format!("p{n}"),
            labels: [("app".to_owned(), "w".to_owned())].into(),
            deleting: bits & 1 == 0 && bits & 2 == 0,
            phase: phases[phase].to_owned(),
            start_time,
            ready: (bits & 4 == 0).then(|| {
                let ready = if bits & 8 == 0 { "True" } else { "False" };
                (ready.to_owned(), (bits & 16 == 0).then_some(changed))
            }),
            containers: (0..containers)
                .map(|c| {
                    (
                        format!("c{c}"),
                        [("cpu".to_owned(), request.clone())].into(),
                    )
                })
                .collect(),
            pod_requests: (bits & 32 == 0).then(|| [("cpu".to_owned(), request.clone())].into()),
        },
    )
}

prop_compose! {
    /// Also what no API server would let in.
    fn anything()(
        (min, max, current, running) in (any::<Option<i32>>(), any::<i32>(), any::<i32>(), any::<i32>()),
        metrics in proptest::collection::vec(any_metric(), 0..4),
        readings in proptest::collection::btree_map(0..4usize, any_reading(), 0..4),
        pods in proptest::collection::vec(any_pod(), 0..6),
        behavior in proptest::option::of(behavior()),
        selector in prop_oneof![Just("app=w"), Just(""), Just("!!"), Just("app in (w,x)")],
        asleep in any::<bool>(), others in any::<bool>(),
        spans in (any_span(), any_span(), any_span()),
        tolerance in prop_oneof![Just(0.1), Just(0.0), Just(-1.0), Just(1e300)],
    ) -> HpaInput {
        let spec = json!({"minReplicas": min, "maxReplicas": max, "metrics": metrics,
            "behavior": behavior,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "w"}});
        let mut input = HpaInput {
            name: "w".to_owned(),
            spec: HpaSpec::from_json(&spec).unwrap(),
            scale: ScaleObservation::Found {
                spec_replicas: current,
                status_replicas: running,
                selector: selector.to_owned(),
            },
            metrics: readings,
            pods,
            ..HpaInput::default()
        };
        if others {
            input.others = vec![OtherHpa { name: "x".to_owned(), selector: "app".to_owned() }];
        }
        input.config.downscale_stabilization = spans.0;
        input.config.cpu_initialization_period = spans.1;
        input.config.initial_readiness_delay = spans.2;
        input.config.tolerance = tolerance;
        input.status.set_scaled_to_zero(asleep, start());
        input
    }
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

    #[test]
    fn more_of_a_metric_never_asks_for_fewer_replicas(
        (average, target, current) in (any::<bool>(), 1..5_000i64, 1..60i32),
        (less, more) in (0..2_000_000i64, 0..500_000i64),
        (min, span) in (1..10i32, 0..60i32),
        recommendations in recommendations(),
    ) {
        let memory = HpaMemory { recommendations: Some(recommendations), ..HpaMemory::default() };
        let wanted = |value| {
            let input = external(average, target, value, current, (min, min + span));
            decide(&input, &mut memory.clone(), start()).desired
        };
        prop_assert!(wanted(less) <= wanted(less + more));
    }

    #[test]
    fn deciding_again_with_nothing_changed_changes_nothing(
        mut input in input(), recommendations in recommendations(),
    ) {
        let memory = HpaMemory { recommendations: Some(recommendations), ..HpaMemory::default() };
        let first = reconcile(&input, &memory, start());
        if first.scale_to.is_none() {
            input.status = HpaStatus::from_json(&first.status);
            let again = reconcile(&input, &first.memory, start());
            prop_assert_eq!(again.scale_to, None);
            prop_assert!(!again.write_status, "{} then {}", first.status, again.status);
        }
    }

    #[test]
    fn a_constant_load_is_approached_from_one_side(
        (target, value) in (1..5_000i64, 0..400_000i64), current in 1..60i32,
        (min, span) in (1..10i32, 0..60i32), behavior in proptest::option::of(behavior()),
    ) {
        let mut memory = HpaMemory::default();
        let (mut counts, mut now) = (vec![current], start());
        for _ in 0..80 {
            let current = counts[counts.len() - 1];
            let mut input = external(true, target, value, current, (min, min + span));
            input.spec.behavior = behavior.as_ref().map(|b| serde_json::from_value(b.clone()).unwrap());
            counts.push(decide(&input, &mut memory, now).desired);
            now += SignedDuration::from_secs(15);
        }
        prop_assert!(counts.is_sorted() || counts.is_sorted_by(|a, b| a >= b), "{:?}", counts);
    }

    #[test]
    fn missing_data_takes_nothing_away(
        mut input in input(), missing in 0..3usize, empty in any::<bool>(),
        recommendations in recommendations(),
    ) {
        let ScaleObservation::Found { spec_replicas: current, .. } = input.scale
        else { unreachable!() };
        let inside = current <= input.spec.max_replicas && current < 1 << 30;
        if missing < input.spec.metrics.len() && inside {
            let reading = if empty { Ok(Vec::new()) } else { Err("down".to_owned()) };
            input.metrics.insert(missing, MetricObservation::External(reading));
            let mut memory = HpaMemory { recommendations: Some(recommendations), ..HpaMemory::default() };
            prop_assert!(decide(&input, &mut memory, start()).desired >= current);
        }
    }

    #[test]
    fn the_explanation_leads_from_what_was_asked_to_what_is_done(
        mut input in input(), gaps in proptest::collection::vec(0..400i64, 4),
    ) {
        let (mut memory, mut alone) = (HpaMemory::default(), HpaMemory::default());
        let mut now = start();
        for gap in gaps {
            let decision = reconcile(&input, &memory, now);
            let told = decide(&input, &mut alone, now);
            prop_assert_eq!(&told, &Explanation {
                reason: told.reason.clone(), error: told.error.clone(), ..decision.explanation.clone()
            });
            prop_assert_eq!(&alone, &decision.memory);
            prop_assert_eq!(told.desired, decision.scale_to.unwrap_or(told.current));
            for pair in told.steps.windows(2) {
                prop_assert_eq!(pair[0].to, pair[1].from);
            }
            if let Some(winner) = told.winner {
                let asked = told.proposals[winner].replicas.unwrap().max(0);
                prop_assert_eq!(told.steps.first().map_or(told.desired, |s| s.from), asked);
                prop_assert_eq!(told.steps.last().map_or(asked, |s| s.to), told.desired);
            }
            // A rule left out is the same evaluation of a spec that has none.
            for other in &told.otherwise {
                prop_assert!(other.replicas != told.desired);
                let mut free = input.clone();
                match other.without {
                    Omitted::Maximum => free.spec.max_replicas = i32::MAX,
                    Omitted::Tolerance => free.config.tolerance = 0.0,
                    _ => continue,
                }
                let mut memory = memory.clone();
                prop_assert_eq!(decide(&free, &mut memory, now).desired, other.replicas);
            }
            if let (ScaleObservation::Found { spec_replicas, .. }, Some(to)) =
                (&mut input.scale, decision.scale_to)
            {
                *spec_replicas = to.max(0);
            }
            input.status = HpaStatus::from_json(&decision.status);
            memory = decision.memory;
            now += SignedDuration::from_secs(gap);
        }
    }

    #[test]
    fn nothing_panics(input in anything(), memory in any_memory(), now in any_time()) {
        let _ = (wants(&input), needs_pods(&input));
        let decision = reconcile(&input, &memory, now);
        let text = serde_json::to_string(&decision.explanation).unwrap();
        let read: Explanation = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(read.steps, decision.explanation.steps);
    }
}
