//! Reading request bodies the way the API server's decoder does: duplicate and unknown
//! fields, wrong types, and the zero values that Go always prints.

use super::Gvk;
use super::table::{Elem, Field, Shape, Table, Type};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// The API server stops listing strict errors after this many.
const MAX_WARNINGS: usize = 100;

/// The `fieldValidation` parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Unknown and duplicate fields are errors.
    Strict,
    /// They are dropped with a warning.
    #[default]
    Warn,
    /// They are dropped.
    Ignore,
}

impl FieldValidation {
    /// Reads the query parameter; an unknown word is an error text.
    pub fn parse(text: &str) -> Option<FieldValidation> {
        match text {
            "Strict" => Some(FieldValidation::Strict),
            "Warn" | "" => Some(FieldValidation::Warn),
            "Ignore" => Some(FieldValidation::Ignore),
            _ => None,
        }
    }
}

/// A body that cannot be read; answers 400 BadRequest with this text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DecodeError {
    /// Text of the status.
    pub message: String,
}

/// Reads JSON and lists duplicate fields (`duplicate field "spec.replicas"`); the last one
/// wins.
pub fn decode_json(body: &[u8]) -> Result<(Value, Vec<String>), DecodeError> {
    let mut duplicates = Vec::new();
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = Node {
        path: &mut String::new(),
        duplicates: &mut duplicates,
    }
    .deserialize(&mut reader)
    .and_then(|v| reader.end().map(|()| v))
    .map_err(|e| DecodeError {
        message: format!("couldn't get version/kind; json parse error: {e}"),
    })?;
    Ok((value, duplicates))
}

struct Node<'a> {
    path: &'a mut String,
    duplicates: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        let end = self.path.len();
        loop {
            self.path.push_str(&format!("[{}]", out.len()));
            let node = Node {
                path: self.path,
                duplicates: self.duplicates,
            };
            let item = seq.next_element_seed(node)?;
            self.path.truncate(end);
            match item {
                Some(v) => out.push(v),
                None => return Ok(Value::Array(out)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        let end = self.path.len();
        while let Some(key) = map.next_key::<String>()? {
            if end > 0 {
                self.path.push('.');
            }
            self.path.push_str(&key);
            if out.contains_key(&key) && self.duplicates.len() < MAX_WARNINGS {
                let text = format!("duplicate field \"{}\"", self.path);
                if !self.duplicates.contains(&text) {
                    self.duplicates.push(text);
                }
            }
            let node = Node {
                path: self.path,
                duplicates: self.duplicates,
            };
            let value = map.next_value_seed(node)?;
            self.path.truncate(end);
            out.insert(key, value);
        }
        Ok(Value::Object(out))
    }
}

/// The sentence that wraps strict and decoding errors.
pub(crate) fn cannot_be_handled(gvk: Gvk<'_>, why: &str) -> DecodeError {
    let (_, version, kind) = gvk;
    DecodeError {
        message: format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"),
    }
}

/// Applies a `fieldValidation` mode to findings of any kind (duplicates, unknown fields).
pub fn judge(
    gvk: Gvk<'_>,
    findings: Vec<String>,
    mode: FieldValidation,
) -> Result<Vec<String>, DecodeError> {
    match mode {
        FieldValidation::Strict if !findings.is_empty() => Err(cannot_be_handled(
            gvk,
            &format!("strict decoding error: {}", findings.join(", ")),
        )),
        FieldValidation::Ignore => Ok(Vec::new()),
        _ => Ok(findings),
    }
}

/// Brings a built-in object into the form in which Go would print it: unknown fields
/// dropped, nulls dropped, structs that are never absent filled in, quantities and times
/// in their canonical form. `duplicates` are the findings of [`decode_json`].
pub fn decode_check(
    gvk: Gvk<'_>,
    mut value: Value,
    duplicates: Vec<String>,
    mode: FieldValidation,
) -> Result<(Value, Vec<String>), DecodeError> {
    let table = Table::get();
    let Some(index) = table.kind(gvk.0, gvk.1, gvk.2) else {
        return Ok((value, judge(gvk, duplicates, mode)?));
    };
    let mut w = Walk {
        path: String::new(),
        fields: String::new(),
        findings: duplicates,
    };
    w.root(table.ty(index), &mut value)
        .map_err(|why| cannot_be_handled(gvk, &why))?;
    Ok((value, judge(gvk, w.findings, mode)?))
}

/// Reads the metadata at `path` of a custom resource as Go reads it: wrong types are errors,
/// unknown fields are dropped and returned.
pub(crate) fn object_meta(value: &mut Value, path: &str) -> Result<Vec<String>, String> {
    let table = Table::get();
    let Some(index) = table.index("meta.v1.ObjectMeta") else {
        return Ok(Vec::new());
    };
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    let mut w = Walk {
        path: path.to_owned(),
        fields: String::new(),
        findings: Vec::new(),
    };
    w.root(table.ty(index), value)?;
    if let Some(map) = value.as_object_mut() {
        map.retain(|_, v| !v.is_null());
    }
    Ok(w.findings)
}

struct Walk {
    /// Path as strict errors print it.
    path: String,
    /// Field names alone, as type errors print it.
    fields: String,
    findings: Vec<String>,
}

type Checked = Result<(), String>;

impl Walk {
    fn root(&mut self, ty: &'static Type, v: &mut Value) -> Checked {
        if !v.is_object() {
            return Err(format!(
                "json: cannot unmarshal {} into Go value of type {}",
                go_value(v),
                go_type(ty)
            ));
        }
        self.object(ty, v)
    }

    fn mismatch(&self, owner: &Type, v: &Value, wanted: &str) -> String {
        let found = match v {
            // Go shows the number only where a number was wanted.
            Value::Number(n) if wanted.starts_with("int") || wanted == "float64" => {
                format!("number {n}")
            }
            v => go_value(v).to_owned(),
        };
        format!(
            "json: cannot unmarshal {} into Go struct field {}.{} of type {wanted}",
            found,
            owner.go_name(),
            self.fields
        )
    }

    fn object(&mut self, ty: &'static Type, v: &mut Value) -> Checked {
        let Value::Object(map) = v else { return Ok(()) };
        let (path_end, fields_end) = (self.path.len(), self.fields.len());
        let mut dropped = Vec::new();
        for (key, value) in map.iter_mut() {
            let Some(field) = ty.field(key) else {
                if self.findings.len() < MAX_WARNINGS {
                    let dot = if path_end > 0 { "." } else { "" };
                    self.findings
                        .push(format!("unknown field \"{}{dot}{key}\"", self.path));
                }
                dropped.push(key.clone());
                continue;
            };
            if value.is_null() {
                // `fill` brings back what Go prints nevertheless.
                dropped.push(key.clone());
                continue;
            }
            push(&mut self.path, key);
            push(&mut self.fields, key);
            self.field(ty, field, value)?;
            self.path.truncate(path_end);
            self.fields.truncate(fields_end);
            // Go leaves out what `omitempty` calls empty.
            if is_empty(field, value) {
                dropped.push(key.clone());
            }
        }
        for key in dropped {
            map.remove(&key);
        }
        fill(ty, map);
        Ok(())
    }

    fn field(&mut self, owner: &'static Type, field: &Field, v: &mut Value) -> Checked {
        match field.shape {
            Shape::One => self.elem(owner, field.elem, v),
            Shape::List => {
                let Value::Array(items) = v else {
                    return Err(self.mismatch(owner, v, &format!("[]{}", go_elem(field.elem))));
                };
                let end = self.path.len();
                for (i, item) in items.iter_mut().enumerate() {
                    self.path.push_str(&format!("[{i}]"));
                    self.elem(owner, field.elem, item)?;
                    self.path.truncate(end);
                }
                Ok(())
            }
            Shape::Map => {
                let Value::Object(items) = v else {
                    let text = format!("map[string]{}", go_elem(field.elem));
                    return Err(self.mismatch(owner, v, &text));
                };
                let end = self.path.len();
                for (key, item) in items.iter_mut() {
                    push(&mut self.path, key);
                    self.elem(owner, field.elem, item)?;
                    self.path.truncate(end);
                }
                Ok(())
            }
        }
    }

    fn elem(&mut self, owner: &'static Type, elem: Elem, v: &mut Value) -> Checked {
        let right = match (elem, &mut *v) {
            (Elem::Json | Elem::FieldsV1, _) => true,
            // Go reads null as the zero value.
            (Elem::String, Value::Null) => {
                *v = "".into();
                true
            }
            (_, Value::Null) => true,
            (Elem::String, v) => v.is_string(),
            (Elem::Bool, v) => v.is_boolean(),
            (Elem::Int32, v) => v.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            (Elem::Int64, v) => v.is_i64(),
            (Elem::Double, v) => v.is_number(),
            (Elem::Bytes, Value::String(s)) => {
                use base64::Engine as _;
                if base64::engine::general_purpose::STANDARD
                    .decode(s.as_bytes())
                    .is_err()
                {
                    let at = s
                        .bytes()
                        .position(|b| !(b.is_ascii_alphanumeric() || b"+/=".contains(&b)))
                        .unwrap_or(s.len().saturating_sub(s.len() % 4));
                    return Err(format!("illegal base64 data at input byte {at}"));
                }
                true
            }
            (Elem::Strings, Value::Array(items)) => items.iter().all(Value::is_string),
            (Elem::Quantity, _) => match api::quantity::Quantity::from_json(v) {
                Ok(q) => {
                    *v = q.to_string().into();
                    true
                }
                Err(_) => {
                    return Err("quantities must match the regular expression \
                         '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
                        .into());
                }
            },
            (Elem::IntOrString, v) => v.is_string() || v.is_i64(),
            (Elem::Time | Elem::MicroTime, Value::String(s)) => {
                let Ok(t) = s.parse::<jiff::Timestamp>() else {
                    return Err(format!(
                        "parsing time \"{s}\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \
                         \"{s}\" as \"2006\""
                    ));
                };
                let digits = if elem == Elem::Time { 0 } else { 6 };
                *s = format!("{t:.digits$}");
                true
            }
            (Elem::Duration, v) => v.is_string(),
            (Elem::Raw, v) => v.is_object(),
            (Elem::Struct(i), Value::Object(_)) => return self.object(Table::get().ty(i), v),
            _ => false,
        };
        if right {
            Ok(())
        } else {
            Err(self.mismatch(owner, v, &go_elem(elem)))
        }
    }
}

fn push(path: &mut String, key: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

/// Adds what Go prints although it is unset: structs, times, and fields without `omitempty`.
pub(crate) fn fill(ty: &'static Type, map: &mut Map<String, Value>) {
    for field in ty
        .fields
        .iter()
        .filter(|f| !f.hidden && !f.inline && !f.omit_zero)
    {
        if map.contains_key(field.name)
            || matches!(field.name, "apiVersion" | "kind") && field.number == 0
        {
            continue;
        }
        let by_value = field.shape == Shape::One && !field.pointer;
        let value = match field.elem {
            Elem::Struct(i) if by_value => {
                let mut inner = Map::new();
                fill(Table::get().ty(i), &mut inner);
                Value::Object(inner)
            }
            Elem::Time | Elem::MicroTime if by_value => Value::Null,
            _ if !field.printed => continue,
            _ if !by_value => Value::Null,
            Elem::String => "".into(),
            Elem::Bool => false.into(),
            Elem::Int32 | Elem::Int64 | Elem::Double | Elem::IntOrString => 0.into(),
            Elem::Quantity => "0".into(),
            Elem::Duration => "0s".into(),
            _ => Value::Null,
        };
        map.insert(field.name.to_owned(), value);
    }
}

/// What `omitempty` drops: zero values that are not behind a pointer.
pub(crate) fn is_empty(field: &Field, v: &Value) -> bool {
    if field.printed {
        return false;
    }
    match v {
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty() && field.shape == Shape::Map,
        _ if field.pointer || field.shape != Shape::One => false,
        Value::String(s) => s.is_empty() && matches!(field.elem, Elem::String | Elem::Bytes),
        Value::Bool(b) => !b && field.elem == Elem::Bool,
        Value::Number(n) => {
            n.as_f64() == Some(0.0)
                && matches!(field.elem, Elem::Int32 | Elem::Int64 | Elem::Double)
        }
        _ => false,
    }
}

pub(super) fn go_value(v: &Value) -> &'static str {
    match v {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn go_type(ty: &Type) -> String {
    let mut parts = ty.name.rsplit('.');
    let (name, version) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    format!("{version}.{name}")
}

fn go_elem(elem: Elem) -> String {
    match elem {
        Elem::String | Elem::Duration => "string".into(),
        Elem::Bool => "bool".into(),
        Elem::Int32 => "int32".into(),
        Elem::Int64 => "int64".into(),
        Elem::Double => "float64".into(),
        Elem::Bytes => "[]uint8".into(),
        Elem::Strings => "[]string".into(),
        Elem::Quantity => "resource.Quantity".into(),
        Elem::IntOrString => "intstr.IntOrString".into(),
        Elem::Time => "string".into(),
        Elem::MicroTime => "string".into(),
        Elem::Raw => "runtime.RawExtension".into(),
        Elem::Json | Elem::FieldsV1 => "interface {}".into(),
        Elem::Struct(i) => go_type(Table::get().ty(i)),
    }
}
