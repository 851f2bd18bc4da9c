//! The text of a schedule. The error texts are those that users see in KEDA.

use api::go::quote;

use super::{STAR, Schedule, zone};

/// An expression that is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(pub String);

struct Bounds {
    min: u64,
    max: u64,
    /// Names for the values from `min` on.
    names: &'static [&'static str],
}

const MINUTES: Bounds = Bounds {
    min: 0,
    max: 59,
    names: &[],
};
const HOURS: Bounds = Bounds {
    min: 0,
    max: 23,
    names: &[],
};
const DAYS: Bounds = Bounds {
    min: 1,
    max: 31,
    names: &[],
};
const MONTHS: Bounds = Bounds {
    min: 1,
    max: 12,
    names: &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
};
const WEEKDAYS: Bounds = Bounds {
    min: 0,
    max: 6,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

pub(super) fn schedule(text: &str) -> Result<Schedule, ParseError> {
    if text.is_empty() {
        return Err(ParseError("empty spec string".to_owned()));
    }
    let mut rest = text;
    let mut given = None;
    if text.starts_with("TZ=") || text.starts_with("CRON_TZ=") {
        let (head, tail) = text
            .split_once(' ')
            .ok_or_else(|| ParseError(format!("no schedule after the time zone in {text}")))?;
        let name = head.split_once('=').map_or("", |(_, name)| name);
        let found = zone(name)
            .map_err(|error| ParseError(format!("provided bad location {name}: {error}")))?;
        given = Some(found);
        rest = tail.trim();
    }
    if rest.starts_with('@') {
        return Err(ParseError(format!(
            "parser does not accept descriptors: {rest}"
        )));
    }
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let &[minute, hour, day, month, weekday] = fields.as_slice() else {
        return Err(ParseError(format!(
            "expected exactly 5 fields, found {}: [{}]",
            fields.len(),
            fields.join(" ")
        )));
    };
    Ok(Schedule {
        minute: field(minute, &MINUTES)?,
        hour: field(hour, &HOURS)?,
        day: field(day, &DAYS)?,
        month: field(month, &MONTHS)?,
        weekday: field(weekday, &WEEKDAYS)?,
        zone: given,
    })
}

/// One field as a set of bits; a field of commas alone is the empty set.
fn field(text: &str, bounds: &Bounds) -> Result<u64, ParseError> {
    let mut bits = 0;
    for part in text.split(',').filter(|part| !part.is_empty()) {
        bits |= range(part, bounds)?;
    }
    Ok(bits)
}

fn range(text: &str, bounds: &Bounds) -> Result<u64, ParseError> {
    let fail = |what: String| Err(ParseError(format!("{what}: {text}")));
    let mut halves = text.split('/');
    let ends: Vec<&str> = halves.next().unwrap_or_default().split('-').collect();
    let (start, mut end, mut star) = match ends.as_slice() {
        ["*" | "?", ..] => (bounds.min, bounds.max, true),
        [one] => {
            let value = value(one, bounds)?;
            (value, value, false)
        }
        [low, high] => (value(low, bounds)?, value(high, bounds)?, false),
        [low, ..] => {
            value(low, bounds)?;
            return fail("too many hyphens".to_owned());
        }
        [] => return fail("empty range".to_owned()),
    };
    let step = match (halves.next(), halves.next()) {
        (None, _) => 1,
        (Some(step), None) => {
            let step = number(step)?;
            if ends.len() == 1 {
                end = bounds.max;
            }
            star = star && step <= 1;
            step
        }
        (Some(_), Some(_)) => return fail("too many slashes".to_owned()),
    };
    if start < bounds.min {
        return fail(format!(
            "beginning of range ({start}) below minimum ({})",
            bounds.min
        ));
    }
    if end > bounds.max {
        return fail(format!(
            "end of range ({end}) above maximum ({})",
            bounds.max
        ));
    }
    if start > end {
        return fail(format!(
            "beginning of range ({start}) beyond end of range ({end})"
        ));
    }
    if step == 0 {
        return fail("step of range should be a positive number".to_owned());
    }
    let mut bits = if star { STAR } else { 0 };
    let mut at = start;
    while at <= end {
        bits |= 1 << at;
        at = at.saturating_add(step);
    }
    Ok(bits)
}

fn value(text: &str, bounds: &Bounds) -> Result<u64, ParseError> {
    let lower = text.to_lowercase();
    match bounds.names.iter().position(|name| *name == lower) {
        Some(at) => Ok(bounds.min + at as u64),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u64, ParseError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let parsed = if plain {
        text.parse::<i64>().map_err(|_| "value out of range")
    } else {
        Err("invalid syntax")
    };
    match parsed.map(|number| (number, u64::try_from(number))) {
        Ok((_, Ok(number))) => Ok(number),
        Ok((number, Err(_))) => Err(ParseError(format!(
            "negative number ({number}) not allowed: {text}"
        ))),
        Err(cause) => Err(ParseError(format!(
            "failed to parse int from {text}: strconv.Atoi: parsing {}: {cause}",
            quote(text)
        ))),
    }
}
