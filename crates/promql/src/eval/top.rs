//! Which elements `topk` and `bottomk` keep. Where several are equal at the
//! edge, which one stays is decided by the heap that Prometheus collects them
//! in, so this is the same heap: a plain sort would keep others.

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
