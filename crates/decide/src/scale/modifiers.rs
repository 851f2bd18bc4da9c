//! `scalingModifiers`: one metric made of several by a formula.

use std::collections::BTreeMap;

use api::go::float;
use api::keda::{ScaledObject, ScaledObjectSpec};
use jiff::Timestamp;

use super::fallback::{Settled, Target};
use super::resource;
use crate::formula::{self, Formula};

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

/// How the composite metric is compared, where modifiers are in use and their
/// target is a number.
pub(super) fn target_of(spec: &ScaledObjectSpec) -> Option<Target> {
    let modifiers = spec.modifiers()?;
    let target = target(&modifiers.target).ok()?;
    Some(if modifiers.metric_type == "Value" {
        Target::Value(target)
    } else {
        Target::Average(target)
    })
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

/// What the composite metric is worth, and whether it wakes the workload: a
/// [`Settled`] that is never nil. `None` where the object has no formula.
///
/// `metrics` are the external metrics by name, as they were read and settled.
/// One that has no number leaves the formula without one. One whose fallback is
/// a number stands for the whole. The formula runs on the rest.
pub fn combine(
    object: &ScaledObject,
    metrics: &[(&str, &Settled)],
    now: Timestamp,
) -> Option<Settled> {
    let spec = &object.spec;
    let modifiers = spec.modifiers().filter(|m| !m.formula.is_empty())?;
    let threshold = float::parse(&modifiers.activation_target).unwrap_or_default();
    let counted = |value: f64, fallback: bool| {
        // KEDA lets no negative value out.
        let value = formula::metric(value).as_f64().max(0.0);
        Settled::Value {
            value,
            active: value > threshold,
            fallback,
        }
    };
    let mut values = BTreeMap::new();
    let mut stand_in = None;
    for (metric, settled) in metrics {
        let name = trigger_name(spec, metric);
        let value = match settled {
            Settled::Error(error) => return Some(Settled::Error(error.clone())),
            Settled::Value {
                value,
                fallback: true,
                ..
            } => {
                stand_in.get_or_insert(*value);
                continue;
            }
            Settled::Value { value, .. } => Some(formula::seen(*value)),
            Settled::Nil => None,
        };
        if name.is_empty() {
            return Some(Settled::Error(unnamed(metric)));
        }
        values.insert(name.to_owned(), value);
    }
    if let Some(value) = stand_in {
        return Some(counted(value, true));
    }
    let result = match self::formula(object) {
        Ok(Some(formula)) => formula.run(&values, now).map_err(|error| error.to_string()),
        Ok(None) => return None,
        Err(error) => Err(error),
    };
    let target = target(&modifiers.target).unwrap_or_default();
    Some(match (result, &spec.fallback) {
        (Ok(Some(value)), _) => counted(value, false),
        (Ok(None), Some(fallback)) => counted(f64::from(fallback.replicas) * target, true),
        (Ok(None), None) => Settled::Error(NO_FALLBACK.to_owned()),
        (Err(error), _) => Settled::Error(error),
    })
}

/// The name of the trigger behind `sN-…`, empty where it has none.
fn trigger_name<'a>(spec: &'a ScaledObjectSpec, metric: &str) -> &'a str {
    let index = metric.strip_prefix('s').and_then(|rest| {
        let (index, _) = rest.split_once('-')?;
        index.parse::<usize>().ok()
    });
    let trigger = index.and_then(|index| spec.triggers.get(index));
    trigger.map_or("", |trigger| trigger.name.as_str())
}
