//! How many HPA decisions a core makes in a second, and how the cost grows
//! with triggers and with history.
//!
//! `cargo bench -p rheostat-decide --bench decisions`

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use api::quantity::Quantity;
use decide::hpa::{
    HpaInput, HpaMemory, HpaSpec, HpaStatus, MetricObservation, Numbers, ScaleObservation, Seen,
    decide, reconcile,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// An HPA on so many external metrics, with behavior.
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
        "metrics": (0..triggers).map(metric).collect::<Vec<Value>>(),
        "behavior": {
            "scaleUp": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]},
            "scaleDown": {"stabilizationWindowSeconds": window,
                "policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}]}},
    });
    HpaInput {
        namespace: "default".to_owned(),
        name: "keda-hpa-w".to_owned(),
        generation: Some(1),
        spec: HpaSpec::from_json(&spec).unwrap(),
        scale: ScaleObservation::Found {
            spec_replicas: 4,
            status_replicas: 4,
            selector: "app=w".to_owned(),
        },
        ..HpaInput::default()
    }
}

fn read(input: &mut HpaInput, value: i64, replicas: i32) {
    for at in 0..input.spec.metrics.len() {
        let value = Quantity::from_milli(value, api::quantity::Format::DecimalSI);
        let reading = MetricObservation::External(Ok(vec![value]));
        input.metrics.insert(at, reading);
    }
    if let ScaleObservation::Found {
        spec_replicas,
        status_replicas,
        ..
    } = &mut input.scale
    {
        (*spec_replicas, *status_replicas) = (replicas, replicas);
    }
}

/// A load that goes up and down: every rule has its turn.
fn load(round: u32) -> i64 {
    let phase = f64::from(round % 400) / 400.0 * std::f64::consts::TAU;
    (45_000.0 + 40_000.0 * phase.sin()) as i64
}

/// Decisions are timed in batches of this many; the best batch counts, as
/// other work on the machine only ever adds time.
const BATCH: u32 = 500;

/// How much a decision says of itself.
#[derive(Clone, Copy)]
enum How {
    Object,
    Explained,
    Numbers,
}

struct Run {
    per_second: f64,
    scaled: u32,
}

fn run(triggers: usize, window: i64, rounds: u32, how: How) -> Run {
    let mut input = input(triggers, window);
    let numbers = Numbers::of(&input.spec, &input.config).unwrap();
    let mut memory = HpaMemory::default();
    let mut now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let (mut replicas, mut scaled) = (4, 0);
    let (mut spent, mut best) = (Duration::ZERO, Duration::MAX);
    for round in 0..rounds {
        if round % BATCH == 0 && round > 0 {
            best = best.min(spent);
            spent = Duration::ZERO;
        }
        read(&mut input, load(round), replicas);
        let readings = vec![Some(load(round)); triggers];
        let start = Instant::now();
        let to = match how {
            How::Object => {
                let decision = black_box(reconcile(&input, &memory, now));
                spent += start.elapsed();
                memory = decision.memory;
                input.status = HpaStatus::from_json(&decision.status);
                decision.scale_to.unwrap_or(replicas)
            }
            How::Explained => {
                let explanation = black_box(decide(&input, &mut memory, now));
                spent += start.elapsed();
                explanation.desired
            }
            How::Numbers => {
                let seen = Seen {
                    current: replicas,
                    running: replicas,
                    ready: Some(1),
                    asleep: false,
                    readings: &readings,
                };
                let outcome = black_box(numbers.evaluate(&mut memory, &seen, now));
                spent += start.elapsed();
                outcome.desired
            }
        };
        scaled += u32::from(to != replicas);
        replicas = to;
        now += SignedDuration::from_secs(15);
    }
    Run {
        per_second: f64::from(BATCH) / best.as_secs_f64(),
        scaled,
    }
}

fn main() {
    println!("decisions a second on one core (load up and down, behavior set): with the object's");
    println!("conditions, events and status; with the explanation; with the numbers alone");
    println!("triggers  window     object  explained    numbers  replica changes");
    for (triggers, window) in [(1, 300), (4, 300), (16, 300), (1, 3600), (1, 14_400)] {
        let runs = [How::Object, How::Explained, How::Numbers].map(|how| {
            let run = run(triggers, window, 20_001, how);
            (run.per_second, run.scaled)
        });
        let [object, explained, numbers] = runs;
        assert!(
            object.1 == explained.1 && explained.1 == numbers.1,
            "one arithmetic, several answers"
        );
        println!(
            "{triggers:>8}  {window:>5}s  {:>9.0}  {:>9.0}  {:>9.0}  {}",
            object.0, explained.0, numbers.0, object.1
        );
    }
}
