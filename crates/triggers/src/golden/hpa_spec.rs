//! HPAs that KEDA's own code made of ScaledObjects, and its updates of them.

use api::keda::{Gvkr, ScaledObject};
use api::quantity::Quantity;
use decide::scale::hpa_spec::{self, HpaPlan};
use decide::scale::resource;
use serde_json::Value;

use crate::{Input, parse};

fn plan(object: &ScaledObject) -> Result<HpaPlan, String> {
    let mut specs = Vec::new();
    for (index, trigger) in object.spec.triggers.iter().enumerate() {
        if resource::is_resource(trigger) {
            specs.push(resource::parse(trigger).map_err(|error| error.to_string())?);
            continue;
        }
        let input = Input::of(object, index);
        let spec = parse(&trigger.trigger_type, &input).map_err(|e| e.to_string())?;
        specs.push(spec.for_hpa());
    }
    let (group, version, kind) = object.spec.scale_target_ref.gvk();
    let target = Gvkr {
        group,
        version,
        kind,
        resource: String::new(),
    };
    hpa_spec::hpa_for(object, &specs, &target, "main").map_err(|error| error.to_string())
}

/// With quantities in the form that the API server stores.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| {
                let quantity = matches!(key.as_str(), "averageValue" | "value");
                let text = value.as_str().filter(|_| quantity);
                let parsed = text.and_then(|text| Quantity::parse(text).ok());
                let value = parsed.map_or_else(|| canonical(value), |q| q.to_string().into());
                (key.clone(), value)
            })
            .collect(),
        Value::Array(items) => items.iter().map(canonical).collect(),
        other => other.clone(),
    }
}

/// What differs from the recorded outcome.
pub(super) fn check(case: &Value) -> Result<(), String> {
    let object: ScaledObject = serde_json::from_value(case["scaledObject"].clone())
        .map_err(|error| format!("unreadable: {error}"))?;
    let plan = plan(&object);
    let out = &case["out"];
    if let Some(updates) = out["updates"].as_u64() {
        let plan = plan?;
        let changes = hpa_spec::changes(&plan.hpa, &case["liveHpa"]);
        let count =
            u64::from(changes.spec) + u64::from(changes.labels) + u64::from(changes.annotations);
        return if count == updates {
            Ok(())
        } else {
            Err(format!("{count} not {updates}"))
        };
    }
    match (plan, out["error"].as_str()) {
        (Err(error), Some(wanted)) if error == wanted => Ok(()),
        (Err(error), wanted) => Err(format!("error {error:?}, wanted {wanted:?}")),
        (Ok(_), Some(wanted)) => Err(format!("no error, wanted {wanted:?}")),
        (Ok(plan), None) => {
            for field in ["metadata", "spec"] {
                let (have, want) = (&plan.hpa[field], canonical(&out["hpa"][field]));
                if *have != want {
                    return Err(format!("{field}\n    want {want}\n    have {have}"));
                }
            }
            let names = |field: &str| -> Vec<String> {
                serde_json::from_value(out[field].clone()).unwrap_or_default()
            };
            let composite = out["compositeScalerName"].as_str().unwrap_or_default();
            if plan.external_metric_names != names("externalMetricNames")
                || plan.resource_metric_names != names("resourceMetricNames")
                || plan.composite_scaler_name != composite
            {
                return Err(format!("names {:?}", plan.external_metric_names));
            }
            Ok(())
        }
    }
}
