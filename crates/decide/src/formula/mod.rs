//! The formula of `scalingModifiers`: the expression language that KEDA's
//! users write, with the checks that KEDA makes before it accepts one.
//!
//! Not the crate `expr-lang`: it has no static types, so a formula that can
//! never work is accepted; nothing bounds its time and memory; and of the
//! recorded results it met seven in eight. Here a run has a budget of steps
//! and of elements, and the tree a greatest depth.

mod builtins;
mod check;
mod eval;
pub mod golden;
mod lex;
mod library;
mod methods;
mod number;
mod parse;
mod regex;
mod show;
mod tree;
mod types;
mod value;

use std::collections::BTreeMap;

use api::quantity::{Format, Quantity};
use jiff::Timestamp;

use value::{Value, truncated};

/// A mistake in a formula, with the character it is about.
#[derive(Clone, Debug, PartialEq)]
struct Fault {
    text: String,
    at: Option<usize>,
}

impl Fault {
    fn new(text: String, at: usize) -> Self {
        Self { text, at: Some(at) }
    }

    /// The text with line and column and the line itself, the place marked.
    fn shown(&self, source: &str) -> String {
        let Some(at) = self.at else {
            return self.text.clone();
        };
        let before: String = source.chars().take(at).collect();
        let line = before.matches('\n').count();
        let column = before.chars().rev().take_while(|c| *c != '\n').count();
        let shown = source.split('\n').nth(line).unwrap_or_default();
        let place = format!("{} ({}:{})", self.text, line + 1, column + 1);
        if shown.is_empty() {
            return place;
        }
        format!("{place}\n | {shown}\n | {}^", ".".repeat(column))
    }
}

/// Why a formula cannot be used, or gave nothing. The text is KEDA's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormulaError {
    /// It can never work: syntax, names, types.
    #[error("error validating formula in ScalingModifiers\n{0}")]
    Invalid(String),
    /// It fails when every trigger is -1, which is what is tried first.
    #[error("error validating formula in ScalingModifiers\n{0}")]
    DryRun(String),
    /// It failed on the values it was given.
    #[error("error trying to run custom formula: {0}")]
    Run(String),
    /// It gave something else than a number: the type and the value.
    #[error("formula returned non-float result {0} ({1})")]
    NoNumber(String, String),
}

/// A formula that has been checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Formula {
    source: String,
    root: tree::Node,
}

/// The time for which a formula is tried before it is accepted. Any will do.
const TRIAL: Timestamp = Timestamp::constant(1_767_225_600, 0);

impl Formula {
    /// Parses and checks a formula over the triggers' names, and tries it with
    /// -1 for each.
    pub fn new(text: &str, names: &[String]) -> Result<Self, FormulaError> {
        let formula = Self::parse(text, names)?;
        let values = names.iter().map(|name| (name.clone(), Some(-1.0)));
        match eval::run(&formula.root, &values.collect(), TRIAL) {
            Ok(_) => Ok(formula),
            Err(fault) => Err(FormulaError::DryRun(fault.shown(&formula.source))),
        }
    }

    fn parse(text: &str, names: &[String]) -> Result<Self, FormulaError> {
        let source = wrapped(text);
        let checked = lex::tokens(&source)
            .and_then(|tokens| parse::parse(&tokens, names))
            .and_then(|root| check::check(&root, names).map(|_| root));
        match checked {
            Ok(root) => Ok(Self { source, root }),
            Err(fault) => Err(FormulaError::Invalid(fault.shown(&source))),
        }
    }

    /// Runs it. A trigger without a value is nil; so is the result where the
    /// formula says so.
    pub fn run(
        &self,
        values: &BTreeMap<String, Option<f64>>,
        now: Timestamp,
    ) -> Result<Option<f64>, FormulaError> {
        let result = eval::run(&self.root, values, now)
            .map_err(|fault| FormulaError::Run(fault.shown(&self.source)))?;
        match result {
            Value::Float(n) => Ok(Some(n)),
            Value::Nil => Ok(None),
            other => {
                let shown = show::show(&other, &mut value::Budget::default());
                let shown = shown.unwrap_or_else(|_| "too long to show".to_owned());
                Err(FormulaError::NoNumber(other.type_name().to_owned(), shown))
            }
        }
    }

    /// The formula as it runs, within its conversion to a float.
    pub fn source(&self) -> &str {
        &self.source
    }
}

/// The formula with its conversion to a float, which leaves nil alone where
/// the formula knows of it.
fn wrapped(text: &str) -> String {
    if text.contains("??") {
        let name = "_kedaCompositeResult";
        format!("let {name} = ({text}); {name} == nil ? nil : float({name})")
    } else if text.starts_with("float(") {
        text.to_owned()
    } else {
        format!("float({text})")
    }
}

/// A trigger's value as a formula sees it: after the conversion to a quantity
/// with three decimals, in which it leaves the trigger.
pub fn seen(value: f64) -> f64 {
    let value = if value.is_finite() { value } else { 0.0 };
    Quantity::parse(&format!("{value:.3}")).map_or(0.0, |quantity| quantity.as_f64())
}

/// A float in thousandths, cut off; what does not fit is the least number.
pub fn thousandths(value: f64) -> i64 {
    truncated(value * 1000.0)
}

/// A formula's result as a metric.
pub fn metric(result: f64) -> Quantity {
    Quantity::from_milli(thousandths(result), Format::DecimalExponent)
}

#[cfg(test)]
mod tests;
