//! Structural schemas of custom resources: pruning and defaulting. Validation is in
//! `validate/custom.rs`.

use super::decode;
use super::validate::{self, FieldError};
use regex::Regex;
use serde_json::Value;
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

    /// Drops unknown fields, and nulls where null is not a value; returns what was found, such
    /// as `unknown field "spec.wheels"`. Metadata that is no metadata is an error.
    pub fn read(&self, object: &mut Value) -> Result<Vec<String>, String> {
        let mut found = Findings::default();
        prune(
            &self.inner.root,
            object,
            &mut String::new(),
            true,
            &mut found,
        );
        match found.fault {
            Some(text) => Err(text),
            None => Ok(found.unknown),
        }
    }

    /// As `read`, with the paths of the unknown fields alone, such as `spec.wheels`.
    pub fn unknown(&self, object: &mut Value) -> Result<Vec<String>, String> {
        let path = |text: &String| {
            let quoted = text.strip_prefix("unknown field \"")?;
            quoted.strip_suffix('"').map(str::to_owned)
        };
        Ok(self.read(object)?.iter().filter_map(path).collect())
    }

    /// Drops unknown fields, and nulls where null is not a value.
    pub fn prune(&self, object: &mut Value) {
        let (root, mut found) = (&self.inner.root, Findings::default());
        prune(root, object, &mut String::new(), true, &mut found);
    }

    /// Fills in defaults.
    pub fn default(&self, object: &mut Value) {
        default(&self.inner.root, object);
    }

    /// Whether pruning would leave a value as it is.
    pub(super) fn keeps(&self, value: &Value) -> bool {
        let (root, mut pruned) = (&self.inner.root, value.clone());
        let mut found = Findings::default();
        let embedded = flag(root, "x-kubernetes-embedded-resource");
        prune(root, &mut pruned, &mut String::new(), embedded, &mut found);
        found.unknown.is_empty()
    }

    /// Checks one value against the schema; errors name `path`.
    pub(super) fn check(&self, value: &Value, path: &str) -> Vec<FieldError> {
        validate::value(&self.inner.root, &self.inner.patterns, value, path)
    }

    /// Validates a whole object, its metadata included; rules may compare with what it was.
    pub fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        validate::custom(
            &self.inner.root,
            &self.inner.patterns,
            self.inner.has_rules,
            object,
            old,
        )
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
                *rules |= k == validate::RULES && v.is_array();
                survey(v, patterns, rules);
            }
        }
        Value::Array(a) => a.iter().for_each(|v| survey(v, patterns, rules)),
        _ => {}
    }
}

pub(super) fn flag(schema: &Value, name: &str) -> bool {
    schema[name] == true
}

fn preserves(schema: &Value) -> bool {
    flag(schema, "x-kubernetes-preserve-unknown-fields")
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// What pruning came upon.
#[derive(Default)]
struct Findings {
    unknown: Vec<String>,
    /// Why metadata cannot be read.
    fault: Option<String>,
}

fn prune(
    schema: &Value,
    value: &mut Value,
    path: &mut String,
    resource: bool,
    found: &mut Findings,
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
                    metadata(v, path, end == 0, found);
                } else if let Some(s) = known {
                    if v.is_null() && !flag(s, "nullable") {
                        dropped.push(key.clone());
                    }
                    prune(s, v, path, flag(s, "x-kubernetes-embedded-resource"), found);
                } else if extra.is_object() {
                    prune(extra, v, path, false, found);
                } else if extra != true && !preserves(schema) {
                    found.unknown.push(format!("unknown field \"{path}\""));
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
                    found,
                );
                path.truncate(end);
            }
        }
        _ => {}
    }
}

/// Reads metadata as Go does, of the object itself (`root`) or of one inside it.
fn metadata(value: &mut Value, path: &str, root: bool, found: &mut Findings) {
    match decode::object_meta(value, path) {
        Ok(unknown) => found.unknown.extend(unknown),
        Err(why) if root => found.fault = found.fault.take().or(Some(why)),
        Err(why) => {
            let error = FieldError::invalid(path, value.clone(), why);
            found.fault = found.fault.take().or_else(|| Some(error.to_string()));
        }
    }
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
