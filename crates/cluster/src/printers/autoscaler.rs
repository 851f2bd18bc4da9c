//! HorizontalPodAutoscalers.

use serde_json::{Value, json};

use super::{Printer, age, number};
use crate::value::{at, integer, list, name, text};

pub(super) const AUTOSCALERS: Printer = (
    &[
        ("Name", "string", 0),
        ("Reference", "string", 0),
        ("Targets", "string", 0),
        ("MinPods", "string", 0),
        ("MaxPods", "string", 0),
        ("Replicas", "string", 0),
        ("Age", "string", 0),
    ],
    |hpa, now| {
        let target = &hpa["spec"]["scaleTargetRef"];
        let reference = format!("{}/{}", text(target, &["kind"]), text(target, &["name"]));
        let least = integer(hpa, &["spec", "minReplicas"])
            .map_or_else(|| "<unset>".to_owned(), |n| n.to_string());
        vec![
            json!(name(hpa)),
            json!(reference),
            json!(targets(hpa)),
            json!(least),
            number(hpa, &["spec", "maxReplicas"]),
            number(hpa, &["status", "currentReplicas"]),
            json!(age(hpa, now)),
        ]
    },
);

/// A quantity or number as it stands.
fn shown(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(s) => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

fn metric(spec: &Value, status: &Value) -> String {
    const UNKNOWN: &str = "<unknown>";
    let (key, prefix) = match text(spec, &["type"]) {
        "External" => ("external", false),
        "Pods" => ("pods", false),
        "Object" => ("object", false),
        "Resource" => ("resource", true),
        "ContainerResource" => ("containerResource", true),
        _ => return "<unknown type>".to_owned(),
    };
    let now = |field: &str| shown(at(status, &[key, "current", field]));
    let wanted = |field: &str| shown(at(spec, &[key, "target", field]));
    let unknown = || UNKNOWN.to_owned();
    if prefix {
        let resource = text(spec, &[key, "name"]);
        if let Some(target) = wanted("averageValue") {
            return format!(
                "{resource}: {}/{target}",
                now("averageValue").unwrap_or_else(unknown)
            );
        }
        let current = now("averageUtilization").map_or_else(unknown, |p| format!("{p}%"));
        let target =
            wanted("averageUtilization").map_or_else(|| "<auto>".to_owned(), |p| format!("{p}%"));
        return format!("{resource}: {current}/{target}");
    }
    match wanted("averageValue") {
        Some(target) => {
            let suffix = if key == "pods" { "" } else { " (avg)" };
            format!(
                "{}/{target}{suffix}",
                now("averageValue").unwrap_or_else(unknown)
            )
        }
        None => format!(
            "{}/{}",
            now("value").unwrap_or_else(unknown),
            wanted("value").unwrap_or_else(|| "<nil>".to_owned())
        ),
    }
}

fn targets(hpa: &Value) -> String {
    const SHOWN: usize = 2;
    let specs = list(hpa, &["spec", "metrics"]);
    if specs.is_empty() {
        return "<none>".to_owned();
    }
    let statuses = list(hpa, &["status", "currentMetrics"]);
    let texts: Vec<String> = specs
        .iter()
        .enumerate()
        .take(SHOWN)
        .map(|(i, spec)| metric(spec, statuses.get(i).unwrap_or(&Value::Null)))
        .collect();
    let all = texts.join(", ");
    if specs.len() > SHOWN {
        format!("{all} + {} more...", specs.len() - SHOWN)
    } else {
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_read_as_recorded() {
        let external = |target: Value| {
            json!({"type": "External", "external": {
            "metric": {"name": "s0-prometheus"}, "target": target}})
        };
        let hpa = json!({
            "spec": {"metrics": [external(json!({"type": "AverageValue", "averageValue": "5"}))]},
            "status": {"currentMetrics": null},
        });
        assert_eq!(targets(&hpa), "<unknown>/5 (avg)");
        let hpa = json!({
            "spec": {"metrics": [
                external(json!({"type": "AverageValue", "averageValue": "5"})),
                {"type": "Resource", "resource": {"name": "cpu",
                    "target": {"type": "Utilization", "averageUtilization": 80}}},
                external(json!({"type": "Value", "value": "7"})),
            ]},
            "status": {"currentMetrics": [
                {"type": "External", "external": {"current": {"averageValue": "12500m"}}},
                {"type": "Resource", "resource": {"current": {"averageUtilization": 50}}},
            ]},
        });
        assert_eq!(targets(&hpa), "12500m/5 (avg), cpu: 50%/80% + 1 more...");
    }
}
