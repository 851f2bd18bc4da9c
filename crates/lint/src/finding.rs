//! What a rule reports.

use std::fmt;

use api::yaml::Span;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Cannot do what it says.
    Error,
    /// Will do something that was not meant, in a common case.
    Warning,
    /// Worth knowing.
    Note,
}

impl Severity {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Id of the rule.
    pub id: &'static str,
    /// How bad it is here.
    pub severity: Severity,
    /// Name of the source.
    pub file: String,
    /// Which source it is.
    pub source: usize,
    /// The place in it.
    pub span: Span,
    /// `ScaledObject my-gpu-workload`.
    pub object: String,
    /// What is wrong, with the user's own numbers.
    pub message: String,
    /// What was assumed, and how to say otherwise.
    pub assumptions: Vec<String>,
    /// What to do.
    pub fix: String,
    /// A strategic merge patch that does it, in YAML, where there is one.
    pub patch: Option<String>,
}
