//! Pods and pod templates: containers, resources, volumes, tolerations, and what may
//! change in a running pod.

use super::{Cause, FieldError, at_least, child, items, meta, one_of};
use api::quantity::Quantity;
use serde_json::Value;
use std::collections::BTreeSet;

pub(super) fn pod(new: &Value, old: Option<&Value>, out: &mut Vec<FieldError>) {
    match old {
        None => spec(&new["spec"], "spec", out),
        Some(old) => update(&new["spec"], &old["spec"], out),
    }
}

/// The `template` of a workload.
pub(super) fn template(template: &Value, path: &str, out: &mut Vec<FieldError>) {
    let m = child(path, "metadata");
    meta::labels(&template["metadata"]["labels"], &child(&m, "labels"), out);
    meta::annotations(
        &template["metadata"]["annotations"],
        &child(&m, "annotations"),
        out,
    );
    spec(&template["spec"], &child(path, "spec"), out);
}

fn spec(spec: &Value, path: &str, out: &mut Vec<FieldError>) {
    let mut volumes = BTreeSet::new();
    for (path, volume) in items(&spec["volumes"], &child(path, "volumes")) {
        let name = volume["name"].as_str().unwrap_or_default();
        name_field(name, &child(&path, "name"), out);
        if !volumes.insert(name.to_owned()) {
            out.push(FieldError::duplicate(child(&path, "name"), name));
        }
    }
    let mut names = BTreeSet::new();
    let containers = child(path, "containers");
    if spec["containers"].as_array().is_none_or(Vec::is_empty) {
        out.push(FieldError::required(&containers, ""));
    }
    for (path, c) in items(&spec["containers"], &containers).chain(items(
        &spec["initContainers"],
        &child(path, "initContainers"),
    )) {
        container(c, &path, &volumes, out);
        let name = c["name"].as_str().unwrap_or_default();
        if !name.is_empty() && !names.insert(name.to_owned()) {
            out.push(FieldError::duplicate(child(&path, "name"), name));
        }
    }
    one_of(
        &spec["restartPolicy"],
        &child(path, "restartPolicy"),
        &["Always", "OnFailure", "Never"],
        out,
    );
    one_of(
        &spec["dnsPolicy"],
        &child(path, "dnsPolicy"),
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
        out,
    );
    let grace = child(path, "terminationGracePeriodSeconds");
    at_least(&spec["terminationGracePeriodSeconds"], &grace, 0, out);
    meta::labels(&spec["nodeSelector"], &child(path, "nodeSelector"), out);
    for key in ["serviceAccountName", "nodeName", "priorityClassName"] {
        if let Some(name) = spec[key].as_str().filter(|s| !s.is_empty()) {
            let faults = meta::subdomain(name);
            out.extend(
                faults
                    .into_iter()
                    .map(|f| FieldError::invalid(child(path, key), name, f)),
            );
        }
    }
    tolerations(&spec["tolerations"], &child(path, "tolerations"), out);
}

fn name_field(name: &str, path: &str, out: &mut Vec<FieldError>) {
    if name.is_empty() {
        out.push(FieldError::required(path, ""));
    } else {
        let faults = meta::label_name(name);
        out.extend(
            faults
                .into_iter()
                .map(|f| FieldError::invalid(path, name, f)),
        );
    }
}

fn container(c: &Value, path: &str, volumes: &BTreeSet<String>, out: &mut Vec<FieldError>) {
    name_field(
        c["name"].as_str().unwrap_or_default(),
        &child(path, "name"),
        out,
    );
    match c["image"].as_str().unwrap_or_default() {
        "" => out.push(FieldError::required(child(path, "image"), "")),
        image if image.trim() != image => out.push(FieldError::invalid(
            child(path, "image"),
            image,
            "must not have leading or trailing whitespace",
        )),
        _ => {}
    }
    one_of(
        &c["imagePullPolicy"],
        &child(path, "imagePullPolicy"),
        &["Always", "IfNotPresent", "Never"],
        out,
    );
    let mut port_names = BTreeSet::new();
    for (path, port) in items(&c["ports"], &child(path, "ports")) {
        match port["containerPort"].as_i64().unwrap_or(0) {
            0 => out.push(FieldError::required(child(&path, "containerPort"), "")),
            1..=65535 => {}
            n => out.push(port_range(&child(&path, "containerPort"), n)),
        }
        one_of(
            &port["protocol"],
            &child(&path, "protocol"),
            &["SCTP", "TCP", "UDP"],
            out,
        );
        if let Some(name) = port["name"].as_str().filter(|n| !n.is_empty())
            && !port_names.insert(name.to_owned())
        {
            out.push(FieldError::duplicate(child(&path, "name"), name));
        }
    }
    for (path, e) in items(&c["env"], &child(path, "env")) {
        match e["name"].as_str().unwrap_or_default() {
            "" => out.push(FieldError::required(child(&path, "name"), "")),
            name if name.contains('=') || !name.bytes().all(|b| (0x20..0x7f).contains(&b)) => {
                out.push(FieldError::invalid(
                    child(&path, "name"),
                    name,
                    "a valid environment variable name must consist only of printable ASCII \
                     characters other than '='",
                ));
            }
            _ => {}
        }
        if e["valueFrom"].is_object() && e["value"].as_str().is_some_and(|v| !v.is_empty()) {
            out.push(FieldError::invalid(
                child(&path, "valueFrom"),
                "",
                "may not be specified when `value` is not empty",
            ));
        }
    }
    let mut mounted = BTreeSet::new();
    for (path, mount) in items(&c["volumeMounts"], &child(path, "volumeMounts")) {
        let name = mount["name"].as_str().unwrap_or_default();
        if name.is_empty() {
            out.push(FieldError::required(child(&path, "name"), ""));
        } else if !volumes.contains(name) {
            out.push(FieldError {
                value: Some(name.into()),
                ..FieldError::new(Cause::NotFound, child(&path, "name"), "")
            });
        }
        let at = mount["mountPath"].as_str().unwrap_or_default();
        if at.is_empty() {
            out.push(FieldError::required(child(&path, "mountPath"), ""));
        } else if !mounted.insert(at.to_owned()) {
            out.push(FieldError::invalid(
                child(&path, "mountPath"),
                at,
                "must be unique",
            ));
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let (p, path) = (&c[probe], child(path, probe));
        if !p.is_object() {
            continue;
        }
        for key in [
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ] {
            at_least(&p[key], &child(&path, key), 0, out);
        }
        let handlers = ["exec", "httpGet", "tcpSocket", "grpc"];
        if handlers.iter().all(|h| p.get(h).is_none_or(Value::is_null)) {
            out.push(FieldError::required(&path, "must specify a handler type"));
        }
    }
    resources(&c["resources"], &child(path, "resources"), out);
}

pub(super) fn port_range(path: &str, n: i64) -> FieldError {
    FieldError::invalid(path, n, "must be between 1 and 65535, inclusive")
}

/// Resources that may be requested without a limit: those without a foreign domain.
fn may_overcommit(name: &str) -> bool {
    !name.starts_with("hugepages-")
        && name
            .split_once('/')
            .is_none_or(|(domain, _)| domain.ends_with("kubernetes.io"))
}

fn is_extended(name: &str) -> bool {
    name.split_once('/')
        .is_some_and(|(domain, _)| !domain.ends_with("kubernetes.io"))
}

fn resources(r: &Value, path: &str, out: &mut Vec<FieldError>) {
    let (limits, requests) = (child(path, "limits"), child(path, "requests"));
    for (name, amount) in r["limits"].as_object().into_iter().flatten() {
        resource(name, amount, &format!("{limits}[{name}]"), out);
    }
    for (name, amount) in r["requests"].as_object().into_iter().flatten() {
        resource(name, amount, &format!("{requests}[{name}]"), out);
        let Ok(asked) = Quantity::from_json(amount) else {
            continue;
        };
        match r["limits"]
            .get(name)
            .and_then(|l| Quantity::from_json(l).ok())
        {
            Some(limit) => {
                let text = if asked != limit && !may_overcommit(name) {
                    "equal to"
                } else if asked > limit {
                    "less than or equal to"
                } else {
                    continue;
                };
                let detail = format!("must be {text} {name} limit of {limit}");
                out.push(FieldError::invalid(&requests, asked.to_string(), detail));
            }
            None if !may_overcommit(name) => out.push(FieldError::required(
                &limits,
                "Limit must be set for non overcommitable resources",
            )),
            None => {}
        }
    }
}

fn resource(name: &str, amount: &Value, path: &str, out: &mut Vec<FieldError>) {
    let faults = meta::qualified_name(name);
    if !faults.is_empty() {
        out.extend(
            faults
                .into_iter()
                .map(|f| FieldError::invalid(path, name, f)),
        );
    } else if !name.contains('/') {
        let compute = matches!(name, "cpu" | "memory" | "ephemeral-storage")
            || name.starts_with("hugepages-");
        let standard = compute
            || matches!(
                name,
                "storage" | "pods" | "services" | "secrets" | "configmaps"
            )
            || name.starts_with("requests.")
            || name.starts_with("limits.");
        if !standard {
            let detail = "must be a standard resource type or fully qualified";
            out.push(FieldError::invalid(path, name, detail));
        }
        if !compute {
            let detail = "must be a standard resource for containers";
            out.push(FieldError::invalid(path, name, detail));
        }
    }
    let Ok(quantity) = Quantity::from_json(amount) else {
        return;
    };
    if quantity.sign() < 0 {
        let detail = "must be greater than or equal to 0";
        out.push(FieldError::invalid(path, quantity.to_string(), detail));
    }
    if is_extended(name) && quantity.milli_value() % 1000 != 0 {
        out.push(FieldError::invalid(
            path,
            quantity.to_string(),
            "must be an integer",
        ));
    }
}

fn tolerations(list: &Value, path: &str, out: &mut Vec<FieldError>) {
    for (path, t) in items(list, path) {
        let text = |key: &str| t[key].as_str().unwrap_or_default();
        if !text("key").is_empty() {
            let faults = meta::qualified_name(text("key"));
            out.extend(
                faults
                    .into_iter()
                    .map(|f| FieldError::invalid(child(&path, "key"), text("key"), f)),
            );
        } else if text("operator") != "Exists" {
            out.push(FieldError::invalid(
                child(&path, "operator"),
                text("operator"),
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            ));
        }
        if !t["tolerationSeconds"].is_null() && text("effect") != "NoExecute" {
            out.push(FieldError::invalid(
                child(&path, "effect"),
                text("effect"),
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            ));
        }
        match text("operator") {
            "" | "Equal" => {
                let faults = meta::label_value(text("value"));
                if !faults.is_empty() {
                    out.push(FieldError::invalid(
                        child(&path, "operator"),
                        text("value"),
                        faults.join(";"),
                    ));
                }
            }
            "Exists" if !text("value").is_empty() => out.push(FieldError::invalid(
                child(&path, "operator"),
                text("value"),
                "value must be empty when `operator` is 'Exists'",
            )),
            "Exists" | "Lt" | "Gt" => {}
            other => out.push(FieldError::not_supported(
                child(&path, "operator"),
                other,
                &["Equal", "Exists", "Lt", "Gt"],
            )),
        }
        effect(text("effect"), true, &child(&path, "effect"), out);
    }
}

/// The effect of a taint or toleration.
pub(super) fn effect(effect: &str, may_be_empty: bool, path: &str, out: &mut Vec<FieldError>) {
    const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
    if effect.is_empty() {
        if !may_be_empty {
            out.push(FieldError::required(path, ""));
        }
    } else if !EFFECTS.contains(&effect) {
        out.push(FieldError::not_supported(path, effect, EFFECTS));
    }
}

/// What the API server says of other changes.
pub(crate) const MAY_CHANGE: &str = "pod updates may not change fields other than \
    `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
    `spec.tolerations` (only additions to existing tolerations),\
    `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

fn update(new: &Value, old: &Value, out: &mut Vec<FieldError>) {
    for field in ["containers", "initContainers"] {
        for (path, c) in items(&new[field], &format!("spec.{field}")) {
            if c["image"].as_str().is_none_or(str::is_empty) {
                out.push(FieldError::required(child(&path, "image"), ""));
            }
        }
        let count = |v: &Value| v[field].as_array().map_or(0, Vec::len);
        if count(new) != count(old) {
            let text = "pod updates may not add or remove containers";
            out.push(FieldError::forbidden(format!("spec.{field}"), text));
            return;
        }
    }
    let list = |v: &Value| v["tolerations"].as_array().cloned().unwrap_or_default();
    let (before, after) = (list(old), list(new));
    if before.iter().any(|t| !after.contains(t)) {
        let text = "existing toleration can not be modified except its tolerationSeconds";
        let softened = before.iter().all(|t| {
            after.iter().any(|a| {
                ["key", "operator", "value", "effect"]
                    .iter()
                    .all(|k| a[k] == t[k])
            })
        });
        if !softened {
            out.push(FieldError::forbidden("spec.tolerations", text));
        }
    }
    if still(new) != still(old) && !is_binding(new, old) {
        out.push(FieldError::forbidden("spec", MAY_CHANGE));
    }
}

/// The spec without what may change.
fn still(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let Some(o) = spec.as_object_mut() else {
        return spec;
    };
    for key in [
        "activeDeadlineSeconds",
        "tolerations",
        "schedulingGates",
        "ephemeralContainers",
        "resources",
    ] {
        o.remove(key);
    }
    if o.get("terminationGracePeriodSeconds")
        .and_then(Value::as_i64)
        .is_some_and(|n| n <= 1)
    {
        o.remove("terminationGracePeriodSeconds");
    }
    for key in ["containers", "initContainers"] {
        for c in o
            .get_mut(key)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(c) = c.as_object_mut() {
                c.remove("image");
                c.remove("resources");
            }
        }
    }
    spec
}

/// Whether the update is what the binding subresource does.
fn is_binding(new: &Value, old: &Value) -> bool {
    let mut old = still(old);
    if old["nodeName"].as_str().is_some_and(|n| !n.is_empty()) {
        return false;
    }
    if let Some(o) = old.as_object_mut() {
        o.insert("nodeName".into(), new["nodeName"].clone());
    }
    still(new) == old
}
