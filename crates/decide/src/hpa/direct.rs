//! Acting on each sample instead of once a period.
//!
//! More samples must not buy more replicas than the HorizontalPodAutoscaler
//! would have kept, so the limits hold in time: without `behavior` the cap of
//! max(2n, 4) counts from the fewest replicas of the last period; stabilization
//! sees one recommendation a period, that of the sample which opens it; and a
//! sample in between acts only as far as the one before it agrees. Letting each
//! sample act alone was refused: on noisy load the highest of many samples is
//! what would be kept.

use jiff::{SignedDuration, Timestamp};

use super::input::HpaMemory;
use super::normalize::limit;
use super::numbers::{Numbers, Outcome, Seen};

/// What is remembered between samples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectMemory {
    /// Recommendations and steps, as the HPA remembers them.
    pub hpa: HpaMemory,
    /// When the period in progress began.
    period: Option<Timestamp>,
    /// Replica counts of the last period and since when they held.
    counts: Vec<(Timestamp, i32)>,
    /// What the sample before asked for.
    before: Option<i32>,
}

/// Decides on one sample.
pub fn direct(
    numbers: &Numbers,
    memory: &mut DirectMemory,
    seen: &Seen<'_>,
    now: Timestamp,
) -> Outcome {
    let length = SignedDuration::try_from(numbers.config().sync_period)
        .unwrap_or(SignedDuration::from_secs(15));
    let since = |earlier: Timestamp| now.duration_since(earlier);
    let fewest = memory.fewest(seen.current, length, now);
    let opens = memory.period.is_none_or(|start| since(start) >= length);
    let mut outcome;
    if opens {
        // On the grid of the first sample, so that late samples do not stretch it.
        let late = memory.period.map_or(SignedDuration::ZERO, |start| {
            let over = since(start).as_millis() % length.as_millis().max(1);
            SignedDuration::from_millis(i64::try_from(over).unwrap_or(0))
        });
        memory.period = Some(now.saturating_sub(late).unwrap_or(now));
        outcome = numbers.propose(&mut memory.hpa, seen, now);
    } else {
        let mut aside = memory.hpa.clone();
        outcome = numbers.propose(&mut aside, seen, now);
        if let (Some(_), Some(before)) = (outcome.asked, memory.before) {
            let agreed = match outcome.desired > seen.current {
                true => outcome.desired.min(before.max(seen.current)),
                false => outcome.desired.max(before.min(seen.current)),
            };
            outcome.desired = agreed;
        }
    }
    memory.before = outcome.asked;
    if outcome.desired > seen.current && !numbers.has_behavior() && seen.current > 0 {
        let (min, max) = numbers.bounds();
        let capped = limit(fewest, outcome.desired, min, max, true);
        if capped.replicas < outcome.desired {
            outcome.desired = capped.replicas.max(seen.current);
            outcome.reason = capped.reason;
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
}
