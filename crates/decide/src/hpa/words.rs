//! What is said of the numbers: a metric's name in texts, its entry in the
//! status, and the explanation of the whole.

use api::quantity::{Format, Quantity};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::calculator::Tolerances;
use super::explanation::{Amount, Explanation, Proposal, Rule, Step, Tolerance};
use super::figures::{Arithmetic, Figures, Measured, Way};
use super::input::{HpaInput, HpaMemory, MetricObservation};
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
fn title(spec: &MetricSpec, reading: &Reading) -> String {
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

/// The metric that asks for the most, as conditions and events name it.
pub(super) fn winner(input: &HpaInput, measured: &Measured) -> String {
    let find = |at: usize| {
        let reading = measured.outcomes.get(at)?.as_ref().ok()?;
        Some(title(input.spec.metrics.get(at)?, reading))
    };
    measured.winner.and_then(find).unwrap_or_default()
}

/// How the numbers came about; errors are left to the caller. `memory` is as it
/// was before the recommendation was remembered.
pub(super) fn explanation(
    input: &HpaInput,
    arithmetic: &Arithmetic<'_>,
    figures: &Figures,
    memory: &HpaMemory,
) -> Explanation {
    let (current, desired) = (figures.current, figures.desired);
    let mut explanation = Explanation {
        current,
        running: figures.running,
        min: input.spec.min(),
        max: input.spec.max_replicas,
        desired,
        otherwise: arithmetic.otherwise(figures, memory),
        ..Explanation::default()
    };
    let mut step = |rule, from, to| explanation.steps.push(Step { rule, from, to });
    match &figures.way {
        Way::Paused => step(Rule::ScalingDisabled, 0, 0),
        Way::BadSelector(_) => {}
        Way::Bound(reason) => {
            step(Rule::OutsideBounds, current, desired);
            explanation.reason = (*reason).to_owned();
        }
        Way::Metrics(measured) => {
            let asked = measured.asked.max(0);
            match &measured.normal {
                None => {
                    let (failed, of) = (measured.failed, measured.outcomes.len());
                    let from = if failed < of { asked } else { current };
                    step(Rule::MetricsFailed { failed, of }, from, current);
                }
                Some(normal) => {
                    let (woken, stable) = (measured.woken, normal.stable.replicas);
                    if woken != asked {
                        step(Rule::WakeToMinimum, asked, woken);
                    }
                    if stable != woken {
                        let rule = arithmetic.stabilization(memory, woken, stable);
                        step(rule, woken, stable);
                    }
                    if let Some(bind) = normal.limited.bind {
                        step(bind.rule(), stable, normal.limited.replicas);
                    }
                    // Only a change has a reason to be told.
                    if desired != current {
                        explanation.reason = reason(input, measured, current);
                    }
                }
            }
            explanation.winner = measured.winner;
            explanation.proposals = (measured.outcomes.iter().enumerate())
                .map(|(at, o)| proposal(input, at, o, measured.tolerances, arithmetic.now()))
                .collect();
        }
    }
    explanation
}

/// Why the number changes, as the event says it.
fn reason(input: &HpaInput, measured: &Measured, current: i32) -> String {
    match measured.asked.max(0) {
        asked if asked > current => format!("{} above target", winner(input, measured)),
        asked if asked < current => "All metrics below target".to_owned(),
        asked if asked != measured.woken => {
            "Current number of replicas below Spec.MinReplicas".to_owned()
        }
        _ => String::new(),
    }
}

/// The metric's part of the explanation.
fn proposal(
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
