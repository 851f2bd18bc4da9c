//! The schemas inside definitions: structural, without what Kubernetes leaves out of OpenAPI,
//! and with defaults that fit.

use super::super::structural::{Structural, flag};
use super::{Cause, FieldError, RULES, child};
use serde_json::{Value, json};

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
const EMBEDDED: &str = "x-kubernetes-embedded-resource";
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";
const LIST_TYPE: &str = "x-kubernetes-list-type";
const LIST_KEYS: &str = "x-kubernetes-list-map-keys";
const MAP_TYPE: &str = "x-kubernetes-map-type";

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

fn kind(s: &Value) -> &str {
    s["type"].as_str().unwrap_or_default()
}

fn properties(s: &Value) -> impl Iterator<Item = (&String, &Value)> {
    s["properties"].as_object().into_iter().flatten()
}

fn key(path: &str, key: &str) -> String {
    format!("{path}.properties[{key}]")
}

/// The schemas under a junctor such as `allOf`, with their paths.
fn junctors<'v>(s: &'v Value, path: &str) -> Vec<(String, &'v Value, &'static str)> {
    let mut out = Vec::new();
    for word in ["anyOf", "allOf", "oneOf"] {
        for (at, v) in super::items(&s[word], &child(path, word)) {
            out.push((at, v, word));
        }
    }
    if s["not"].is_object() {
        out.push((child(path, "not"), &s["not"], "not"));
    }
    out
}

/// Checks the schema of a version.
pub(super) fn schema(root: &Value, path: &str, out: &mut Vec<FieldError>) {
    if flag(root, "nullable") {
        let at = child(path, "nullable");
        out.push(FieldError::forbidden(
            at,
            "nullable cannot be true at the root",
        ));
    }
    let mut found = Vec::new();
    structure(root, Level::Root, path, &mut found);
    completeness(root, path, &mut found);
    found.sort_by_key(ToString::to_string);
    if found.is_empty() {
        defaults(root, path, &mut found);
    }
    out.append(&mut found);
    openapi(root, path, out);
}

/// The invariants of a structural schema.
fn structure(s: &Value, level: Level, path: &str, out: &mut Vec<FieldError>) {
    if kind(s) == "array" && s["items"].is_null() {
        out.push(FieldError::required(
            child(path, "items"),
            "must be specified",
        ));
    }
    if s["items"].is_object() {
        structure(&s["items"], Level::Item, &child(path, "items"), out);
    }
    for (name, p) in properties(s) {
        structure(p, Level::Field, &key(path, name), out);
    }
    let extra = &s["additionalProperties"];
    if !extra.is_null() {
        let at = child(path, "additionalProperties");
        if level == Level::Root {
            out.push(FieldError::forbidden(&at, "must not be used at the root"));
        }
        if flag(s, EMBEDDED) {
            let detail = "must not be used if x-kubernetes-embedded-resource is set";
            out.push(FieldError::forbidden(&at, detail));
        }
        if extra.is_object() {
            structure(extra, Level::Field, &at, out);
        }
    }
    if flag(s, INT_OR_STRING) {
        for other in [PRESERVE, EMBEDDED] {
            if flag(s, other) {
                let detail = "must be false if x-kubernetes-int-or-string is true";
                out.push(FieldError::invalid(child(path, other), true, detail));
            }
        }
    }
    nested(s, int_or_string(s), path, out);
    types(s, level, path, out);
    if let Some(meta) = s["properties"].get("metadata") {
        let at = key(path, "metadata");
        if (level == Level::Root || flag(s, EMBEDDED)) && kind(meta) != "object" {
            out.push(FieldError::invalid(
                child(&at, "type"),
                kind(meta),
                "must be object",
            ));
        }
        let allowed = |k: &String| matches!(k.as_str(), "type" | "properties" | "default");
        let plain = meta.as_object().is_some_and(|m| m.keys().all(allowed))
            && properties(meta).all(|(k, _)| k == "name" || k == "generateName");
        if level == Level::Root && !plain {
            out.push(FieldError::forbidden(
                at,
                "must not specify anything other than name and generateName, but metadata is \
                 implicitly specified",
            ));
        }
    }
    if flag(s, EMBEDDED) && !flag(s, PRESERVE) && properties(s).next().is_none() {
        out.push(FieldError::required(
            child(path, "properties"),
            "must not be empty if x-kubernetes-embedded-resource is true without \
             x-kubernetes-preserve-unknown-fields",
        ));
    }
}

fn types(s: &Value, level: Level, path: &str, out: &mut Vec<FieldError>) {
    let at = child(path, "type");
    if flag(s, EMBEDDED) && kind(s) != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        out.push(match kind(s) {
            "" => FieldError::required(&at, detail),
            other => FieldError::invalid(&at, other, detail),
        });
    } else if kind(s).is_empty() && !flag(s, INT_OR_STRING) && !flag(s, PRESERVE) {
        let detail = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        out.push(FieldError::required(&at, detail));
    }
    if level == Level::Root && !kind(s).is_empty() && kind(s) != "object" {
        out.push(FieldError::invalid(
            &at,
            kind(s),
            "must be object at the root",
        ));
    }
    if level == Level::Root || flag(s, EMBEDDED) {
        for name in ["kind", "apiVersion"] {
            if let Some(p) = s["properties"].get(name).filter(|p| kind(p) != "string") {
                let at = child(&key(path, name), "type");
                out.push(FieldError::invalid(at, kind(p), "must be string"));
            }
        }
    }
}

/// Whether and where the two types of an int-or-string may be spelled out.
fn int_or_string(s: &Value) -> Option<&'static str> {
    let both = json!([{"type": "integer"}, {"type": "string"}]);
    if s["anyOf"] == both {
        Some("anyOf")
    } else if s["allOf"][0]["anyOf"] == both {
        Some("allOf")
    } else {
        None
    }
}

/// Below a junctor a schema may restrict values, not say what they are.
fn nested(s: &Value, spelled: Option<&str>, path: &str, out: &mut Vec<FieldError>) {
    if let Some(pattern) = s["pattern"].as_str()
        && let Err(error) = regex::Regex::new(pattern)
    {
        let text = error.to_string();
        let why = text.lines().last().unwrap_or_default().trim();
        let detail = format!("must be a valid regular expression, but isn't: {why}");
        out.push(FieldError::invalid(child(path, "pattern"), pattern, detail));
    }
    for (at, v, word) in junctors(s, path) {
        match (spelled, word) {
            (Some("anyOf"), "anyOf") => {}
            (Some("allOf"), "allOf") if at.ends_with("[0]") => restriction(v, true, &at, out),
            _ => restriction(v, false, &at, out),
        }
    }
}

fn restriction(v: &Value, spelled: bool, path: &str, out: &mut Vec<FieldError>) {
    nested(v, spelled.then_some("anyOf"), path, out);
    if v["items"].is_object() {
        restriction(&v["items"], false, &child(path, "items"), out);
    }
    for (name, p) in properties(v) {
        restriction(p, false, &key(path, name), out);
    }
    for (word, detail) in [
        ("type", "must be empty to be structural"),
        ("additionalProperties", "must be undefined to be structural"),
        ("default", "must be undefined to be structural"),
        ("title", "must be empty to be structural"),
        ("description", "must be empty to be structural"),
        ("nullable", "must be false to be structural"),
        (PRESERVE, "must be false to be structural"),
        (EMBEDDED, "must be false to be structural"),
        (INT_OR_STRING, "must be false to be structural"),
        (LIST_KEYS, "must be empty to be structural"),
        (LIST_TYPE, "must be undefined to be structural"),
        (MAP_TYPE, "must be undefined to be structural"),
        (RULES, "must be empty to be structural"),
    ] {
        let set = match &v[word] {
            Value::Null => false,
            Value::Bool(b) => *b || word == "additionalProperties",
            _ => true,
        };
        if set {
            out.push(FieldError::forbidden(child(path, word), detail));
        }
    }
    if v["properties"].get("metadata").is_some() {
        let detail = "must not be specified in a nested context";
        out.push(FieldError::forbidden(key(path, "metadata"), detail));
    }
}

/// What a restriction speaks of has to be specified outside of it.
fn completeness(s: &Value, path: &str, out: &mut Vec<FieldError>) {
    for (at, v, _) in junctors(s, path) {
        specified(v, s, path, &at, out);
    }
    for (name, p) in properties(s) {
        completeness(p, &key(path, name), out);
    }
    for word in ["items", "additionalProperties"] {
        if s[word].is_object() {
            completeness(&s[word], &child(path, word), out);
        }
    }
}

fn specified(v: &Value, s: &Value, path: &str, at: &str, out: &mut Vec<FieldError>) {
    let missing = |at: String| format!("because it is defined in {at}");
    for (below, inner, _) in junctors(v, at) {
        specified(inner, s, path, &below, out);
    }
    for (name, p) in properties(v) {
        match s["properties"].get(name) {
            None => out.push(FieldError::required(
                key(path, name),
                missing(key(at, name)),
            )),
            Some(there) => specified(p, there, &key(path, name), &key(at, name), out),
        }
    }
    if v["items"].is_object() {
        let (path, at) = (child(path, "items"), child(at, "items"));
        if s["items"].is_object() {
            specified(&v["items"], &s["items"], &path, &at, out);
        } else {
            out.push(FieldError::required(path, missing(at)));
        }
    }
}

/// Defaults have to be valid, and without fields that would be pruned.
fn defaults(s: &Value, path: &str, out: &mut Vec<FieldError>) {
    if let Some(default) = s.get("default") {
        let (at, own) = (child(path, "default"), Structural::compile(s));
        if !own.keeps(default) {
            let detail = "must not have unknown fields";
            out.push(FieldError::invalid(at, default.clone(), detail));
        } else if !(default.is_null() && flag(s, "nullable")) {
            out.extend(own.check(default, &at));
        }
    }
    for (name, p) in properties(s) {
        defaults(p, &key(path, name), out);
    }
    for word in ["items", "additionalProperties"] {
        if s[word].is_object() {
            defaults(&s[word], &child(path, word), out);
        }
    }
}

/// What Kubernetes' kind of OpenAPI leaves out, and lists whose parts do not fit together.
fn openapi(s: &Value, path: &str, out: &mut Vec<FieldError>) {
    for word in [
        "id",
        "additionalItems",
        "patternProperties",
        "definitions",
        "dependencies",
        "$ref",
    ] {
        if !s[word].is_null() {
            let detail = format!("{word} is not supported");
            out.push(FieldError::forbidden(child(path, word), detail));
        }
    }
    let at = child(path, "type");
    match kind(s) {
        "" => {}
        "null" => {
            let detail = "type cannot be set to null, use nullable as an alternative";
            out.push(FieldError::forbidden(at, detail));
        }
        other if !TYPES.contains(&other) => {
            out.push(FieldError::not_supported(at, other, &TYPES));
        }
        _ => {}
    }
    if s["items"].is_array() {
        let detail = "items must be a schema object and not an array";
        out.push(FieldError::forbidden(child(path, "items"), detail));
    }
    if flag(s, "uniqueItems") {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes \
                      quadratic";
        out.push(FieldError::forbidden(child(path, "uniqueItems"), detail));
    }
    let extra = &s["additionalProperties"];
    if properties(s).next().is_some() && (extra == false || extra.is_object()) {
        let detail = "additionalProperties and properties are mutual exclusive";
        let at = child(path, "additionalProperties");
        out.push(FieldError::forbidden(at, detail));
    }
    for (name, p) in properties(s) {
        openapi(p, &key(path, name), out);
    }
    for (at, v, _) in junctors(s, path) {
        openapi(v, &at, out);
    }
    for word in ["items", "additionalProperties"] {
        if s[word].is_object() {
            openapi(&s[word], &child(path, word), out);
        }
    }
    if s[PRESERVE] == false {
        let detail = "must be true or undefined";
        out.push(FieldError::invalid(child(path, PRESERVE), false, detail));
    }
    collection(s, MAP_TYPE, "object", &["atomic", "granular"], path, out);
    collection(s, LIST_TYPE, "array", &["atomic", "set", "map"], path, out);
    if s[LIST_TYPE] == "map" || s[LIST_KEYS].is_array() {
        list_map(s, path, out);
    }
    for (at, rule) in super::items(&s[RULES], &child(path, RULES)) {
        if rule["rule"].as_str().is_none_or(|r| r.trim().is_empty()) {
            let at = child(&at, "rule");
            out.push(FieldError::required(at, "rule is not specified"));
        }
    }
}

fn collection(
    s: &Value,
    word: &str,
    wanted: &str,
    allowed: &[&str],
    path: &str,
    out: &mut Vec<FieldError>,
) {
    let Some(value) = s[word].as_str() else {
        return;
    };
    if kind(s) != wanted {
        let detail = format!("must be {wanted} if {word} is specified");
        let at = child(path, "type");
        out.push(match kind(s) {
            "" => FieldError::required(at, detail),
            other => FieldError::invalid(at, other, detail),
        });
    }
    if !allowed.contains(&value) {
        out.push(FieldError::not_supported(child(path, word), value, allowed));
    }
}

fn list_map(s: &Value, path: &str, out: &mut Vec<FieldError>) {
    let keys: Vec<&str> = s[LIST_KEYS]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if s[LIST_TYPE] != "map" {
        let (at, detail) = (
            child(path, LIST_TYPE),
            "must be map if x-kubernetes-list-map-keys is non-empty",
        );
        match s[LIST_TYPE].as_str() {
            _ if keys.is_empty() => {}
            None => out.push(FieldError::required(at, detail)),
            Some(other) => out.push(FieldError::invalid(at, other, detail)),
        }
        return;
    }
    if keys.is_empty() {
        let detail = "must not be empty if x-kubernetes-list-type is map";
        out.push(FieldError::required(child(path, LIST_KEYS), detail));
    }
    let item = &s["items"];
    let below = child(path, "items");
    if item.is_null() {
        let detail = "must have a schema if x-kubernetes-list-type is map";
        out.push(FieldError::required(below, detail));
        return;
    }
    if kind(item) != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        out.push(FieldError::invalid(
            child(&below, "type"),
            kind(item),
            detail,
        ));
        return;
    }
    let listed =
        |problem: &str| FieldError::invalid(child(path, LIST_KEYS), s[LIST_KEYS].clone(), problem);
    for (i, name) in keys.iter().enumerate() {
        let at = key(&below, name);
        match item["properties"].get(*name) {
            None => out.push(listed("entries must all be names of item properties")),
            Some(p) => {
                if matches!(kind(p), "array" | "object") {
                    let detail = "must be a scalar type if parent array's \
                                  x-kubernetes-list-type is map";
                    out.push(FieldError::invalid(child(&at, "type"), kind(item), detail));
                }
                let required = item["required"].as_array().into_iter().flatten();
                if required.filter(|r| *r == name).count() == 0 && p.get("default").is_none() {
                    let detail = "this property is in x-kubernetes-list-map-keys, so it must have \
                                  a default or be a required property";
                    out.push(FieldError::new(
                        Cause::Required,
                        child(&at, "default"),
                        detail,
                    ));
                }
                if flag(p, "nullable") {
                    let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be \
                                  nullable";
                    out.push(FieldError::forbidden(child(&at, "nullable"), detail));
                }
            }
        }
        if keys[..i].contains(name) {
            out.push(listed("must not contain duplicate entries"));
        }
    }
}
