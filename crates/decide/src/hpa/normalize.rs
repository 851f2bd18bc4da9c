//! From the replica count that the metrics ask for to the one that is allowed:
//! stabilization, rate limits and bounds.
//!
//! Every rule can be left out ([`Omitted`]): that is how an explanation knows
//! what would have happened without it.

use jiff::{SignedDuration, Timestamp};

use super::calculator::to_i32;
use super::explanation::{Direction, Omitted, Recommendation, Rule};
use super::input::{HpaConfig, HpaMemory, ScaleEvent};
use super::types::{Behavior, ScalingPolicy, ScalingRules};

pub(super) const DESIRED_WITHIN_RANGE: &str = "DesiredWithinRange";

/// The message that belongs to a reason.
pub(super) fn message(reason: &str) -> &'static str {
    match reason {
        "ReadyForNewScale" => "recommended size matches current size",
        "ScaleDownStabilized" => {
            "recent recommendations were higher than current one, applying the highest recent \
             recommendation"
        }
        "ScaleUpStabilized" => {
            "recent recommendations were lower than current one, applying the lowest recent \
             recommendation"
        }
        "TooFewReplicas" => "the desired replica count is less than the minimum replica count",
        "TooManyReplicas" => "the desired replica count is more than the maximum replica count",
        "ScaleUpLimit" => {
            "the desired replica count is increasing faster than the maximum scale rate"
        }
        "ScaleDownLimit" => {
            "the desired replica count is decreasing faster than the maximum scale rate"
        }
        _ => "the desired count is within the acceptable range",
    }
}

/// A number with the reason for its last change.
#[derive(Clone, Copy)]
pub(super) struct Limited {
    pub(super) replicas: i32,
    pub(super) reason: &'static str,
    /// The limit that changed it.
    pub(super) bind: Option<Bind>,
}

/// A limit that binds.
#[derive(Clone, Copy)]
pub(super) enum Bind {
    Minimum,
    Maximum,
    DefaultRate,
    Policy {
        direction: Direction,
        policy: Policy,
        start: i32,
    },
    Disabled(Direction),
}

impl Bind {
    /// As the explanation shows it.
    pub(super) fn rule(self) -> Rule {
        match self {
            Bind::Minimum => Rule::Minimum,
            Bind::Maximum => Rule::Maximum,
            Bind::DefaultRate => Rule::DefaultRate,
            Bind::Disabled(direction) => Rule::RateDisabled { direction },
            Bind::Policy {
                direction,
                policy,
                start,
            } => Rule::RatePolicy {
                direction,
                policy: policy.unit.name().to_owned(),
                value: policy.value,
                period_seconds: policy.period_seconds,
                start,
            },
        }
    }

    /// What has to be left out to be free of it.
    pub(super) fn omitted(self) -> Omitted {
        match self {
            Bind::Minimum => Omitted::Minimum,
            Bind::Maximum => Omitted::Maximum,
            Bind::DefaultRate | Bind::Disabled(_) | Bind::Policy { .. } => Omitted::RateLimit,
        }
    }
}

/// From the count asked for to the one that is allowed.
#[derive(Clone, Copy)]
pub(super) struct Normal {
    pub(super) stable: Limited,
    pub(super) limited: Limited,
}

/// Stabilizes and limits a count, by the rules of the spec's behavior or by
/// the built-in ones; `memory` is read, not written.
pub(super) fn settle(
    rules: Option<&Rules>,
    config: &HpaConfig,
    memory: &HpaMemory,
    (min, max): (i32, i32),
    (current, desired): (i32, i32),
    now: Timestamp,
    omit: Option<Omitted>,
) -> Normal {
    let without = |rule| omit == Some(rule);
    let min = if without(Omitted::Minimum) { 0 } else { min };
    let max = if without(Omitted::Maximum) {
        i32::MAX
    } else {
        max
    };
    let stable = match rules {
        _ if without(Omitted::Stabilization) => Limited {
            replicas: desired,
            reason: "ReadyForNewScale",
            bind: None,
        },
        None => stabilize(config, memory, desired, now),
        Some(rules) => rules.stabilize(memory, current, desired, now),
    };
    let rated = !without(Omitted::RateLimit);
    let limited = match rules {
        None => limit(current, stable.replicas, min, max, rated),
        Some(rules) => {
            let bounds = (min, max);
            rules.limit(memory, bounds, current, stable.replicas, now, rated)
        }
    };
    Normal { stable, limited }
}

pub(super) fn before(now: Timestamp, seconds: i64) -> Timestamp {
    now.saturating_sub(SignedDuration::from_secs(seconds))
        .unwrap_or(Timestamp::MIN)
}

/// Remembers a recommendation in the place of an outlived one, if there is one.
pub(super) fn remember(
    rules: Option<&Rules>,
    config: &HpaConfig,
    memory: &mut HpaMemory,
    replicas: i32,
    now: Timestamp,
) {
    let list = memory.recommendations.get_or_insert_default();
    let window = match rules {
        None => default_window(config),
        Some(rules) => rules.up.window.max(rules.down.window),
    };
    let cutoff = before(now, window);
    let old = list.iter_mut().rfind(|r| r.at < cutoff);
    let recommendation = Recommendation { replicas, at: now };
    match old {
        Some(place) => *place = recommendation,
        None => list.push(recommendation),
    }
}

/// The stabilization that turned `desired` into `stable`, with the
/// recommendation that is the last to let go of it.
pub(super) fn stabilization(
    rules: Option<&Rules>,
    config: &HpaConfig,
    memory: &HpaMemory,
    (desired, stable): (i32, i32),
    now: Timestamp,
) -> Rule {
    let direction = match stable < desired {
        true => Direction::Up,
        false => Direction::Down,
    };
    let window_seconds = match (rules, direction) {
        (None, _) => default_window(config),
        (Some(rules), Direction::Up) => rules.up.window,
        (Some(rules), Direction::Down) => rules.down.window,
    };
    let cutoff = before(now, window_seconds);
    let holds = |r: &&Recommendation| {
        let strict = match direction {
            Direction::Up => r.replicas <= stable,
            Direction::Down => r.replicas >= stable,
        };
        // The two forms of the rule differ in whether the window's edge counts.
        let inside = r.at > cutoff || (r.at == cutoff && rules.is_none());
        inside && strict
    };
    let list = memory.recommendations.as_deref().unwrap_or_default();
    let held = list.iter().filter(holds).max_by_key(|r| r.at).copied();
    Rule::Stabilization {
        direction,
        window_seconds,
        held,
    }
}

fn default_window(config: &HpaConfig) -> i64 {
    config.downscale_stabilization.as_secs() as i64
}

/// The highest recommendation of the window (for an HPA without behavior).
fn stabilize(config: &HpaConfig, memory: &HpaMemory, desired: i32, now: Timestamp) -> Limited {
    let list = memory.recommendations.as_deref().unwrap_or_default();
    let cutoff = before(now, default_window(config));
    let highest = list
        .iter()
        .filter(|r| r.at >= cutoff)
        .map(|r| r.replicas)
        .max();
    let replicas = highest.map_or(desired, |h| h.max(desired));
    let reason = if replicas == desired {
        "ReadyForNewScale"
    } else {
        "ScaleDownStabilized"
    };
    Limited {
        replicas,
        reason,
        bind: None,
    }
}

fn within(replicas: i32) -> Limited {
    Limited {
        replicas,
        reason: DESIRED_WITHIN_RANGE,
        bind: None,
    }
}

/// The lower one of a rate limit and the upper bound.
fn cap(rate: Option<(i32, Bind)>, max: i32) -> Limited {
    match rate {
        Some((replicas, bind)) if max > replicas => Limited {
            replicas,
            reason: "ScaleUpLimit",
            bind: Some(bind),
        },
        _ => Limited {
            replicas: max,
            reason: "TooManyReplicas",
            bind: Some(Bind::Maximum),
        },
    }
}

/// The higher one of a rate limit and the lower bound.
fn floor(rate: Option<(i32, Bind)>, min: i32) -> Limited {
    match rate {
        Some((replicas, bind)) if min < replicas => Limited {
            replicas,
            reason: "ScaleDownLimit",
            bind: Some(bind),
        },
        _ => Limited {
            replicas: min,
            reason: "TooFewReplicas",
            bind: Some(Bind::Minimum),
        },
    }
}

/// Bounds and the built-in rate limit (for an HPA without behavior).
pub(super) fn limit(current: i32, desired: i32, min: i32, max: i32, rated: bool) -> Limited {
    let rate = to_i32((2.0 * f64::from(current)).max(4.0));
    let cap = cap(rated.then_some((rate, Bind::DefaultRate)), max);
    if desired < min {
        floor(None, min)
    } else if desired > cap.replicas {
        cap
    } else {
        within(desired)
    }
}

/// The unit of a rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Pods,
    Percent,
    /// None that the API server would let in: it repeats the one before.
    Unknown,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Pods => "Pods",
            Unit::Percent => "Percent",
            Unit::Unknown => "",
        }
    }
}

/// One rate limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    unit: Unit,
    value: i32,
    period_seconds: i32,
}

impl Policy {
    const fn preset(unit: Unit, value: i32) -> Policy {
        Policy {
            unit,
            value,
            period_seconds: 15,
        }
    }

    fn of(policy: &ScalingPolicy) -> Policy {
        Policy {
            unit: match policy.kind.as_str() {
                "Pods" => Unit::Pods,
                "Percent" => Unit::Percent,
                _ => Unit::Unknown,
            },
            value: policy.value,
            period_seconds: policy.period_seconds,
        }
    }
}

/// How the limits of one direction go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Select {
    Disabled,
    Least,
    Most,
}

/// The rules of one direction.
#[derive(Clone, Debug)]
struct Side {
    policies: Vec<Policy>,
    select: Select,
    window: i64,
}

impl Side {
    fn of(rules: Option<&ScalingRules>, preset: &[Policy], window: i64) -> Side {
        let given = rules.map(|r| r.policies.as_slice()).unwrap_or_default();
        Side {
            policies: match given.is_empty() {
                true => preset.to_vec(),
                false => given.iter().map(Policy::of).collect(),
            },
            select: match rules.and_then(|r| r.select_policy.as_deref()) {
                Some("Disabled") => Select::Disabled,
                Some("Min") => Select::Least,
                _ => Select::Most,
            },
            window: rules
                .and_then(|r| r.stabilization_window_seconds)
                .map_or(window, i64::from),
        }
    }
}

/// The rules of both directions with everything that the API server would
/// have filled in.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    up: Side,
    down: Side,
}

impl Rules {
    pub(super) fn of(behavior: &Behavior, config: &HpaConfig) -> Rules {
        let up = [
            Policy::preset(Unit::Pods, 4),
            Policy::preset(Unit::Percent, 100),
        ];
        let down = [Policy::preset(Unit::Percent, 100)];
        Rules {
            up: Side::of(behavior.scale_up.as_ref(), &up, 0),
            down: Side::of(behavior.scale_down.as_ref(), &down, default_window(config)),
        }
    }

    /// Between the lowest recommendation of the window upwards and the highest
    /// of the window downwards, starting from the current count.
    fn stabilize(&self, memory: &HpaMemory, current: i32, desired: i32, now: Timestamp) -> Limited {
        let list = memory.recommendations.as_deref().unwrap_or_default();
        let up_cutoff = before(now, self.up.window);
        let down_cutoff = before(now, self.down.window);
        let (mut lowest, mut highest) = (desired, desired);
        for recommendation in list {
            if recommendation.at > up_cutoff {
                lowest = lowest.min(recommendation.replicas);
            }
            if recommendation.at > down_cutoff {
                highest = highest.max(recommendation.replicas);
            }
        }
        let replicas = current.max(lowest).min(highest);
        let reason = match replicas == desired {
            true => "ReadyForNewScale",
            false if desired >= current => "ScaleUpStabilized",
            false => "ScaleDownStabilized",
        };
        Limited {
            replicas,
            reason,
            bind: None,
        }
    }

    /// Bounds and rate limits of the direction that is taken.
    fn limit(
        &self,
        memory: &HpaMemory,
        (min, max): (i32, i32),
        current: i32,
        desired: i32,
        now: Timestamp,
        rated: bool,
    ) -> Limited {
        if desired > current {
            let rate = rated.then(|| self.rate(Direction::Up, memory, current, now));
            let cap = cap(rate, max);
            if desired > cap.replicas {
                return cap;
            }
        } else if desired < current {
            let rate = rated.then(|| self.rate(Direction::Down, memory, current, now));
            let floor = floor(rate, min);
            if desired < floor.replicas {
                return floor;
            }
        }
        within(desired)
    }

    /// The count that the rate limits of a direction allow.
    fn rate(
        &self,
        direction: Direction,
        memory: &HpaMemory,
        current: i32,
        now: Timestamp,
    ) -> (i32, Bind) {
        let (side, sign) = match direction {
            Direction::Up => (&self.up, 1),
            Direction::Down => (&self.down, -1),
        };
        // Downwards the policy that changes least leaves the most replicas.
        let lowest = match (side.select, direction) {
            (Select::Disabled, _) => return (current, Bind::Disabled(direction)),
            (Select::Least, Direction::Up) | (Select::Most, Direction::Down) => true,
            (Select::Most, Direction::Up) | (Select::Least, Direction::Down) => false,
        };
        let mut proposed = 0;
        let mut best = if lowest { i32::MAX } else { i32::MIN };
        let mut bind = Bind::DefaultRate;
        for policy in side.policies.iter().copied() {
            let start = start_of_period(memory, policy, current, now);
            match policy.unit {
                Unit::Pods => proposed = start.wrapping_add(policy.value.wrapping_mul(sign)),
                Unit::Percent => {
                    let change = f64::from(sign) * f64::from(policy.value) / 100.0;
                    let share = f64::from(start) * (1.0 + change);
                    proposed = to_i32(match direction {
                        Direction::Up => share.ceil(),
                        Direction::Down => share,
                    });
                }
                Unit::Unknown => {}
            }
            if (lowest && proposed <= best) || (!lowest && proposed >= best) {
                best = proposed;
                bind = Bind::Policy {
                    direction,
                    policy,
                    start,
                };
            }
        }
        let allowed = match direction {
            Direction::Up => best.max(current),
            Direction::Down => best.min(current),
        };
        (allowed, bind)
    }

    /// Remembers a step, in the place of an outlived one if there is one.
    pub(super) fn record(&self, memory: &mut HpaMemory, from: i32, to: i32, now: Timestamp) {
        let (side, events) = match to > from {
            true => (&self.up, &mut memory.up_events),
            false => (&self.down, &mut memory.down_events),
        };
        let longest = side
            .policies
            .iter()
            .map(|p| p.period_seconds)
            .max()
            .unwrap_or(0)
            .max(0);
        let cutoff = before(now, i64::from(longest));
        for event in events.iter_mut().filter(|e| e.at < cutoff) {
            event.outdated = true;
        }
        let change = to.wrapping_sub(from).wrapping_abs();
        let event = ScaleEvent {
            change,
            at: now,
            outdated: false,
        };
        match events.iter_mut().rfind(|e| e.outdated) {
            Some(place) => *place = event,
            None => events.push(event),
        }
    }
}

/// The replica count before the steps of the policy's period, of both
/// directions.
fn start_of_period(memory: &HpaMemory, policy: Policy, current: i32, now: Timestamp) -> i32 {
    let cutoff = before(now, i64::from(policy.period_seconds));
    let changed = |events: &[ScaleEvent]| {
        events
            .iter()
            .filter(|e| e.at > cutoff)
            .fold(0i32, |sum, e| sum.wrapping_add(e.change))
    };
    current
        .wrapping_sub(changed(&memory.up_events))
        .wrapping_add(changed(&memory.down_events))
}
