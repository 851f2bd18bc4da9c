//! Replica decisions: how many a second, and whether cost grows in step with history.

use std::hint::black_box;

use api::quantity::{Format, Quantity};
use benches::{Report, best};
use decide::hpa::{
    HpaInput, HpaMemory, HpaSpec, HpaStatus, MetricObservation, ScaleObservation, decide, reconcile,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

fn main() {
    let mut report = Report::new("replica decisions, one core");
    let rounds = 60_000;
    let one = input(1, 300);
    let decision = best(5, || run(&one, rounds, explained));
    report.at_least(
        "with their explanation; one trigger, behavior set",
        f64::from(rounds) / decision.as_secs_f64(),
        "decisions a second",
        300_000.0,
    );
    let object = best(5, || run(&one, rounds, of_object));
    report.beside(
        "with conditions, events and the status, written and read again",
        object,
        "with the explanation",
        decision,
        30.0,
    );
    let eight = best(5, || run(&input(8, 300), rounds, explained));
    report.beside("eight triggers", eight, "one trigger", decision, 9.0);
    let long = best(5, || run(&input(1, 3000), rounds, explained));
    report.beside("a window of 50 min", long, "one of 5 min", decision, 12.0);
    let double = best(5, || run(&one, 2 * rounds, explained));
    report.beside("twice as many", double, "half of them", decision, 2.6);
    report.finish();
}

/// One decision; returns the replica count from then on.
type Decide = fn(&mut HpaInput, &mut HpaMemory, Timestamp) -> i32;

fn explained(input: &mut HpaInput, memory: &mut HpaMemory, now: Timestamp) -> i32 {
    black_box(decide(input, memory, now)).desired
}

fn of_object(input: &mut HpaInput, memory: &mut HpaMemory, now: Timestamp) -> i32 {
    let decision = reconcile(input, memory, now);
    *memory = decision.memory;
    input.status = HpaStatus::from_json(&decision.status);
    decision.explanation.desired
}

/// Decides once a period, each time on what the last decision left behind.
fn run(input: &HpaInput, rounds: i32, decide: Decide) -> i32 {
    let mut input = input.clone();
    let mut memory = HpaMemory::default();
    let mut now = Timestamp::UNIX_EPOCH;
    let mut written = 0;
    for round in 0..rounds {
        // Load goes up and down, so that every rule gets its turn.
        let value = Quantity::new(i64::from((round / 40) % 90), Format::DecimalSI);
        for reading in input.metrics.values_mut() {
            *reading = MetricObservation::External(Ok(vec![value.clone()]));
        }
        let to = decide(&mut input, &mut memory, now);
        if let ScaleObservation::Found {
            spec_replicas,
            status_replicas,
            ..
        } = &mut input.scale
        {
            written += i32::from(*spec_replicas != to);
            (*spec_replicas, *status_replicas) = (to, to);
        }
        now += SignedDuration::from_secs(15);
    }
    written
}

/// An HPA with behavior on so many external metrics, with a stabilization
/// window of so many seconds.
fn input(triggers: usize, window: i64) -> HpaInput {
    let metric = |n: usize| {
        json!({"type": "External", "external": {
            "metric": {"name": format!("s{n}-prometheus"), "selector": {"matchLabels": {
                "scaledobject.keda.sh/name": "my-gpu-workload"}}},
            "target": {"type": "AverageValue", "averageValue": "5"}}})
    };
    let spec = json!({
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "w"},
        "minReplicas": 1, "maxReplicas": 20,
        "metrics": (0..triggers).map(metric).collect::<Vec<_>>(),
        "behavior": {
            "scaleUp": {"stabilizationWindowSeconds": 0, "policies": [
                {"type": "Pods", "value": 4, "periodSeconds": 60}]},
            "scaleDown": {"stabilizationWindowSeconds": window, "policies": [
                {"type": "Percent", "value": 50, "periodSeconds": 60}]},
        },
    });
    let reading = || MetricObservation::External(Ok(vec![Quantity::new(3, Format::DecimalSI)]));
    HpaInput {
        namespace: "default".to_owned(),
        name: "keda-hpa-w".to_owned(),
        spec: HpaSpec::from_json(&spec).unwrap_or_else(|e| panic!("{e}")),
        scale: ScaleObservation::Found {
            spec_replicas: 1,
            status_replicas: 1,
            selector: "app=w".to_owned(),
        },
        metrics: (0..triggers).map(|n| (n, reading())).collect(),
        ..HpaInput::default()
    }
}
