//! `scalingModifiers`: one metric made of several by a formula.

use std::collections::BTreeMap;

use api::go::float;
use api::keda::ScaledObject;
use jiff::Timestamp;

use super::resource;
use crate::formula::{Formula, FormulaError};

/// A formula without a target.
pub const NO_TARGET: &str =
    "error validating formula in ScalingModifiers\nformula is given but target is empty";
/// A formula that gives nothing, and nothing to stand in for it.
pub const NO_FALLBACK: &str =
    "scalingModifiers formula evaluated to nil but no fallback is configured";

/// A trigger that has no name for the formula to call it by.
pub fn unnamed(metric: &str) -> String {
    format!("trigger name not given with compositeScaler for metric {metric}")
}

/// The formula's target, or KEDA's complaint about it.
pub fn target(text: &str) -> Result<f64, String> {
    let complain = |cause: &str| {
        format!(
            "error validating target in ScalingModifiers\nerror converting target for \
             scalingModifiers (string->float) to valid target: {cause}"
        )
    };
    match float::parse(text) {
        // Go formats a missing cause.
        Ok(target) if target <= 0.0 => Err(complain("%!w(<nil>)")),
        Ok(target) => Ok(target),
        Err(cause) => Err(complain(&cause)),
    }
}

/// The value above which the composite metric wakes the workload.
pub fn activation_target(text: &str) -> f64 {
    float::parse(text).unwrap_or_default()
}

/// The checked formula of an object, `None` where it has none.
pub fn formula(object: &ScaledObject) -> Result<Option<Formula>, String> {
    let Some(modifiers) = object.spec.modifiers() else {
        return Ok(None);
    };
    if modifiers.formula.is_empty() {
        return Ok(None);
    }
    let external = object
        .spec
        .triggers
        .iter()
        .filter(|t| !resource::is_resource(t));
    let names: Vec<String> = external
        .map(|trigger| trigger.name.clone())
        .filter(|name| !name.is_empty())
        .collect();
    let made = Formula::new(&modifiers.formula, &names).map_err(|error| error.to_string())?;
    if modifiers.target.is_empty() {
        return Err(NO_TARGET.to_owned());
    }
    Ok(Some(made))
}

/// What the composite metric is worth. `values` has each external trigger by
/// name, `None` where its fallback stands in for it.
pub fn composite(
    formula: &Formula,
    values: &BTreeMap<String, Option<f64>>,
    now: Timestamp,
) -> Result<Option<f64>, FormulaError> {
    formula.run(values, now)
}
