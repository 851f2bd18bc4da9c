//! Answers that were found to differ when this server and Kubernetes 1.37 were
//! asked side by side, and no longer do.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use cluster::Cluster;
use serde_json::{Value, json};
use support::{call, cluster, read, send};

const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn web() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "nginx:1"}]}}}})
}

async fn patch(cluster: &Cluster, kind: &str, path: &str, body: &str) -> (u16, Value) {
    let kind = format!("application/{kind}");
    let headers = [("content-type", kind.as_str())];
    read(send(cluster, "PATCH", path, &headers, body.to_owned()).await).await
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_makes_nonsense_is_named() {
    let cluster = cluster();
    call(&cluster, "POST", DEPLOYMENTS, web()).await;
    let path = format!("{DEPLOYMENTS}/web");
    for (body, why) in [
        (
            r#"{"spec":{"replicas":"many"}}"#,
            "map[spec:map[replicas:many]]\": unrecognized type: int32",
        ),
        (
            r#"{"spec":{"paused":5}}"#,
            "map[spec:map[paused:5]]\": unrecognized type: bool",
        ),
        (
            r#"{"spec":{"selector":"x"}}"#,
            "map[spec:map[selector:x]]\": cannot restore struct from: string",
        ),
        (
            r#"{"metadata":{"labels":{"a":5}}}"#,
            "map[metadata:map[labels:map[a:5]]]\": cannot convert int64 to string",
        ),
    ] {
        let (code, status) = patch(&cluster, "strategic-merge-patch+json", &path, body).await;
        let wanted = format!(" \"\" is invalid: patch: Invalid value: \"{why}");
        assert_eq!((code, &status["message"]), (422, &json!(wanted)));
    }
    let (code, status) = patch(&cluster, "strategic-merge-patch+json", &path, "[1]").await;
    let wanted = "json: cannot unmarshal array into Go value of type map[string]interface {}";
    assert_eq!((code, &status["message"]), (400, &json!(wanted)));
    let odd = r#"[{"op":"nonsense","path":"/spec"}]"#;
    let (code, status) = patch(&cluster, "json-patch+json", &path, odd).await;
    let wanted = "the server rejected our request due to an error in our request";
    assert_eq!((code, &status["message"]), (422, &json!(wanted)));
    let absent = r#"[{"op":"add","path":"/spec/replicas"}]"#;
    let (code, _) = patch(&cluster, "json-patch+json", &path, absent).await;
    assert_eq!(code, 200);
}

#[tokio::test(start_paused = true)]
async fn apply_knows_declared_fields_only_and_names_managers_without_times() {
    let cluster = cluster();
    let path = format!("{DEPLOYMENTS}/web?fieldManager=me&fieldValidation=Ignore");
    let mut odd = web();
    odd["spec"]["template"]["spec"]["containers"][0]["imagee"] = json!("typo");
    let (code, status) = patch(&cluster, "apply-patch+yaml", &path, &odd.to_string()).await;
    let wanted = "failed to create typed patch object (default/web; apps/v1, Kind=Deployment): \
                  .spec.template.spec.containers[name=\"c\"].imagee: field not declared in schema";
    assert_eq!((code, &status["message"]), (500, &json!(wanted)));

    let create = format!("{DEPLOYMENTS}?fieldManager=kubectl-create");
    call(&cluster, "POST", &create, web()).await;
    let mut other = web();
    other["spec"]["template"]["spec"]["containers"][0]["image"] = json!("nginx:2");
    let (code, status) = patch(&cluster, "apply-patch+yaml", &path, &other.to_string()).await;
    let wanted = "Apply failed with 1 conflict: conflict with \"kubectl-create\" using apps/v1: \
                  .spec.template.spec.containers[name=\"c\"].image";
    assert_eq!((code, &status["message"]), (409, &json!(wanted)));
}

#[tokio::test(start_paused = true)]
async fn a_pod_gets_its_nodes_place_and_keeps_its_resources() {
    let cluster = cluster();
    let zone = "topology.kubernetes.io/zone";
    let node = json!({"metadata": {"name": "n", "labels": {zone: "eastus-1", "other": "x"}}});
    call(&cluster, "POST", "/api/v1/nodes", node).await;
    let gpus = |n: &str| json!({"limits": {"nvidia.com/gpu": n}});
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [
        {"name": "c", "image": "i", "resources": gpus("1")}]}});
    call(&cluster, "POST", PODS, pod).await;
    cluster.bind("default", "p", "n").unwrap();
    let (_, pod) = call(&cluster, "GET", &format!("{PODS}/p"), Value::Null).await;
    assert_eq!(pod["metadata"]["labels"], json!({zone: "eastus-1"}));

    let two = json!({"limits": {"nvidia.com/gpu": "2"}, "requests": {"nvidia.com/gpu": "2"}});
    let more = json!({"spec": {"containers": [{"name": "c", "resources": two}]}}).to_string();
    let path = format!("{PODS}/p");
    let (code, status) = patch(&cluster, "strategic-merge-patch+json", &path, &more).await;
    assert_eq!(code, 422);
    let message = status["message"].as_str().unwrap();
    assert!(
        message.contains("pod updates may not change fields other than"),
        "{message}"
    );
    let path = format!("{PODS}/p/resize");
    let (code, _) = patch(&cluster, "strategic-merge-patch+json", &path, &more).await;
    assert_eq!(code, 200);
}

#[tokio::test(start_paused = true)]
async fn without_kubelets_a_log_is_out_of_reach() {
    let cluster = cluster();
    call(
        &cluster,
        "POST",
        "/api/v1/nodes",
        json!({"metadata": {"name": "n"}}),
    )
    .await;
    let pod = json!({"metadata": {"name": "p"},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}});
    call(&cluster, "POST", PODS, pod).await;
    cluster
        .modify_status("pods", "default", "p", |p| {
            p["status"]["containerStatuses"] = json!([{"name": "c", "state": {"running": {}}}]);
        })
        .unwrap();
    let (code, status) = call(&cluster, "GET", &format!("{PODS}/p/log"), Value::Null).await;
    let wanted = "no preferred addresses found; known addresses: []";
    assert_eq!((code, &status["message"]), (500, &json!(wanted)));
}

#[tokio::test(start_paused = true)]
async fn fields_of_gpu_workloads_are_described() {
    let cluster = cluster();
    let (_, document) = call(&cluster, "GET", "/openapi/v3/api/v1", Value::Null).await;
    let schemas = &document["components"]["schemas"];
    let toleration = &schemas["io.k8s.api.core.v1.Toleration"];
    assert!(
        toleration["description"]
            .as_str()
            .unwrap()
            .contains("taint")
    );
    let effects = json!(["NoExecute", "NoSchedule", "PreferNoSchedule"]);
    assert_eq!(toleration["properties"]["effect"]["enum"], effects);
}

#[tokio::test(start_paused = true)]
async fn rules_of_a_definition_name_field_reason_and_computed_message() {
    let cluster = cluster();
    let rules = json!([
        {"rule": "self.low <= self.high", "message": "low must not be above high"},
        {"rule": "!has(oldSelf.fixed) || self.fixed == oldSelf.fixed", "message": "fixed is fixed",
         "reason": "FieldValueForbidden", "fieldPath": ".fixed"},
        {"rule": "!has(self.items) || self.items.exists(i, i.startsWith('a'))",
         "messageExpression": "'the first is ' + self.items[0]"},
        {"rule": "!has(self.items) || self.items[1] != 'z'", "message": "no z"},
    ]);
    let lower = json!([{"rule": "self.matches('^[a-z]+$')", "message": "lower case only"}]);
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object",
        "x-kubernetes-validations": rules, "properties": {
            "low": {"type": "integer"}, "high": {"type": "integer"},
            "fixed": {"type": "string", "x-kubernetes-validations": lower},
            "items": {"type": "array", "items": {"type": "string"}}}}}});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition", "metadata": {"name": "quotas.example.dev"},
        "spec": {"group": "example.dev", "scope": "Namespaced",
            "names": {"plural": "quotas", "singular": "quota", "kind": "Quota", "listKind": "QuotaList"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema}}]}});
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(call(&cluster, "POST", path, definition).await.0, 201);
    let path = "/apis/example.dev/v1/namespaces/default/quotas";
    let quota = |spec: Value| {
        json!({"apiVersion": "example.dev/v1", "kind": "Quota", "metadata": {"name": "q"},
            "spec": spec})
    };
    for (spec, why) in [
        (
            json!({"low": 9, "high": 5}),
            "spec: Invalid value: low must not be above high",
        ),
        (
            json!({"low": 1, "high": 5, "fixed": "ABC"}),
            "spec.fixed: Invalid value: \"ABC\": lower case only",
        ),
        (
            json!({"low": 1, "high": 5, "items": ["b", "c"]}),
            "spec: Invalid value: the first is b",
        ),
        (
            json!({"low": 1, "high": 5, "items": ["a"]}),
            "spec: Invalid value: \"object\": index out of bounds: 1 evaluating rule: no z",
        ),
    ] {
        let (code, status) = call(&cluster, "POST", path, quota(spec)).await;
        let wanted = format!("Quota.example.dev \"q\" is invalid: {why}");
        assert_eq!((code, &status["message"]), (422, &json!(wanted)));
    }
    let first = json!({"low": 1, "high": 5, "fixed": "abc"});
    assert_eq!(call(&cluster, "POST", path, quota(first)).await.0, 201);
    let change = json!({"spec": {"fixed": "other"}});
    let (code, status) = call(&cluster, "PATCH", &format!("{path}/q"), change).await;
    let wanted = "Quota.example.dev \"q\" is invalid: spec.fixed: Forbidden: fixed is fixed";
    assert_eq!((code, &status["message"]), (422, &json!(wanted)));
}
