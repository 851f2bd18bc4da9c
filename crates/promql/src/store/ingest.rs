//! Taking in one scrape: target labels, conflicts, staleness, the `up` family of series.

use super::expo::{Line, parse_series, read_line, read_value};
use super::{AppendError, Inner, ParseError, Store};
use crate::labels::Labels;
use crate::number::{format_bound, is_stale, parse_float, stale_nan};
use std::collections::{BTreeMap, HashMap};

/// How far a page's own timestamps may be ahead of its scrape.
const MOST_AHEAD_MS: i64 = 600_000;

/// What one scrape did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrapeSummary {
    /// Samples on the page.
    pub samples: usize,
    /// Series not in the previous scrape.
    pub added: usize,
    /// Samples refused (out of order, duplicate, too many series).
    pub refused: usize,
    /// Why the whole page was refused; it then counts as a failed scrape.
    pub error: Option<ParseError>,
}

struct Entry {
    series: Box<str>,
    id: u64,
    seen: u64,
    // Samples with their own time get no staleness marker.
    timed: bool,
}

/// Memory of a target's previous scrape: spares the parsing of labels, finds vanished series.
#[derive(Default)]
pub struct ScrapeCache {
    honor_labels: bool,
    target: Vec<(String, String)>,
    entries: Vec<Entry>,
    by_text: HashMap<Box<str>, usize>,
    comments: Vec<Box<str>>,
    own: Vec<u64>,
    round: u64,
}

impl ScrapeCache {
    /// A cache for a target that has not been scraped yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes scraped labels win over target labels of the same name (`honor_labels: true`).
    #[must_use]
    pub fn honor_labels(mut self, on: bool) -> Self {
        self.honor_labels = on;
        self
    }
}

enum Place {
    Known(usize),
    New { series: Box<str>, labels: Labels },
}

struct Page {
    samples: Vec<(Place, f64, Option<i64>)>,
    comments: Vec<Box<str>>,
}

impl Store {
    /// Takes in a page in the text exposition format, scraped at `t_ms` from a target with the
    /// given labels (`job`, `instance`, …). Series of the previous scrape that are gone get a
    /// staleness marker; a page that does not parse counts as a failed scrape.
    pub fn ingest(
        &self,
        text: &str,
        extra_labels: &[(String, String)],
        t_ms: i64,
        previous: &mut ScrapeCache,
    ) -> ScrapeSummary {
        let mut inner = self.lock();
        previous.retarget(&mut inner, extra_labels, t_ms);
        match previous.read_page(text) {
            Ok(page) => previous.commit(&mut inner, page, t_ms),
            Err(e) => {
                previous.fail(&mut inner, t_ms);
                ScrapeSummary {
                    error: Some(e),
                    ..ScrapeSummary::default()
                }
            }
        }
    }

    /// Marks everything of a target that no longer exists as stale, `up` included.
    pub fn end_target(&self, t_ms: i64, previous: &mut ScrapeCache) {
        previous.end(&mut self.lock(), t_ms);
    }
}

impl ScrapeCache {
    fn retarget(&mut self, inner: &mut Inner, extra: &[(String, String)], t: i64) {
        if self.target != extra {
            self.end(inner, t);
            self.target = extra.to_vec();
        }
    }

    fn end(&mut self, inner: &mut Inner, t: i64) {
        self.mark_stale(inner, t, |_| true);
        for id in std::mem::take(&mut self.own) {
            // Refusals mean that the series already has a newer sample.
            let _ = inner.append_to(id, t, stale_nan());
        }
    }

    fn mark_stale(&mut self, inner: &mut Inner, t: i64, gone: impl Fn(&Entry) -> bool) {
        if !self.entries.iter().any(&gone) {
            return;
        }
        for e in self.entries.iter().filter(|e| gone(e) && !e.timed) {
            if inner
                .get(e.id)
                .and_then(|s| s.newest_value())
                .is_some_and(|v| !is_stale(v))
            {
                let _ = inner.append_to(e.id, t, stale_nan());
            }
        }
        self.entries.retain(|e| !gone(e));
        self.by_text = self
            .entries
            .iter()
            .enumerate()
            .map(|(i, e)| (e.series.clone(), i))
            .collect();
    }

    fn read_page(&self, text: &str) -> Result<Page, ParseError> {
        let mut page = Page {
            samples: Vec::with_capacity(self.entries.len()),
            comments: vec![],
        };
        let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
        // Pages mostly repeat their order, so the next entry is tried before the map.
        let mut next = 0;
        for (i, raw) in text.lines().enumerate() {
            let at = |what: String| ParseError { line: i + 1, what };
            if let Some((value, t_ms)) = self.entries.get(next).and_then(|e| {
                let rest = raw
                    .strip_prefix(&*e.series)
                    .filter(|r| r.starts_with(' '))?;
                read_value(rest).ok()
            }) {
                page.samples.push((Place::Known(next), value, t_ms));
                next += 1;
                continue;
            }
            match read_line(raw).map_err(at)? {
                Line::Blank => {}
                Line::Type { name, kind } => {
                    kinds.insert(name, kind);
                    page.comments.push(raw.into());
                }
                Line::Help { .. } => page.comments.push(raw.into()),
                Line::Sample {
                    series,
                    value,
                    t_ms,
                } => {
                    let hit = match self.entries.get(next) {
                        Some(e) if *e.series == *series => Some(next),
                        _ => self.by_text.get(series).copied(),
                    };
                    let place = match hit {
                        Some(at) => {
                            next = at + 1;
                            Place::Known(at)
                        }
                        None => Place::New {
                            series: series.into(),
                            labels: self.labels(series, &kinds).map_err(at)?,
                        },
                    };
                    page.samples.push((place, value, t_ms));
                }
            }
        }
        Ok(page)
    }

    /// The final labels of a scraped series.
    fn labels(&self, series: &str, kinds: &BTreeMap<&str, &str>) -> Result<Labels, String> {
        let mut scraped = parse_series(series)?;
        let name = scraped
            .iter()
            .find(|(n, _)| n == "__name__")
            .map_or("", |(_, v)| v.as_str());
        let kind = |n: &str| kinds.get(n).copied().unwrap_or("");
        let bound = match name.strip_suffix("_bucket") {
            Some(base) if kind(base) == "histogram" => "le",
            _ if kind(name) == "summary" => "quantile",
            _ => "",
        };
        for (n, v) in &mut scraped {
            if n == bound
                && let Some(f) = parse_float(v)
            {
                *v = format_bound(f);
            }
        }
        let mut out: BTreeMap<String, String> = BTreeMap::new();
        for (n, v) in &self.target {
            out.insert(n.clone(), v.clone());
        }
        if self.honor_labels {
            out.extend(scraped);
        } else {
            let taken: Vec<String> = scraped.iter().map(|(n, _)| n.clone()).collect();
            for (n, v) in scraped {
                let mut n = n;
                while !v.is_empty() && out.contains_key(&n) {
                    n = format!("exported_{n}");
                    while taken.contains(&n) {
                        n = format!("exported_{n}");
                    }
                }
                if !v.is_empty() {
                    out.insert(n, v);
                }
            }
        }
        Ok(Labels::from_pairs(out))
    }

    fn commit(&mut self, inner: &mut Inner, page: Page, t: i64) -> ScrapeSummary {
        self.round += 1;
        let round = self.round;
        if self.comments != page.comments {
            note_comments(inner, &page.comments);
            self.comments = page.comments;
        }
        let mut sum = ScrapeSummary {
            samples: page.samples.len(),
            ..ScrapeSummary::default()
        };
        for (place, value, own_t) in page.samples {
            let at = match place {
                Place::Known(at) => at,
                Place::New { series, labels } => {
                    // A page may name the same new series twice.
                    if let Some(&at) = self.by_text.get(&series) {
                        at
                    } else {
                        let Ok(id) = inner.series_id(&labels) else {
                            sum.refused += 1;
                            continue;
                        };
                        let at = self.entries.len();
                        self.by_text.insert(series.clone(), at);
                        self.entries.push(Entry {
                            series,
                            id,
                            seen: 0,
                            timed: false,
                        });
                        sum.added += 1;
                        at
                    }
                }
            };
            if inner.get(self.entries[at].id).is_none() && self.revive(inner, at).is_err() {
                sum.refused += 1;
                continue;
            }
            let e = &mut self.entries[at];
            e.seen = round;
            e.timed = own_t.is_some();
            let ahead = own_t.is_some_and(|own| own > t.saturating_add(MOST_AHEAD_MS));
            if ahead || inner.append_to(e.id, own_t.unwrap_or(t), value).is_err() {
                sum.refused += 1;
            }
        }
        self.mark_stale(inner, t, |e| e.seen != round);
        let report = [
            1.0,
            0.0,
            sum.samples as f64,
            sum.samples as f64,
            sum.added as f64,
        ];
        self.report(inner, t, report);
        sum
    }

    // Retention may have removed a series whose samples carry old times of their own.
    fn revive(&mut self, inner: &mut Inner, at: usize) -> Result<(), AppendError> {
        let labels = self
            .labels(&self.entries[at].series, &BTreeMap::new())
            .unwrap_or_default();
        self.entries[at].id = inner.series_id(&labels)?;
        Ok(())
    }

    fn fail(&mut self, inner: &mut Inner, t: i64) {
        self.mark_stale(inner, t, |_| true);
        self.report(inner, t, [0.0; 5]);
    }

    fn report(&mut self, inner: &mut Inner, t: i64, values: [f64; 5]) {
        const NAMES: [&str; 5] = [
            "up",
            "scrape_duration_seconds",
            "scrape_samples_scraped",
            "scrape_samples_post_metric_relabeling",
            "scrape_series_added",
        ];
        if self.own.is_empty() {
            for name in NAMES {
                let target = self.target.iter().map(|(n, v)| (n.as_str(), v.as_str()));
                let labels = Labels::from_pairs(target.chain([("__name__", name)]));
                self.own.extend(inner.series_id(&labels));
            }
        }
        for (&id, v) in self.own.iter().zip(values) {
            let _ = inner.append_to(id, t, v);
        }
    }
}

fn note_comments(inner: &mut Inner, comments: &[Box<str>]) {
    for c in comments {
        match read_line(c) {
            Ok(Line::Type { name, kind }) => {
                let kind = if kind == "untyped" { "unknown" } else { kind };
                inner.note_metadata(name, |m| m.kind = kind.to_owned());
            }
            Ok(Line::Help { name, text }) => {
                let text = text.replace("\\n", "\n").replace("\\\\", "\\");
                inner.note_metadata(name, |m| m.help = text);
            }
            _ => {}
        }
    }
}
