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

use super::input::HpaMemory;
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
    let length = SignedDuration::try_from(numbers.config().sync_period)
        .unwrap_or(SignedDuration::from_secs(15));
    let fewest = memory.fewest(seen.current, length, now);
    let mut outcome = match occasion {
        Occasion::Sync => numbers.propose(&mut memory.hpa, seen, now),
        Occasion::Sample => numbers.propose(&mut memory.hpa.clone(), seen, now),
    };
    let agreed = memory.agreed(outcome.asked, length / 2, now);
    if occasion == Occasion::Sample {
        outcome.desired = outcome.desired.min(agreed).max(seen.current);
    }
    if outcome.desired > seen.current && !numbers.has_behavior() && seen.current > 0 {
        let (min, max) = numbers.bounds();
        let capped = limit(fewest, outcome.desired, min, max, true);
        if capped.replicas < outcome.desired {
            outcome.desired = capped.replicas.max(seen.current);
            outcome.reason = capped.reason;
        }
    }
    if occasion == Occasion::Sample && agreed > seen.current {
        let list = memory.hpa.recommendations.get_or_insert_default();
        if let Some(last) = list.iter_mut().max_by_key(|r| r.at) {
            last.replicas = last.replicas.max(agreed);
        }
    }
    numbers.record(&mut memory.hpa, seen, outcome, now)
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
