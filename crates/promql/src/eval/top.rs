//! Which elements `topk` and `bottomk` keep. Where several are equal at the
//! edge, which one stays is decided by the heap that Prometheus collects them
//! in, so this is the same heap: a plain sort would keep others of the same
//! series in the same order.

use super::Sample;
use super::aggregate::by_value;

/// The `k` largest elements (the smallest where `largest` is false), the best
/// first.
pub(super) fn kept(members: Vec<Sample>, k: usize, largest: bool) -> Vec<Sample> {
    let mut heap = Heap {
        items: Vec::new(),
        largest,
    };
    for s in members {
        if heap.items.len() < k {
            heap.push(s);
        } else if heap.worst_yields_to(s.v) {
            heap.items[0] = s;
            heap.sink();
        }
    }
    heap.items.sort_by(|a, b| by_value(a.v, b.v, largest));
    heap.items
}

/// A binary heap with the worst element on top.
struct Heap {
    items: Vec<Sample>,
    largest: bool,
}

impl Heap {
    fn worse(&self, a: f64, b: f64) -> bool {
        a.is_nan() || if self.largest { a < b } else { a > b }
    }

    fn worst_yields_to(&self, v: f64) -> bool {
        let Some(worst) = self.items.first().map(|s| s.v) else {
            return false;
        };
        // NaN yields to every number and to no NaN.
        !v.is_nan() && self.worse(worst, v)
    }

    fn push(&mut self, s: Sample) {
        self.items.push(s);
        let mut at = self.items.len() - 1;
        while at > 0 {
            let above = (at - 1) / 2;
            if !self.worse(self.items[at].v, self.items[above].v) {
                break;
            }
            self.items.swap(at, above);
            at = above;
        }
    }

    /// Moves the top down to its place.
    fn sink(&mut self) {
        let mut at = 0;
        loop {
            let mut below = 2 * at + 1;
            if below >= self.items.len() {
                break;
            }
            let right = below + 1;
            if right < self.items.len() && self.worse(self.items[right].v, self.items[below].v) {
                below = right;
            }
            if !self.worse(self.items[below].v, self.items[at].v) {
                break;
            }
            self.items.swap(at, below);
            at = below;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Labels;

    fn check(values: &[f64], k: usize, largest: bool, want: &[&str]) {
        let members = values.iter().enumerate().map(|(i, v)| {
            let labels = Labels::from_pairs([("i", i.to_string())]);
            Sample::new(labels, *v)
        });
        let kept = kept(members.collect(), k, largest);
        let names: Vec<&str> = kept.iter().map(|s| s.labels.get("i")).collect();
        assert_eq!(names, want, "{values:?}");
    }

    #[test]
    fn the_best_are_kept_and_of_equal_ones_those_that_the_heap_keeps() {
        check(&[1.0, 3.0, 2.0], 2, true, &["1", "2"]);
        check(&[1.0, 3.0, 2.0], 2, false, &["0", "2"]);
        // The first of the equal ones stands on top of the heap and goes.
        check(&[0.1, 0.1, 0.1, 0.0], 3, false, &["3", "1", "2"]);
        check(&[f64::NAN, 1.0, f64::NAN], 1, true, &["1"]);
        check(&[f64::NAN, f64::NAN], 1, true, &["0"]);
        check(&[1.0], 0, true, &[]);
        check(&[], 5, true, &[]);
    }
}
