//! The words that go with a metric's number: its name in texts, its entry in
//! the status, and its part of the explanation.

use api::quantity::{Format, Quantity};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::calculator::Tolerances;
use super::explanation::{Amount, Proposal, Tolerance};
use super::input::{HpaInput, MetricObservation};
use super::metrics::{Fault, Reading, Source};
use super::types::MetricSpec;

/// The status entry that stands for a metric that failed.
pub(super) fn failed_status() -> Value {
    json!({"type": ""})
}

fn milli(value: i64) -> String {
    Quantity::from_milli(value, Format::DecimalSI).to_string()
}

/// The metric as conditions and events name it.
pub(super) fn title(spec: &MetricSpec, reading: &Reading) -> String {
    match Source::of(spec) {
        Source::External(source) => format!("external metric {}", source.metric.with_selector()),
        Source::Object(source) if reading.key == "value" => {
            let kind = &source.described_object.kind;
            format!("{kind} metric {}", source.metric.name)
        }
        // The original calls it so.
        Source::Object(source) => format!("external metric {}", source.metric.with_selector()),
        Source::Pods(source) => format!("pods metric {}", source.metric.name),
        Source::Resource(source) | Source::ContainerResource(source)
            if reading.count.utilization.is_none() =>
        {
            format!("{} resource", source.name)
        }
        Source::Resource(source) => {
            let name = &source.name;
            format!("{name} resource utilization (percentage of request)")
        }
        Source::ContainerResource(source) => {
            let name = &source.name;
            format!("{name} container resource utilization (percentage of request)")
        }
        Source::Unknown => String::new(),
    }
}

/// The metric's entry in the status.
pub(super) fn status(spec: &MetricSpec, reading: &Reading) -> Value {
    let count = &reading.count;
    let current = || {
        let mut map = serde_json::Map::new();
        map.insert(reading.key.to_owned(), milli(count.usage).into());
        Value::Object(map)
    };
    let usage = |resource: &str| {
        let format = if resource == "memory" {
            Format::BinarySI
        } else {
            Format::DecimalSI
        };
        let shown = Quantity::from_milli(count.usage, format).to_string();
        let mut current = json!({"averageValue": shown});
        if let Some(percent) = count.utilization {
            current["averageUtilization"] = json!(percent);
        }
        current
    };
    match Source::of(spec) {
        Source::External(source) => json!({"type": "External", "external": {
            "metric": source.metric, "current": current()}}),
        Source::Object(source) => json!({"type": "Object", "object": {
            "metric": source.metric, "current": current(),
            "describedObject": source.described_object}}),
        Source::Pods(source) => json!({"type": "Pods", "pods": {
            "metric": source.metric, "current": current()}}),
        Source::Resource(source) => json!({"type": "Resource", "resource": {
            "name": source.name, "current": usage(&source.name)}}),
        Source::ContainerResource(source) => {
            json!({"type": "ContainerResource", "containerResource": {
                "name": source.name, "container": source.container,
                "current": usage(&source.name)}})
        }
        Source::Unknown => failed_status(),
    }
}

/// The metric's part of the explanation.
pub(super) fn proposal(
    input: &HpaInput,
    at: usize,
    outcome: &Result<Reading, Fault>,
    tolerances: Tolerances,
    now: Timestamp,
) -> Proposal {
    let mut proposal = Proposal::default();
    let Some(spec) = input.spec.metrics.get(at) else {
        return proposal;
    };
    proposal.kind.clone_from(&spec.kind);
    let source = Source::of(spec);
    let name = match &source {
        Source::External(s) | Source::Object(s) | Source::Pods(s) => Some(&s.metric.name),
        Source::Resource(s) | Source::ContainerResource(s) => Some(&s.name),
        Source::Unknown => None,
    };
    proposal.metric = name.cloned().unwrap_or_default();
    proposal.sampled = sampled(input, at);
    proposal.age_ms = proposal
        .sampled
        .and_then(|at| i64::try_from(now.duration_since(at).as_millis()).ok());
    match outcome {
        Ok(reading) => {
            let count = &reading.count;
            proposal.value = Some(match count.utilization {
                Some(percent) => Amount::Percent(percent),
                None => Amount::Milli(count.usage),
            });
            proposal.target = Some(reading.target);
            proposal.per_replica = reading.key == "averageValue";
            proposal.total = count.total.map(Amount::Milli);
            proposal.ratio = count.ratio.is_finite().then_some(count.ratio);
            proposal.raw = Some(count.raw);
            proposal.replicas = Some(count.replicas);
            proposal.tolerance = Some(Tolerance {
                up: tolerances.up,
                down: tolerances.down,
                held: count.held,
            });
            proposal.pods = count.pods;
        }
        Err(fault) => proposal.error = Some(fault.text.clone()),
    }
    proposal
}

/// When the oldest part of a reading was taken.
fn sampled(input: &HpaInput, at: usize) -> Option<Timestamp> {
    match input.metrics.get(&at)? {
        MetricObservation::Resource(Ok(items)) => items.iter().map(|i| i.timestamp).min(),
        MetricObservation::Pods(Ok(items)) => items.iter().map(|i| i.timestamp).min(),
        _ => input.sampled.get(&at).copied(),
    }
}
