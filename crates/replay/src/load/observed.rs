//! Demand reconstructed from what was observed: utilization and replicas.
//!
//! Where the GPUs were saturated, or no replica was ready, the demand is only
//! known to have been at least what they did.

use super::{Load, Table};
use crate::error::{InputError, Read};

/// A stretch of the past as it was.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Reconstructed demand: what was served.
    pub load: Load,
    /// Whether demand is only known to be at least so much, by row: the GPUs
    /// were saturated, or no replica was ready.
    pub saturated: Vec<bool>,
    /// Replicas as they were, by row.
    pub replicas: Vec<u32>,
}

/// How observed numbers are to be read.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// GPUs of a replica.
    pub gpus: u32,
    /// Utilization in percent from which the GPUs count as saturated.
    pub saturated: f64,
    /// How long a replica was there before it served, where the file does not
    /// tell ready replicas apart; milliseconds.
    pub lag_ms: i64,
    /// Starting replicas were part of the utilization, with 0 %, where the file
    /// does not say whose GPUs were.
    pub starting_shown: bool,
}

impl Observed {
    /// Reads `time,utilization,replicas` with optional columns `ready` and
    /// `shown`: utilization in percent, the mean over the GPUs of `shown`
    /// replicas; where that is not given, over the ready ones; where neither
    /// is, over all replicas or those that served, as `sight` says.
    pub fn from_csv(file: &str, text: &str, sight: &Sight) -> Read<Self> {
        let table = Table::read(file, text)?;
        let column = |names: [&str; 2]| names.iter().find_map(|n| table.column(n));
        let needed = |names: [&str; 2]| {
            column(names).ok_or_else(|| {
                InputError::new(
                    file,
                    format!(
                        "there is no column {}; it has {} (needed: time, utilization, replicas)",
                        names[0],
                        table.names()
                    ),
                )
            })
        };
        let utilization = table.numbers(needed(["utilization", "util"])?)?;
        let replicas = table.numbers(needed(["replicas", "spec_replicas"])?)?;
        let optional = |names: [&str; 2]| column(names).map(|c| table.numbers(c)).transpose();
        let ready = optional(["ready", "ready_replicas"])?;
        let shown = optional(["shown", "shown_replicas"])?;
        let mut counts = Vec::with_capacity(replicas.len());
        for (row, value) in replicas.iter().enumerate() {
            let fail = |column: &str, problem: String| {
                let place = format!("{file} line {}, column {column}", table.line(row));
                Err(InputError::new(place, problem))
            };
            let busy = utilization[row];
            if busy > 100.0 {
                return fail("utilization", format!("{busy} is above 100; give percent"));
            }
            if value.fract() != 0.0 || *value > 100_000.0 {
                return fail("replicas", format!("{value} is no number of replicas"));
            }
            if *value == 0.0 && busy > 0.0 {
                let problem = format!("{busy} % of 0 replicas contradict one another");
                return fail("utilization", problem);
            }
            for (name, part) in [("ready", &ready), ("shown", &shown)] {
                let part = part.as_ref().map_or(0.0, |list| list[row]);
                if part > *value {
                    let problem =
                        format!("{part} {name} of {value} replicas contradict one another");
                    return fail("replicas", problem);
                }
            }
            counts.push(*value as u32);
        }
        let told = ready.is_some();
        let ready = ready.unwrap_or_else(|| ready_after(&table.times, &counts, sight.lag_ms));
        let shown = match shown {
            Some(shown) => shown,
            None if sight.starting_shown && !told => replicas,
            None => ready.clone(),
        };
        let gpus = f64::from(sight.gpus);
        let work = utilization.iter().zip(&shown);
        let work = work.map(|(busy, shown)| busy / 100.0 * shown * gpus);
        let work = work.collect();
        Ok(Self::of(
            &table.times,
            work,
            counts,
            &ready,
            table.step,
            sight,
        ))
    }

    /// Demand from the work that was done (busy GPUs), the replicas and how
    /// many of them were ready, by row.
    pub fn of(
        times: &[i64],
        work: Vec<f64>,
        replicas: Vec<u32>,
        ready: &[f64],
        step: i64,
        sight: &Sight,
    ) -> Self {
        let full = sight.saturated / 100.0 * f64::from(sight.gpus);
        // Nobody served: what was asked for meanwhile is not known.
        let least = |(work, ready): (&f64, &f64)| *ready <= 0.0 || *work >= full * ready;
        let saturated = work.iter().zip(ready).map(least).collect();
        Self {
            load: Load::new(times, work, false, step),
            saturated,
            replicas,
        }
    }

    /// Share of the time in which demand is only known to be at least so much.
    pub fn saturated_fraction(&self) -> f64 {
        let times = &self.load.times;
        let span = |row: usize| times.get(row + 1).unwrap_or(&self.load.end) - times[row];
        let full = (0..times.len()).filter(|row| self.saturated[*row]);
        full.map(span).sum::<i64>() as f64 / self.load.end as f64
    }

    /// The load if demand had been `factor` times as much where it was saturated.
    pub fn scaled(&self, factor: f64) -> Load {
        let mut load = self.load.clone();
        for (value, full) in load.gpus.iter_mut().zip(&self.saturated) {
            if *full {
                *value *= factor;
            }
        }
        load
    }
}

/// Replicas that were there a lag ago.
fn ready_after(times: &[i64], replicas: &[u32], lag: i64) -> Vec<f64> {
    let mut out = Vec::with_capacity(times.len());
    let mut from = 0;
    for (row, t) in times.iter().enumerate() {
        while times[from] < t - lag {
            from += 1;
        }
        let start = if from > 0 && times[from] > t - lag {
            from - 1
        } else {
            from
        };
        // Those that were there all the time since then.
        let least = replicas[start..=row].iter().min().copied().unwrap_or(0);
        out.push(f64::from(least));
    }
    out
}
