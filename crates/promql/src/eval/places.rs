//! Numbers for what label sets become, kept from step to step.
//!
//! Steps see the same series again and again. What a set becomes (the labels of its group, the
//! labels it has in the result) takes time to work out and to look up by its text, so from the
//! second step on a set that was seen before is known by its address.

use crate::labels::Labels;
use std::collections::HashMap;

/// Sets beyond twice the present step's that may be remembered.
const SPARE: usize = 1_000;

#[derive(Default)]
pub(super) struct Places {
    /// What sets become, by number.
    labels: Vec<Labels>,
    numbers: HashMap<Labels, usize>,
    /// Numbers by the set's address, and the set itself: while it is held, no other one can
    /// have its address.
    seen: HashMap<(usize, bool), (Labels, usize)>,
    steps: usize,
}

impl Places {
    /// Begins a step with so many sets. Where sets are new at each step, those of earlier ones
    /// are forgotten, as they only take memory.
    pub(super) fn begin(&mut self, sets: usize) {
        self.steps += 1;
        if self.seen.len() > 2 * sets + SPARE {
            self.seen.clear();
        }
    }

    /// As [`Self::begin`], and the numbers themselves begin anew when there are too many.
    pub(super) fn begin_afresh(&mut self, sets: usize) {
        if self.labels.len() > 2 * sets + SPARE {
            *self = Self::default();
        }
        self.begin(sets);
    }

    /// The number of what `set` becomes; equal ones have the same number, and a new one has the
    /// next. `variant` tells apart what else the outcome depends on.
    pub(super) fn of(
        &mut self,
        set: &Labels,
        variant: bool,
        becomes: impl FnOnce() -> Labels,
    ) -> usize {
        let key = (set.address(), variant);
        if let Some((_, n)) = self.seen.get(&key) {
            return *n;
        }
        let n = *self.numbers.entry(becomes()).or_insert_with_key(|l| {
            self.labels.push(l.clone());
            self.labels.len() - 1
        });
        // A query of a single step has nothing to gain.
        if self.steps > 1 {
            self.seen.insert(key, (set.clone(), n));
        }
        n
    }

    /// How many numbers there are.
    pub(super) fn len(&self) -> usize {
        self.labels.len()
    }

    /// What the set of a number became.
    pub(super) fn labels(&self, n: usize) -> &Labels {
        &self.labels[n]
    }

    /// What all of them became, by number.
    pub(super) fn into_labels(self) -> Vec<Labels> {
        self.labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pod: &str) -> Labels {
        Labels::from_pairs([("pod", pod), ("namespace", "n")])
    }

    #[test]
    fn a_known_set_is_not_worked_out_again_and_equal_outcomes_share_a_number() {
        let mut places = Places::default();
        let sets = [set("a"), set("b"), set("a")];
        for step in 0..3 {
            places.begin(sets.len());
            for (set, want) in sets.iter().zip([0, 1, 0]) {
                let n = places.of(set, false, || {
                    assert!(step < 2, "known since the second step");
                    set.clone()
                });
                assert_eq!(n, want);
            }
        }
        // The same set that loses something on the way is another one.
        assert_eq!(places.of(&sets[0], true, Labels::empty), 2);
        assert_eq!(places.into_labels(), [set("a"), set("b"), Labels::empty()]);
    }

    #[test]
    fn sets_that_are_new_at_each_step_do_not_pile_up() {
        let mut places = Places::default();
        for _ in 0..5_000 {
            places.begin(2);
            assert_eq!(places.of(&set("a"), false, || set("a")), 0);
            assert_eq!(places.of(&set("b"), false, || set("b")), 1);
        }
        assert!(places.seen.len() <= SPARE + 6, "{}", places.seen.len());
        for n in 0..5_000 {
            places.begin_afresh(1);
            let new = set(&n.to_string());
            let place = places.of(&new, false, || new.clone());
            assert_eq!(places.labels(place), &new);
        }
        assert!(places.len() <= SPARE + 3, "{}", places.len());
    }
}
