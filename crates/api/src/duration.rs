//! Go durations (`1m30s`), as Kubernetes and KEDA read and write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A signed span in nanoseconds. Reads and prints as Go's `time.Duration`, and
/// in JSON as Kubernetes' `metav1.Duration` (a string).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(pub i64);

/// Why a text is no duration, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not a number at all, or out of range.
    #[error("time: invalid duration {}", quote(.0))]
    Invalid(String),
    /// A number without a unit.
    #[error("time: missing unit in duration {}", quote(.0))]
    MissingUnit(String),
    /// A unit that is not ns, us, ms, s, m or h.
    #[error("time: unknown unit {} in duration {}", quote(.unit), quote(.text))]
    UnknownUnit {
        /// The unit found.
        unit: String,
        /// The whole text.
        text: String,
    },
}

/// A span of time as our own options take it: a Go duration such as `90s` or
/// `5m`, or a plain number of seconds; not negative, below ten years.
pub fn span(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let wrong = || format!("\"{text}\" is no duration; write 90s, 5m or a number of seconds");
    if let Ok(seconds) = text.parse::<f64>() {
        let fits = (0.0..=3e8).contains(&seconds);
        return fits
            .then(|| Duration::from_secs_f64(seconds))
            .ok_or_else(wrong);
    }
    match GoDuration::parse(text) {
        Ok(parsed) if parsed.0 >= 0 => Ok(parsed.to_std()),
        _ => Err(wrong()),
    }
}

/// Quotes with everything outside printable ASCII as `\xNN` per byte.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            b' '..=0x7f => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}

fn unit_of(text: &str) -> Option<u64> {
    Some(match text {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// One more than the largest positive span, in nanoseconds.
const LIMIT: u64 = 1 << 63;

impl GoDuration {
    /// A whole number of seconds.
    pub const fn from_secs(seconds: i64) -> GoDuration {
        GoDuration(seconds.saturating_mul(1_000_000_000))
    }

    /// As a standard duration; negative spans become zero.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }

    /// As seconds.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// Reads `[-+]` and then pairs of a decimal number and a unit.
    pub fn parse(text: &str) -> Result<GoDuration, DurationError> {
        let invalid = || DurationError::Invalid(text.to_owned());
        let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
        if rest == "0" {
            return Ok(GoDuration(0));
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let number = Number::read(&mut rest).ok_or_else(invalid)?;
            let end = rest
                .find(|c: char| c == '.' || c.is_ascii_digit())
                .unwrap_or(rest.len());
            if end == 0 {
                return Err(DurationError::MissingUnit(text.to_owned()));
            }
            let unit = unit_of(&rest[..end]).ok_or_else(|| DurationError::UnknownUnit {
                unit: rest[..end].to_owned(),
                text: text.to_owned(),
            })?;
            rest = &rest[end..];
            let mut nanos = number.whole.checked_mul(unit).ok_or_else(invalid)?;
            if number.fraction > 0 {
                let part = number.fraction as f64 * (unit as f64 / number.scale);
                nanos = nanos.checked_add(part as u64).ok_or_else(invalid)?;
            }
            total = total
                .checked_add(nanos)
                .filter(|t| *t <= LIMIT)
                .ok_or_else(invalid)?;
        }
        if text.starts_with('-') {
            return Ok(GoDuration((total as i64).wrapping_neg()));
        }
        i64::try_from(total).map(GoDuration).map_err(|_| invalid())
    }
}

struct Number {
    whole: u64,
    fraction: u64,
    scale: f64,
}

impl Number {
    /// Digits with an optional fraction; too many fraction digits are dropped,
    /// too large a whole part is refused.
    fn read(rest: &mut &str) -> Option<Number> {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let whole_len = digits(rest);
        let whole: u64 = match whole_len {
            0 => 0,
            _ => rest[..whole_len].parse().ok().filter(|w| *w <= LIMIT)?,
        };
        *rest = &rest[whole_len..];
        let (mut fraction, mut scale, mut fraction_len) = (0u64, 1f64, 0);
        if let Some(after) = rest.strip_prefix('.') {
            fraction_len = digits(after);
            for byte in after[..fraction_len].bytes() {
                if fraction > (LIMIT - 1) / 10 {
                    break;
                }
                fraction = fraction * 10 + u64::from(byte - b'0');
                scale *= 10.0;
            }
            *rest = &after[fraction_len..];
        }
        (whole_len + fraction_len > 0).then_some(Number {
            whole,
            fraction,
            scale,
        })
    }
}

fn trimmed(value: u64, digits: u32) -> String {
    let unit = 10u64.pow(digits);
    let (whole, fraction) = (value / unit, value % unit);
    if fraction == 0 {
        return whole.to_string();
    }
    let text = format!("{whole}.{fraction:0width$}", width = digits as usize);
    text.trim_end_matches('0').to_owned()
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        match nanos {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{nanos}ns"),
            1_000..1_000_000 => write!(f, "{}µs", trimmed(nanos, 3)),
            1_000_000..1_000_000_000 => write!(f, "{}ms", trimmed(nanos, 6)),
            _ => {
                let minutes = nanos / 60_000_000_000;
                if minutes >= 60 {
                    write!(f, "{}h", minutes / 60)?;
                }
                if minutes > 0 {
                    write!(f, "{}m", minutes % 60)?;
                }
                write!(f, "{}s", trimmed(nanos % 60_000_000_000, 9))
            }
        }
    }
}

impl FromStr for GoDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        GoDuration::parse(text)
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        GoDuration::parse(&text).map_err(de::Error::custom)
    }
}
