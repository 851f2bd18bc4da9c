//! Validation texts, as the API server words them.

use super::*;
use crate::schema::{FieldValidation, apply_defaults, decode_check};
use serde_json::json;

fn errors(gvk: Gvk<'_>, object: Value) -> Vec<String> {
    let (mut object, _) = decode_check(gvk, object, Vec::new(), FieldValidation::Warn).unwrap();
    apply_defaults(gvk, &mut object);
    validate(gvk, &object, None)
        .iter()
        .map(ToString::to_string)
        .collect()
}

const DEPLOYMENT: Gvk<'static> = ("apps", "v1", "Deployment");
const HPA: Gvk<'static> = ("autoscaling", "v2", "HorizontalPodAutoscaler");

fn deployment(container: Value) -> Value {
    json!({"metadata": {"name": "web"}, "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}
    }})
}

#[test]
fn gpus_need_a_limit_and_whole_numbers() {
    let with = |resources: Value| {
        errors(
            DEPLOYMENT,
            deployment(json!({"name": "c", "image": "i", "resources": resources})),
        )
    };
    assert_eq!(with(json!({"limits": {"nvidia.com/gpu": 1}})), [""; 0]);
    assert_eq!(
        with(json!({"limits": {"nvidia.com/gpu": "1500m"}})),
        [
            "spec.template.spec.containers[0].resources.limits[nvidia.com/gpu]: Invalid value: \
             \"1500m\": must be an integer"
        ]
    );
    assert_eq!(
        with(json!({"requests": {"nvidia.com/gpu": 1}})),
        [
            "spec.template.spec.containers[0].resources.limits: Required value: Limit must be set \
             for non overcommitable resources"
        ]
    );
    assert_eq!(
        with(json!({"requests": {"nvidia.com/gpu": 1}, "limits": {"nvidia.com/gpu": 2}})),
        [
            "spec.template.spec.containers[0].resources.requests: Invalid value: \"1\": must be \
             equal to nvidia.com/gpu limit of 2"
        ]
    );
    assert_eq!(
        with(json!({"requests": {"cpu": 2}, "limits": {"cpu": 1, "gpu": 1}})),
        [
            "spec.template.spec.containers[0].resources.limits[gpu]: Invalid value: \"gpu\": must \
             be a standard resource type or fully qualified",
            "spec.template.spec.containers[0].resources.limits[gpu]: Invalid value: \"gpu\": must \
             be a standard resource for containers",
            "spec.template.spec.containers[0].resources.requests: Invalid value: \"2\": must be \
             less than or equal to cpu limit of 1"
        ]
    );
}

#[test]
fn deployments_need_a_selector_that_selects_their_pods() {
    let mut d = deployment(json!({"name": "c", "image": "i"}));
    d["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
    assert_eq!(
        errors(DEPLOYMENT, d.clone()),
        [
            "spec.template.metadata.labels: Invalid value: {\"app\":\"other\"}: `selector` does \
             not match template `labels`"
        ]
    );
    d["spec"].as_object_mut().unwrap().remove("selector");
    d["metadata"]["name"] = "Web".into();
    d["spec"]["replicas"] = json!(-1);
    let found = errors(DEPLOYMENT, d);
    assert!(
        found[0]
            .starts_with("metadata.name: Invalid value: \"Web\": a lowercase RFC 1123 subdomain")
    );
    assert_eq!(
        found[1..],
        [
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            "spec.selector: Required value"
        ]
    );
}

#[test]
fn a_deployments_selector_cannot_change() {
    let mut old = deployment(json!({"name": "c", "image": "i"}));
    apply_defaults(DEPLOYMENT, &mut old);
    let mut new = old.clone();
    new["spec"]["selector"]["matchLabels"]["tier"] = "x".into();
    new["spec"]["template"]["metadata"]["labels"]["tier"] = "x".into();
    let found: Vec<String> = validate(DEPLOYMENT, &new, Some(&old))
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        found,
        [
            "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"web\",\"tier\":\"x\"}}: \
             field is immutable"
        ]
    );
}

#[test]
fn pods_without_containers_or_with_strange_policies_are_refused() {
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [], "restartPolicy": "Sometimes"}});
    assert_eq!(
        errors(("", "v1", "Pod"), pod),
        [
            "spec.containers: Required value",
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \
             \"OnFailure\", \"Never\""
        ]
    );
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [
        {"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/x"}]}, {"name": "c"}]}});
    assert_eq!(
        errors(("", "v1", "Pod"), pod),
        [
            "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
            "spec.containers[1].image: Required value",
            "spec.containers[1].name: Duplicate value: \"c\""
        ]
    );
}

#[test]
fn a_pods_image_may_change_but_not_its_node() {
    let gvk = ("", "v1", "Pod");
    let mut old = json!({"metadata": {"name": "p"}, "spec": {
        "nodeName": "a", "containers": [{"name": "c", "image": "i"}]}});
    apply_defaults(gvk, &mut old);
    let mut new = old.clone();
    new["spec"]["containers"][0]["image"] = "j".into();
    assert!(validate(gvk, &new, Some(&old)).is_empty());
    new["spec"]["nodeName"] = "b".into();
    let found = validate(gvk, &new, Some(&old));
    assert!(
        found[0]
            .to_string()
            .starts_with("spec: Forbidden: pod updates may not change fields other than")
    );
    old["spec"].as_object_mut().unwrap().remove("nodeName");
    assert!(
        validate(gvk, &new, Some(&old)).is_empty(),
        "binding sets the node"
    );
}

#[test]
fn autoscalers_are_checked() {
    let hpa = |spec: Value| {
        let mut spec = spec;
        if spec.get("scaleTargetRef").is_none() {
            spec["scaleTargetRef"] =
                json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "w"});
        }
        errors(HPA, json!({"metadata": {"name": "h"}, "spec": spec}))
    };
    assert_eq!(hpa(json!({"maxReplicas": 3})), [""; 0]);
    assert_eq!(
        hpa(json!({"minReplicas": 5, "maxReplicas": 3})),
        ["spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`"]
    );
    assert_eq!(
        hpa(json!({"minReplicas": 0, "maxReplicas": 3})),
        [
            "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
            "spec.metrics: Forbidden: must specify at least one Object or External metric to \
             support scaling to zero replicas"
        ]
    );
    assert_eq!(
        hpa(json!({"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "w"}})),
        ["spec.scaleTargetRef.apiVersion: Invalid value: \"\": apiVersion must specify API group"]
    );
    assert_eq!(
        hpa(
            json!({"maxReplicas": 3, "metrics": [{"type": "External", "external": {
            "metric": {"name": "m"}, "target": {"type": "AverageValue"}}}]})
        ),
        [
            "spec.metrics[0].external.target.averageValue: Required value: must set either a \
             target value for metric or a per-pod target"
        ]
    );
    assert_eq!(
        hpa(
            json!({"maxReplicas": 3, "metrics": [{"type": "External", "external": {
            "metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "0"}}}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 4000,
                "policies": [{"type": "Pods", "value": 0, "periodSeconds": 1801}]}}})
        ),
        [
            "spec.metrics[0].external.target.averageValue: Invalid value: \"0\": must be positive",
            "spec.behavior.scaleDown.stabilizationWindowSeconds: Invalid value: 4000: must be less \
             than or equal to 3600",
            "spec.behavior.scaleDown.policies[0].value: Invalid value: 0: must be greater than zero",
            "spec.behavior.scaleDown.policies[0].periodSeconds: Invalid value: 1801: must be less \
             than or equal to 1800"
        ]
    );
}

#[test]
fn services_and_data_are_checked() {
    let service =
        json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 0}, {"port": 80}]}});
    assert_eq!(
        errors(("", "v1", "Service"), service),
        [
            "spec.ports[0].name: Required value",
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
            "spec.ports[1].name: Required value"
        ]
    );
    let found = errors(
        ("", "v1", "ConfigMap"),
        json!({"metadata": {"name": "c"}, "data": {"a b": "x"}}),
    );
    assert!(
        found[0].starts_with("data[a b]: Invalid value: \"a b\": a valid config key must consist")
    );
}
