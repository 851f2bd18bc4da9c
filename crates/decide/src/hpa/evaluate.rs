//! One evaluation of an HPA from its reading to its decision.

use std::collections::{BTreeMap, BTreeSet};

use api::selector::Selector;
use jiff::Timestamp;
use serde_json::Value;

use super::calculator::{Context, Tolerances};
use super::input::*;
use super::metrics::{Metric, failed_status};
use super::normalize::{self, DESIRED_WITHIN_RANGE, Limited, Rules};
use super::plan::{Course, course, scaled_to_zero};
use super::types::{HpaSpec, HpaStatus};

const ABLE: &str = "AbleToScale";
const ACTIVE: &str = "ScalingActive";
const LIMITED: &str = "ScalingLimited";
pub(super) const TO_ZERO: &str = "ScaledToZero";

/// An evaluation whose scale write, if any, is still to be made.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The replica count to write to the target's scale; `None` = no write.
    pub scale_to: Option<i32>,
    work: Work,
    error: Option<String>,
    current: i32,
    reason: String,
    metrics: Value,
}

/// What an evaluation changes as it goes along.
#[derive(Clone, Debug)]
struct Work {
    input: HpaInput,
    status: HpaStatus,
    memory: HpaMemory,
    events: Vec<HpaEvent>,
    explanation: Explanation,
    now: Timestamp,
    /// Set when the evaluation ended before a scale write could be due.
    over: bool,
}

/// The parts of an input that outlive the reading of pods and metrics.
fn without_readings(input: &HpaInput) -> HpaInput {
    HpaInput {
        namespace: input.namespace.clone(),
        name: input.name.clone(),
        generation: input.generation,
        spec: input.spec.clone(),
        status: input.status.clone(),
        scale: input.scale.clone(),
        metrics: BTreeMap::new(),
        pods: Vec::new(),
        others: Vec::new(),
        config: input.config.clone(),
    }
}

/// Evaluates an HPA. Total and pure.
pub fn evaluate(input: &HpaInput, memory: &HpaMemory, now: Timestamp) -> Evaluation {
    let mut work = Work {
        input: without_readings(input),
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
    match work.run(input) {
        Ok(next) => Evaluation {
            scale_to: (next.desired != next.current).then_some(next.desired),
            work,
            error: next.error,
            current: next.current,
            reason: next.reason,
            metrics: next.metrics,
        },
        Err(error) => {
            work.over = true;
            Evaluation {
                scale_to: None,
                current: work.explanation.current,
                work,
                error: Some(error),
                reason: String::new(),
                metrics: Value::Null,
            }
        }
    }
}

struct Next {
    current: i32,
    desired: i32,
    reason: String,
    metrics: Value,
    error: Option<String>,
}

/// How far a ratio may be from 1, by the spec or else by the settings.
pub(super) fn tolerances(spec: &HpaSpec, config: &HpaConfig) -> Tolerances {
    let behavior = spec
        .behavior
        .as_ref()
        .filter(|_| config.configurable_tolerance);
    let of = |rules: Option<&super::types::ScalingRules>| {
        rules
            .and_then(|r| r.tolerance.as_ref())
            .map_or(config.tolerance, |t| t.as_f64())
    };
    Tolerances {
        up: of(behavior.and_then(|b| b.scale_up.as_ref())),
        down: of(behavior.and_then(|b| b.scale_down.as_ref())),
    }
}

/// Whether a further proposal replaces the best one so far.
pub(super) fn takes_over(best: i32, proposal: i32) -> bool {
    best == 0 || proposal > best
}

/// Whether a target that sleeps at zero is woken to its minimum first.
pub(super) fn wakes_to_min(current: i32, asleep: bool, min: i32, desired: i32) -> bool {
    current == 0 && asleep && min != 0 && desired < min
}

/// Whether a written scale puts the target to sleep.
pub(super) fn falls_asleep(from: i32, to: i32, min: i32, external: bool) -> bool {
    from > 0 && to == 0 && min == 0 && external
}

/// What all metrics together ask for.
struct Asked {
    replicas: i32,
    name: String,
    error: Option<String>,
}

impl Work {
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

    fn scale(&mut self) -> Result<(i32, i32, String), String> {
        let target = self.input.spec.scale_target_ref.clone();
        if target.api_version.matches('/').count() > 1 {
            let raw = format!("unexpected GroupVersion string: {}", target.api_version);
            let error = format!("invalid API version in scale target reference: {raw}");
            return Err(self.no_scale(&raw, error));
        }
        match self.input.scale.clone() {
            ScaleObservation::Found {
                spec_replicas,
                status_replicas,
                selector,
            } => Ok((spec_replicas, status_replicas, selector)),
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
                Err(self.no_scale(&raw, error))
            }
        }
    }

    fn run(&mut self, input: &HpaInput) -> Result<Next, String> {
        let (current, running, selector) = self.scale()?;
        self.set(
            ABLE,
            true,
            "SucceededGetScale",
            "the HPA controller was able to get the target's current scale",
        );
        if self.memory.recommendations.is_none() {
            let first = Recommendation {
                replicas: current,
                at: self.now,
            };
            self.memory.recommendations = Some(vec![first]);
        }
        let course = course(&self.input, current);
        let asleep = scaled_to_zero(&self.input);
        self.explanation.current = current;
        self.explanation.running = running;
        let mut next = Next {
            current,
            desired: current,
            reason: String::new(),
            metrics: Value::Null,
            error: None,
        };
        match course {
            Course::Paused => {
                self.forget_zero_without_gate();
                let message = "scaling is disabled since the replica count of the target is zero";
                self.set(ACTIVE, false, "ScalingDisabled", message);
                self.step("ScalingDisabled", 0, 0, message);
            }
            Course::Bound(bound, reason) => {
                next.desired = bound;
                next.reason = reason.to_owned();
                self.step("Bounds", current, bound, reason);
            }
            Course::Metrics => {
                let asked =
                    self.ask_metrics(input, (current, running, &selector), &mut next.metrics);
                let asked = asked.map_err(|error| self.give_up(current, &next.metrics, error))?;
                next.error = asked.error;
                let min = self.input.spec.min();
                let mut desired = asked.replicas.max(0);
                if desired > current {
                    next.reason = format!("{} above target", asked.name);
                } else if desired < current {
                    next.reason = "All metrics below target".to_owned();
                }
                if wakes_to_min(current, asleep, min, desired) {
                    desired = min;
                    if next.reason.is_empty() {
                        next.reason =
                            "Current number of replicas below Spec.MinReplicas".to_owned();
                    }
                }
                next.desired = self.normalize(current, desired);
            }
        }
        Ok(next)
    }

    /// Total failure of the metrics: nothing is scaled.
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

    fn step(&mut self, rule: &str, from: i32, to: i32, detail: &str) {
        let (rule, detail) = (rule.to_owned(), detail.to_owned());
        self.explanation.steps.push(Step {
            rule,
            from,
            to,
            detail,
        });
    }

    /// The selected pods, if the selector is good and no other HPA has a hand
    /// on them.
    fn selected_pods<'a>(
        &mut self,
        input: &'a HpaInput,
        selector: &str,
    ) -> Result<Vec<&'a PodObservation>, String> {
        if selector.is_empty() {
            let text = "selector is required";
            self.warn("SelectorRequired", text);
            let message = "the HPA target's scale is missing a selector";
            self.set(ACTIVE, false, "InvalidSelector", message);
            return Err(text.to_owned());
        }
        let parsed = Selector::parse(selector).map_err(|error| {
            let text = format!(
                "couldn't convert selector into a corresponding internal selector object: {error}"
            );
            self.warn("InvalidSelector", &text);
            self.set(ACTIVE, false, "InvalidSelector", text.clone());
            text
        })?;
        let pods: Vec<_> = input
            .pods
            .iter()
            .filter(|p| parsed.matches(&p.labels))
            .collect();
        let mut rivals: BTreeSet<&str> = BTreeSet::new();
        for other in &input.others {
            let theirs = match other.selector.is_empty() {
                true => None,
                false => Selector::parse(&other.selector).ok(),
            };
            if theirs.is_some_and(|s| pods.iter().any(|p| s.matches(&p.labels))) {
                rivals.insert(&other.name);
            }
        }
        if rivals.is_empty() {
            return Ok(pods);
        }
        let newer = self.input.config.version >= KubernetesVersion::V1_37;
        rivals.insert(&self.input.name);
        let names: Vec<String> = rivals
            .iter()
            .map(|name| format!("{}/{name}", self.input.namespace))
            .collect();
        let text = match newer {
            true => format!(
                "pods by selector {selector} are controlled by more than one HPA (e.g. [{}])",
                names[..2].join(" ")
            ),
            false => format!(
                "pods by selector {selector} are controlled by multiple HPAs: [{}]",
                names.join(" ")
            ),
        };
        self.warn("AmbiguousSelector", &text);
        self.set(ACTIVE, false, "AmbiguousSelector", text.clone());
        Err(text)
    }

    /// Evaluates every metric; an error means that nothing may be scaled.
    fn ask_metrics(
        &mut self,
        input: &HpaInput,
        (current, running, selector): (i32, i32, &str),
        statuses: &mut Value,
    ) -> Result<Asked, String> {
        let pods = self.selected_pods(input, selector)?;
        let context = Context {
            pods: &pods,
            config: &input.config,
            now: self.now,
            tolerances: tolerances(&self.input.spec, &self.input.config),
        };
        let total = input.spec.metrics.len();
        let mut entries = Vec::with_capacity(total);
        let mut asked = Asked {
            replicas: 0,
            name: String::new(),
            error: None,
        };
        let mut first_fault = None;
        let mut faults = 0;
        for (at, spec) in input.spec.metrics.iter().enumerate() {
            let metric = Metric {
                input,
                context,
                current,
                running,
                spec,
                reading: input.metrics.get(&at),
            };
            let mut proposal = Proposal::default();
            match metric.evaluate(&mut proposal) {
                Ok(evaluated) => {
                    entries.push(evaluated.status);
                    if takes_over(asked.replicas, evaluated.replicas) {
                        asked.replicas = evaluated.replicas;
                        asked.name = evaluated.name;
                    }
                }
                Err(fault) => {
                    entries.push(failed_status());
                    faults += 1;
                    self.warn(fault.reason, &fault.text);
                    first_fault.get_or_insert(fault);
                }
            }
            self.explanation.proposals.push(proposal);
        }
        *statuses = Value::Array(entries);
        if let Some(fault) = &first_fault {
            let error = format!(
                "invalid metrics ({faults} invalid out of {total}), first error is: {}",
                fault.error
            );
            if faults >= total || asked.replicas < current {
                let message = format!(
                    "the HPA was unable to compute the replica count: {}",
                    fault.text
                );
                self.set(ACTIVE, false, fault.reason, message);
                return Err(error);
            }
            asked.error = Some(error);
        }
        let message = format!(
            "the HPA was able to successfully calculate a replica count from {}",
            asked.name
        );
        self.set(ACTIVE, true, "ValidMetricFound", message);
        Ok(asked)
    }

    fn normalize(&mut self, current: i32, desired: i32) -> i32 {
        let (min, max) = (self.input.spec.min(), self.input.spec.max_replicas);
        let config = self.input.config.clone();
        let behavior = self.input.spec.behavior.clone();
        let rules = behavior.as_ref().map(|b| Rules::of(b, &config));
        let memory = &mut self.memory;
        let at = (current, desired);
        let (stable, limited): (Limited, Limited) =
            normalize::settle(rules.as_ref(), &config, memory, (min, max), at, self.now);
        self.set(ABLE, true, stable.reason, normalize::message(stable.reason));
        if stable.replicas != desired {
            let text = normalize::message(stable.reason);
            self.step(stable.reason, desired, stable.replicas, text);
        }
        let changed = limited.replicas != stable.replicas;
        self.set(
            LIMITED,
            changed,
            limited.reason,
            normalize::message(limited.reason),
        );
        if limited.reason != DESIRED_WITHIN_RANGE {
            let text = normalize::message(limited.reason);
            self.step(limited.reason, stable.replicas, limited.replicas, text);
        }
        limited.replicas
    }
}

impl Evaluation {
    /// The decision, given how the scale write went (`None` = there was none
    /// to make).
    pub fn finish(self, write: Option<ScaleWrite>, now: Timestamp) -> HpaDecision {
        let Evaluation {
            scale_to,
            mut work,
            mut error,
            current,
            reason,
            metrics,
        } = self;
        work.now = now;
        work.explanation.desired = scale_to.unwrap_or(current);
        work.explanation.reason = reason.clone();
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

impl Work {
    fn rescaled(&mut self, from: i32, to: i32, reason: &str) {
        let message = format!("the HPA controller was able to update the target scale to {to}");
        self.set(ABLE, true, "SucceededRescale", message);
        self.events.push(HpaEvent {
            warning: false,
            reason: "SuccessfulRescale".to_owned(),
            message: format!("New size: {to}; reason: {reason}"),
        });
        if let Some(behavior) = self.input.spec.behavior.clone() {
            let rules = Rules::of(&behavior, &self.input.config);
            rules.record(&mut self.memory, from, to, self.now);
        }
        self.forget_zero_without_gate();
        if self.input.config.scale_to_zero {
            let spec = &self.input.spec;
            let asleep = falls_asleep(from, to, spec.min(), spec.has_object_or_external());
            if asleep {
                let message = "the HPA controller scaled the workload to zero";
                self.set(TO_ZERO, true, "ScaledToZero", message);
            } else {
                let message = "the HPA controller did not scale the workload to zero";
                self.set(TO_ZERO, false, "NotScaledToZero", message);
            }
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
