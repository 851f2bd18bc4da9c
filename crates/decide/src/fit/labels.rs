//! Label selectors over the labels of pods.

use std::collections::BTreeMap;

use serde_json::Value;

use super::pod::text;
use super::resources::array;

/// A label selector as constraints and affinities carry it.
#[derive(Clone, Debug, Default)]
pub struct LabelSelector {
    /// `None`: no selector, which matches nothing.
    parts: Option<Vec<Part>>,
}

#[derive(Clone, Debug)]
enum Part {
    Is(String, String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

impl LabelSelector {
    /// Reads a `metav1.LabelSelector`.
    pub fn parse(selector: &Value) -> Self {
        if !selector.is_object() {
            return Self { parts: None };
        }
        let mut parts = Vec::new();
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            parts.push(Part::Is(
                key.clone(),
                value.as_str().unwrap_or("").to_owned(),
            ));
        }
        for expression in array(selector, "matchExpressions") {
            let key = text(expression, "key");
            let values = array(expression, "values")
                .filter_map(|v| v.as_str().map(str::to_owned))
                .collect();
            parts.push(match expression["operator"].as_str() {
                Some("In") => Part::In(key, values),
                Some("NotIn") => Part::NotIn(key, values),
                Some("Exists") => Part::Exists(key),
                _ => Part::Absent(key),
            });
        }
        Self { parts: Some(parts) }
    }

    /// Also asks for `key=value`.
    pub fn require(&mut self, key: &str, value: &str) {
        if let Some(parts) = &mut self.parts {
            parts.push(Part::Is(key.to_owned(), value.to_owned()));
        }
    }

    /// Whether these labels are selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let Some(parts) = &self.parts else {
            return false;
        };
        parts.iter().all(|part| match part {
            Part::Is(key, value) => labels.get(key) == Some(value),
            Part::In(key, values) => labels.get(key).is_some_and(|v| values.contains(v)),
            Part::NotIn(key, values) => !labels.get(key).is_some_and(|v| values.contains(v)),
            Part::Exists(key) => labels.contains_key(key),
            Part::Absent(key) => !labels.contains_key(key),
        })
    }
}
