//! Environment of the target's container, which feeds `…FromEnv` parameters.

use std::collections::BTreeMap;

use api::keda::ScaledObject;
use serde_json::Value;

use crate::io;
use crate::state::Shared;

/// The environment of the container that the ScaledObject names, or the first.
///
/// Field and resource references are not resolved, as in KEDA; a target
/// without a pod template has no environment.
pub(crate) async fn of_target(
    shared: &Shared,
    object: &ScaledObject,
    target: Option<&Value>,
    container: &str,
) -> BTreeMap<String, String> {
    let Some(spec) = target.map(|t| &t["spec"]["template"]["spec"]) else {
        return BTreeMap::new();
    };
    let containers = spec["containers"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let found = containers
        .iter()
        .find(|c| container.is_empty() || c["name"].as_str() == Some(container));
    let Some(found) = found else {
        return BTreeMap::new();
    };
    let namespace = object.metadata.namespace.as_str();
    let mut out = BTreeMap::new();
    for source in list(&found["envFrom"]) {
        let prefix = source["prefix"].as_str().unwrap_or_default();
        for (field, secret) in [("configMapRef", false), ("secretRef", true)] {
            if let Some(name) = source[field]["name"].as_str() {
                for (key, value) in data(shared, namespace, name, secret).await {
                    out.insert(format!("{prefix}{key}"), value);
                }
            }
        }
    }
    for entry in list(&found["env"]) {
        let Some(name) = entry["name"].as_str() else {
            continue;
        };
        let from = &entry["valueFrom"];
        let value = if let Some(text) = entry["value"].as_str() {
            Some(expand(text, &out))
        } else if from["secretKeyRef"].is_object() {
            key_of(shared, namespace, &from["secretKeyRef"], true).await
        } else if from["configMapKeyRef"].is_object() {
            key_of(shared, namespace, &from["configMapKeyRef"], false).await
        } else {
            None
        };
        if let Some(value) = value {
            out.insert(name.to_owned(), value);
        }
    }
    out
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

async fn key_of(
    shared: &Shared,
    namespace: &str,
    reference: &Value,
    secret: bool,
) -> Option<String> {
    let (name, key) = (reference["name"].as_str()?, reference["key"].as_str()?);
    data(shared, namespace, name, secret).await.remove(key)
}

/// The entries of a Secret or ConfigMap; none where it cannot be read.
pub(crate) async fn data(
    shared: &Shared,
    namespace: &str,
    name: &str,
    secret: bool,
) -> BTreeMap<String, String> {
    use base64::Engine as _;
    let (kind, plural) = if secret {
        ("Secret", "secrets")
    } else {
        ("ConfigMap", "configmaps")
    };
    let api = io::in_namespace(
        &shared.client,
        namespace,
        &io::resource("", "v1", kind, plural),
    );
    let object = match api.get(name).await {
        Ok(object) => io::to_value(&object),
        Err(error) => {
            tracing::warn!(kind, namespace, name, %error, "not readable, taken as empty");
            return BTreeMap::new();
        }
    };
    let Some(entries) = object["data"].as_object() else {
        return BTreeMap::new();
    };
    let decode = |text: &str| {
        if !secret {
            return Some(text.to_owned());
        }
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(text)
            .ok()?;
        String::from_utf8(bytes).ok()
    };
    entries
        .iter()
        .filter_map(|(key, value)| Some((key.clone(), decode(value.as_str()?)?)))
        .collect()
}

/// Kubernetes' `$(NAME)` expansion: unknown names stay, `$$` is a dollar.
fn expand(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        if let Some(after) = tail.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = tail.strip_prefix('(').and_then(|t| t.split_once(')')) {
            match known.get(name) {
                Some(value) => out.push_str(value),
                None => out.push_str(&rest[at..at + name.len() + 3]),
            }
            rest = after;
        } else {
            out.push('$');
            rest = tail;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_to_earlier_variables_are_expanded() {
        let known = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        assert_eq!(expand("x$(A)y$(B)$$(A)$", &known), "x1y$(B)$(A)$");
    }
}
