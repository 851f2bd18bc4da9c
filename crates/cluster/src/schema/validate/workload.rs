//! Workloads: Deployment, ReplicaSet, StatefulSet, DaemonSet, Job, CronJob.

use super::{FieldError, at_least, immutable, meta, pod};
use api::selector::LabelSelector;
use serde_json::Value;

pub(super) fn app(kind: &str, new: &Value, old: Option<&Value>, out: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    for key in [
        "replicas",
        "minReadySeconds",
        "revisionHistoryLimit",
        "progressDeadlineSeconds",
    ] {
        at_least(&spec[key], &format!("spec.{key}"), 0, out);
    }
    let selector = &spec["selector"];
    if !selector.is_object() {
        out.push(FieldError::required("spec.selector", ""));
    } else {
        meta::selector(selector, "spec.selector", out);
        if meta::is_empty_selector(selector) {
            let word = kind.to_lowercase();
            // ReplicaSets inherited the Deployment's sentence.
            let word = if word == "replicaset" {
                "deployment"
            } else {
                word.as_str()
            };
            let detail = format!("empty selector is invalid for {word}");
            out.push(FieldError::invalid(
                "spec.selector",
                selector.clone(),
                detail,
            ));
        }
    }
    template(kind, spec, out);
    match kind {
        "Deployment" => strategy(&spec["strategy"], "spec.strategy", out),
        "StatefulSet" | "DaemonSet" => {
            let kind = &spec["updateStrategy"]["type"];
            if !matches!(kind.as_str(), Some("RollingUpdate" | "OnDelete")) {
                out.push(FieldError::invalid(
                    "spec.updateStrategy",
                    spec["updateStrategy"].clone(),
                    "must be 'RollingUpdate' or 'OnDelete'",
                ));
            }
        }
        _ => {}
    }
    if kind == "Deployment"
        && let (Some(deadline), Some(ready)) = (
            spec["progressDeadlineSeconds"].as_i64(),
            Some(spec["minReadySeconds"].as_i64().unwrap_or(0)),
        )
        && deadline <= ready
    {
        out.push(FieldError::invalid(
            "spec.progressDeadlineSeconds",
            deadline,
            "must be greater than minReadySeconds",
        ));
    }
    let old_spec = old.map(|o| &o["spec"]);
    if kind == "StatefulSet" {
        if let Some(old) = old_spec
            && frozen(spec) != frozen(old)
        {
            out.push(FieldError::forbidden(
                "spec",
                "updates to statefulset spec for fields other than 'replicas', 'ordinals', \
                 'template', 'updateStrategy', 'revisionHistoryLimit', \
                 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
            ));
        }
    } else {
        immutable(
            selector,
            old_spec.map(|s| &s["selector"]),
            "spec.selector",
            out,
        );
    }
}

/// What may not change in a StatefulSet.
fn frozen(spec: &Value) -> Value {
    let mut spec = spec.clone();
    if let Some(o) = spec.as_object_mut() {
        for key in [
            "replicas",
            "ordinals",
            "template",
            "updateStrategy",
            "revisionHistoryLimit",
            "persistentVolumeClaimRetentionPolicy",
            "minReadySeconds",
        ] {
            o.remove(key);
        }
    }
    spec
}

fn template(kind: &str, spec: &Value, out: &mut Vec<FieldError>) {
    let template = &spec["template"];
    let labels = &template["metadata"]["labels"];
    if spec["selector"].is_object() && !meta::is_empty_selector(&spec["selector"]) {
        let selector: Result<LabelSelector, _> = serde_json::from_value(spec["selector"].clone());
        let selected = selector
            .ok()
            .and_then(|s| s.to_selector().ok())
            .is_some_and(|s| s.matches_json(labels));
        if !selected {
            let shown = if labels.is_null() {
                Value::Null
            } else {
                labels.clone()
            };
            out.push(FieldError::invalid(
                "spec.template.metadata.labels",
                shown,
                "`selector` does not match template `labels`",
            ));
        }
    }
    pod::template(template, "spec.template", out);
    let policy = template["spec"]["restartPolicy"]
        .as_str()
        .unwrap_or("Always");
    if policy != "Always" && matches!(policy, "OnFailure" | "Never") {
        let path = "spec.template.spec.restartPolicy";
        out.push(FieldError::not_supported(path, policy, &["Always"]));
    }
    if !template["spec"]["activeDeadlineSeconds"].is_null() {
        out.push(FieldError::forbidden(
            "spec.template.spec.activeDeadlineSeconds",
            format!(
                "activeDeadlineSeconds in {} is not Supported",
                if kind == "Deployment" {
                    "ReplicaSet"
                } else {
                    kind
                }
            ),
        ));
    }
}

fn strategy(s: &Value, path: &str, out: &mut Vec<FieldError>) {
    let rolling = &s["rollingUpdate"];
    match s["type"].as_str() {
        Some("Recreate") if rolling.is_object() => out.push(FieldError::forbidden(
            format!("{path}.rollingUpdate"),
            "may not be specified when strategy `type` is 'Recreate'",
        )),
        Some("Recreate") => {}
        Some("RollingUpdate") => {
            let path = format!("{path}.rollingUpdate");
            let mut zero = Vec::new();
            for key in ["maxUnavailable", "maxSurge"] {
                let v = &rolling[key];
                let number = match v.as_str() {
                    Some(text) => text.strip_suffix('%').and_then(|n| n.parse::<i64>().ok()),
                    None => v.as_i64(),
                };
                match number {
                    None if v.is_string() => out.push(FieldError::invalid(
                        format!("{path}.{key}"),
                        v.clone(),
                        "a valid percent string must be a numeric string followed by an ending \
                         '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
                    )),
                    Some(n) if n < 0 => out.push(FieldError::invalid(
                        format!("{path}.{key}"),
                        v.clone(),
                        "must be greater than or equal to 0",
                    )),
                    Some(n) if key == "maxUnavailable" && v.is_string() && n > 100 => {
                        out.push(FieldError::invalid(
                            format!("{path}.{key}"),
                            v.clone(),
                            "must not be greater than 100%",
                        ));
                    }
                    Some(0) => zero.push(key),
                    _ => {}
                }
            }
            if zero.len() == 2 {
                out.push(FieldError::invalid(
                    format!("{path}.maxUnavailable"),
                    rolling["maxUnavailable"].clone(),
                    "may not be 0 when `maxSurge` is 0",
                ));
            }
        }
        _ => out.push(FieldError::not_supported(
            path,
            s.clone(),
            &["Recreate", "RollingUpdate"],
        )),
    }
}

pub(super) fn job(new: &Value, old: Option<&Value>, out: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    job_spec(spec, "spec", out);
    if let Some(old) = old.map(|o| &o["spec"]) {
        immutable(
            &spec["completions"],
            Some(&old["completions"]),
            "spec.completions",
            out,
        );
        immutable(
            &spec["selector"],
            Some(&old["selector"]),
            "spec.selector",
            out,
        );
        immutable(
            &spec["completionMode"],
            Some(&old["completionMode"]),
            "spec.completionMode",
            out,
        );
        // A suspended job's pods are not there yet, so their template may still change.
        if old["suspend"] != true {
            immutable(
                &spec["template"],
                Some(&old["template"]),
                "spec.template",
                out,
            );
        }
    }
}

fn job_spec(spec: &Value, path: &str, out: &mut Vec<FieldError>) {
    for key in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
    ] {
        at_least(&spec[key], &format!("{path}.{key}"), 0, out);
    }
    let template = format!("{path}.template");
    pod::template(&spec["template"], &template, out);
    if spec["template"]["spec"]["restartPolicy"] == "Always" {
        out.push(FieldError::not_supported(
            format!("{template}.spec.restartPolicy"),
            "Always",
            &["OnFailure", "Never"],
        ));
    }
}

pub(super) fn cron_job(new: &Value, out: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    match spec["schedule"].as_str().unwrap_or_default() {
        "" => out.push(FieldError::required("spec.schedule", "")),
        schedule => {
            let fields: Vec<&str> = schedule.split_whitespace().collect();
            let fields = match fields.first() {
                Some(f) if f.starts_with("TZ=") || f.starts_with("CRON_TZ=") => &fields[1..],
                _ => &fields[..],
            };
            let macro_ = fields.len() == 1 && fields[0].starts_with('@');
            if fields.len() != 5 && !macro_ && fields.first() != Some(&"@every") {
                out.push(FieldError::invalid(
                    "spec.schedule",
                    schedule,
                    format!(
                        "expected exactly 5 fields, found {}: [{}]",
                        fields.len(),
                        fields.join(" ")
                    ),
                ));
            }
        }
    }
    let policies = ["Allow", "Forbid", "Replace"];
    super::one_of(
        &spec["concurrencyPolicy"],
        "spec.concurrencyPolicy",
        &policies,
        out,
    );
    if let Some(name) = new["metadata"]["name"].as_str().filter(|n| n.len() > 52) {
        out.push(FieldError::invalid(
            "metadata.name",
            name,
            "must be no more than 52 characters",
        ));
    }
    job_spec(&spec["jobTemplate"]["spec"], "spec.jobTemplate.spec", out);
}
