//! Custom kinds: the name, then the columns that the definition asks for.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{jsonpath, since};
use crate::crd::{Column, Version};
use crate::value;

/// The columns of a version.
pub(super) fn columns(version: &Version) -> Vec<Value> {
    let mut out = vec![json!({
        "name": "Name", "type": "string", "format": "name", "description": "", "priority": 0,
    })];
    out.extend(version.columns.iter().map(|c| {
        json!({
            "name": c.name, "type": c.kind, "format": c.format, "description": c.description,
            "priority": c.priority,
        })
    }));
    out
}

/// The cells of an object.
pub(super) fn cells(version: &Version, object: &Value, now: Timestamp) -> Vec<Value> {
    let mut out = vec![json!(value::name(object))];
    out.extend(
        version
            .columns
            .iter()
            .map(|column| cell(column, object, now)),
    );
    out
}

fn cell(column: &Column, object: &Value, now: Timestamp) -> Value {
    let Some(found) = jsonpath::find(&column.path, object).into_iter().next() else {
        return Value::Null;
    };
    match (column.kind.as_str(), found) {
        ("string", Value::String(text)) => json!(text),
        ("string", Value::Null) => Value::Null,
        ("string", other) => json!(other.to_string()),
        ("integer", Value::Number(n)) => n
            .as_i64()
            .or_else(|| n.as_f64().map(|f| f as i64))
            .map_or(Value::Null, |n| json!(n)),
        ("number", Value::Number(n)) => Value::Number(n.clone()),
        ("boolean", Value::Bool(b)) => json!(b),
        ("date", Value::String(text)) => json!(since(text, now)),
        _ => Value::Null,
    }
}
