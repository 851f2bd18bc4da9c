//! From the replica count that the metrics ask for to the one that is allowed:
//! stabilization, rate limits and bounds.

use jiff::{SignedDuration, Timestamp};

use super::calculator::to_i32;
use super::input::{HpaConfig, HpaMemory, Recommendation, ScaleEvent};
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
pub(super) struct Limited {
    pub(super) replicas: i32,
    pub(super) reason: &'static str,
}

pub(super) fn before(now: Timestamp, seconds: i64) -> Timestamp {
    now.saturating_sub(SignedDuration::from_secs(seconds))
        .unwrap_or(Timestamp::MIN)
}

/// Remembers a recommendation in the place of an outlived one, if there is one.
fn remember(list: &mut Vec<Recommendation>, old: Option<usize>, replicas: i32, now: Timestamp) {
    let recommendation = Recommendation { replicas, at: now };
    match old.and_then(|at| list.get_mut(at)) {
        Some(place) => *place = recommendation,
        None => list.push(recommendation),
    }
}

/// The highest recommendation of the window (for an HPA without behavior).
pub(super) fn stabilize(
    config: &HpaConfig,
    memory: &mut HpaMemory,
    desired: i32,
    now: Timestamp,
) -> Limited {
    let list = memory.recommendations.get_or_insert_default();
    let cutoff = before(now, config.downscale_stabilization.as_secs() as i64);
    let highest = list
        .iter()
        .filter(|r| r.at >= cutoff)
        .map(|r| r.replicas)
        .max();
    let old = list.iter().rposition(|r| r.at < cutoff);
    remember(list, old, desired, now);
    let replicas = highest.map_or(desired, |h| h.max(desired));
    let reason = if replicas == desired {
        "ReadyForNewScale"
    } else {
        "ScaleDownStabilized"
    };
    Limited { replicas, reason }
}

/// Bounds and the built-in rate limit (for an HPA without behavior).
pub(super) fn limit(current: i32, desired: i32, min: i32, max: i32) -> Limited {
    let rate = to_i32((2.0 * f64::from(current)).max(4.0));
    let (cap, reason) = if max > rate {
        (rate, "ScaleUpLimit")
    } else {
        (max, "TooManyReplicas")
    };
    if desired < min {
        Limited {
            replicas: min,
            reason: "TooFewReplicas",
        }
    } else if desired > cap {
        Limited {
            replicas: cap,
            reason,
        }
    } else {
        Limited {
            replicas: desired,
            reason: DESIRED_WITHIN_RANGE,
        }
    }
}

/// Both stages, by the rules of the spec's behavior or by the built-in ones:
/// stabilized, then limited. `counts` are the current and the wanted count.
pub(super) fn settle(
    rules: Option<&Rules>,
    config: &HpaConfig,
    memory: &mut HpaMemory,
    bounds: (i32, i32),
    (current, desired): (i32, i32),
    now: Timestamp,
) -> (Limited, Limited) {
    match rules {
        None => {
            let stable = stabilize(config, memory, desired, now);
            let limited = limit(current, stable.replicas, bounds.0, bounds.1);
            (stable, limited)
        }
        Some(rules) => {
            let stable = rules.stabilize(memory, current, desired, now);
            let limited = rules.limit(memory, bounds, current, stable.replicas, now);
            (stable, limited)
        }
    }
}

/// The rules of both directions with everything that the API server would
/// have filled in.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    up: ScalingRules,
    down: ScalingRules,
    up_window: i64,
    down_window: i64,
}

impl Rules {
    pub(super) fn of(behavior: &Behavior, config: &HpaConfig) -> Rules {
        let policy = |kind: &str, value| ScalingPolicy {
            kind: kind.to_owned(),
            value,
            period_seconds: 15,
        };
        let mut up = behavior.scale_up.clone().unwrap_or_default();
        if up.policies.is_empty() {
            up.policies = vec![policy("Pods", 4), policy("Percent", 100)];
        }
        let mut down = behavior.scale_down.clone().unwrap_or_default();
        if down.policies.is_empty() {
            down.policies = vec![policy("Percent", 100)];
        }
        let up_window = i64::from(up.stabilization_window_seconds.unwrap_or(0));
        let down_window = down
            .stabilization_window_seconds
            .map_or(config.downscale_stabilization.as_secs() as i64, i64::from);
        Rules {
            up,
            down,
            up_window,
            down_window,
        }
    }

    /// Between the lowest recommendation of the window upwards and the highest
    /// of the window downwards, starting from the current count.
    pub(super) fn stabilize(
        &self,
        memory: &mut HpaMemory,
        current: i32,
        desired: i32,
        now: Timestamp,
    ) -> Limited {
        let list = memory.recommendations.get_or_insert_default();
        let up_cutoff = before(now, self.up_window);
        let down_cutoff = before(now, self.down_window);
        let (mut lowest, mut highest, mut old) = (desired, desired, None);
        for (at, recommendation) in list.iter().enumerate() {
            if recommendation.at > up_cutoff {
                lowest = lowest.min(recommendation.replicas);
            }
            if recommendation.at > down_cutoff {
                highest = highest.max(recommendation.replicas);
            }
            if recommendation.at < up_cutoff && recommendation.at < down_cutoff {
                old = Some(at);
            }
        }
        remember(list, old, desired, now);
        let replicas = current.max(lowest).min(highest);
        let reason = match replicas == desired {
            true => "ReadyForNewScale",
            false if desired >= current => "ScaleUpStabilized",
            false => "ScaleDownStabilized",
        };
        Limited { replicas, reason }
    }

    /// Bounds and rate limits of the direction that is taken.
    pub(super) fn limit(
        &self,
        memory: &HpaMemory,
        bounds: (i32, i32),
        current: i32,
        desired: i32,
        now: Timestamp,
    ) -> Limited {
        let (min, max) = bounds;
        if desired > current {
            let rate = self.up_limit(memory, current, now).max(current);
            let (cap, reason) = if max > rate {
                (rate, "ScaleUpLimit")
            } else {
                (max, "TooManyReplicas")
            };
            if desired > cap {
                return Limited {
                    replicas: cap,
                    reason,
                };
            }
        } else if desired < current {
            let rate = self.down_limit(memory, current, now).min(current);
            let (floor, reason) = if min < rate {
                (rate, "ScaleDownLimit")
            } else {
                (min, "TooFewReplicas")
            };
            if desired < floor {
                return Limited {
                    replicas: floor,
                    reason,
                };
            }
        }
        Limited {
            replicas: desired,
            reason: DESIRED_WITHIN_RANGE,
        }
    }

    fn up_limit(&self, memory: &HpaMemory, current: i32, now: Timestamp) -> i32 {
        let least = match self.up.select_policy.as_deref() {
            Some("Disabled") => return current,
            Some("Min") => true,
            _ => false,
        };
        let mut proposed = 0;
        self.up
            .policies
            .iter()
            .fold(if least { i32::MAX } else { i32::MIN }, |best, policy| {
                let start = start_of_period(memory, policy, current, now);
                match policy.kind.as_str() {
                    "Pods" => proposed = start.wrapping_add(policy.value),
                    "Percent" => {
                        let factor = 1.0 + f64::from(policy.value) / 100.0;
                        proposed = to_i32((f64::from(start) * factor).ceil());
                    }
                    _ => {}
                }
                if least {
                    best.min(proposed)
                } else {
                    best.max(proposed)
                }
            })
    }

    fn down_limit(&self, memory: &HpaMemory, current: i32, now: Timestamp) -> i32 {
        // The policy that changes least leaves the most replicas.
        let least = match self.down.select_policy.as_deref() {
            Some("Disabled") => return current,
            Some("Min") => true,
            _ => false,
        };
        let mut proposed = 0;
        self.down
            .policies
            .iter()
            .fold(if least { i32::MIN } else { i32::MAX }, |best, policy| {
                let start = start_of_period(memory, policy, current, now);
                match policy.kind.as_str() {
                    "Pods" => proposed = start.wrapping_sub(policy.value),
                    "Percent" => {
                        let factor = 1.0 - f64::from(policy.value) / 100.0;
                        proposed = to_i32(f64::from(start) * factor);
                    }
                    _ => {}
                }
                if least {
                    best.max(proposed)
                } else {
                    best.min(proposed)
                }
            })
    }

    /// Remembers a step, in the place of an outlived one if there is one.
    pub(super) fn record(&self, memory: &mut HpaMemory, from: i32, to: i32, now: Timestamp) {
        let (rules, events) = match to > from {
            true => (&self.up, &mut memory.up_events),
            false => (&self.down, &mut memory.down_events),
        };
        let longest = rules
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
fn start_of_period(
    memory: &HpaMemory,
    policy: &ScalingPolicy,
    current: i32,
    now: Timestamp,
) -> i32 {
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
