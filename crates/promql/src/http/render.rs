//! Query values as the API's JSON.

use crate::eval::QueryValue;
use crate::labels::Labels;
use crate::number::{format_plain, format_sample};
use serde_json::{Map, Number, Value, json};

pub(super) fn labels(l: &Labels) -> Value {
    Value::Object(
        l.iter()
            .map(|(n, v)| (n.to_owned(), Value::from(v)))
            .collect::<Map<_, _>>(),
    )
}

/// Seconds as a JSON number without needless zeros.
fn seconds(ms: i64) -> Value {
    if ms % 1_000 == 0 {
        return Value::from(ms / 1_000);
    }
    Number::from_f64(ms as f64 / 1e3).map_or(Value::Null, Value::Number)
}

fn point(t: i64, v: f64) -> Value {
    json!([seconds(t), format_sample(v)])
}

/// `{resultType, result}`; `t` is the time of scalars, strings and vectors.
pub(super) fn instant(value: &QueryValue, t: i64) -> Value {
    match value {
        QueryValue::Scalar(v) => {
            json!({"resultType": "scalar", "result": [seconds(t), format_plain(*v)]})
        }
        QueryValue::Text(s) => json!({"resultType": "string", "result": [seconds(t), s]}),
        QueryValue::Vector(v) => {
            let result: Vec<Value> = v
                .iter()
                .map(|(l, v)| json!({"metric": labels(l), "value": point(t, *v)}))
                .collect();
            json!({"resultType": "vector", "result": result})
        }
        QueryValue::Matrix(m) => {
            let result: Vec<Value> = m
                .iter()
                .map(|(l, points)| {
                    let values: Vec<Value> = points.iter().map(|(t, v)| point(*t, *v)).collect();
                    json!({"metric": labels(l), "values": values})
                })
                .collect();
            json!({"resultType": "matrix", "result": result})
        }
    }
}
