//! Where the evaluator gets its samples from.

use crate::labels::{Labels, Matcher};

/// One series as read for a query.
#[derive(Clone, Debug, Default)]
pub struct SeriesData {
    /// The series' labels, metric name included.
    pub labels: Labels,
    /// Samples in time order: milliseconds since the epoch and value.
    pub points: Vec<(i64, f64)>,
    /// Start timestamps of the samples, when the source knows them (0 = unknown).
    pub starts: Option<Vec<i64>>,
}

/// A readable set of series.
pub trait Source {
    /// The series that satisfy all matchers and have samples with `mint <= t <= maxt`, ordered
    /// by labels. With `newest_only` the caller needs just each series' last sample.
    fn select(
        &self,
        matchers: &[Matcher],
        mint: i64,
        maxt: i64,
        newest_only: bool,
    ) -> Vec<SeriesData>;
}
