//! Services, nodes, configuration, budgets, priorities, leases, role bindings.

use super::{Cause, FieldError, at_least, child, items, meta, one_of, pod};
use serde_json::Value;
use std::collections::BTreeSet;

/// What a ConfigMap or Secret may hold in all.
const MAX_DATA: usize = 1 << 20;

pub(super) fn service(new: &Value, old: Option<&Value>, out: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    let types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    one_of(&spec["type"], "spec.type", &types, out);
    one_of(
        &spec["sessionAffinity"],
        "spec.sessionAffinity",
        &["ClientIP", "None"],
        out,
    );
    meta::labels(&spec["selector"], "spec.selector", out);
    let count = spec["ports"].as_array().map_or(0, Vec::len);
    let external = spec["type"] == "ExternalName";
    if count == 0 && spec["clusterIP"] != "None" && !external {
        out.push(FieldError::required("spec.ports", ""));
    }
    if external && spec["externalName"].as_str().is_none_or(str::is_empty) {
        out.push(FieldError::required("spec.externalName", ""));
    }
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for (path, port) in items(&spec["ports"], "spec.ports") {
        match port["name"].as_str().unwrap_or_default() {
            "" if count > 1 => out.push(FieldError::required(child(&path, "name"), "")),
            "" => {}
            name => {
                let faults = meta::label_name(name);
                out.extend(
                    faults
                        .into_iter()
                        .map(|f| FieldError::invalid(child(&path, "name"), name, f)),
                );
                if !names.insert(name) {
                    out.push(FieldError::duplicate(child(&path, "name"), name));
                }
            }
        }
        let number = port["port"].as_i64().unwrap_or(0);
        if !(1..=65535).contains(&number) {
            out.push(pod::port_range(&child(&path, "port"), number));
        }
        one_of(
            &port["protocol"],
            &child(&path, "protocol"),
            &["SCTP", "TCP", "UDP"],
            out,
        );
        if let Some(target) = port["targetPort"]
            .as_i64()
            .filter(|t| !(1..=65535).contains(t))
        {
            out.push(pod::port_range(&child(&path, "targetPort"), target));
        }
        if !numbers.insert((number, port["protocol"].as_str().unwrap_or("TCP"))) {
            out.push(FieldError::duplicate(
                &path,
                serde_json::json!({"protocol": port["protocol"], "port": number}),
            ));
        }
    }
    if let Some(old) = old.map(|o| &o["spec"])
        && old["type"] != "ExternalName"
        && !external
    {
        let address = |s: &Value| s["clusterIP"].as_str().unwrap_or_default().to_owned();
        let (before, after) = (address(old), address(spec));
        if !before.is_empty() && !after.is_empty() && before != after {
            out.push(FieldError::invalid(
                "spec.clusterIPs[0]",
                serde_json::json!([after]),
                "may not change once set",
            ));
        }
    }
}

pub(super) fn data(kind: &str, new: &Value, old: Option<&Value>, out: &mut Vec<FieldError>) {
    let mut size = 0;
    for field in ["data", "binaryData"] {
        for (key, value) in new[field].as_object().into_iter().flatten() {
            size += value.as_str().map_or(0, str::len);
            let valid = key
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
            if !valid || key.is_empty() {
                out.push(FieldError::invalid(
                    format!("{field}[{key}]"),
                    key.as_str(),
                    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' \
                     (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation \
                     is '[-._a-zA-Z0-9]+')",
                ));
            }
        }
    }
    if size > MAX_DATA {
        let field = if kind == "Secret" { "data" } else { "" };
        let detail = format!("may not be more than {MAX_DATA} bytes");
        out.push(FieldError::new(Cause::TooLong, field, detail));
    }
    let Some(old) = old else { return };
    if kind == "Secret" {
        super::immutable(&new["type"], Some(&old["type"]), "type", out);
    }
    if old["immutable"] == true {
        let text = "field is immutable when `immutable` is set";
        for field in ["immutable", "data", "binaryData"] {
            if new[field] != old[field] {
                out.push(FieldError::forbidden(field, text));
            }
        }
    }
}

pub(super) fn node(new: &Value, out: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (path, taint) in items(&new["spec"]["taints"], "spec.taints") {
        let text = |key: &str| taint[key].as_str().unwrap_or_default();
        let faults = meta::qualified_name(text("key"));
        out.extend(
            faults
                .into_iter()
                .map(|f| FieldError::invalid(child(&path, "key"), text("key"), f)),
        );
        let faults = meta::label_value(text("value"));
        if !faults.is_empty() {
            let path = child(&path, "value");
            out.push(FieldError::invalid(path, text("value"), faults.join(";")));
        }
        pod::effect(text("effect"), false, &child(&path, "effect"), out);
        if !seen.insert((text("key"), text("effect"))) {
            out.push(FieldError {
                detail: "taints must be unique by key and effect pair".into(),
                ..FieldError::duplicate(&path, taint.clone())
            });
        }
    }
}

pub(super) fn disruption_budget(new: &Value, out: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
        out.push(FieldError::invalid(
            "spec",
            spec.clone(),
            "minAvailable and maxUnavailable cannot be both set",
        ));
    }
    for key in ["minAvailable", "maxUnavailable"] {
        at_least(&spec[key], &format!("spec.{key}"), 0, out);
    }
    meta::selector(&spec["selector"], "spec.selector", out);
}

pub(super) fn priority_class(new: &Value, old: Option<&Value>, out: &mut Vec<FieldError>) {
    const MAX: i64 = 1_000_000_000;
    let system = new["metadata"]["name"]
        .as_str()
        .is_some_and(|n| n.starts_with("system-"));
    if !system && new["value"].as_i64().is_some_and(|v| v > MAX) {
        let detail = format!("maximum allowed value of a user defined priority is {MAX}");
        out.push(FieldError::forbidden("value", detail));
    }
    if old.is_some_and(|o| o["value"] != new["value"]) {
        out.push(FieldError::forbidden(
            "value",
            "may not be changed in an update.",
        ));
    }
    let policies = ["Never", "PreemptLowerPriority"];
    one_of(&new["preemptionPolicy"], "preemptionPolicy", &policies, out);
}

pub(super) fn lease(new: &Value, out: &mut Vec<FieldError>) {
    if let Some(n) = new["spec"]["leaseDurationSeconds"]
        .as_i64()
        .filter(|n| *n <= 0)
    {
        let detail = "must be greater than 0";
        out.push(FieldError::invalid("spec.leaseDurationSeconds", n, detail));
    }
    at_least(
        &new["spec"]["leaseTransitions"],
        "spec.leaseTransitions",
        0,
        out,
    );
}

pub(super) fn role_binding(new: &Value, old: Option<&Value>, out: &mut Vec<FieldError>) {
    let role = &new["roleRef"];
    if role["name"].as_str().is_none_or(str::is_empty) {
        out.push(FieldError::required("roleRef.name", ""));
    }
    if !matches!(role["kind"].as_str(), Some("Role" | "ClusterRole")) {
        let kind = role["kind"].as_str().unwrap_or_default();
        let allowed = ["Role", "ClusterRole"];
        out.push(FieldError::not_supported("roleRef.kind", kind, &allowed));
    }
    if old.is_some_and(|o| o["roleRef"] != *role) {
        // Shown as Go knows it, not as it is written.
        let shown = serde_json::json!({
            "APIGroup": role["apiGroup"], "Kind": role["kind"], "Name": role["name"]});
        out.push(FieldError::invalid("roleRef", shown, "field is immutable"));
    }
}
