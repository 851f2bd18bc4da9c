//! `scalingModifiers`: one metric made of several by a formula.

use std::collections::BTreeMap;

use api::go::float;
use api::keda::{Fallback, ScaledObject, ScaledObjectSpec};
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

/// The value above which the workload wakes, 0 where none is given, or KEDA's
/// complaint about it.
fn activation(text: &str) -> Result<f64, String> {
    if text.is_empty() {
        return Ok(0.0);
    }
    float::parse(text)
        .map_err(|cause| format!("scalingModifiers.ActivationTarget parsing error {cause}"))
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

/// The one metric that a formula makes of several. It follows from the spec
/// alone, so it is made once for each change of the object and not at each read.
#[derive(Clone, Debug)]
pub struct Composite {
    formula: Result<Formula, String>,
    target: Result<f64, String>,
    /// What the value must exceed to wake the workload.
    activation: Result<f64, String>,
    /// Names of the triggers, in their order.
    names: Vec<String>,
}

impl Composite {
    /// The composite metric of an object, `None` where it has no formula. What
    /// is wrong with it is told when it is asked for a value.
    pub fn of(object: &ScaledObject) -> Option<Self> {
        let spec = &object.spec;
        let modifiers = spec.modifiers()?;
        let formula = formula(object).transpose()?;
        Some(Self {
            formula,
            target: target(&modifiers.target),
            activation: activation(&modifiers.activation_target),
            names: spec.triggers.iter().map(|t| t.name.clone()).collect(),
        })
    }

    /// What it is worth to the HPA: a [`Settled`] that is never nil.
    ///
    /// `metrics` are the external metrics by name, as they were read and
    /// settled. One that has no number leaves the formula without one. One
    /// whose fallback is a number stands for the whole. The formula runs on the
    /// rest, and where it gives nothing `fallback` does.
    pub fn value(
        &self,
        fallback: Option<&Fallback>,
        metrics: &[(&str, &Settled)],
        now: Timestamp,
    ) -> Settled {
        self.combined(fallback, metrics, now)
            .unwrap_or_else(Settled::Error)
    }

    /// The same for a poll, which asks whether the workload wakes: a limit that
    /// is no number is an error, where the HPA does not need it.
    pub fn polled(
        &self,
        fallback: Option<&Fallback>,
        metrics: &[(&str, &Settled)],
        now: Timestamp,
    ) -> Settled {
        match (self.combined(fallback, metrics, now), &self.activation) {
            (Ok(_), Err(error)) => Settled::Error(error.clone()),
            (combined, _) => combined.unwrap_or_else(Settled::Error),
        }
    }

    fn combined(
        &self,
        fallback: Option<&Fallback>,
        metrics: &[(&str, &Settled)],
        now: Timestamp,
    ) -> Result<Settled, String> {
        let counted = |value: f64, fallback: bool| {
            // KEDA lets no negative value out.
            let value = formula::metric(value).as_f64().max(0.0);
            Settled::Value {
                value,
                active: matches!(self.activation, Ok(least) if value > least),
                fallback,
            }
        };
        let mut values = BTreeMap::new();
        let mut stand_in = None;
        for (metric, settled) in metrics {
            let value = match settled {
                Settled::Error(error) => return Err(error.clone()),
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
            let name = self.trigger_name(metric);
            if name.is_empty() {
                return Err(unnamed(metric));
            }
            values.insert(name.to_owned(), value);
        }
        if let Some(value) = stand_in {
            return Ok(counted(value, true));
        }
        let formula = self.formula.as_ref().map_err(Clone::clone)?;
        let result = formula.run(&values, now);
        if let Some(value) = result.map_err(|error| error.to_string())? {
            return Ok(counted(value, false));
        }
        let fallback = fallback.ok_or(NO_FALLBACK)?;
        let target = self.target.as_ref().map_err(Clone::clone)?;
        Ok(counted(f64::from(fallback.replicas) * target, true))
    }

    /// The name of the trigger behind `sN-…`, empty where it has none.
    fn trigger_name(&self, metric: &str) -> &str {
        let index = metric.strip_prefix('s').and_then(|rest| {
            let (index, _) = rest.split_once('-')?;
            index.parse::<usize>().ok()
        });
        let name = index.and_then(|index| self.names.get(index));
        name.map_or("", String::as_str)
    }
}
