//! One policy many times, with one number changed.

use serde_json::{Map, Number, Value};

use crate::error::{InputError, Read};
use crate::manifest::{PolicySource, check, kind, scaled_object_openapi};

/// More variants than this are a typing error.
const MOST: usize = 10_000;

/// `FIELD=A..B/STEP`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    /// The field: a name such as `threshold`, or a path such as
    /// `scaleDown.stabilizationWindowSeconds`.
    pub field: String,
    /// Its values.
    pub values: Vec<f64>,
}

impl Sweep {
    /// Reads `FIELD=A..B/STEP`.
    pub fn parse(text: &str) -> Read<Self> {
        let fail = |problem: String| InputError::new(format!("--sweep {text}"), problem);
        let shape = || fail("write FIELD=FROM..TO/STEP, such as threshold=5..90/5".to_owned());
        let (field, range) = text.split_once('=').ok_or_else(shape)?;
        let (from, rest) = range.split_once("..").ok_or_else(shape)?;
        let (to, step) = rest.split_once('/').ok_or_else(shape)?;
        let number = |text: &str| {
            let parsed: Option<f64> = text.trim().parse().ok();
            parsed
                .filter(|n| n.is_finite())
                .ok_or_else(|| fail(format!("\"{text}\" is not a number")))
        };
        let (from, to, step) = (number(from)?, number(to)?, number(step)?);
        if field.trim().is_empty() {
            return Err(shape());
        }
        if step <= 0.0 || to < from {
            return Err(fail(
                "the step must be above 0 and the end not below the start".to_owned(),
            ));
        }
        let count = ((to - from) / step + 1e-9).floor() + 1.0;
        if count > MOST as f64 {
            return Err(fail(format!(
                "{count} variants are too many; at most {MOST}"
            )));
        }
        let value = |n: usize| {
            let exact = from + n as f64 * step;
            (exact * 1e9).round() / 1e9
        };
        Ok(Self {
            field: field.trim().to_owned(),
            values: (0..count as usize).map(value).collect(),
        })
    }

    /// The policy's variants, one for each value.
    pub fn variants(&self, source: &PolicySource) -> Read<Vec<(String, PolicySource)>> {
        let place = find(&self.field, source)?;
        self.values
            .iter()
            .map(|value| {
                let mut source = source.clone();
                let is_text = place.starts_with_metadata();
                if place.whole && value.fract() != 0.0 {
                    return Err(InputError::new(
                        format!("--sweep {}", self.field),
                        format!("{value} is no whole number, which this field needs"),
                    ));
                }
                let new = match is_text {
                    true => Value::String(format!("{value}")),
                    false => number(*value),
                };
                set(&mut source.object, &place.path, new);
                check(&format!("--sweep {}={value}", self.field), &source.object)?;
                Ok((format!("{}={value}", self.field), source))
            })
            .collect()
    }
}

fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return Value::from(value as i64);
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// A step into an object.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Key(String),
    Index(usize),
}

/// Where the number is, or would be.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    path: Vec<Step>,
    whole: bool,
}

impl Place {
    fn text(&self) -> String {
        let mut out = String::new();
        for step in &self.path {
            match step {
                Step::Key(key) if out.is_empty() => out.push_str(key),
                Step::Key(key) => {
                    out.push('.');
                    out.push_str(key);
                }
                Step::Index(at) => out.push_str(&format!("[{at}]")),
            }
        }
        out
    }

    /// A trigger's parameters are texts.
    fn starts_with_metadata(&self) -> bool {
        let keys: Vec<&str> = self
            .path
            .iter()
            .filter_map(|s| match s {
                Step::Key(key) => Some(key.as_str()),
                Step::Index(_) => None,
            })
            .collect();
        keys.len() > 2 && keys[1] == "triggers" && keys[2] == "metadata"
    }

    /// Whether `field` names it: its last part, or more of its path.
    fn is(&self, field: &str) -> bool {
        let plain = |text: &str| -> Vec<String> {
            let parts = text.split('.');
            parts
                .map(|p| match p.split_once('[') {
                    Some((name, _)) if !field.contains('[') => name.to_owned(),
                    _ => p.to_owned(),
                })
                .collect()
        };
        let (mine, asked) = (plain(&self.text()), plain(field));
        mine.ends_with(&asked)
    }
}

fn find(field: &str, source: &PolicySource) -> Read<Place> {
    let fail = |problem: String| InputError::new(format!("--sweep {field}"), problem);
    let mut present = Vec::new();
    let start = vec![Step::Key("spec".to_owned())];
    numbers(&source.object["spec"], start.clone(), &mut present);
    let mut found: Vec<Place> = present.iter().filter(|p| p.is(field)).cloned().collect();
    if found.is_empty() && kind(&source.object) == "ScaledObject" {
        // A field that the policy leaves to its default may be swept as well.
        let schema = scaled_object_openapi();
        let mut possible = Vec::new();
        fields(&schema["properties"]["spec"], start, &mut possible);
        found = possible.into_iter().filter(|p| p.is(field)).collect();
    }
    if found.is_empty() && kind(&source.object) == "HorizontalPodAutoscaler" {
        let known = ["minReplicas", "maxReplicas"].map(|name| Place {
            path: vec![Step::Key("spec".to_owned()), Step::Key(name.to_owned())],
            whole: true,
        });
        found = known.into_iter().filter(|p| p.is(field)).collect();
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => {
            let names: Vec<String> = present.iter().map(Place::text).collect();
            Err(fail(format!(
                "{} has no numeric field {field}; it has {}",
                source.place,
                names.join(", ")
            )))
        }
        several => {
            let names: Vec<String> = several.iter().map(Place::text).collect();
            Err(fail(format!(
                "that can be {}; name one in full",
                names.join(" or ")
            )))
        }
    }
}

/// The numbers of an object, and the texts that are numbers.
fn numbers(value: &Value, path: Vec<Step>, out: &mut Vec<Place>) {
    let deeper = |step: Step| {
        let mut path = path.clone();
        path.push(step);
        path
    };
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                numbers(value, deeper(Step::Key(key.clone())), out);
            }
        }
        Value::Array(list) => {
            for (at, value) in list.iter().enumerate() {
                numbers(value, deeper(Step::Index(at)), out);
            }
        }
        Value::Number(n) => {
            let texts = path.last() == Some(&Step::Key("averageValue".to_owned()))
                || path.last() == Some(&Step::Key("value".to_owned()));
            out.push(Place {
                path,
                whole: !n.is_f64() && !texts,
            });
        }
        Value::String(text) if text.parse::<f64>().is_ok_and(f64::is_finite) => {
            out.push(Place { path, whole: false });
        }
        _ => {}
    }
}

/// The numeric fields that a schema allows, outside of lists.
fn fields(schema: &Value, path: Vec<Step>, out: &mut Vec<Place>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let mut path = path.clone();
        path.push(Step::Key(name.clone()));
        match field["type"].as_str() {
            Some("integer") => out.push(Place { path, whole: true }),
            Some("number") => out.push(Place { path, whole: false }),
            Some("object") => fields(field, path, out),
            _ => {}
        }
    }
}

fn set(object: &mut Value, path: &[Step], new: Value) {
    let Some((step, rest)) = path.split_first() else {
        *object = new;
        return;
    };
    match step {
        Step::Key(key) => {
            if !object.is_object() {
                *object = Value::Object(Map::new());
            }
            set(&mut object[key.as_str()], rest, new);
        }
        Step::Index(at) => {
            if let Some(item) = object.as_array_mut().and_then(|list| list.get_mut(*at)) {
                set(item, rest, new);
            }
        }
    }
}

/// Marks the points that no other beats in both numbers.
pub fn efficient(points: &[(f64, f64)]) -> Vec<bool> {
    let beaten = |a: &(f64, f64)| {
        points
            .iter()
            .any(|b| b.0 <= a.0 && b.1 <= a.1 && (b.0 < a.0 || b.1 < a.1))
    };
    points.iter().map(|p| !beaten(p)).collect()
}
