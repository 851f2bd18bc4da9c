//! What the API server fills in on an autoscaling/v2 HorizontalPodAutoscaler.

use serde_json::{Map, Value, json};

/// Fills in what the API server fills in. Takes the `spec`.
pub fn default_spec(spec: &mut Value) {
    let Value::Object(spec) = spec else { return };
    if spec.get("minReplicas").is_none_or(Value::is_null) {
        spec.insert("minReplicas".to_owned(), json!(1));
    }
    if spec
        .get("metrics")
        .and_then(Value::as_array)
        .is_none_or(Vec::is_empty)
    {
        let cpu = json!([{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 80}}}]);
        spec.insert("metrics".to_owned(), cpu);
    }
    if let Some(Value::Object(behavior)) = spec.get_mut("behavior") {
        let up = json!({"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
            {"type": "Pods", "value": 4, "periodSeconds": 15},
            {"type": "Percent", "value": 100, "periodSeconds": 15}]});
        let down = json!({"selectPolicy": "Max", "policies": [
            {"type": "Percent", "value": 100, "periodSeconds": 15}]});
        for (direction, defaults) in [("scaleUp", up), ("scaleDown", down)] {
            complete(behavior, direction, defaults);
        }
    }
}

fn complete(behavior: &mut Map<String, Value>, direction: &str, defaults: Value) {
    match behavior.get_mut(direction) {
        Some(Value::Object(rules)) => {
            for (key, value) in defaults.as_object().into_iter().flatten() {
                if rules.get(key).is_none_or(Value::is_null) {
                    rules.insert(key.clone(), value.clone());
                }
            }
        }
        _ => {
            behavior.insert(direction.to_owned(), defaults);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behavior_is_completed_field_by_field() {
        let mut spec = json!({"maxReplicas": 3, "behavior": {
            "scaleDown": {"stabilizationWindowSeconds": 60}}});
        default_spec(&mut spec);
        assert_eq!(spec["minReplicas"], 1);
        assert_eq!(
            spec["metrics"][0]["resource"]["target"]["averageUtilization"],
            80
        );
        assert_eq!(
            spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"],
            60
        );
        assert_eq!(
            spec["behavior"]["scaleDown"]["policies"][0]["type"],
            "Percent"
        );
        assert_eq!(spec["behavior"]["scaleUp"]["policies"][0]["value"], 4);
    }
}
