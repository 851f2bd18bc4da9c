//! The chain from a GPU to a node pool, link by link: what was observed in,
//! one [`Link`] for each part out, each with what was found and how to mend it.
//!
//! Nothing here asks a cluster or a metric store. [`seen`] is what must be
//! observed, [`ask`] says what a metric store is to be asked and reads the
//! answers; both are used by whoever looks, from inside the cluster or outside.

pub mod ask;
mod cluster;
mod object;
mod report;
mod room;
mod scaling;
pub mod seen;
mod signal;

use serde::{Deserialize, Serialize};

pub use cluster::{certificate_cure, cluster, exporters};
pub use object::{listed, object, questions};
pub use report::{Chain, Report};
pub use room::waiting;
pub use scaling::maker;

/// How a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It does its part.
    Ok,
    /// It does not, and what comes after it cannot work.
    Broken,
    /// It could not be looked at.
    Unknown,
    /// It has no part to do now, or in this cluster.
    Skipped,
}

/// One link of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// What it is called: `labels`, `HPA`.
    pub name: String,
    /// How it is.
    pub state: State,
    /// What was found, in one sentence or two.
    pub finding: String,
    /// How to mend it, or how to let it be looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

impl Link {
    fn new(name: impl Into<String>, state: State, finding: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            state,
            finding: finding.into(),
            cure: None,
        }
    }

    fn ok(name: impl Into<String>, finding: impl Into<String>) -> Self {
        Self::new(name, State::Ok, finding)
    }

    fn skipped(name: impl Into<String>, finding: impl Into<String>) -> Self {
        Self::new(name, State::Skipped, finding)
    }

    fn broken(
        name: impl Into<String>,
        finding: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self {
            cure: Some(cure.into()),
            ..Self::new(name, State::Broken, finding)
        }
    }

    fn unknown(
        name: impl Into<String>,
        finding: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self {
            cure: Some(cure.into()),
            ..Self::new(name, State::Unknown, finding)
        }
    }
}

/// `1 node`, `2 nodes`.
fn count(n: usize, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {what}{plural}")
}

/// The first few of some names, and how many more there are.
fn some<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 3;
    let names: Vec<&str> = names.into_iter().collect();
    let mut text = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

/// A length of time for people: `40 s`, `12 min`, `3 h`.
fn lasting(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{:.0} s", s.max(0.0)),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.0} h", s / 3_600.0),
    }
}
