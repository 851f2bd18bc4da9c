//! The HorizontalPodAutoscaler that belongs to a ScaledObject.

use std::collections::BTreeMap;

use api::keda::{
    Gvkr, HPA_EXCLUDED_LABELS, SCALED_OBJECT_LABEL, ScaledObject, ScalingModifiers, api_version,
};
use api::quantity::{Format, Quantity};
use serde_json::{Map, Value, json};

use super::modifiers;
use super::pause::Steering;

/// The name of the metric that a formula makes of several.
pub const COMPOSITE: &str = "composite-metric";

/// What a trigger wants of the HPA.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricSpec {
    /// A metric that the operator serves.
    External {
        /// `s0-prometheus`.
        name: String,
        /// `AverageValue` or `Value`.
        metric_type: String,
        /// A quantity in canonical form.
        target: String,
    },
    /// A metric that the HPA reads itself.
    Resource {
        /// `cpu` or `memory`.
        name: String,
        /// Of one container, or of the whole pod.
        container: Option<String>,
        /// autoscaling/v2 MetricTarget.
        target: Value,
    },
}

/// The HPA and what the ScaledObject's status says about it.
#[derive(Clone, Debug, PartialEq)]
pub struct HpaPlan {
    /// An autoscaling/v2 HorizontalPodAutoscaler.
    pub hpa: Value,
    /// `status.externalMetricNames`.
    pub external_metric_names: Vec<String>,
    /// `status.resourceMetricNames`.
    pub resource_metric_names: Vec<String>,
    /// `status.compositeScalerName`, empty without a formula.
    pub composite_scaler_name: String,
}

/// Why no HPA can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SpecError(pub String);

/// A trigger's threshold as the HPA gets it: rounded to three decimals.
pub fn target_text(threshold: f64) -> String {
    Quantity::from_f64(threshold).map_or_else(|| threshold.to_string(), |q| q.to_string())
}

/// The name of a ScaledObject's HPA.
pub fn hpa_name(object: &ScaledObject) -> String {
    let config = object
        .spec
        .advanced
        .as_ref()
        .and_then(|a| a.horizontal_pod_autoscaler_config.as_ref());
    match config {
        Some(config) if !config.name.is_empty() => config.name.clone(),
        _ => format!("keda-hpa-{}", object.metadata.name),
    }
}

/// The name of the HPA that is there: its owner wrote it into the status, and
/// one under a new name is made when the ScaledObject is next reconciled.
pub fn hpa_name_in_use(object: &ScaledObject) -> String {
    match object.status.hpa_name.as_str() {
        "" => hpa_name(object),
        name => name.to_owned(),
    }
}

/// Builds the HPA of a ScaledObject from its triggers' metric specs.
///
/// `target` is the resolved kind of the workload, `version` goes into a label.
pub fn hpa_for(
    object: &ScaledObject,
    specs: &[MetricSpec],
    target: &Gvkr,
    version: &str,
) -> Result<HpaPlan, SpecError> {
    let meta = &object.metadata;
    if specs.is_empty() {
        return Err(SpecError(format!(
            "no metric specs returned from scalers for ScaledObject {}/{}",
            meta.namespace, meta.name
        )));
    }
    let mut external_metric_names: Vec<String> = Vec::new();
    let mut resource_metric_names = Vec::new();
    for spec in specs {
        match spec {
            MetricSpec::External { name, .. } if external_metric_names.contains(name) => {
                return Err(SpecError(format!(
                    "metricName {name} defined multiple times in ScaledObject {}",
                    meta.name
                )));
            }
            MetricSpec::External { name, .. } => external_metric_names.push(name.clone()),
            MetricSpec::Resource {
                name,
                container: None,
                ..
            } => {
                resource_metric_names.push(name.clone());
            }
            MetricSpec::Resource { .. } => {}
        }
    }
    modifiers::formula(object).map_err(SpecError)?;
    let mut composite_scaler_name = String::new();
    let metrics: Vec<Value> = match composite(object.spec.modifiers())? {
        Some(spec) => {
            COMPOSITE.clone_into(&mut composite_scaler_name);
            // A container's metric is lost beside a formula, as in KEDA.
            let kept = specs.iter().filter(|spec| {
                matches!(
                    spec,
                    MetricSpec::Resource {
                        container: None,
                        ..
                    }
                )
            });
            kept.chain([&spec])
                .map(|spec| metric(spec, &meta.name))
                .collect()
        }
        None => {
            let mut metrics: Vec<Value> =
                specs.iter().map(|spec| metric(spec, &meta.name)).collect();
            metrics.sort_by(|a, b| a["type"].as_str().cmp(&b["type"].as_str()));
            metrics
        }
    };

    let name = hpa_name(object);
    let mut hpa_spec = json!({
        "scaleTargetRef": {
            "apiVersion": target.api_version(),
            "kind": target.kind,
            "name": object.spec.scale_target_ref.name,
        },
        "minReplicas": object.spec.hpa_min(),
        "maxReplicas": object.spec.max(),
        "metrics": metrics,
    });
    if let Some(behavior) = behavior(object) {
        hpa_spec["behavior"] = behavior;
    }
    let mut metadata = json!({
        "name": name,
        "namespace": meta.namespace,
        "labels": labels(object, &name, version),
        "ownerReferences": [{
            "apiVersion": api_version(),
            "kind": "ScaledObject",
            "name": meta.name,
            "uid": meta.uid,
            "controller": true,
            "blockOwnerDeletion": true,
        }],
    });
    if !meta.annotations.is_empty() {
        metadata["annotations"] = json!(meta.annotations);
    }
    let hpa = json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata,
        "spec": hpa_spec,
    });
    Ok(HpaPlan {
        hpa,
        external_metric_names,
        resource_metric_names,
        composite_scaler_name,
    })
}

fn metric(spec: &MetricSpec, scaled_object: &str) -> Value {
    match spec {
        MetricSpec::External {
            name,
            metric_type,
            target,
        } => {
            let field = if metric_type == "AverageValue" {
                "averageValue"
            } else {
                "value"
            };
            json!({
                "type": "External",
                "external": {
                    "metric": {
                        "name": name,
                        "selector": {"matchLabels": {SCALED_OBJECT_LABEL: scaled_object}},
                    },
                    "target": {"type": metric_type, field: target},
                },
            })
        }
        MetricSpec::Resource {
            name,
            container: None,
            target,
        } => {
            json!({"type": "Resource", "resource": {"name": name, "target": target}})
        }
        MetricSpec::Resource {
            name,
            container: Some(container),
            target,
        } => json!({
            "type": "ContainerResource",
            "containerResource": {"name": name, "container": container, "target": target},
        }),
    }
}

/// The one metric that a formula's target makes.
pub(super) fn composite(
    modifiers: Option<&ScalingModifiers>,
) -> Result<Option<MetricSpec>, SpecError> {
    let Some(modifiers) = modifiers else {
        return Ok(None);
    };
    if modifiers.formula.is_empty() {
        return Ok(None);
    }
    let target = modifiers::target(&modifiers.target).map_err(SpecError)?;
    let metric_type = match modifiers.metric_type.as_str() {
        "" | "AverageValue" => "AverageValue",
        "Value" => "Value",
        other => {
            return Err(SpecError(format!(
                "error validating target in ScalingModifiers\nerror trigger type is {other}, but \
                 it needs to be AverageValue or Value for external metrics"
            )));
        }
    };
    Ok(Some(MetricSpec::External {
        name: COMPOSITE.to_owned(),
        metric_type: metric_type.to_owned(),
        target: Quantity::from_milli(crate::formula::thousandths(target), Format::DecimalSI)
            .to_string(),
    }))
}

fn behavior(object: &ScaledObject) -> Option<Value> {
    let advanced = object.spec.advanced.as_ref();
    let mut behavior = advanced
        .and_then(|a| a.horizontal_pod_autoscaler_config.as_ref())
        .and_then(|config| config.behavior.clone());
    let steering = Steering::of(&object.metadata.annotations);
    let sides = [
        ("scaleDown", steering.scale_in),
        ("scaleUp", steering.scale_out),
    ];
    for (side, _) in sides.into_iter().filter(|(_, paused)| *paused) {
        let rules = behavior.get_or_insert_with(|| json!({}));
        if !rules[side].is_object() {
            rules[side] = json!({});
        }
        rules[side]["selectPolicy"] = json!("Disabled");
    }
    behavior
}

fn labels(object: &ScaledObject, name: &str, version: &str) -> BTreeMap<String, String> {
    let meta = &object.metadata;
    let short: String = name.chars().take(63).collect();
    let short = short.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    let mut labels: BTreeMap<String, String> = [
        ("app.kubernetes.io/name", short),
        ("app.kubernetes.io/version", version),
        ("app.kubernetes.io/part-of", &meta.name),
        ("app.kubernetes.io/managed-by", "keda-operator"),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect();
    let excluded = meta
        .annotations
        .get(HPA_EXCLUDED_LABELS)
        .map_or("", String::as_str);
    let excluded: Vec<&str> = excluded.split(',').collect();
    for (key, value) in &meta.labels {
        if !excluded.contains(&key.as_str()) {
            labels.insert(key.clone(), value.clone());
        }
    }
    labels
}

/// Which parts of a live HPA contradict the wanted one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HpaChanges {
    /// The spec.
    pub spec: bool,
    /// Labels.
    pub labels: bool,
    /// Annotations.
    pub annotations: bool,
}

impl HpaChanges {
    /// Whether anything has to be written.
    pub fn any(self) -> bool {
        self.spec || self.labels || self.annotations
    }
}

/// Compares a live HPA with the wanted one as KEDA does: what others added is
/// tolerated, what contradicts is not.
pub fn changes(wanted: &Value, live: &Value) -> HpaChanges {
    let count = |hpa: &Value| hpa["spec"]["metrics"].as_array().map_or(0, Vec::len);
    let spec = count(wanted) != count(live)
        || wanted["spec"].get("behavior") != live["spec"].get("behavior")
        || !contained(&wanted["spec"], &live["spec"]);
    HpaChanges {
        spec,
        labels: differ(wanted, live, "labels"),
        annotations: differ(wanted, live, "annotations"),
    }
}

fn differ(wanted: &Value, live: &Value, field: &str) -> bool {
    let none = Map::new();
    let map = |hpa: &Value| hpa["metadata"][field].as_object().cloned();
    let (wanted, live) = (map(wanted).unwrap_or_default(), map(live).unwrap_or(none));
    if wanted.is_empty() {
        return !live.is_empty();
    }
    wanted
        .iter()
        .any(|(key, value)| live.get(key) != Some(value))
}

/// Whether everything set in `wanted` is in `live` with the same meaning.
fn contained(wanted: &Value, live: &Value) -> bool {
    match (wanted, live) {
        (Value::Null, _) => true,
        (Value::Object(wanted), Value::Object(live)) => wanted.iter().all(|(key, value)| {
            let found = live.get(key).unwrap_or(&Value::Null);
            let quantity = matches!(key.as_str(), "averageValue" | "value");
            if quantity && same_quantity(value, found) {
                return true;
            }
            contained(value, found)
        }),
        (Value::Array(wanted), Value::Array(live)) => {
            wanted.len() <= live.len() && wanted.iter().zip(live).all(|(w, l)| contained(w, l))
        }
        (wanted, live) => wanted == live,
    }
}

fn same_quantity(a: &Value, b: &Value) -> bool {
    match (Quantity::from_json(a), Quantity::from_json(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}
