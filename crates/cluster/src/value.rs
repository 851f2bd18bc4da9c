//! Reading and writing the parts of an object that every kind has.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// The text at `path` below `value`, or "".
pub fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or("")
}

/// The integer at `path` below `value`.
pub fn integer(value: &Value, path: &[&str]) -> Option<i64> {
    at(value, path).and_then(Value::as_i64)
}

/// The value at `path`, where there is one and it is not null.
pub fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    let mut here = value;
    for key in path {
        here = here.get(*key)?;
    }
    if here.is_null() { None } else { Some(here) }
}

/// metadata.name
pub fn name(object: &Value) -> &str {
    text(object, &["metadata", "name"])
}

/// metadata.namespace, "" for cluster scope
pub fn namespace(object: &Value) -> &str {
    text(object, &["metadata", "namespace"])
}

/// metadata.uid
pub fn uid(object: &Value) -> &str {
    text(object, &["metadata", "uid"])
}

/// metadata.resourceVersion
pub fn resource_version(object: &Value) -> &str {
    text(object, &["metadata", "resourceVersion"])
}

/// True once a deletion has been asked for.
pub fn deleting(object: &Value) -> bool {
    at(object, &["metadata", "deletionTimestamp"]).is_some()
}

/// The list at `path`, empty where absent.
pub fn list<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    at(value, path)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The strings of the list at `path`.
pub fn strings<'a>(value: &'a Value, path: &[&str]) -> Vec<&'a str> {
    list(value, path).iter().filter_map(Value::as_str).collect()
}

/// A condition of `status.conditions` by type.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    list(object, &["status", "conditions"])
        .iter()
        .find(|c| c["type"] == kind)
}

/// Puts a condition into a status, in the place of one of the same type, whose
/// transition time is kept while the status is the same.
pub fn set_condition(status: &mut Map<String, Value>, mut condition: Value) {
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(conditions) = conditions.as_array_mut() else {
        return;
    };
    match conditions
        .iter_mut()
        .find(|c| c["type"] == condition["type"])
    {
        Some(old) => {
            if old["status"] == condition["status"] {
                condition["lastTransitionTime"] = old["lastTransitionTime"].take();
            }
            *old = condition;
        }
        None => conditions.push(condition),
    }
}

/// The map at `path`, for writing; made (replacing what is no map) where absent.
pub fn map_mut<'a>(value: &'a mut Value, path: &[&str]) -> &'a mut Map<String, Value> {
    let mut here = value;
    for key in path {
        if !here.is_object() {
            *here = json!({});
        }
        here = here
            .as_object_mut()
            .expect("made an object just above")
            .entry((*key).to_owned())
            .or_insert(Value::Null);
    }
    if !here.is_object() {
        *here = json!({});
    }
    here.as_object_mut().expect("made an object just above")
}

/// metadata, for writing.
pub fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    map_mut(object, &["metadata"])
}

/// Puts `to` at metadata.`key`, or removes it for `None`.
pub(crate) fn set_meta(object: &mut Value, key: &str, to: Option<Value>) {
    let meta = metadata_mut(object);
    match to {
        Some(value) => meta.insert(key.to_owned(), value),
        None => meta.remove(key),
    };
}

/// Copies top-level field `key` from `from`, removing it where `from` has none.
pub(crate) fn copy_field(into: &mut Value, from: &Value, key: &str) {
    let Some(map) = into.as_object_mut() else {
        return;
    };
    match from.get(key) {
        Some(value) => map.insert(key.to_owned(), value.clone()),
        None => map.remove(key),
    };
}

/// RFC 3339 with seconds, as metav1.Time prints.
pub fn time(t: Timestamp) -> String {
    let seconds = Timestamp::from_second(t.as_second()).unwrap_or(t);
    seconds.to_string()
}

/// RFC 3339 with six decimals, as metav1.MicroTime prints.
pub fn micro_time(t: Timestamp) -> String {
    format!("{t:.6}")
}
