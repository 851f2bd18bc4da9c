//! Kubernetes events of the operator (events.k8s.io/v1).
//!
//! Events that repeat become a series, as client-go makes them: the second
//! occurrence turns the first into a series of two, later ones are counted and
//! written half an hour later at the earliest.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use clock::Clock;
use decide::scale::conditions::Event;
use jiff::{SignedDuration, Timestamp};
use kube::api::ApiResource;
use serde_json::{Value, json};

use crate::io;

/// A series ends when nothing was added to it for this long.
const FINISH: SignedDuration = SignedDuration::from_mins(6);
/// The count of a running series is written this often.
const REFRESH: SignedDuration = SignedDuration::from_mins(30);
/// Longest action that the API server accepts.
const LONGEST_ACTION: usize = 128;
/// Longest note that the API server accepts.
const LONGEST_NOTE: usize = 1024;

/// Added to the time in names, which is in whole microseconds where it is
/// simulated.
const OWN: i128 = 500;

/// What an event is about.
#[derive(Clone, Debug)]
pub(crate) struct Regarding {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) version: String,
}

impl Regarding {
    pub(crate) fn of(object: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let meta = &object["metadata"];
        Self {
            api_version: text(&object["apiVersion"]),
            kind: text(&object["kind"]),
            namespace: text(&meta["namespace"]),
            name: text(&meta["name"]),
            uid: text(&meta["uid"]),
            version: text(&meta["resourceVersion"]),
        }
    }
}

struct Series {
    namespace: String,
    event: String,
    count: i64,
    last: Timestamp,
    written: Timestamp,
}

#[derive(Default)]
struct Memory {
    series: BTreeMap<String, Series>,
    last_name: i128,
}

/// Writes events; failures to do so are logged and forgotten.
pub(crate) struct Recorder {
    client: kube::Client,
    clock: Clock,
    instance: String,
    memory: Mutex<Memory>,
}

enum Write {
    New(String),
    Series {
        namespace: String,
        event: String,
        count: i64,
    },
    Nothing,
}

impl Recorder {
    pub(crate) fn new(client: kube::Client, clock: Clock, instance: &str) -> Self {
        let memory = Mutex::default();
        Self {
            client,
            clock,
            instance: instance.to_owned(),
            memory,
        }
    }

    /// Records an event.
    pub(crate) async fn record(&self, regarding: &Regarding, event: &Event) {
        let now = self.clock.now();
        let namespace = if regarding.namespace.is_empty() {
            "default"
        } else {
            &regarding.namespace
        };
        let action = clip(&event.action, LONGEST_ACTION);
        let write = self.plan(regarding, event, action, namespace, now);
        let resource = events();
        let time = micro(now);
        let outcome = match write {
            Write::Nothing => return,
            Write::Series {
                namespace,
                event,
                count,
            } => {
                let api = io::in_namespace(&self.client, &namespace, &resource);
                let body = json!({"series": {"count": count, "lastObservedTime": time}});
                io::patch(&api, &event, &body).await
            }
            Write::New(name) => {
                let api = io::in_namespace(&self.client, namespace, &resource);
                let body = json!({
                    "apiVersion": "events.k8s.io/v1",
                    "kind": "Event",
                    "metadata": {"name": name, "namespace": namespace},
                    "eventTime": time,
                    "reportingController": "keda-operator",
                    "reportingInstance": self.instance,
                    "action": action,
                    "reason": event.reason,
                    "regarding": {
                        "apiVersion": regarding.api_version,
                        "kind": regarding.kind,
                        "namespace": regarding.namespace,
                        "name": regarding.name,
                        "uid": regarding.uid,
                        "resourceVersion": regarding.version,
                    },
                    "note": clip(&event.note, LONGEST_NOTE),
                    "type": event.event_type,
                });
                io::create(&api, body).await
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(reason = event.reason, %error, "event not recorded");
        }
    }

    fn plan(
        &self,
        regarding: &Regarding,
        event: &Event,
        action: &str,
        namespace: &str,
        now: Timestamp,
    ) -> Write {
        let key = format!(
            "{}\u{0}{}\u{0}{}\u{0}{}\u{0}{action}",
            regarding.uid, regarding.version, event.event_type, event.reason
        );
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory
            .series
            .retain(|_, series| now.duration_since(series.last) <= FINISH);
        if let Some(series) = memory.series.get_mut(&key) {
            series.count += 1;
            series.last = now;
            if series.count > 2 && now.duration_since(series.written) < REFRESH {
                return Write::Nothing;
            }
            series.written = now;
            return Write::Series {
                namespace: series.namespace.clone(),
                event: series.event.clone(),
                count: series.count,
            };
        }
        // The clock may stand still between two events of one object, and other
        // components name their events of an object of the same name likewise.
        memory.last_name = (now.as_nanosecond() + OWN).max(memory.last_name + 1);
        let name = format!("{}.{:x}", regarding.name, memory.last_name);
        let (namespace, event) = (namespace.to_owned(), name.clone());
        let series = Series {
            namespace,
            event,
            count: 1,
            last: now,
            written: now,
        };
        memory.series.insert(key, series);
        Write::New(name)
    }
}

fn events() -> ApiResource {
    io::resource("events.k8s.io", "v1", "Event", "events")
}

fn micro(time: Timestamp) -> String {
    format!("{time:.6}")
}

fn clip(text: &str, longest: usize) -> &str {
    let mut end = text.len().min(longest);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
