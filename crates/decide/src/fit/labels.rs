//! Label and node selectors as pods carry them, on the shared selector type.

use api::selector::{LabelSelector, Operator, Requirement, Selector};
use serde_json::Value;

/// Reads a `metav1.LabelSelector`. An absent one selects nothing; so does one
/// that is not valid, which the API server lets nobody store.
pub(super) fn selector(value: &Value) -> Selector {
    if !value.is_object() {
        return Selector::nothing();
    }
    let parsed: Option<LabelSelector> = serde_json::from_value(value.clone()).ok();
    parsed
        .and_then(|s| s.to_selector().ok())
        .unwrap_or_else(Selector::nothing)
}

/// A selector that also asks for the pod's own values of `keys` (`matchLabelKeys`).
pub(super) fn with_own(
    selector: Selector,
    keys: &Value,
    own: &std::collections::BTreeMap<String, String>,
) -> Selector {
    let more: Vec<Requirement> = keys
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|key| {
            let key = key.as_str()?;
            let value = own.get(key)?;
            Some(Requirement {
                key: key.to_owned(),
                operator: Operator::In,
                values: vec![value.clone()],
            })
        })
        .collect();
    if more.is_empty() || selector == Selector::nothing() {
        return selector;
    }
    let mut all = selector.requirements().to_vec();
    all.extend(more);
    Selector::from_requirements(all)
}

/// Reads a requirement of a node selector term; an unknown operator yields none.
pub(super) fn node_requirement(value: &Value) -> Option<Requirement> {
    let operator = match value["operator"].as_str()? {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::GreaterThan,
        "Lt" => Operator::LessThan,
        _ => return None,
    };
    let values = value["values"].as_array().into_iter().flatten();
    Some(Requirement {
        key: value["key"].as_str()?.to_owned(),
        operator,
        values: values
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect(),
    })
}
