//! How an HPA's decision came about, as data.
//!
//! Numbers stay numbers: a text is made when somebody reads one
//! ([`crate::explain`]), so that deciding stays cheap.

use std::fmt;

use api::quantity::{Format, Quantity};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How a decision came about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Replicas of the target's spec.
    pub current: i32,
    /// Replicas of the target's status.
    pub running: i32,
    /// Lower bound.
    pub min: i32,
    /// Upper bound.
    pub max: i32,
    /// One for each metric that was read, in order of the spec.
    #[serde(default)]
    pub proposals: Vec<Proposal>,
    /// The place in `proposals` of the one that asked for the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub winner: Option<usize>,
    /// What changed the number after that, in order.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// The result.
    pub desired: i32,
    /// The reason as it stands in the event, where there is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Why nothing, or not everything, could be decided or done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What the result would be without one rule, nearest first; only rules
    /// that make a difference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub otherwise: Vec<Otherwise>,
}

/// What one metric asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proposal {
    /// `External`, `Object`, `Pods`, `Resource` or `ContainerResource`.
    pub kind: String,
    /// The metric's or resource's name.
    pub metric: String,
    /// The reading, in the unit of the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Amount>,
    /// The target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Amount>,
    /// The reading of all replicas together, where it is read so and compared
    /// per replica.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<Amount>,
    /// Whether value and target are those of one replica.
    #[serde(default)]
    pub per_replica: bool,
    /// When the reading was taken (the oldest part of it), where the API says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampled: Option<Timestamp>,
    /// How old the reading was then, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<i64>,
    /// Reading over target; between the tolerances nothing is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// Replicas by the ratio alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<i32>,
    /// Replicas asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// How far the ratio may be from 1 without action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<Tolerance>,
    /// The pods that counted, where the metric is about pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<Pods>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How far a ratio may be from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tolerance {
    /// Above 1.
    pub up: f64,
    /// Below 1.
    pub down: f64,
    /// Whether it kept the number as it was.
    pub held: bool,
}

/// How the pods of a target counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pods {
    /// With a reading that counts.
    pub ready: usize,
    /// Not ready yet: their readings are left out, and taken as 0 upwards.
    pub unready: usize,
    /// Without a reading: taken as on target downwards and as 0 upwards.
    pub missing: usize,
    /// Failed or on their way out.
    pub ignored: usize,
    /// Whether values were assumed for pods that have none.
    pub assumed: bool,
}

/// A reading or a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Thousandths.
    Milli(i64),
    /// Percent of the pods' requests.
    Percent(i32),
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Milli(milli) => {
                write!(f, "{}", Quantity::from_milli(*milli, Format::DecimalSI))
            }
            Amount::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bad = |_| serde::de::Error::custom(format!("{text:?} is no amount"));
        match text.strip_suffix('%') {
            Some(percent) => {
                let percent = percent.parse().map_err(|_| ()).map_err(bad)?;
                Ok(Amount::Percent(percent))
            }
            None => {
                let quantity = Quantity::parse(&text).map_err(|_| ()).map_err(bad)?;
                Ok(Amount::Milli(quantity.milli_value()))
            }
        }
    }
}

/// A rule that was applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The rule, with what it went by.
    #[serde(flatten)]
    pub rule: Rule,
    /// Replicas before.
    pub from: i32,
    /// Replicas after.
    pub to: i32,
}

/// Upwards or downwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Direction {
    /// More replicas.
    Up,
    /// Fewer replicas.
    Down,
}

/// A rule that may change a replica count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "rule",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Rule {
    /// The target stands at zero and is left alone.
    ScalingDisabled,
    /// The target stands outside the bounds: straight to the bound, metrics are
    /// not read.
    OutsideBounds,
    /// Some metrics could not be read and the others ask for fewer: nothing is
    /// taken away.
    MetricsFailed {
        /// So many.
        failed: usize,
        /// Of so many.
        of: usize,
    },
    /// From zero to no fewer than the lower bound.
    WakeToMinimum,
    /// The strictest recommendation of a window.
    Stabilization {
        /// Which way the number would have gone.
        direction: Direction,
        /// Length of the window.
        window_seconds: i64,
        /// The recommendation that holds it, the last one to leave the window.
        #[serde(skip_serializing_if = "Option::is_none")]
        held: Option<Recommendation>,
    },
    /// The lower bound.
    Minimum,
    /// The upper bound.
    Maximum,
    /// A rate limit of `behavior`.
    RatePolicy {
        /// Which way.
        direction: Direction,
        /// `Pods` or `Percent`.
        policy: String,
        /// Pods or percent.
        value: i32,
        /// In this time.
        period_seconds: i32,
        /// Replicas at the start of the period.
        start: i32,
    },
    /// `selectPolicy: Disabled`.
    RateDisabled {
        /// Which way.
        direction: Direction,
    },
    /// Without `behavior`: at most twice as many, or four.
    DefaultRate,
    /// Actuation `direct`, between two syncs: nothing is taken away, and what
    /// comes is what all samples of the last half of a period ask for.
    BetweenSyncs {
        /// That many, where they ask for more than there are.
        #[serde(skip_serializing_if = "Option::is_none")]
        agreed: Option<i32>,
    },
    /// Actuation `direct` without `behavior`: at most twice the fewest replicas
    /// of the last period, or four.
    DefaultRateOfPeriod {
        /// The fewest.
        fewest: i32,
        /// The HPA's period.
        period_seconds: i64,
    },
}

/// An earlier recommendation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recommendation {
    /// Replicas.
    pub replicas: i32,
    /// When.
    pub at: Timestamp,
}

/// What the result would be without a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Otherwise {
    /// The rule left out.
    pub without: Omitted,
    /// Replicas then.
    pub replicas: i32,
}

/// A rule that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Omitted {
    /// [`Rule::Stabilization`].
    Stabilization,
    /// [`Rule::RatePolicy`], [`Rule::RateDisabled`], [`Rule::DefaultRate`] and
    /// [`Rule::DefaultRateOfPeriod`].
    RateLimit,
    /// [`Rule::Minimum`].
    Minimum,
    /// [`Rule::Maximum`].
    Maximum,
    /// The tolerances.
    Tolerance,
    /// The metrics that could not be read.
    FailedMetrics,
    /// [`Rule::BetweenSyncs`].
    BetweenSyncs,
}

impl fmt::Display for Omitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Omitted::Stabilization => "stabilization",
            Omitted::RateLimit => "the rate limit",
            Omitted::Minimum => "the minimum",
            Omitted::Maximum => "the maximum",
            Omitted::Tolerance => "the tolerance",
            Omitted::FailedMetrics => "the metrics that failed",
            Omitted::BetweenSyncs => "waiting for the samples to agree or the next sync",
        })
    }
}
