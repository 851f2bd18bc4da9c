//! The label selector of a workload or budget, read once for a sync.

use serde_json::Value;

use crate::value::{at, list};

/// A parsed `matchLabels`/`matchExpressions` selector.
pub(crate) struct Selector<'a>(&'a Value);

impl<'a> Selector<'a> {
    pub(crate) fn of(selector: &'a Value) -> Self {
        Self(selector)
    }

    /// Whether it selects all there is.
    pub(crate) fn is_everything(&self) -> bool {
        at(self.0, &["matchLabels"])
            .and_then(Value::as_object)
            .is_none_or(|m| m.is_empty())
            && list(self.0, &["matchExpressions"]).is_empty()
    }

    /// Whether an object with these labels is selected.
    pub(crate) fn matches(&self, labels: &Value) -> bool {
        let wanted = at(self.0, &["matchLabels"]).and_then(Value::as_object);
        wanted.is_none_or(|m| m.iter().all(|(k, v)| labels.get(k) == Some(v)))
            && list(self.0, &["matchExpressions"]).iter().all(|e| {
                let has = e["key"].as_str().and_then(|k| labels.get(k));
                let among = has.is_some_and(|v| list(e, &["values"]).contains(v));
                match e["operator"].as_str() {
                    Some("In") => among,
                    Some("NotIn") => !among,
                    Some("Exists") => has.is_some(),
                    Some("DoesNotExist") => has.is_none(),
                    _ => false,
                }
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_and_expressions_must_all_hold() {
        let s = json!({"matchLabels": {"a": "1"}, "matchExpressions": [
            {"key": "b", "operator": "NotIn", "values": ["x"]},
            {"key": "c", "operator": "Exists"}]});
        let s = Selector::of(&s);
        assert!(s.matches(&json!({"a": "1", "c": ""})));
        assert!(!s.matches(&json!({"a": "1", "b": "x", "c": ""})));
        assert!(!s.matches(&json!({"a": "1"})));
        assert!(!s.is_everything() && Selector::of(&json!({})).is_everything());
    }
}
