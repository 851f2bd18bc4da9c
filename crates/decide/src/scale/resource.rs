//! The cpu and memory triggers, which the HPA reads itself.

use api::keda::ScaleTrigger;
use api::quantity::Quantity;
use serde_json::json;

use super::hpa_spec::{MetricSpec, SpecError};

/// Whether the HPA reads this trigger itself.
pub fn is_resource(trigger: &ScaleTrigger) -> bool {
    matches!(trigger.trigger_type.as_str(), "cpu" | "memory")
}

/// Reads a cpu or memory trigger.
pub fn parse(trigger: &ScaleTrigger) -> Result<MetricSpec, SpecError> {
    let name = trigger.trigger_type.as_str();
    let fail = |text: String| SpecError(format!("error parsing {name} metadata: {text}"));
    let given = |key: &str| {
        trigger
            .metadata
            .get(key)
            .map(|text| text.trim())
            .filter(|text| !text.is_empty())
    };
    if given("type").is_some() {
        return Err(fail(format!(
            "scaler {name} info: The 'type' setting is DEPRECATED and is removed in v2.18 - Use \
             'metricType' instead."
        )));
    }
    let value = given("value").ok_or_else(|| {
        fail("missing required parameter \"value\" in [triggerMetadata]".to_owned())
    })?;
    let target = match trigger.metric_type.as_str() {
        "Utilization" => {
            let percent = parse_int32(value).map_err(fail)?;
            json!({"type": "Utilization", "averageUtilization": percent})
        }
        "AverageValue" => {
            let quantity = Quantity::parse(value).map_err(|error| fail(error.to_string()))?;
            json!({"type": "AverageValue", "averageValue": quantity.to_string()})
        }
        other => {
            return Err(fail(format!(
                "unknown metric type: {other}, allowed values are 'Utilization' or 'AverageValue'"
            )));
        }
    };
    Ok(MetricSpec::Resource {
        name: name.to_owned(),
        container: given("containerName").map(str::to_owned),
        target,
    })
}

/// Go's `strconv.ParseInt(text, 10, 32)`.
fn parse_int32(text: &str) -> Result<i32, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!(
            "strconv.ParseInt: parsing {text:?}: invalid syntax"
        ));
    }
    text.parse()
        .map_err(|_| format!("strconv.ParseInt: parsing {text:?}: value out of range"))
}
