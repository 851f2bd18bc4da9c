//! Perfect foresight: the fewest GPU-hours that would have served as much of
//! the load, with the same readiness lag.
//!
//! Demand is cut into layers one replica high. Each layer's replica may run or
//! not; it pays from its start, one lag before it serves. For a price on unmet
//! work, the best course of each layer is a two-state dynamic program; the
//! price is halved in on until as much is unmet as the policy left. Layers are
//! independent, and a lower layer is needed whenever a higher one is, so the
//! courses fit together. Bounds on the replica count are left out: they are
//! the policy's, not the load's.

use crate::load::Load;

/// Most cells that a load is cut into.
const CELLS: i64 = 10_080;
/// Most layers; above that, several replicas make one ([`Oracle::step`]).
const LAYERS: usize = 400;

/// A load prepared for one replica size and lag.
#[derive(Clone, Debug)]
pub struct Oracle {
    /// Work of each layer in each cell, GPU-seconds.
    layers: Vec<Vec<f32>>,
    /// Length of a cell in seconds.
    cell: f64,
    /// Length of the last one, which the load's end may cut short.
    last: f64,
    lag: f64,
    /// Height of a layer.
    gpus: f64,
    step: u32,
    work: f64,
}

impl Oracle {
    /// Prepares a load for replicas of `gpus` GPUs that serve `lag_ms` after
    /// their start.
    pub fn new(load: &Load, gpus: u32, lag_ms: i64) -> Self {
        let one = f64::from(gpus.max(1));
        let stack = (load.highest() / one / LAYERS as f64).ceil().max(1.0);
        let gpus = one * stack;
        let widest = load.times.windows(2).map(|w| w[1] - w[0]).min();
        let cell = (load.end / CELLS)
            .max(widest.unwrap_or(1000).min(15_000))
            .max(1);
        let count = usize::try_from((load.end + cell - 1) / cell).unwrap_or(1);
        let highest = (load.highest() / gpus).ceil().max(0.0);
        let layers = highest as usize;
        let mut out = vec![vec![0.0f32; count]; layers];
        let mut place = 0;
        let mut total = 0.0;
        for c in 0..count {
            let from = c as i64 * cell;
            let to = (from + cell).min(load.end);
            let all = load.flow(&mut place, from, to, 0.0, None);
            total += all.work;
            let mut above = all.work;
            for (n, layer) in out.iter_mut().enumerate() {
                if above <= 0.0 {
                    break;
                }
                let mut start = place;
                let over = load.flow(&mut start, from, to, (n + 1) as f64 * gpus, None);
                layer[c] = (above - over.unmet) as f32;
                above = over.unmet;
            }
        }
        Self {
            layers: out,
            cell: cell as f64 / 1000.0,
            last: (load.end - (count as i64 - 1) * cell).max(0) as f64 / 1000.0,
            step: stack as u32,
            lag: lag_ms as f64 / 1000.0,
            gpus,
            work: total,
        }
    }

    /// Replicas that come and go together. Above 1 the result is a little too
    /// high: foresight could have moved them one by one.
    pub fn step(&self) -> u32 {
        self.step
    }

    /// Fewest GPU-hours with at most this share of the work unmet, where work
    /// that is not served when it comes is lost.
    pub fn gpu_hours(&self, unmet_fraction: f64) -> f64 {
        let allowed = unmet_fraction * self.work + 1e-6 * self.work;
        // Prices between "never worth it" and "always worth it".
        let (mut low, mut high) = (0.0f64, 1e6f64);
        let (mut less, mut enough) = ((0.0, 0.0), self.course(high));
        if self.work <= allowed {
            return 0.0;
        }
        for _ in 0..40 {
            let price = match low > 0.0 {
                true => (low * high).sqrt(),
                false => high / 32.0,
            };
            let course = self.course(price);
            if self.work - course.0 <= allowed {
                (high, enough) = (price, course);
            } else {
                (low, less) = (price, course);
            }
            if low > 0.0 && high / low < 1.002 || high < 1e-6 {
                break;
            }
        }
        // Between the two, by following one course for a part of the time.
        let wanted = self.work - allowed;
        let part = (wanted - less.0) / (enough.0 - less.0).max(1e-9);
        (less.1 + (enough.1 - less.1) * part.clamp(0.0, 1.0)) / 3600.0
    }

    /// Work served and GPU-seconds paid at a price for each GPU-second served.
    fn course(&self, price: f64) -> (f64, f64) {
        let mut sum = (0.0, 0.0);
        for layer in &self.layers {
            // Value, work served and GPU-seconds of the best course that ends
            // off or on.
            let mut off = (0.0, 0.0, 0.0);
            let mut on = (f64::MIN, 0.0, 0.0);
            for (c, work) in layer.iter().enumerate() {
                let work = f64::from(*work);
                let length = if c + 1 < layer.len() {
                    self.cell
                } else {
                    self.last
                };
                let run = self.gpus * length;
                // What runs when the load begins may have been started before.
                let start = self.gpus * self.lag.min(c as f64 * self.cell);
                let gain = price * work - run;
                let fresh = (off.0 - start + gain, off.1 + work, off.2 + start + run);
                let kept = (on.0 + gain, on.1 + work, on.2 + run);
                let stop = if on.0 > off.0 { on } else { off };
                on = if kept.0 > fresh.0 { kept } else { fresh };
                off = stop;
            }
            let end = if on.0 > off.0 { on } else { off };
            sum.0 += end.1;
            sum.1 += end.2;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn load(values: &[f64]) -> Load {
        let times: Vec<i64> = (0..values.len() as i64).map(|n| n * 10_000).collect();
        Load::new(&times, values.to_vec(), false, 10_000)
    }

    #[test]
    fn without_a_lag_all_work_needs_its_replicas_rounded_up() {
        let oracle = Oracle::new(&load(&[0.5, 2.5, 0.0, 1.0]), 1, 0);
        assert!((oracle.gpu_hours(0.0) * 360.0 - 5.0).abs() < 1e-3);
    }

    #[test]
    fn a_short_gap_is_cheaper_to_sit_out_than_to_start_again() {
        let gap = load(&[1.0, 0.0, 1.0]);
        let seconds = |lag| Oracle::new(&gap, 1, lag).gpu_hours(0.0) * 3600.0;
        assert!((seconds(30_000) - 30.0).abs() < 1e-3, "stays on");
        assert!((seconds(5_000) - 25.0).abs() < 1e-3, "starts again");
    }

    proptest! {
        #[test]
        fn no_course_is_cheaper_at_as_much_unmet(
            steps in proptest::collection::vec((0.0..6.0f64, 0..7u32), 2..60),
            lag in 0..6i64,
        ) {
            let demand: Vec<f64> = steps.iter().map(|s| s.0).collect();
            let load = load(&demand);
            let oracle = Oracle::new(&load, 1, lag * 10_000);
            // A course of replicas that serve, each paid for one lag before.
            let (mut paid, mut unmet, mut before) = (0.0, 0.0, 0);
            for (at, (demand, count)) in steps.iter().enumerate() {
                let started = count.saturating_sub(before);
                let wait = lag.min(i64::try_from(at).unwrap_or(i64::MAX)) as f64;
                paid += (f64::from(*count) + f64::from(started) * wait) * 10.0;
                unmet += (demand - f64::from(*count)).max(0.0) * 10.0;
                before = *count;
            }
            let work: f64 = demand.iter().sum::<f64>() * 10.0;
            let ideal = oracle.gpu_hours(unmet / work.max(1e-9)) * 3600.0;
            prop_assert!(ideal <= paid * 1.002 + 1e-6, "{ideal} {paid} {unmet} of {work}");
        }
    }

    #[test]
    fn a_cell_that_the_end_cuts_short_costs_what_is_left_of_it() {
        let times: Vec<i64> = (0..2).map(|n| n * 10_001).collect();
        let load = Load::new(&times, vec![1.0, 1.0], false, 10_001);
        let seconds = Oracle::new(&load, 1, 0).gpu_hours(0.0) * 3600.0;
        assert!((seconds - 20.002).abs() < 1e-3, "{seconds}");
    }

    #[test]
    fn leaving_work_undone_is_cheaper() {
        let peak = load(&[1.0, 1.0, 1.2, 1.0]);
        let oracle = Oracle::new(&peak, 1, 20_000);
        assert!(oracle.gpu_hours(0.1) < oracle.gpu_hours(0.0));
    }
}
