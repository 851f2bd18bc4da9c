//! The functions of the language that do not look at elements one by one.

use std::collections::BTreeMap;
use std::rc::Rc;

use api::duration::GoDuration;
use api::go::{self, float};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::show::{json, show};
use super::value::{Budget, Key, List, Value, equal, fetch, less, slice, truncated};
use crate::cron;

type Made = Result<Value, String>;

/// Runs a function.
pub(super) fn call(name: &str, args: &[Value], now: Timestamp, budget: &mut Budget) -> Made {
    let arg = |n: usize| args.get(n).unwrap_or(&Value::Nil);
    let first = arg(0);
    let wrong = || format!("invalid argument for {name} (type {})", first.type_name());
    budget.spend(args.iter().map(Value::weight).sum())?;
    match name {
        "float" => to_float(first),
        "int" => to_int(first),
        "string" => {
            let text = show(first, budget)?;
            budget.text(text)
        }
        "type" => budget.text(type_of(first).to_owned()),
        "abs" => match first {
            Value::Int(n) => Ok(Value::Int(n.wrapping_abs())),
            Value::Float(n) => Ok(Value::Float(n.abs())),
            _ => Err(wrong()),
        },
        "ceil" | "floor" | "round" => {
            let n = first.number().ok_or_else(wrong)?;
            Ok(Value::Float(match name {
                "ceil" => n.ceil(),
                "floor" => n.floor(),
                _ => n.round(),
            }))
        }
        "len" => match first {
            Value::Array(list) => Ok(Value::Int(list.items.len() as i64)),
            Value::Map(table) => Ok(Value::Int(table.entries.len() as i64)),
            Value::Text(text) => Ok(Value::Int(text.chars().count() as i64)),
            _ => Err(wrong()),
        },
        "max" | "min" => extreme(name, args, budget),
        "mean" | "median" => {
            let mut numbers = Vec::new();
            numbers_in(name, args, &mut numbers, budget)?;
            Ok(if name == "mean" {
                mean(&numbers)
            } else {
                median(numbers)
            })
        }
        "now" => Ok(Value::Time(now, TimeZone::UTC)),
        "duration" => GoDuration::parse(first.text()?)
            .map(|span| Value::Duration(span.0))
            .map_err(|error| error.to_string()),
        "date" => date(args),
        "timezone" => cron::zone(first.text()?)
            .map(Value::Zone)
            .map_err(|error| error.to_string()),
        "toJSON" => {
            let text = json(first, budget)?;
            budget.text(text)
        }
        "fromJSON" => from_json(&go::json::parse(first.text()?.as_bytes())?, budget),
        "toBase64" => budget.text(STANDARD.encode(first.text()?)),
        "fromBase64" => {
            let bytes = STANDARD.decode(first.text()?);
            let bytes = bytes.map_err(|_| "illegal base64 data at input byte 0".to_owned())?;
            budget.text(String::from_utf8_lossy(&bytes).into_owned())
        }
        _ if name.starts_with("bit") => bits(name, args),
        "first" | "last" | "get" | "take" | "keys" | "values" | "toPairs" | "fromPairs"
        | "reverse" | "uniq" | "concat" | "flatten" | "sort" => collection(name, args, budget),
        _ => text_function(name, args, budget),
    }
}

/// What `float` makes of a value.
pub(super) fn to_float(value: &Value) -> Made {
    match value {
        Value::Text(text) => float::parse(text)
            .map(Value::Float)
            .map_err(|_| format!("invalid operation: float({text})")),
        other => match other.number() {
            Some(n) => Ok(Value::Float(n)),
            None => Err(format!("invalid operation: float({})", other.type_name())),
        },
    }
}

fn to_int(value: &Value) -> Made {
    match value {
        Value::Int(n) => Ok(Value::Int(*n)),
        Value::Float(n) => Ok(Value::Int(truncated(*n))),
        Value::Text(text) => text
            .parse()
            .map(Value::Int)
            .map_err(|_| format!("invalid operation: int({text})")),
        other => Err(format!("invalid operation: int({})", other.type_name())),
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Float(_) => "float",
        Value::Text(_) => "string",
        Value::Array(_) => "array",
        Value::Map(_) | Value::Env => "map",
        Value::Time(..) => "time.Time",
        Value::Duration(_) => "time.Duration",
        Value::Zone(_) => "time.Location",
    }
}

/// The largest or smallest of numbers and arrays of such.
fn extreme(name: &str, args: &[Value], budget: &mut Budget) -> Made {
    let better = |old: &Value, new: &Value| {
        let order = if name == "max" {
            less(old, new)
        } else {
            less(new, old)
        };
        order.unwrap_or(false)
    };
    let mut best: Option<Value> = None;
    let mut offer = |value: Value| {
        if best.as_ref().is_none_or(|old| better(old, &value)) {
            best = Some(value);
        }
    };
    for value in args {
        budget.spend(1)?;
        match value {
            Value::Array(list) => {
                for item in &list.items {
                    let inner = extreme(name, std::slice::from_ref(item), budget)?;
                    if inner.number().is_none() {
                        let kind = inner.type_name();
                        return Err(format!("invalid argument for {name} (type {kind})"));
                    }
                    offer(inner);
                }
            }
            value if value.number().is_some() => offer(value.clone()),
            other if args.len() == 1 => return Ok(other.clone()),
            other => {
                let kind = other.type_name();
                return Err(format!("invalid argument for {name} (type {kind})"));
            }
        }
    }
    Ok(best.unwrap_or(Value::Nil))
}

fn numbers_in(
    name: &str,
    args: &[Value],
    into: &mut Vec<f64>,
    budget: &mut Budget,
) -> Result<(), String> {
    for value in args {
        budget.spend(1)?;
        match (value, value.number()) {
            (Value::Array(list), _) => numbers_in(name, &list.items, into, budget)?,
            (_, Some(n)) => into.push(n),
            (other, None) => {
                let kind = other.type_name();
                return Err(format!("invalid argument for {name} (type {kind})"));
            }
        }
    }
    Ok(())
}

fn mean(numbers: &[f64]) -> Value {
    if numbers.is_empty() {
        return Value::Int(0);
    }
    Value::Float(numbers.iter().sum::<f64>() / numbers.len() as f64)
}

fn median(mut numbers: Vec<f64>) -> Value {
    numbers.sort_by(|a, b| a.total_cmp(b));
    let middle = numbers.len() / 2;
    match numbers.get(middle) {
        None => Value::Int(0),
        Some(upper) if numbers.len() % 2 == 1 => Value::Float(*upper),
        Some(upper) => Value::Float((numbers[middle - 1] + upper) / 2.0),
    }
}

fn bits(name: &str, args: &[Value]) -> Made {
    let int = |n: usize| match args.get(n) {
        Some(Value::Int(n)) => Ok(*n),
        other => {
            let kind = other.map_or("<nil>", Value::type_name);
            Err(format!("cannot use {kind} as int to call {name}"))
        }
    };
    let a = int(0)?;
    if name == "bitnot" {
        return Ok(Value::Int(!a));
    }
    let b = int(1)?;
    let shift = || {
        u32::try_from(b.clamp(-1, 64))
            .map_err(|_| format!("invalid operation: negative shift count {b} (type int)"))
    };
    Ok(Value::Int(match name {
        "bitand" => a & b,
        "bitor" => a | b,
        "bitxor" => a ^ b,
        "bitnand" => a & !b,
        "bitshl" => a.checked_shl(shift()?).unwrap_or(0),
        "bitshr" => a >> shift()?.min(63),
        _ => (a as u64).checked_shr(shift()?).unwrap_or(0) as i64,
    }))
}

fn list(value: &Value, complaint: impl Fn(&str) -> String) -> Result<&Rc<List>, String> {
    match value {
        Value::Array(list) => Ok(list),
        other => Err(complaint(other.type_name())),
    }
}

fn collection(name: &str, args: &[Value], budget: &mut Budget) -> Made {
    let first = args.first().unwrap_or(&Value::Nil);
    let second = args.get(1).unwrap_or(&Value::Nil);
    let complaint = |kind: &str| format!("cannot {name} {kind}");
    match name {
        // What is not there is nil.
        "first" => Ok(fetch(first, &Value::Int(0), budget).unwrap_or(Value::Nil)),
        "last" => Ok(fetch(first, &Value::Int(-1), budget).unwrap_or(Value::Nil)),
        "get" => Ok(fetch(first, second, budget).unwrap_or(Value::Nil)),
        "take" => {
            let count = second.index()?;
            if count < 0 {
                return Err(format!("cannot take {count} elements"));
            }
            list(first, |kind| format!("cannot take from {kind}"))?;
            slice(first, None, Some(count), budget)
        }
        "keys" | "values" | "toPairs" => {
            let Value::Map(table) = first else {
                return Err(format!("cannot get {name} from {}", first.type_name()));
            };
            let mut items = Vec::new();
            for (key, value) in &table.entries {
                let key = of_key(key);
                items.push(match name {
                    "keys" => key,
                    "values" => value.clone(),
                    _ => budget.array(vec![key, value.clone()])?,
                });
            }
            budget.array(items)
        }
        "fromPairs" => {
            let pairs = list(first, |kind| format!("cannot transform {kind} from pairs"))?;
            let mut entries = BTreeMap::new();
            for pair in &pairs.items {
                match pair {
                    Value::Array(pair) if pair.items.len() == 2 => {
                        let key = pair.items[0].key();
                        let key = key.ok_or_else(|| "invalid pair key".to_owned())?;
                        budget.spend(key.weight())?;
                        entries.insert(key, pair.items[1].clone());
                    }
                    other => return Err(format!("invalid pair {}", show(other, budget)?)),
                }
            }
            budget.map(entries, false)
        }
        "reverse" => {
            let items = list(first, complaint)?.items.iter().rev().cloned();
            budget.array(items.collect())
        }
        "uniq" => {
            let mut kept: Vec<Value> = Vec::new();
            'items: for item in &list(first, complaint)?.items {
                for known in &kept {
                    if equal(known, item, budget)? {
                        continue 'items;
                    }
                }
                kept.push(item.clone());
            }
            budget.array(kept)
        }
        "concat" => {
            let mut items = Vec::new();
            for part in args {
                let part = &list(part, complaint)?.items;
                budget.spend(part.len())?;
                items.extend(part.iter().cloned());
            }
            budget.array(items)
        }
        "flatten" => {
            let mut items = Vec::new();
            flatten(list(first, complaint)?, &mut items, budget)?;
            budget.array(items)
        }
        _ => sort(first, second, budget),
    }
}

fn of_key(key: &Key) -> Value {
    match key {
        Key::Nil => Value::Nil,
        Key::Bool(b) => Value::Bool(*b),
        Key::Int(n) => Value::Int(*n),
        Key::Float(bits) => Value::Float(f64::from_bits(*bits)),
        Key::Text(text) => Value::Text(Rc::clone(text)),
    }
}

fn flatten(from: &List, into: &mut Vec<Value>, budget: &mut Budget) -> Result<(), String> {
    for item in &from.items {
        budget.spend(1)?;
        match item {
            Value::Array(inner) => flatten(inner, into, budget)?,
            other => into.push(other.clone()),
        }
    }
    Ok(())
}

/// Whether a sort goes down.
pub(super) fn descends(order: &Value) -> Result<bool, String> {
    match order {
        Value::Nil => Ok(false),
        Value::Text(text) if &**text == "asc" => Ok(false),
        Value::Text(text) if &**text == "desc" => Ok(true),
        Value::Text(text) => Err(format!("invalid order {text}, expected asc or desc")),
        other => Err(other.not_a("string")),
    }
}

/// Sorts values by keys, stably.
pub(super) fn sorted(mut pairs: Vec<(Value, Value)>, down: bool, budget: &mut Budget) -> Made {
    // How often each key is compared.
    let rounds = pairs.len().max(1).ilog2() as usize;
    for (key, _) in &pairs {
        budget.spend(rounds.saturating_mul(key.weight()))?;
    }
    let comparable = pairs
        .windows(2)
        .find(|pair| less(&pair[0].0, &pair[1].0).is_none());
    if let Some(pair) = comparable {
        return Err(format!(
            "invalid operation: {} < {}",
            pair[0].0.type_name(),
            pair[1].0.type_name()
        ));
    }
    // NaN has no order, so the comparison is made total by its bits.
    let number = |value: &Value| value.number();
    pairs.sort_by(|(a, _), (b, _)| {
        let (a, b) = if down { (b, a) } else { (a, b) };
        match (number(a), number(b)) {
            (Some(a), Some(b)) if a.is_nan() || b.is_nan() => a.total_cmp(&b),
            _ if less(a, b) == Some(true) => std::cmp::Ordering::Less,
            _ if less(b, a) == Some(true) => std::cmp::Ordering::Greater,
            _ => std::cmp::Ordering::Equal,
        }
    });
    budget.array(pairs.into_iter().map(|(_, value)| value).collect())
}

fn sort(of: &Value, order: &Value, budget: &mut Budget) -> Made {
    let items = &list(of, |kind| format!("cannot sort {kind}"))?.items;
    let down = descends(order)?;
    let pairs = items.iter().map(|item| (item.clone(), item.clone()));
    sorted(pairs.collect(), down, budget)
}

fn text_function(name: &str, args: &[Value], budget: &mut Budget) -> Made {
    let arg = |n: usize| args.get(n).unwrap_or(&Value::Nil);
    if name == "join" {
        let parts = list(arg(0), |kind| format!("cannot join {kind}"))?;
        let mut texts = Vec::new();
        for part in &parts.items {
            budget.spend(1)?;
            texts.push(part.text()?);
        }
        let glue = if args.len() > 1 { arg(1).text()? } else { "" };
        budget.spend(glue.len().saturating_mul(texts.len()) / 16)?;
        let length = texts
            .iter()
            .map(|text| text.len() + glue.len())
            .sum::<usize>();
        budget.spend(length / 16)?;
        return budget.text(texts.join(glue));
    }
    let text = arg(0).text()?;
    let other = || arg(1).text();
    let byte = |at: Option<usize>| Ok(Value::Int(at.map_or(-1, |at| at as i64)));
    match name {
        "upper" => budget.text(text.to_uppercase()),
        "lower" => budget.text(text.to_lowercase()),
        "trim" if args.len() == 1 => budget.text(text.trim().to_owned()),
        "trim" => {
            let cut = other()?;
            budget.spend(text.len().saturating_mul(cut.len()) / 16)?;
            budget.text(text.trim_matches(|c| cut.contains(c)).to_owned())
        }
        "trimPrefix" => {
            let cut = if args.len() > 1 { other()? } else { " " };
            budget.text(text.strip_prefix(cut).unwrap_or(text).to_owned())
        }
        "trimSuffix" => {
            let cut = if args.len() > 1 { other()? } else { " " };
            budget.text(text.strip_suffix(cut).unwrap_or(text).to_owned())
        }
        "hasPrefix" => Ok(Value::Bool(text.starts_with(other()?))),
        "hasSuffix" => Ok(Value::Bool(text.ends_with(other()?))),
        "indexOf" => byte(text.find(other()?)),
        "lastIndexOf" => byte(text.rfind(other()?)),
        "repeat" => {
            let times = arg(1).index()?;
            let Ok(times) = usize::try_from(times) else {
                return Err(format!(
                    "invalid argument for repeat (expected positive integer, got {times})"
                ));
            };
            let length = text.len().saturating_mul(times);
            if times > 1_000_000 || length > 1_000_000 {
                return Err("memory budget exceeded".to_owned());
            }
            budget.text(text.repeat(times))
        }
        "replace" => {
            let (old, new) = (other()?, arg(2).text()?);
            let limit = if args.len() > 3 { arg(3).index()? } else { -1 };
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let most = text
                .len()
                .saturating_add(1)
                .min(limit)
                .saturating_mul(new.len());
            budget.spend(most / 16)?;
            if most > 16_000_000 {
                return Err("memory budget exceeded".to_owned());
            }
            budget.text(text.replacen(old, new, limit))
        }
        _ => {
            let separator = other()?;
            let limit = if args.len() > 2 { arg(2).index()? } else { -1 };
            let limit = match limit {
                0 => return budget.array(Vec::new()),
                n => usize::try_from(n).unwrap_or(usize::MAX),
            };
            let after = if name == "splitAfter" {
                separator.len()
            } else {
                0
            };
            let mut parts = Vec::new();
            let mut rest = text;
            while parts.len() + 1 < limit {
                // Without a separator a text falls into its characters.
                let first = || rest.chars().next().map(char::len_utf8);
                let cut = match separator {
                    "" => first().filter(|at| *at < rest.len()),
                    separator => rest.find(separator),
                };
                let Some(at) = cut else { break };
                parts.push(&rest[..at + after]);
                rest = &rest[at + separator.len()..];
            }
            if !(text.is_empty() && separator.is_empty()) {
                parts.push(rest);
            }
            let mut items = Vec::new();
            for part in parts {
                budget.spend(1)?;
                items.push(budget.text(part.to_owned())?);
            }
            budget.array(items)
        }
    }
}

fn date(args: &[Value]) -> Made {
    let text = args.first().unwrap_or(&Value::Nil).text()?;
    let zone = match args.get(2) {
        Some(name) => cron::zone(name.text()?).map_err(|error| error.to_string())?,
        None => TimeZone::UTC,
    };
    let bad = || format!("invalid date {text}");
    if args.len() > 1 {
        // Layouts are Go's own notation, which nothing else reads.
        return Err(format!("{}: layouts are not supported", bad()));
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(Value::Time(at, zone));
    }
    let civil = text.replace(' ', "T");
    let civil: jiff::civil::DateTime = civil.parse().map_err(|_| bad())?;
    let at = zone.to_timestamp(civil).map_err(|_| bad())?;
    Ok(Value::Time(at, zone))
}

fn from_json(value: &serde_json::Value, budget: &mut Budget) -> Made {
    match value {
        serde_json::Value::Null => Ok(Value::Nil),
        serde_json::Value::Bool(b) => Ok(Value::Bool(*b)),
        serde_json::Value::Number(n) => Ok(Value::Float(n.as_f64().unwrap_or_default())),
        serde_json::Value::String(text) => budget.text(text.clone()),
        serde_json::Value::Array(items) => {
            let mut made = Vec::new();
            for item in items {
                made.push(from_json(item, budget)?);
            }
            budget.array(made)
        }
        serde_json::Value::Object(map) => {
            let mut made = BTreeMap::new();
            for (key, item) in map {
                made.insert(Key::Text(key.as_str().into()), from_json(item, budget)?);
            }
            budget.map(made, true)
        }
    }
}
