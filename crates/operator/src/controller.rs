//! The controller: one task, one ordered queue, one object at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::keda::{
    FORCE_ACTIVATION, PAUSED, PAUSED_REPLICAS, PAUSED_SCALE_IN, PAUSED_SCALE_OUT, ScaledObject,
    TriggerAuthentication,
};
use decide::scale::conditions::{self, READY};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::queue::Queue;
use crate::state::{Key, Shared, key_of};
use crate::target::Kinds;
use crate::watches::{self, Message, Source, Task};
use crate::{auth, io};

/// What waits in the queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    Object(Key),
    Auth(Key),
    Job(Key),
}

/// A running polling task.
pub(crate) struct Loop {
    pub(crate) generation: i64,
    pub(crate) _task: Task,
}

/// Owns the queue, the watches and the polling tasks.
pub(crate) struct Controller {
    pub(crate) shared: Arc<Shared>,
    queue: Queue<Work>,
    pub(crate) kinds: Kinds,
    pub(crate) watches: BTreeMap<Source, Task>,
    pub(crate) loops: BTreeMap<Key, Loop>,
    /// Authentications as last watched, with the generation last told of.
    auths: BTreeMap<Key, (Value, Option<i64>)>,
    jobs: BTreeMap<Key, Value>,
}

impl Controller {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            queue: Queue::new(),
            kinds: Kinds::default(),
            watches: BTreeMap::new(),
            loops: BTreeMap::new(),
            auths: BTreeMap::new(),
            jobs: BTreeMap::new(),
        }
    }

    pub(crate) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Message>) {
        for (resource, source) in [
            (io::auths(), Source::Auth),
            (io::cluster_auths(), Source::ClusterAuth),
            (io::hpas(), Source::Hpa),
            (io::scaled_objects(), Source::ScaledObject),
            (io::scaled_jobs(), Source::ScaledJob),
        ] {
            let outbox = self.shared.outbox.clone();
            let task = watches::watch(&self.shared.client, &resource, source.clone(), outbox);
            self.watches.insert(source, task);
        }
        loop {
            while let Ok(message) = inbox.try_recv() {
                self.take_in(message);
            }
            if let Some(work) = self.queue.next(Instant::now()) {
                self.work(work).await;
                continue;
            }
            let due = self.queue.due();
            let wake = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                message = inbox.recv() => match message {
                    Some(message) => self.take_in(message),
                    None => return,
                },
                () = wake => {}
            }
        }
    }

    /// Updates the caches and queues what has to be looked at.
    fn take_in(&mut self, message: Message) {
        match message {
            Message::Applied(Source::ScaledObject, value) => {
                let key = key_of(&value);
                let before = self.shared.object(&key);
                let Some(after) = self.shared.keep(&value) else {
                    tracing::warn!(namespace = key.0, name = key.1, "unreadable ScaledObject");
                    return;
                };
                if before.is_none_or(|before| wakes(&before, &after))
                    || !self.loops.contains_key(&key) && !self.was_seen(&key)
                {
                    self.queue.add(Work::Object(key));
                }
            }
            Message::Deleted(Source::ScaledObject, key) => {
                self.loops.remove(&key);
                self.shared.forget(&key);
                self.queue.forget(&Work::Object(key));
            }
            Message::Applied(source @ (Source::Auth | Source::ClusterAuth), value) => {
                let mut key = key_of(&value);
                if source == Source::ClusterAuth {
                    key.0.clear();
                }
                if let Ok(auth) = serde_json::from_value::<TriggerAuthentication>((*value).clone())
                {
                    let mut state = self.shared.state();
                    state.auths.insert(key.clone(), Arc::new(auth));
                    let users = value["status"]["scaledobjects"]
                        .as_str()
                        .unwrap_or_default();
                    state.auth_status.insert(key.clone(), users.to_owned());
                }
                let told = self.auths.get(&key).and_then(|(_, told)| *told);
                self.auths.insert(key.clone(), (*value, told));
                self.queue.add(Work::Auth(key));
            }
            Message::Deleted(Source::Auth | Source::ClusterAuth, key) => {
                self.auths.remove(&key);
                let mut state = self.shared.state();
                state.auths.remove(&key);
                state.auth_status.remove(&key);
            }
            Message::Applied(Source::Hpa, value) => {
                let key = key_of(&value);
                let owner = owner(&value).map(|name| (key.0.clone(), name));
                let after = Arc::new(*value);
                let before = self.shared.state().hpas.insert(key, Arc::clone(&after));
                let changed = before.is_none_or(|before| hpa_differs(&before, &after));
                if let Some(owner) = owner.filter(|_| changed) {
                    self.queue_known(owner);
                }
            }
            Message::Deleted(Source::Hpa, key) => {
                let before = self.shared.state().hpas.remove(&key);
                if let Some(name) = before.as_deref().and_then(owner) {
                    self.queue_known((key.0, name));
                }
            }
            Message::Applied(Source::Target(resource), value) => {
                let key = key_of(&value);
                let before = self
                    .shared
                    .state()
                    .targets
                    .insert((resource, key.clone()), Arc::new(*value));
                if before.is_none() {
                    self.target_appeared(&key);
                }
            }
            Message::Deleted(Source::Target(resource), key) => {
                self.shared.state().targets.remove(&(resource, key));
            }
            Message::Synced(Source::Target(resource)) => {
                self.shared.state().synced.insert(resource);
            }
            Message::Applied(Source::ScaledJob, value) => {
                let key = key_of(&value);
                self.jobs.insert(key.clone(), *value);
                self.queue.add(Work::Job(key));
            }
            Message::Deleted(Source::ScaledJob, key) => {
                self.jobs.remove(&key);
            }
            Message::Synced(_) => {}
        }
    }

    /// Whether the queue or an earlier reconcile has taken care of this object.
    fn was_seen(&self, key: &Key) -> bool {
        self.shared
            .object(key)
            .is_some_and(|object| !object.status.conditions.is_empty())
    }

    fn queue_known(&mut self, key: Key) {
        if self.shared.object(&key).is_some() {
            self.queue.add(Work::Object(key));
        }
    }

    /// A workload is there: whoever waited for it is looked at without delay.
    fn target_appeared(&mut self, target: &Key) {
        let waiting: Vec<Key> = {
            let state = self.shared.state();
            let objects = state.objects.iter().filter(|((namespace, _), cached)| {
                *namespace == target.0
                    && cached.object.spec.scale_target_ref.name == target.1
                    && conditions::status_of(&cached.object.status.conditions, READY) != "True"
            });
            objects.map(|(key, _)| key.clone()).collect()
        };
        for key in waiting {
            let work = Work::Object(key);
            self.queue.forget(&work);
            self.queue.add(work);
        }
    }

    async fn work(&mut self, work: Work) {
        let outcome = match &work {
            Work::Object(key) => self.object(key).await,
            Work::Auth(key) => self.authentication(key).await,
            Work::Job(key) => self.job(key).await,
        };
        match outcome {
            Ok(()) => self.queue.succeeded(&work),
            Err(error) => {
                tracing::debug!(?work, error, "reconcile failed, trying again");
                self.queue.failed(work, Instant::now());
            }
        }
    }

    async fn authentication(&mut self, key: &Key) -> Result<(), String> {
        let Some((value, told)) = self.auths.get(key).cloned() else {
            return Ok(());
        };
        let generation = value["metadata"]["generation"].as_i64();
        let changed = told.is_some() && told != generation;
        auth::upkeep(&self.shared, key, &value, changed)
            .await
            .map_err(|error| io::message(&error))?;
        if let Some((_, told)) = self.auths.get_mut(key) {
            *told = generation;
        }
        Ok(())
    }

    /// ScaledJobs are accepted and told that nothing will run.
    async fn job(&mut self, key: &Key) -> Result<(), String> {
        let Some(value) = self.jobs.get(key) else {
            return Ok(());
        };
        let message = "ScaledJobs are not supported yet by Rheostat; use a ScaledObject";
        let wanted = json!([{
            "type": READY,
            "status": "False",
            "reason": "ScaledJobCheckFailed",
            "message": message,
        }]);
        if value["status"]["conditions"] == wanted {
            return Ok(());
        }
        let api = io::in_namespace(&self.shared.client, &key.0, &io::scaled_jobs());
        let written = io::patch_status(&api, &key.1, &json!({"conditions": wanted})).await;
        match written {
            Err(error) if !io::is_not_found(&error) => Err(io::message(&error)),
            _ => Ok(()),
        }
    }
}

/// Whether a change of a ScaledObject calls for a reconcile.
fn wakes(before: &ScaledObject, after: &ScaledObject) -> bool {
    let steers = [
        PAUSED,
        PAUSED_REPLICAS,
        PAUSED_SCALE_IN,
        PAUSED_SCALE_OUT,
        FORCE_ACTIVATION,
    ];
    let annotation = |object: &ScaledObject, name| object.metadata.annotations.get(name).cloned();
    before.metadata.uid != after.metadata.uid
        || before.metadata.generation != after.metadata.generation
        || before.metadata.deletion_timestamp != after.metadata.deletion_timestamp
        || steers
            .iter()
            .any(|name| annotation(before, *name) != annotation(after, *name))
}

fn hpa_differs(before: &Value, after: &Value) -> bool {
    let (old, new) = (&before["metadata"], &after["metadata"]);
    before["spec"] != after["spec"]
        || old["labels"] != new["labels"]
        || old["annotations"] != new["annotations"]
        || old["uid"] != new["uid"]
}

/// The ScaledObject that owns an HPA.
fn owner(hpa: &Value) -> Option<String> {
    let owners = hpa["metadata"]["ownerReferences"].as_array()?;
    let found = owners
        .iter()
        .find(|owner| owner["kind"] == "ScaledObject")?;
    found["name"].as_str().map(str::to_owned)
}
