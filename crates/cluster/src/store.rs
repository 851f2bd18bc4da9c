//! What is stored: objects, one sequence of versions, and a bounded history.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::value::set_meta;
use crate::wake;

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It was written.
    Modified,
    /// It is gone; `object` is its last state.
    Deleted,
    /// The reader was too slow and missed changes: list again.
    Lagged,
}

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Change {
    /// Which kind, e.g. `deployments.apps`; "" for `Lagged`.
    pub resource: Arc<str>,
    /// What happened.
    pub kind: ChangeKind,
    /// The object as it is now (or was at the end); null for `Lagged`.
    pub object: Arc<Value>,
    /// The object before.
    pub old: Option<Arc<Value>>,
}

/// One change with its version; the JSON of the object is made at most once.
#[derive(Debug)]
pub(crate) struct Event {
    pub version: u64,
    pub change: Change,
    pub json: OnceLock<Bytes>,
}

impl Event {
    /// The object as JSON text.
    pub fn json(&self) -> Bytes {
        self.json
            .get_or_init(|| to_bytes(&self.change.object))
            .clone()
    }
}

/// JSON text of a value.
pub(crate) fn to_bytes(value: &Value) -> Bytes {
    serde_json::to_vec(value).map_or_else(|_| Bytes::from_static(b"null"), Bytes::from)
}

/// Namespace ("" for cluster scope) and name.
pub(crate) type Key = (String, String);

/// Events kept for each kind, however few objects it has.
const HISTORY: usize = 1024;
/// Events kept for subscribers.
const RING: usize = 4096;

/// The objects of one kind and their recent history.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub objects: BTreeMap<Key, Arc<Value>>,
    pub history: VecDeque<Arc<Event>>,
    /// Version of the newest event that is no longer kept.
    pub forgotten: u64,
    pub wake: wake::Sender,
}

impl Default for Shelf {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            history: VecDeque::new(),
            forgotten: 0,
            wake: wake::Sender::new(),
        }
    }
}

/// All shelves.
#[derive(Debug)]
pub(crate) struct Store {
    pub version: u64,
    pub shelves: BTreeMap<Arc<str>, Shelf>,
    pub ring: VecDeque<Arc<Event>>,
    /// Number of the first event in `ring`, counted from the start of time.
    pub ring_start: u64,
    pub wake: wake::Sender,
}

impl Store {
    pub fn new() -> Self {
        Self {
            version: 1,
            shelves: BTreeMap::new(),
            ring: VecDeque::new(),
            ring_start: 0,
            wake: wake::Sender::new(),
        }
    }

    pub fn get(&self, resource: &str, key: &Key) -> Option<&Arc<Value>> {
        self.shelves.get(resource)?.objects.get(key)
    }

    /// Stores (or, for `None`, removes) an object and records the change.
    ///
    /// The object gets the next version. `last` is the state a removed object
    /// shows to watchers.
    pub fn put(&mut self, resource: &Arc<str>, key: Key, mut object: Value) -> Arc<Value> {
        self.version += 1;
        set_meta(
            &mut object,
            "resourceVersion",
            Some(json!(self.version.to_string())),
        );
        let object = Arc::new(object);
        let shelf = self.shelves.entry(resource.clone()).or_default();
        let old = shelf.objects.insert(key, object.clone());
        let kind = if old.is_some() {
            ChangeKind::Modified
        } else {
            ChangeKind::Added
        };
        self.record(Change {
            resource: resource.clone(),
            kind,
            object: object.clone(),
            old,
        });
        object
    }

    /// Removes an object; `last` is the state that watchers see.
    pub fn remove(&mut self, resource: &Arc<str>, key: &Key, mut last: Value) -> Arc<Value> {
        self.version += 1;
        set_meta(
            &mut last,
            "resourceVersion",
            Some(json!(self.version.to_string())),
        );
        let object = Arc::new(last);
        let shelf = self.shelves.entry(resource.clone()).or_default();
        let old = shelf.objects.remove(key);
        let kind = ChangeKind::Deleted;
        self.record(Change {
            resource: resource.clone(),
            kind,
            object: object.clone(),
            old,
        });
        object
    }

    fn record(&mut self, change: Change) {
        let event = Arc::new(Event {
            version: self.version,
            change,
            json: OnceLock::new(),
        });
        let shelf = self
            .shelves
            .entry(event.change.resource.clone())
            .or_default();
        shelf.history.push_back(event.clone());
        let keep = HISTORY.max(4 * shelf.objects.len());
        while shelf.history.len() > keep {
            if let Some(gone) = shelf.history.pop_front() {
                shelf.forgotten = gone.version;
            }
        }
        let busiest = shelf.objects.len();
        shelf.wake.wake();
        self.ring.push_back(event);
        while self.ring.len() > RING.max(4 * busiest) {
            self.ring.pop_front();
            self.ring_start += 1;
        }
        self.wake.wake();
    }
}

/// A reader of every change from the moment it was made.
#[derive(Debug)]
pub struct Changes {
    cluster: Cluster,
    next: u64,
    wake: wake::Receiver,
}

impl Changes {
    pub(crate) fn new(cluster: Cluster, store: &Store) -> Self {
        Self {
            next: store.ring_start + store.ring.len() as u64,
            wake: store.wake.subscribe(),
            cluster,
        }
    }

    /// The next change, if there is one already.
    pub fn try_next(&mut self) -> Option<Change> {
        let cluster = self.cluster.clone();
        cluster.with_store(|store| {
            if self.next < store.ring_start {
                self.next = store.ring_start + store.ring.len() as u64;
                return Some(Change {
                    resource: "".into(),
                    kind: ChangeKind::Lagged,
                    object: Arc::new(Value::Null),
                    old: None,
                });
            }
            let at = usize::try_from(self.next - store.ring_start).ok()?;
            let event = store.ring.get(at)?;
            self.next += 1;
            Some(event.change.clone())
        })
    }

    /// The next change; waits for it.
    pub async fn next(&mut self) -> Change {
        loop {
            self.wake.mark();
            if let Some(change) = self.try_next() {
                return change;
            }
            self.wake.changed().await;
        }
    }
}
