//! Horizontal pod autoscalers.

use super::{FieldError, child, items, meta};
use api::quantity::Quantity;
use serde_json::Value;

const MAX_WINDOW: i64 = 3600;
const MAX_PERIOD: i64 = 1800;
const SOURCES: &[(&str, &str)] = &[
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];

pub(super) fn autoscaler(
    version: &str,
    new: &Value,
    old: Option<&Value>,
    out: &mut Vec<FieldError>,
) {
    let spec = &new["spec"];
    let min = spec["minReplicas"].as_i64();
    let max = spec["maxReplicas"].as_i64().unwrap_or(0);
    // Zero needs a metric that does not come from the pods.
    let metrics = spec["metrics"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let had_zero = old.is_some_and(|o| o["spec"]["minReplicas"] == 0);
    let other = metrics
        .iter()
        .any(|m| m["type"] == "Object" || m["type"] == "External");
    let lowest = i64::from(!(had_zero || other));
    if let Some(n) = min.filter(|n| *n < lowest) {
        let detail = format!("must be greater than or equal to {lowest}");
        out.push(FieldError::invalid("spec.minReplicas", n, detail));
    }
    if max == 0 {
        out.push(FieldError::required("spec.maxReplicas", ""));
    } else if max < 0 {
        let detail = "must be greater than or equal to 1";
        out.push(FieldError::invalid("spec.maxReplicas", max, detail));
    }
    if min.is_some_and(|n| max < n) {
        let detail = "must be greater than or equal to `minReplicas`";
        out.push(FieldError::invalid("spec.maxReplicas", max, detail));
    }
    let unchanged = old.is_some_and(|o| o["spec"]["scaleTargetRef"] == spec["scaleTargetRef"]);
    reference(
        &spec["scaleTargetRef"],
        "spec.scaleTargetRef",
        !unchanged,
        out,
    );
    if version == "v1" {
        return;
    }
    for (path, metric) in items(&spec["metrics"], "spec.metrics") {
        metric_spec(metric, &path, out);
    }
    if min == Some(0) && !other {
        out.push(FieldError::forbidden(
            "spec.metrics",
            "must specify at least one Object or External metric to support scaling to zero replicas",
        ));
    }
    for direction in ["scaleUp", "scaleDown"] {
        let rules = &spec["behavior"][direction];
        if rules.is_object() {
            scaling_rules(rules, &format!("spec.behavior.{direction}"), out);
        }
    }
}

fn text<'v>(v: &'v Value, key: &str) -> &'v str {
    v[key].as_str().unwrap_or_default()
}

fn reference(r: &Value, path: &str, strict: bool, out: &mut Vec<FieldError>) {
    for key in ["kind", "name"] {
        let value = text(r, key);
        if value.is_empty() {
            out.push(FieldError::required(child(path, key), ""));
        }
        let faults = meta::path_segment(value);
        out.extend(
            faults
                .into_iter()
                .map(|f| FieldError::invalid(child(path, key), value, f)),
        );
    }
    let api_version = text(r, "apiVersion");
    let detail = if api_version.matches('/').count() > 1 {
        format!("unexpected GroupVersion string: {api_version}")
    } else if strict && !api_version.contains('/') && text(r, "kind") != "ReplicationController" {
        "apiVersion must specify API group".to_owned()
    } else {
        return;
    };
    out.push(FieldError::invalid(
        child(path, "apiVersion"),
        api_version,
        detail,
    ));
}

fn metric_spec(m: &Value, path: &str, out: &mut Vec<FieldError>) {
    let kind = text(m, "type");
    if kind.is_empty() {
        out.push(FieldError::required(
            child(path, "type"),
            "must specify a metric source type",
        ));
    }
    let known = SOURCES.iter().find(|(k, _)| *k == kind);
    let unknown = || {
        let mut names: Vec<&str> = SOURCES.iter().map(|(k, _)| *k).collect();
        names.sort_unstable();
        FieldError::not_supported(child(path, "type"), kind, &names)
    };
    if known.is_none() {
        out.push(unknown());
    }
    let present: Vec<&str> = SOURCES
        .iter()
        .map(|(_, f)| *f)
        .filter(|f| m[*f].is_object())
        .collect();
    if let Some(first) = present.first() {
        source(first, &m[*first], &child(path, first), out);
    }
    match known {
        Some((_, field)) if !present.contains(field) => out.push(FieldError::required(
            child(path, field),
            "must populate information for the given metric source",
        )),
        None => out.push(unknown()),
        _ => {}
    }
    if present.len() != 1 {
        for field in present.iter().filter(|f| known.is_none_or(|k| k.1 != **f)) {
            let detail = "must populate the given metric source only";
            out.push(FieldError::forbidden(child(path, field), detail));
        }
    }
}

fn source(field: &str, s: &Value, path: &str, out: &mut Vec<FieldError>) {
    match field {
        "resource" | "containerResource" => {
            if text(s, "name").is_empty() {
                let detail = "must specify a resource name";
                out.push(FieldError::required(child(path, "name"), detail));
            }
            if field == "containerResource" && text(s, "container").is_empty() {
                let detail = "must specify a container";
                out.push(FieldError::required(child(path, "container"), detail));
            }
        }
        _ => {
            if field == "object" {
                reference(
                    &s["describedObject"],
                    &child(path, "describedObject"),
                    false,
                    out,
                );
            }
            let (name, path) = (text(&s["metric"], "name"), format!("{path}.metric.name"));
            if name.is_empty() {
                out.push(FieldError::required(&path, "must specify a metric name"));
            }
            let faults = meta::path_segment(name);
            out.extend(
                faults
                    .into_iter()
                    .map(|f| FieldError::invalid(&path, name, f)),
            );
        }
    }
    let (t, path) = (&s["target"], child(path, "target"));
    target(t, &path, out);
    let has = |key: &str| !t[key].is_null();
    let required = |key: &str, detail: &str| FieldError::required(child(&path, key), detail);
    match field {
        "object" if !has("value") && !has("averageValue") => {
            out.push(required(
                "averageValue",
                "must set either a target value or averageValue",
            ));
        }
        "external" if !has("value") && !has("averageValue") => out.push(required(
            "averageValue",
            "must set either a target value for metric or a per-pod target",
        )),
        "external" if has("value") && has("averageValue") => out.push(FieldError::forbidden(
            child(&path, "value"),
            "may not set both a target value for metric and a per-pod target",
        )),
        "pods" if !has("averageValue") => {
            out.push(required(
                "averageValue",
                "must specify a positive target averageValue",
            ));
        }
        "resource" | "containerResource" => {
            match (has("averageUtilization"), has("averageValue")) {
                (false, false) => out.push(required(
                    "averageUtilization",
                    "must set either a target raw value or a target utilization",
                )),
                (true, true) => out.push(FieldError::forbidden(
                    child(&path, "averageValue"),
                    "may not set both a target raw value and a target utilization",
                )),
                _ => {}
            }
        }
        _ => {}
    }
}

fn target(t: &Value, path: &str, out: &mut Vec<FieldError>) {
    let kind = text(t, "type");
    if kind.is_empty() {
        out.push(FieldError::required(
            child(path, "type"),
            "must specify a metric target type",
        ));
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        let detail = "must be either Utilization, Value, or AverageValue";
        out.push(FieldError::invalid(child(path, "type"), kind, detail));
    }
    for key in ["value", "averageValue"] {
        if let Some(q) = Some(&t[key])
            .filter(|v| !v.is_null())
            .and_then(|v| Quantity::from_json(v).ok())
            && q.sign() != 1
        {
            out.push(FieldError::invalid(
                child(path, key),
                q.to_string(),
                "must be positive",
            ));
        }
    }
    if let Some(n) = t["averageUtilization"].as_i64().filter(|n| *n < 1) {
        let detail = "must be greater than 0";
        out.push(FieldError::invalid(
            child(path, "averageUtilization"),
            n,
            detail,
        ));
    }
}

fn scaling_rules(r: &Value, path: &str, out: &mut Vec<FieldError>) {
    if let Some(n) = r["stabilizationWindowSeconds"].as_i64() {
        let path = child(path, "stabilizationWindowSeconds");
        if n < 0 {
            out.push(FieldError::invalid(
                &path,
                n,
                "must be greater than or equal to zero",
            ));
        }
        if n > MAX_WINDOW {
            let detail = format!("must be less than or equal to {MAX_WINDOW}");
            out.push(FieldError::invalid(&path, n, detail));
        }
    }
    if let Some(policy) = r["selectPolicy"].as_str() {
        let allowed = ["Disabled", "Max", "Min"];
        if !allowed.contains(&policy) {
            out.push(FieldError::not_supported(
                child(path, "selectPolicy"),
                policy,
                &allowed,
            ));
        }
    }
    let policies = child(path, "policies");
    if r["policies"].as_array().is_none_or(Vec::is_empty) {
        out.push(FieldError::required(
            &policies,
            "must specify at least one Policy",
        ));
    }
    for (path, p) in items(&r["policies"], &policies) {
        let kind = text(p, "type");
        if !matches!(kind, "Pods" | "Percent") {
            out.push(FieldError::not_supported(
                child(&path, "type"),
                kind,
                &["Percent", "Pods"],
            ));
        }
        let value = p["value"].as_i64().unwrap_or(0);
        if value <= 0 {
            out.push(FieldError::invalid(
                child(&path, "value"),
                value,
                "must be greater than zero",
            ));
        }
        let period = p["periodSeconds"].as_i64().unwrap_or(0);
        let path = child(&path, "periodSeconds");
        if period <= 0 {
            out.push(FieldError::invalid(
                &path,
                period,
                "must be greater than zero",
            ));
        }
        if period > MAX_PERIOD {
            let detail = format!("must be less than or equal to {MAX_PERIOD}");
            out.push(FieldError::invalid(&path, period, detail));
        }
    }
    if let Some(q) = Some(&r["tolerance"])
        .filter(|v| !v.is_null())
        .and_then(|v| Quantity::from_json(v).ok())
        && q.sign() < 0
    {
        let detail = "must be greater than or equal to 0";
        out.push(FieldError::invalid(
            child(path, "tolerance"),
            q.to_string(),
            detail,
        ));
    }
}
