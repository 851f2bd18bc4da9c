//! Walks objects along their schema, built-in or custom, for managed fields: comparing two
//! objects, drawing the field set of one, merging one into another, removing fields.

use super::fieldset::FieldSet;
use super::table::{Elem, Field, ListKind, Shape, Table, Type};
use super::{Schema, decode};
use serde_json::{Map, Value};

/// The shape of one value.
#[derive(Clone, Copy)]
pub(crate) enum View<'a> {
    Type(&'static Type),
    Field(&'static Field),
    Elem(Elem),
    Custom(&'a Value),
    /// The root of a custom resource, whose metadata is Kubernetes' own.
    Root(&'a Value),
    Unknown,
}

enum Kind<'a> {
    /// Owned as a whole.
    Leaf,
    /// Owned key by key.
    Map,
    Set,
    /// An associative list with these keys.
    List(Vec<&'a str>),
}

impl<'a> View<'a> {
    pub fn of(schema: Schema<'a>) -> View<'a> {
        match schema {
            Schema::Custom(s) => View::Root(s.root()),
            Schema::Builtin(gvk) => {
                let table = Table::get();
                table
                    .kind(gvk.0, gvk.1, gvk.2)
                    .map_or(View::Unknown, |i| View::Type(table.ty(i)))
            }
        }
    }

    /// An object of this kind without content, as Go would print it.
    pub fn zero(self) -> Value {
        let mut map = Map::new();
        match self {
            View::Type(ty) => decode::fill(ty, &mut map),
            // Metadata is there from the start, so nobody owns it as a whole.
            View::Root(_) => {
                map.insert("metadata".to_owned(), Value::Object(Map::new()));
            }
            _ => {}
        }
        Value::Object(map)
    }

    fn kind(self, value: &Value) -> Kind<'a> {
        match self {
            View::Type(ty) if ty.atomic => Kind::Leaf,
            View::Elem(Elem::Struct(i)) if Table::get().ty(i).atomic => Kind::Leaf,
            View::Field(f) if f.atomic_map => Kind::Leaf,
            View::Field(f) => match (f.shape, f.list) {
                (Shape::List, ListKind::Set) => Kind::Set,
                (Shape::List, ListKind::Map) => Kind::List(f.list_keys.split(',').collect()),
                (Shape::List, ListKind::Atomic) => Kind::Leaf,
                (Shape::One, _) => View::Elem(f.elem).kind(value),
                (Shape::Map, _) => Kind::Map,
            },
            View::Custom(s) if s["x-kubernetes-map-type"] == "atomic" => Kind::Leaf,
            View::Custom(s) if value.is_array() => match s["x-kubernetes-list-type"].as_str() {
                Some("set") => Kind::Set,
                Some("map") => {
                    let keys = s["x-kubernetes-list-map-keys"].as_array();
                    Kind::List(
                        keys.into_iter()
                            .flatten()
                            .filter_map(Value::as_str)
                            .collect(),
                    )
                }
                _ => Kind::Leaf,
            },
            _ if value.is_object() || value.is_null() => Kind::Map,
            _ => Kind::Leaf,
        }
    }

    /// The view of a key's value and whether the schema declares the key.
    fn child(self, key: &str) -> (View<'a>, bool) {
        match self {
            View::Type(ty) => match ty.field(key) {
                Some(f) => (View::Field(f), true),
                None => (View::Unknown, false),
            },
            View::Elem(Elem::Struct(i)) => View::Type(Table::get().ty(i)).child(key),
            View::Field(f) if f.shape == Shape::Map => (View::Elem(f.elem), false),
            View::Field(f) => View::Elem(f.elem).child(key),
            View::Root(_) if key == "metadata" => {
                let table = Table::get();
                let meta = table
                    .index("meta.v1.ObjectMeta")
                    .map(|i| View::Type(table.ty(i)));
                (meta.unwrap_or(View::Unknown), true)
            }
            View::Root(s) | View::Custom(s) => match s["properties"].get(key) {
                Some(p) => (View::Custom(p), true),
                None if s["additionalProperties"].is_object() => {
                    (View::Custom(&s["additionalProperties"]), false)
                }
                None => (View::Unknown, matches!(self, View::Root(_))),
            },
            _ => (View::Unknown, false),
        }
    }

    fn item(self) -> View<'a> {
        match self {
            View::Field(f) => View::Elem(f.elem),
            View::Custom(s) => View::Custom(&s["items"]),
            _ => View::Unknown,
        }
    }

    fn default_of(self, key: &str) -> Option<Value> {
        match self {
            View::Elem(Elem::Struct(i)) => {
                let default = Table::get().ty(i).field(key)?.default?;
                serde_json::from_str(default).ok()
            }
            View::Custom(s) => s["properties"][key].get("default").cloned(),
            _ => None,
        }
    }
}

fn field_key(key: &str) -> String {
    format!("f:{key}")
}

/// The path element of an item of an associative list.
fn item_key(view: View<'_>, keys: &[&str], item: &Value) -> String {
    let id: Map<String, Value> = keys
        .iter()
        .filter_map(|k| {
            let v = item.get(k).filter(|v| !v.is_null()).cloned();
            Some(((*k).to_owned(), v.or_else(|| view.default_of(k))?))
        })
        .collect();
    format!("k:{}", Value::Object(id))
}

fn value_key(item: &Value) -> String {
    format!("v:{item}")
}

/// The elements of a list or set with their path elements; the first of equals counts.
fn keyed<'v>(
    view: View<'_>,
    keys: Option<&[&str]>,
    v: Option<&'v Value>,
) -> Vec<(String, &'v Value)> {
    let mut out: Vec<(String, &Value)> = Vec::new();
    for item in v.and_then(Value::as_array).into_iter().flatten() {
        let key = keys.map_or_else(|| value_key(item), |k| item_key(view.item(), k, item));
        if out.iter().all(|(k, _)| *k != key) {
            out.push((key, item));
        }
    }
    out
}

/// What differs between two objects.
#[derive(Default)]
pub(crate) struct Comparison {
    pub removed: FieldSet,
    pub modified: FieldSet,
    pub added: FieldSet,
}

impl Comparison {
    pub fn is_same(&self) -> bool {
        self.removed.is_empty() && self.modified.is_empty() && self.added.is_empty()
    }
}

pub(crate) fn compare(view: View<'_>, old: &Value, new: &Value) -> Comparison {
    let mut out = Comparison::default();
    compare_at(view, Some(old), Some(new), &mut Vec::new(), &mut out);
    out
}

fn compare_at(
    view: View<'_>,
    old: Option<&Value>,
    new: Option<&Value>,
    path: &mut Vec<String>,
    out: &mut Comparison,
) {
    let null = Value::Null;
    let sample = match (old, new) {
        (_, Some(v)) if !v.is_null() => v,
        (Some(v), _) => v,
        (None, Some(v)) => v,
        (None, None) => return,
    };
    let fits = |v: Option<&Value>| {
        v.is_none_or(|v| {
            v.is_null() || v.is_object() == sample.is_object() && v.is_array() == sample.is_array()
        })
    };
    let kind = if fits(old) && fits(new) {
        view.kind(sample)
    } else {
        Kind::Leaf
    };
    let mut pairs: Vec<(String, View<'_>, Option<&Value>, Option<&Value>)> = Vec::new();
    match &kind {
        Kind::Leaf => {
            match (old, new) {
                (None, _) => out.added.insert(path),
                (_, None) => out.removed.insert(path),
                (Some(a), Some(b)) if a != b => out.modified.insert(path),
                _ => {}
            }
            return;
        }
        Kind::Map => {
            let (a, b) = (old.unwrap_or(&null), new.unwrap_or(&null));
            let keys = a.as_object().into_iter().flatten().map(|(k, _)| k).chain(
                b.as_object()
                    .into_iter()
                    .flatten()
                    .map(|(k, _)| k)
                    .filter(|k| a.get(*k).is_none()),
            );
            for key in keys {
                pairs.push((field_key(key), view.child(key).0, a.get(key), b.get(key)));
            }
        }
        Kind::Set | Kind::List(_) => {
            let keys = if let Kind::List(keys) = &kind {
                Some(keys.as_slice())
            } else {
                None
            };
            let (a, b) = (keyed(view, keys, old), keyed(view, keys, new));
            for (key, item) in &a {
                let other = b.iter().find(|(k, _)| k == key).map(|(_, v)| *v);
                pairs.push((key.clone(), view.item(), Some(item), other));
            }
            for (key, item) in b {
                if a.iter().all(|(k, _)| *k != key) {
                    pairs.push((key, view.item(), None, Some(item)));
                }
            }
        }
    }
    for (key, view, a, b) in pairs {
        path.push(key);
        compare_at(view, a, b, path, out);
        path.pop();
    }
    if path.is_empty() {
        return;
    }
    match (old, new) {
        (None, _) => out.added.insert(path),
        (_, None) => out.removed.insert(path),
        _ => {}
    }
}

/// The field set of an applied object.
pub(crate) fn field_set(view: View<'_>, object: &Value) -> FieldSet {
    let mut out = FieldSet::default();
    field_set_at(view, object, &mut Vec::new(), &mut out);
    out
}

fn field_set_at(view: View<'_>, value: &Value, path: &mut Vec<String>, out: &mut FieldSet) {
    match view.kind(value) {
        Kind::Leaf => {
            if !path.is_empty() {
                out.insert(path);
            }
        }
        Kind::Map => {
            for (key, v) in value.as_object().into_iter().flatten() {
                let (inner, declared) = view.child(key);
                path.push(field_key(key));
                field_set_at(inner, v, path, out);
                if v.is_null() || v.as_object().is_some_and(Map::is_empty) || !declared {
                    out.insert(path);
                }
                path.pop();
            }
        }
        kind => {
            let keys = if let Kind::List(keys) = &kind {
                Some(keys.as_slice())
            } else {
                None
            };
            for (key, item) in keyed(view, keys, Some(value)) {
                path.push(key);
                if keys.is_some() {
                    field_set_at(view.item(), item, path, out);
                }
                out.insert(path);
                path.pop();
            }
        }
    }
}

/// Merges an applied object into a live one.
pub(crate) fn merge(view: View<'_>, live: Option<&Value>, applied: &Value) -> Value {
    let Some(live) = live.filter(|l| !l.is_null()) else {
        return applied.clone();
    };
    match view.kind(applied) {
        Kind::Map if live.is_object() && applied.is_object() => {
            let mut out = live.as_object().cloned().unwrap_or_default();
            for (key, v) in applied.as_object().into_iter().flatten() {
                let merged = merge(view.child(key).0, out.get(key), v);
                out.insert(key.clone(), merged);
            }
            Value::Object(out)
        }
        kind @ (Kind::Set | Kind::List(_)) if live.is_array() => {
            let keys = if let Kind::List(keys) = &kind {
                Some(keys.as_slice())
            } else {
                None
            };
            let theirs = keyed(view, keys, Some(live));
            let ours = keyed(view, keys, Some(applied));
            let mut out: Vec<Value> = theirs
                .iter()
                .map(|(key, item)| match ours.iter().find(|(k, _)| k == key) {
                    Some((_, new)) => merge(view.item(), Some(item), new),
                    None => (*item).clone(),
                })
                .collect();
            for (key, item) in ours {
                if theirs.iter().all(|(k, _)| *k != key) {
                    out.push(item.clone());
                }
            }
            Value::Array(out)
        }
        _ => applied.clone(),
    }
}

/// Removes the fields for which `gone` says so, and containers that this empties.
pub(crate) fn remove(
    view: View<'_>,
    value: &mut Value,
    path: &mut Vec<String>,
    gone: &dyn Fn(&[String]) -> bool,
) {
    let kind = view.kind(value);
    match value {
        Value::Object(map) if matches!(kind, Kind::Map) => {
            map.retain(|key, v| {
                path.push(field_key(key));
                let keep = keeps(view.child(key).0, v, path, gone);
                path.pop();
                keep
            });
        }
        Value::Array(items) if !matches!(kind, Kind::Leaf) => {
            items.retain_mut(|item| {
                path.push(match &kind {
                    Kind::List(keys) => item_key(view.item(), keys, item),
                    _ => value_key(item),
                });
                let keep = keeps(view.item(), item, path, gone);
                path.pop();
                keep
            });
        }
        _ => {}
    }
}

fn keeps(
    view: View<'_>,
    v: &mut Value,
    path: &mut Vec<String>,
    gone: &dyn Fn(&[String]) -> bool,
) -> bool {
    if gone(path) {
        return false;
    }
    let size = |v: &Value| match v {
        Value::Object(o) => o.len(),
        Value::Array(a) => a.len(),
        _ => 0,
    };
    let before = size(v);
    remove(view, v, path, gone);
    before == 0 || size(v) > 0
}
