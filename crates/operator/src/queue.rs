//! The work queue: ordered, without duplicates, with a back-off for failures.
//!
//! What is being worked on is not given out a second time: if it is added
//! meanwhile, it waits until it is finished, as in client-go's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

const FIRST_DELAY: Duration = Duration::from_millis(5);
/// KEDA waits up to 1,000 s. What heals here (a right, a Secret, an API server)
/// should be noticed while somebody still looks.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// While there is urgent work, only each so many-th turn is for what can wait.
const TURNS: u32 = 5;

/// What is worked on.
pub(crate) trait Key: Ord + Clone {
    /// Whether it comes before what can wait.
    fn is_urgent(&self) -> bool;
}

/// Keys to work on, in order of arrival; urgent ones come first.
#[derive(Debug)]
pub(crate) struct Queue<K> {
    urgent: VecDeque<K>,
    others: VecDeque<K>,
    turn: u32,
    waiting: BTreeSet<K>,
    active: BTreeSet<K>,
    delayed: BTreeSet<(Instant, K)>,
    failures: BTreeMap<K, u32>,
}

impl<K: Key> Queue<K> {
    pub(crate) fn new() -> Self {
        Self {
            urgent: VecDeque::new(),
            others: VecDeque::new(),
            turn: 0,
            waiting: BTreeSet::new(),
            active: BTreeSet::new(),
            delayed: BTreeSet::new(),
            failures: BTreeMap::new(),
        }
    }

    /// Adds a key unless it waits already.
    pub(crate) fn add(&mut self, key: K) {
        if self.waiting.insert(key.clone()) && !self.active.contains(&key) {
            self.line_up(key);
        }
    }

    fn line_up(&mut self, key: K) {
        let line = match key.is_urgent() {
            true => &mut self.urgent,
            false => &mut self.others,
        };
        line.push_back(key);
    }

    /// Whether a key has been added and not been taken since.
    pub(crate) fn waits(&self, key: &K) -> bool {
        self.waiting.contains(key)
    }

    /// Takes the next key that is due; it is active until it is finished.
    pub(crate) fn next(&mut self, now: Instant) -> Option<K> {
        while let Some((at, key)) = self.delayed.first().cloned() {
            if at > now {
                break;
            }
            self.delayed.remove(&(at, key.clone()));
            self.add(key);
        }
        self.turn = (self.turn + 1) % TURNS;
        let (first, second) = match self.turn {
            0 => (&mut self.others, &mut self.urgent),
            _ => (&mut self.urgent, &mut self.others),
        };
        let key = first.pop_front().or_else(|| second.pop_front())?;
        self.waiting.remove(&key);
        // What is worked on now needs no earlier retry.
        self.delayed.retain(|(_, other)| *other != key);
        self.active.insert(key.clone());
        Some(key)
    }

    fn finished(&mut self, key: &K) {
        if self.active.remove(key) && self.waiting.contains(key) {
            self.line_up(key.clone());
        }
    }

    /// When the next delayed key is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.delayed.first().map(|(at, _)| *at)
    }

    /// Finishes a key and forgets its earlier failures.
    pub(crate) fn succeeded(&mut self, key: &K) {
        self.failures.remove(key);
        self.finished(key);
    }

    /// Finishes a key that is tried again after a delay, which doubles with each
    /// failure in a row. How many there were now.
    pub(crate) fn failed(&mut self, key: K, now: Instant) -> u32 {
        self.finished(&key);
        let failures = self.failures.entry(key.clone()).or_default();
        let delay = FIRST_DELAY
            .saturating_mul(1 << (*failures).min(20))
            .min(LONGEST_DELAY);
        *failures = failures.saturating_add(1);
        let in_a_row = *failures;
        self.delayed.insert((now + delay, key));
        in_a_row
    }

    /// Drops the failures and the retry of a key; what waits stays.
    pub(crate) fn forget(&mut self, key: &K) {
        self.failures.remove(key);
        self.delayed.retain(|(_, other)| other != key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Key for &str {
        fn is_urgent(&self) -> bool {
            !self.starts_with("later")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_wait_waits_and_still_has_its_turn() {
        let now = Instant::now();
        let mut queue = Queue::new();
        for key in ["later 1", "later 2", "a", "b", "c", "d", "e", "f"] {
            queue.add(key);
        }
        let order: Vec<&str> = std::iter::from_fn(|| queue.next(now)).collect();
        let expected = ["a", "b", "c", "d", "later 1", "e", "f", "later 2"];
        assert_eq!(order, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_wait_twice_as_long_each_time() {
        let mut queue = Queue::new();
        let start = Instant::now();
        queue.failed("a", start);
        assert_eq!(queue.due(), Some(start + Duration::from_millis(5)));
        assert_eq!(queue.next(start), None);
        let due = start + Duration::from_millis(5);
        assert_eq!(queue.next(due), Some("a"));
        assert_eq!(queue.failed("a", due), 2);
        assert_eq!(queue.due(), Some(due + Duration::from_millis(10)));
        queue.succeeded(&"a");
        for _ in 0..30 {
            queue.failed("b", start);
        }
        queue.forget(&"a");
        assert!(queue.delayed.last().unwrap().0 <= start + LONGEST_DELAY);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_worked_on_is_not_given_out_again() {
        let now = Instant::now();
        let mut queue = Queue::new();
        queue.add("a");
        assert_eq!(queue.next(now), Some("a"));
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.next(now), Some("b"));
        assert_eq!(queue.next(now), None);
        queue.succeeded(&"a");
        assert_eq!(queue.next(now), Some("a"));
        queue.succeeded(&"a");
        queue.succeeded(&"b");
        assert_eq!(queue.next(now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_once_and_in_order() {
        let now = Instant::now();
        let mut queue = Queue::new();
        queue.add("b");
        queue.add("a");
        queue.add("b");
        queue.failed("a", now);
        assert_eq!(queue.next(now), Some("b"));
        assert_eq!(queue.next(now), Some("a"));
        assert_eq!(queue.next(now + LONGEST_DELAY), None);
    }
}
