//! The one place that reads and writes YAML. Plain scalars are read as kubectl
//! reads them (YAML 1.1: `yes`, `on` and `y` are booleans, `010` is eight), so
//! that a manifest means here what it means there.

use std::collections::BTreeMap;

use granit_parser::{Event, Options, Parser, ScalarStyle, Tag};
use serde_json::{Map, Number, Value};

/// How many nodes a text may expand to, aliases included.
const MAX_NODES: usize = 1_000_000;

/// One document of a YAML text.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The content.
    pub value: Value,
    /// The line on which it starts, counted from 1.
    pub line: usize,
}

/// What is wrong with a YAML text, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct YamlError {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1.
    pub column: usize,
    /// The reason.
    pub message: String,
}

/// A collection that is being filled.
enum Frame {
    List(Vec<Value>),
    Map {
        entries: Map<String, Value>,
        key: Option<Key>,
        merged: Vec<Value>,
    },
}

enum Key {
    Name(String),
    Merge,
}

/// Where something stands in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Line of the first character, counted from 1.
    pub line: usize,
    /// Column of the first character, counted from 1 in characters.
    pub column: usize,
    /// Byte offset of the first character.
    pub start: usize,
    /// Byte offset after the last character.
    pub end: usize,
}

impl Span {
    fn of(span: &granit_parser::Span) -> Self {
        let start = span.start.byte_offset().unwrap_or_default();
        Self {
            line: span.start.line(),
            column: span.start.col() + 1,
            start,
            end: span.end.byte_offset().unwrap_or(start).max(start),
        }
    }
}

/// Where a value stands, and its key where it has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The key in its map.
    pub key: Option<Span>,
    /// The value; for a list or map the place where it opens.
    pub value: Span,
}

/// Where every value of a document stands, by JSON pointer ("" is the root).
/// What an alias or a merge brings in stands at the alias.
pub type Places = BTreeMap<String, Place>;

/// One document of a YAML text with the places of its values.
#[derive(Clone, Debug, PartialEq)]
pub struct PlacedDocument {
    /// The content.
    pub value: Value,
    /// The line on which it starts, counted from 1.
    pub line: usize,
    /// Where its values stand.
    pub places: Places,
}

struct Open {
    frame: Frame,
    anchor: usize,
    nodes_before: usize,
    /// JSON pointer, where places are noted.
    pointer: String,
}

/// Reads all documents; empty ones are left out.
pub fn parse_documents(text: &str) -> Result<Vec<Document>, YamlError> {
    let mut documents = Vec::new();
    read(text, false, |builder, value| {
        documents.push(Document {
            value,
            line: builder.line,
        });
    })?;
    Ok(documents)
}

/// Like [`parse_documents`], and notes where each value stands.
pub fn parse_documents_with_places(text: &str) -> Result<Vec<PlacedDocument>, YamlError> {
    let mut documents = Vec::new();
    read(text, true, |builder, value| {
        documents.push(PlacedDocument {
            value,
            line: builder.line,
            places: builder.places.take().unwrap_or_default(),
        });
    })?;
    Ok(documents)
}

fn read(
    text: &str,
    placed: bool,
    mut each: impl FnMut(&mut Builder, Value),
) -> Result<(), YamlError> {
    let mut options = Options::default();
    options.emit_comments = false;
    options.block_scalar_eof_without_line_feed = true;
    let fresh = || Builder {
        places: placed.then(Places::new),
        ..Builder::default()
    };
    let mut builder = fresh();
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = next.map_err(|error| YamlError {
            line: error.marker().line(),
            column: error.marker().col() + 1,
            message: error.info(),
        })?;
        let result = match event {
            Event::DocumentStart(..) => {
                builder = fresh();
                Ok(())
            }
            Event::DocumentEnd => {
                if let Some(value) = builder.root.take().filter(|v| !v.is_null()) {
                    each(&mut builder, value);
                }
                Ok(())
            }
            event => {
                if builder.line == 0 && event.is_node() {
                    builder.line = span.start.line();
                }
                if builder.places.is_some() && event.is_node() {
                    builder.note(Span::of(&span));
                }
                builder.take(event)
            }
        };
        result.map_err(|message| YamlError {
            line: span.start.line(),
            column: span.start.col() + 1,
            message,
        })?;
    }
    Ok(())
}

/// Reads a text with exactly one document (null if it is empty).
pub fn parse(text: &str) -> Result<Value, YamlError> {
    let mut documents = parse_documents(text)?.into_iter();
    let first = documents.next().map_or(Value::Null, |d| d.value);
    match documents.next() {
        None => Ok(first),
        Some(second) => Err(YamlError {
            line: second.line,
            column: 1,
            message: "one document expected, a second one starts here".to_owned(),
        }),
    }
}

/// Writes one document. Texts that a reader could take for something else are
/// quoted.
pub fn to_string(value: &Value) -> String {
    serde_saphyr::to_string(value).expect("JSON values have string keys and finite numbers")
}

#[derive(Default)]
struct Builder {
    stack: Vec<Open>,
    root: Option<Value>,
    line: usize,
    nodes: usize,
    /// Anchored values with the number of nodes in them.
    anchors: BTreeMap<usize, (Value, usize)>,
    /// Places, where they are wanted.
    places: Option<Places>,
    /// Pointer of the node that was begun last.
    pointer: String,
    /// Place of the key whose value comes next.
    key: Option<Span>,
}

impl Builder {
    /// Notes where the node stands that the next event brings.
    fn note(&mut self, span: Span) {
        self.pointer.clear();
        if let Some(open) = self.stack.last() {
            self.pointer.push_str(&open.pointer);
        }
        match self.stack.last().map(|open| &open.frame) {
            None => {}
            Some(Frame::List(items)) => {
                self.pointer.push('/');
                self.pointer.push_str(&items.len().to_string());
            }
            Some(Frame::Map {
                key: Some(Key::Name(name)),
                ..
            }) => {
                self.pointer.push('/');
                self.pointer.push_str(&crate::pointer::token(name));
            }
            Some(Frame::Map {
                key: Some(Key::Merge),
                ..
            }) => {
                self.key = None;
                return;
            }
            Some(Frame::Map { key: None, .. }) => {
                self.key = Some(span);
                return;
            }
        }
        let place = Place {
            key: self.key.take(),
            value: span,
        };
        if let Some(places) = &mut self.places {
            places.insert(self.pointer.clone(), place);
        }
    }

    fn take(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let merge = style == ScalarStyle::Plain && tag.is_none() && text == "<<";
                let top = self.stack.last_mut().map(|open| &mut open.frame);
                if let (
                    true,
                    Some(Frame::Map {
                        key: key @ None, ..
                    }),
                ) = (merge, top)
                {
                    *key = Some(Key::Merge);
                    return Ok(());
                }
                let value = scalar(&text, style, tag.as_deref())?;
                if anchor > 0 {
                    self.anchors.insert(anchor, (value.clone(), 1));
                }
                self.count(1)?;
                self.put(value)
            }
            Event::Alias(id) => {
                let (value, nodes) = self
                    .anchors
                    .get(&id)
                    .cloned()
                    .ok_or("an alias stands inside the value that it names")?;
                self.count(nodes)?;
                self.put(value)
            }
            Event::SequenceStart(_, anchor, _) => self.open(Frame::List(Vec::new()), anchor),
            Event::MappingStart(_, anchor, _) => self.open(
                Frame::Map {
                    entries: Map::new(),
                    key: None,
                    merged: Vec::new(),
                },
                anchor,
            ),
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            _ => Ok(()),
        }
    }

    fn count(&mut self, nodes: usize) -> Result<(), String> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            return Err(format!("the text expands to more than {MAX_NODES} nodes"));
        }
        Ok(())
    }

    fn open(&mut self, frame: Frame, anchor: usize) -> Result<(), String> {
        self.count(1)?;
        self.stack.push(Open {
            frame,
            anchor,
            nodes_before: self.nodes - 1,
            pointer: self.pointer.clone(),
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        let Some(open) = self.stack.pop() else {
            return Ok(());
        };
        let value = match open.frame {
            Frame::List(items) => Value::Array(items),
            Frame::Map {
                mut entries,
                merged,
                ..
            } => {
                for source in merged {
                    merge(&mut entries, source)?;
                }
                Value::Object(entries)
            }
        };
        if open.anchor > 0 {
            self.anchors
                .insert(open.anchor, (value.clone(), self.nodes - open.nodes_before));
        }
        self.put(value)
    }

    fn put(&mut self, value: Value) -> Result<(), String> {
        match self.stack.last_mut().map(|open| &mut open.frame) {
            None => self.root = Some(value),
            Some(Frame::List(items)) => items.push(value),
            Some(Frame::Map {
                entries,
                key,
                merged,
            }) => match key.take() {
                None => {
                    let name = key_text(value)?;
                    if entries.contains_key(&name) {
                        return Err(format!("the key {name:?} stands here twice; remove one"));
                    }
                    *key = Some(Key::Name(name));
                }
                Some(Key::Merge) => merged.push(value),
                Some(Key::Name(name)) => {
                    entries.insert(name, value);
                }
            },
        }
        Ok(())
    }
}

/// Adds the entries of a `<<` source; what is there already wins.
fn merge(entries: &mut Map<String, Value>, source: Value) -> Result<(), String> {
    match source {
        Value::Object(more) => {
            for (name, value) in more {
                entries.entry(name).or_insert(value);
            }
            Ok(())
        }
        Value::Array(list) => list.into_iter().try_for_each(|one| match one {
            Value::Object(_) => merge(entries, one),
            _ => Err("map merge requires map or sequence of maps as the value".to_owned()),
        }),
        _ => Err("map merge requires map or sequence of maps as the value".to_owned()),
    }
}

fn key_text(key: Value) -> Result<String, String> {
    match key {
        Value::String(text) => Ok(text),
        Value::Bool(_) | Value::Number(_) => Ok(key.to_string()),
        Value::Null => Ok("null".to_owned()),
        _ => Err("a list or map cannot be a key".to_owned()),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    let wanted = tag.and_then(Tag::core_suffix);
    let plain = style == ScalarStyle::Plain;
    if wanted == Some("str") || tag.is_some_and(|t| t.suffix() == "binary") {
        return Ok(Value::String(text.to_owned()));
    }
    if !plain && wanted.is_none() {
        return Ok(Value::String(text.to_owned()));
    }
    let value = resolve(text)?;
    let fits = match (wanted, &value) {
        (None, _) => true,
        (Some("bool"), v) => v.is_boolean(),
        (Some("int"), v) => v.is_i64() || v.is_u64(),
        (Some("float"), v) => v.is_number(),
        (Some("null"), v) => v.is_null(),
        (Some(_), _) => true,
    };
    match fits {
        true => Ok(value),
        false => Err(format!("{text:?} is not of the type its tag names")),
    }
}

/// What a plain scalar means.
fn resolve(text: &str) -> Result<Value, String> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Value::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Value::Bool(false)
        }
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF"
        | "-.inf" | "-.Inf" | "-.INF" => {
            return Err(format!(
                "{text} has no place in a Kubernetes object; write a number"
            ));
        }
        _ => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    })
}

fn number(text: &str) -> Option<Number> {
    let first = text.bytes().next()?;
    if !first.is_ascii_digit() && !matches!(first, b'+' | b'-' | b'.') {
        return None;
    }
    let plain = text.replace('_', "");
    let body = plain.strip_prefix(['+', '-']).unwrap_or(&plain);
    let negative = plain.starts_with('-');
    let prefixed = |prefixes: [&str; 2]| prefixes.iter().find_map(|p| body.strip_prefix(p));
    let (digits, radix) = if let Some(rest) = prefixed(["0x", "0X"]) {
        (rest, 16)
    } else if let Some(rest) = prefixed(["0b", "0B"]) {
        (rest, 2)
    } else if let Some(rest) = prefixed(["0o", "0O"]) {
        (rest, 8)
    } else if body.len() > 1 && body.starts_with('0') {
        (&body[1..], 8)
    } else {
        (body, 10)
    };
    if digits
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric())
        && let Ok(magnitude) = u64::from_str_radix(digits, radix)
    {
        if !negative {
            return Some(Number::from(magnitude));
        }
        if let Ok(value) = i64::try_from(-i128::from(magnitude)) {
            return Some(Number::from(value));
        }
    }
    is_float(body)
        .then(|| plain.parse::<f64>().ok().and_then(whole_or_float))
        .flatten()
}

/// Whole floats become integers, as they do on their way through kubectl.
fn whole_or_float(value: f64) -> Option<Number> {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}

/// `.5`, `1`, `1.`, `1.5`, each with an optional exponent.
fn is_float(body: &str) -> bool {
    let (mantissa, exponent) = match body.find(['e', 'E']) {
        Some(at) => (&body[..at], Some(&body[at + 1..])),
        None => (body, None),
    };
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    let mantissa_fits = match mantissa.split_once('.') {
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
        None => digits(mantissa),
    };
    let exponent_fits = exponent.is_none_or(|e| digits(e.strip_prefix(['+', '-']).unwrap_or(e)));
    mantissa_fits && exponent_fits
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn plain_scalars_are_read_as_kubectl_reads_them() {
        let table = [
            ("yes", json!(true)),
            ("Off", json!(false)),
            ("y", json!(true)),
            ("N", json!(false)),
            ("tRue", json!("tRue")),
            ("010", json!(8)),
            ("0o17", json!(15)),
            ("08", json!(8)),
            ("0x1F", json!(31)),
            ("0b11", json!(3)),
            ("1_000", json!(1000)),
            ("-5", json!(-5)),
            ("+5", json!(5)),
            ("1e3", json!(1000)),
            ("1.50", json!(1.5)),
            (".5", json!(0.5)),
            ("-.5", json!(-0.5)),
            ("1.", json!(1)),
            ("18446744073709551615", json!(18446744073709551615u64)),
            ("1:30", json!("1:30")),
            ("2026-01-01", json!("2026-01-01")),
            ("500m", json!("500m")),
            ("~", json!(null)),
            ("NULL", json!(null)),
            ("'yes'", json!("yes")),
            ("\"010\"", json!("010")),
            ("!!str 010", json!("010")),
            ("=", json!("=")),
            ("-", json!([null])),
        ];
        for (text, want) in table {
            let document = parse_documents(&format!("k: {text}\n"));
            if text == "-" {
                assert!(document.is_err());
                continue;
            }
            assert_eq!(document.unwrap()[0].value["k"], want, "{text}");
        }
    }

    #[test]
    fn keys_become_text() {
        let value = parse("{1: a, true: b, yes: c, 1.5: d}");
        assert!(value.is_err(), "true and yes are one key");
        let value = parse("{1: a, true: b, 1.5: d}").unwrap();
        assert_eq!(value, json!({"1": "a", "true": "b", "1.5": "d"}));
    }

    #[test]
    fn documents_carry_their_lines_and_empty_ones_are_skipped() {
        let documents = parse_documents("# head\n---\na: 1\n---\n---\n\nb: 2\n").unwrap();
        let seen: Vec<(usize, Value)> = documents.into_iter().map(|d| (d.line, d.value)).collect();
        assert_eq!(seen, [(3, json!({"a": 1})), (7, json!({"b": 2}))]);
    }

    #[test]
    fn places_are_those_of_the_text() {
        let text = "# é\n---\na:\n  - x: \"ü1\"\n    'p/q': [1, two]\n---\nb: &b {c: 3}\nd:\n  <<: *b\n  e: 1\n";
        let documents = parse_documents_with_places(text).unwrap();
        let at = |d: usize, pointer: &str| {
            let place = documents[d].places[pointer];
            let part = |s: Span| (s.line, s.column, &text[s.start..s.end]);
            (place.key.map(part), part(place.value))
        };
        assert_eq!(at(0, "/a/0/x"), (Some((4, 5, "x")), (4, 8, "\"ü1\"")));
        assert_eq!(at(0, "/a/0/p~1q/1").1, (5, 16, "two"));
        assert_eq!(at(0, "/a/0/p~1q").0, Some((5, 5, "'p/q'")));
        assert_eq!(at(1, "/b/c"), (Some((7, 8, "c")), (7, 11, "3")));
        assert_eq!(at(1, "/d/e").1, (10, 6, "1"));
        assert!(!documents[1].places.contains_key("/d/c"));
    }

    #[test]
    fn anchors_and_merges_work() {
        let value = parse("base: &b {p: 1, q: 2}\nmine:\n  <<: *b\n  q: 3\n").unwrap();
        assert_eq!(value["mine"], json!({"p": 1, "q": 3}));
    }

    #[test]
    fn a_repeated_key_is_named_with_its_place() {
        let error = parse_documents("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert_eq!((error.line, error.column), (3, 1));
        assert!(error.message.contains("\"a\""));
    }

    #[test]
    fn alias_bombs_are_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..9 {
            let refs = vec![format!("*a{}", level - 1); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{refs}]\n"));
        }
        assert!(
            parse_documents(&text)
                .unwrap_err()
                .message
                .contains("nodes")
        );
    }

    #[test]
    fn what_is_written_reads_back() {
        let value = json!({"a": "yes", "b": "010", "c": [1, 2.5, null, true], "d": "x\ny\n",
            "e": {}, "f": [], "g": "1e3", "h": "~"});
        assert_eq!(parse(&to_string(&value)).unwrap(), value);
    }
}
