//! What the triggers read at a moment: the exporter's last sample in the last
//! scrape, of the replicas as they were then.

use std::collections::VecDeque;

use triggers::Reading;
use triggers::prometheus::reply::{empty, finite};

use super::fleet::{Fleet, millis};
use crate::load::Load;
use crate::model::{Model, Starting};
use crate::policy::{Policy, Trigger};
use crate::signal::{How, Page, Scrape};

/// Replicas that served from a moment on.
#[derive(Clone, Copy, Debug)]
struct Entry {
    since: i64,
    ready: u32,
    starting: u32,
    queue: f64,
}

/// One trigger's answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// In thousandths, as the metrics API hands it out.
    pub milli: i64,
    /// Above the activation threshold.
    pub active: bool,
}

/// The chain from GPUs to triggers.
#[derive(Debug)]
pub(super) struct Signals {
    exporter: i64,
    scrape: i64,
    gpus: u32,
    starting: Starting,
    history: VecDeque<Entry>,
    place: usize,
    queueing: bool,
    /// The last page and the answers to it.
    last: Option<(Page, Vec<Result<Answer, String>>)>,
    /// For the query engine.
    series: Option<Series>,
}

#[derive(Debug)]
struct Series {
    next: i64,
    reach: i64,
    page: Vec<(u64, f64)>,
    sampled: i64,
    scrapes: VecDeque<Scrape>,
}

impl Signals {
    pub(super) fn new(model: &Model, policy: &Policy) -> Self {
        let reach = policy.triggers.iter().filter_map(|t| match &t.signal.how {
            How::Engine(engine) => Some(engine.reach),
            How::Counts(_) => None,
        });
        let step = |time| millis(time).max(1);
        Self {
            exporter: step(model.exporter),
            scrape: step(model.scrape),
            gpus: policy.gpus,
            starting: model.starting,
            history: VecDeque::new(),
            place: 0,
            queueing: model.queueing,
            last: None,
            series: reach.max().map(|reach| Series {
                next: 0,
                reach,
                page: Vec::new(),
                sampled: -1,
                scrapes: VecDeque::new(),
            }),
        }
    }

    /// Time between two scrapes, in milliseconds.
    pub(super) fn period(&self) -> i64 {
        self.scrape
    }

    /// Notes how many replicas there are from `now` on.
    pub(super) fn note(&mut self, now: i64, fleet: &Fleet, queue: f64) {
        let entry = Entry {
            since: now,
            ready: fleet.ready,
            starting: fleet.starting,
            queue,
        };
        match self.history.back_mut() {
            Some(last) if last.since == now => *last = entry,
            _ => self.history.push_back(entry),
        }
    }

    /// What there is at the start counts as having been there before.
    pub(super) fn begin(&mut self) {
        if let Some(first) = self.history.front_mut() {
            first.since = -1;
        }
    }

    /// When the engine's series want the next scrape.
    pub(super) fn next(&self) -> i64 {
        self.series.as_ref().map_or(i64::MAX, |s| s.next)
    }

    /// Takes the samples and scrapes that are due before anything else happens
    /// at `now`.
    pub(super) fn pass(&mut self, now: i64, epoch: i64, fleet: &Fleet, load: &Load, queue: f64) {
        let (exporter, scrape, gpus) = (self.exporter, self.scrape, self.gpus);
        let hidden = self.starting == Starting::Hidden;
        let Some(series) = &mut self.series else {
            return;
        };
        if series.next > now {
            return;
        }
        if now.rem_euclid(exporter) == 0 || series.sampled < 0 {
            self.place = load.seek(self.place, now);
            let demand = load.at(self.place, now);
            let share = share(demand, fleet.ready * gpus, queue);
            let shown = fleet
                .replicas
                .iter()
                .filter(|r| r.bound() && (r.ready || !hidden));
            series.page = shown
                .map(|r| (r.number, if r.ready { share } else { 0.0 }))
                .collect();
            series.sampled = now;
        }
        if now.rem_euclid(scrape) == 0 {
            series.scrapes.push_back(Scrape {
                at: epoch + now,
                replicas: series.page.clone(),
            });
            let oldest = epoch + now - series.reach - scrape;
            while series.scrapes.front().is_some_and(|s| s.at < oldest) {
                series.scrapes.pop_front();
            }
        }
        let after = |step: i64| (now.div_euclid(step) + 1) * step;
        series.next = after(exporter).min(after(scrape));
    }

    /// The page that a query at `now` sees.
    fn page(&mut self, now: i64, load: &Load) -> Page {
        let scraped = now - now.rem_euclid(self.scrape);
        let sampled = scraped - scraped.rem_euclid(self.exporter);
        // What began before the sample is in it; what began with it is not yet.
        while self.history.len() > 1 && self.history[1].since < sampled {
            self.history.pop_front();
        }
        let entry = self.history.front().copied().unwrap_or(Entry {
            since: 0,
            ready: 0,
            starting: 0,
            queue: 0.0,
        });
        let ready = entry.ready * self.gpus;
        let mut queue = entry.queue;
        if self.queueing && sampled > entry.since {
            let mut place = self.place;
            load.flow(
                &mut place,
                entry.since,
                sampled,
                f64::from(ready),
                Some(&mut queue),
            );
            // Integrate each stretch once.
            if self.history.len() == 1 || self.history[1].since >= sampled {
                self.history[0] = Entry {
                    since: sampled,
                    queue,
                    ..entry
                };
            }
        }
        self.place = load.seek(self.place, sampled);
        let demand = load.at(self.place, sampled);
        Page {
            ready,
            starting: match self.starting {
                Starting::Idle => entry.starting * self.gpus,
                Starting::Hidden => 0,
            },
            share: share(demand, ready, queue),
        }
    }

    /// Reads all triggers.
    pub(super) fn read(
        &mut self,
        now: i64,
        epoch: i64,
        policy: &Policy,
        load: &Load,
    ) -> &[Result<Answer, String>] {
        let page = self.page(now, load);
        let same = self.series.is_none() && self.last.as_ref().is_some_and(|l| l.0 == page);
        if !same {
            let scrapes = self.series.as_ref().map(|s| &s.scrapes);
            let answer = |trigger: &Trigger| {
                let value = match (&trigger.signal.how, scrapes) {
                    (How::Counts(shape), _) => shape.value(&page),
                    (How::Engine(engine), Some(scrapes)) => {
                        engine.value(scrapes, policy.gpus, epoch + now)?
                    }
                    (How::Engine(_), None) => None,
                };
                let value = match value {
                    Some(value) => finite(value, trigger.ignore_null)?,
                    None => empty("result", trigger.ignore_null)?,
                };
                let reading = Reading {
                    value,
                    active: value > trigger.activation,
                };
                Ok(Answer {
                    milli: reading.quantity().milli_value().max(0),
                    active: reading.active,
                })
            };
            let answers = policy.triggers.iter().map(answer).collect();
            self.last = Some((page, answers));
        }
        self.last.as_ref().map_or(&[], |l| &l.1)
    }
}

/// How busy GPUs are that share this work.
fn share(demand: f64, gpus: u32, queue: f64) -> f64 {
    if gpus == 0 {
        return 0.0;
    }
    if queue > 1e-9 {
        return 1.0;
    }
    (demand / f64::from(gpus)).min(1.0)
}
