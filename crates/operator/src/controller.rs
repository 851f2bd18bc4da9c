//! The controller: one ordered queue, and a few reconciles at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use api::keda::{
    FORCE_ACTIVATION, PAUSED, PAUSED_REPLICAS, PAUSED_SCALE_IN, PAUSED_SCALE_OUT,
    TriggerAuthentication,
};
use decide::scale::conditions::{self, READY};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::queue::{self, Queue};
use crate::reconcile::{Checked, Reconciler};
use crate::state::{Key, Shared, key_of};
use crate::watches::{self, Message, Source};
use crate::{auth, io};

/// What waits in the queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    Object(Key),
    /// What an object's checks found is to be written down.
    Status(Key),
    Auth(Key),
    Job(Key),
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, (namespace, name)) = match self {
            Self::Object(key) => ("ScaledObject", key),
            Self::Status(key) => ("status of ScaledObject", key),
            Self::Auth(key) => ("TriggerAuthentication", key),
            Self::Job(key) => ("ScaledJob", key),
        };
        write!(f, "{what} {namespace}/{name}")
    }
}

impl queue::Key for Work {
    fn is_urgent(&self) -> bool {
        matches!(self, Self::Object(_))
    }
}

/// What has to be written down of an object whose checks are done, or why
/// something has to be tried again.
type Outcome = Result<Option<Arc<Checked>>, String>;

/// Reconciles at a time; KEDA has as many for ScaledObjects.
const AT_A_TIME: usize = 5;

/// Owns the queue and decides who is looked at.
pub(crate) struct Controller {
    shared: Arc<Shared>,
    reconciler: Arc<Reconciler>,
    queue: Queue<Work>,
    /// What calls for a reconcile, of each ScaledObject as last watched. The cache
    /// would not do: an answer to our own write may bring a user's change there
    /// before the watch tells of it.
    seen: BTreeMap<Key, Value>,
    /// Why work fails that is tried again.
    told: BTreeMap<Work, String>,
    /// What checks found and is not written down yet.
    checked: BTreeMap<Key, Arc<Checked>>,
    /// Authentications as last watched, with the generation last told of.
    auths: BTreeMap<Key, (Value, Option<i64>)>,
    jobs: BTreeMap<Key, Value>,
}

impl Controller {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            reconciler: Arc::new(Reconciler::new(Arc::clone(&shared))),
            shared,
            queue: Queue::new(),
            seen: BTreeMap::new(),
            told: BTreeMap::new(),
            checked: BTreeMap::new(),
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
            self.reconciler.running().watches.insert(source, task);
        }
        let mut working = FuturesUnordered::new();
        loop {
            while let Ok(message) = inbox.try_recv() {
                self.take_in(message);
            }
            while working.len() < AT_A_TIME
                && let Some(work) = self.queue.next(Instant::now())
            {
                working.push(self.begin(work));
            }
            let due = self.queue.due().filter(|_| working.len() < AT_A_TIME);
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
                Some((work, outcome)) = working.next() => self.end(work, outcome),
                () = wake => {}
            }
        }
    }

    /// Updates the caches and queues what has to be looked at.
    fn take_in(&mut self, message: Message) {
        match message {
            Message::Applied(Source::ScaledObject, value) => {
                let key = key_of(&value);
                if self.shared.keep(&value).is_none() {
                    tracing::warn!(namespace = key.0, name = key.1, "unreadable ScaledObject");
                    return;
                }
                let now = what_wakes(&value);
                if self.seen.get(&key) != Some(&now) {
                    self.seen.insert(key.clone(), now);
                    self.queue.add(Work::Object(key));
                }
            }
            Message::Deleted(Source::ScaledObject, key) => {
                self.reconciler.running().loops.remove(&key);
                self.queue_auths(&key);
                self.shared.forget(&key);
                self.checked.remove(&key);
                self.seen.remove(&key);
                for work in [Work::Status(key.clone()), Work::Object(key)] {
                    self.queue.forget(&work);
                    self.told.remove(&work);
                }
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
            Message::Synced(source) => {
                self.shared.state().synced.insert(source);
            }
            Message::Applied(Source::ScaledJob, value) => {
                let key = key_of(&value);
                self.jobs.insert(key.clone(), *value);
                self.queue.add(Work::Job(key));
            }
            Message::Deleted(Source::ScaledJob, key) => {
                self.jobs.remove(&key);
            }
        }
    }

    fn queue_known(&mut self, key: Key) {
        if self.shared.object(&key).is_some() {
            self.queue.add(Work::Object(key));
        }
    }

    /// The authentications of an object list who uses them.
    fn queue_auths(&mut self, key: &Key) {
        let object = self.shared.object(key);
        for used in object.iter().flat_map(|object| auth::used_by(object)) {
            self.queue.add(Work::Auth(used));
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

    /// Starts on what was taken from the queue.
    fn begin(&mut self, work: Work) -> BoxFuture<'static, (Work, Outcome)> {
        let shared = Arc::clone(&self.shared);
        match work.clone() {
            Work::Object(key) => {
                let reconciler = Arc::clone(&self.reconciler);
                let waiting = self.checked.get(&key).cloned();
                async move { (work, reconciler.check(&key, waiting).await) }.boxed()
            }
            Work::Status(key) => {
                let reconciler = Arc::clone(&self.reconciler);
                let checked = self.checked.get(&key).cloned();
                async move {
                    let done = match checked {
                        Some(checked) => reconciler.conclude(&key, checked).await,
                        None => Ok(()),
                    };
                    (work, done.map(|()| None))
                }
                .boxed()
            }
            Work::Auth(key) => {
                let known = self.auths.get_mut(&key).map(|(value, told)| {
                    let generation = value["metadata"]["generation"].as_i64();
                    let before = std::mem::replace(told, generation);
                    (value.clone(), before.is_some() && before != generation)
                });
                async move {
                    let Some((value, changed)) = known else {
                        return (work, Ok(None));
                    };
                    let done = auth::upkeep(&shared, &key, &value, changed).await;
                    (
                        work,
                        done.map(|()| None).map_err(|error| io::message(&error)),
                    )
                }
                .boxed()
            }
            Work::Job(key) => {
                let known = self.jobs.get(&key).cloned();
                async move {
                    let done = match known {
                        Some(value) => refuse_job(&shared, &key, &value).await,
                        None => Ok(()),
                    };
                    (work, done.map(|()| None))
                }
                .boxed()
            }
        }
    }

    fn end(&mut self, work: Work, outcome: Outcome) {
        let mut outcome = outcome;
        match (&work, &mut outcome) {
            (Work::Object(key), Ok(Some(checked))) => {
                self.checked.insert(key.clone(), Arc::clone(checked));
                self.queue.add(Work::Status(key.clone()));
                if let Some(failure) = checked.failure() {
                    outcome = Err(failure);
                }
            }
            (Work::Status(key), Ok(_)) if !self.queue.waits(&work) => {
                self.checked.remove(key);
                // Listed in a turn of the queue's own: a thousand objects may
                // share one authentication.
                self.queue_auths(key);
            }
            _ => {}
        }
        match outcome {
            Ok(_) => {
                self.told.remove(&work);
                self.queue.succeeded(&work);
            }
            Err(error) => {
                // A conflict heals at once; what goes on is told once.
                let in_a_row = self.queue.failed(work.clone(), Instant::now());
                if in_a_row > 1 && self.told.get(&work) != Some(&error) {
                    tracing::warn!("{work}: {error}; trying again");
                    self.told.insert(work, error);
                }
            }
        }
    }
}

/// ScaledJobs are accepted and told that nothing will run.
async fn refuse_job(shared: &Shared, key: &Key, value: &Value) -> Result<(), String> {
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
    let api = io::in_namespace(&shared.client, &key.0, &io::scaled_jobs());
    let written = io::patch_status(&api, &key.1, &json!({"conditions": wanted})).await;
    match written {
        Err(error) if !io::is_not_found(&error) => Err(io::message(&error)),
        _ => Ok(()),
    }
}

/// What of a ScaledObject calls for a reconcile when it changes.
fn what_wakes(object: &Value) -> Value {
    let steers = [
        PAUSED,
        PAUSED_REPLICAS,
        PAUSED_SCALE_IN,
        PAUSED_SCALE_OUT,
        FORCE_ACTIVATION,
    ];
    let meta = &object["metadata"];
    let steering = steers.map(|name| &meta["annotations"][name]);
    json!([
        meta["uid"],
        meta["generation"],
        meta["deletionTimestamp"],
        steering
    ])
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
