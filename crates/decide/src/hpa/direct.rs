//! Acting on each sample instead of once a period.
//!
//! More samples must not buy more replicas than the HorizontalPodAutoscaler
//! would have kept, so the limits hold in time. Once a period everything goes
//! as in the HPA. In between a sample can only add replicas, only as far as
//! every sample of the last half of a period asks for them, and, without
//! `behavior`, only up to max(2n, 4) of the fewest replicas of the last period.
//! What they agree on counts as that period's recommendation, so that it is kept
//! as long as the HPA would have kept it and is not taken back at the next sync.
//! Letting each sample act alone was refused: on noisy load the highest of many
//! samples is what would be kept.

use jiff::{SignedDuration, Timestamp};

use super::evaluate::decide;
use super::explanation::{Explanation, Omitted, Otherwise, Rule, Step};
use super::input::{HpaInput, HpaMemory};
use super::normalize::limit;
use super::numbers::{Numbers, Outcome, Seen};

/// Why a decision is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// A sync period has passed.
    Sync,
    /// There is a new sample.
    Sample,
}

/// What is remembered between decisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectMemory {
    /// Recommendations and steps, as the HPA remembers them.
    pub hpa: HpaMemory,
    /// Replica counts of the last period and since when they held.
    counts: Vec<(Timestamp, i32)>,
    /// What the last samples asked for.
    asked: Vec<(Timestamp, i32)>,
}

/// Decides once.
pub fn direct(
    numbers: &Numbers,
    memory: &mut DirectMemory,
    seen: &Seen<'_>,
    occasion: Occasion,
    now: Timestamp,
) -> Outcome {
    act(numbers, memory, seen, occasion, now).0
}

fn act(
    numbers: &Numbers,
    memory: &mut DirectMemory,
    seen: &Seen<'_>,
    occasion: Occasion,
    now: Timestamp,
) -> (Outcome, Limits) {
    let length = period(numbers);
    let fewest = memory.fewest(seen.current, length, now);
    let mut outcome = match occasion {
        Occasion::Sync => numbers.propose(&mut memory.hpa, seen, now),
        Occasion::Sample => numbers.propose(&mut memory.hpa.clone(), seen, now),
    };
    let agreed = memory.agreed(outcome.asked, length / 2, now);
    let limits = Limits {
        current: seen.current,
        agreed: (occasion == Occasion::Sample).then_some(agreed),
        fewest: (!numbers.has_behavior() && seen.current > 0).then_some(fewest),
    };
    outcome.desired = limits.between(outcome.desired);
    if let Some((cap, reason)) = limits.cap(numbers, outcome.desired) {
        outcome.desired = cap;
        outcome.reason = reason;
    }
    if occasion == Occasion::Sample && agreed > seen.current {
        let list = memory.hpa.recommendations.get_or_insert_default();
        if let Some(last) = list.iter_mut().max_by_key(|r| r.at) {
            last.replicas = last.replicas.max(agreed);
        }
    }
    (numbers.record(&mut memory.hpa, seen, outcome, now), limits)
}

/// Decides once, with the reasons. `input` says the same as `seen` in the API's
/// own types; the outcome is that of [`direct`].
pub fn direct_explained(
    numbers: &Numbers,
    memory: &mut DirectMemory,
    (input, seen): (&HpaInput, &Seen<'_>),
    occasion: Occasion,
    now: Timestamp,
) -> (Outcome, Explanation) {
    let mut explanation = decide(input, &mut memory.hpa.clone(), now);
    let (outcome, limits) = act(numbers, memory, seen, occasion, now);
    limits.explain(numbers, &mut explanation);
    (outcome, explanation)
}

/// The HPA's period.
fn period(numbers: &Numbers) -> SignedDuration {
    SignedDuration::try_from(numbers.config().sync_period).unwrap_or(SignedDuration::from_secs(15))
}

/// What one decision was held to beyond the HPA's own rules.
#[derive(Clone, Copy)]
struct Limits {
    current: i32,
    /// Between two syncs: what the last samples agree on.
    agreed: Option<i32>,
    /// Without `behavior`: the fewest replicas of the last period.
    fewest: Option<i32>,
}

impl Limits {
    /// Between syncs nothing goes, and only what the samples agree on comes.
    fn between(self, desired: i32) -> i32 {
        match self.agreed {
            Some(agreed) => desired.min(agreed).max(self.current),
            None => desired,
        }
    }

    /// The count and its reason where the last period allows no more.
    fn cap(self, numbers: &Numbers, desired: i32) -> Option<(i32, &'static str)> {
        let fewest = self.fewest.filter(|_| desired > self.current)?;
        let (min, max) = numbers.bounds();
        let capped = limit(fewest, desired, min, max, true);
        (capped.replicas < desired).then(|| (capped.replicas.max(self.current), capped.reason))
    }

    /// Goes on from the HPA's own reasons.
    fn explain(self, numbers: &Numbers, explanation: &mut Explanation) {
        let capped = |n: i32| self.cap(numbers, n).map_or(n, |(cap, _)| cap);
        let proposed = explanation.desired;
        let between = self.between(proposed);
        let desired = capped(between);
        let mut step = |rule, from, to| {
            if from != to {
                explanation.steps.push(Step { rule, from, to });
            }
        };
        let agreed = self.agreed.filter(|n| *n > self.current);
        step(Rule::BetweenSyncs { agreed }, proposed, between);
        if let Some(fewest) = self.fewest {
            let rule = Rule::DefaultRateOfPeriod {
                fewest,
                period_seconds: period(numbers).as_secs(),
            };
            step(rule, between, desired);
        }
        let mut otherwise = Vec::with_capacity(explanation.otherwise.len() + 2);
        let mut without = |without, replicas| otherwise.push(Otherwise { without, replicas });
        let mut rate = between;
        for other in &explanation.otherwise {
            match other.without {
                Omitted::RateLimit => rate = self.between(other.replicas),
                // What the samples agree on would be another number.
                Omitted::Tolerance | Omitted::FailedMetrics if self.agreed.is_some() => {}
                rule => without(rule, capped(self.between(other.replicas))),
            }
        }
        without(Omitted::RateLimit, rate);
        without(Omitted::BetweenSyncs, capped(proposed));
        otherwise.retain(|o| o.replicas != desired);
        otherwise.sort_by_key(|o| o.replicas.abs_diff(desired));
        explanation.otherwise = otherwise;
        explanation.desired = desired;
        if desired == self.current {
            // It says why the count goes up or down.
            explanation.reason.clear();
        }
    }
}

impl DirectMemory {
    /// The fewest replicas that held at any time of the last period.
    fn fewest(&mut self, current: i32, length: SignedDuration, now: Timestamp) -> i32 {
        let start = now.saturating_sub(length).unwrap_or(Timestamp::MIN);
        if self.counts.last().is_none_or(|last| last.1 != current) {
            self.counts.push((now, current));
        }
        // A count holds until the next one begins.
        while self.counts.len() > 1 && self.counts[1].0 <= start {
            self.counts.remove(0);
        }
        self.counts.iter().map(|c| c.1).min().unwrap_or(current)
    }

    /// What every sample of the last `span`, and the one before it, asks for
    /// at least; nothing where there is no sample that old.
    fn agreed(&mut self, asked: Option<i32>, span: SignedDuration, now: Timestamp) -> i32 {
        let Some(asked) = asked else {
            self.asked.clear();
            return i32::MIN;
        };
        let start = now.saturating_sub(span).unwrap_or(Timestamp::MIN);
        self.asked.push((now, asked));
        while self.asked.len() > 1 && self.asked[1].0 <= start {
            self.asked.remove(0);
        }
        match self.asked.first() {
            Some(first) if first.0 <= start => {
                self.asked.iter().map(|a| a.1).min().unwrap_or(i32::MIN)
            }
            _ => i32::MIN,
        }
    }
}
