//! Node affinity: which nodes a pod may or would rather use, by their labels.

use std::collections::BTreeMap;

use serde_json::Value;

use super::pod::text;
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

#[derive(Clone, Debug)]
struct Requirement {
    key: String,
    operator: String,
    values: Vec<String>,
}

impl Requirement {
    fn parse(value: &Value) -> Self {
        Self {
            key: text(value, "key"),
            operator: text(value, "operator"),
            values: array(value, "values")
                .filter_map(|v| v.as_str().map(str::to_owned))
                .collect(),
        }
    }

    fn holds(&self, found: Option<&str>) -> bool {
        let number = |t: Option<&str>| t.and_then(|t| t.parse::<i64>().ok());
        match self.operator.as_str() {
            "In" => found.is_some_and(|f| self.values.iter().any(|v| v == f)),
            "NotIn" => !found.is_some_and(|f| self.values.iter().any(|v| v == f)),
            "Exists" => found.is_some(),
            "DoesNotExist" => found.is_none(),
            "Gt" | "Lt" => {
                let limit = number(self.values.first().map(String::as_str));
                match (number(found), limit) {
                    (Some(f), Some(l)) if self.operator == "Gt" => f > l,
                    (Some(f), Some(l)) => f < l,
                    _ => false,
                }
            }
            _ => false,
        }
    }
}

impl NodeTerm {
    fn parse(value: &Value) -> Self {
        Self {
            expressions: array(value, "matchExpressions")
                .map(Requirement::parse)
                .collect(),
            fields: array(value, "matchFields")
                .map(Requirement::parse)
                .collect(),
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
            .all(|r| r.holds(labels.get(&r.key).map(String::as_str)))
            && self
                .fields
                .iter()
                .all(|r| r.holds((r.key == "metadata.name").then_some(name)))
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
