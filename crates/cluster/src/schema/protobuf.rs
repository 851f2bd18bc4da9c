//! Protobuf request bodies: the `k8s\0` envelope and a decoder driven by the table of
//! types, which knows the field numbers. The answer is what Go would print as JSON.

use super::decode::{fill, is_empty};
use super::table::{Elem, Field, Shape, Table, Type};
use serde_json::{Map, Value};

const MAGIC: &[u8] = b"k8s\0";
/// Deeper messages than this are not Kubernetes objects.
const MAX_DEPTH: usize = 100;

/// A body that is not what its content type says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProtobufError(pub String);

impl ProtobufError {
    fn new(text: &str) -> ProtobufError {
        ProtobufError(text.to_owned())
    }
}

type Decoded<T> = Result<T, ProtobufError>;

/// Decodes an envelope into the JSON form of the object, apiVersion and kind included.
pub fn decode(body: &[u8]) -> Decoded<Value> {
    let Some(body) = body.strip_prefix(MAGIC) else {
        return Err(ProtobufError::new(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]",
        ));
    };
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    let mut reader = Reader { data: body };
    while let Some((number, wire)) = reader.next()? {
        match (number, wire) {
            (1, Wire::Bytes(meta)) => {
                let mut inner = Reader { data: meta };
                while let Some((n, w)) = inner.next()? {
                    match (n, w) {
                        (1, Wire::Bytes(b)) => api_version = text(b)?,
                        (2, Wire::Bytes(b)) => kind = text(b)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(b)) => raw = b,
            _ => {}
        }
    }
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
    let table = Table::get();
    let Some(index) = table.kind(group, version, &kind) else {
        return Err(ProtobufError(format!(
            "no kind \"{kind}\" is registered for version \"{api_version}\""
        )));
    };
    let mut object = message(table.ty(index), raw, 0)?;
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    Ok(Value::Object(object))
}

enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

struct Reader<'a> {
    data: &'a [u8],
}

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Decoded<u64> {
        let mut value = 0u64;
        for (i, byte) in self.data.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                self.data = &self.data[i + 1..];
                return Ok(value);
            }
        }
        Err(ProtobufError::new("unexpected EOF"))
    }

    fn take(&mut self, n: u64) -> Decoded<&'a [u8]> {
        match usize::try_from(n)
            .ok()
            .and_then(|n| self.data.split_at_checked(n))
        {
            Some((head, rest)) => {
                self.data = rest;
                Ok(head)
            }
            None => Err(ProtobufError::new("unexpected EOF")),
        }
    }

    fn next(&mut self) -> Decoded<Option<(u32, Wire<'a>)>> {
        if self.data.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number =
            u32::try_from(tag >> 3).map_err(|_| ProtobufError::new("proto: illegal tag"))?;
        let wire = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => {
                let bytes = self
                    .take(8)?
                    .iter()
                    .rev()
                    .fold(0, |a, b| a << 8 | u64::from(*b));
                Wire::Fixed64(bytes)
            }
            2 => {
                let n = self.varint()?;
                Wire::Bytes(self.take(n)?)
            }
            5 => {
                let bytes = self
                    .take(4)?
                    .iter()
                    .rev()
                    .fold(0, |a, b| a << 8 | u32::from(*b));
                Wire::Fixed32(bytes)
            }
            other => return Err(ProtobufError(format!("proto: illegal wireType {other}"))),
        };
        Ok(Some((number, wire)))
    }
}

fn text(bytes: &[u8]) -> Decoded<String> {
    String::from_utf8(bytes.to_vec())
        .map_err(|_| ProtobufError::new("proto: field contains invalid UTF-8"))
}

fn message(ty: &'static Type, data: &[u8], depth: usize) -> Decoded<Map<String, Value>> {
    let mut map = fields(ty, data, depth)?;
    map.retain(|name, v| ty.field(name).is_none_or(|f| !is_empty(f, v)));
    fill(ty, &mut map);
    Ok(map)
}

fn fields(ty: &'static Type, data: &[u8], depth: usize) -> Decoded<Map<String, Value>> {
    if depth > MAX_DEPTH {
        return Err(ProtobufError::new("proto: message nested too deeply"));
    }
    let mut map = Map::new();
    let mut reader = Reader { data };
    while let Some((number, wire)) = reader.next()? {
        let Some(field) = ty.fields.iter().find(|f| f.number == number) else {
            continue;
        };
        if field.inline {
            // JSON spreads the message into its parent.
            if let (Elem::Struct(i), Wire::Bytes(b)) = (field.elem, wire) {
                for (k, v) in fields(Table::get().ty(i), b, depth + 1)? {
                    map.entry(k).or_insert(v);
                }
            }
            continue;
        }
        match field.shape {
            Shape::One => {
                let v = value(field, &wire, depth)?;
                if !v.is_null() {
                    map.insert(field.name.to_owned(), v);
                }
            }
            Shape::List => {
                let v = value(field, &wire, depth)?;
                let list = map
                    .entry(field.name)
                    .or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(items) = list {
                    items.push(v);
                }
            }
            Shape::Map => {
                let Wire::Bytes(b) = wire else { continue };
                let mut entry = Reader { data: b };
                let (mut key, mut item) = (String::new(), None);
                while let Some((n, w)) = entry.next()? {
                    match (n, &w) {
                        (1, Wire::Bytes(b)) => key = text(b)?,
                        (2, _) => item = Some(value(field, &w, depth)?),
                        _ => {}
                    }
                }
                let item = item.unwrap_or_else(|| match field.elem {
                    Elem::Struct(_) => Value::Object(Map::new()),
                    _ => "".into(),
                });
                let list = map
                    .entry(field.name)
                    .or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(items) = list {
                    items.insert(key, item);
                }
            }
        }
    }
    Ok(map)
}

fn value(field: &Field, wire: &Wire<'_>, depth: usize) -> Decoded<Value> {
    Ok(match (field.elem, wire) {
        (Elem::String, Wire::Bytes(b)) => text(b)?.into(),
        (Elem::Bool, Wire::Varint(n)) => (*n != 0).into(),
        (Elem::Int32, Wire::Varint(n)) => (*n as i32).into(),
        (Elem::Int64, Wire::Varint(n)) => (*n as i64).into(),
        (Elem::Double, Wire::Fixed64(n)) => number(f64::from_bits(*n)),
        (Elem::Double, Wire::Fixed32(n)) => number(f64::from(f32::from_bits(*n))),
        (Elem::Bytes, Wire::Bytes(b)) => {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(b).into()
        }
        (Elem::Strings, Wire::Bytes(b)) => {
            let (mut reader, mut items) = (Reader { data: b }, Vec::new());
            while let Some((_, w)) = reader.next()? {
                if let Wire::Bytes(item) = w {
                    items.push(Value::String(text(item)?));
                }
            }
            Value::Array(items)
        }
        (Elem::Quantity, Wire::Bytes(b)) => {
            let written = first_text(b)?;
            match api::quantity::Quantity::parse(&written) {
                Ok(q) => q.to_string().into(),
                Err(_) => "0".into(),
            }
        }
        (Elem::IntOrString, Wire::Bytes(b)) => {
            let (mut kind, mut int, mut string) = (0, 0i32, String::new());
            let mut reader = Reader { data: b };
            while let Some((n, w)) = reader.next()? {
                match (n, w) {
                    (1, Wire::Varint(v)) => kind = v,
                    (2, Wire::Varint(v)) => int = v as i32,
                    (3, Wire::Bytes(s)) => string = text(s)?,
                    _ => {}
                }
            }
            if kind == 0 { int.into() } else { string.into() }
        }
        (Elem::Time | Elem::MicroTime, Wire::Bytes(b)) => {
            let (mut seconds, mut nanos) = (None, 0i32);
            let mut reader = Reader { data: b };
            while let Some((n, w)) = reader.next()? {
                match (n, w) {
                    (1, Wire::Varint(v)) => seconds = Some(v as i64),
                    (2, Wire::Varint(v)) => nanos = v as i32,
                    _ => {}
                }
            }
            // Go writes its zero time as an empty message.
            let time = seconds.and_then(|s| jiff::Timestamp::new(s, nanos).ok());
            match time {
                Some(t) if field.elem == Elem::Time => format!("{t:.0}").into(),
                Some(t) => format!("{t:.6}").into(),
                None => Value::Null,
            }
        }
        (Elem::Duration, Wire::Bytes(b)) => {
            let mut reader = Reader { data: b };
            let mut nanos = 0i64;
            while let Some((n, w)) = reader.next()? {
                if let (1, Wire::Varint(v)) = (n, w) {
                    nanos = v as i64;
                }
            }
            go_duration(nanos).into()
        }
        (Elem::FieldsV1 | Elem::Raw | Elem::Json, Wire::Bytes(b)) => {
            let mut reader = Reader { data: b };
            let mut inner = Value::Null;
            while let Some((n, w)) = reader.next()? {
                if let (1, Wire::Bytes(raw)) = (n, w) {
                    inner = serde_json::from_slice(raw)
                        .map_err(|e| ProtobufError(format!("{}: {e}", field.name)))?;
                }
            }
            inner
        }
        (Elem::Struct(i), Wire::Bytes(b)) => {
            Value::Object(message(Table::get().ty(i), b, depth + 1)?)
        }
        _ => {
            return Err(ProtobufError(format!(
                "proto: wrong wireType for field {}",
                field.name
            )));
        }
    })
}

fn first_text(data: &[u8]) -> Decoded<String> {
    let mut reader = Reader { data };
    let mut out = String::new();
    while let Some((n, w)) = reader.next()? {
        if let (1, Wire::Bytes(b)) = (n, w) {
            out = text(b)?;
        }
    }
    Ok(out)
}

fn number(f: f64) -> Value {
    if f.fract() == 0.0 && f.abs() < 1e15 {
        (f as i64).into()
    } else {
        f.into()
    }
}

/// Go's form of a duration, for the few fields that are one.
fn go_duration(nanos: i64) -> String {
    let seconds = nanos as f64 / 1e9;
    if nanos == 0 {
        "0s".into()
    } else {
        format!("{seconds}s")
    }
}
