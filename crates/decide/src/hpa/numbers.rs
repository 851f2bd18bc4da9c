//! The numbers of an evaluation without its texts, for callers that evaluate
//! one spec a great many times (replay, actuation without an HPA object).
//!
//! The arithmetic is that of [`super::evaluate`]: both call the same functions
//! of this module's neighbours, and a property test holds them together.

use jiff::Timestamp;

use super::calculator::{Tolerances, by_value, per_pod, sum_per_pod};
use super::figures::{failures_forbid, falls_asleep, seed, takes_over, tolerances, wakes_to_min};
use super::input::{HpaConfig, HpaMemory};
use super::normalize::{DESIRED_WITHIN_RANGE, Limited, Rules, remember, settle};
use super::plan::{Course, way};
use super::types::HpaSpec;

/// What an External metric is compared with, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// For the whole.
    Value(i64),
    /// Per replica.
    Average(i64),
}

/// A spec made ready for being evaluated many times.
#[derive(Clone, Debug)]
pub struct Numbers {
    min: i32,
    max: i32,
    goals: Vec<Goal>,
    tolerances: Tolerances,
    rules: Option<Rules>,
    config: HpaConfig,
}

/// What one evaluation sees.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Replicas of the target's spec.
    pub current: i32,
    /// Replicas of the target's status.
    pub running: i32,
    /// Ready pods; `None` where no pod exists.
    pub ready: Option<usize>,
    /// Whether the HPA itself has scaled the target to zero before.
    pub asleep: bool,
    /// One reading for each metric of the spec, in thousandths; `None` where
    /// it could not be read.
    pub readings: &'a [Option<i64>],
}

/// What it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Replicas wanted; the current count where nothing is to be written.
    pub desired: i32,
    /// Replicas that the metrics asked for, before stabilization and limits;
    /// `None` where no metric was looked at or none could be used.
    pub asked: Option<i32>,
    /// The rule that changed the number last, as conditions name it.
    pub reason: &'static str,
    /// What [`Seen::asleep`] is from now on, once the scale is written.
    pub asleep: bool,
}

impl Numbers {
    /// Reads a spec; `None` where it has metrics other than External ones
    /// with a target, which need [`super::evaluate`].
    pub fn of(spec: &HpaSpec, config: &HpaConfig) -> Option<Self> {
        let goal = |metric: &super::types::MetricSpec| {
            let source = metric.external.as_ref();
            let target = &source.filter(|_| metric.kind == "External")?.target;
            if let Some(average) = &target.average_value {
                return Some(Goal::Average(average.milli_value()));
            }
            Some(Goal::Value(target.value.as_ref()?.milli_value()))
        };
        let goals: Option<Vec<Goal>> = spec.metrics.iter().map(goal).collect();
        Some(Self {
            min: spec.min(),
            max: spec.max_replicas,
            goals: goals.filter(|g| !g.is_empty())?,
            tolerances: tolerances(spec, config),
            rules: spec.behavior.as_ref().map(|b| Rules::of(b, config)),
            config: config.clone(),
        })
    }

    /// Lower and upper bound.
    pub fn bounds(&self) -> (i32, i32) {
        (self.min, self.max)
    }

    /// Whether the rates come from the spec's own behavior.
    pub(super) fn has_behavior(&self) -> bool {
        self.rules.is_some()
    }

    pub(super) fn config(&self) -> &HpaConfig {
        &self.config
    }

    /// Whether an evaluation will look at metrics.
    pub fn wants(&self, current: i32, asleep: bool) -> bool {
        matches!(
            way((self.min, self.max), true, asleep, current),
            Course::Metrics
        )
    }

    /// Evaluates, remembers the recommendation and, where the count changes,
    /// the step, as after a write that succeeded.
    pub fn evaluate(&self, memory: &mut HpaMemory, seen: &Seen<'_>, now: Timestamp) -> Outcome {
        let outcome = self.propose(memory, seen, now);
        self.record(memory, seen, outcome, now)
    }

    /// Remembers the step of an outcome that was written.
    pub(super) fn record(
        &self,
        memory: &mut HpaMemory,
        seen: &Seen<'_>,
        mut outcome: Outcome,
        now: Timestamp,
    ) -> Outcome {
        let (from, to) = (seen.current, outcome.desired);
        if from != to {
            if let Some(rules) = &self.rules {
                rules.record(memory, from, to, now);
            }
            outcome.asleep = self.config.scale_to_zero && falls_asleep(from, to, self.min, true);
        }
        outcome
    }

    pub(super) fn propose(
        &self,
        memory: &mut HpaMemory,
        seen: &Seen<'_>,
        now: Timestamp,
    ) -> Outcome {
        let current = seen.current;
        seed(memory, current, now);
        let as_it_is = |reason| Outcome {
            desired: current,
            asked: None,
            reason,
            asleep: seen.asleep,
        };
        match way((self.min, self.max), true, seen.asleep, current) {
            Course::Paused => as_it_is("ScalingDisabled"),
            Course::Bound(bound, _) => Outcome {
                desired: bound,
                ..as_it_is("Bounds")
            },
            Course::Metrics => {
                let Some(asked) = self.ask(seen) else {
                    return as_it_is("FailedGetExternalMetric");
                };
                let mut desired = asked.max(0);
                if wakes_to_min(current, seen.asleep, self.min, desired) {
                    desired = self.min;
                }
                let (stable, limited) = self.settle(memory, current, desired, now);
                let reason = if limited.reason == DESIRED_WITHIN_RANGE {
                    stable.reason
                } else {
                    limited.reason
                };
                Outcome {
                    desired: limited.replicas,
                    asked: Some(desired),
                    reason,
                    asleep: seen.asleep,
                }
            }
        }
    }

    pub(super) fn settle(
        &self,
        memory: &mut HpaMemory,
        current: i32,
        desired: i32,
        now: Timestamp,
    ) -> (Limited, Limited) {
        let rules = self.rules.as_ref();
        let bounds = (self.min, self.max);
        let counts = (current, desired);
        let normal = settle(rules, &self.config, memory, bounds, counts, now, None);
        remember(rules, &self.config, memory, desired, now);
        (normal.stable, normal.limited)
    }

    /// The largest proposal; `None` where failures forbid to act.
    fn ask(&self, seen: &Seen<'_>) -> Option<i32> {
        let mut best = 0;
        let mut faults = 0;
        for (at, goal) in self.goals.iter().enumerate() {
            let reading = seen.readings.get(at).copied().flatten();
            let count = reading.and_then(|usage| match *goal {
                Goal::Average(target) => {
                    let usage = sum_per_pod(std::iter::once(usage));
                    Some(per_pod(self.tolerances, seen.running, usage, target, true))
                }
                Goal::Value(target) => {
                    let ready = || seen.ready.map_or((0, 0), |n| (n, n.max(1)));
                    by_value(self.tolerances, seen.current, ready, usage, target).ok()
                }
            });
            match count {
                Some(count) if takes_over(best, count.replicas) => best = count.replicas,
                Some(_) => {}
                None => faults += 1,
            }
        }
        let forbidden = failures_forbid(faults, self.goals.len(), best, seen.current);
        (!forbidden).then_some(best)
    }
}
