//! The parts of an autoscaling/v2 HorizontalPodAutoscaler that decisions read
//! and write. Reading is lenient: what is absent or null counts as unset.

use std::fmt;

use api::quantity::{Format, Quantity};
use api::selector::LabelSelector;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

/// The condition that tells a target at zero that may wake from one that was
/// put there by hand.
pub(super) const TO_ZERO: &str = "ScaledToZero";

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    Ok(text.and_then(|t| t.parse().ok()))
}

/// `spec` of an HPA.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HpaSpec {
    /// What is scaled.
    #[serde(deserialize_with = "or_default")]
    pub scale_target_ref: ObjectRef,
    /// Lower bound; 1 when absent.
    pub min_replicas: Option<i32>,
    /// Upper bound.
    #[serde(deserialize_with = "or_default")]
    pub max_replicas: i32,
    /// What is measured.
    #[serde(deserialize_with = "or_default")]
    pub metrics: Vec<MetricSpec>,
    /// How fast it may move.
    pub behavior: Option<Behavior>,
}

/// A reference to an object in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectRef {
    /// Kind, such as `Deployment`.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Group and version, such as `apps/v1`.
    #[serde(
        skip_serializing_if = "String::is_empty",
        deserialize_with = "or_default"
    )]
    pub api_version: String,
}

/// One entry of `spec.metrics`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MetricSpec {
    /// `External`, `Resource`, `ContainerResource`, `Pods` or `Object`.
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub kind: String,
    /// Set for `Resource`.
    pub resource: Option<ResourceSource>,
    /// Set for `ContainerResource`.
    pub container_resource: Option<ResourceSource>,
    /// Set for `Pods`.
    pub pods: Option<MetricSource>,
    /// Set for `Object`.
    pub object: Option<MetricSource>,
    /// Set for `External`.
    pub external: Option<MetricSource>,
}

/// A pod resource such as cpu, of all containers or of one.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ResourceSource {
    /// The resource.
    pub name: String,
    /// The container, empty for the whole pod.
    #[serde(deserialize_with = "or_default")]
    pub container: String,
    /// The target.
    pub target: MetricTarget,
}

/// A named metric.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MetricSource {
    /// Name and selector.
    pub metric: MetricIdentifier,
    /// The object that `Object` metrics describe.
    #[serde(deserialize_with = "or_default")]
    pub described_object: ObjectRef,
    /// The target.
    pub target: MetricTarget,
}

/// Which metric is meant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MetricIdentifier {
    /// Name.
    pub name: String,
    /// Narrows the series.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

impl MetricIdentifier {
    /// `NAME(SELECTOR)` as it stands in HPA texts.
    pub fn with_selector(&self) -> String {
        format!("{}({})", self.name, self.printed_selector())
    }

    /// The selector as it stands in HPA texts.
    pub fn printed_selector(&self) -> String {
        api::selector::printed(self.selector.as_ref())
    }
}

/// What a metric should be.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MetricTarget {
    /// `Utilization`, `Value` or `AverageValue`.
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub kind: String,
    /// For the whole.
    pub value: Option<Quantity>,
    /// Per pod.
    pub average_value: Option<Quantity>,
    /// Percent of the pods' requests.
    pub average_utilization: Option<i32>,
}

/// `spec.behavior`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Behavior {
    /// Upwards.
    pub scale_up: Option<ScalingRules>,
    /// Downwards.
    pub scale_down: Option<ScalingRules>,
}

/// How fast one direction may be taken.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScalingRules {
    /// How long recommendations are remembered.
    pub stabilization_window_seconds: Option<i32>,
    /// `Max` (or absent), `Min` or `Disabled`.
    pub select_policy: Option<String>,
    /// The rate limits.
    #[serde(deserialize_with = "or_default")]
    pub policies: Vec<ScalingPolicy>,
    /// How far the metric may be off without action, as a ratio.
    pub tolerance: Option<Quantity>,
}

/// One rate limit.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScalingPolicy {
    /// `Pods` or `Percent`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Pods or percent that may change.
    pub value: i32,
    /// In this time.
    pub period_seconds: i32,
}

/// `status` of an HPA.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HpaStatus {
    /// The generation that was acted on (from Kubernetes 1.37 on).
    pub observed_generation: Option<i64>,
    /// The last successful scaling.
    #[serde(deserialize_with = "time")]
    pub last_scale_time: Option<Timestamp>,
    /// Replicas found.
    #[serde(deserialize_with = "or_default")]
    pub current_replicas: i32,
    /// Replicas wanted.
    #[serde(deserialize_with = "or_default")]
    pub desired_replicas: i32,
    /// Metrics as last read: null or a list of autoscaling/v2 MetricStatus.
    pub current_metrics: Value,
    /// Conditions in order of first insertion.
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
}

/// One condition of an HPA.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// `AbleToScale`, `ScalingActive`, `ScalingLimited` or `ScaledToZero`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True` or `False`.
    pub status: String,
    /// One word.
    #[serde(deserialize_with = "or_default")]
    pub reason: String,
    /// One sentence.
    #[serde(deserialize_with = "or_default")]
    pub message: String,
    /// When the status last changed.
    #[serde(deserialize_with = "time")]
    pub last_transition_time: Option<Timestamp>,
}

fn seconds_of(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn seconds(time: Timestamp) -> String {
    seconds_of(time).to_string()
}

impl HpaStatus {
    /// Reads a status; anything unreadable counts as an empty status.
    pub fn from_json(value: &Value) -> HpaStatus {
        HpaStatus::deserialize(value).unwrap_or_default()
    }

    /// The JSON form, times in whole seconds.
    pub fn to_json(&self) -> Value {
        let mut out = json!({
            "desiredReplicas": self.desired_replicas,
            "currentMetrics": self.current_metrics,
        });
        if self.current_replicas != 0 {
            out["currentReplicas"] = json!(self.current_replicas);
        }
        if let Some(generation) = self.observed_generation {
            out["observedGeneration"] = json!(generation);
        }
        if let Some(time) = self.last_scale_time {
            out["lastScaleTime"] = json!(seconds(time));
        }
        if !self.conditions.is_empty() {
            out["conditions"] = self.conditions.iter().map(Condition::to_json).collect();
        }
        out
    }

    /// Whether two statuses say the same; quantities are compared as numbers
    /// and times in whole seconds, an empty list is no list.
    pub fn says_the_same_as(&self, other: &HpaStatus) -> bool {
        let second = |time: Option<Timestamp>| time.map(seconds_of);
        let alike = |a: &Condition, b: &Condition| {
            second(a.last_transition_time) == second(b.last_transition_time)
                && (&a.kind, &a.status, &a.reason, &a.message)
                    == (&b.kind, &b.status, &b.reason, &b.message)
        };
        if self.observed_generation != other.observed_generation
            || second(self.last_scale_time) != second(other.last_scale_time)
            || self.current_replicas != other.current_replicas
            || self.desired_replicas != other.desired_replicas
            || self.conditions.len() != other.conditions.len()
            || !self
                .conditions
                .iter()
                .zip(&other.conditions)
                .all(|(a, b)| alike(a, b))
        {
            return false;
        }
        let plain = |quantity: Quantity| quantity.in_format(Format::DecimalSI).to_string();
        let normal = |status: &HpaStatus| normal(status.current_metrics.clone(), &plain);
        self.current_metrics == other.current_metrics || normal(self) == normal(other)
    }

    /// The JSON form with every quantity in its canonical form and empty parts
    /// left out.
    pub fn normalized(&self) -> Value {
        normal(self.to_json(), &|quantity| quantity.to_string())
    }

    /// The condition of that type.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|c| c.kind == kind)
    }

    /// Sets the condition ScaledToZero, as after a scale write.
    pub fn set_scaled_to_zero(&mut self, asleep: bool, now: Timestamp) {
        let (reason, message) = match asleep {
            true => (
                "ScaledToZero",
                "the HPA controller scaled the workload to zero",
            ),
            false => (
                "NotScaledToZero",
                "the HPA controller did not scale the workload to zero",
            ),
        };
        self.set_condition(TO_ZERO, asleep, reason, message.to_owned(), now);
    }

    /// Sets a condition; the transition time moves only with the status.
    pub fn set_condition(
        &mut self,
        kind: &str,
        status: bool,
        reason: &str,
        message: String,
        now: Timestamp,
    ) {
        let status = if status { "True" } else { "False" };
        let at = match self.conditions.iter().position(|c| c.kind == kind) {
            Some(at) => at,
            None => {
                self.conditions.push(Condition {
                    kind: kind.to_owned(),
                    ..Condition::default()
                });
                self.conditions.len() - 1
            }
        };
        let condition = &mut self.conditions[at];
        if condition.status != status {
            condition.status = status.to_owned();
            condition.last_transition_time = Some(now);
        }
        condition.reason = reason.to_owned();
        condition.message = message;
    }
}

impl Condition {
    /// The JSON form.
    pub fn to_json(&self) -> Value {
        let mut out = json!({"type": self.kind, "status": self.status,
            "lastTransitionTime": self.last_transition_time.map(seconds)});
        for (key, text) in [("reason", &self.reason), ("message", &self.message)] {
            if !text.is_empty() {
                out[key] = json!(text);
            }
        }
        out
    }
}

/// Without empty parts, and with quantities as `text` gives them.
fn normal(value: Value, text: &dyn Fn(Quantity) -> String) -> Value {
    match value {
        Value::Array(list) if list.is_empty() => Value::Null,
        Value::Array(list) => list.into_iter().map(|v| normal(v, text)).collect(),
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(key, value)| {
                    let quantity = matches!(key.as_str(), "value" | "averageValue")
                        .then(|| Quantity::from_json(&value).ok())
                        .flatten();
                    let value = match quantity {
                        Some(quantity) => json!(text(quantity)),
                        None => normal(value, text),
                    };
                    (key, value)
                })
                .filter(|(_, value)| !value.is_null())
                .collect(),
        ),
        other => other,
    }
}

impl HpaSpec {
    /// Reads a spec.
    pub fn from_json(value: &Value) -> Result<HpaSpec, serde_json::Error> {
        HpaSpec::deserialize(value)
    }

    /// The lower bound in effect.
    pub fn min(&self) -> i32 {
        self.min_replicas.unwrap_or(1)
    }

    /// Whether any metric is of a kind that has a value without pods.
    pub fn has_object_or_external(&self) -> bool {
        self.metrics
            .iter()
            .any(|m| matches!(m.kind.as_str(), "Object" | "External"))
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}
