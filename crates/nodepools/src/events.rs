//! Writes events, counting up those that repeat.

use std::collections::BTreeMap;

use clock::Clock;
use decide::nodes::{Event, Target};
use jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::status::{CONFIG_MAP, NAMESPACE};

const COMPONENT: &str = "cluster-autoscaler";
/// An event that was last written so long ago has been removed by the server.
const KEPT: i64 = 3600;
/// How often the events that are gone are forgotten; patching one finds none and makes it anew.
const SWEEP: i64 = 60;
/// Added to the time in names, so that they differ from those of writers that
/// name their events by the very same instant.
const APART: i128 = 400_000_357;
/// Names tried for one event.
const ATTEMPTS: u32 = 8;
/// Nanoseconds between two names that are tried.
const STEP: i128 = 1_009;

type Identity = (String, String, &'static str, String);

/// Where an event was written, how often and when last.
struct Written {
    namespace: String,
    name: String,
    count: u64,
    last: Timestamp,
}

/// Writes events to the API.
pub(crate) struct Recorder {
    client: kube::Client,
    clock: Clock,
    written: BTreeMap<Identity, Written>,
    swept: Timestamp,
    last_stamp: i128,
}

impl Recorder {
    pub fn new(client: kube::Client, clock: Clock) -> Self {
        Self {
            client,
            clock,
            written: BTreeMap::new(),
            swept: Timestamp::UNIX_EPOCH,
            last_stamp: 0,
        }
    }

    fn api(&self, namespace: &str) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Event>(&());
        Api::namespaced_with(self.client.clone(), namespace, &resource)
    }

    /// Writes an event; a failure is logged and nothing more, as events are news, not state.
    pub async fn tell(&mut self, event: &Event, node_uids: &BTreeMap<String, String>) {
        let object = match &event.target {
            Target::Pod(key, uid) => json!({
                "apiVersion": "v1", "kind": "Pod", "namespace": *key.namespace,
                "name": *key.name, "uid": uid,
            }),
            Target::Node(name) => json!({
                "apiVersion": "v1", "kind": "Node", "name": name,
                "uid": node_uids.get(name).map_or("", String::as_str),
            }),
            Target::Status => json!({
                "apiVersion": "v1", "kind": "ConfigMap", "namespace": NAMESPACE,
                "name": CONFIG_MAP,
            }),
        };
        if let Err(error) = self.write(event, &object).await {
            tracing::warn!(%error, reason = event.reason, "writing an event failed");
        }
    }

    async fn write(&mut self, event: &Event, object: &Value) -> Result<(), kube::Error> {
        let now = self.clock.now();
        // Looking through all of them with each event would cost the square of their number.
        if now.as_second() - self.swept.as_second() >= SWEEP {
            self.swept = now;
            self.written
                .retain(|_, w| now.as_second() - w.last.as_second() < KEPT);
        }
        let text = |field: &str| object[field].as_str().unwrap_or("").to_owned();
        let key = (
            format!("{}/{}", text("kind"), text("namespace")),
            format!("{}/{}", text("name"), text("uid")),
            event.reason,
            event.message.clone(),
        );
        let seconds = seconds(now);
        if let Some(known) = self.written.get(&key) {
            let patch = json!({"count": known.count + 1, "lastTimestamp": seconds});
            let api = self.api(&known.namespace);
            let params = PatchParams::default();
            if api
                .patch(&known.name, &params, &Patch::Merge(&patch))
                .await
                .is_ok()
            {
                if let Some(known) = self.written.get_mut(&key) {
                    known.count += 1;
                    known.last = now;
                }
                return Ok(());
            }
        }
        let namespace = match object["namespace"].as_str() {
            Some(namespace) => namespace.to_owned(),
            None => "default".to_owned(),
        };
        let name = self.create(event, object, &namespace, now).await?;
        self.written.insert(
            key,
            Written {
                namespace,
                name,
                count: 1,
                last: now,
            },
        );
        Ok(())
    }
}

impl Recorder {
    /// Creates the event under a name that nobody has taken: names carry the
    /// time, and other writers may use the same one.
    async fn create(
        &mut self,
        event: &Event,
        object: &Value,
        namespace: &str,
        now: Timestamp,
    ) -> Result<String, kube::Error> {
        let seconds = seconds(now);
        self.last_stamp = (now.as_nanosecond() + APART).max(self.last_stamp + 1);
        let mut attempts = 0;
        loop {
            let name = format!(
                "{}.{:x}",
                object["name"].as_str().unwrap_or(""),
                self.last_stamp
            );
            let body = json!({
                "apiVersion": "v1", "kind": "Event",
                "metadata": {"name": name, "namespace": namespace},
                "involvedObject": object,
                "type": if event.warning { "Warning" } else { "Normal" },
                "reason": event.reason, "message": event.message,
                "source": {"component": COMPONENT}, "reportingComponent": COMPONENT,
                "reportingInstance": "", "eventTime": null,
                "firstTimestamp": seconds, "lastTimestamp": seconds, "count": 1,
            });
            let body: DynamicObject =
                serde_json::from_value(body).map_err(kube::Error::SerdeError)?;
            match self
                .api(namespace)
                .create(&PostParams::default(), &body)
                .await
            {
                Ok(_) => return Ok(name),
                Err(kube::Error::Api(status)) if status.code == 409 && attempts < ATTEMPTS => {
                    attempts += 1;
                    self.last_stamp += STEP;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// A time as objects carry it.
fn seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second())
        .unwrap_or(time)
        .to_string()
}
