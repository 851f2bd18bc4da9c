//! Objects of one kind, followed by a watch and kept as what planning reads of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{BoxStream, Fuse};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::utils::{Backoff, StreamBackoff};
use kube::runtime::watcher::{self, Event};
use serde_json::Value;

/// Wait after a failed watch.
const RETRY: Duration = Duration::from_secs(1);

/// A wait between watch attempts without chance in it: kube's own exponential
/// one cannot be built without jitter from outside, and the simulation must
/// come out the same each time.
struct Steady;

impl Iterator for Steady {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(RETRY)
    }
}

impl Backoff for Steady {
    fn reset(&mut self) {}
}

/// A watch that goes on for ever.
pub type Objects = Fuse<BoxStream<'static, Result<Event<DynamicObject>, watcher::Error>>>;

/// Watches every object of a kind, and tries again a second after a failure.
pub fn watch(client: &kube::Client, resource: &ApiResource) -> Objects {
    let api = Api::<DynamicObject>::all_with(client.clone(), resource);
    StreamBackoff::new(watcher::watcher(api, watcher::Config::default()), Steady)
        .boxed()
        .fuse()
}

/// Whether a watch fails; it is tried again each second, and told once.
pub(crate) struct Outage {
    kind: &'static str,
    failing: bool,
}

impl Outage {
    pub fn of(kind: &'static str) -> Self {
        let failing = false;
        Self { kind, failing }
    }

    /// Tells the beginning and the end of an outage.
    pub fn note(&mut self, event: &Result<Event<DynamicObject>, watcher::Error>) {
        let kind = self.kind;
        let failed = match event {
            // A list that has only begun is no success.
            Ok(Event::Init) => return,
            Ok(_) => false,
            Err(_) => true,
        };
        match (std::mem::replace(&mut self.failing, failed), event) {
            (false, Err(error)) => {
                let why = api::causes(error);
                tracing::warn!("{kind} cannot be watched, trying again: {why}");
            }
            (true, Ok(_)) => tracing::info!("{kind}: watching again"),
            _ => {}
        }
    }
}

/// `namespace/name`, which sorts as objects are listed.
type Key = (String, String);

/// What is known of each object of a kind.
pub(crate) struct Followed<T> {
    objects: Objects,
    read: fn(&Value) -> T,
    known: BTreeMap<Key, T>,
    unseen: BTreeSet<Key>,
    listed: bool,
    outage: Outage,
}

impl<T: PartialEq> Followed<T> {
    /// Follows a kind; `kind` names it in messages.
    pub fn new(
        client: &kube::Client,
        (kind, resource): (&'static str, &ApiResource),
        read: fn(&Value) -> T,
    ) -> Self {
        Self {
            objects: watch(client, resource),
            read,
            known: BTreeMap::new(),
            unseen: BTreeSet::new(),
            listed: false,
            outage: Outage::of(kind),
        }
    }

    /// Whether all of them have been listed once.
    pub fn is_listed(&self) -> bool {
        self.listed
    }

    /// What is known, in the order of names.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.known.values()
    }

    /// Waits for the next event.
    pub async fn event(&mut self) -> Option<Result<Event<DynamicObject>, watcher::Error>> {
        self.objects.next().await
    }

    /// Takes note of an event; true if something that is read has changed.
    pub fn take(&mut self, event: Result<Event<DynamicObject>, watcher::Error>) -> bool {
        self.outage.note(&event);
        match event {
            Ok(Event::Init) => {
                self.unseen = self.known.keys().cloned().collect();
                false
            }
            Ok(Event::InitApply(object) | Event::Apply(object)) => self.set(&object),
            Ok(Event::InitDone) => {
                let gone = std::mem::take(&mut self.unseen);
                let first = !std::mem::replace(&mut self.listed, true);
                let lost = gone
                    .iter()
                    .filter(|k| self.known.remove(*k).is_some())
                    .count();
                first || lost > 0
            }
            Ok(Event::Delete(object)) => self.known.remove(&key(&object)).is_some(),
            Err(_) => false,
        }
    }

    fn set(&mut self, object: &DynamicObject) -> bool {
        let key = key(object);
        self.unseen.remove(&key);
        let new = (self.read)(&value(object));
        if self.known.get(&key) == Some(&new) {
            return false;
        }
        self.known.insert(key, new);
        true
    }
}

fn key(object: &DynamicObject) -> Key {
    let meta = &object.metadata;
    (
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}

/// An object as JSON, which is what the rules read.
pub(crate) fn value(object: &DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or(Value::Null)
}
