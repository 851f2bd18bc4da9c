//! Reads typed parameters from a trigger's metadata, environment and
//! credentials, with KEDA's wording for what is missing or malformed.

use std::time::Duration;

use api::duration::GoDuration;

use crate::Input;
use crate::go;

/// Where a parameter may come from, in order.
#[derive(Clone, Copy)]
pub(crate) enum From {
    Metadata,
    Auth,
}

impl From {
    fn name(self) -> &'static str {
        match self {
            Self::Metadata => "triggerMetadata",
            Self::Auth => "authParams",
        }
    }
}

/// Collects parameters and every error on the way; KEDA reports them together.
pub(crate) struct Reader<'a> {
    input: &'a Input,
    errors: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(input: &'a Input) -> Self {
        Self {
            input,
            errors: Vec::new(),
        }
    }

    pub(crate) fn fail(&mut self, error: String) {
        self.errors.push(error);
    }

    /// The joined errors so far, which are forgotten.
    pub(crate) fn take(&mut self) -> Result<(), String> {
        let errors = std::mem::take(&mut self.errors);
        Self {
            input: self.input,
            errors,
        }
        .finish()
    }

    /// The joined errors, if there were any.
    pub(crate) fn finish(self) -> Result<(), String> {
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(self.errors.join("\n"))
        }
    }

    /// The first of `names` that has a value in the first source that has one.
    /// Blank counts as absent.
    pub(crate) fn text(&self, names: &[&str], sources: &[From]) -> Option<&'a str> {
        for source in sources {
            let map = match source {
                From::Metadata => &self.input.metadata,
                From::Auth => &self.input.auth_params,
            };
            for name in names {
                if let Some(value) = map.get(*name) {
                    let value = value.trim();
                    if !value.is_empty() {
                        return Some(value);
                    }
                }
            }
        }
        None
    }

    pub(crate) fn required(&mut self, name: &str) -> Option<&'a str> {
        let sources = [From::Metadata];
        let value = self.text(&[name], &sources);
        if value.is_none() {
            let list: Vec<_> = sources.iter().map(|s| s.name()).collect();
            let list = list.join(" ");
            self.fail(format!("missing required parameter \"{name}\" in [{list}]"));
        }
        value
    }

    fn bad(&mut self, name: &str, value: &str, cause: &str) {
        self.fail(format!(
            "unable to set param {} value {}: {cause}",
            go::quote(name),
            go::quote(value)
        ));
    }

    pub(crate) fn float(&mut self, name: &str, value: &str) -> Option<f64> {
        match go::json::number(value) {
            Ok(number) => Some(number),
            Err(cause) => {
                self.bad(
                    name,
                    value,
                    &format!("unable to unmarshal to field type float64: {cause}"),
                );
                None
            }
        }
    }

    pub(crate) fn int(&mut self, name: &str, value: &str) -> Option<i64> {
        let read = match go::json::number(value) {
            Ok(_) => value
                .parse()
                .map_err(|_| go::json::mismatch(&format!("number {value}"), "int64")),
            Err(cause) => Err(cause.replace("type float64", "type int64")),
        };
        read.map_err(|cause| {
            let cause = format!("unable to unmarshal to field type int64: {cause}");
            self.bad(name, value, &cause);
        })
        .ok()
    }

    pub(crate) fn bool(&mut self, name: &str, default: bool) -> bool {
        let Some(value) = self.text(&[name], &[From::Metadata]) else {
            return default;
        };
        match value {
            "1" | "t" | "T" | "true" | "True" | "TRUE" => true,
            "0" | "f" | "F" | "false" | "False" | "FALSE" => false,
            _ => {
                let quoted = go::quote(value);
                let cause = format!(
                    "unable to parse boolean value {quoted}: strconv.ParseBool: parsing {quoted}: \
                     invalid syntax"
                );
                self.bad(name, value, &cause);
                default
            }
        }
    }

    /// A Go duration or a whole number of milliseconds.
    pub(crate) fn duration(&mut self, name: &str) -> Option<Duration> {
        let value = self.text(&[name], &[From::Metadata])?;
        let quoted = go::quote(value);
        let cause = match (GoDuration::parse(value), value.parse::<i64>()) {
            (Ok(span), _) if span.0 >= 0 => return Some(span.to_std()),
            (Ok(_), _) => format!("duration cannot be negative: {quoted}"),
            (Err(_), Ok(millis)) if millis >= 0 => {
                return Some(Duration::from_millis(millis.unsigned_abs()));
            }
            (Err(_), Ok(millis)) => format!("duration cannot be negative: {millis} milliseconds"),
            (Err(_), Err(_)) => format!(
                "unable to parse duration value {quoted}: must be either a duration string (e.g. \
                 '30s', '5m') or a number of milliseconds"
            ),
        };
        self.bad(name, value, &cause);
        None
    }

    /// A `k=v,k2=v2` map; a later key wins. Ordered by key.
    pub(crate) fn map(&mut self, name: &str) -> Vec<(String, String)> {
        let mut out = std::collections::BTreeMap::new();
        let Some(value) = self.text(&[name], &[From::Metadata]) else {
            return Vec::new();
        };
        for entry in value.split(',') {
            let entry = entry.trim();
            let mut parts = entry.split('=');
            match (parts.next(), parts.next(), parts.next()) {
                (Some(key), Some(val), None) => {
                    out.insert(key.trim().to_owned(), val.trim().to_owned());
                }
                _ => {
                    let cause = format!("expected format key=value, got {}", go::quote(entry));
                    self.bad(name, value, &cause);
                    return Vec::new();
                }
            }
        }
        out.into_iter().collect()
    }
}
