//! The pods that have no node yet, and whose turn it is.
//!
//! Pods are tried by priority, then by time. One that was refused waits for
//! something to change; after a change it stands behind those that were not
//! refused lately, but does not wait longer than that.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use decide::fit::{PodInfo, PodKey};
use tokio::time::Instant;

/// After this time a refused pod is tried again even if nothing changed.
const RETRY: Duration = Duration::from_secs(300);

type Place = (Reverse<i64>, u64);

/// A pod without a node.
#[derive(Debug)]
pub(super) struct Waiting {
    /// What it asks for.
    pub pod: Arc<PodInfo>,
    /// The last sentence told as an event, and when.
    pub told: Option<(String, Instant)>,
    place: Place,
    state: State,
    attempts: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Active,
    /// A change may have helped; its back-off runs until then.
    BackOff(Instant),
    /// Refused at that time.
    Refused(Instant),
}

/// Pods without a node, in the order of their turns.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pods: BTreeMap<PodKey, Waiting>,
    active: BTreeMap<Place, PodKey>,
    back_off: BTreeMap<(Instant, Place), PodKey>,
    refused: BTreeSet<(Instant, PodKey)>,
    sequence: u64,
}

impl Queue {
    /// Adds a pod or takes note of its change; true if it has to be tried again.
    pub fn set(&mut self, pod: Arc<PodInfo>) {
        if let Some(known) = self.pods.get_mut(&pod.key) {
            let same = known.pod.class == pod.class && known.pod.uid == pod.uid;
            known.pod = pod.clone();
            if same {
                return;
            }
        }
        self.remove(&pod.key);
        self.sequence += 1;
        let place = (Reverse(pod.priority), self.sequence);
        self.active.insert(place, pod.key.clone());
        let entry = Waiting {
            place,
            state: State::Active,
            attempts: 0,
            told: None,
            pod,
        };
        self.pods.insert(entry.pod.key.clone(), entry);
    }

    /// Forgets a pod.
    pub fn remove(&mut self, key: &PodKey) -> Option<Waiting> {
        let entry = self.pods.remove(key)?;
        self.unlink(&entry);
        Some(entry)
    }

    fn unlink(&mut self, entry: &Waiting) {
        match entry.state {
            State::Active => {
                self.active.remove(&entry.place);
            }
            State::BackOff(until) => {
                self.back_off.remove(&(until, entry.place));
            }
            State::Refused(since) => {
                self.refused.remove(&(since, entry.pod.key.clone()));
            }
        }
    }

    /// The pod whose turn it is. It stays known until it is refused again or removed.
    pub fn next(&self) -> Option<Arc<PodInfo>> {
        let key = self
            .active
            .values()
            .next()
            .or_else(|| self.back_off.values().next())?;
        self.pods.get(key).map(|entry| entry.pod.clone())
    }

    /// Puts a pod back after a refusal.
    pub fn refuse(&mut self, key: &PodKey, now: Instant) -> Option<&mut Waiting> {
        let mut entry = self.remove(key)?;
        self.sequence += 1;
        entry.place = (Reverse(entry.pod.priority), self.sequence);
        entry.attempts = entry.attempts.saturating_add(1);
        entry.state = State::Refused(now);
        self.refused.insert((now, key.clone()));
        self.pods.insert(key.clone(), entry);
        self.pods.get_mut(key)
    }

    /// Something changed that may help: those for which `which` holds are tried again.
    pub fn wake(&mut self, now: Instant, which: impl Fn(&PodInfo) -> bool) {
        let helped: Vec<_> = self
            .refused
            .iter()
            .filter(|(_, key)| self.pods.get(key).is_some_and(|e| which(&e.pod)))
            .cloned()
            .collect();
        for item in helped {
            self.rouse(now, &item);
        }
    }

    /// Tries again those that were refused long ago.
    pub fn wake_overdue(&mut self, now: Instant) {
        while let Some(item) = self.refused.first().cloned() {
            if item.0 + RETRY > now {
                break;
            }
            self.rouse(now, &item);
        }
    }

    fn rouse(&mut self, now: Instant, item: &(Instant, PodKey)) {
        self.refused.remove(item);
        let Some(entry) = self.pods.get_mut(&item.1) else {
            return;
        };
        let until = item.0 + back_off(entry.attempts);
        if until > now {
            entry.state = State::BackOff(until);
            self.back_off.insert((until, entry.place), item.1.clone());
        } else {
            entry.state = State::Active;
            self.active.insert(entry.place, item.1.clone());
        }
    }

    /// When [`Queue::wake_overdue`] has something to do.
    pub fn overdue_at(&self) -> Option<Instant> {
        self.refused.first().map(|(since, _)| *since + RETRY)
    }
}

/// 1 s, doubling to 10 s.
fn back_off(attempts: u32) -> Duration {
    let seconds = 1_u64 << attempts.saturating_sub(1).min(4);
    Duration::from_secs(seconds.min(10))
}
