//! A bounded log in memory, for whoever decides and answers questions later.

use std::collections::{BTreeMap, VecDeque};

use super::{Explanation, Object, Record};

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Records of all objects together.
    pub records: usize,
}

impl Default for Limits {
    /// About 20 MB: two days of one workload, two hours of twenty-five.
    fn default() -> Self {
        Self { records: 20_000 }
    }
}

/// The latest records in order of time. When it is full, the oldest goes.
#[derive(Clone, Debug, Default)]
pub struct History {
    limits: Limits,
    records: VecDeque<Record>,
    /// The latest decision about each object's nodes, to tell news by.
    waiting: BTreeMap<Object, super::WaitingPods>,
}

impl History {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Adds a record; one that is older than the latest is put in its place.
    /// Pods that go on waiting for the same reason are no news.
    pub fn add(&mut self, record: Record) {
        if let Explanation::Nodes(waiting) = &record.explanation {
            let known = self.waiting.get(&record.object);
            if known.map_or(waiting.pods.is_empty(), |k| k == waiting) {
                return;
            }
            match waiting.pods.is_empty() {
                true => self.waiting.remove(&record.object),
                false => self.waiting.insert(record.object.clone(), waiting.clone()),
            };
        }
        let later = self.records.iter().rev();
        let at = self.records.len() - later.take_while(|r| r.time > record.time).count();
        self.records.insert(at, record);
        if self.records.len() > self.limits.records {
            self.forget_oldest();
        }
    }

    /// Lets the oldest record go. Where it is the last word on an object's nodes,
    /// the next decision about them is news again, the same or not.
    fn forget_oldest(&mut self) {
        let Some(oldest) = self.records.pop_front() else {
            return;
        };
        let of_nodes = |r: &Record| matches!(r.explanation, Explanation::Nodes(_));
        let same = |r: &Record| of_nodes(r) && r.object == oldest.object;
        if of_nodes(&oldest) && !self.records.iter().any(same) {
            self.waiting.remove(&oldest.object);
        }
    }

    /// Workloads whose pods wait, by the latest records.
    pub fn waiting(&self) -> impl Iterator<Item = &Object> {
        self.waiting.keys()
    }

    /// The records in order of time.
    pub fn records(&self) -> impl Iterator<Item = &Record> + Clone {
        self.records.iter()
    }
}
