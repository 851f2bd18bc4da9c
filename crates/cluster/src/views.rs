//! Kinds that are served in more forms than the one they are stored in.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::resource::{Endpoint, Resource, api_version};
use crate::{hooks, value};

/// A stored object in the form of an endpoint.
pub(crate) fn served<'a>(endpoint: &Endpoint, object: &'a Value) -> Cow<'a, Value> {
    if endpoint.row.custom.is_some() {
        return at_version(&endpoint.row, &endpoint.version, object);
    }
    if endpoint.is_stored_form() {
        return Cow::Borrowed(object);
    }
    let mut out = match (endpoint.group.as_str(), &*endpoint.row.name) {
        ("events.k8s.io", _) => event_to_new(object),
        ("autoscaling", _) => hpa_to_v1(object),
        _ => object.clone(),
    };
    out["apiVersion"] = json!(endpoint.api_version());
    Cow::Owned(out)
}

/// Whether an object was stored since its kind's definition last changed.
pub(crate) fn is_current(row: &Resource, object: &Value) -> bool {
    row.custom.as_ref().is_none_or(|custom| {
        let version = value::resource_version(object).parse::<u64>();
        custom.since == 0 || version.is_ok_and(|v| v > custom.since)
    })
}

/// A stored object in the shape that the kind's definition gives stored objects now.
pub(crate) fn current<'a>(row: &Resource, object: &'a Value) -> Cow<'a, Value> {
    if is_current(row, object) {
        return Cow::Borrowed(object);
    }
    let mut out = object.clone();
    reshape(row, &row.version, &mut out);
    hooks::apply_defaults(row, &row.version, &mut out);
    Cow::Owned(out)
}

/// A stored object in a version of its kind. Only custom kinds have several here.
pub(crate) fn at_version<'a>(row: &Resource, version: &str, object: &'a Value) -> Cow<'a, Value> {
    let stored = current(row, object);
    if version == row.version {
        return stored;
    }
    let mut out = stored.into_owned();
    reshape(row, version, &mut out);
    Cow::Owned(out)
}

/// An object of a version of its kind in the stored form.
pub(crate) fn to_stored(row: &Resource, version: &str, mut object: Value) -> Value {
    if version != row.version {
        reshape(row, &row.version, &mut object);
        hooks::apply_defaults(row, &row.version, &mut object);
    }
    object
}

/// Gives an object another version: its name, and no field that its schema lacks.
fn reshape(row: &Resource, version: &str, object: &mut Value) {
    object["apiVersion"] = json!(api_version(&row.group, version));
    if let Some(structural) = hooks::structural_of(row, version) {
        structural.prune(object);
    }
}

/// An object of an endpoint in its stored form. Custom kinds stay in the version of the
/// request, against whose schema the write is checked; see [`to_stored`].
pub(crate) fn stored(endpoint: &Endpoint, object: Value) -> Value {
    if endpoint.is_stored_form() || endpoint.row.custom.is_some() {
        return object;
    }
    let mut out = match (endpoint.group.as_str(), &*endpoint.row.name) {
        ("events.k8s.io", _) => event_to_core(object),
        ("autoscaling", _) => hpa_to_v2(object),
        _ => object,
    };
    out["apiVersion"] = json!(endpoint.row.api_version());
    out
}

/// Core name of an event's field, and its name in events.k8s.io.
const EVENT: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

fn renamed(object: &Value, pairs: impl Fn(&str) -> Option<&'static str>) -> Value {
    let empty = Map::new();
    let map = object.as_object().unwrap_or(&empty);
    Value::Object(
        map.iter()
            .map(|(key, v)| {
                (
                    pairs(key).map_or_else(|| key.clone(), str::to_owned),
                    v.clone(),
                )
            })
            .collect(),
    )
}

fn event_to_new(object: &Value) -> Value {
    renamed(object, |key| {
        EVENT
            .iter()
            .find(|(core, _)| *core == key)
            .map(|(_, new)| *new)
    })
}

fn event_to_core(object: Value) -> Value {
    let mut out = renamed(&object, |key| {
        EVENT
            .iter()
            .find(|(_, new)| *new == key)
            .map(|(core, _)| *core)
    });
    for key in ["firstTimestamp", "lastTimestamp", "eventTime"] {
        if out.get(key).is_none() {
            out[key] = Value::Null;
        }
    }
    for key in ["source", "involvedObject"] {
        if !out[key].is_object() {
            out[key] = json!({});
        }
    }
    for key in ["reportingComponent", "reportingInstance"] {
        if !out[key].is_string() {
            out[key] = json!("");
        }
    }
    out
}

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// Whether a metric is the one that v1 has a field for.
fn is_cpu(metric: &Value) -> bool {
    metric["type"] == "Resource" && metric["resource"]["name"] == "cpu"
}

fn hpa_to_v1(object: &Value) -> Value {
    let mut out = object.clone();
    let mut notes: Vec<(&str, Value)> = Vec::new();
    if let Some(spec) = out["spec"].as_object_mut() {
        let metrics = spec.remove("metrics").unwrap_or(Value::Null);
        let mut others = Vec::new();
        for metric in metrics.as_array().into_iter().flatten() {
            match metric["resource"]["target"]["averageUtilization"].as_i64() {
                Some(target)
                    if is_cpu(metric) && !spec.contains_key("targetCPUUtilizationPercentage") =>
                {
                    spec.insert("targetCPUUtilizationPercentage".to_owned(), json!(target));
                }
                _ => others.push(metric.clone()),
            }
        }
        if !others.is_empty() {
            notes.push((METRICS, json!(others)));
        }
        if let Some(behavior) = spec.remove("behavior") {
            notes.push((BEHAVIOR, behavior));
        }
    }
    if let Some(status) = out["status"].as_object_mut() {
        status.entry("currentReplicas").or_insert(json!(0));
        let mut others = Vec::new();
        for metric in status
            .remove("currentMetrics")
            .as_ref()
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            match metric["resource"]["current"]["averageUtilization"].as_i64() {
                Some(now) if is_cpu(metric) => {
                    status.insert("currentCPUUtilizationPercentage".to_owned(), json!(now));
                }
                _ => others.push(metric.clone()),
            }
        }
        if !others.is_empty() {
            notes.push((CURRENT, json!(others)));
        }
        if let Some(conditions) = status.remove("conditions") {
            notes.push((CONDITIONS, conditions));
        }
    }
    for (key, note) in notes {
        value::map_mut(&mut out, &["metadata", "annotations"])
            .insert(key.to_owned(), json!(note.to_string()));
    }
    out
}

fn hpa_to_v2(object: Value) -> Value {
    let mut out = object;
    let mut take = |key: &str| -> Option<Value> {
        let notes = out["metadata"].get_mut("annotations")?.as_object_mut()?;
        let note = notes.remove(key)?;
        serde_json::from_str(note.as_str()?).ok()
    };
    let metrics = take(METRICS);
    let behavior = take(BEHAVIOR);
    let current = take(CURRENT);
    let conditions = take(CONDITIONS);
    if let Some(spec) = out["spec"].as_object_mut() {
        let mut all: Vec<Value> = metrics
            .and_then(|m| m.as_array().cloned())
            .unwrap_or_default();
        if let Some(target) = spec.remove("targetCPUUtilizationPercentage") {
            let metric = json!({
                "type": "Resource",
                "resource": {
                    "name": "cpu",
                    "target": {"type": "Utilization", "averageUtilization": target},
                },
            });
            all.insert(0, metric);
        }
        if !all.is_empty() {
            spec.insert("metrics".to_owned(), json!(all));
        }
        if let Some(behavior) = behavior {
            spec.insert("behavior".to_owned(), behavior);
        }
    }
    if let Some(status) = out["status"].as_object_mut() {
        let mut all: Vec<Value> = current
            .and_then(|m| m.as_array().cloned())
            .unwrap_or_default();
        if let Some(now) = status.remove("currentCPUUtilizationPercentage") {
            all.insert(
                0,
                json!({
                    "type": "Resource",
                    "resource": {"name": "cpu", "current": {"averageUtilization": now}},
                }),
            );
        }
        status.insert(
            "currentMetrics".to_owned(),
            if all.is_empty() {
                Value::Null
            } else {
                json!(all)
            },
        );
        if let Some(conditions) = conditions {
            status.insert("conditions".to_owned(), conditions);
        }
    }
    out
}
