//! Values as text: Go's `%v`, and its indented JSON.
//!
//! A small value can print a large text many times over, so each piece is paid
//! for before it is added, and nothing longer than a text may be is built.

use api::go::float::general;

use super::value::{Budget, Key, MAX_TEXT, NO_MEMORY, Value};

/// Go's `%v`.
pub(super) fn show(value: &Value, budget: &mut Budget) -> Result<String, String> {
    let mut out = String::new();
    text_of(value, &mut out, budget)?;
    Ok(out)
}

fn add(text: &str, out: &mut String, budget: &mut Budget) -> Result<(), String> {
    budget.spend(text.len() / 16)?;
    if out.len() + text.len() > MAX_TEXT {
        return Err(NO_MEMORY.to_owned());
    }
    out.push_str(text);
    Ok(())
}

fn text_of(value: &Value, out: &mut String, budget: &mut Budget) -> Result<(), String> {
    budget.spend(1)?;
    let text = match value {
        Value::Text(text) => return add(text, out, budget),
        Value::Array(list) => {
            add("[", out, budget)?;
            for (n, item) in list.items.iter().enumerate() {
                if n > 0 {
                    add(" ", out, budget)?;
                }
                text_of(item, out, budget)?;
            }
            return add("]", out, budget);
        }
        Value::Map(table) => {
            add("map[", out, budget)?;
            for (n, (key, item)) in table.entries.iter().enumerate() {
                if n > 0 {
                    add(" ", out, budget)?;
                }
                key_of(key, out, budget)?;
                add(":", out, budget)?;
                text_of(item, out, budget)?;
            }
            return add("]", out, budget);
        }
        Value::Nil => "<nil>".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Float(n) => general(*n),
        Value::Env => "map[]".to_owned(),
        Value::Time(at, _) => at.to_string(),
        Value::Duration(nanos) => api::duration::GoDuration(*nanos).to_string(),
        Value::Zone(zone) => zone.iana_name().unwrap_or("UTC").to_owned(),
    };
    add(&text, out, budget)
}

fn key_of(key: &Key, out: &mut String, budget: &mut Budget) -> Result<(), String> {
    match key {
        Key::Nil => add("<nil>", out, budget),
        Key::Bool(b) => add(&b.to_string(), out, budget),
        Key::Int(n) => add(&n.to_string(), out, budget),
        Key::Float(bits) => add(&general(f64::from_bits(*bits)), out, budget),
        Key::Text(text) => add(text, out, budget),
    }
}

/// Go's indented JSON.
pub(super) fn json(value: &Value, budget: &mut Budget) -> Result<String, String> {
    let mut out = String::new();
    write(value, 0, &mut out, budget)?;
    Ok(out)
}

fn line(level: usize, out: &mut String, budget: &mut Budget) -> Result<(), String> {
    add("\n", out, budget)?;
    (0..level).try_for_each(|_| add("  ", out, budget))
}

/// A text in quotes. Escapes make it six times as long at most.
fn quoted(text: &str, out: &mut String, budget: &mut Budget) -> Result<(), String> {
    budget.spend(text.len() / 16)?;
    add(&serde_json::Value::from(text).to_string(), out, budget)
}

fn write(value: &Value, level: usize, out: &mut String, budget: &mut Budget) -> Result<(), String> {
    budget.spend(1 + level)?;
    match value {
        Value::Nil => add("null", out, budget),
        Value::Float(n) if !n.is_finite() => {
            Err(format!("json: unsupported value: {}", general(*n)))
        }
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => text_of(value, out, budget),
        Value::Duration(nanos) => add(&nanos.to_string(), out, budget),
        Value::Array(list) => {
            add("[", out, budget)?;
            for (n, item) in list.items.iter().enumerate() {
                if n > 0 {
                    add(",", out, budget)?;
                }
                line(level + 1, out, budget)?;
                write(item, level + 1, out, budget)?;
            }
            if !list.items.is_empty() {
                line(level, out, budget)?;
            }
            add("]", out, budget)
        }
        Value::Map(table) => {
            add("{", out, budget)?;
            for (n, (key, item)) in table.entries.iter().enumerate() {
                if n > 0 {
                    add(",", out, budget)?;
                }
                line(level + 1, out, budget)?;
                let mut name = String::new();
                key_of(key, &mut name, budget)?;
                quoted(&name, out, budget)?;
                add(": ", out, budget)?;
                write(item, level + 1, out, budget)?;
            }
            if !table.entries.is_empty() {
                line(level, out, budget)?;
            }
            add("}", out, budget)
        }
        Value::Text(text) => quoted(text, out, budget),
        other => quoted(&show(other, budget)?, out, budget),
    }
}
