//! Field errors as Kubernetes words them, and the validation of built-in kinds.

mod autoscaler;
mod core;
mod custom;
mod definition;
mod meta;
mod pod;
mod wellformed;
mod workload;

pub(crate) use custom::{RULES, custom, value};
pub(crate) use pod::MAY_CHANGE;

use super::Gvk;
use serde_json::Value;
use std::fmt;

/// What kind of field error it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Refers to something that is not there.
    NotFound,
    /// Must be set.
    Required,
    /// Occurs twice.
    Duplicate,
    /// Has a wrong value.
    Invalid,
    /// Is of the wrong type.
    TypeInvalid,
    /// Is not among the values allowed.
    NotSupported,
    /// May not be set or changed.
    Forbidden,
    /// Has too many bytes.
    TooLong,
    /// Has too many elements.
    TooMany,
    /// Has too few elements.
    TooFew,
}

impl Cause {
    /// The machine-readable reason of a status cause.
    pub fn reason(self) -> &'static str {
        match self {
            Cause::NotFound => "FieldValueNotFound",
            Cause::Required => "FieldValueRequired",
            Cause::Duplicate => "FieldValueDuplicate",
            Cause::Invalid => "FieldValueInvalid",
            Cause::TypeInvalid => "FieldValueTypeInvalid",
            Cause::NotSupported => "FieldValueNotSupported",
            Cause::Forbidden => "FieldValueForbidden",
            Cause::TooLong => "FieldValueTooLong",
            Cause::TooMany => "FieldValueTooMany",
            Cause::TooFew => "FieldValueTooFew",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Cause::NotFound => "Not found",
            Cause::Required => "Required value",
            Cause::Duplicate => "Duplicate value",
            Cause::Invalid | Cause::TypeInvalid => "Invalid value",
            Cause::NotSupported => "Unsupported value",
            Cause::Forbidden => "Forbidden",
            Cause::TooLong => "Too long",
            Cause::TooMany => "Too many",
            Cause::TooFew => "Too few",
        }
    }
}

/// One field error: `spec.replicas: Invalid value: -1: must be greater than or equal to 0`.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// What kind of error.
    pub cause: Cause,
    /// Path of the field.
    pub field: String,
    /// The value, where it is shown.
    pub value: Option<Value>,
    /// Why it is wrong; may be empty.
    pub detail: String,
}

impl FieldError {
    /// Any error without a value.
    pub fn new(cause: Cause, field: impl Into<String>, detail: impl Into<String>) -> FieldError {
        FieldError {
            cause,
            field: field.into(),
            value: None,
            detail: detail.into(),
        }
    }

    /// `Required value`, with more if `detail` is not empty.
    pub fn required(field: impl Into<String>, detail: impl Into<String>) -> FieldError {
        FieldError::new(Cause::Required, field, detail)
    }

    /// `Forbidden: detail`.
    pub fn forbidden(field: impl Into<String>, detail: impl Into<String>) -> FieldError {
        FieldError::new(Cause::Forbidden, field, detail)
    }

    /// `Invalid value: value: detail`.
    pub fn invalid(
        field: impl Into<String>,
        value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> FieldError {
        FieldError {
            value: Some(value.into()),
            ..FieldError::new(Cause::Invalid, field, detail)
        }
    }

    /// `Duplicate value: value`.
    pub fn duplicate(field: impl Into<String>, value: impl Into<Value>) -> FieldError {
        FieldError {
            value: Some(value.into()),
            ..FieldError::new(Cause::Duplicate, field, "")
        }
    }

    /// `Unsupported value: value: supported values: "a", "b"`.
    pub fn not_supported(
        field: impl Into<String>,
        value: impl Into<Value>,
        allowed: &[&str],
    ) -> FieldError {
        let quoted: Vec<String> = allowed.iter().map(|a| quote(a)).collect();
        let detail = match quoted.as_slice() {
            [] => String::new(),
            some => format!("supported values: {}", some.join(", ")),
        };
        FieldError {
            value: Some(value.into()),
            ..FieldError::new(Cause::NotSupported, field, detail)
        }
    }

    /// The message without the field, as a status cause holds it.
    pub fn body(&self) -> String {
        let mut out = self.cause.words().to_owned();
        if let Some(v) = &self.value {
            out.push_str(": ");
            match v {
                Value::String(s) => out.push_str(&quote(s)),
                other => out.push_str(&other.to_string()),
            }
        }
        if !self.detail.is_empty() {
            out.push_str(": ");
            out.push_str(&self.detail);
        }
        out
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// Go's `%q`.
pub(crate) fn quote(s: &str) -> String {
    let mut out = String::from("\"");
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if (c as u32) < 0x20 || c == '\u{7f}' => {
                out.push_str(&format!("\\x{:02x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Several errors in one text: one as it is, more in brackets.
pub fn aggregate(errors: &[FieldError]) -> String {
    match errors {
        [one] => one.to_string(),
        many => {
            let mut texts: Vec<String> = Vec::new();
            for e in many {
                let text = e.to_string();
                if !texts.contains(&text) {
                    texts.push(text);
                }
            }
            match texts.as_slice() {
                [one] => one.clone(),
                texts => format!("[{}]", texts.join(", ")),
            }
        }
    }
}

/// Validates a built-in object after defaulting; `old` is there on updates.
pub fn validate(gvk: Gvk<'_>, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut out = Vec::new();
    let (group, version, kind) = gvk;
    meta::object(meta::name_rule(group, kind), new, old, &mut out);
    match (group, kind) {
        ("", "Pod") => pod::pod(new, old, &mut out),
        ("", "Service") => core::service(new, old, &mut out),
        ("", "ConfigMap" | "Secret") => core::data(kind, new, old, &mut out),
        ("", "Node") => core::node(new, &mut out),
        ("apps", "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet") => {
            workload::app(kind, new, old, &mut out);
        }
        ("batch", "Job") => workload::job(new, old, &mut out),
        ("batch", "CronJob") => workload::cron_job(new, &mut out),
        ("autoscaling", "HorizontalPodAutoscaler") => {
            autoscaler::autoscaler(version, new, old, &mut out);
        }
        ("autoscaling", "Scale") => {
            at_least(&new["spec"]["replicas"], "spec.replicas", 0, &mut out);
        }
        ("policy", "PodDisruptionBudget") => core::disruption_budget(new, &mut out),
        ("scheduling.k8s.io", "PriorityClass") => core::priority_class(new, old, &mut out),
        ("coordination.k8s.io", "Lease") => core::lease(new, &mut out),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            core::role_binding(new, old, &mut out);
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            definition::definition(new, old, &mut out);
        }
        _ => {}
    }
    out
}

/// `path.key`.
fn child(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// A number with a lower bound, where it is set.
fn at_least(value: &Value, path: &str, min: i64, out: &mut Vec<FieldError>) {
    if let Some(n) = value.as_i64().filter(|n| *n < min) {
        let detail = format!("must be greater than or equal to {min}");
        out.push(FieldError::invalid(path, n, detail));
    }
}

/// A value that may not change once it is there.
fn immutable(new: &Value, old: Option<&Value>, path: &str, out: &mut Vec<FieldError>) {
    if let Some(old) = old
        && new != old
    {
        out.push(FieldError::invalid(path, new.clone(), "field is immutable"));
    }
}

/// One of several words.
fn one_of(value: &Value, path: &str, allowed: &[&str], out: &mut Vec<FieldError>) {
    match value.as_str() {
        None | Some("") => out.push(FieldError::required(path, "")),
        Some(v) if !allowed.contains(&v) => out.push(FieldError::not_supported(path, v, allowed)),
        Some(_) => {}
    }
}

/// The elements of a list with their paths.
fn items<'v>(list: &'v Value, path: &str) -> impl Iterator<Item = (String, &'v Value)> + use<'v> {
    let path = path.to_owned();
    let all = list.as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter()
        .enumerate()
        .map(move |(i, v)| (format!("{path}[{i}]"), v))
}

#[cfg(test)]
mod tests;
