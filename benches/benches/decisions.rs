//! Replica decisions: how many a second, and whether cost grows in step with history.

use api::quantity::{Format, Quantity};
use benches::{Report, best};
use decide::hpa::{
    HpaInput, HpaMemory, HpaSpec, HpaStatus, MetricObservation, ScaleObservation, reconcile,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

fn main() {
    let mut report = Report::new("replica decisions, one core");
    let (input, start) = (input(1), Timestamp::UNIX_EPOCH);
    let rounds = 60_000;
    let took = best(5, || decide(&input, start, rounds));
    let rate = f64::from(rounds) / took.as_secs_f64();
    report.at_least(
        "one trigger, behavior set",
        rate,
        "decisions a second",
        300_000.0,
    );
    let several = self::input(8);
    let eight = best(5, || decide(&several, start, rounds));
    report.beside("eight triggers", eight, "one trigger", took, 9.0);
    let double = best(5, || decide(&input, start, 2 * rounds));
    report.beside("twice as many", double, "half of them", took, 2.6);
    report.finish();
}

/// Decides once a period, each time on what the last decision left behind.
fn decide(input: &HpaInput, start: Timestamp, rounds: i32) -> i32 {
    let mut input = input.clone();
    let mut memory = HpaMemory::default();
    let mut now = start;
    let mut written = 0;
    for round in 0..rounds {
        // Load goes up and down, so that every rule gets its turn.
        let value = Quantity::new(i64::from((round / 40) % 90), Format::DecimalSI);
        for reading in input.metrics.values_mut() {
            *reading = MetricObservation::External(Ok(vec![value.clone()]));
        }
        let decision = reconcile(&input, &memory, now);
        if let (Some(to), ScaleObservation::Found { spec_replicas, .. }) =
            (decision.scale_to, &mut input.scale)
        {
            *spec_replicas = to;
            written += 1;
        }
        memory = decision.memory;
        input.status = HpaStatus::from_json(&decision.status);
        now += SignedDuration::from_secs(15);
    }
    written
}

fn input(triggers: usize) -> HpaInput {
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
            "scaleDown": {"stabilizationWindowSeconds": 300, "policies": [
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
