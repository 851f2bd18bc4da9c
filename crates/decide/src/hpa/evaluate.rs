//! One evaluation of an HPA from its reading to its decision: the numbers of
//! [`super::figures`] with the conditions, events and status that go with them.

use jiff::Timestamp;
use serde_json::Value;

use super::explanation::Explanation;
use super::figures::{Arithmetic, Measured, Way, falls_asleep, rules, seed};
use super::input::*;
use super::normalize;
use super::types::{HpaStatus, TO_ZERO};
use super::words;

const ABLE: &str = "AbleToScale";
const ACTIVE: &str = "ScalingActive";
const LIMITED: &str = "ScalingLimited";

/// An evaluation whose scale write, if any, is still to be made.
#[derive(Clone, Debug)]
pub struct Evaluation<'a> {
    /// The replica count to write to the target's scale; `None` = no write.
    pub scale_to: Option<i32>,
    work: Work<'a>,
    error: Option<String>,
    reason: String,
    metrics: Value,
}

/// What an evaluation changes as it goes along.
#[derive(Clone, Debug)]
struct Work<'a> {
    input: &'a HpaInput,
    status: HpaStatus,
    memory: HpaMemory,
    events: Vec<HpaEvent>,
    explanation: Explanation,
    now: Timestamp,
    /// Set when the evaluation ended before a scale write could be due.
    over: bool,
}

/// Evaluates an HPA. Total and pure.
pub fn evaluate<'a>(input: &'a HpaInput, memory: &HpaMemory, now: Timestamp) -> Evaluation<'a> {
    let work = Work {
        input,
        status: input.status.clone(),
        memory: memory.clone(),
        events: Vec::new(),
        explanation: Explanation {
            min: input.spec.min(),
            max: input.spec.max_replicas,
            ..Explanation::default()
        },
        now,
        over: false,
    };
    let mut evaluation = Evaluation {
        scale_to: None,
        work,
        error: None,
        reason: String::new(),
        metrics: Value::Null,
    };
    if let Err(error) = evaluation.run() {
        evaluation.work.over = true;
        evaluation.error = Some(error);
        evaluation.scale_to = None;
    }
    evaluation
}

/// The decision with its reasons, but without the conditions, events and
/// status that an API object gets ([`evaluate`]): the same arithmetic, with a
/// scale write that succeeds. `memory` is brought up to date. For logs of
/// decisions that are made by the million.
pub fn decide(input: &HpaInput, memory: &mut HpaMemory, now: Timestamp) -> Explanation {
    let scale = match &input.scale {
        ScaleObservation::Found {
            spec_replicas,
            status_replicas,
            selector,
        } if group_versions(input) <= 1 => Ok((*spec_replicas, *status_replicas, selector)),
        _ => Err("the target's scale is not known"),
    };
    let (current, running, selector) = match scale {
        Ok(found) => found,
        Err(why) => {
            return Explanation {
                min: input.spec.min(),
                max: input.spec.max_replicas,
                error: Some(why.to_owned()),
                ..Explanation::default()
            };
        }
    };
    seed(memory, current, now);
    let mut arithmetic = Arithmetic::new(input, (current, running), now);
    let figures = arithmetic.run(selector, memory);
    let mut explanation = words::explanation(input, &arithmetic, &figures, memory);
    explanation.error = match &figures.way {
        Way::BadSelector(bad) => Some(bad.text.clone()),
        Way::Metrics(measured) => measured.fault().map(|_| measured.invalid()),
        Way::Paused | Way::Bound(_) => None,
    };
    arithmetic.remember(&figures, memory);
    if figures.desired != current
        && let Some(rules) = arithmetic.rules()
    {
        rules.record(memory, current, figures.desired, now);
    }
    explanation
}

/// Slashes in the target's group and version.
fn group_versions(input: &HpaInput) -> usize {
    let version = &input.spec.scale_target_ref.api_version;
    version.matches('/').count()
}

impl Evaluation<'_> {
    fn run(&mut self) -> Result<(), String> {
        let input = self.work.input;
        let (current, running, selector) = self.work.scale()?;
        let work = &mut self.work;
        work.set(
            ABLE,
            true,
            "SucceededGetScale",
            "the HPA controller was able to get the target's current scale",
        );
        seed(&mut work.memory, current, work.now);
        let mut arithmetic = Arithmetic::new(input, (current, running), work.now);
        let figures = arithmetic.run(selector, &work.memory);
        work.explanation = words::explanation(input, &arithmetic, &figures, &work.memory);
        match &figures.way {
            Way::Paused => {
                work.forget_zero_without_gate();
                let message = "scaling is disabled since the replica count of the target is zero";
                work.set(ACTIVE, false, "ScalingDisabled", message);
            }
            Way::Bound(_) => {}
            Way::BadSelector(bad) => {
                work.warn(bad.event, &bad.text);
                work.set(ACTIVE, false, bad.reason, bad.message.clone());
                return Err(work.give_up(current, &Value::Null, bad.text.clone()));
            }
            Way::Metrics(measured) => {
                self.metrics = work.metrics(measured);
                self.error = measured.fault().map(|_| measured.invalid());
                if measured.normal.is_none() {
                    let error = measured.invalid();
                    return Err(work.give_up(current, &self.metrics, error));
                }
            }
        }
        arithmetic.remember(&figures, &mut work.memory);
        self.reason = std::mem::take(&mut work.explanation.reason);
        self.scale_to = (figures.desired != current).then_some(figures.desired);
        Ok(())
    }
}

impl<'a> Work<'a> {
    fn set(&mut self, kind: &str, status: bool, reason: &str, message: impl Into<String>) {
        self.status
            .set_condition(kind, status, reason, message.into(), self.now);
    }

    fn warn(&mut self, reason: &str, message: &str) {
        self.events.push(HpaEvent {
            warning: true,
            reason: reason.to_owned(),
            message: message.to_owned(),
        });
    }

    fn reference(&self) -> String {
        let target = &self.input.spec.scale_target_ref;
        format!("{}/{}/{}", target.kind, self.input.namespace, target.name)
    }

    fn observe_generation(&mut self) {
        let observes = self.input.config.version >= KubernetesVersion::V1_37;
        self.status.observed_generation = self.input.generation.filter(|_| observes);
    }

    fn no_scale(&mut self, raw: &str, error: String) -> String {
        self.warn("FailedGetScale", raw);
        let message =
            format!("the HPA controller was unable to get the target's current scale: {raw}");
        self.set(ABLE, false, "FailedGetScale", message);
        error
    }

    fn scale(&mut self) -> Result<(i32, i32, &'a str), String> {
        let target = &self.input.spec.scale_target_ref;
        if group_versions(self.input) > 1 {
            let raw = format!("unexpected GroupVersion string: {}", target.api_version);
            let error = format!("invalid API version in scale target reference: {raw}");
            return Err(self.no_scale(&raw, error));
        }
        match &self.input.scale {
            ScaleObservation::Found {
                spec_replicas,
                status_replicas,
                selector,
            } => Ok((*spec_replicas, *status_replicas, selector)),
            ScaleObservation::UnknownKind => {
                let group = target
                    .api_version
                    .split_once('/')
                    .map_or("", |(group, _)| group);
                let raw = format!(
                    "no matches for kind \"{}\" in group \"{group}\"",
                    target.kind
                );
                let error =
                    format!("unable to determine resource for scale target reference: {raw}");
                Err(self.no_scale(&raw, error))
            }
            ScaleObservation::Failed(raw) => {
                let error = format!(
                    "failed to query scale subresource for {}: {raw}",
                    self.reference()
                );
                Err(self.no_scale(raw, error))
            }
        }
    }

    /// Nothing can be said of the metrics: nothing is scaled.
    fn give_up(&mut self, current: i32, metrics: &Value, error: String) -> String {
        self.status.current_replicas = current;
        self.status.current_metrics = metrics.clone();
        self.observe_generation();
        self.warn("FailedComputeMetricsReplicas", &error);
        format!(
            "failed to compute desired number of replicas based on listed metrics for {}: {error}",
            self.reference()
        )
    }

    /// Without the gate the condition goes away wherever it would be set.
    fn forget_zero_without_gate(&mut self) {
        if !self.input.config.scale_to_zero {
            self.status.conditions.retain(|c| c.kind != TO_ZERO);
        }
    }

    /// Conditions and events of the metrics; what comes back is their entries
    /// in the status.
    fn metrics(&mut self, measured: &Measured) -> Value {
        let input = self.input;
        let mut entries = Vec::with_capacity(measured.outcomes.len());
        for (spec, outcome) in input.spec.metrics.iter().zip(&measured.outcomes) {
            entries.push(match outcome {
                Ok(reading) => words::status(spec, reading),
                Err(fault) => {
                    self.warn(fault.reason, &fault.text);
                    words::failed_status()
                }
            });
        }
        match (&measured.normal, measured.fault()) {
            (Some(normal), _) => {
                let name = words::winner(input, measured);
                let message = format!(
                    "the HPA was able to successfully calculate a replica count from {name}"
                );
                self.set(ACTIVE, true, "ValidMetricFound", message);
                let (stable, limited) = (normal.stable, normal.limited);
                self.set(ABLE, true, stable.reason, normalize::message(stable.reason));
                let changed = limited.replicas != stable.replicas;
                let message = normalize::message(limited.reason);
                self.set(LIMITED, changed, limited.reason, message);
            }
            (None, Some(fault)) => {
                let message = format!(
                    "the HPA was unable to compute the replica count: {}",
                    fault.text
                );
                self.set(ACTIVE, false, fault.reason, message);
            }
            (None, None) => {}
        }
        Value::Array(entries)
    }
}

impl Evaluation<'_> {
    /// The decision, given how the scale write went (`None` = there was none
    /// to make).
    pub fn finish(self, write: Option<ScaleWrite>, now: Timestamp) -> HpaDecision {
        let Evaluation {
            scale_to,
            mut work,
            mut error,
            reason,
            metrics,
        } = self;
        work.now = now;
        let current = work.explanation.current;
        work.explanation.desired = scale_to.unwrap_or(current);
        if !work.over {
            match (scale_to, write) {
                (None, _) => work.settle(current, current, metrics, false),
                (Some(to), Some(ScaleWrite::Failed(text))) => {
                    let message = format!("New size: {to}; reason: {reason}; error: {text}");
                    work.warn("FailedRescale", &message);
                    let message =
                        format!("the HPA controller was unable to update the target scale: {text}");
                    work.set(ABLE, false, "FailedUpdateScale", message);
                    error = Some(format!("failed to rescale {}: {text}", work.reference()));
                    let desired = work.status.desired_replicas;
                    work.settle(current, desired, metrics, false);
                }
                (Some(to), _) => {
                    work.rescaled(current, to, &reason);
                    work.settle(current, to, metrics, true);
                }
            }
        }
        work.explanation.reason = reason;
        work.explanation.error.clone_from(&error);
        HpaDecision {
            scale_to,
            write_status: !work.status.says_the_same_as(&work.input.status),
            status: work.status.to_json(),
            events: work.events,
            error,
            memory: work.memory,
            explanation: work.explanation,
        }
    }
}

impl Work<'_> {
    fn rescaled(&mut self, from: i32, to: i32, reason: &str) {
        let message = format!("the HPA controller was able to update the target scale to {to}");
        self.set(ABLE, true, "SucceededRescale", message);
        self.events.push(HpaEvent {
            warning: false,
            reason: "SuccessfulRescale".to_owned(),
            message: format!("New size: {to}; reason: {reason}"),
        });
        if let Some(rules) = rules(self.input) {
            rules.record(&mut self.memory, from, to, self.now);
        }
        self.forget_zero_without_gate();
        if self.input.config.scale_to_zero {
            let spec = &self.input.spec;
            let asleep = falls_asleep(from, to, spec.min(), spec.has_object_or_external());
            self.status.set_scaled_to_zero(asleep, self.now);
        }
    }

    fn settle(&mut self, current: i32, desired: i32, metrics: Value, rescaled: bool) {
        self.status.current_replicas = current;
        self.status.desired_replicas = desired;
        self.status.current_metrics = metrics;
        self.observe_generation();
        if rescaled {
            self.status.last_scale_time = Some(self.now);
        }
    }
}
