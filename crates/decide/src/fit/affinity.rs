//! Node affinity: which nodes a pod may or would rather use, by their labels.

use std::collections::BTreeMap;

use api::selector::Requirement;
use serde_json::Value;

use super::labels::node_requirement;
use super::resources::array;

/// One alternative of a required node affinity: all of its parts must hold.
#[derive(Clone, Debug)]
pub struct NodeTerm {
    expressions: Vec<Requirement>,
    fields: Vec<Requirement>,
}

/// A preferred node affinity.
#[derive(Clone, Debug)]
pub struct Preferred {
    /// Points for a node that matches.
    pub weight: i64,
    /// What must match.
    pub term: NodeTerm,
}

impl NodeTerm {
    /// A term with a part that cannot be read matches nothing.
    fn parse(value: &Value) -> Self {
        let read = |field| {
            array(value, field)
                .map(node_requirement)
                .collect::<Option<Vec<_>>>()
        };
        match (read("matchExpressions"), read("matchFields")) {
            (Some(expressions), Some(fields)) => Self {
                expressions,
                fields,
            },
            _ => Self {
                expressions: Vec::new(),
                fields: Vec::new(),
            },
        }
    }

    /// Whether a node of this name and these labels matches. A term without
    /// any part matches nothing.
    pub fn matches(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        if self.expressions.is_empty() && self.fields.is_empty() {
            return false;
        }
        self.expressions
            .iter()
            .all(|r| r.matches(labels.get(&r.key).map(String::as_str)))
            && self
                .fields
                .iter()
                .all(|r| r.matches((r.key == "metadata.name").then_some(name)))
    }
}

/// The alternatives of the required node affinity, `None` without one.
pub(super) fn node_terms(affinity: &Value) -> Option<Vec<NodeTerm>> {
    let terms = affinity.pointer(
        "/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms",
    )?;
    Some(terms.as_array()?.iter().map(NodeTerm::parse).collect())
}

/// The preferred node affinities.
pub(super) fn preferred_terms(affinity: &Value) -> Vec<Preferred> {
    array(
        &affinity["nodeAffinity"],
        "preferredDuringSchedulingIgnoredDuringExecution",
    )
    .map(|p| Preferred {
        weight: p["weight"].as_i64().unwrap_or(0),
        term: NodeTerm::parse(&p["preference"]),
    })
    .collect()
}
