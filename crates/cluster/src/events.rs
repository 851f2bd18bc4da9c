//! Events: written by controllers in the old or the new style, counted when they repeat.

use std::collections::{BTreeMap, BTreeSet};

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

/// Different messages of one kind about one object before they are told in one event.
const SIMILAR: usize = 10;
/// Seconds without a similar event after which counting begins anew.
const SIMILAR_WITHIN: i64 = 600;
const COMBINED: &str = "(combined from similar events)";
/// Events that a source may write about one object at once.
const BURST: f64 = 25.0;
/// Seconds after which it may write one more.
const REFILL: f64 = 300.0;
/// Seconds without a repetition after which a series ends.
const SERIES: i64 = 360;
/// Entries kept of each sort, as in the client library.
const KEPT: usize = 4096;

/// What was written for one identity.
#[derive(Clone, Debug)]
struct Observed {
    key: Key,
    count: i64,
    first: Timestamp,
    last: Timestamp,
}

/// What event recorders remember: the same rules that Kubernetes' client library applies
/// before an event is sent.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    observed: BTreeMap<String, Observed>,
    /// Messages seen of one reason about one object, and when the last one came.
    similar: BTreeMap<String, (BTreeSet<String>, Timestamp)>,
    /// Events that a source may still write about an object, and as of when.
    budget: BTreeMap<String, (f64, Timestamp)>,
    last_stamp: i128,
}

/// What is to be done with an event.
enum Plan {
    Skip,
    Write(Observed, String),
}

impl Recorder {
    /// A number for a name that was not used before.
    fn stamp(&mut self, now: Timestamp) -> i128 {
        self.last_stamp = now.as_nanosecond().max(self.last_stamp + 1);
        self.last_stamp
    }

    fn observe(&mut self, identity: String, regarding: &Value, now: Timestamp) -> Observed {
        if self.observed.len() > KEPT {
            // The oldest half goes.
            let mut times: Vec<Timestamp> = self.observed.values().map(|o| o.last).collect();
            times.sort();
            let middle = times[times.len() / 2];
            self.observed.retain(|_, o| o.last > middle);
        }
        if let Some(known) = self.observed.get_mut(&identity) {
            known.count += 1;
            known.last = now;
            return known.clone();
        }
        let ns = match value::text(regarding, &["namespace"]) {
            "" => "default",
            ns => ns,
        };
        let name = format!(
            "{}.{:x}",
            value::text(regarding, &["name"]),
            self.stamp(now)
        );
        let new = Observed {
            key: (ns.to_owned(), name),
            count: 1,
            first: now,
            last: now,
        };
        self.observed.insert(identity, new.clone());
        new
    }

    /// The older controllers: equal events are counted, similar ones combined, too many dropped.
    fn plan_counted(&mut self, regarding: &Value, event: &EventRecord, now: Timestamp) -> Plan {
        let source = format!("{:?}\u{0}{}", event.source, about(regarding));
        let alike = format!("{source}\u{0}{}\u{0}{}", event.kind, event.reason);
        let mut identity = format!(
            "{alike}\u{0}{}\u{0}{}",
            value::text(regarding, &["fieldPath"]),
            event.message
        );
        let mut message = event.message.clone();
        if self.similar.len() > KEPT {
            self.similar
                .retain(|_, (_, at)| seconds_since(*at, now) <= SIMILAR_WITHIN as f64);
        }
        let (messages, at) = self
            .similar
            .entry(alike.clone())
            .or_insert_with(|| (BTreeSet::new(), now));
        if seconds_since(*at, now) > SIMILAR_WITHIN as f64 {
            messages.clear();
        }
        *at = now;
        messages.insert(message.clone());
        if messages.len() >= SIMILAR {
            messages.pop_first();
            identity = alike;
            message = format!("{COMBINED}: {message}");
        }
        let observed = self.observe(identity, regarding, now);
        if self.budget.len() > KEPT {
            self.budget
                .retain(|_, (_, at)| seconds_since(*at, now) < BURST * REFILL);
        }
        let (left, at) = self.budget.entry(source).or_insert((BURST, now));
        *left = (*left + seconds_since(*at, now) / REFILL).min(BURST);
        *at = now;
        if *left < 1.0 {
            return Plan::Skip;
        }
        *left -= 1.0;
        Plan::Write(observed, message)
    }

    /// The newer ones: a repetition opens a series, and what follows within it stays unwritten.
    fn plan_series(&mut self, regarding: &Value, event: &EventRecord, now: Timestamp) -> Plan {
        let identity = format!(
            "{:?}\u{0}{}\u{0}{}\u{0}{}\u{0}{}",
            event.source,
            about(regarding),
            value::text(regarding, &["resourceVersion"]),
            event.kind,
            event.reason
        );
        if self
            .observed
            .get(&identity)
            .is_some_and(|o| seconds_since(o.last, now) > SERIES as f64)
        {
            self.observed.remove(&identity);
        }
        let observed = self.observe(identity, regarding, now);
        if observed.count > 2 {
            Plan::Skip
        } else {
            Plan::Write(observed, event.message.clone())
        }
    }
}

fn seconds_since(then: Timestamp, now: Timestamp) -> f64 {
    now.duration_since(then).as_secs_f64()
}

/// Which object it is, whatever its version.
fn about(regarding: &Value) -> String {
    let parts: Vec<&str> = ["kind", "namespace", "name", "uid", "apiVersion"]
        .iter()
        .map(|k| value::text(regarding, &[k]))
        .collect();
    parts.join("\u{0}")
}

impl Cluster {
    /// Writes an event, or counts it up where the same one was written before.
    pub fn event(&self, event: EventRecord) {
        let now = self.now();
        let regarding = reference(&event.regarding);
        let plan = self.with_recorder(|r| match event.source {
            EventSource::Component { .. } => r.plan_counted(&regarding, &event, now),
            EventSource::Controller { .. } => r.plan_series(&regarding, &event, now),
        });
        let Plan::Write(observed, message) = plan else {
            return;
        };
        let (ns, name) = observed.key.clone();
        let event = EventRecord { message, ..event };
        if observed.count > 1
            && self
                .modify("events", &ns, &name, |object| {
                    repeat(object, &event, &observed, now)
                })
                .is_ok()
        {
            return;
        }
        let mut object = first(&ns, &name, &regarding, &event, observed.first);
        if observed.count > 1 {
            repeat(&mut object, &event, &observed, now);
        }
        // A namespace that is going takes no more events, and nobody misses them.
        let _ = self.create("events", object);
    }
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
            // Those who combine events do not say who reported them.
            let combined = event.message.starts_with(COMBINED);
            object["reportingComponent"] = json!(if combined { "" } else { component });
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

fn repeat(object: &mut Value, event: &EventRecord, observed: &Observed, now: Timestamp) {
    match &event.source {
        EventSource::Component { .. } => {
            object["message"] = json!(event.message);
            object["count"] = json!(observed.count);
            object["lastTimestamp"] = json!(value::time(now));
        }
        EventSource::Controller { .. } => {
            object["series"] =
                json!({"count": observed.count, "lastObservedTime": value::micro_time(now)});
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;

    fn told(cluster: &Cluster) -> Vec<(String, i64)> {
        cluster
            .list("events", None)
            .iter()
            .map(|e| {
                (
                    value::text(e, &["message"]).to_owned(),
                    e["count"].as_i64().unwrap_or(0),
                )
            })
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn many_similar_events_become_one_and_too_many_are_dropped() {
        let start = "2026-01-01T00:00:00Z".parse().unwrap();
        let cluster = Cluster::new(Options {
            seed: 1,
            clock: clock::Clock::simulated(start),
        });
        let about = json!({"kind": "Deployment", "namespace": "default", "name": "web"});
        for i in 0..12 {
            cluster.event(EventRecord::new(
                &about,
                "Normal",
                "Scaled",
                format!("to {i}"),
                "c",
            ));
        }
        let told = told(&cluster);
        assert_eq!(told.len(), 10, "nine of their own and one for the rest");
        assert_eq!(
            told[9],
            ("(combined from similar events): to 11".to_owned(), 3)
        );
        for _ in 0..50 {
            cluster.event(EventRecord::new(&about, "Warning", "Failed", "no", "c"));
        }
        let failed = cluster.list("events", None);
        let failed = failed.iter().find(|e| e["reason"] == "Failed").unwrap();
        assert_eq!(failed["count"], 13, "25 writes in all");
        tokio::time::advance(std::time::Duration::from_secs(301)).await;
        cluster.event(EventRecord::new(&about, "Warning", "Failed", "no", "c"));
        let failed = cluster.list("events", None);
        let failed = failed.iter().find(|e| e["reason"] == "Failed").unwrap();
        assert_eq!(failed["count"], 51);
    }
}
