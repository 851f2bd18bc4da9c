//! Events are kept for a while, then they go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::object::{name, namespace};
use crate::{Cluster, DeleteOptions};

/// Most events kept, however young they are.
const MOST: usize = 50_000;

type Key = (Arc<str>, Arc<str>);

/// When each event was last written.
#[derive(Default)]
pub(crate) struct Expiry {
    at: BTreeMap<Key, (Instant, u64)>,
    order: BTreeMap<(Instant, u64), Key>,
    next: u64,
}

impl Expiry {
    /// Takes note that an event was written now.
    pub(crate) fn touch(&mut self, event: &Value, now: Instant) {
        let key: Key = (namespace(event).into(), name(event).into());
        self.forget_key(&key);
        self.next += 1;
        self.at.insert(key.clone(), (now, self.next));
        self.order.insert((now, self.next), key);
    }

    /// Takes note that an event is gone.
    pub(crate) fn forget(&mut self, event: &Value) {
        self.forget_key(&(namespace(event).into(), name(event).into()));
    }

    fn forget_key(&mut self, key: &Key) {
        if let Some(place) = self.at.remove(key) {
            self.order.remove(&place);
        }
    }

    /// When the oldest event goes.
    pub(crate) fn next_at(&self, ttl: Duration) -> Option<Instant> {
        self.order.first_key_value().map(|((at, _), _)| *at + ttl)
    }

    /// Deletes the events whose time is over.
    pub(crate) fn sweep(&mut self, cluster: &Cluster, ttl: Duration, now: Instant) {
        let mut gone = BTreeSet::new();
        while let Some(((at, _), key)) = self.order.first_key_value() {
            if *at + ttl > now && self.order.len() <= MOST {
                break;
            }
            let key = key.clone();
            self.forget_key(&key);
            gone.insert(key);
        }
        for (ns, name) in gone {
            // An event that is gone already is what is wanted.
            let _ = cluster.delete("events", &ns, &name, DeleteOptions::default());
        }
    }
}
