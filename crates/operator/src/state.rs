//! What the operator's tasks share: cached objects, built triggers, explanations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::keda::{ScaledObject, ScaledObjectStatus, TriggerAuthentication};
use decide::scale::Explanation;
use decide::scale::fallback::Read;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::Options;
use crate::events::{Recorder, Regarding};
use crate::io;
use crate::scalers::Scalers;
use crate::watches::{Message, Source};

/// Namespace and name.
pub(crate) type Key = (String, String);

/// A cached object with the version it was read at.
pub(crate) struct Cached<T> {
    pub(crate) object: Arc<T>,
    version: u64,
}

/// What is known of the cluster and of the triggers.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) objects: BTreeMap<Key, Cached<ScaledObject>>,
    /// Trigger authentications; the namespace of cluster-wide ones is empty.
    pub(crate) auths: BTreeMap<Key, Arc<TriggerAuthentication>>,
    pub(crate) auth_status: BTreeMap<Key, String>,
    pub(crate) hpas: BTreeMap<Key, Arc<Value>>,
    /// Workloads by group-resource, namespace and name.
    pub(crate) targets: BTreeMap<(String, Key), Arc<Value>>,
    /// What has been listed in full.
    pub(crate) synced: BTreeSet<Source>,
    pub(crate) scalers: BTreeMap<Key, Arc<Scalers>>,
    /// The last poll's reads, for triggers with cached metrics.
    pub(crate) reads: BTreeMap<(Key, String), Read>,
    locks: BTreeMap<Key, Arc<tokio::sync::Mutex<()>>>,
}

/// Shared by all tasks of one operator.
pub(crate) struct Shared {
    pub(crate) client: kube::Client,
    pub(crate) triggers: triggers::Context,
    pub(crate) options: Options,
    pub(crate) recorder: Recorder,
    pub(crate) outbox: mpsc::UnboundedSender<Message>,
    state: Mutex<State>,
}

impl Shared {
    pub(crate) fn new(
        client: kube::Client,
        triggers: triggers::Context,
        options: Options,
        outbox: mpsc::UnboundedSender<Message>,
        recorder: Recorder,
    ) -> Self {
        Self {
            client,
            triggers,
            options,
            recorder,
            outbox,
            state: Mutex::default(),
        }
    }

    /// The state; never held across an await.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest ScaledObject known under this key.
    pub(crate) fn object(&self, key: &Key) -> Option<Arc<ScaledObject>> {
        self.state()
            .objects
            .get(key)
            .map(|cached| Arc::clone(&cached.object))
    }

    /// Keeps an object unless a newer one is known, and returns the newest.
    ///
    /// The operator's own writes are kept as they are answered, so that a
    /// decision never rests on a cache that lags behind them.
    pub(crate) fn keep(&self, value: &Value) -> Option<Arc<ScaledObject>> {
        let object: ScaledObject = serde_json::from_value(value.clone()).ok()?;
        let version = resource_version(value);
        let key = (
            object.metadata.namespace.clone(),
            object.metadata.name.clone(),
        );
        let mut state = self.state();
        if let Some(known) = state.objects.get(&key)
            && known.version >= version
            && known.object.metadata.uid == object.metadata.uid
        {
            return Some(Arc::clone(&known.object));
        }
        let object = Arc::new(object);
        state.objects.insert(
            key,
            Cached {
                object: Arc::clone(&object),
                version,
            },
        );
        Some(object)
    }

    /// Keeps what a write of our own was answered with, unless the object has
    /// gone meanwhile: nobody would take it out again.
    pub(crate) fn keep_answer(&self, value: &Value) -> Option<Arc<ScaledObject>> {
        let known = self.object(&key_of(value))?;
        let same = value["metadata"]["uid"] == known.metadata.uid;
        same.then(|| self.keep(value))?
    }

    /// Forgets an object and everything kept for it.
    pub(crate) fn forget(&self, key: &Key) {
        let mut state = self.state();
        state.objects.remove(key);
        state.scalers.remove(key);
        state.locks.remove(key);
        state.reads.retain(|(owner, _), _| owner != key);
    }

    /// Drops an object's built triggers and the reads kept for the HPA.
    pub(crate) fn drop_scalers(&self, key: &Key) {
        let mut state = self.state();
        state.scalers.remove(key);
        state.reads.retain(|(owner, _), _| owner != key);
    }

    /// Serialises decisions about one object.
    pub(crate) fn lock_of(&self, key: &Key) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.state().locks.entry(key.clone()).or_default())
    }

    /// Passes on the reasons of a decision.
    pub(crate) fn explain(&self, object: &ScaledObject, now: Timestamp, explanation: &Explanation) {
        if let Some(report) = &self.options.on_decision {
            report(object, now, explanation);
        }
    }
}

/// The resourceVersion as a number; 0 where it is none.
pub(crate) fn resource_version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"]
        .as_str()
        .and_then(|t| t.parse().ok())
        .unwrap_or(0)
}

/// Namespace and name of an object.
pub(crate) fn key_of(object: &Value) -> Key {
    let text = |field: &str| {
        object["metadata"][field]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    (text("namespace"), text("name"))
}

impl Shared {
    /// Records an event about a ScaledObject.
    pub(crate) fn record(&self, object: &ScaledObject, event: &decide::scale::conditions::Event) {
        let key = (
            object.metadata.namespace.clone(),
            object.metadata.name.clone(),
        );
        let version = self
            .state()
            .objects
            .get(&key)
            .map_or(0, |cached| cached.version);
        let regarding = Regarding {
            api_version: api::keda::api_version(),
            kind: "ScaledObject".to_owned(),
            namespace: key.0,
            name: key.1,
            uid: object.metadata.uid.clone(),
            version: version.to_string(),
        };
        self.recorder.record(&regarding, event);
    }

    /// Writes what `status` changes in an object's status, if anything, and
    /// returns the object as it is then.
    pub(crate) async fn write_status(
        &self,
        object: &Arc<ScaledObject>,
        status: &ScaledObjectStatus,
    ) -> Result<Arc<ScaledObject>, kube::Error> {
        let json = |status: &ScaledObjectStatus| serde_json::to_value(status).unwrap_or_default();
        let Some(patch) = io::merge_diff(&json(&object.status), &json(status)) else {
            return Ok(Arc::clone(object));
        };
        let meta = &object.metadata;
        let api = io::in_namespace(&self.client, &meta.namespace, &io::scaled_objects());
        let written = io::patch_status(&api, &meta.name, &patch).await?;
        Ok(self
            .keep_answer(&written)
            .unwrap_or_else(|| Arc::clone(object)))
    }
}
