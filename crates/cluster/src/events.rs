//! Events: written by controllers in the old or the new style, counted when they repeat.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::store::Key;
use crate::value;

/// Who says it, and in which of the two styles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventSource {
    /// `source.component`, times to the second, a count: the older controllers.
    Component {
        /// `deployment-controller`
        component: String,
        /// Node name for kubelets, else "".
        host: String,
    },
    /// `reportingComponent`, `eventTime`, a series: the scheduler.
    Controller {
        /// `default-scheduler`
        controller: String,
        /// `default-scheduler-0`
        instance: String,
        /// `Scheduling`
        action: String,
    },
}

impl EventSource {
    /// An old-style source without a host.
    pub fn component(name: &str) -> Self {
        Self::Component {
            component: name.to_owned(),
            host: String::new(),
        }
    }
}

/// Something worth telling about an object.
#[derive(Clone, Debug)]
pub struct EventRecord {
    /// The object it is about, or an object reference to it
    /// (apiVersion, kind, namespace, name, uid and, for a part, fieldPath).
    pub regarding: Value,
    /// `Normal` or `Warning`.
    pub kind: String,
    /// `ScalingReplicaSet`
    pub reason: String,
    /// The sentence.
    pub message: String,
    /// Who says it.
    pub source: EventSource,
}

impl EventRecord {
    /// An old-style event.
    pub fn new(
        regarding: &Value,
        kind: &str,
        reason: &str,
        message: impl Into<String>,
        component: &str,
    ) -> Self {
        Self {
            regarding: reference(regarding),
            kind: kind.to_owned(),
            reason: reason.to_owned(),
            message: message.into(),
            source: EventSource::component(component),
        }
    }
}

/// An object reference to `object`; a reference is returned as it is.
pub fn reference(object: &Value) -> Value {
    let Some(meta) = object.get("metadata") else {
        return object.clone();
    };
    let mut out = serde_json::Map::new();
    for key in ["apiVersion", "kind"] {
        if let Some(v) = object.get(key) {
            out.insert(key.to_owned(), v.clone());
        }
    }
    for key in ["namespace", "name", "uid", "resourceVersion"] {
        if let Some(v) = meta.get(key).filter(|v| v.as_str() != Some("")) {
            out.insert(key.to_owned(), v.clone());
        }
    }
    Value::Object(out)
}

/// What is known of events written before.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    /// What makes two events the same, to namespace and name.
    seen: BTreeMap<String, Key>,
    /// The way back.
    identities: BTreeMap<Key, String>,
    last_stamp: i128,
}

impl Recorder {
    /// A number for a name that was not used before.
    fn stamp(&mut self, now: Timestamp) -> i128 {
        self.last_stamp = now.as_nanosecond().max(self.last_stamp + 1);
        self.last_stamp
    }

    /// An event is gone; the next one like it is a new one.
    pub(crate) fn forget(&mut self, event: &Value) {
        let key = (value::namespace(event).to_owned(), value::name(event).to_owned());
        if let Some(identity) = self.identities.remove(&key) {
            self.seen.remove(&identity);
        }
    }
}

impl Cluster {
    /// Writes an event, or counts it up where the same one was written before.
    pub fn event(&self, event: EventRecord) {
        let now = self.now();
        let regarding = reference(&event.regarding);
        let key = identity(&regarding, &event);
        let known = self.with_recorder(|r| r.seen.get(&key).cloned());
        if let Some((ns, name)) = known
            && self
                .modify("events", &ns, &name, |object| repeat(object, &event, now))
                .is_ok()
        {
            return;
        }
        let ns = match value::text(&regarding, &["namespace"]) {
            "" => "default".to_owned(),
            ns => ns.to_owned(),
        };
        let stamp = self.with_recorder(|r| r.stamp(now));
        let name = format!("{}.{stamp:x}", value::text(&regarding, &["name"]));
        let created = self.create("events", first(&ns, &name, &regarding, &event, now));
        // A namespace that is going takes no more events, and nobody misses them.
        if created.is_ok() {
            self.with_recorder(|r| {
                r.seen.insert(key.clone(), (ns.clone(), name.clone()));
                r.identities.insert((ns, name), key);
            });
        }
    }
}

fn identity(regarding: &Value, event: &EventRecord) -> String {
    let about: Vec<&str> = [
        "kind",
        "namespace",
        "name",
        "uid",
        "fieldPath",
        "apiVersion",
    ]
    .iter()
    .map(|k| value::text(regarding, &[k]))
    .collect();
    format!(
        "{}\u{0}{:?}\u{0}{}\u{0}{}\u{0}{}",
        about.join("\u{0}"),
        event.source,
        event.kind,
        event.reason,
        event.message
    )
}

fn first(ns: &str, name: &str, regarding: &Value, event: &EventRecord, now: Timestamp) -> Value {
    let mut object = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"namespace": ns, "name": name},
        "involvedObject": regarding,
        "reason": event.reason, "message": event.message, "type": event.kind,
    });
    match &event.source {
        EventSource::Component { component, host } => {
            let time = value::time(now);
            object["firstTimestamp"] = json!(time);
            object["lastTimestamp"] = json!(time);
            object["count"] = json!(1);
            object["eventTime"] = Value::Null;
            object["source"] = json!({"component": component});
            if !host.is_empty() {
                object["source"]["host"] = json!(host);
            }
            object["reportingComponent"] = json!(component);
            object["reportingInstance"] = json!(host);
        }
        EventSource::Controller {
            controller,
            instance,
            action,
        } => {
            object["firstTimestamp"] = Value::Null;
            object["lastTimestamp"] = Value::Null;
            object["eventTime"] = json!(value::micro_time(now));
            object["source"] = json!({});
            object["action"] = json!(action);
            object["reportingComponent"] = json!(controller);
            object["reportingInstance"] = json!(instance);
        }
    }
    object
}

fn repeat(object: &mut Value, event: &EventRecord, now: Timestamp) {
    match &event.source {
        EventSource::Component { .. } => {
            let count = object["count"].as_i64().unwrap_or(1);
            object["count"] = json!(count + 1);
            object["lastTimestamp"] = json!(value::time(now));
        }
        EventSource::Controller { .. } => {
            let count = object["series"]["count"].as_i64().unwrap_or(1);
            object["series"] =
                json!({"count": count + 1, "lastObservedTime": value::micro_time(now)});
        }
    }
}
