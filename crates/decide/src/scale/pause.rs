//! Annotations that steer a ScaledObject: pauses and forced activation.

use std::collections::BTreeMap;

use api::keda::{FORCE_ACTIVATION, PAUSED, PAUSED_REPLICAS, PAUSED_SCALE_IN, PAUSED_SCALE_OUT};

/// What the annotations ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steering {
    /// Nothing moves and there is no HPA.
    pub full: bool,
    /// The text of the paused replica count.
    pub replicas: Option<String>,
    /// No scale-down.
    pub scale_in: bool,
    /// No scale-up.
    pub scale_out: bool,
    /// Treated as active.
    pub forced: bool,
}

impl Steering {
    /// Reads the annotations of a ScaledObject.
    pub fn of(annotations: &BTreeMap<String, String>) -> Self {
        let flag = |name: &str| annotations.get(name).is_some_and(|text| is_true(text));
        let replicas = annotations.get(PAUSED_REPLICAS).cloned();
        Self {
            full: flag(PAUSED) || replicas.is_some(),
            replicas,
            scale_in: flag(PAUSED_SCALE_IN),
            scale_out: flag(PAUSED_SCALE_OUT),
            forced: flag(FORCE_ACTIVATION),
        }
    }

    /// Whether the condition Paused holds.
    pub fn any_pause(&self) -> bool {
        self.full || self.scale_in || self.scale_out
    }

    /// The paused replica count, or KEDA's complaint about it.
    pub fn replica_count(&self) -> Result<Option<i32>, String> {
        let Some(text) = &self.replicas else {
            return Ok(None);
        };
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!(
                "failed to parse paused replica count: strconv.ParseInt: parsing {text:?}: invalid \
                 syntax"
            ));
        }
        text.parse::<i32>().map(Some).map_err(|_| {
            format!(
                "failed to parse paused replica count: strconv.ParseInt: parsing {text:?}: value \
                 out of range"
            )
        })
    }
}

/// Go's reading of a boolean, where anything else counts as true.
fn is_true(text: &str) -> bool {
    !matches!(text, "0" | "f" | "F" | "false" | "False" | "FALSE")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steering(pairs: &[(&str, &str)]) -> Steering {
        Steering::of(
            &pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn a_pause_that_is_no_boolean_is_a_pause() {
        assert!(steering(&[(PAUSED, "yes")]).full);
        assert!(steering(&[(PAUSED, "")]).full);
        assert!(!steering(&[(PAUSED, "False")]).full);
        assert!(steering(&[(PAUSED, "false"), (PAUSED_REPLICAS, "4")]).full);
        assert!(steering(&[(PAUSED_SCALE_IN, "true")]).any_pause());
    }

    #[test]
    fn a_paused_count_must_be_a_number() {
        assert_eq!(
            steering(&[(PAUSED_REPLICAS, "4")]).replica_count(),
            Ok(Some(4))
        );
        let error = steering(&[(PAUSED_REPLICAS, "four")])
            .replica_count()
            .unwrap_err();
        assert!(
            error.contains("parsing \"four\": invalid syntax"),
            "{error}"
        );
    }
}
