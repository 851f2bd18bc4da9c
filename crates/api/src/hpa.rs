//! What the API server does to an autoscaling/v2 HorizontalPodAutoscaler on
//! its way in: defaults and validation.

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

/// What kind of fault a field has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// `Required value`
    Required,
    /// `Invalid value`
    Invalid,
    /// `Unsupported value`; the detail lists the supported ones.
    NotSupported,
    /// `Forbidden`
    Forbidden,
}

/// A field that the API server refuses.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldFault {
    /// The kind of fault.
    pub kind: FaultKind,
    /// The path, from `spec` on.
    pub field: String,
    /// The value refused, for `Invalid` and `NotSupported`.
    pub value: Value,
    /// The reason; may be empty.
    pub detail: String,
}

/// Checks a defaulted `spec` as the API server of 1.37 does. On an update the
/// target's apiVersion may lack a group.
pub fn validate(spec: &Value, creating: bool) -> Vec<FieldFault> {
    let mut faults = Faults::default();
    let min = spec["minReplicas"].as_i64();
    let max = spec["maxReplicas"].as_i64().unwrap_or(0);
    if let Some(min) = min.filter(|m| *m < 0) {
        faults.invalid(
            "spec.minReplicas",
            json!(min),
            "must be greater than or equal to 0",
        );
    }
    if max < 1 {
        faults.invalid("spec.maxReplicas", json!(max), "must be greater than 0");
    }
    if min.is_some_and(|min| max < min) {
        let detail = "must be greater than or equal to `minReplicas`";
        faults.invalid("spec.maxReplicas", json!(max), detail);
    }
    let target = &spec["scaleTargetRef"];
    faults.reference(target, "spec.scaleTargetRef");
    let version = target["apiVersion"].as_str().unwrap_or("");
    if creating && !version.contains('/') && target["kind"] != "ReplicationController" {
        let detail = "apiVersion must specify API group";
        faults.invalid("spec.scaleTargetRef.apiVersion", json!(version), detail);
    }
    let metrics = spec["metrics"].as_array().map_or(&[][..], Vec::as_slice);
    for (at, metric) in metrics.iter().enumerate() {
        faults.metric(metric, &format!("spec.metrics[{at}]"));
    }
    let wakes = |m: &Value| m["type"] == "Object" || m["type"] == "External";
    if min == Some(0) && !metrics.iter().any(wakes) {
        let detail = "must specify at least one Object or External metric to support scaling to \
                      zero replicas";
        faults.add(FaultKind::Forbidden, "spec.metrics", Value::Null, detail);
    }
    for direction in ["scaleUp", "scaleDown"] {
        let rules = &spec["behavior"][direction];
        if rules.is_object() {
            faults.rules(rules, &format!("spec.behavior.{direction}"));
        }
    }
    faults.0
}

#[derive(Default)]
struct Faults(Vec<FieldFault>);

/// Field and JSON name of every metric source with its type.
const SOURCES: [(&str, &str); 5] = [
    ("object", "Object"),
    ("external", "External"),
    ("pods", "Pods"),
    ("resource", "Resource"),
    ("containerResource", "ContainerResource"),
];

impl Faults {
    fn add(&mut self, kind: FaultKind, field: impl Into<String>, value: Value, detail: &str) {
        let (field, detail) = (field.into(), detail.to_owned());
        self.0.push(FieldFault {
            kind,
            field,
            value,
            detail,
        });
    }

    fn invalid(&mut self, field: impl Into<String>, value: Value, detail: &str) {
        self.add(FaultKind::Invalid, field, value, detail);
    }

    fn required(&mut self, field: impl Into<String>, detail: &str) {
        self.add(FaultKind::Required, field, Value::Null, detail);
    }

    /// A name that becomes part of a URL; `missing` is said where it is empty.
    fn segment(&mut self, value: &Value, field: String, missing: &str) {
        match value.as_str().unwrap_or("") {
            "" => self.required(field, missing),
            dots @ ("." | "..") => {
                self.invalid(field, value.clone(), &format!("may not be '{dots}'"));
            }
            text => {
                for c in ['/', '%'].into_iter().filter(|c| text.contains(*c)) {
                    self.invalid(
                        field.clone(),
                        value.clone(),
                        &format!("may not contain '{c}'"),
                    );
                }
            }
        }
    }

    fn reference(&mut self, target: &Value, path: &str) {
        for part in ["kind", "name"] {
            self.segment(&target[part], format!("{path}.{part}"), "");
        }
    }

    fn metric(&mut self, metric: &Value, path: &str) {
        let kind = metric["type"].as_str().unwrap_or("");
        if kind.is_empty() {
            self.required(format!("{path}.type"), "must specify a metric source type");
        }
        let expected = SOURCES
            .iter()
            .find(|(_, t)| *t == kind)
            .map(|(field, _)| *field);
        if expected.is_none() {
            let detail = "supported values: \"ContainerResource\", \"External\", \"Object\", \
                          \"Pods\", \"Resource\"";
            self.add(
                FaultKind::NotSupported,
                format!("{path}.type"),
                json!(kind),
                detail,
            );
        }
        let present: Vec<&str> = SOURCES
            .iter()
            .map(|(field, _)| *field)
            .filter(|f| metric[*f].is_object())
            .collect();
        if let Some(first) = present.first() {
            self.source(&metric[*first], first, &format!("{path}.{first}"));
        }
        if let Some(field) = expected.filter(|f| !present.contains(f)) {
            let detail = "must populate information for the given metric source";
            self.required(format!("{path}.{field}"), detail);
        }
        for field in present
            .iter()
            .filter(|f| present.len() > 1 && Some(**f) != expected)
        {
            let detail = "must populate the given metric source only";
            self.add(
                FaultKind::Forbidden,
                format!("{path}.{field}"),
                Value::Null,
                detail,
            );
        }
    }

    fn source(&mut self, source: &Value, field: &str, path: &str) {
        let target = &source["target"];
        let has = |key: &str| !target[key].is_null();
        match field {
            "resource" | "containerResource" => {
                if source["name"].as_str().unwrap_or("").is_empty() {
                    self.required(format!("{path}.name"), "must specify a resource name");
                }
                if field == "containerResource"
                    && source["container"].as_str().unwrap_or("").is_empty()
                {
                    self.required(format!("{path}.container"), "must specify a container");
                }
            }
            _ => {
                if field == "object" {
                    self.reference(
                        &source["describedObject"],
                        &format!("{path}.describedObject"),
                    );
                }
                let name = format!("{path}.metric.name");
                self.segment(
                    &source["metric"]["name"],
                    name,
                    "must specify a metric name",
                );
            }
        }
        self.target(target, &format!("{path}.target"));
        let forbidden = FaultKind::Forbidden;
        match field {
            "resource" | "containerResource" => {
                if !has("averageUtilization") && !has("averageValue") {
                    let detail = "must set either a target raw value or a target utilization";
                    self.required(format!("{path}.target.averageUtilization"), detail);
                }
                if has("averageUtilization") && has("averageValue") {
                    let detail = "may not set both a target raw value and a target utilization";
                    let field = format!("{path}.target.averageValue");
                    self.add(forbidden, field, Value::Null, detail);
                }
            }
            "object" if !has("value") && !has("averageValue") => {
                let detail = "must set either a target value or averageValue";
                self.required(format!("{path}.target.averageValue"), detail);
            }
            "external" if !has("value") && !has("averageValue") => {
                let detail = "must set either a target value for metric or a per-pod target";
                self.required(format!("{path}.target.averageValue"), detail);
            }
            "external" if has("value") && has("averageValue") => {
                let detail = "may not set both a target value for metric and a per-pod target";
                self.add(
                    forbidden,
                    format!("{path}.target.value"),
                    Value::Null,
                    detail,
                );
            }
            "pods" if !has("averageValue") || sign(&target["averageValue"]) != 1 => {
                let detail = "must specify a positive target averageValue";
                self.required(format!("{path}.target.averageValue"), detail);
            }
            _ => {}
        }
    }

    fn target(&mut self, target: &Value, path: &str) {
        let kind = target["type"].as_str().unwrap_or("");
        if kind.is_empty() {
            self.required(format!("{path}.type"), "must specify a metric target type");
        }
        if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
            let detail = "must be either Utilization, Value, or AverageValue";
            self.invalid(format!("{path}.type"), json!(kind), detail);
        }
        for key in ["value", "averageValue"] {
            if !target[key].is_null() && sign(&target[key]) != 1 {
                self.invalid(
                    format!("{path}.{key}"),
                    target[key].clone(),
                    "must be positive",
                );
            }
        }
        if target["averageUtilization"].as_i64().is_some_and(|u| u < 1) {
            let value = target["averageUtilization"].clone();
            self.invalid(
                format!("{path}.averageUtilization"),
                value,
                "must be greater than 0",
            );
        }
    }

    fn rules(&mut self, rules: &Value, path: &str) {
        let window = &rules["stabilizationWindowSeconds"];
        if let Some(seconds) = window.as_i64() {
            let field = format!("{path}.stabilizationWindowSeconds");
            if seconds < 0 {
                self.invalid(
                    field,
                    window.clone(),
                    "must be greater than or equal to zero",
                );
            } else if seconds > 3600 {
                self.invalid(field, window.clone(), "must be less than or equal to 3600");
            }
        }
        let select = &rules["selectPolicy"];
        if select
            .as_str()
            .is_some_and(|s| !matches!(s, "Max" | "Min" | "Disabled"))
        {
            let detail = "supported values: \"Disabled\", \"Max\", \"Min\"";
            let field = format!("{path}.selectPolicy");
            self.add(FaultKind::NotSupported, field, select.clone(), detail);
        }
        let policies = rules["policies"].as_array().map_or(&[][..], Vec::as_slice);
        if policies.is_empty() {
            self.required(
                format!("{path}.policies"),
                "must specify at least one Policy",
            );
        }
        for (at, policy) in policies.iter().enumerate() {
            let path = format!("{path}.policies[{at}]");
            if !matches!(policy["type"].as_str(), Some("Pods" | "Percent")) {
                let detail = "supported values: \"Percent\", \"Pods\"";
                let (field, value) = (format!("{path}.type"), policy["type"].clone());
                self.add(FaultKind::NotSupported, field, value, detail);
            }
            for (key, most) in [("value", i64::MAX), ("periodSeconds", 1800)] {
                let number = policy[key].as_i64().unwrap_or(0);
                if number <= 0 {
                    let field = format!("{path}.{key}");
                    self.invalid(field, json!(number), "must be greater than zero");
                } else if number > most {
                    let detail = format!("must be less than or equal to {most}");
                    self.invalid(format!("{path}.{key}"), json!(number), &detail);
                }
            }
        }
        let tolerance = &rules["tolerance"];
        if !tolerance.is_null() && sign(tolerance) < 0 {
            let detail = "must be greater than or equal to 0";
            self.invalid(format!("{path}.tolerance"), tolerance.clone(), detail);
        }
    }
}

fn sign(quantity: &Value) -> i32 {
    crate::quantity::Quantity::from_json(quantity).map_or(0, |q| q.sign())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Value {
        json!({"minReplicas": 1, "maxReplicas": 20,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "metrics": [{"type": "External", "external": {"metric": {"name": "s0"},
                "target": {"type": "AverageValue", "averageValue": "5"}}}]})
    }

    fn faults(change: impl Fn(&mut Value)) -> Vec<String> {
        let mut spec = spec();
        change(&mut spec);
        default_spec(&mut spec);
        validate(&spec, true)
            .into_iter()
            .map(|f| format!("{}: {}", f.field, f.detail))
            .collect()
    }

    #[test]
    fn a_good_spec_passes() {
        assert!(faults(|_| {}).is_empty());
        assert!(faults(|s| s["minReplicas"] = json!(0)).is_empty());
        assert!(faults(|s| s["behavior"] = json!({})).is_empty());
    }

    #[test]
    fn faults_name_their_fields() {
        assert_eq!(
            faults(|s| {
                s["minReplicas"] = json!(30);
                s["scaleTargetRef"]["apiVersion"] = json!("v1");
            }),
            [
                "spec.maxReplicas: must be greater than or equal to `minReplicas`",
                "spec.scaleTargetRef.apiVersion: apiVersion must specify API group",
            ]
        );
        assert_eq!(
            faults(|s| s["metrics"][0]["external"]["target"]["averageValue"] = json!("0")),
            ["spec.metrics[0].external.target.averageValue: must be positive"]
        );
        assert_eq!(
            faults(|s| {
                s["minReplicas"] = json!(0);
                s["metrics"] = json!([]);
            }),
            [
                "spec.metrics: must specify at least one Object or External metric to support \
              scaling to zero replicas"
            ]
        );
        assert_eq!(
            faults(|s| s["behavior"] = json!({"scaleDown": {"policies": [
                {"type": "Pods", "value": 0, "periodSeconds": 1801}]}})),
            [
                "spec.behavior.scaleDown.policies[0].value: must be greater than zero",
                "spec.behavior.scaleDown.policies[0].periodSeconds: must be less than or equal to \
                 1800",
            ]
        );
    }

    #[test]
    fn behavior_is_completed_field_by_field() {
        let mut spec = spec();
        spec["behavior"] = json!({"scaleDown": {"stabilizationWindowSeconds": 60}});
        default_spec(&mut spec);
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
