//! Judges formulas by recordings of KEDA's (format `formula/1`).

use std::collections::BTreeMap;

use api::go::float;
use api::golden::Report;
use jiff::Timestamp;
use serde_json::Value;

use super::{Formula, FormulaError, metric, seen};
use crate::scale::modifiers;

/// Runs every case of a file.
pub fn run(text: &str) -> Report {
    api::golden::run(text, |case, _| check(case).err().into_iter().collect())
}

/// Formulas that read the clock are recorded so that it does not matter.
const NOW: Timestamp = super::TRIAL;

/// How far a case came, and with what.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    stage: &'static str,
    error: String,
    bits: Option<u64>,
    milli: Option<i64>,
    quantity: Option<String>,
}

fn failed(stage: &'static str, error: impl ToString) -> Outcome {
    Outcome {
        stage,
        error: error.to_string(),
        ..Outcome::default()
    }
}

fn check(case: &Value) -> Result<(), String> {
    let out = &case["out"];
    let have = outcome(case);
    let text = |key: &str| out[key].as_str().unwrap_or_default();
    // The original crashed: an error is right.
    if text("stage") == "panic" {
        return if have.error.is_empty() {
            Err("want an error".to_owned())
        } else {
            Ok(())
        };
    }
    let stage = text("stage");
    if have.stage != stage || have.error != text("error") {
        return Err(format!(
            "want {stage} {:?}, have {} {:?}",
            text("error"),
            have.stage,
            have.error
        ));
    }
    if stage != "ok" {
        return Ok(());
    }
    let bits = out["resultBits"].as_str();
    let bits = bits.and_then(|bits| u64::from_str_radix(bits, 16).ok());
    // There are many kinds of NaN and they make no difference.
    let nan = |bits: Option<u64>| bits.is_some_and(|bits| f64::from_bits(bits).is_nan());
    let same = have.bits == bits || (nan(have.bits) && nan(bits));
    if !same
        || have.milli != out["milli"].as_i64()
        || have.quantity.as_deref() != out["quantity"].as_str()
    {
        return Err(format!("have {have:?}"));
    }
    Ok(())
}

fn outcome(case: &Value) -> Outcome {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut values = BTreeMap::new();
    let mut names = Vec::new();
    let mut unnamed = None;
    let fallback = case["fallbackReplicas"].as_i64();
    let behavior = case["fallbackBehavior"]
        .as_str()
        .unwrap_or("scalingModifiers");
    let triggers = case["triggers"].as_array().cloned().unwrap_or_default();
    for (index, trigger) in triggers.iter().enumerate() {
        let kind = trigger["type"].as_str().unwrap_or("prometheus");
        if matches!(kind, "cpu" | "memory") {
            continue;
        }
        let name = text(&trigger["name"]);
        if name.is_empty() {
            unnamed.get_or_insert(format!("s{index}-{kind}"));
            continue;
        }
        names.push(name.clone());
        let value = float::parse(&text(&trigger["value"])).unwrap_or_default();
        match trigger["state"].as_str() {
            Some("absent") => {}
            Some("failed") if fallback.is_some() && behavior == "scalingModifiers" => {
                values.insert(name, None);
            }
            _ => {
                values.insert(name, Some(seen(value)));
            }
        }
    }
    let target = text(&case["target"]);
    let formula = match Formula::new(&text(&case["formula"]), &names) {
        Ok(formula) => formula,
        Err(error @ FormulaError::DryRun(_)) => return failed("dryRun", error),
        Err(error) => return failed("compile", error),
    };
    if target.is_empty() {
        return failed("spec", modifiers::NO_TARGET);
    }
    let target = match modifiers::target(&target) {
        Ok(target) => target,
        Err(error) => return failed("target", error),
    };
    if let Some(metric) = unnamed {
        return failed("pair", modifiers::unnamed(&metric));
    }
    let result = match formula.run(&values, NOW) {
        Ok(result) => result,
        Err(error @ FormulaError::NoNumber(..)) => return failed("result", error),
        Err(error) => return failed("run", error),
    };
    let counted = match (result, fallback) {
        (Some(result), _) => result,
        (None, Some(replicas)) => replicas as f64 * target,
        (None, None) => return failed("fallback", modifiers::NO_FALLBACK),
    };
    let quantity = metric(counted);
    Outcome {
        stage: "ok",
        error: String::new(),
        bits: result.map(f64::to_bits),
        milli: Some(quantity.milli_value()),
        quantity: Some(quantity.to_string()),
    }
}
