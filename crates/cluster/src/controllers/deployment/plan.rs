//! The arithmetic of a rollout: how many replicas each replica set may have.

use decide::budget::of_total;

/// The numbers of a deployment that steer its rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Replicas asked for.
    pub(crate) desired: i64,
    /// Pods allowed above `desired`; 0 for Recreate.
    pub(crate) surge: i64,
    /// Pods that may be missing from `desired`; 0 for Recreate.
    pub(crate) unavailable: i64,
    /// Whether replica sets are exchanged step by step.
    pub(crate) rolling: bool,
}

/// The numbers of one replica set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Set {
    /// `spec.replicas`.
    pub(crate) replicas: i64,
    /// `status.availableReplicas`.
    pub(crate) available: i64,
    /// The deployment's desired replicas plus surge when the set was last sized.
    pub(crate) max_before: Option<i64>,
}

/// Bounds of a rolling deployment from its two int-or-percent fields.
pub(crate) fn rolling(desired: i64, surge: &str, unavailable: &str) -> Bounds {
    let surge = of_total(surge, desired, true);
    let mut unavailable = of_total(unavailable, desired, false);
    if surge == 0 && unavailable == 0 {
        // Neither more nor fewer pods would allow no step at all.
        unavailable = 1;
    }
    Bounds {
        desired,
        surge,
        unavailable: unavailable.min(desired),
        rolling: true,
    }
}

/// The size of the new set: it takes the room that surge leaves.
pub(crate) fn new_size(b: &Bounds, new: i64, total: i64) -> i64 {
    if !b.rolling {
        return b.desired;
    }
    let room = b.desired + b.surge - total;
    if room <= 0 {
        new
    } else {
        new + room.min(b.desired - new)
    }
}

/// New sizes of the old sets (oldest first) after one step; the same sizes if no pod may go.
pub(crate) fn old_sizes(b: &Bounds, old: &[Set], new: &Set) -> Vec<i64> {
    let mut sizes: Vec<i64> = old.iter().map(|s| s.replicas).collect();
    let total = sizes.iter().sum::<i64>() + new.replicas;
    let least = b.desired - b.unavailable;
    let budget = total - least - (new.replicas - new.available);
    if budget <= 0 {
        return sizes;
    }
    let mut left = budget;
    for (size, set) in sizes.iter_mut().zip(old) {
        // Pods that serve nobody go first.
        let step = (*size - set.available).max(0).min(left);
        *size -= step;
        left -= step;
    }
    let available = old.iter().map(|s| s.available).sum::<i64>() + new.available;
    let mut spare = (available - least).max(0);
    for size in &mut sizes {
        let step = (*size).min(spare);
        *size -= step;
        spare -= step;
    }
    sizes
}

/// Sizes of several active sets after the deployment was resized in mid-rollout. `sets` are in
/// the order in which they are served: largest first, among equals the newest first when
/// growing and the oldest first when shrinking.
pub(crate) fn proportional(b: &Bounds, sets: &[Set], status_replicas: i64) -> Vec<i64> {
    let total: i64 = sets.iter().map(|s| s.replicas).sum();
    let allowed = if b.desired > 0 {
        b.desired + b.surge
    } else {
        0
    };
    let to_add = allowed - total;
    let mut added = 0;
    let mut sizes = Vec::with_capacity(sets.len());
    for set in sets {
        let share = if to_add == 0 || set.replicas == 0 || to_add == added {
            0
        } else {
            let fraction = fraction(b, set, status_replicas);
            let rest = to_add - added;
            if to_add > 0 {
                fraction.min(rest)
            } else {
                fraction.max(rest)
            }
        };
        added += share;
        sizes.push(set.replicas + share);
    }
    if to_add != 0
        && let Some(first) = sizes.first_mut()
    {
        *first = (*first + to_add - added).max(0);
    }
    sizes
}

fn fraction(b: &Bounds, set: &Set, status_replicas: i64) -> i64 {
    if b.desired == 0 {
        return -set.replicas;
    }
    let max = b.desired + b.surge;
    let before = match set.max_before.filter(|m| *m > 0) {
        Some(before) => before,
        None if status_replicas > 0 => status_replicas,
        None => return 0,
    };
    // Rounded half up: sizes are never negative.
    (2 * set.replicas * max + before) / (2 * before) - set.replicas
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(replicas: i64, available: i64, max_before: i64) -> Set {
        Set {
            replicas,
            available,
            max_before: Some(max_before),
        }
    }

    #[test]
    fn percentages_round_towards_progress() {
        let b = rolling(10, "25%", "25%");
        assert_eq!((b.surge, b.unavailable), (3, 2));
        let b = rolling(1, "25%", "25%");
        assert_eq!((b.surge, b.unavailable), (1, 0));
        let b = rolling(3, "0", "0%");
        assert_eq!((b.surge, b.unavailable), (0, 1));
    }

    #[test]
    fn the_new_set_grows_into_the_surge_and_the_old_shrinks_as_pods_serve() {
        let b = rolling(10, "25%", "25%");
        assert_eq!(new_size(&b, 0, 10), 3);
        assert_eq!(old_sizes(&b, &[set(10, 10, 13)], &set(3, 0, 13)), [8]);
        assert_eq!(old_sizes(&b, &[set(8, 8, 13)], &set(5, 0, 13)), [8]);
        assert_eq!(old_sizes(&b, &[set(8, 8, 13)], &set(5, 5, 13)), [3]);
    }

    #[test]
    fn unhealthy_old_pods_go_before_healthy_ones() {
        let b = rolling(4, "1", "0");
        assert_eq!(
            old_sizes(&b, &[set(2, 2, 5), set(2, 0, 5)], &set(1, 1, 5)),
            [2, 1]
        );
    }

    #[test]
    fn resizing_in_mid_rollout_keeps_the_proportions() {
        let b = rolling(20, "3", "2");
        assert_eq!(
            proportional(&b, &[set(8, 8, 13), set(5, 5, 13)], 13),
            [14, 9]
        );
        let b = rolling(0, "3", "2");
        assert_eq!(
            proportional(&b, &[set(8, 8, 13), set(5, 5, 13)], 13),
            [0, 0]
        );
    }
}
