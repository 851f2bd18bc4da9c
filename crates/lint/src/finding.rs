//! What a rule reports.

use std::fmt;

use api::yaml::{self, Span};
use serde_json::{Value, json};

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
    /// A JSON patch (RFC 6902) of the object that does it, in YAML, where there
    /// is one: `kubectl patch --type=json --patch-file` takes it.
    pub patch: Option<String>,
}

/// One step of a patch.
pub(crate) enum Step {
    /// Gives the field at a pointer a value, whether or not it has one.
    Set(String, Value),
    /// Takes the field at a pointer away.
    Remove(String),
}

impl Finding {
    /// Adds the patch that does what `fix` says.
    pub(crate) fn patched(&mut self, steps: impl IntoIterator<Item = Step>) {
        let steps = steps.into_iter().map(|step| match step {
            Step::Set(path, value) => json!({"op": "add", "path": path, "value": value}),
            Step::Remove(path) => json!({"op": "remove", "path": path}),
        });
        self.patch = Some(yaml::to_string(&Value::Array(steps.collect())));
    }
}
