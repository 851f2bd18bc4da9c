//! From the body of a query's answer to one number, with KEDA's rules for
//! what is empty, too much or not a number.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::go::float;
use crate::go::json::{self, kind, mismatch};

const RESULT: &str = "struct { Metric struct {} \"json:\\\"metric\\\"\"; \
                      Value []interface {} \"json:\\\"value\\\"\" }";

/// The number in a query's answer.
pub(super) fn value(body: &[u8], query: &str, ignore_null: bool) -> Result<f64, String> {
    let document = json::parse(body)?;
    let results = results(&document)?;
    let empty = |what: &str| empty(what, ignore_null);
    let result = match results.as_slice() {
        [] => return empty("result"),
        [result] => result,
        _ => {
            return Err(format!(
                "prometheus query {query} returned multiple elements"
            ));
        }
    };
    let sample = match result.as_deref() {
        None | Some([]) => return empty("value list"),
        Some([_]) => {
            return Err(format!(
                "prometheus query {query} didn't return enough values"
            ));
        }
        Some([_, sample, ..]) => sample,
    };
    let number = match sample {
        Value::Null => return Ok(-1.0),
        Value::String(text) => float::parse(text)?,
        other => {
            return Err(format!(
                "prometheus query {query} returned a {} where the value should be a string",
                kind(other)
            ));
        }
    };
    finite(number, ignore_null)
}

/// One element of a query's answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Element {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// All elements of a query's answer, for whoever looks at labels too. A scalar
/// is one element without labels.
///
/// # Errors
/// When it is no answer to an instant query.
pub fn elements(body: &[u8]) -> Result<Vec<Element>, String> {
    let document: Value =
        serde_json::from_slice(body).map_err(|error| format!("the answer is not JSON: {error}"))?;
    let data = &document["data"];
    let number = |sample: &Value| sample[1].as_str().and_then(|text| float::parse(text).ok());
    if data["resultType"] == "scalar" {
        let value = number(&data["result"]).ok_or("the answer's scalar has no number")?;
        return Ok(vec![Element {
            value,
            ..Element::default()
        }]);
    }
    let list = data["result"]
        .as_array()
        .ok_or("the answer has no list of elements")?;
    let read = |element: &Value| {
        let labels = element["metric"].as_object().into_iter().flatten();
        Some(Element {
            labels: labels
                .map(|(name, value)| (name.clone(), value.as_str().unwrap_or("").to_owned()))
                .collect(),
            value: number(&element["value"])?,
        })
    };
    let all: Option<Vec<Element>> = list.iter().map(read).collect();
    all.ok_or_else(|| "an element of the answer has no value".to_owned())
}

/// The value of a query without a result; `what` is empty.
pub fn empty(what: &str, ignore_null: bool) -> Result<f64, String> {
    if ignore_null {
        Ok(0.0)
    } else {
        Err(format!(
            "prometheus metrics 'prometheus' target may be lost, the {what} is empty"
        ))
    }
}

/// A query's number, with the rule for what is none.
pub fn finite(number: f64, ignore_null: bool) -> Result<f64, String> {
    if number.is_finite() {
        return Ok(number);
    }
    if ignore_null {
        return Ok(0.0);
    }
    let shown = match number {
        n if n.is_nan() => "NaN",
        n if n > 0.0 => "+Inf",
        _ => "-Inf",
    };
    Err(format!("prometheus query returns {shown}"))
}

/// The `value` lists of `data.result`; the type errors are Go's.
fn results(document: &Value) -> Result<Vec<Option<Vec<Value>>>, String> {
    let top = match document {
        Value::Null => return Ok(Vec::new()),
        Value::Object(top) => top,
        other => return Err(mismatch(kind(other), "scalers.promQueryResult")),
    };
    text_field(top, "status", "promQueryResult.status")?;
    let data = match field(top, "data") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(data)) => data,
        Some(other) => {
            let target = format!(
                "struct {{ ResultType string \"json:\\\"resultType\\\"\"; Result []{RESULT} \
                 \"json:\\\"result\\\"\" }}"
            );
            return Err(field_error(kind(other), "promQueryResult.data", &target));
        }
    };
    text_field(data, "resultType", ".data.resultType")?;
    let list = match field(data, "result") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(other) => {
            return Err(field_error(
                kind(other),
                ".data.result",
                &format!("[]{RESULT}"),
            ));
        }
    };
    list.iter().map(element).collect()
}

fn element(element: &Value) -> Result<Option<Vec<Value>>, String> {
    let element = match element {
        Value::Null => return Ok(None),
        Value::Object(element) => element,
        other => return Err(field_error(kind(other), ".data.result", RESULT)),
    };
    match field(element, "metric") {
        None | Some(Value::Null | Value::Object(_)) => {}
        Some(other) => return Err(field_error(kind(other), ".data.result.metric", "struct {}")),
    }
    match field(element, "value") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list.clone())),
        Some(other) => Err(field_error(
            kind(other),
            ".data.result.value",
            "[]interface {}",
        )),
    }
}

fn text_field(map: &Map<String, Value>, name: &str, path: &str) -> Result<(), String> {
    match field(map, name) {
        None | Some(Value::Null | Value::String(_)) => Ok(()),
        Some(other) => Err(field_error(kind(other), path, "string")),
    }
}

fn field_error(kind: &str, path: &str, target: &str) -> String {
    format!("json: cannot unmarshal {kind} into Go struct field {path} of type {target}")
}

/// Go matches field names without regard to case.
fn field<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    map.get(name).or_else(|| {
        map.iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, v)| v)
    })
}
