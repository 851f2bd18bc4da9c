//! Series descriptions of test files: labels and value sequences.

use crate::labels::{Labels, MatchOp};
use crate::number::{HISTOGRAM_BITS, parse_float, stale_nan};
use crate::parser::{parse_duration, parse_selector};

/// One place of a value sequence; `None` where there is no sample.
pub(super) type Values = Vec<Option<f64>>;

const LONGEST: usize = 1_000_000;

/// Splits `SERIES VALUES` after the label set or name.
pub(super) fn split(line: &str) -> Result<(&str, &str), String> {
    let bytes = line.as_bytes();
    let mut i = 0;
    let mut quote = None;
    let mut depth = 0;
    while i < bytes.len() {
        match (quote, bytes[i]) {
            (Some(b'`'), b'`') => quote = None,
            (Some(b'`'), _) => {}
            (Some(_), b'\\') => i += 1,
            (Some(q), c) if q == c => quote = None,
            (Some(_), _) => {}
            (None, c @ (b'"' | b'\'' | b'`')) => quote = Some(c),
            (None, b'{') => depth += 1,
            (None, b'}') => depth -= 1,
            (None, b' ' | b'\t') if depth == 0 => {
                // A label set may stand apart from its name.
                let rest = line[i..].trim_start();
                if !rest.starts_with('{') || rest.starts_with("{{") || line[..i].contains('{') {
                    return Ok((&line[..i], rest));
                }
            }
            _ => {}
        }
        i += 1;
    }
    Ok((line, ""))
}

pub(super) fn labels(text: &str) -> Result<Labels, String> {
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    if compact == "{}" {
        return Ok(Labels::empty());
    }
    // Label sets that no selector may consist of, such as {a=""}, get a stand-in name.
    let matchers = parse_selector(text)
        .or_else(|_| parse_selector(&format!("stand_in{text}")))
        .map_err(|e| e.render(text))?;
    if let Some(m) = matchers.iter().find(|m| m.op != MatchOp::Equal) {
        return Err(format!("{m} in a series description"));
    }
    let kept = matchers.iter().filter(|m| m.value != "stand_in");
    Ok(Labels::from_pairs(kept.map(|m| (&m.name, &m.value))))
}

/// Words of a value sequence; a histogram is one word whatever spaces it holds.
fn words(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut depth = 0usize;
    let mut open = false;
    for c in text.chars() {
        if depth == 0 && c.is_whitespace() {
            open = false;
            continue;
        }
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if !open {
            out.push(String::new());
            open = true;
        }
        if let Some(w) = out.last_mut() {
            w.push(c);
        }
    }
    out
}

/// A value sequence; `number` reads its elements.
fn sequence(text: &str, number: impl Fn(&str) -> Option<f64>) -> Result<Values, String> {
    let mut out = Values::new();
    for w in words(text) {
        let bad = || format!("{w:?} is not a value");
        let (body, times) = match w.rfind(['x', '}']) {
            Some(i) if w[i..].starts_with('x') => (
                &w[..i],
                Some(w[i + 1..].parse::<usize>().map_err(|_| bad())?),
            ),
            _ => (w.as_str(), None),
        };
        let n = times.unwrap_or(0);
        if out.len() + n > LONGEST {
            return Err(format!("{w:?} has too many values"));
        }
        if body == "_" {
            out.extend(std::iter::repeat_n(None, n.max(1)));
        } else if body == "stale" {
            out.extend(std::iter::repeat_n(Some(stale_nan()), n + 1));
        } else if body.contains("{{") {
            out.extend(std::iter::repeat_n(
                Some(f64::from_bits(HISTOGRAM_BITS)),
                n + 1,
            ));
        } else {
            let bytes = body.as_bytes();
            let sign = (1..bytes.len())
                .find(|&i| matches!(bytes[i], b'+' | b'-') && !matches!(bytes[i - 1], b'e' | b'E'));
            let (first, step) = match sign {
                Some(i) if times.is_some() => (&body[..i], &body[i..]),
                _ => (body, "0"),
            };
            let mut v = number(first).ok_or_else(bad)?;
            let step = number(step).ok_or_else(bad)?;
            for _ in 0..=n {
                out.push(Some(v));
                v += step;
            }
        }
    }
    Ok(out)
}

pub(super) fn values(text: &str) -> Result<Values, String> {
    sequence(text, parse_float)
}

/// Offsets of start timestamps in milliseconds.
pub(super) fn offsets(text: &str) -> Result<Values, String> {
    sequence(text, |w| {
        let (negative, body) = match w.as_bytes().first() {
            Some(b'-') => (true, &w[1..]),
            Some(b'+') => (false, &w[1..]),
            _ => (false, w),
        };
        let s = parse_duration(body).or_else(|| parse_float(body))? * 1e3;
        Some(if negative { -s } else { s })
    })
}
