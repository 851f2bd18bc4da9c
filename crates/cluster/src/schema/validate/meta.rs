//! Names, labels, annotations, selectors and owner references.

use super::{FieldError, child, items};
pub(super) use api::selector::{
    label_key_problems as qualified_name, label_value_problems as label_value,
    subdomain_problems as subdomain,
};
use serde_json::Value;

/// All annotations of an object together.
const MAX_ANNOTATIONS: usize = 256 << 10;

/// What an object's name must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameRule {
    Subdomain,
    Label,
    /// Anything that can stand in a path.
    Segment,
}

pub(super) fn name_rule(group: &str, kind: &str) -> NameRule {
    match (group, kind) {
        ("", "Namespace" | "Service") => NameRule::Label,
        ("rbac.authorization.k8s.io" | "certificates.k8s.io" | "apiregistration.k8s.io", _) => {
            NameRule::Segment
        }
        // Objects that only carry a request need no name.
        ("authorization.k8s.io" | "authentication.k8s.io" | "policy", "Eviction")
        | ("authorization.k8s.io" | "authentication.k8s.io", _) => NameRule::Segment,
        _ => NameRule::Subdomain,
    }
}

fn is_label(s: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !s.is_empty() && s.bytes().all(inner) && !s.starts_with('-') && !s.ends_with('-')
}

/// What is wrong with a DNS label.
pub(super) fn label_name(s: &str) -> Vec<String> {
    let mut out = Vec::new();
    if s.len() > 63 {
        out.push("must be no more than 63 bytes".to_owned());
    }
    if !is_label(s) {
        out.push(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or \
             '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or \
             '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
                .to_owned(),
        );
    }
    out
}

/// What is wrong with a DNS label of the older kind, which starts with a letter.
pub(super) fn label_1035(s: &str) -> Vec<String> {
    let mut out = Vec::new();
    if s.len() > 63 {
        out.push("must be no more than 63 bytes".to_owned());
    }
    if !is_label(s) || s.starts_with(|c: char| c.is_ascii_digit()) {
        out.push(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start \
             with an alphabetic character, and end with an alphanumeric character (e.g. \
             'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
                .to_owned(),
        );
    }
    out
}

/// What is wrong with the name of a kind.
pub(super) fn kind_name(s: &str) -> Option<String> {
    let faults = label_1035(&s.to_lowercase());
    (!faults.is_empty()).then(|| {
        format!(
            "may have mixed case, but should otherwise match: {}",
            faults.join(",")
        )
    })
}

fn segment(s: &str) -> Vec<String> {
    match s {
        "." | ".." => vec![format!("may not be '{s}'")],
        _ => ["/", "%"]
            .into_iter()
            .filter(|c| s.contains(c))
            .map(|c| format!("may not contain '{c}'"))
            .collect(),
    }
}

/// What is wrong with a metric's or other path segment's name.
pub(super) fn path_segment(s: &str) -> Vec<String> {
    segment(s)
}

/// A map of labels.
pub(super) fn labels(labels: &Value, path: &str, out: &mut Vec<FieldError>) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        out.extend(
            qualified_name(key)
                .into_iter()
                .map(|m| FieldError::invalid(path, key.as_str(), m)),
        );
        let value = value.as_str().unwrap_or_default();
        out.extend(
            label_value(value)
                .into_iter()
                .map(|m| FieldError::invalid(path, value, m)),
        );
    }
}

pub(super) fn annotations(annotations: &Value, path: &str, out: &mut Vec<FieldError>) {
    let mut size = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        // Keys are looked at in lower case.
        let low = key.to_lowercase();
        out.extend(
            qualified_name(&low)
                .into_iter()
                .map(|m| FieldError::invalid(path, key.as_str(), m)),
        );
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > MAX_ANNOTATIONS {
        out.push(FieldError::new(
            super::Cause::TooLong,
            path,
            format!("may not be more than {MAX_ANNOTATIONS} bytes"),
        ));
    }
}

pub(super) fn object(rule: NameRule, new: &Value, old: Option<&Value>, out: &mut Vec<FieldError>) {
    let m = &new["metadata"];
    let name = m["name"].as_str().unwrap_or_default();
    if name.is_empty() && m["generateName"].as_str().is_none_or(str::is_empty) {
        if rule != NameRule::Segment {
            out.push(FieldError::required(
                "metadata.name",
                "name or generateName is required",
            ));
        }
    } else if old.is_none() && !name.is_empty() {
        let faults = match rule {
            NameRule::Subdomain => subdomain(name),
            NameRule::Label => label_name(name),
            NameRule::Segment => segment(name),
        };
        out.extend(
            faults
                .into_iter()
                .map(|f| FieldError::invalid("metadata.name", name, f)),
        );
    }
    labels(&m["labels"], "metadata.labels", out);
    annotations(&m["annotations"], "metadata.annotations", out);
    let mut controllers = Vec::new();
    for (path, owner) in items(&m["ownerReferences"], "metadata.ownerReferences") {
        for key in ["apiVersion", "kind", "name", "uid"] {
            if owner[key].as_str().is_none_or(str::is_empty) {
                out.push(FieldError::required(child(&path, key), "must not be empty"));
            }
        }
        if owner["controller"] == true {
            controllers.push(format!(
                "{}/{}",
                owner["kind"].as_str().unwrap_or_default(),
                owner["name"].as_str().unwrap_or_default()
            ));
        }
    }
    if let [first, second, ..] = controllers.as_slice() {
        out.push(FieldError::invalid(
            "metadata.ownerReferences",
            m["ownerReferences"].clone(),
            format!("Only one reference can have Controller set to true. Found \"true\" in references for {first} and {second}"),
        ));
    }
    for (path, finalizer) in items(&m["finalizers"], "metadata.finalizers") {
        let name = finalizer.as_str().unwrap_or_default();
        out.extend(
            qualified_name(name)
                .into_iter()
                .map(|f| FieldError::invalid(&path, name, f)),
        );
    }
}

/// A label selector of the `matchLabels` and `matchExpressions` kind.
pub(super) fn selector(selector: &Value, path: &str, out: &mut Vec<FieldError>) {
    labels(&selector["matchLabels"], &child(path, "matchLabels"), out);
    for (path, e) in items(
        &selector["matchExpressions"],
        &child(path, "matchExpressions"),
    ) {
        let values = e["values"].as_array().map_or(0, Vec::len);
        match e["operator"].as_str() {
            Some("In" | "NotIn") if values == 0 => out.push(FieldError::required(
                child(&path, "values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            Some("Exists" | "DoesNotExist") if values > 0 => out.push(FieldError::forbidden(
                child(&path, "values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            Some("In" | "NotIn" | "Exists" | "DoesNotExist") => {}
            other => out.push(FieldError::invalid(
                child(&path, "operator"),
                other.unwrap_or_default(),
                "not a valid selector operator",
            )),
        }
        let key = e["key"].as_str().unwrap_or_default();
        out.extend(
            qualified_name(key)
                .into_iter()
                .map(|m| FieldError::invalid(child(&path, "key"), key, m)),
        );
    }
}

/// Whether a selector is there but selects everything.
pub(super) fn is_empty_selector(selector: &Value) -> bool {
    let none = |key: &str| match &selector[key] {
        Value::Object(o) => o.is_empty(),
        Value::Array(a) => a.is_empty(),
        _ => true,
    };
    none("matchLabels") && none("matchExpressions")
}
