//! One poll of a ScaledObject: from what was read to what is done.
//!
//! Everything the loop remembers is in the object's status, so the status is
//! the state: it goes in with the object and comes out in the decision.

use std::time::Duration;

use api::keda::{ScaledObject, ScaledObjectStatus, TriggerActivity};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::conditions::{self, Event, HPA_ACTIVE, READY};
use super::fallback::{self, MetricRead, Read, Settled};
use super::hpa_spec::COMPOSITE;
use super::modifiers::Composite;
use super::pause::Steering;

/// What one poll saw.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The external metrics, in order of the triggers.
    pub metrics: Vec<MetricRead>,
    /// How many triggers the HPA reads itself (cpu, memory).
    pub resource_triggers: usize,
    /// Replicas the target asks for, or why they are not known.
    pub replicas: Result<i32, String>,
    /// Ready pods of the target, where known.
    pub ready_pods: Option<i32>,
    /// The HPA's ScalingActive condition: status, reason, message.
    pub hpa: Option<HpaCondition>,
    /// The time of the poll.
    pub now: Timestamp,
}

/// The part of an HPA's status that KEDA repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HpaCondition {
    /// Whether ScalingActive is True.
    pub active: bool,
    /// Its reason.
    pub reason: String,
    /// Its message.
    pub message: String,
}

/// A change of the target's replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Replicas before.
    pub from: i32,
    /// Replicas wanted.
    pub to: i32,
    /// Recorded when the write succeeds.
    pub done: Option<Event>,
    /// Recorded when it fails.
    pub failed: Option<Event>,
}

/// Which line of KEDA's decision table applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Rule {
    /// The replicas are not known.
    ReplicasUnknown,
    /// A full pause.
    Paused,
    /// Active at zero or idle: wake up.
    Activate,
    /// Active at zero or idle, but scale-out is paused.
    ActivationPaused,
    /// Active, with some triggers failing.
    PartlyFailing,
    /// Active and awake.
    Active,
    /// Failing, and the fallback has not started yet.
    AwaitFallback,
    /// Failing without a fallback.
    Failing,
    /// Inactive, and the cooldown is over.
    Deactivate,
    /// Inactive, cooling down.
    Cooldown,
    /// Inactive, but scale-in is paused.
    DeactivationPaused,
    /// Inactive below the minimum.
    RaiseToMinimum,
    /// Inactive, nothing to do.
    Idle,
}

/// Why the poll did what it did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The line of the table.
    pub rule: Rule,
    /// Each metric: name, value, whether active, whether made up, error.
    pub metrics: Vec<MetricExplanation>,
    /// Whether an annotation forced the activation.
    pub forced: bool,
    /// When the cooldown ends, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown_until: Option<String>,
    /// Replicas before the poll.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<i32>,
    /// Replicas the poll asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<i32>,
}

impl Explanation {
    /// Of a ScaledObject that an annotation has paused: its triggers are not
    /// asked. `held` is the replica count that the annotation gives, if it gives
    /// one, and `from` what was there.
    pub fn paused(from: Option<i32>, held: Option<i32>) -> Self {
        Self {
            rule: Rule::Paused,
            metrics: Vec::new(),
            forced: false,
            cooldown_until: None,
            from,
            to: held.filter(|to| from != Some(*to)),
        }
    }
}

/// One metric in an [`Explanation`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricExplanation {
    /// `s0-prometheus`.
    pub metric: String,
    /// The value that counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Whether it wakes the workload.
    pub active: bool,
    /// Whether the fallback made it up.
    pub fallback: bool,
    /// Why there is no value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl MetricExplanation {
    fn of(metric: &str, settled: &Settled) -> Self {
        let (value, active, fallback, error) = match settled {
            Settled::Value {
                value,
                active,
                fallback,
            } => (Some(*value), *active, *fallback, None),
            Settled::Nil => (None, false, true, None),
            Settled::Error(error) => (None, false, false, Some(error.clone())),
        };
        Self {
            metric: metric.to_owned(),
            value,
            active,
            fallback,
            error,
        }
    }
}

/// What a poll does.
#[derive(Clone, Debug)]
pub struct Decision {
    /// Replicas to write.
    pub scale: Option<Scale>,
    /// The next status. With a scale it is that of a successful write.
    pub status: ScaledObjectStatus,
    /// The status to write instead when the scale write fails.
    pub status_if_failed: ScaledObjectStatus,
    /// Events to record.
    pub events: Vec<Event>,
    /// Whether any trigger failed, so that triggers are built anew.
    pub failed: bool,
    /// Time from the start of this poll to the next.
    pub next: Duration,
    /// Why.
    pub explanation: Explanation,
}

/// Decides one poll. `composite` is [`Composite::of`] the object.
pub fn step(object: &ScaledObject, composite: Option<&Composite>, seen: &Observation) -> Decision {
    let spec = &object.spec;
    let steering = Steering::of(&object.metadata.annotations);
    let mut status = object.status.clone();
    let mut events = Vec::new();
    let next = Duration::from_secs(spec.polling_seconds());

    let fell_back_before = conditions::status_of(&status.conditions, conditions::FALLBACK);
    let fell_back_before = fell_back_before.to_owned();
    let modified = spec.modifiers().is_some();
    let failure = if modified {
        "KEDAMetricSourceFailed"
    } else {
        "KEDAScalerFailed"
    };
    let mut metrics = Vec::new();
    let mut all_settled = Vec::new();
    let mut active_names = Vec::new();
    let mut failed = false;
    for metric in &seen.metrics {
        if let Read::Failed(error) = &metric.read {
            failed = true;
            events.push(Event::looped("Warning", failure, error.clone()));
        }
        let replicas = seen.replicas.as_ref().ok().copied();
        let settled = fallback::settle(spec, &mut status.health, metric, replicas, seen.ready_pods);
        let mut explained = MetricExplanation::of(&metric.metric, &settled);
        // Beside a formula a trigger's own activity counts for nothing.
        explained.active &= !modified;
        if explained.active {
            active_names.push(metric.metric.clone());
        }
        let activity = TriggerActivity {
            is_active: explained.active,
        };
        status
            .triggers_activity
            .insert(metric.metric.clone(), activity);
        metrics.push(explained);
        all_settled.push((metric.metric.as_str(), settled));
    }
    let by_name: Vec<(&str, &Settled)> = all_settled.iter().map(|(name, s)| (*name, s)).collect();
    if let Some(composite) = composite {
        let settled = composite.polled(spec.fallback.as_ref(), &by_name, seen.now);
        let explained = MetricExplanation::of(COMPOSITE, &settled);
        if explained.active {
            active_names.push(COMPOSITE.to_owned());
        }
        if let (Some(error), false) = (&explained.error, failed) {
            events.push(Event::looped("Warning", failure, error.clone()));
        }
        metrics.push(explained);
    }
    let unsettled = metrics.iter().any(|m| m.error.is_some());
    if !fallback::is_enabled(spec) {
        conditions::fallback(&mut status.conditions, false);
    } else if !seen.metrics.is_empty() {
        fallback::set_condition(spec, &status.health, &mut status.conditions);
    }
    let falls_back = conditions::status_of(&status.conditions, conditions::FALLBACK) == "True";
    if falls_back && fell_back_before != "True" {
        let note = "ScaledObject fallback is active";
        events.push(Event::looped(
            "Normal",
            "ScaledObjectFallbackActivated",
            note,
        ));
    } else if !falls_back && fell_back_before == "True" {
        let note = "ScaledObject fallback is no longer active";
        events.push(Event::looped(
            "Normal",
            "ScaledObjectFallbackDeactivated",
            note,
        ));
    }

    // Triggers of the HPA alone keep the workload awake.
    let only_resources = seen.metrics.is_empty() && seen.resource_triggers > 0;
    let active = !active_names.is_empty() || only_resources;
    let table = Table {
        object,
        seen,
        steering: &steering,
        active,
        unsettled,
        active_names,
    };
    let outcome = table.decide(&mut status);
    events.extend(outcome.events);
    let keeps_hpa_condition = matches!(outcome.rule, Rule::ReplicasUnknown | Rule::Paused);
    if !keeps_hpa_condition {
        set_hpa_condition(&mut status, seen.hpa.as_ref());
    }
    let mut status_if_failed = status.clone();
    if let Some(failure) = &outcome.if_failed {
        status_if_failed.last_active_time = failure.last_active_time.clone();
        status_if_failed.conditions = failure.conditions.clone();
        if !keeps_hpa_condition {
            set_hpa_condition(&mut status_if_failed, seen.hpa.as_ref());
        }
    }
    Decision {
        explanation: Explanation {
            rule: outcome.rule,
            metrics,
            forced: steering.forced,
            cooldown_until: outcome.cooldown_until,
            from: seen.replicas.as_ref().ok().copied(),
            to: outcome.scale.as_ref().map(|s| s.to),
        },
        scale: outcome.scale,
        status,
        status_if_failed,
        events,
        failed,
        next,
    }
}

struct Table<'a> {
    object: &'a ScaledObject,
    seen: &'a Observation,
    steering: &'a Steering,
    active: bool,
    unsettled: bool,
    active_names: Vec<String>,
}

struct Outcome {
    rule: Rule,
    scale: Option<Scale>,
    events: Vec<Event>,
    cooldown_until: Option<String>,
    /// The status without what only a successful write brings.
    if_failed: Option<ScaledObjectStatus>,
}

impl Outcome {
    fn of(rule: Rule) -> Self {
        Self {
            rule,
            scale: None,
            events: Vec::new(),
            cooldown_until: None,
            if_failed: None,
        }
    }
}

impl Table<'_> {
    /// KEDA's decision table; the order of its lines matters.
    fn decide(&self, status: &mut ScaledObjectStatus) -> Outcome {
        let spec = &self.object.spec;
        let current = match &self.seen.replicas {
            Ok(current) => *current,
            Err(error) => {
                let message =
                    format!("Error getting current replicas count for ScaleTarget: {error}");
                let reason = "ErrorGettingCurrentReplicas";
                conditions::set(&mut status.conditions, READY, "False", reason, message);
                return Outcome::of(Rule::ReplicasUnknown);
            }
        };
        conditions::ready(&mut status.conditions);
        if self.steering.full {
            conditions::paused(&mut status.conditions, true);
            return Outcome::of(Rule::Paused);
        }
        let min = spec.min();
        let idle = spec.idle_replica_count;
        let asleep = current == 0 || (idle.is_some() && current < min);
        if self.active || self.steering.forced {
            conditions::active(&mut status.conditions, self.steering.forced && !self.active);
            return if asleep {
                self.activate(status, current)
            } else if self.unsettled {
                let message = "Some triggers defined in ScaledObject are not working correctly";
                let reason = "PartialTriggerError";
                conditions::set(&mut status.conditions, READY, "Unknown", reason, message);
                Outcome::of(Rule::PartlyFailing)
            } else {
                status.last_active_time = Some(seconds(self.seen.now));
                Outcome::of(Rule::Active)
            };
        }
        let fallback_replicas = spec.fallback.as_ref().map(|f| f.replicas);
        match fallback_replicas {
            Some(replicas) if self.unsettled && replicas != 0 => {
                conditions::not_active(&mut status.conditions);
                return Outcome::of(Rule::AwaitFallback);
            }
            None if self.unsettled => {
                conditions::not_active(&mut status.conditions);
                let message = "Triggers defined in ScaledObject are not working correctly";
                let reason = "TriggerError";
                conditions::set(&mut status.conditions, READY, "False", reason, message);
                return Outcome::of(Rule::Failing);
            }
            _ => {}
        }
        let above_idle = idle.is_some_and(|idle| current > idle);
        if above_idle || (current > 0 && min == 0) {
            return self.deactivate(status, current);
        }
        conditions::not_active(&mut status.conditions);
        if idle.is_none() && current < min {
            let mut outcome = Outcome::of(Rule::RaiseToMinimum);
            outcome.scale = Some(Scale {
                from: current,
                to: min,
                done: None,
                failed: None,
            });
            outcome.if_failed = Some(status.clone());
            return outcome;
        }
        Outcome::of(Rule::Idle)
    }

    fn activate(&self, status: &mut ScaledObjectStatus, current: i32) -> Outcome {
        if self.steering.scale_out {
            return Outcome::of(Rule::ActivationPaused);
        }
        let to = self.object.spec.min().max(1);
        let workload = self.workload(status);
        let cause = if self.active {
            format!("triggered by {}", self.active_names.join(";"))
        } else {
            "caused by forced activation annotation".to_owned()
        };
        let mut outcome = Outcome::of(Rule::Activate);
        outcome.if_failed = Some(status.clone());
        status.last_active_time = Some(seconds(self.seen.now));
        outcome.scale = Some(Scale {
            from: current,
            to,
            done: Some(Event::looped(
                "Normal",
                "KEDAScaleTargetActivated",
                format!("Scaled {workload} from {current} to {to}, {cause}"),
            )),
            failed: Some(Event::looped(
                "Warning",
                "KEDAScaleTargetActivationFailed",
                format!("Failed to scale {workload} from {current} to {to}"),
            )),
        });
        outcome
    }

    fn deactivate(&self, status: &mut ScaledObjectStatus, current: i32) -> Outcome {
        if self.steering.scale_in {
            conditions::not_active(&mut status.conditions);
            return Outcome::of(Rule::DeactivationPaused);
        }
        let spec = &self.object.spec;
        let last = status.last_active_time.as_deref().and_then(parse);
        let since = match last {
            Some(last) => Some((last, spec.cooldown_seconds())),
            None => self
                .object
                .metadata
                .creation_timestamp
                .as_deref()
                .and_then(parse)
                .map(|created| (created, spec.initial_cooldown_seconds())),
        };
        let until = since.and_then(|(from, seconds)| {
            from.checked_add(jiff::SignedDuration::from_secs(seconds))
                .ok()
        });
        if let Some(until) = until.filter(|until| self.seen.now <= *until) {
            conditions::cooling_down(&mut status.conditions);
            let mut outcome = Outcome::of(Rule::Cooldown);
            outcome.cooldown_until = Some(seconds(until));
            return outcome;
        }
        let to = spec.idle_replica_count.unwrap_or_else(|| spec.min());
        let workload = self.workload(status);
        let mut outcome = Outcome::of(Rule::Deactivate);
        outcome.if_failed = Some(status.clone());
        conditions::not_active(&mut status.conditions);
        outcome.scale = Some(Scale {
            from: current,
            to,
            done: Some(Event::looped(
                "Normal",
                "KEDAScaleTargetDeactivated",
                format!("Deactivated {workload} from {current} to {to}"),
            )),
            failed: Some(Event::looped(
                "Warning",
                "KEDAScaleTargetDeactivationFailed",
                format!("Failed to deactivate {workload} from {current} to {to}"),
            )),
        });
        outcome
    }

    fn workload(&self, status: &ScaledObjectStatus) -> String {
        let meta = &self.object.metadata;
        let name = &self.object.spec.scale_target_ref.name;
        format!("{} {}/{name}", status.scale_target_kind, meta.namespace)
    }
}

fn set_hpa_condition(status: &mut ScaledObjectStatus, hpa: Option<&HpaCondition>) {
    let Some(hpa) = hpa else { return };
    let (state, reason, message) = if hpa.active {
        ("True", "HPAActive", "HPA is actively scaling".to_owned())
    } else if hpa.reason == "ScalingDisabled" {
        ("True", "ScalingDisabled", hpa.message.clone())
    } else {
        (
            "False",
            hpa.reason.as_str(),
            format!("HPA is not actively scaling: {}", hpa.message),
        )
    };
    conditions::set(&mut status.conditions, HPA_ACTIVE, state, reason, message);
}

fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// The time as Kubernetes writes it, in whole seconds.
pub fn seconds(time: Timestamp) -> String {
    let whole = Timestamp::from_second(time.as_second()).unwrap_or(time);
    whole.to_string()
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;
