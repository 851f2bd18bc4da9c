//! Validation of custom resources against their structural schemas, rules included.

use super::super::cel::{self, Verdict};
use super::super::json_type;
use super::super::structural::{flag, join};
use super::{Cause, FieldError, meta};
use regex::Regex;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The key under which a schema holds its rules.
pub(crate) const RULES: &str = "x-kubernetes-validations";
const NOT_CHECKED: &str = "some validation rules were not checked because the object was invalid; \
                           correct the existing errors to complete validation";

type Patterns = BTreeMap<String, Option<Regex>>;

/// Validates a custom resource; `has_rules` says whether the schema has any.
pub(crate) fn custom(
    schema: &Value,
    patterns: &Patterns,
    has_rules: bool,
    object: &Value,
    old: Option<&Value>,
) -> Vec<FieldError> {
    let mut v = Validator {
        patterns,
        errors: Vec::new(),
    };
    meta::object(meta::NameRule::Subdomain, object, None, &mut v.errors);
    v.check(schema, object, "", true);
    let mut errors = v.errors;
    embedded(schema, object, "", &mut errors);
    if !has_rules {
        return errors;
    }
    let blocking = |e: &FieldError| {
        matches!(
            e.cause,
            Cause::Required
                | Cause::NotSupported
                | Cause::TooLong
                | Cause::TooMany
                | Cause::TypeInvalid
        )
    };
    if errors.iter().any(blocking) {
        errors.push(FieldError::invalid("<nil>", Value::Null, NOT_CHECKED));
    } else {
        rules(schema, object, old, "", &mut errors);
    }
    errors
}

/// Validates one value, without metadata and rules; errors name `path`.
pub(crate) fn value(
    schema: &Value,
    patterns: &Patterns,
    value: &Value,
    path: &str,
) -> Vec<FieldError> {
    let mut v = Validator {
        patterns,
        errors: Vec::new(),
    };
    v.check(
        schema,
        value,
        path,
        flag(schema, "x-kubernetes-embedded-resource"),
    );
    v.errors
}

struct Validator<'a> {
    patterns: &'a Patterns,
    errors: Vec<FieldError>,
}

impl Validator<'_> {
    fn body(&mut self, path: &str, value: impl Into<Value>, text: String) {
        self.errors.push(FieldError::invalid(
            path,
            value,
            format!("{path} in body {text}"),
        ));
    }

    fn check(&mut self, schema: &Value, value: &Value, path: &str, resource: bool) {
        if value.is_null() && flag(schema, "nullable") {
            return;
        }
        if !self.type_fits(schema, value, path) {
            return;
        }
        if let Some(allowed) = schema["enum"].as_array()
            && !allowed.contains(value)
        {
            let texts: Vec<String> = allowed
                .iter()
                .map(|a| a.as_str().map_or_else(|| a.to_string(), str::to_owned))
                .collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            self.errors
                .push(FieldError::not_supported(path, value.clone(), &texts));
        }
        match value {
            Value::String(s) => self.string(schema, s, path),
            Value::Number(n) => self.number(schema, n.as_f64().unwrap_or(0.0), value, path),
            Value::Array(items) => self.array(schema, items, path),
            Value::Object(map) => self.object(schema, map, path, resource),
            _ => {}
        }
        self.combinations(schema, value, path);
    }

    fn type_fits(&mut self, schema: &Value, value: &Value, path: &str) -> bool {
        let actual = json_type(value);
        let wanted = if flag(schema, "x-kubernetes-int-or-string") {
            "integer,string"
        } else {
            schema["type"].as_str().unwrap_or("")
        };
        let fits = match wanted {
            "" => true,
            "number" => value.is_number(),
            "integer" => actual == "integer" || value.as_f64().is_some_and(|f| f.fract() == 0.0),
            other => other.split(',').any(|t| t == actual),
        };
        if fits {
            return true;
        }
        self.errors.push(FieldError {
            cause: Cause::TypeInvalid,
            field: path.to_owned(),
            value: Some(actual.into()),
            detail: format!("{path} in body must be of type {wanted}: \"{actual}\""),
        });
        false
    }

    fn string(&mut self, schema: &Value, s: &str, path: &str) {
        let length = s.chars().count() as u64;
        if let Some(max) = schema["maxLength"].as_u64().filter(|m| length > *m) {
            let text = format!("may not be more than {max} bytes");
            self.errors
                .push(FieldError::new(Cause::TooLong, path, text));
        }
        if let Some(min) = schema["minLength"].as_u64().filter(|m| length < *m) {
            self.body(path, s, format!("should be at least {min} chars long"));
        }
        if let Some(pattern) = schema["pattern"].as_str()
            && let Some(Some(regex)) = self.patterns.get(pattern)
            && !regex.is_match(s)
        {
            self.body(path, s, format!("should match '{pattern}'"));
        }
        let fits = match schema["format"].as_str() {
            Some("date-time") => s.parse::<jiff::Timestamp>().is_ok(),
            Some("date") => s.parse::<jiff::civil::Date>().is_ok(),
            _ => true,
        };
        if !fits {
            let format = schema["format"].as_str().unwrap_or("");
            self.errors.push(FieldError {
                cause: Cause::TypeInvalid,
                ..FieldError::invalid(
                    path,
                    s,
                    format!("{path} in body must be of type {format}: \"{s}\""),
                )
            });
        }
    }

    fn number(&mut self, schema: &Value, n: f64, value: &Value, path: &str) {
        if let Some(min) = schema["minimum"].as_f64() {
            let exclusive = flag(schema, "exclusiveMinimum");
            if n < min || exclusive && n == min {
                let words = if exclusive {
                    "greater than"
                } else {
                    "greater than or equal to"
                };
                self.body(path, value.clone(), format!("should be {words} {min}"));
            }
        }
        if let Some(max) = schema["maximum"].as_f64() {
            let exclusive = flag(schema, "exclusiveMaximum");
            if n > max || exclusive && n == max {
                let words = if exclusive {
                    "less than"
                } else {
                    "less than or equal to"
                };
                self.body(path, value.clone(), format!("should be {words} {max}"));
            }
        }
        if let Some(of) = schema["multipleOf"].as_f64().filter(|m| *m > 0.0)
            && (n / of).fract() != 0.0
        {
            self.body(path, value.clone(), format!("should be a multiple of {of}"));
        }
    }

    fn array(&mut self, schema: &Value, items: &[Value], path: &str) {
        let count = items.len() as u64;
        if let Some(min) = schema["minItems"].as_u64().filter(|m| count < *m) {
            self.body(path, count, format!("should have at least {min} items"));
        }
        if let Some(max) = schema["maxItems"].as_u64().filter(|m| count > *m) {
            self.errors.push(FieldError {
                value: Some(count.into()),
                ..FieldError::new(
                    Cause::TooMany,
                    path,
                    format!("must have at most {max} items"),
                )
            });
        }
        let item = &schema["items"];
        for (i, v) in items.iter().enumerate() {
            let resource = flag(item, "x-kubernetes-embedded-resource");
            self.check(item, v, &format!("{path}[{i}]"), resource);
        }
        let id = |v: &Value| match schema["x-kubernetes-list-type"].as_str() {
            Some("set") => Some(v.clone()),
            Some("map") => {
                let keys = schema["x-kubernetes-list-map-keys"].as_array()?;
                let id: Map<String, Value> = keys
                    .iter()
                    .filter_map(Value::as_str)
                    .filter_map(|k| Some((k.to_owned(), v.get(k)?.clone())))
                    .collect();
                Some(Value::Object(id))
            }
            _ => None,
        };
        let ids: Vec<Option<Value>> = items.iter().map(id).collect();
        for (i, id) in ids.iter().enumerate() {
            if let Some(v) = id
                && ids[..i].contains(id)
            {
                self.errors
                    .push(FieldError::duplicate(format!("{path}[{i}]"), v.clone()));
            }
        }
    }

    fn object(&mut self, schema: &Value, map: &Map<String, Value>, path: &str, resource: bool) {
        let count = map.len() as u64;
        if let Some(min) = schema["minProperties"].as_u64().filter(|m| count < *m) {
            self.body(
                path,
                count,
                format!("should have at least {min} properties"),
            );
        }
        if let Some(max) = schema["maxProperties"].as_u64().filter(|m| count > *m) {
            self.errors.push(FieldError {
                value: Some(count.into()),
                ..FieldError::new(
                    Cause::TooMany,
                    path,
                    format!("must have at most {max} items"),
                )
            });
        }
        for key in schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            if !map.contains_key(key) {
                self.errors.push(FieldError::required(join(path, key), ""));
            }
        }
        for (key, v) in map {
            if resource && matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
                continue;
            }
            let below = join(path, key);
            if let Some(s) = schema["properties"].get(key) {
                self.check(s, v, &below, flag(s, "x-kubernetes-embedded-resource"));
            } else if schema["additionalProperties"].is_object() {
                self.check(&schema["additionalProperties"], v, &below, false);
            }
        }
    }

    fn combinations(&mut self, schema: &Value, value: &Value, path: &str) {
        let fits = |s: &Value| {
            let mut inner = Validator {
                patterns: self.patterns,
                errors: Vec::new(),
            };
            inner.check(s, value, path, false);
            inner.errors.is_empty()
        };
        let all = |name: &str| schema[name].as_array().map(Vec::as_slice);
        // The int-or-string marker implies an anyOf of its own.
        let any = all("anyOf").filter(|_| !flag(schema, "x-kubernetes-int-or-string"));
        let mut texts = Vec::new();
        if any.is_some_and(|a| !a.iter().any(fits)) {
            texts.push("must validate at least one schema (anyOf)");
        }
        if all("oneOf").is_some_and(|a| a.iter().filter(|s| fits(s)).count() != 1) {
            texts.push("must validate one and only one schema (oneOf)");
        }
        if all("allOf").is_some_and(|a| !a.iter().all(fits)) {
            texts.push("must validate all the schemas (allOf)");
        }
        if schema["not"].is_object() && fits(&schema["not"]) {
            texts.push("must not validate the schema (not)");
        }
        for text in texts {
            let detail = format!("\"{path}\" {text}");
            self.errors.push(FieldError::invalid(path, "", detail));
        }
    }
}

/// Checks the identity of objects inside the object (`x-kubernetes-embedded-resource`).
fn embedded(schema: &Value, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(map) => {
            if flag(schema, "x-kubernetes-embedded-resource") {
                identity(map, path, errors);
            }
            for (key, v) in map {
                let below = schema["properties"]
                    .get(key)
                    .unwrap_or(&schema["additionalProperties"]);
                embedded(below, v, &join(path, key), errors);
            }
        }
        Value::Array(items) => {
            for (i, v) in items.iter().enumerate() {
                embedded(&schema["items"], v, &format!("{path}[{i}]"), errors);
            }
        }
        _ => {}
    }
}

/// An object inside another needs a version and a kind, but no metadata.
fn identity(map: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    for key in ["apiVersion", "kind"] {
        let at = join(path, key);
        match map.get(key) {
            Some(Value::String(text)) if !text.is_empty() => match key {
                "kind" => {
                    if let Some(fault) = meta::kind_name(text) {
                        errors.push(FieldError::invalid(at, text.as_str(), fault));
                    }
                }
                _ if text.matches('/').count() > 1 => {
                    let detail = format!("unexpected GroupVersion string: {text}");
                    errors.push(FieldError::invalid(at, text.as_str(), detail));
                }
                _ => {}
            },
            None | Some(Value::String(_)) => errors.push(FieldError::required(at, "")),
            Some(other) => {
                errors.push(FieldError::invalid(at, other.clone(), "must be a string"));
            }
        }
    }
    if let Some(m) = map.get("metadata") {
        let at = join(path, "metadata");
        meta::labels(&m["labels"], &join(&at, "labels"), errors);
        meta::annotations(&m["annotations"], &join(&at, "annotations"), errors);
    }
}

/// Evaluates the schema's rules, those that [`cel`] understands. A rule about what the value
/// was holds where it was nothing.
fn rules(
    schema: &Value,
    value: &Value,
    old: Option<&Value>,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    for rule in schema[RULES].as_array().into_iter().flatten() {
        let Some(text) = rule["rule"].as_str() else {
            continue;
        };
        if old.is_none() && cel::is_transition(text) {
            continue;
        }
        let words = || {
            let computed = rule["messageExpression"].as_str();
            computed
                .and_then(|expression| cel::text(expression, value, old))
                .filter(|text| !text.trim().is_empty() && !text.contains('\n'))
                .or_else(|| rule["message"].as_str().map(str::to_owned))
                .unwrap_or_else(|| format!("failed rule: {}", text.trim()))
        };
        // A whole object is not repeated, and an error says the type alone.
        let (shown, detail) = match cel::judge(text, value, old) {
            Verdict::Holds | Verdict::NotJudged => continue,
            Verdict::Broken if value.is_object() || value.is_array() => (None, words()),
            Verdict::Broken => (Some(value.clone()), words()),
            Verdict::Error(error) => (
                Some(json_type(value).into()),
                format!("{error} evaluating rule: {}", words()),
            ),
        };
        let field = match rule["fieldPath"].as_str() {
            Some(p) => join(path, p.trim_start_matches('.')),
            None => path.to_owned(),
        };
        let cause = match rule["reason"].as_str() {
            Some("FieldValueForbidden") => Cause::Forbidden,
            Some("FieldValueRequired") => Cause::Required,
            Some("FieldValueDuplicate") => Cause::Duplicate,
            _ => Cause::Invalid,
        };
        errors.push(FieldError {
            value: shown.filter(|_| cause == Cause::Invalid),
            ..FieldError::new(cause, field, detail)
        });
    }
    match value {
        Value::Object(map) => {
            for (key, v) in map {
                let below = schema["properties"]
                    .get(key)
                    .unwrap_or(&schema["additionalProperties"]);
                let before = old.and_then(|o| o.get(key));
                rules(below, v, before, &join(path, key), errors);
            }
        }
        Value::Array(items) => {
            for (i, v) in items.iter().enumerate() {
                let before = old.and_then(|o| same_item(schema, o, v));
                rules(&schema["items"], v, before, &format!("{path}[{i}]"), errors);
            }
        }
        _ => {}
    }
}

/// The item that had the same keys; other lists' items have no past.
fn same_item<'a>(schema: &Value, old: &'a Value, item: &Value) -> Option<&'a Value> {
    if schema["x-kubernetes-list-type"] != "map" {
        return None;
    }
    let keys = schema["x-kubernetes-list-map-keys"].as_array()?;
    let same = |other: &&Value| {
        let key = |k: &Value| k.as_str().is_some_and(|k| other.get(k) == item.get(k));
        keys.iter().all(key)
    };
    old.as_array()?.iter().find(same)
}
