//! Structural schemas of custom resources: pruning, defaulting and validation, in the API
//! server's words.

use super::cel;
use super::table::Table;
use super::{Cause, FieldError, json_type};
use regex::Regex;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A custom resource version's schema, ready for use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Structural {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: Value,
    patterns: BTreeMap<String, Option<Regex>>,
    has_rules: bool,
}

const VALIDATIONS: &str = "x-kubernetes-validations";
const NOT_CHECKED: &str = "some validation rules were not checked because the object was invalid; \
                           correct the existing errors to complete validation";

impl Structural {
    /// Takes `spec.versions[].schema.openAPIV3Schema`.
    pub fn compile(schema: &Value) -> Structural {
        let mut patterns = BTreeMap::new();
        let mut has_rules = false;
        survey(schema, &mut patterns, &mut has_rules);
        Structural {
            inner: Arc::new(Inner {
                root: schema.clone(),
                patterns,
                has_rules,
            }),
        }
    }

    /// The schema itself.
    pub(crate) fn root(&self) -> &Value {
        &self.inner.root
    }

    /// Drops unknown fields, and nulls where null is not a value; returns the paths of the
    /// unknown fields.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        let mut unknown = Vec::new();
        prune(
            &self.inner.root,
            object,
            &mut String::new(),
            true,
            &mut unknown,
        );
        unknown
    }

    /// Fills in defaults.
    pub fn default(&self, object: &mut Value) {
        default(&self.inner.root, object);
    }

    /// Validates a whole object.
    pub fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut v = Validator {
            inner: &self.inner,
            errors: Vec::new(),
        };
        v.check(&self.inner.root, object, "", true);
        let mut errors = v.errors;
        if !self.inner.has_rules {
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
            rules(&self.inner.root, object, "", &mut errors);
        }
        errors
    }
}

/// Collects the patterns of a schema and whether it has rules.
fn survey(schema: &Value, patterns: &mut BTreeMap<String, Option<Regex>>, rules: &mut bool) {
    match schema {
        Value::Object(o) => {
            for (k, v) in o {
                if k == "pattern"
                    && let Some(p) = v.as_str()
                {
                    patterns
                        .entry(p.to_owned())
                        .or_insert_with(|| Regex::new(p).ok());
                }
                *rules |= k == VALIDATIONS && v.is_array();
                survey(v, patterns, rules);
            }
        }
        Value::Array(a) => a.iter().for_each(|v| survey(v, patterns, rules)),
        _ => {}
    }
}

fn flag(schema: &Value, name: &str) -> bool {
    schema[name] == true
}

fn preserves(schema: &Value) -> bool {
    flag(schema, "x-kubernetes-preserve-unknown-fields")
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn prune(
    schema: &Value,
    value: &mut Value,
    path: &mut String,
    resource: bool,
    unknown: &mut Vec<String>,
) {
    let end = path.len();
    match value {
        Value::Object(map) => {
            if schema["type"] != "object" && !resource && schema.get("properties").is_none() {
                return;
            }
            let extra = &schema["additionalProperties"];
            let mut dropped = Vec::new();
            for (key, v) in map.iter_mut() {
                if end > 0 {
                    path.push('.');
                }
                path.push_str(key);
                let known = schema["properties"].get(key);
                if resource && matches!(key.as_str(), "apiVersion" | "kind") {
                } else if resource && key == "metadata" {
                    prune_metadata(v, path, unknown);
                } else if let Some(s) = known {
                    if v.is_null() && !flag(s, "nullable") {
                        dropped.push(key.clone());
                    }
                    prune(
                        s,
                        v,
                        path,
                        flag(s, "x-kubernetes-embedded-resource"),
                        unknown,
                    );
                } else if extra.is_object() {
                    prune(extra, v, path, false, unknown);
                } else if extra != true && !preserves(schema) {
                    unknown.push(path.clone());
                    dropped.push(key.clone());
                }
                path.truncate(end);
            }
            for key in dropped {
                map.remove(&key);
            }
        }
        Value::Array(items) => {
            let item = &schema["items"];
            for (i, v) in items.iter_mut().enumerate() {
                path.push_str(&format!("[{i}]"));
                prune(
                    item,
                    v,
                    path,
                    flag(item, "x-kubernetes-embedded-resource"),
                    unknown,
                );
                path.truncate(end);
            }
        }
        _ => {}
    }
}

fn prune_metadata(value: &mut Value, path: &str, unknown: &mut Vec<String>) {
    let (Some(map), Some(index)) = (
        value.as_object_mut(),
        Table::get().index("meta.v1.ObjectMeta"),
    ) else {
        return;
    };
    let ty = Table::get().ty(index);
    map.retain(|key, v| {
        let known = ty.field(key).is_some();
        if !known {
            unknown.push(join(path, key));
        }
        known && !v.is_null()
    });
}

fn default(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            if let Some(properties) = schema["properties"].as_object() {
                for (key, s) in properties {
                    if let Some(d) = s.get("default") {
                        let absent = match map.get(key) {
                            None => true,
                            Some(v) => v.is_null() && !flag(s, "nullable"),
                        };
                        if absent {
                            map.insert(key.clone(), d.clone());
                        }
                    }
                    if let Some(v) = map.get_mut(key) {
                        default(s, v);
                    }
                }
            }
            if schema["additionalProperties"].is_object() {
                let known = |k: &String| schema["properties"].get(k).is_some();
                for (_, v) in map.iter_mut().filter(|(k, _)| !known(k)) {
                    default(&schema["additionalProperties"], v);
                }
            }
        }
        Value::Array(items) => {
            for v in items {
                default(&schema["items"], v);
            }
        }
        _ => {}
    }
}

struct Validator<'a> {
    inner: &'a Inner,
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
            && let Some(Some(regex)) = self.inner.patterns.get(pattern)
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
                inner: self.inner,
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

/// Evaluates the schema's rules, those of [`cel`] that this server understands.
fn rules(schema: &Value, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for rule in schema[VALIDATIONS].as_array().into_iter().flatten() {
        let Some(text) = rule["rule"].as_str() else {
            continue;
        };
        if cel::holds(text, value) == Some(false) {
            let detail = rule["message"]
                .as_str()
                .map_or_else(|| format!("failed rule: {}", text.trim()), str::to_owned);
            let field = match rule["fieldPath"].as_str() {
                Some(p) => join(path, p.trim_start_matches('.')),
                None => path.to_owned(),
            };
            errors.push(FieldError::new(Cause::Invalid, field, detail));
        }
    }
    match value {
        Value::Object(map) => {
            for (key, v) in map {
                let below = schema["properties"]
                    .get(key)
                    .unwrap_or(&schema["additionalProperties"]);
                rules(below, v, &join(path, key), errors);
            }
        }
        Value::Array(items) => {
            for (i, v) in items.iter().enumerate() {
                rules(&schema["items"], v, &format!("{path}[{i}]"), errors);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Structural {
        Structural::compile(&json!({
            "type": "object", "required": ["spec"],
            "properties": {"spec": {
                "type": "object", "required": ["target", "triggers"],
                "x-kubernetes-validations": [{
                    "rule": "!has(self.min) || self.min <= (has(self.max) ? self.max : 100)",
                    "message": "min must be less than or equal to max"
                }],
                "properties": {
                    "min": {"type": "integer", "minimum": 0},
                    "max": {"type": "integer", "minimum": 1, "default": 10},
                    "kind": {"type": "string", "enum": ["a", "b"]},
                    "target": {"type": "string", "pattern": "^[a-z]+$"},
                    "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    "triggers": {
                        "type": "array", "minItems": 1,
                        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
                        "items": {"type": "object", "required": ["type"], "properties": {
                            "type": {"type": "string"},
                            "metadata": {"type": "object", "additionalProperties": {"type": "string"}}
                        }}
                    }
                }
            }}
        }))
    }

    fn errors(spec: Value) -> Vec<String> {
        let object =
            json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "x"}, "spec": spec});
        schema()
            .validate(&object)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    const NOT: &str = "<nil>: Invalid value: null: some validation rules were not checked because \
        the object was invalid; correct the existing errors to complete validation";

    #[test]
    fn errors_read_as_recorded() {
        assert_eq!(
            errors(json!({"target": "t", "triggers": [{"type": "a"}]})),
            [""; 0]
        );
        assert_eq!(
            errors(json!({"min": -1, "max": 0, "target": "t", "triggers": [{"type": "a"}]})),
            [
                "spec.max: Invalid value: 0: spec.max in body should be greater than or equal to 1",
                "spec.min: Invalid value: -1: spec.min in body should be greater than or equal to 0"
            ]
        );
        assert_eq!(
            errors(json!({"target": "t", "triggers": []})),
            ["spec.triggers: Invalid value: 0: spec.triggers in body should have at least 1 items"]
        );
        assert_eq!(
            errors(
                json!({"target": "t", "triggers": [{"type": "a", "metadata": {"threshold": 5}}]})
            ),
            [
                "spec.triggers[0].metadata.threshold: Invalid value: \"integer\": \
                 spec.triggers[0].metadata.threshold in body must be of type string: \"integer\"",
                NOT
            ]
        );
        assert_eq!(
            errors(json!({"triggers": [{}], "kind": "z"})),
            [
                "spec.target: Required value",
                "spec.kind: Unsupported value: \"z\": supported values: \"a\", \"b\"",
                "spec.triggers[0].type: Required value",
                NOT
            ]
        );
        assert_eq!(
            errors(json!({"max": "ten", "target": "t", "triggers": [{"type": "a"}]})),
            [
                "spec.max: Invalid value: \"string\": spec.max in body must be of type integer: \"string\"",
                NOT
            ]
        );
        assert_eq!(
            errors(
                json!({"target": "T", "port": true, "triggers": [{"type": "a"}, {"type": "a"}]})
            ),
            [
                "spec.port: Invalid value: \"boolean\": spec.port in body must be of type \
                 integer,string: \"boolean\"",
                "spec.target: Invalid value: \"T\": spec.target in body should match '^[a-z]+$'",
                "spec.triggers[1]: Duplicate value: {\"type\":\"a\"}",
                NOT
            ]
        );
    }

    #[test]
    fn a_rule_across_fields_is_checked() {
        assert_eq!(
            errors(json!({"min": 11, "max": 10, "target": "t", "triggers": [{"type": "a"}]})),
            ["spec: Invalid value: min must be less than or equal to max"]
        );
    }

    #[test]
    fn unknown_fields_are_pruned_and_defaults_filled_in() {
        let mut object = json!({
            "apiVersion": "g/v1", "kind": "K", "metadata": {"name": "x", "colour": 1}, "extra": 1,
            "spec": {"foo": 1, "max": null, "free": {"x": {"y": 1}},
                "triggers": [{"type": "a", "bar": 2, "metadata": {"any": "thing"}}]}
        });
        let unknown = schema().prune(&mut object);
        assert_eq!(
            unknown,
            [
                "extra",
                "metadata.colour",
                "spec.foo",
                "spec.triggers[0].bar"
            ]
        );
        schema().default(&mut object);
        assert_eq!(
            object["spec"],
            json!({"max": 10, "free": {"x": {"y": 1}},
                "triggers": [{"type": "a", "metadata": {"any": "thing"}}]})
        );
    }
}
