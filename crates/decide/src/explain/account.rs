//! From a log to the answer about one object at one moment.

use std::collections::BTreeSet;
use std::fmt;

use api::near::edits;
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Explanation, Object, Record, Workload};

/// Kinds that can be asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// KEDA's ScaledObject.
    ScaledObject,
    /// HorizontalPodAutoscaler.
    Hpa,
    /// Deployment.
    Deployment,
    /// StatefulSet.
    StatefulSet,
}

impl Kind {
    /// Reads a kind as kubectl does: singular, plural or short, in any case.
    ///
    /// # Errors
    /// The kinds that can be asked about, where this is none of them.
    pub fn parse(text: &str) -> Result<Kind, String> {
        let lower = text.to_ascii_lowercase();
        let plain = lower.split('.').next().unwrap_or("");
        Ok(match plain {
            "scaledobject" | "scaledobjects" | "so" => Kind::ScaledObject,
            "horizontalpodautoscaler" | "horizontalpodautoscalers" | "hpa" => Kind::Hpa,
            "deployment" | "deployments" | "deploy" => Kind::Deployment,
            "statefulset" | "statefulsets" | "sts" => Kind::StatefulSet,
            _ => {
                return Err(format!(
                    "{text:?} is no kind that is explained: ask about a scaledobject (so), hpa, \
                     deployment (deploy) or statefulset (sts)"
                ));
            }
        })
    }

    /// As objects carry it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::ScaledObject => "ScaledObject",
            Kind::Hpa => "HorizontalPodAutoscaler",
            Kind::Deployment => "Deployment",
            Kind::StatefulSet => "StatefulSet",
        }
    }

    /// As commands take it.
    pub fn short(self) -> &'static str {
        match self {
            Kind::ScaledObject => "scaledobject",
            Kind::Hpa => "hpa",
            Kind::Deployment => "deployment",
            Kind::StatefulSet => "statefulset",
        }
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The object's kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The moment; the latest where absent.
    pub at: Option<Timestamp>,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.short(), self.name)
    }
}

/// Everything that decided about one workload at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// The moment.
    pub at: Timestamp,
    /// The namespace.
    pub namespace: String,
    /// The workload.
    pub target: Workload,
    /// The latest evaluation of its HPA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hpa: Option<Record>,
    /// The latest poll of its ScaledObject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaled_object: Option<Record>,
    /// Its pods that wait for a node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Record>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// Nothing was ever decided about such an object.
    #[error("no decision about {object} in namespace {namespace}{hint}")]
    Object {
        /// `kind/name`.
        object: String,
        /// The namespace.
        namespace: String,
        /// What may be meant instead.
        hint: String,
    },
    /// Nothing was decided about it by then.
    #[error("no decision about {object} by {at}: the first one is of {first}")]
    Yet {
        /// `kind/name`.
        object: String,
        /// The moment asked for.
        at: Timestamp,
        /// When the first decision was made.
        first: Timestamp,
    },
    /// The moment is not covered.
    #[error(
        "{at} is outside of what is kept: --at takes a time from {first} to {last} (in UTC, as here)"
    )]
    Range {
        /// The moment asked for.
        at: Timestamp,
        /// The oldest moment that is covered.
        first: Timestamp,
        /// The newest one.
        last: Timestamp,
    },
    /// There is no record at all.
    #[error("no decision has been recorded yet")]
    Empty,
}

impl Missing {
    /// Whether another object is named that may have been meant.
    pub fn names_another(&self) -> bool {
        matches!(self, Missing::Object { hint, .. } if hint.starts_with(MEANT))
    }
}

const MEANT: &str = " (did you mean ";

/// Answers from records in order of time; `until` is the moment up to which
/// they are complete.
pub fn account<'a>(
    records: impl Iterator<Item = &'a Record> + Clone,
    question: &Question,
    until: Timestamp,
) -> Result<Account, Missing> {
    let first = records.clone().next().ok_or(Missing::Empty)?.time;
    let at = question.at.unwrap_or(until);
    let mine = |r: &Record| {
        let same = r.object.namespace == question.namespace;
        let object = r.object.kind == question.kind.name() && r.object.name == question.name;
        let target = r.target.kind == question.kind.name() && r.target.name == question.name;
        same && (object || target)
    };
    let mut about = records.clone().filter(|r| mine(r)).peekable();
    let Some(earliest) = about.peek().map(|r| r.time) else {
        return Err(Missing::Object {
            object: question.to_string(),
            namespace: question.namespace.clone(),
            hint: hint(records, question),
        });
    };
    if at < first || at > until {
        let last = until;
        return Err(Missing::Range { at, first, last });
    }
    let Some(found) = about.take_while(|r| r.time <= at).last() else {
        return Err(Missing::Yet {
            object: question.to_string(),
            at,
            first: earliest,
        });
    };
    let mut account = Account {
        at,
        namespace: question.namespace.clone(),
        target: found.target.clone(),
        hpa: None,
        scaled_object: None,
        nodes: None,
    };
    let named =
        |r: &Record| r.object.kind != question.kind.name() || r.object.name == question.name;
    let past = records.take_while(|r| r.time <= at);
    let joined = |r: &&Record| {
        r.object.namespace == account.namespace && r.target == found.target && named(r)
    };
    for record in past.filter(joined) {
        let place = match &record.explanation {
            Explanation::Hpa(_) => &mut account.hpa,
            Explanation::ScaledObject(_) => &mut account.scaled_object,
            Explanation::Nodes(waiting) if waiting.pods.is_empty() => {
                account.nodes = None;
                continue;
            }
            Explanation::Nodes(_) => &mut account.nodes,
        };
        *place = Some(record.clone());
    }
    Ok(account)
}

/// What may have been meant: the name in another namespace or kind, or the
/// nearest name.
fn hint<'a>(records: impl Iterator<Item = &'a Record>, question: &Question) -> String {
    let mut known: BTreeSet<Object> = BTreeSet::new();
    for record in records {
        known.insert(record.object.clone());
        known.insert(Object {
            kind: record.target.kind.clone(),
            namespace: record.object.namespace.clone(),
            name: record.target.name.clone(),
        });
    }
    let distance = |object: &Object| {
        let kind = usize::from(object.kind != question.kind.name());
        let namespace = usize::from(object.namespace != question.namespace);
        (edits(&object.name, &question.name), namespace, kind)
    };
    let Some(near) = known.iter().min_by_key(|o| distance(o)) else {
        return String::new();
    };
    if distance(near).0 > question.name.len().max(near.name.len()) * 2 / 3 {
        let all: Vec<String> = known.iter().take(5).map(shown).collect();
        return format!(" (there are decisions about {})", all.join(", "));
    }
    let elsewhere = match near.namespace == question.namespace {
        true => String::new(),
        false => format!(" -n {}", near.namespace),
    };
    format!("{MEANT}{}{elsewhere}?)", shown(near))
}

fn shown(object: &Object) -> String {
    let kind = Kind::parse(&object.kind).map_or(object.kind.as_str(), |k| k.short());
    format!("{kind}/{}", object.name)
}

/// Reads a moment: RFC 3339, a date and time or a time of day (the last one
/// before `now`), both in UTC, or how long ago (`5m`).
///
/// # Errors
/// A sentence that says what is understood.
pub fn moment(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let text = text.trim();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let zoned = now.to_zoned(TimeZone::UTC);
    let at = |date: DateTime| date.to_zoned(TimeZone::UTC).map(|z| z.timestamp()).ok();
    if let Ok(date) = text.parse::<DateTime>()
        && let Some(time) = at(date)
    {
        return Ok(time);
    }
    if let Ok(time) = text.parse::<Time>() {
        let today = at(zoned.date().to_datetime(time));
        let found = match today {
            Some(today) if today > now => zoned
                .date()
                .yesterday()
                .ok()
                .and_then(|d| at(d.to_datetime(time))),
            today => today,
        };
        if let Some(found) = found {
            return Ok(found);
        }
    }
    let ago = text.strip_prefix('-').unwrap_or(text);
    if let Ok(ago) = api::duration::GoDuration::parse(ago)
        && let Ok(time) = now.checked_sub(SignedDuration::from_nanos(ago.0))
    {
        return Ok(time);
    }
    Err(format!(
        "{text:?} is no time: give one such as {now}, a time of day in UTC such as 08:12:30, or \
         how long ago, such as 5m"
    ))
}
