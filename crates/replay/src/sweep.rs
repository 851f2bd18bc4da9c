//! One policy many times, with one number changed.

use api::near::nearest;
use api::quantity::Quantity;
use cluster::schema::openapi_v3;
use serde_json::{Map, Number, Value};

use crate::error::{InputError, Read};
use crate::manifest::{HPA, PolicySource, check, kind, scaled_object_openapi};

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
                let new = match place.form {
                    Form::Whole if value.fract() != 0.0 => {
                        return Err(InputError::new(
                            format!("--sweep {}", self.field),
                            format!("{value} is no whole number, which this field needs"),
                        ));
                    }
                    Form::Whole | Form::Number => number(*value),
                    Form::Text => Value::String(format!("{value}")),
                    Form::Percent => Value::String(format!("{value}%")),
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

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Whole,
    Number,
    /// As a text: a trigger's parameter, a quantity.
    Text,
    /// A text with a percent sign.
    Percent,
}

/// Where the number is, or would be.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    path: Vec<Step>,
    form: Form,
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
    let spec = &source.object["spec"];
    let start = vec![Step::Key("spec".to_owned())];
    let (mut present, mut possible) = (Vec::new(), Vec::new());
    numbers(spec, start.clone(), &mut present);
    let mut found: Vec<Place> = present.iter().filter(|p| p.is(field)).cloned().collect();
    if found.is_empty() {
        // A field that the policy leaves to its default may be swept as well.
        let schemas = Schemas::of(kind(&source.object));
        schemas.fields(&schemas.spec, spec, start, &mut possible);
        parameters(spec, &mut possible);
        found = possible.iter().filter(|p| p.is(field)).cloned().collect();
    }
    let names = |places: &[Place]| places.iter().map(Place::text).collect::<Vec<_>>();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => {
            let all = names(&[present.clone(), possible].concat());
            let depth = field.split('.').count();
            // As much of each path as was asked for.
            let ends: Vec<String> = all
                .iter()
                .map(|path| {
                    let parts: Vec<&str> = path.split('.').collect();
                    parts[parts.len().saturating_sub(depth)..].join(".")
                })
                .collect();
            Err(fail(format!(
                "{} has no numeric field {field}, did you mean {}? It has {}",
                source.place,
                nearest(field, &ends).map_or("", |(near, _)| near),
                names(&present).join(", ")
            )))
        }
        several => Err(fail(format!(
            "that can be {}; name one in full",
            names(several).join(" or ")
        ))),
    }
}

/// The numbers of an object, and the texts that are numbers, quantities or
/// percentages.
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
            let quantity = ["averageValue", "value", "tolerance"];
            let named = |key: &&str| path.last() == Some(&Step::Key((*key).to_owned()));
            let in_target = path.contains(&Step::Key("target".to_owned()));
            let form = match quantity.iter().any(named) && (in_target || n.is_f64()) {
                true => Form::Text,
                false if n.is_f64() => Form::Number,
                false => Form::Whole,
            };
            out.push(Place { path, form });
        }
        Value::String(text) => {
            let is_number = |text: &str| text.parse::<f64>().is_ok_and(f64::is_finite);
            if text.strip_suffix('%').is_some_and(is_number) {
                let form = Form::Percent;
                out.push(Place { path, form });
            } else if is_number(text) || Quantity::parse(text).is_ok() {
                let form = Form::Text;
                out.push(Place { path, form });
            }
        }
        _ => {}
    }
}

/// What a Prometheus trigger reads as numbers, whether it is given or not.
fn parameters(spec: &Value, out: &mut Vec<Place>) {
    for (at, trigger) in spec["triggers"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        for name in ["threshold", "activationThreshold"] {
            if trigger["type"] == "prometheus" {
                let key = |name: &str| Step::Key(name.to_owned());
                out.push(Place {
                    path: vec![
                        key("spec"),
                        key("triggers"),
                        Step::Index(at),
                        key("metadata"),
                        key(name),
                    ],
                    form: Form::Text,
                });
            }
        }
    }
}

/// The schema of a kind's spec, and those that it refers to.
struct Schemas {
    spec: Value,
    named: Value,
}

impl Schemas {
    fn of(kind: &str) -> Self {
        if kind == "ScaledObject" {
            let spec = scaled_object_openapi()["properties"]["spec"].clone();
            return Self {
                spec,
                named: Value::Null,
            };
        }
        let document = openapi_v3(HPA.0, HPA.1).unwrap_or_default();
        let named = document["components"]["schemas"].clone();
        let all = named.as_object().into_iter().flatten();
        let mut spec = all
            .filter(|(name, _)| name.ends_with(".v2.HorizontalPodAutoscalerSpec"))
            .map(|(_, schema)| schema.clone());
        Self {
            spec: spec.next().unwrap_or_default(),
            named,
        }
    }

    /// The schema that a reference names, or the schema itself.
    fn meant<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let reference = [&schema["$ref"], &schema["allOf"][0]["$ref"]];
        let name = reference
            .iter()
            .find_map(|r| r.as_str()?.rsplit('/').next());
        name.map_or(schema, |name| &self.named[name])
    }

    /// The numeric fields that a schema allows in a value, in those items of
    /// its lists that are there.
    fn fields(&self, schema: &Value, value: &Value, path: Vec<Step>, out: &mut Vec<Place>) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let field = self.meant(field);
            let value = &value[name.as_str()];
            let mut path = path.clone();
            path.push(Step::Key(name.clone()));
            let either = field["x-kubernetes-int-or-string"] == true || field["oneOf"].is_array();
            let form = match field["type"].as_str() {
                Some("integer") => Form::Whole,
                Some("number") => Form::Number,
                _ if either => Form::Text,
                Some("array") => {
                    let items = self.meant(&field["items"]);
                    for (at, value) in value.as_array().into_iter().flatten().enumerate() {
                        let mut path = path.clone();
                        path.push(Step::Index(at));
                        self.fields(items, value, path, out);
                    }
                    continue;
                }
                _ => {
                    self.fields(field, value, path, out);
                    continue;
                }
            };
            out.push(Place { path, form });
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
