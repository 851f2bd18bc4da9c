//! What a formula computes with, and the operators on it.
//!
//! Error texts name Go's types, since those are what KEDA's users see.

use std::collections::BTreeMap;
use std::rc::Rc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::show::show;

/// A value. Large ones are shared, so that copying is cheap.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Rc<str>),
    Array(Rc<List>),
    Map(Rc<Table>),
    /// The environment itself, `$env`.
    Env,
    Time(Timestamp, TimeZone),
    /// Nanoseconds.
    Duration(i64),
    Zone(TimeZone),
}

#[derive(Debug)]
pub(super) struct List {
    pub items: Vec<Value>,
    depth: usize,
}

#[derive(Debug)]
pub(super) struct Table {
    pub entries: BTreeMap<Key, Value>,
    /// Whether all keys are texts by type, as in a map literal.
    pub texts: bool,
    depth: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Nil,
    Bool(bool),
    Int(i64),
    /// Bits.
    Float(u64),
    Text(Rc<str>),
}

/// Deepest nesting of arrays and maps; the original has none and may run out
/// of memory.
const MAX_NESTING: usize = 100;
/// Elements made in one run that the original counts.
const MAX_COUNTED: usize = 1_000_000;
/// Elements made in one run, all of them.
const MAX_MADE: usize = 3_000_000;
/// Longest text.
pub(super) const MAX_TEXT: usize = 1_000_000;
/// Steps of one run.
const MAX_STEPS: usize = 5_000_000;

pub(super) const NO_MEMORY: &str = "memory budget exceeded";

/// What a run may still use.
#[derive(Debug, Default)]
pub(super) struct Budget {
    steps: usize,
    counted: usize,
    made: usize,
}

impl Budget {
    /// Takes `steps` of the time a run has.
    pub fn spend(&mut self, steps: usize) -> Result<(), String> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > MAX_STEPS {
            return Err(format!(
                "the formula takes too long: more than {MAX_STEPS} steps"
            ));
        }
        Ok(())
    }

    /// Takes the memory that the original counts, too.
    pub fn count(&mut self, elements: usize) -> Result<(), String> {
        self.counted = self.counted.saturating_add(elements);
        if self.counted >= MAX_COUNTED {
            return Err(NO_MEMORY.to_owned());
        }
        Ok(())
    }

    fn make(&mut self, elements: usize) -> Result<(), String> {
        self.made = self.made.saturating_add(elements);
        if self.made > MAX_MADE {
            return Err(NO_MEMORY.to_owned());
        }
        self.spend(elements)
    }

    pub fn array(&mut self, items: Vec<Value>) -> Result<Value, String> {
        self.make(items.len())?;
        let depth = 1 + items.iter().map(depth).max().unwrap_or_default();
        if depth > MAX_NESTING {
            return Err(NO_MEMORY.to_owned());
        }
        Ok(Value::Array(Rc::new(List { items, depth })))
    }

    pub fn map(&mut self, entries: BTreeMap<Key, Value>, texts: bool) -> Result<Value, String> {
        self.make(entries.len())?;
        let depth = 1 + entries.values().map(depth).max().unwrap_or_default();
        if depth > MAX_NESTING {
            return Err(NO_MEMORY.to_owned());
        }
        Ok(Value::Map(Rc::new(Table {
            entries,
            texts,
            depth,
        })))
    }

    pub fn text(&mut self, text: String) -> Result<Value, String> {
        if text.len() > MAX_TEXT {
            return Err(NO_MEMORY.to_owned());
        }
        self.make(text.len() / 16)?;
        Ok(Value::Text(text.into()))
    }

    /// All whole numbers from one to another; `free` where the original makes
    /// the range before it runs.
    pub fn range(&mut self, from: i64, to: i64, free: bool) -> Result<Value, String> {
        let size = i128::from(to) - i128::from(from) + 1;
        let size = usize::try_from(size.max(0)).unwrap_or(usize::MAX);
        if !free || size > MAX_COUNTED {
            self.count(size)?;
        }
        self.array((from..=to).map(Value::Int).collect())
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => list.depth,
        Value::Map(table) => table.depth,
        _ => 0,
    }
}

impl Value {
    /// Go's name of the type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Nil => "<nil>",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float64",
            Value::Text(_) => "string",
            Value::Array(_) => "[]interface {}",
            Value::Map(table) if table.texts => "map[string]interface {}",
            Value::Map(_) => "map[interface {}][]interface {}",
            Value::Env => "map[string]float64",
            Value::Time(..) => "time.Time",
            Value::Duration(_) => "time.Duration",
            Value::Zone(_) => "*time.Location",
        }
    }

    /// The number it is.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Int(n) => Some(*n as f64),
            Value::Float(n) => Some(*n),
            _ => None,
        }
    }

    /// As an index or count.
    pub fn index(&self) -> Result<i64, String> {
        match self {
            Value::Int(n) => Ok(*n),
            Value::Float(n) => Ok(truncated(*n)),
            other => Err(format!("invalid operation: int({})", other.type_name())),
        }
    }

    /// As a condition.
    pub fn truth(&self) -> Result<bool, String> {
        match self {
            Value::Bool(b) => Ok(*b),
            other => Err(other.not_a("bool")),
        }
    }

    /// As a text.
    pub fn text(&self) -> Result<&str, String> {
        match self {
            Value::Text(text) => Ok(text),
            other => Err(other.not_a("string")),
        }
    }

    /// Go's complaint about a value of another type than wanted.
    pub fn not_a(&self, wanted: &str) -> String {
        let is = match self {
            Value::Nil => "nil",
            other => other.type_name(),
        };
        format!("interface conversion: interface {{}} is {is}, not {wanted}")
    }

    /// The steps of looking at it: a text is looked through from end to end.
    pub fn weight(&self) -> usize {
        match self {
            Value::Text(text) => 1 + text.len() / 16,
            _ => 1,
        }
    }

    /// As a key of a map.
    pub fn key(&self) -> Option<Key> {
        Some(match self {
            Value::Nil => Key::Nil,
            Value::Bool(b) => Key::Bool(*b),
            Value::Int(n) => Key::Int(*n),
            Value::Float(n) => Key::Float(n.to_bits()),
            Value::Text(text) => Key::Text(Rc::clone(text)),
            _ => return None,
        })
    }
}

impl Key {
    /// The steps that comparing with it takes.
    pub fn weight(&self) -> usize {
        match self {
            Key::Text(text) => 1 + text.len() / 16,
            _ => 1,
        }
    }
}

/// A float as a whole number, as amd64 converts it.
pub(super) fn truncated(n: f64) -> i64 {
    // NaN is in no range.
    if !(-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&n) {
        i64::MIN
    } else {
        n as i64
    }
}

/// Whether two values are the same; numbers compare across types.
pub(super) fn equal(a: &Value, b: &Value, budget: &mut Budget) -> Result<bool, String> {
    budget.spend(1)?;
    if let (Value::Int(a), Value::Int(b)) = (a, b) {
        return Ok(a == b);
    }
    if let (Some(a), Some(b)) = (a.number(), b.number()) {
        return Ok(a == b);
    }
    Ok(match (a, b) {
        (Value::Nil, Value::Nil) | (Value::Env, Value::Env) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Text(a), Value::Text(b)) => {
            budget.spend(a.len().min(b.len()) / 16)?;
            a == b
        }
        (Value::Time(a, _), Value::Time(b, _)) => a == b,
        (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::Array(a), Value::Array(b)) => {
            let mut same = a.items.len() == b.items.len();
            for (a, b) in a.items.iter().zip(&b.items) {
                same = same && equal(a, b, budget)?;
            }
            same
        }
        (Value::Map(a), Value::Map(b)) => {
            let mut same = a.entries.len() == b.entries.len();
            for ((k, a), (l, b)) in a.entries.iter().zip(&b.entries) {
                budget.spend(k.weight().min(l.weight()))?;
                same = same && k == l && equal(a, b, budget)?;
            }
            same
        }
        _ => false,
    })
}

/// `a < b`, or `None` where they have no order.
pub(super) fn less(a: &Value, b: &Value) -> Option<bool> {
    if let (Value::Int(a), Value::Int(b)) = (a, b) {
        return Some(a < b);
    }
    if let (Some(a), Some(b)) = (a.number(), b.number()) {
        return Some(a < b);
    }
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => Some(a < b),
        (Value::Time(a, _), Value::Time(b, _)) => Some(a < b),
        (Value::Duration(a), Value::Duration(b)) => Some(a < b),
        _ => None,
    }
}

/// A binary operator whose both sides are there.
pub(super) fn binary(
    operator: &str,
    a: &Value,
    b: &Value,
    budget: &mut Budget,
) -> Result<Value, String> {
    let mismatch = || {
        format!(
            "invalid operation: {} {operator} {}",
            a.type_name(),
            b.type_name()
        )
    };
    budget.spend(a.weight() + b.weight())?;
    let floats = || Some((a.number()?, b.number()?));
    let ordered = |order: Option<bool>| order.map(Value::Bool).ok_or_else(mismatch);
    match operator {
        "==" => return equal(a, b, budget).map(Value::Bool),
        "!=" => return equal(a, b, budget).map(|same| Value::Bool(!same)),
        "<" => return ordered(less(a, b)),
        ">" => return ordered(less(b, a)),
        // Not the opposite of the other order: nothing compares with NaN.
        "<=" | ">=" => {
            let (low, high) = if operator == "<=" { (a, b) } else { (b, a) };
            let not_above = match (low, high) {
                (Value::Int(a), Value::Int(b)) => Some(a <= b),
                _ => match (low.number(), high.number()) {
                    (Some(a), Some(b)) => Some(a <= b),
                    _ => less(high, low).map(|above| !above),
                },
            };
            return ordered(not_above);
        }
        "contains" => return Ok(Value::Bool(a.text()?.contains(b.text()?))),
        "startsWith" => return Ok(Value::Bool(a.text()?.starts_with(b.text()?))),
        "endsWith" => return Ok(Value::Bool(a.text()?.ends_with(b.text()?))),
        "in" => return contains(a, b, budget),
        _ => {}
    }
    let made = match (operator, a, b) {
        ("+", Value::Int(a), Value::Int(b)) => Some(Value::Int(a.wrapping_add(*b))),
        ("-", Value::Int(a), Value::Int(b)) => Some(Value::Int(a.wrapping_sub(*b))),
        ("*", Value::Int(a), Value::Int(b)) => Some(Value::Int(a.wrapping_mul(*b))),
        ("%", Value::Int(_), Value::Int(0)) => {
            return Err("runtime error: integer divide by zero".to_owned());
        }
        ("%", Value::Int(a), Value::Int(b)) => Some(Value::Int(a.wrapping_rem(*b))),
        ("%", ..) => None,
        ("+", Value::Text(a), Value::Text(b)) => {
            return budget.text(format!("{a}{b}"));
        }
        ("+", Value::Time(at, zone), Value::Duration(by))
        | ("+", Value::Duration(by), Value::Time(at, zone)) => {
            let by = jiff::SignedDuration::from_nanos(*by);
            let sum = at.checked_add(by).unwrap_or(Timestamp::MAX);
            Some(Value::Time(sum, zone.clone()))
        }
        ("-", Value::Time(at, zone), Value::Duration(by)) => {
            let by = jiff::SignedDuration::from_nanos(*by);
            let rest = at.checked_sub(by).unwrap_or(Timestamp::MIN);
            Some(Value::Time(rest, zone.clone()))
        }
        ("-", Value::Time(a, _), Value::Time(b, _)) => {
            let nanos = a.duration_since(*b).as_nanos();
            let nanos = nanos.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
            Some(Value::Duration(nanos as i64))
        }
        ("+", Value::Duration(a), Value::Duration(b)) => Some(Value::Duration(a.wrapping_add(*b))),
        ("-", Value::Duration(a), Value::Duration(b)) => Some(Value::Duration(a.wrapping_sub(*b))),
        ("+", ..) => floats().map(|(a, b)| Value::Float(a + b)),
        ("-", ..) => floats().map(|(a, b)| Value::Float(a - b)),
        ("*", ..) => floats().map(|(a, b)| Value::Float(a * b)),
        ("/", ..) => floats().map(|(a, b)| Value::Float(a / b)),
        ("**" | "^", ..) => floats().map(|(a, b)| Value::Float(a.powf(b))),
        _ => None,
    };
    made.ok_or_else(mismatch)
}

fn contains(needle: &Value, stack: &Value, budget: &mut Budget) -> Result<Value, String> {
    let found = match stack {
        Value::Nil => false,
        Value::Array(list) => {
            let mut found = false;
            for item in &list.items {
                found = found || equal(needle, item, budget)?;
            }
            found
        }
        Value::Map(table) => {
            let key = needle.key().filter(|key| *key != Key::Nil);
            key.is_some_and(|key| table.entries.contains_key(&key))
        }
        other => {
            let name = other.type_name();
            return Err(format!("operator \"in\" not defined on {name}"));
        }
    };
    Ok(Value::Bool(found))
}

/// One element of a collection.
pub(super) fn fetch(from: &Value, key: &Value, budget: &mut Budget) -> Result<Value, String> {
    let place = |length: usize| -> Result<usize, String> {
        let wanted = key.index()?;
        let length_signed = i64::try_from(length).unwrap_or(i64::MAX);
        let at = if wanted < 0 {
            wanted.saturating_add(length_signed)
        } else {
            wanted
        };
        usize::try_from(at)
            .ok()
            .filter(|at| *at < length)
            .ok_or_else(|| format!("index out of range: {at} (array length is {length})"))
    };
    match from {
        Value::Array(list) => Ok(list.items[place(list.items.len())?].clone()),
        Value::Text(text) => {
            let at = place(text.len())?;
            Ok(Value::Int(i64::from(text.as_bytes()[at])))
        }
        Value::Map(table) => {
            budget.spend(key.weight())?;
            let found = key.key().and_then(|key| table.entries.get(&key));
            Ok(found.cloned().unwrap_or(Value::Nil))
        }
        other => Err(format!(
            "cannot fetch {} from {}",
            show(key, budget)?,
            other.type_name()
        )),
    }
}

/// `of[from:to]`.
pub(super) fn slice(
    of: &Value,
    from: Option<i64>,
    to: Option<i64>,
    budget: &mut Budget,
) -> Result<Value, String> {
    let ends = |length: usize| {
        let whole = i64::try_from(length).unwrap_or(i64::MAX);
        let place = |n: i64| if n < 0 { n.saturating_add(whole) } else { n }.clamp(0, whole);
        let to = to.map_or(whole, place);
        let from = from.map_or(0, place).min(to);
        (from as usize, to as usize)
    };
    match of {
        Value::Array(list) => {
            let (from, to) = ends(list.items.len());
            budget.array(list.items[from..to].to_vec())
        }
        Value::Text(text) => {
            let (from, to) = ends(text.len());
            budget.text(String::from_utf8_lossy(&text.as_bytes()[from..to]).into_owned())
        }
        other => Err(format!("cannot slice {}", other.type_name())),
    }
}
