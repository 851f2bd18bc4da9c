//! Checks: one line each, about what the API shows.
//!
//! | form | holds when |
//! |---|---|
//! | `exists KIND/NAME` | the object is there |
//! | `gone KIND/NAME` | it is not |
//! | `KIND/NAME PATH OP VALUE` | the field compares so; `condition.TYPE` is a condition's status, `condition.TYPE.reason` and `.message` the rest of it |
//! | `count KINDS [SELECTOR] [phase=P] [ready] OP N` | so many objects match |
//! | `event REASON ["TEXT"]` | an event with that reason, and that text in its message, is there |
//!
//! OP is one of `=`, `!=`, `<`, `<=`, `>`, `>=`; where both sides are numbers
//! they compare as numbers.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// One check.
#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    /// `exists KIND/NAME`
    Exists(Target),
    /// `gone KIND/NAME`
    Gone(Target),
    /// `KIND/NAME PATH OP VALUE`
    Field {
        /// The object.
        target: Target,
        /// Dotted path.
        path: String,
        /// How to compare.
        op: Op,
        /// With what.
        value: String,
    },
    /// `count KINDS … OP N`
    Count {
        /// What to list.
        kind: &'static Kind,
        /// Label selector, may be empty.
        selector: String,
        /// Only objects in this phase.
        phase: Option<String>,
        /// Only objects whose Ready condition is True.
        ready: bool,
        /// How to compare.
        op: Op,
        /// With what.
        value: i64,
    },
    /// `event REASON ["TEXT"]`
    Event {
        /// The event's reason.
        reason: String,
        /// Part of its message.
        text: String,
    },
}

/// An object by kind and name, in the story's namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Its kind.
    pub kind: &'static Kind,
    /// Its name.
    pub name: String,
}

/// A kind that stories may name.
#[derive(Debug, PartialEq)]
pub struct Kind {
    names: &'static [&'static str],
    root: &'static str,
    namespaced: bool,
}

/// Comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// Why a check cannot be read.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("'{check}': {why}")]
pub struct CheckError {
    check: String,
    why: String,
}

static KINDS: &[Kind] = &[
    kind(
        &["deployments", "deployment", "deploy"],
        "/apis/apps/v1",
        true,
    ),
    kind(&["replicasets", "replicaset", "rs"], "/apis/apps/v1", true),
    kind(&["pods", "pod", "po"], "/api/v1", true),
    kind(&["nodes", "node", "no"], "/api/v1", false),
    kind(&["namespaces", "namespace", "ns"], "/api/v1", false),
    kind(&["services", "service", "svc"], "/api/v1", true),
    kind(
        &["horizontalpodautoscalers", "horizontalpodautoscaler", "hpa"],
        "/apis/autoscaling/v2",
        true,
    ),
    kind(
        &["scaledobjects", "scaledobject", "so"],
        "/apis/keda.sh/v1alpha1",
        true,
    ),
    kind(
        &["triggerauthentications", "triggerauthentication", "ta"],
        "/apis/keda.sh/v1alpha1",
        true,
    ),
];

const fn kind(names: &'static [&'static str], root: &'static str, namespaced: bool) -> Kind {
    Kind {
        names,
        root,
        namespaced,
    }
}

impl Kind {
    /// The kind that one of its names means.
    pub fn named(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.names.contains(&name))
    }

    /// The path of the collection in `namespace`.
    pub fn path(&self, namespace: &str) -> String {
        let plural = self.names[0];
        if self.namespaced {
            format!("{}/namespaces/{namespace}/{plural}", self.root)
        } else {
            format!("{}/{plural}", self.root)
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((kind, name)) = text.split_once('/') else {
            return Err(format!("'{text}' is not KIND/NAME"));
        };
        let known = || {
            let names: Vec<_> = KINDS.iter().map(|kind| kind.names[1]).collect();
            format!("no kind '{kind}' in stories; known: {}", names.join(", "))
        };
        let kind = Kind::named(kind).ok_or_else(known)?;
        Ok(Self {
            kind,
            name: name.to_owned(),
        })
    }
}

impl Target {
    /// The path of the object in `namespace`.
    pub fn path(&self, namespace: &str) -> String {
        format!("{}/{}", self.kind.path(namespace), self.name)
    }
}

impl FromStr for Op {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "=" | "==" => Self::Eq,
            "!=" => Self::Ne,
            "<" => Self::Lt,
            "<=" => Self::Le,
            ">" => Self::Gt,
            ">=" => Self::Ge,
            _ => return Err(format!("'{text}' is no comparison (= != < <= > >=)")),
        })
    }
}

impl Op {
    fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Self::Eq => order.is_eq(),
            Self::Ne => order.is_ne(),
            Self::Lt => order.is_lt(),
            Self::Le => order.is_le(),
            Self::Gt => order.is_gt(),
            Self::Ge => order.is_ge(),
        }
    }
}

impl FromStr for Check {
    type Err = CheckError;

    fn from_str(text: &str) -> Result<Self, CheckError> {
        parse(text.trim()).map_err(|why| CheckError {
            check: text.to_owned(),
            why,
        })
    }
}

fn parse(text: &str) -> Result<Check, String> {
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    let rest = rest.trim();
    match first {
        "exists" => Ok(Check::Exists(rest.parse()?)),
        "gone" => Ok(Check::Gone(rest.parse()?)),
        "event" => {
            let (reason, part) = rest.split_once(' ').unwrap_or((rest, ""));
            let part = part.trim();
            let quoted = part.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
            if reason.is_empty() || (quoted.is_none() && !part.is_empty()) {
                return Err("expected: event REASON \"TEXT\"".to_owned());
            }
            Ok(Check::Event {
                reason: reason.to_owned(),
                text: quoted.unwrap_or_default().to_owned(),
            })
        }
        "count" => count(rest),
        _ => {
            let words: Vec<&str> = rest.splitn(3, ' ').collect();
            let [path, op, value] = words[..] else {
                return Err("expected: KIND/NAME PATH OP VALUE".to_owned());
            };
            Ok(Check::Field {
                target: first.parse()?,
                path: path.to_owned(),
                op: op.parse()?,
                value: value.trim().trim_matches('"').to_owned(),
            })
        }
    }
}

fn count(rest: &str) -> Result<Check, String> {
    let words: Vec<&str> = rest.split_whitespace().collect();
    let [plural, filters @ .., op, value] = &words[..] else {
        return Err("expected: count KINDS [SELECTOR] [phase=P] [ready] OP N".to_owned());
    };
    let kind = Kind::named(plural).ok_or_else(|| format!("no kind '{plural}' in stories"))?;
    let value = value
        .parse()
        .map_err(|_| format!("'{value}' is no number"))?;
    let op = op.parse()?;
    let (mut selector, mut phase, mut ready) = (String::new(), None, false);
    for filter in filters {
        match filter.strip_prefix("phase=") {
            Some(text) => phase = Some(text.to_owned()),
            None if *filter == "ready" => ready = true,
            None => (*filter).clone_into(&mut selector),
        }
    }
    Ok(Check::Count {
        kind,
        selector,
        phase,
        ready,
        op,
        value,
    })
}

impl Check {
    /// The path whose answer [`Check::judge`] wants.
    pub fn path(&self, namespace: &str) -> String {
        match self {
            Self::Exists(target) | Self::Gone(target) | Self::Field { target, .. } => {
                target.path(namespace)
            }
            Self::Count { kind, selector, .. } if selector.is_empty() => kind.path(namespace),
            Self::Count { kind, selector, .. } => {
                let encoded = selector.replace('=', "%3D").replace(',', "%2C");
                format!("{}?labelSelector={encoded}", kind.path(namespace))
            }
            Self::Event { reason, .. } => format!("/api/v1/events?fieldSelector=reason%3D{reason}"),
        }
    }

    /// Whether the check holds, given the API's answer (`None` for not
    /// found), and what is there instead.
    pub fn judge(&self, answer: Option<&Value>) -> (bool, String) {
        match self {
            Self::Exists(_) => (answer.is_some(), "it is not there".to_owned()),
            Self::Gone(_) => (answer.is_none(), "it is still there".to_owned()),
            Self::Field {
                path, op, value, ..
            } => {
                let Some(object) = answer else {
                    return (false, "it is not there".to_owned());
                };
                let found = field(object, path);
                let holds = op.holds(compare(&found, value));
                (
                    holds,
                    format!("it is {}", if found.is_empty() { "absent" } else { &found }),
                )
            }
            Self::Count {
                phase,
                ready,
                op,
                value,
                ..
            } => {
                let wanted = |object: &&Value| {
                    phase
                        .as_ref()
                        .is_none_or(|p| field(object, "status.phase") == *p)
                        && (!ready || field(object, "condition.Ready") == "True")
                };
                let found = items(answer).iter().filter(wanted).count() as i64;
                (op.holds(found.cmp(value)), format!("there are {found}"))
            }
            Self::Event { text, .. } => {
                let found = items(answer).iter().any(|event| {
                    event["message"]
                        .as_str()
                        .is_some_and(|message| message.contains(text.as_str()))
                });
                let last = items(answer)
                    .last()
                    .and_then(|event| event["message"].as_str());
                let instead =
                    last.map_or("there is none".to_owned(), |m| format!("the last is '{m}'"));
                (found, instead)
            }
        }
    }
}

fn items(answer: Option<&Value>) -> &[Value] {
    answer
        .and_then(|list| list["items"].as_array())
        .map_or(&[], Vec::as_slice)
}

/// The text of a field, "" where absent.
fn field(object: &Value, path: &str) -> String {
    if let Some(condition) = path.strip_prefix("condition.") {
        let (kind, part) = condition.split_once('.').unwrap_or((condition, "status"));
        let found = object["status"]["conditions"].as_array().and_then(|list| {
            list.iter()
                .find(|c| c["type"] == kind)
                .and_then(|c| c[part].as_str())
        });
        return found.unwrap_or("").to_owned();
    }
    let mut here = object;
    for key in path.split('.') {
        here = match key.parse::<usize>() {
            Ok(index) if here.is_array() => &here[index],
            _ => &here[key],
        };
    }
    match here {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn compare(found: &str, value: &str) -> std::cmp::Ordering {
    match (found.parse::<f64>(), value.parse::<f64>()) {
        (Ok(a), Ok(b)) => a.total_cmp(&b),
        _ => found.cmp(value),
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists(target) => write!(f, "{target} exists"),
            Self::Gone(target) => write!(f, "{target} is gone"),
            Self::Field {
                target,
                path,
                op,
                value,
            } => write!(f, "{target} {path} {op} {value}"),
            Self::Count {
                kind,
                selector,
                phase,
                ready,
                op,
                value,
            } => {
                write!(f, "{}", kind.names[0])?;
                if !selector.is_empty() {
                    write!(f, " {selector}")?;
                }
                if let Some(phase) = phase {
                    write!(f, " {phase}")?;
                }
                write!(f, "{} {op} {value}", if *ready { " ready" } else { "" })
            }
            Self::Event { reason, text } if text.is_empty() => write!(f, "event {reason}"),
            Self::Event { reason, text } => write!(f, "event {reason}: … {text} …"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.names[1], self.name)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eq => "=",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn holds(check: &str, answer: Option<&Value>) -> bool {
        check.parse::<Check>().unwrap().judge(answer).0
    }

    #[test]
    fn fields_and_conditions_compare() {
        let object = json!({"spec": {"replicas": 10}, "status": {"conditions": [
            {"type": "ScalingLimited", "status": "True", "reason": "TooFewReplicas"}]}});
        let object = Some(&object);
        assert!(holds("deploy/x spec.replicas >= 9", object));
        assert!(!holds("deploy/x spec.replicas = 9", object));
        assert!(holds("hpa/x condition.ScalingLimited = True", object));
        assert!(holds(
            "hpa/x condition.ScalingLimited.reason = TooFewReplicas",
            object
        ));
        assert!(!holds("deploy/x spec.replicas = 9", None));
        assert!(holds("gone deploy/x", None));
    }

    #[test]
    fn counts_filter_by_phase_and_readiness() {
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let list = json!({"items": [
            {"status": {"phase": "Running", "conditions": ready}},
            {"status": {"phase": "Running"}}, {"status": {"phase": "Pending"}}]});
        let list = Some(&list);
        assert!(holds("count pods app=x phase=Running = 2", list));
        assert!(holds("count pods ready = 1", list));
        assert!(holds("count pods > 2", list));
    }

    #[test]
    fn a_check_that_cannot_be_read_says_what_would_be_right() {
        for bad in [
            "",
            "exists x",
            "count pods",
            "deploy/x spec.replicas ~ 1",
            "frob/x a = 1",
        ] {
            assert!(bad.parse::<Check>().is_err(), "{bad}");
        }
    }
}
