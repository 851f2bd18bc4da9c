//! The label selector of a workload, read once for a sync.

use api::selector::{LabelSelector, Selector as Parsed};
use serde::Deserialize as _;
use serde_json::Value;

/// A workload's selector; one that cannot be read selects nothing.
pub(crate) struct Selector(Parsed);

impl Selector {
    pub(crate) fn of(selector: &Value) -> Self {
        let parsed = LabelSelector::deserialize(selector)
            .ok()
            .map(|s| s.to_selector());
        match parsed {
            Some(Ok(selector)) => Self(selector),
            _ => Self(Parsed::nothing()),
        }
    }

    /// Whether it selects all there is.
    pub(crate) fn is_everything(&self) -> bool {
        // An unreadable selector is empty as well, and selects nothing.
        self.0.is_empty() && self.matches(&Value::Null)
    }

    /// Whether an object with these labels is selected.
    pub(crate) fn matches(&self, labels: &Value) -> bool {
        self.0.matches_json(labels)
    }
}
