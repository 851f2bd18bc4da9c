//! Demand over time, in GPUs of work.

mod flow;
mod observed;
mod table;

pub use flow::Flow;
pub use observed::{Observed, Sight};
pub(crate) use table::MAX_ROWS;
pub use table::{Table, time};

use crate::error::{InputError, Read};

/// Demand as a function of time. Times are milliseconds since [`Load::origin`].
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// When the load begins, in milliseconds since the epoch.
    pub origin: i64,
    /// When each value begins; the first is 0.
    pub times: Vec<i64>,
    /// GPUs of work.
    pub gpus: Vec<f64>,
    /// Whether values are joined by lines instead of holding until the next.
    pub linear: bool,
    /// When the load ends: one usual step after the last row.
    pub end: i64,
}

/// How a `--demand` file is to be read.
#[derive(Clone, Copy, Debug, Default)]
pub struct DemandOptions<'a> {
    /// The column, where the file has several.
    pub column: Option<&'a str>,
    /// GPUs at the 99th percentile; values are GPUs where this is not given.
    pub peak: Option<f64>,
    /// Join the values by lines.
    pub linear: bool,
}

impl Load {
    /// Reads a demand file.
    pub fn from_csv(file: &str, text: &str, options: &DemandOptions<'_>) -> Read<Self> {
        let table = Table::read(file, text)?;
        let column = match options.column {
            Some(name) => table.column(name).ok_or_else(|| {
                let names = table.names();
                InputError::new(
                    file,
                    format!("there is no column \"{name}\"; it has {names}"),
                )
            })?,
            None if table.columns.len() == 2 => 0,
            None => {
                return Err(InputError::new(
                    file,
                    format!(
                        "it has several columns ({}); choose one: --demand {file}#{}",
                        table.names(),
                        table.columns.get(1).map_or("", |c| c)
                    ),
                ));
            }
        };
        let mut gpus = table.numbers(column)?;
        if let Some(peak) = options.peak {
            let top = percentile_99(&gpus);
            if top <= 0.0 {
                return Err(InputError::new(
                    file,
                    format!(
                        "the 99th percentile of column {} is 0: --peak has nothing to scale",
                        table.columns[column + 1]
                    ),
                ));
            }
            for value in &mut gpus {
                *value *= peak / top;
            }
        }
        Ok(Self::new(&table.times, gpus, options.linear, table.step))
    }

    pub(crate) fn new(times: &[i64], gpus: Vec<f64>, linear: bool, step: i64) -> Self {
        let origin = times.first().copied().unwrap_or(0);
        let times: Vec<i64> = times.iter().map(|t| t - origin).collect();
        let end = times.last().copied().unwrap_or(0) + step;
        Self {
            origin,
            times,
            gpus,
            linear,
            end,
        }
    }

    /// The place of the value that holds at `t`, looking forward from `from`.
    pub(crate) fn seek(&self, mut from: usize, t: i64) -> usize {
        if self.times[from] > t {
            from = 0;
        }
        // Far jumps by halving, near ones by steps.
        if self.times.get(from + 8).is_some_and(|far| *far <= t) {
            return self.times.partition_point(|x| *x <= t).saturating_sub(1);
        }
        while self.times.get(from + 1).is_some_and(|next| *next <= t) {
            from += 1;
        }
        from
    }

    /// Demand at `t`, of the segment at `place`.
    pub(crate) fn at(&self, place: usize, t: i64) -> f64 {
        let value = self.gpus[place];
        if !self.linear || place + 1 >= self.times.len() {
            return value;
        }
        let (from, to) = (self.times[place], self.times[place + 1]);
        let share = (t - from) as f64 / (to - from) as f64;
        value + (self.gpus[place + 1] - value) * share
    }

    /// Demand at any time.
    pub fn value(&self, t: i64) -> f64 {
        self.at(self.seek(0, t), t)
    }

    /// Work of the whole load in GPU-hours.
    pub fn gpu_hours(&self) -> f64 {
        self.flow(&mut 0, 0, self.end, 0.0, None).work / 3600.0
    }

    /// The highest demand.
    pub fn highest(&self) -> f64 {
        self.gpus.iter().copied().fold(0.0, f64::max)
    }
}

/// The 99th percentile with linear interpolation.
pub(crate) fn percentile_99(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = 0.99 * (sorted.len().saturating_sub(1)) as f64;
    let below = rank.floor() as usize;
    let low = sorted.get(below).copied().unwrap_or(0.0);
    let high = sorted.get(below + 1).copied().unwrap_or(low);
    low + (high - low) * (rank - rank.floor())
}
