//! What a metric is worth while its trigger cannot be read.

use std::collections::BTreeMap;

use api::keda::{Condition, Health, ScaledObjectSpec};

use super::{conditions, modifiers};

/// How a metric is compared, with its threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// Divided by the replicas first.
    Average(f64),
    /// As it is.
    Value(f64),
}

/// The outcome of one read of one trigger.
#[derive(Clone, Debug, PartialEq)]
pub enum Read {
    /// The source answered.
    Value {
        /// The metric.
        value: f64,
        /// Whether it is above the activation threshold.
        active: bool,
    },
    /// The source did not answer, or not usably.
    Failed(String),
}

/// One external metric as read.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricRead {
    /// `s0-prometheus`.
    pub metric: String,
    /// Threshold and comparison.
    pub target: Target,
    /// What the trigger said.
    pub read: Read,
}

/// A read after the fallback has had its say.
#[derive(Clone, Debug, PartialEq)]
pub enum Settled {
    /// A number, from the source or from the fallback.
    Value {
        /// The metric.
        value: f64,
        /// Whether it wakes the workload.
        active: bool,
        /// Whether the fallback made it up.
        fallback: bool,
    },
    /// No number, and the formula is told so: the fallback behavior
    /// `scalingModifiers`.
    Nil,
    /// No number.
    Error(String),
}

/// Whether a usable fallback is configured.
pub fn is_enabled(spec: &ScaledObjectSpec) -> bool {
    let Some(fallback) = &spec.fallback else {
        return false;
    };
    // KEDA reads the target of a formula as an integer here.
    let target_ok = match spec.modifiers() {
        Some(modifiers) => modifiers
            .target
            .parse::<i64>()
            .is_ok_and(|target| target > 0),
        None => true,
    };
    fallback.failure_threshold >= 0 && fallback.replicas >= 0 && target_ok
}

/// Counts the read in `health` and applies the fallback.
///
/// `replicas` and `ready` are the target's present count and its ready pods,
/// `None` where they cannot be read.
pub fn settle(
    spec: &ScaledObjectSpec,
    health: &mut BTreeMap<String, Health>,
    read: &MetricRead,
    replicas: Option<i32>,
    ready: Option<i32>,
) -> Settled {
    let enabled = is_enabled(spec);
    let error = match &read.read {
        Read::Value { value, active } => {
            if enabled {
                let happy = Health {
                    number_of_failures: 0,
                    status: "Happy".to_owned(),
                };
                health.insert(read.metric.clone(), happy);
            }
            return Settled::Value {
                value: *value,
                active: *active,
                fallback: false,
            };
        }
        Read::Failed(error) => error.clone(),
    };
    let Some(fallback) = spec.fallback.as_ref().filter(|_| enabled) else {
        return Settled::Error(error);
    };
    let entry = health.entry(read.metric.clone()).or_default();
    entry.number_of_failures = entry.number_of_failures.saturating_add(1);
    entry.status = "Failing".to_owned();
    if entry.number_of_failures <= fallback.failure_threshold {
        return Settled::Error(error);
    }
    let wanted = match (fallback.behavior.as_str(), replicas) {
        ("scalingModifiers", _) if spec.modifiers().is_some() => return Settled::Nil,
        ("currentReplicas" | "currentReplicasIfHigher" | "currentReplicasIfLower", None) => {
            return Settled::Error(error);
        }
        ("currentReplicas", Some(now)) => now,
        ("currentReplicasIfHigher", Some(now)) => now.max(fallback.replicas),
        ("currentReplicasIfLower", Some(now)) => now.min(fallback.replicas),
        _ => fallback.replicas,
    };
    // One trigger stands in for the whole of a formula, by the formula's target.
    let value = match modifiers::target_of(spec).unwrap_or(read.target) {
        Target::Average(target) => f64::from(wanted) * target,
        Target::Value(target) => match ready {
            Some(ready) if ready > 0 => f64::from(wanted) / f64::from(ready) * target,
            _ => return Settled::Error("error performing fallback".to_owned()),
        },
    };
    Settled::Value {
        value,
        active: true,
        fallback: true,
    }
}

/// Sets the Fallback condition from the health of all metrics.
pub fn set_condition(
    spec: &ScaledObjectSpec,
    health: &BTreeMap<String, Health>,
    conditions: &mut Vec<Condition>,
) {
    let threshold = spec.fallback.as_ref().map_or(0, |f| f.failure_threshold);
    let on = is_enabled(spec)
        && health
            .values()
            .any(|h| h.status == "Failing" && h.number_of_failures > threshold);
    conditions::fallback(conditions, on);
}

#[cfg(test)]
mod tests {
    use api::keda::Fallback;

    use super::*;

    fn spec(behavior: &str) -> ScaledObjectSpec {
        ScaledObjectSpec {
            fallback: Some(Fallback {
                failure_threshold: 1,
                replicas: 6,
                behavior: behavior.to_owned(),
            }),
            ..ScaledObjectSpec::default()
        }
    }

    fn failed(target: Target) -> MetricRead {
        MetricRead {
            metric: "s0-m".to_owned(),
            target,
            read: Read::Failed("down".to_owned()),
        }
    }

    #[test]
    fn the_error_goes_on_until_the_threshold_is_exceeded() {
        let mut health = BTreeMap::new();
        let read = failed(Target::Average(5.0));
        let first = settle(&spec(""), &mut health, &read, Some(2), None);
        assert_eq!(first, Settled::Error("down".to_owned()));
        let second = settle(&spec(""), &mut health, &read, Some(2), None);
        assert_eq!(
            second,
            Settled::Value {
                value: 30.0,
                active: true,
                fallback: true
            }
        );
        assert_eq!(health["s0-m"].number_of_failures, 2);
    }

    #[test]
    fn behaviors_choose_between_the_present_count_and_the_configured_one() {
        let value = |behavior: &str, now| {
            let mut health = BTreeMap::from([(
                "s0-m".to_owned(),
                Health {
                    number_of_failures: 9,
                    status: "Failing".to_owned(),
                },
            )]);
            settle(
                &spec(behavior),
                &mut health,
                &failed(Target::Average(1.0)),
                now,
                None,
            )
        };
        let number = |n| Settled::Value {
            value: n,
            active: true,
            fallback: true,
        };
        assert_eq!(value("static", Some(8)), number(6.0));
        assert_eq!(value("currentReplicas", Some(8)), number(8.0));
        assert_eq!(value("currentReplicasIfHigher", Some(8)), number(8.0));
        assert_eq!(value("currentReplicasIfLower", Some(8)), number(6.0));
        assert_eq!(
            value("currentReplicas", None),
            Settled::Error("down".to_owned())
        );
    }

    #[test]
    fn a_value_target_needs_ready_pods() {
        let mut health = BTreeMap::new();
        let read = failed(Target::Value(10.0));
        settle(&spec(""), &mut health, &read, Some(2), None);
        let none = settle(&spec(""), &mut health, &read, Some(2), Some(0));
        assert_eq!(none, Settled::Error("error performing fallback".to_owned()));
        let some = settle(&spec(""), &mut health, &read, Some(2), Some(3));
        assert_eq!(
            some,
            Settled::Value {
                value: 20.0,
                active: true,
                fallback: true
            }
        );
    }
}
