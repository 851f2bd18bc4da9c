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
use tokio::sync::mpsc;

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

/// Events that wait to be written. Nothing else waits for them: more than so
/// many are dropped, as client-go drops them.
const WAITING: usize = 4_096;

/// Takes events; [`write`] writes them.
pub(crate) struct Recorder {
    outbox: mpsc::Sender<Write>,
    clock: Clock,
    instance: String,
    memory: Mutex<Memory>,
}

/// What is written of an event.
#[derive(Debug)]
pub(crate) enum Write {
    New { namespace: String, event: Value },
    Series(Counted),
}

/// One more of an event that was written before.
#[derive(Debug)]
pub(crate) struct Counted {
    namespace: String,
    event: String,
    count: i64,
    time: String,
}

impl Recorder {
    /// A recorder, and what it has to be written from [`write`]'s side.
    pub(crate) fn new(clock: Clock, instance: &str) -> (Self, mpsc::Receiver<Write>) {
        let (outbox, inbox) = mpsc::channel(WAITING);
        let recorder = Self {
            outbox,
            clock,
            instance: instance.to_owned(),
            memory: Mutex::default(),
        };
        (recorder, inbox)
    }

    /// Records an event.
    pub(crate) fn record(&self, regarding: &Regarding, event: &Event) {
        let now = self.clock.now();
        if let Some(write) = self.plan(regarding, event, now)
            && let Err(error) = self.outbox.try_send(write)
        {
            tracing::warn!(reason = event.reason, name = regarding.name, %error, "event dropped");
        }
    }

    /// What has to be written now; nothing where a series only counts.
    fn plan(&self, regarding: &Regarding, event: &Event, now: Timestamp) -> Option<Write> {
        let action = clip(&event.action, LONGEST_ACTION);
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
                return None;
            }
            series.written = now;
            return Some(Write::Series(Counted {
                namespace: series.namespace.clone(),
                event: series.event.clone(),
                count: series.count,
                time: micro(now),
            }));
        }
        // The clock may stand still between two events of one object, and other
        // components name their events of an object of the same name likewise.
        memory.last_name = (now.as_nanosecond() + OWN).max(memory.last_name + 1);
        let name = format!("{}.{:x}", regarding.name, memory.last_name);
        let namespace = match regarding.namespace.as_str() {
            "" => "default",
            own => own,
        };
        let series = Series {
            namespace: namespace.to_owned(),
            event: name.clone(),
            count: 1,
            last: now,
            written: now,
        };
        memory.series.insert(key, series);
        let body = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "eventTime": micro(now),
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
        Some(Write::New {
            namespace: namespace.to_owned(),
            event: body,
        })
    }
}

/// Writes what was recorded, in that order, one at a time: a series needs its
/// first event. Failures are logged and forgotten.
pub(crate) async fn write(client: kube::Client, mut inbox: mpsc::Receiver<Write>) {
    let resource = events();
    while let Some(write) = inbox.recv().await {
        let outcome = match write {
            Write::New { namespace, event } => {
                let api = io::in_namespace(&client, &namespace, &resource);
                io::create(&api, event).await
            }
            Write::Series(more) => {
                let api = io::in_namespace(&client, &more.namespace, &resource);
                let series = json!({"count": more.count, "lastObservedTime": more.time});
                io::patch(&api, &more.event, &json!({"series": series})).await
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "event not recorded");
        }
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
