//! Demand reconstructed from what was observed: utilization and replicas.
//!
//! Where the GPUs were saturated, the demand is only known to have been at
//! least what they did.

use super::{Load, Table};
use crate::error::{InputError, Read};

/// A stretch of the past as it was.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Reconstructed demand: what was served.
    pub load: Load,
    /// Whether each row was saturated.
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
    /// Starting replicas were part of the utilization, with 0 %.
    pub starting_shown: bool,
}

impl Observed {
    /// Reads `time,utilization,replicas` with an optional column `ready`:
    /// utilization in percent, the mean over the GPUs shown.
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
        let ready = column(["ready", "ready_replicas"]);
        let ready = ready.map(|c| table.numbers(c)).transpose()?;
        for (row, value) in utilization.iter().enumerate() {
            if *value > 100.0 {
                return Err(InputError::new(
                    format!("{file} line {}, column utilization", table.line(row)),
                    format!("{value} is above 100; give percent"),
                ));
            }
        }
        let mut counts = Vec::with_capacity(replicas.len());
        for (row, value) in replicas.iter().enumerate() {
            let place = || format!("{file} line {}, column replicas", table.line(row));
            if value.fract() != 0.0 || *value > 100_000.0 {
                let problem = format!("{value} is no number of replicas");
                return Err(InputError::new(place(), problem));
            }
            let ready = ready.as_ref().map_or(0.0, |r| r[row]);
            if ready > *value {
                let problem = format!("{ready} ready of {value} replicas contradict one another");
                return Err(InputError::new(place(), problem));
            }
            counts.push(*value as u32);
        }
        Ok(Self::reconstruct(
            &table.times,
            &utilization,
            &counts,
            ready.as_deref(),
            table.step,
            sight,
        ))
    }

    /// Demand from rows of utilization (percent, mean over the GPUs shown) and
    /// replicas.
    pub fn reconstruct(
        times: &[i64],
        utilization: &[f64],
        replicas: &[u32],
        ready: Option<&[f64]>,
        step: i64,
        sight: &Sight,
    ) -> Self {
        let served = match ready {
            Some(ready) => ready.to_vec(),
            None => ready_after(times, replicas, sight.lag_ms),
        };
        let gpus = f64::from(sight.gpus);
        let mut demand = Vec::with_capacity(times.len());
        let mut saturated = Vec::with_capacity(times.len());
        for (row, util) in utilization.iter().enumerate() {
            let shown = match sight.starting_shown && ready.is_none() {
                true => f64::from(replicas[row]),
                false => served[row],
            };
            let work = (util / 100.0 * shown * gpus).min(served[row].max(shown) * gpus);
            demand.push(work);
            let full = served[row] > 0.0 && work >= sight.saturated / 100.0 * served[row] * gpus;
            saturated.push(full);
        }
        Self {
            load: Load::new(times, demand, false, step),
            saturated,
            replicas: replicas.to_vec(),
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
