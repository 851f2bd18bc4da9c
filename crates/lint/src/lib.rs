//! Rules over scaling manifests. Documents and assumptions in, findings out:
//! nothing here reads a file, asks a cluster or knows the time.
//!
//! Every number in a finding comes from the functions that decide in the
//! operator: the HPA's arithmetic, KEDA's admission, the scheduler's filters,
//! the query language's parser.

mod arithmetic;
mod finding;
pub mod metrics;
mod model;
pub mod query;
mod render;
mod rules;

use std::time::Duration;

use api::pool::Pool;

pub use finding::{Finding, Severity};
pub use model::Unreadable;
pub use render::{Text, json, sarif, text};
pub use rules::{RULES, Rule, explain, page};

/// One text with manifests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// How findings name it, a path as a rule.
    pub name: String,
    /// Its content: YAML or JSON, any number of documents.
    pub text: String,
}

/// Which exporter serves the GPU series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exporter {
    /// dcgm-exporter up to 4.8.
    Dcgm,
    /// dcgm-exporter from 4.9 on, with its new names and units.
    Dcgm49,
    /// `rheostat exporter`, which also carries the owner of the pod.
    Rheostat,
}

impl Exporter {
    /// As the command line takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dcgm => "dcgm",
            Self::Dcgm49 => "dcgm-4.9",
            Self::Rheostat => "rheostat",
        }
    }
}

/// What manifests do not say. What is `None` is assumed, and findings that
/// rest on it say so.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assumptions {
    /// The exporter; `Dcgm` unless given.
    pub exporter: Option<Exporter>,
    /// Whether a scrape keeps the exporter's own labels; unless given as the
    /// monitors among the documents say, else false.
    pub honor_labels: Option<bool>,
    /// Node pools. Without any, rules about pools are silent.
    pub pools: Vec<Pool>,
    /// From a replica's creation on a node that is there until it serves.
    pub ready_lag: Option<Duration>,
    /// How soon a rise in load has to be answered.
    pub objective: Option<Duration>,
}

/// What a run found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order of files and lines.
    pub findings: Vec<Finding>,
    /// Kubernetes objects that were read.
    pub objects: usize,
}

impl Report {
    /// How many findings have this severity.
    pub fn count(&self, severity: Severity) -> usize {
        let of = |f: &&Finding| f.severity == severity;
        self.findings.iter().filter(of).count()
    }

    /// Whether there is an error or a warning.
    pub fn is_bad(&self) -> bool {
        self.count(Severity::Error) + self.count(Severity::Warning) > 0
    }
}

/// Applies every rule to the documents.
///
/// # Errors
///
/// A text that is not YAML, with its place.
pub fn lint(sources: &[Source], assumptions: &Assumptions) -> Result<Report, Unreadable> {
    let read = model::read(sources)?;
    let model = model::Model::of(&read);
    Ok(Report {
        findings: rules::apply(sources, &model, assumptions),
        objects: read.len(),
    })
}
