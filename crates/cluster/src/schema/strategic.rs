//! Strategic merge patch: merge keys and strategies come from the table of types.

use super::Gvk;
use super::patch::PatchError;
use super::table::{Elem, Field, Shape, Table, Type};
use std::collections::BTreeMap;

use serde_json::{Map, Value};

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

type Object = Map<String, Value>;

/// Applies a strategic merge patch to a built-in object.
pub fn strategic_merge(gvk: Gvk<'_>, current: &Value, patch: &Value) -> Result<Value, PatchError> {
    let Value::Object(patch) = patch else {
        return Err(PatchError::bad_request("Invalid JSON document"));
    };
    let table = Table::get();
    let ty = table.kind(gvk.0, gvk.1, gvk.2).map(|i| table.ty(i));
    let original = current.as_object().cloned().unwrap_or_default();
    Ok(Value::Object(merge_map(original, patch, ty)?))
}

fn merge_map(
    mut original: Object,
    patch: &Object,
    ty: Option<&'static Type>,
) -> Result<Object, PatchError> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => {
                let mut replaced = strip(patch);
                replaced.remove(DIRECTIVE);
                Ok(replaced)
            }
            Some("delete") => Ok(Object::new()),
            Some("merge") => {
                let mut rest = patch.clone();
                rest.remove(DIRECTIVE);
                merge_map(original, &rest, ty)
            }
            other => Err(PatchError::bad_request(format!(
                "unknown patch type: {}",
                other.unwrap_or("<nil>")
            ))),
        };
    }
    if let Some(keys) = patch.get(RETAIN) {
        let keys = keys.as_array().ok_or_else(bad_retain_keys)?;
        let kept = |k: &str| keys.iter().any(|x| x.as_str() == Some(k));
        if patch
            .iter()
            .any(|(k, v)| !k.starts_with('$') && !v.is_null() && !kept(k))
        {
            return Err(bad_retain_keys());
        }
        original.retain(|k, _| kept(k));
    }
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix(DELETE_FROM) {
            let gone = value
                .as_array()
                .ok_or_else(|| PatchError::bad_request("invalid patch format of primitive list"))?;
            if let Some(Value::Array(items)) = original.get_mut(list) {
                items.retain(|i| !gone.contains(i));
            }
        }
    }
    let mut before = BTreeMap::new();
    for (key, value) in patch {
        if key.starts_with('$') {
            continue;
        }
        let field = ty.and_then(|t| t.field(key));
        let merged = match (original.remove(key), value) {
            (_, Value::Null) => continue,
            (Some(Value::Object(old)), Value::Object(new)) => {
                let inner = field.and_then(struct_of);
                Value::Object(merge_map(old, new, inner)?)
            }
            (Some(Value::Array(old)), Value::Array(new)) if field.is_some_and(|f| f.merge) => {
                let merge_key = field.and_then(|f| f.merge_key);
                let was = old.clone();
                let merged = merge_list(old, new, field)?;
                // The patch's own order counts, unless it gives another one.
                let merged = if patch.contains_key(&format!("{ORDER}{key}")) {
                    merged
                } else {
                    ordered(merged, new, &was, merge_key)
                };
                before.insert(key.clone(), was);
                Value::Array(merged)
            }
            // Nothing to merge with, yet directives inside must not be stored.
            (_, Value::Object(new)) => {
                let inner = field.and_then(struct_of);
                Value::Object(merge_map(Object::new(), new, inner)?)
            }
            (_, Value::Array(new)) if field.is_some_and(|f| f.merge) => {
                Value::Array(merge_list(Vec::new(), new, field)?)
            }
            (_, new) => new.clone(),
        };
        original.insert(key.clone(), merged);
    }
    for (key, order) in patch {
        let Some(list) = key.strip_prefix(ORDER) else {
            continue;
        };
        let order = order.as_array().ok_or_else(|| {
            PatchError::bad_request("invalid patch format of setElementOrder list")
        })?;
        let merge_key = ty.and_then(|t| t.field(list)).and_then(|f| f.merge_key);
        if let Some(Value::Array(items)) = original.get_mut(list) {
            let all = std::mem::take(items);
            let was = before.remove(list).unwrap_or_else(|| all.clone());
            *items = ordered(all, order, &was, merge_key);
        }
    }
    Ok(original)
}

fn bad_retain_keys() -> PatchError {
    PatchError::bad_request("invalid patch format of retainKeys")
}

fn struct_of(field: &Field) -> Option<&'static Type> {
    match (field.shape, field.elem) {
        (Shape::One | Shape::List, Elem::Struct(i)) => Some(Table::get().ty(i)),
        _ => None,
    }
}

fn merge_list(
    mut items: Vec<Value>,
    patch: &[Value],
    field: Option<&'static Field>,
) -> Result<Vec<Value>, PatchError> {
    let Some(key) = field.and_then(|f| f.merge_key) else {
        for value in patch {
            if !items.contains(value) {
                items.push(value.clone());
            }
        }
        return Ok(items);
    };
    let directive = |v: &Value, name: &str| v[DIRECTIVE] == name;
    if patch.iter().any(|v| directive(v, "replace")) {
        // The list becomes what the patch holds beside the directive.
        let rest = patch.iter().filter(|v| v.get(DIRECTIVE).is_none());
        return Ok(rest
            .map(|v| {
                v.as_object()
                    .map_or_else(|| v.clone(), |o| Value::Object(strip(o)))
            })
            .collect());
    }
    for value in patch {
        let Some(new) = value.as_object() else {
            return Err(PatchError::bad_request(format!(
                "map: {value} does not contain declared merge key: {key}"
            )));
        };
        let Some(id) = new.get(key) else {
            return Err(PatchError::bad_request(format!(
                "map: {} does not contain declared merge key: {key}",
                go_map(new)
            )));
        };
        if directive(value, "delete") {
            items.retain(|i| i.get(key) != Some(id));
            continue;
        }
        let ty = field.and_then(struct_of);
        match items.iter_mut().find(|i| i.get(key) == Some(id)) {
            Some(old) => {
                let original = match old.take() {
                    Value::Object(o) => o,
                    _ => Object::new(),
                };
                *old = Value::Object(merge_map(original, new, ty)?);
            }
            None => items.push(Value::Object(merge_map(Object::new(), new, ty)?)),
        }
    }
    Ok(items)
}

/// Go's `%v` of a map.
fn go_map(o: &Object) -> String {
    let fields: BTreeMap<&String, String> = o.iter().map(|(k, v)| (k, go_text(v))).collect();
    let fields: Vec<String> = fields.iter().map(|(k, v)| format!("{k}:{v}")).collect();
    format!("map[{}]", fields.join(" "))
}

/// Go's `%v` of a value.
pub(crate) fn go_text(v: &Value) -> String {
    match v {
        Value::String(s) => s.clone(),
        Value::Object(inner) => go_map(inner),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go_text).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Null => "<nil>".to_owned(),
        other => other.to_string(),
    }
}

/// The patch without its directives and nulls, for what is stored as it is.
fn strip(o: &Object) -> Object {
    o.iter()
        .filter(|(k, v)| !v.is_null() && (!k.starts_with('$') || matches!(k.as_str(), "$ref")))
        .map(|(k, v)| match v {
            Value::Object(inner) => (k.clone(), Value::Object(strip(inner))),
            other => (k.clone(), other.clone()),
        })
        .collect()
}

/// Brings the elements named by `order` into that order. Each of the others comes before the
/// first of them, from where the last of the others was put, that it stood before in `was`.
fn ordered(
    items: Vec<Value>,
    order: &[Value],
    was: &[Value],
    merge_key: Option<&str>,
) -> Vec<Value> {
    let id = |v: &Value| match merge_key {
        Some(k) => v.get(k).cloned().unwrap_or(Value::Null),
        None => v.clone(),
    };
    let wanted: Vec<Value> = order.iter().map(id).collect();
    let rank = |v: &Value| wanted.iter().position(|w| *w == id(v));
    let place = |v: &Value| was.iter().position(|b| id(b) == id(v));
    let (mut out, others): (Vec<Value>, Vec<Value>) =
        items.into_iter().partition(|v| rank(v).is_some());
    out.sort_by_key(&rank);
    let mut from = 0;
    for other in others {
        let at = out[from..]
            .iter()
            .position(|v| matches!((place(&other), place(v)), (Some(o), Some(v)) if o < v));
        let at = at.map_or(out.len(), |n| from + n);
        out.insert(at, other);
        from = at + 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const DEPLOYMENT: Gvk<'static> = ("apps", "v1", "Deployment");
    const POD: Gvk<'static> = ("", "v1", "Pod");

    fn merged(gvk: Gvk<'_>, current: Value, patch: Value) -> Value {
        strategic_merge(gvk, &current, &patch).unwrap()
    }

    #[test]
    fn containers_merge_by_name_and_follow_the_given_order() {
        let out = merged(
            POD,
            json!({"spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]}}),
            json!({"spec": {
                "$setElementOrder/containers": [{"name": "c"}, {"name": "b"}],
                "containers": [{"name": "b", "image": "z"}, {"name": "c", "image": "n"}]
            }}),
        );
        assert_eq!(
            out,
            json!({"spec": {"containers": [
                {"name": "c", "image": "n"}, {"name": "a", "image": "x"}, {"name": "b", "image": "z"}
            ]}})
        );
    }

    /// As Kubernetes 1.37 does it.
    #[test]
    fn a_patch_without_a_given_order_brings_its_own() {
        let list = |names: &str| -> Value {
            names
                .chars()
                .map(|c| json!({"name": c.to_string()}))
                .collect()
        };
        for (patch, order, expected) in [
            ("CXB", None, "ACXBD"),
            ("XB", None, "XABCD"),
            ("BX", None, "ABXCD"),
            ("X", None, "XABCD"),
            ("X", Some("XB"), "XABCD"),
            ("X", Some("AXB"), "AXBCD"),
            ("X", Some("DXA"), "BCDXA"),
        ] {
            let mut spec = json!({"containers": list(patch)});
            if let Some(order) = order {
                spec["$setElementOrder/containers"] = list(order);
            }
            let live = json!({"spec": {"containers": list("ABCD")}});
            let out = merged(POD, live, json!({ "spec": spec }));
            assert_eq!(
                out["spec"]["containers"],
                list(expected),
                "{patch} {order:?}"
            );
        }
    }

    #[test]
    fn an_element_is_deleted_by_its_directive() {
        let out = merged(
            POD,
            json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}}),
            json!({"spec": {"containers": [{"$patch": "delete", "name": "a"}]}}),
        );
        assert_eq!(out, json!({"spec": {"containers": [{"name": "b"}]}}));
    }

    #[test]
    fn a_replace_directive_replaces_the_whole_list_or_map() {
        let out = merged(
            POD,
            json!({"spec": {"containers": [{"name": "a"}], "nodeSelector": {"a": "b"}}}),
            json!({"spec": {
                "containers": [{"name": "n"}, {"$patch": "replace"}],
                "nodeSelector": {"$patch": "replace", "c": "d"}
            }}),
        );
        assert_eq!(
            out,
            json!({"spec": {"containers": [{"name": "n"}], "nodeSelector": {"c": "d"}}})
        );
    }

    #[test]
    fn retain_keys_clears_the_other_keys() {
        let out = merged(
            DEPLOYMENT,
            json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}),
            json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
        );
        assert_eq!(out, json!({"spec": {"strategy": {"type": "Recreate"}}}));
    }

    #[test]
    fn finalizers_are_a_set_with_deletions() {
        let out = merged(
            DEPLOYMENT,
            json!({"metadata": {"finalizers": ["a", "b"]}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["b", "c"]}}),
        );
        assert_eq!(out, json!({"metadata": {"finalizers": ["b", "c"]}}));
    }

    #[test]
    fn tolerations_and_taints_are_replaced_whole() {
        let out = merged(
            ("", "v1", "Node"),
            json!({"spec": {"taints": [{"key": "a"}], "unschedulable": true}}),
            json!({"spec": {"taints": [{"key": "b", "effect": "NoSchedule"}], "unschedulable": null}}),
        );
        assert_eq!(
            out,
            json!({"spec": {"taints": [{"key": "b", "effect": "NoSchedule"}]}})
        );
    }

    #[test]
    fn directives_never_end_up_in_a_new_object() {
        let out = merged(
            POD,
            json!({}),
            json!({"spec": {
                "$setElementOrder/containers": [{"name": "c"}],
                "containers": [{"name": "c", "image": "i", "env": null}]
            }}),
        );
        assert_eq!(
            out,
            json!({"spec": {"containers": [{"name": "c", "image": "i"}]}})
        );
    }

    #[test]
    fn an_element_without_its_key_is_refused() {
        let e = strategic_merge(
            POD,
            &json!({"spec": {"containers": [{"name": "a"}]}}),
            &json!({"spec": {"containers": [{"image": "x"}]}}),
        );
        assert_eq!(
            e.unwrap_err().message,
            "map: map[image:x] does not contain declared merge key: name"
        );
    }
}
