//! The sample store: series, their compressed samples, label postings, retention.
//!
//! All times are milliseconds since the epoch and come from the caller, so the store behaves
//! the same under a simulated clock.

mod chunk;
mod expo;
mod ingest;
mod series;

use crate::labels::{Labels, Matcher};
use crate::source::{SeriesData, Source};
use series::Series;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use expo::{ParseError, Sample as ExpositionSample, parse as parse_exposition};
pub use ingest::{ScrapeCache, ScrapeSummary};

/// Limits of a [`Store`].
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// How long samples are kept, counted back from the newest one.
    pub retention: Duration,
    /// Most series held at a time; samples of further ones are refused.
    pub max_series: usize,
    /// Most bytes held by compressed samples; beyond that the oldest ones go first.
    pub max_bytes: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(15 * 86_400),
            max_series: 200_000,
            max_bytes: 256 << 20,
        }
    }
}

/// Why a sample was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Older than the newest sample of its series.
    #[error("out of order sample")]
    OutOfOrder,
    /// A second, different value for a time.
    #[error("duplicate sample for timestamp")]
    Duplicate,
    /// Further from the epoch than any clock shows, or well ahead of the scrape.
    #[error("timestamp out of bounds")]
    OutOfBounds,
    /// The store holds as many series as it may.
    #[error("the store holds its limit of {0} series")]
    TooManySeries(usize),
}

/// What is known about a metric from TYPE, HELP and UNIT lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Metadata {
    /// counter, gauge, histogram, summary or unknown.
    pub kind: String,
    /// Help text.
    pub help: String,
    /// Unit, mostly empty.
    pub unit: String,
}

/// A scrape target as `/api/v1/targets` shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target {
    /// Labels before relabeling.
    pub discovered_labels: BTreeMap<String, String>,
    /// Labels that the target's series carry.
    pub labels: BTreeMap<String, String>,
    /// The scrape job.
    pub scrape_pool: String,
    /// Where the page is.
    pub scrape_url: String,
    /// Error of the last scrape, or empty.
    pub last_error: String,
    /// Time of the last scrape in milliseconds, if there was one.
    pub last_scrape_ms: Option<i64>,
    /// Seconds the last scrape took.
    pub last_scrape_duration: f64,
    /// Whether the last scrape succeeded; `None` before the first.
    pub up: Option<bool>,
    /// Time between scrapes.
    pub interval: Duration,
    /// Time a scrape may take.
    pub timeout: Duration,
}

#[derive(Default)]
struct Inner {
    options: StoreOptions,
    // Ids are never used twice, so a cached id can be stale but never wrong.
    series: Vec<Option<Box<Series>>>,
    by_labels: HashMap<Labels, u64>,
    // Ordered by name, then value; ids ascend.
    postings: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Vec<u64>>>,
    metadata: BTreeMap<String, Metadata>,
    targets: Vec<Target>,
    newest_t: Option<i64>,
    last_sweep: i64,
    sealed_bytes: usize,
}

/// Samples of many series, shared by clones.
#[derive(Clone, Default)]
pub struct Store(Arc<Mutex<Inner>>);

/// Size figures of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreStats {
    /// Series held.
    pub series: usize,
    /// Samples held.
    pub samples: usize,
    /// Bytes held by samples, compressed and not.
    pub sample_bytes: usize,
}

/// About 285,000 years either way: keeps arithmetic on times far from overflow.
const FURTHEST_MS: u64 = 9_000_000_000_000_000;

const METADATA_LIMIT: usize = 20_000;

impl Store {
    /// An empty store.
    pub fn new(options: StoreOptions) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            options,
            ..Inner::default()
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere cannot leave the maps half-changed in a way that reading makes worse.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one sample. A repeated equal sample is accepted and ignored.
    pub fn append(&self, labels: &Labels, t_ms: i64, value: f64) -> Result<(), AppendError> {
        let mut inner = self.lock();
        let id = inner.series_id(labels)?;
        inner.append_to(id, t_ms, value)
    }

    /// Replaces the list of targets that `/api/v1/targets` shows.
    pub fn set_targets(&self, targets: Vec<Target>) {
        self.lock().targets = targets;
    }

    /// The targets set last.
    pub fn targets(&self) -> Vec<Target> {
        self.lock().targets.clone()
    }

    /// What TYPE and HELP lines said, by metric name.
    pub fn metadata(&self) -> BTreeMap<String, Metadata> {
        self.lock().metadata.clone()
    }

    /// Labels of the series that satisfy any of the matcher sets (all series when there is no
    /// set) and have samples between the two times.
    pub fn series(&self, sets: &[Vec<Matcher>], mint: i64, maxt: i64) -> Vec<Labels> {
        let inner = self.lock();
        let mut out = BTreeSet::new();
        let everything = [Vec::new()];
        for set in if sets.is_empty() {
            &everything[..]
        } else {
            sets
        } {
            for s in inner.matching(set) {
                if s.overlaps(mint, maxt) {
                    out.insert(s.labels.clone());
                }
            }
        }
        out.into_iter().collect()
    }

    /// Figures about what is held.
    pub fn stats(&self) -> StoreStats {
        let inner = self.lock();
        let mut s = StoreStats {
            series: 0,
            samples: 0,
            sample_bytes: 0,
        };
        for x in inner.series.iter().flatten() {
            s.series += 1;
            s.samples += x.samples();
            s.sample_bytes += x.bytes();
        }
        s
    }
}

impl Inner {
    fn series_id(&mut self, labels: &Labels) -> Result<u64, AppendError> {
        if let Some(&id) = self.by_labels.get(labels) {
            return Ok(id);
        }
        if self.by_labels.len() >= self.options.max_series {
            return Err(AppendError::TooManySeries(self.options.max_series));
        }
        let labels = self.intern(labels);
        let id = self.series.len() as u64;
        for (n, v) in labels.arcs() {
            self.postings
                .entry(n.clone())
                .or_default()
                .entry(v.clone())
                .or_default()
                .push(id);
        }
        self.by_labels.insert(labels.clone(), id);
        self.series.push(Some(Box::new(Series::new(labels))));
        Ok(id)
    }

    // Equal names and values share one allocation across series.
    fn intern(&self, labels: &Labels) -> Labels {
        let pairs = labels
            .arcs()
            .iter()
            .map(|(n, v)| match self.postings.get_key_value(n) {
                Some((n, values)) => {
                    let v = values.get_key_value(v).map_or(v, |(v, _)| v);
                    (n.clone(), v.clone())
                }
                None => (n.clone(), v.clone()),
            });
        Labels::from_sorted(pairs.collect())
    }

    fn get(&mut self, id: u64) -> Option<&mut Series> {
        self.series
            .get_mut(usize::try_from(id).ok()?)?
            .as_deref_mut()
    }

    fn append_to(&mut self, id: u64, t: i64, v: f64) -> Result<(), AppendError> {
        if t.unsigned_abs() > FURTHEST_MS {
            return Err(AppendError::OutOfBounds);
        }
        let retention = i64::try_from(self.options.retention.as_millis()).unwrap_or(i64::MAX);
        let Some(s) = self.get(id) else { return Ok(()) };
        let sealed = s.append(t, v)?;
        self.sealed_bytes += sealed;
        if sealed > 0 && self.sealed_bytes > self.options.max_bytes {
            self.shrink(t);
        }
        if self.newest_t.is_none_or(|n| t > n) {
            self.newest_t = Some(t);
            if t.saturating_sub(self.last_sweep) > (retention / 24).max(60_000) {
                self.last_sweep = t;
                self.sweep(t.saturating_sub(retention));
            }
        }
        Ok(())
    }

    /// Drops the oldest tenth of what is held until a tenth of the limit is free.
    fn shrink(&mut self, now: i64) {
        for _ in 0..50 {
            if self.sealed_bytes <= self.options.max_bytes / 10 * 9 {
                return;
            }
            let oldest = self
                .series
                .iter()
                .flatten()
                .filter_map(|s| s.oldest_t())
                .min();
            let Some(oldest) = oldest.filter(|o| *o < now) else {
                return;
            };
            self.sweep(oldest + ((now - oldest) / 10).max(1_000));
        }
    }

    /// Forgets samples older than `oldest`, and series left without any.
    fn sweep(&mut self, oldest: i64) {
        self.sealed_bytes = 0;
        for id in 0..self.series.len() {
            let Some(s) = self.series[id].as_deref_mut() else {
                continue;
            };
            s.drop_before(oldest);
            self.sealed_bytes += s.sealed_bytes();
            if s.newest_t().is_some_and(|t| t >= oldest) {
                continue;
            }
            let Some(gone) = self.series[id].take() else {
                continue;
            };
            self.by_labels.remove(&gone.labels);
            for (n, v) in gone.labels.arcs() {
                let Some(values) = self.postings.get_mut(n) else {
                    continue;
                };
                if let Some(ids) = values.get_mut(v) {
                    if let Ok(i) = ids.binary_search(&(id as u64)) {
                        ids.remove(i);
                    }
                    if ids.is_empty() {
                        values.remove(v);
                    }
                }
                if values.is_empty() {
                    self.postings.remove(n);
                }
            }
        }
    }

    /// The series that satisfy all matchers, in no particular order.
    fn matching(&self, matchers: &[Matcher]) -> Vec<&Series> {
        // Start from the matcher with the fewest candidates and test the others one by one.
        let mut best: Option<Vec<&Vec<u64>>> = None;
        let total = |lists: &[&Vec<u64>]| lists.iter().map(|l| l.len()).sum::<usize>();
        for m in matchers.iter().filter(|m| !m.matches("")) {
            let values = self.postings.get(m.name.as_str());
            let lists: Vec<&Vec<u64>> = match (values, m.candidates()) {
                (None, _) => return Vec::new(),
                (Some(values), Some(c)) => {
                    let unique: BTreeSet<&str> = c.into_iter().collect();
                    unique.into_iter().filter_map(|v| values.get(v)).collect()
                }
                (Some(values), None) => values
                    .iter()
                    .filter(|(v, _)| m.matches(v))
                    .map(|(_, l)| l)
                    .collect(),
            };
            if best.as_ref().is_none_or(|b| total(&lists) < total(b)) {
                best = Some(lists);
            }
        }
        let ok = |s: &&Series| matchers.iter().all(|m| m.matches(s.labels.get(&m.name)));
        match best {
            Some(lists) => lists
                .into_iter()
                .flatten()
                .filter_map(|&id| self.series.get(id as usize)?.as_deref())
                .filter(ok)
                .collect(),
            None => self
                .series
                .iter()
                .flatten()
                .map(|s| &**s)
                .filter(ok)
                .collect(),
        }
    }

    fn note_metadata(&mut self, name: &str, set: impl FnOnce(&mut Metadata)) {
        if !self.metadata.contains_key(name) && self.metadata.len() >= METADATA_LIMIT {
            return;
        }
        set(self
            .metadata
            .entry(name.to_owned())
            .or_insert_with(|| Metadata {
                kind: "unknown".into(),
                ..Metadata::default()
            }));
    }
}

impl Source for Store {
    fn select(
        &self,
        matchers: &[Matcher],
        mint: i64,
        maxt: i64,
        newest_only: bool,
    ) -> Vec<SeriesData> {
        let inner = self.lock();
        let mut out: Vec<SeriesData> = inner
            .matching(matchers)
            .into_iter()
            .filter_map(|s| {
                let points = if newest_only {
                    s.newest_in(mint, maxt).into_iter().collect()
                } else {
                    s.read(mint, maxt)
                };
                (!points.is_empty()).then(|| SeriesData {
                    labels: s.labels.clone(),
                    points,
                    starts: None,
                })
            })
            .collect();
        out.sort_by(|a, b| a.labels.cmp(&b.labels));
        out
    }
}

#[cfg(test)]
mod tests;
