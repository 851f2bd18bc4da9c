//! Request parameters: form decoding, times, durations, limits.

use super::{ApiError, invalid};
use crate::number::parse_float;
use crate::parser::parse_duration;

pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Parameters of the form body come before those of the URL.
    pub(super) fn read(query: &str, body: &[u8]) -> Self {
        let mut out = Vec::new();
        for part in [body, query.as_bytes()] {
            for pair in part.split(|b| *b == b'&').filter(|p| !p.is_empty()) {
                let cut = pair.iter().position(|b| *b == b'=');
                let (name, value) = match cut {
                    Some(i) => (&pair[..i], &pair[i + 1..]),
                    None => (pair, &b""[..]),
                };
                out.push((decode(name, true), decode(value, true)));
            }
        }
        Self(out)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    fn set(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|v| !v.is_empty())
    }

    pub(super) fn time(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.set(name).map(|_| self.require_time(name)).transpose()
    }

    pub(super) fn require_time(&self, name: &str) -> Result<i64, ApiError> {
        let text = self.get(name).unwrap_or("");
        parse_time(text)
            .ok_or_else(|| invalid(name, format!("cannot parse {text:?} to a valid timestamp")))
    }

    pub(super) fn duration_ms(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.set(name) else {
            return Ok(None);
        };
        let seconds = parse_float(text).or_else(|| parse_duration(text));
        match seconds.map(|s| s * 1e3) {
            Some(ms) if ms.is_finite() && ms.abs() < 9e15 => Ok(Some(ms.round() as i64)),
            _ => Err(invalid(
                name,
                format!("cannot parse {text:?} to a valid duration"),
            )),
        }
    }

    pub(super) fn limit(&self, name: &str) -> Result<usize, ApiError> {
        match self.set(name) {
            None => Ok(0),
            Some(text) => text
                .parse()
                .map_err(|_| invalid(name, "limit must be a non-negative number")),
        }
    }
}

/// Milliseconds of seconds since the epoch or of an RFC 3339 time.
pub(super) fn parse_time(text: &str) -> Option<i64> {
    if let Some(s) = parse_float(text) {
        let ms = (s * 1e3).round();
        return (ms.is_finite() && ms.abs() < 9e15).then_some(ms as i64);
    }
    text.parse::<jiff::Timestamp>()
        .ok()
        .map(|t| t.as_millisecond())
}

/// Percent-decoding; in forms a plus is a space.
pub(super) fn decode(text: &[u8], form: bool) -> String {
    let plain: Vec<u8> = text
        .iter()
        .map(|b| if form && *b == b'+' { b' ' } else { *b })
        .collect();
    percent_encoding::percent_decode(&plain)
        .decode_utf8_lossy()
        .into_owned()
}

/// Label names outside the classic alphabet travel as `U__` with `_HEX_` escapes.
pub(super) fn unescape_label(name: &str) -> String {
    let Some(escaped) = name.strip_prefix("U__") else {
        return name.to_owned();
    };
    let mut out = String::new();
    let mut rest = escaped;
    while let Some(i) = rest.find('_') {
        out.push_str(&rest[..i]);
        rest = &rest[i + 1..];
        if let Some(r) = rest.strip_prefix('_') {
            out.push('_');
            rest = r;
            continue;
        }
        let decoded = rest.split_once('_').and_then(|(hex, after)| {
            Some((
                u32::from_str_radix(hex, 16).ok().and_then(char::from_u32)?,
                after,
            ))
        });
        let Some((c, after)) = decoded else {
            return name.to_owned();
        };
        out.push(c);
        rest = after;
    }
    out + rest
}
