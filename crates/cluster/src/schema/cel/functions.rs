//! Functions and methods of strings, lists and conversions. A method's first
//! argument is what it is called on.

use std::cmp::Ordering;

use serde_json::Value;

use super::eval::{Fault, compare, equal};

pub(super) fn call(name: &str, arguments: &[&Value]) -> Result<Value, Fault> {
    match (name, arguments) {
        ("size", [of]) => {
            let size = match of {
                Value::String(text) => text.chars().count(),
                Value::Array(items) => items.len(),
                Value::Object(map) => map.len(),
                _ => return Err(Fault::overload()),
            };
            Ok(size.into())
        }
        ("dyn", [value]) => Ok((*value).clone()),
        ("string" | "int" | "double" | "bool", [value]) => convert(name, value),
        (_, [Value::String(text), rest @ ..]) => of_text(name, text, rest),
        (_, [Value::Array(items), rest @ ..]) => of_list(name, items, rest),
        _ => Err(Fault::Beyond),
    }
}

fn convert(to: &str, value: &Value) -> Result<Value, Fault> {
    let refused = || Fault::Error(format!("type conversion error from {value} to '{to}'"));
    match (to, value) {
        ("string", Value::String(_)) | ("bool", Value::Bool(_)) => Ok(value.clone()),
        ("string", Value::Number(_) | Value::Bool(_)) => Ok(value.to_string().into()),
        ("int", Value::Number(n)) => {
            let whole = n.as_i64().or_else(|| {
                let cut = n.as_f64().map(f64::trunc);
                // Comparison first: a cast would hide what does not fit.
                cut.filter(|f| f.abs() < 9.2e18).map(|f| f as i64)
            });
            whole.map(Value::from).ok_or_else(refused)
        }
        ("double", Value::Number(n)) => n.as_f64().map(Value::from).ok_or_else(refused),
        ("int", Value::String(text)) => text.parse::<i64>().map(Value::from).map_err(|_| refused()),
        ("double", Value::String(text)) => {
            text.parse::<f64>().map(Value::from).map_err(|_| refused())
        }
        ("bool", Value::String(text)) => {
            text.parse::<bool>().map(Value::from).map_err(|_| refused())
        }
        _ => Err(Fault::overload()),
    }
}

fn of_text(name: &str, text: &str, rest: &[&Value]) -> Result<Value, Fault> {
    let words: Option<Vec<&str>> = rest.iter().map(|v| v.as_str()).collect();
    let chars = || text.chars().collect::<Vec<char>>();
    Ok(match (name, words.as_deref()) {
        ("startsWith", Some([prefix])) => text.starts_with(prefix).into(),
        ("endsWith", Some([suffix])) => text.ends_with(suffix).into(),
        ("contains", Some([part])) => text.contains(part).into(),
        ("matches", Some([pattern])) => {
            // The same syntax family as Go's; what only one of them knows is rare.
            let regex = regex::Regex::new(pattern).map_err(|_| Fault::Beyond)?;
            regex.is_match(text).into()
        }
        ("lowerAscii", Some([])) => text.to_ascii_lowercase().into(),
        ("upperAscii", Some([])) => text.to_ascii_uppercase().into(),
        ("trim", Some([])) => text.trim().into(),
        ("split", Some([by])) => text.split(by).collect::<Vec<_>>().into(),
        ("replace", Some([from, to])) => text.replace(from, to).into(),
        ("indexOf", Some([part])) => place(text, text.find(part)),
        ("lastIndexOf", Some([part])) => place(text, text.rfind(part)),
        ("substring" | "charAt", None) => {
            let all = chars();
            let at = |v: &Value| {
                let at = v.as_u64().map(|n| n as usize).filter(|n| *n <= all.len());
                at.ok_or_else(|| Fault::Error(format!("index out of range: {v}")))
            };
            let (from, to) = match (name, rest) {
                ("substring", [from]) => (at(from)?, all.len()),
                ("substring", [from, to]) => (at(from)?, at(to)?),
                ("charAt", [from]) => (at(from)?, (at(from)? + 1).min(all.len())),
                _ => return Err(Fault::overload()),
            };
            let part = all.get(from..to).ok_or_else(Fault::overload)?;
            part.iter().collect::<String>().into()
        }
        _ => return Err(Fault::Beyond),
    })
}

/// Where a part begins, in characters; -1 where it is not.
fn place(text: &str, at: Option<usize>) -> Value {
    at.map_or_else(|| (-1).into(), |at| text[..at].chars().count().into())
}

fn of_list(name: &str, items: &[Value], rest: &[&Value]) -> Result<Value, Fault> {
    let pick = |want: Ordering| {
        let mut best = items
            .first()
            .ok_or_else(|| Fault::Error(format!("{name} called on empty list")))?;
        for item in items {
            if compare(item, best)? == want {
                best = item;
            }
        }
        Ok(best.clone())
    };
    let index = |at: Option<usize>| at.map_or_else(|| Value::from(-1), Value::from);
    Ok(match (name, rest) {
        ("join", [] | [Value::String(_)]) => {
            let words: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            let by = rest.first().and_then(|v| v.as_str()).unwrap_or("");
            words.ok_or_else(Fault::overload)?.join(by).into()
        }
        ("isSorted", []) => {
            let mut sorted = true;
            for pair in items.windows(2) {
                sorted &= compare(&pair[0], &pair[1])? != Ordering::Greater;
            }
            sorted.into()
        }
        ("min", []) => pick(Ordering::Less)?,
        ("max", []) => pick(Ordering::Greater)?,
        ("sum", []) => {
            let whole: Option<Vec<i64>> = items.iter().map(Value::as_i64).collect();
            match whole {
                Some(all) => all
                    .iter()
                    .try_fold(0_i64, |sum, n| sum.checked_add(*n))
                    .ok_or_else(|| Fault::Error("integer overflow".to_owned()))?
                    .into(),
                None => {
                    let all: Option<Vec<f64>> = items.iter().map(Value::as_f64).collect();
                    all.ok_or_else(Fault::overload)?.iter().sum::<f64>().into()
                }
            }
        }
        ("indexOf", [item]) => index(items.iter().position(|i| equal(i, item))),
        ("lastIndexOf", [item]) => index(items.iter().rposition(|i| equal(i, item))),
        _ => return Err(Fault::Beyond),
    })
}
