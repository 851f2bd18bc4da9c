//! The work queue: keys in order, each once, some of them later.
//!
//! Order is by key, never by arrival or hash, so that the same changes lead to the same work
//! in the same order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

const FIRST_RETRY: Duration = Duration::from_millis(10);
const LAST_RETRY: Duration = Duration::from_secs(300);

/// Keys that are due, keys that will be, and how often each failed in a row.
pub(crate) struct Queue<K> {
    due: BTreeSet<K>,
    later: BTreeSet<(Instant, K)>,
    at: BTreeMap<K, Instant>,
    failures: BTreeMap<K, u32>,
}

impl<K: Ord + Clone> Queue<K> {
    pub(crate) fn new() -> Self {
        Self {
            due: BTreeSet::new(),
            later: BTreeSet::new(),
            at: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }

    /// Makes `key` due now.
    pub(crate) fn add(&mut self, key: K) {
        self.due.insert(key);
    }

    /// Makes `key` due at `when`; of two such times the earlier holds.
    pub(crate) fn add_at(&mut self, key: K, when: Instant) {
        if let Some(known) = self.at.get(&key).copied() {
            if known <= when {
                return;
            }
            self.later.remove(&(known, key.clone()));
        }
        self.at.insert(key.clone(), when);
        self.later.insert((when, key));
    }

    /// Makes `key` due after its back-off, which doubles with each failure in a row.
    pub(crate) fn retry(&mut self, key: K, now: Instant) {
        let n = self.failures.entry(key.clone()).or_insert(0);
        let wait = FIRST_RETRY
            .saturating_mul(1 << (*n).min(16))
            .min(LAST_RETRY);
        *n += 1;
        self.add_at(key, now + wait);
    }

    /// Ends the back-off of `key`.
    pub(crate) fn forget(&mut self, key: &K) {
        self.failures.remove(key);
    }

    /// The first key that is due.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<K> {
        while let Some((when, _)) = self.later.first() {
            if *when > now {
                break;
            }
            if let Some((_, key)) = self.later.pop_first() {
                self.at.remove(&key);
                self.due.insert(key);
            }
        }
        self.due.pop_first()
    }

    /// When the next key becomes due, if none is now.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.later.first().map(|(when, _)| *when)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn keys_come_in_order_once_and_when_due() {
        let mut q = Queue::new();
        let now = Instant::now();
        q.add("b");
        q.add("a");
        q.add("b");
        q.add_at("c", now + Duration::from_secs(5));
        q.add_at("c", now + Duration::from_secs(2));
        q.add_at("c", now + Duration::from_secs(9));
        assert_eq!(
            (q.pop(now), q.pop(now), q.pop(now)),
            (Some("a"), Some("b"), None)
        );
        assert_eq!(q.next_at(), Some(now + Duration::from_secs(2)));
        assert_eq!(q.pop(now + Duration::from_secs(2)), Some("c"));
        assert_eq!(q.pop(now + Duration::from_secs(60)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_wait_longer_each_time_until_forgotten() {
        let mut q = Queue::new();
        let now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..3 {
            q.retry("a", now);
            waits.push(q.next_at().map(|t| (t - now).as_millis()));
            q.pop(now + LAST_RETRY);
        }
        assert_eq!(waits, [Some(10), Some(20), Some(40)]);
        q.forget(&"a");
        q.retry("a", now);
        assert_eq!(q.next_at().map(|t| (t - now).as_millis()), Some(10));
    }
}
