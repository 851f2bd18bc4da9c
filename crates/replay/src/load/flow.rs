//! Work against capacity over a span of time, integrated exactly: demand is
//! constant or a line between two rows, capacity is constant between two events.

use super::Load;

/// What a span came to. Work is in GPU-seconds, time in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Flow {
    /// Work that came.
    pub work: f64,
    /// Work that could not be served when it came (without a queue).
    pub unmet: f64,
    /// Time with more work than capacity, or with a queue.
    pub over: f64,
    /// The queue's length over time: GPU-seconds times seconds.
    pub waiting: f64,
}

impl Load {
    /// Serves `[from, to)` with `capacity` GPUs. `place` is where the last call
    /// ended; `queue` is the work that waits, if work may wait.
    pub fn flow(
        &self,
        place: &mut usize,
        from: i64,
        to: i64,
        capacity: f64,
        mut queue: Option<&mut f64>,
    ) -> Flow {
        let mut sum = Flow::default();
        let mut at = from;
        *place = self.seek(*place, at);
        while at < to {
            let until = self
                .times
                .get(*place + 1)
                .map_or(to, |next| (*next).min(to));
            let span = (until - at) as f64 / 1000.0;
            let (d0, d1) = (self.at(*place, at), self.at(*place, until));
            sum.work += (d0 + d1) / 2.0 * span;
            match queue.as_deref_mut() {
                None => {
                    let (unmet, over) = excess(d0 - capacity, d1 - capacity, span);
                    sum.unmet += unmet;
                    sum.over += over;
                }
                Some(queue) => queued(d0 - capacity, d1 - capacity, span, queue, &mut sum),
            }
            at = until;
            if self.times.get(*place + 1).is_some_and(|next| *next <= at) {
                *place += 1;
            }
        }
        sum
    }
}

/// Area and duration of the part of a line above zero.
fn excess(r0: f64, r1: f64, span: f64) -> (f64, f64) {
    match (r0 > 0.0, r1 > 0.0) {
        (true, true) => ((r0 + r1) / 2.0 * span, span),
        (false, false) => (0.0, 0.0),
        _ => {
            let high = r0.max(r1);
            let part = high / (high - r0.min(r1)) * span;
            (high / 2.0 * part, part)
        }
    }
}

/// A queue that grows at a rate that goes from `r0` to `r1`.
fn queued(r0: f64, r1: f64, span: f64, queue: &mut f64, sum: &mut Flow) {
    // Where the rate changes its sign the span is cut in two.
    if r0 * r1 < 0.0 {
        let part = r0 / (r0 - r1) * span;
        queued(r0, 0.0, part, queue, sum);
        queued(0.0, r1, span - part, queue, sum);
        return;
    }
    let slope = if span > 0.0 { (r1 - r0) / span } else { 0.0 };
    let mut busy = span;
    if r0 + r1 <= 0.0 {
        let drained = (r0 + r1) / 2.0 * span + *queue;
        if drained <= 0.0 {
            busy = empties(*queue, r0, slope).min(span);
        }
    }
    let (t, q) = (busy, *queue);
    sum.waiting += q * t + r0 * t * t / 2.0 + slope * t * t * t / 6.0;
    if q > 0.0 || r0 + r1 > 0.0 {
        sum.over += t;
    }
    *queue = match busy < span {
        true => 0.0,
        false => (q + (r0 + r1) / 2.0 * span).max(0.0),
    };
}

/// When `queue + r·t + s·t²/2` first reaches zero.
fn empties(queue: f64, r: f64, s: f64) -> f64 {
    if queue <= 0.0 {
        return 0.0;
    }
    if s.abs() < 1e-12 {
        return -queue / r;
    }
    let root = (r * r - 2.0 * s * queue).max(0.0).sqrt();
    // The smaller positive root, in the form that does not cancel.
    2.0 * queue / (-r + root)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(linear: bool, points: &[(i64, f64)]) -> Load {
        let times: Vec<i64> = points.iter().map(|p| p.0 * 1000).collect();
        Load::new(&times, points.iter().map(|p| p.1).collect(), linear, 10_000)
    }

    #[test]
    fn without_a_queue_what_is_above_the_capacity_is_lost() {
        let steps = load(false, &[(0, 1.0), (10, 3.0), (20, 1.0)]);
        let flow = steps.flow(&mut 0, 0, 30_000, 2.0, None);
        assert_eq!((flow.work, flow.unmet, flow.over), (50.0, 10.0, 10.0));
        let line = load(true, &[(0, 0.0), (10, 4.0)]);
        let flow = line.flow(&mut 0, 0, 10_000, 2.0, None);
        assert_eq!((flow.work, flow.unmet, flow.over), (20.0, 5.0, 5.0));
    }

    #[test]
    fn a_queue_is_served_later() {
        let steps = load(false, &[(0, 3.0), (10, 1.0), (20, 1.0)]);
        let mut queue = 0.0;
        let flow = steps.flow(&mut 0, 0, 30_000, 2.0, Some(&mut queue));
        // 10 GPU-seconds gather in 10 s and are gone 10 s later.
        assert_eq!((queue, flow.over, flow.waiting), (0.0, 20.0, 100.0));
        let line = load(true, &[(0, 4.0), (20, 0.0)]);
        let mut queue = 0.0;
        let flow = line.flow(&mut 0, 0, 20_000, 2.0, Some(&mut queue));
        assert!(
            queue.abs() < 1e-9 && (flow.over - 20.0).abs() < 1e-6,
            "{flow:?} {queue}"
        );
    }

    #[test]
    fn cutting_a_span_changes_nothing() {
        let line = load(true, &[(0, 0.0), (7, 5.0), (19, 1.0), (40, 6.0)]);
        let mut whole_queue = 0.0;
        let whole = line.flow(&mut 0, 0, 50_000, 2.5, Some(&mut whole_queue));
        let (mut queue, mut place, mut sum) = (0.0, 0, Flow::default());
        for start in (0..50_000).step_by(700) {
            let end = (start + 700).min(50_000);
            let part = line.flow(&mut place, start, end, 2.5, Some(&mut queue));
            sum.work += part.work;
            sum.over += part.over;
            sum.waiting += part.waiting;
        }
        assert!((queue - whole_queue).abs() < 1e-6);
        assert!((sum.work - whole.work).abs() < 1e-6);
        assert!((sum.over - whole.over).abs() < 1e-6, "{sum:?} {whole:?}");
        assert!((sum.waiting - whole.waiting).abs() < 1e-6);
    }
}
