//! The lab's event log: changes of the cluster as lines that a person reads.
//!
//! A line is made from a change alone, so two runs with the same seed tell the
//! same story byte for byte; the determinism test compares exactly these lines.

use std::fmt;

use cluster::{Change, ChangeKind};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// One line of the event log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Simulated time of day.
    pub time: Timestamp,
    /// What it is about.
    pub topic: Topic,
    /// `kind/name`, with the namespace before it where it is not `default`.
    pub object: String,
    /// A word: an event's reason, or `replicas`, `added`, `ready` ….
    pub what: String,
    /// The rest, in words.
    pub text: String,
    /// True for events of type Warning.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub warning: bool,
}

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Topic {
    /// A Kubernetes event.
    Event,
    /// The replica count of a workload.
    Replicas,
    /// A node came, became ready, showed GPUs or went.
    Node,
    /// A pod's phase.
    Pod,
    /// A step of the story that is played.
    Story,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = self.time.strftime("%H:%M:%S");
        let mark = if self.warning { "!" } else { " " };
        write!(f, "{clock} {mark} {:<20} {}", self.what, self.object)?;
        if !self.text.is_empty() {
            write!(f, "  {}", self.text)?;
        }
        Ok(())
    }
}

/// The line that a change is worth, if any.
pub fn line(change: &Change, now: Timestamp) -> Option<Line> {
    let object = &*change.object;
    let old = change.old.as_deref();
    match (&*change.resource, change.kind) {
        (_, ChangeKind::Lagged) => None,
        ("events", ChangeKind::Added | ChangeKind::Modified) => Some(event(object, now)),
        ("deployments.apps" | "statefulsets.apps", ChangeKind::Added | ChangeKind::Modified) => {
            let replicas = |object: &Value| object["spec"]["replicas"].as_i64();
            let (to, from) = (replicas(object)?, old.and_then(replicas));
            if from == Some(to) {
                return None;
            }
            let text = match from {
                Some(from) => format!("{from} -> {to}"),
                None => to.to_string(),
            };
            Some(tell(now, Topic::Replicas, named(object), "Replicas", text))
        }
        ("nodes", kind) => node(object, old, kind, now),
        ("pods", ChangeKind::Added | ChangeKind::Modified) => {
            let phase = |object: &Value| object["status"]["phase"].as_str().map(str::to_owned);
            let to = phase(object)?;
            if to == "Pending" || old.and_then(phase).as_ref() == Some(&to) {
                return None;
            }
            let text = object["spec"]["nodeName"].as_str().unwrap_or("").to_owned();
            Some(tell(now, Topic::Pod, named(object), &to, text))
        }
        _ => None,
    }
}

fn event(event: &Value, now: Timestamp) -> Line {
    let regarding = &event["involvedObject"];
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let object = qualified(
        &text(&regarding["kind"]),
        regarding["namespace"].as_str().unwrap_or(""),
        &text(&regarding["name"]),
    );
    let mut line = tell(
        now,
        Topic::Event,
        object,
        &text(&event["reason"]),
        text(&event["message"]),
    );
    line.warning = event["type"] == "Warning";
    line
}

fn node(object: &Value, old: Option<&Value>, kind: ChangeKind, now: Timestamp) -> Option<Line> {
    let (what, text) = match kind {
        ChangeKind::Added => ("NodeAdded", String::new()),
        ChangeKind::Deleted => ("NodeGone", String::new()),
        _ if !ready(old?) && ready(object) => ("NodeReady", String::new()),
        _ if gpus(old?) != gpus(object) => ("NodeGPUs", format!("{} allocatable", gpus(object))),
        _ => return None,
    };
    Some(tell(now, Topic::Node, named(object), what, text))
}

fn tell(time: Timestamp, topic: Topic, object: String, what: &str, text: String) -> Line {
    Line {
        time,
        topic,
        object,
        what: what.to_owned(),
        text,
        warning: false,
    }
}

fn named(object: &Value) -> String {
    qualified(
        object["kind"].as_str().unwrap_or(""),
        cluster::value::namespace(object),
        cluster::value::name(object),
    )
}

fn qualified(kind: &str, namespace: &str, name: &str) -> String {
    let kind = match kind {
        "HorizontalPodAutoscaler" => "hpa".to_owned(),
        other => other.to_lowercase(),
    };
    match namespace {
        "" | "default" => format!("{kind}/{name}"),
        namespace => format!("{namespace}/{kind}/{name}"),
    }
}

/// Whether a node's or pod's Ready condition is True.
pub(crate) fn ready(object: &Value) -> bool {
    object["status"]["conditions"]
        .as_array()
        .is_some_and(|conditions| {
            conditions
                .iter()
                .any(|c| c["type"] == "Ready" && c["status"] == "True")
        })
}

/// GPUs that a node offers.
pub(crate) fn gpus(node: &Value) -> i64 {
    let shown = node["status"]["allocatable"]["nvidia.com/gpu"].as_str();
    shown.and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use serde_json::json;

    fn told(resource: &str, kind: ChangeKind, object: Value, old: Option<Value>) -> Option<String> {
        let change = Change {
            resource: resource.into(),
            kind,
            object: Arc::new(object),
            old: old.map(Arc::new),
        };
        line(&change, "2020-01-01T10:00:00Z".parse().unwrap()).map(|line| line.to_string())
    }

    #[test]
    fn a_change_of_replicas_is_told_once() {
        let of = |n: i64| {
            json!({"kind": "Deployment", "metadata": {"namespace": "ml", "name": "web"},
                   "spec": {"replicas": n}})
        };
        let line = told("deployments.apps", ChangeKind::Modified, of(4), Some(of(1)));
        assert_eq!(
            line.unwrap(),
            "10:00:00   Replicas             ml/deployment/web  1 -> 4"
        );
        assert_eq!(
            told("deployments.apps", ChangeKind::Modified, of(4), Some(of(4))),
            None
        );
    }

    #[test]
    fn an_event_is_told_with_its_object_and_marked_when_it_warns() {
        let event = json!({"reason": "FailedScheduling", "type": "Warning", "message": "0/2 nodes",
            "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}});
        let line = told("events", ChangeKind::Added, event, None).unwrap();
        assert_eq!(line, "10:00:00 ! FailedScheduling     pod/p  0/2 nodes");
    }
}
