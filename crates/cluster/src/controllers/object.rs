//! What controllers read from and write to objects beyond [`crate::value`].

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::value::{at, list, map_mut};
pub(crate) use crate::value::{name, namespace, text, time as rfc3339, uid};

/// The integer at a path, or zero.
pub(crate) fn int(v: &Value, path: &[&str]) -> i64 {
    at(v, path).and_then(Value::as_i64).unwrap_or(0)
}

pub(crate) fn has_finalizer(v: &Value, finalizer: &str) -> bool {
    list(v, &["metadata", "finalizers"])
        .iter()
        .any(|f| f == finalizer)
}

/// Takes one finalizer away.
pub(crate) fn remove_finalizer(v: &mut Value, finalizer: &str) {
    let meta = map_mut(v, &["metadata"]);
    if let Some(all) = meta.get_mut("finalizers").and_then(Value::as_array_mut) {
        all.retain(|f| f != finalizer);
        if all.is_empty() {
            meta.remove("finalizers");
        }
    }
}

pub(crate) fn annotation<'a>(v: &'a Value, key: &str) -> Option<&'a str> {
    at(v, &["metadata", "annotations", key]).and_then(Value::as_str)
}

/// Sets an annotation, creating the map when it is missing.
pub(crate) fn set_annotation(v: &mut Value, key: &str, value: &str) {
    map_mut(v, &["metadata", "annotations"]).insert(key.to_owned(), json!(value));
}

/// A timestamp field, if it is present and readable.
pub(crate) fn time_at(v: &Value, path: &[&str]) -> Option<Timestamp> {
    at(v, path)?.as_str()?.parse().ok()
}

/// When the object was created.
pub(crate) fn created(v: &Value) -> Timestamp {
    time_at(v, &["metadata", "creationTimestamp"]).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The owner reference that marks the object's controller.
pub(crate) fn controller_of(v: &Value) -> Option<&Value> {
    list(v, &["metadata", "ownerReferences"])
        .iter()
        .find(|r| r["controller"] == true)
}

/// The uid of the object's controller.
pub(crate) fn controller_uid(v: &Value) -> Option<&str> {
    controller_of(v)?.get("uid")?.as_str()
}

/// A controller owner reference to `owner`.
pub(crate) fn controller_ref(owner: &Value) -> Value {
    json!({
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name(owner),
        "uid": uid(owner),
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// Adds an owner reference.
pub(crate) fn add_owner(v: &mut Value, reference: Value) {
    let owners = map_mut(v, &["metadata"])
        .entry("ownerReferences")
        .or_insert_with(|| json!([]));
    if let Some(owners) = owners.as_array_mut() {
        owners.push(reference);
    }
}

/// Keeps the owner references that `keep` accepts.
pub(crate) fn retain_owners(v: &mut Value, keep: impl Fn(&Value) -> bool) {
    let meta = map_mut(v, &["metadata"]);
    if let Some(owners) = meta
        .get_mut("ownerReferences")
        .and_then(Value::as_array_mut)
    {
        owners.retain(keep);
        if owners.is_empty() {
            meta.remove("ownerReferences");
        }
    }
}
