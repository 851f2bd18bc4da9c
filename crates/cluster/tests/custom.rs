//! Custom kinds: served at once, shaped by their schema, shown by their columns, gone with their
//! definition.

mod support;

use serde_json::{Value, json};
use support::{Watch, call, cluster, read, send};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";
const TABLE: &[(&str, &str)] = &[("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];

fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {
                    "status": {},
                    "scale": {
                        "specReplicasPath": ".spec.replicas",
                        "statusReplicasPath": ".status.replicas",
                        "labelSelectorPath": ".status.selector",
                    },
                },
                "additionalPrinterColumns": [
                    {"name": "Size", "type": "integer", "jsonPath": ".spec.replicas"},
                    {"name": "Ready", "type": "string",
                     "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "properties": {
                        "spec": {
                            "type": "object", "required": ["replicas"],
                            "properties": {
                                "replicas": {"type": "integer", "minimum": 0},
                                "colour": {"type": "string", "default": "red"},
                            },
                        },
                        "status": {
                            "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                        },
                    },
                }},
            }],
        },
    })
}

fn widget(name: &str) -> Value {
    json!({
        "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name},
        "spec": {"replicas": 2},
    })
}

#[tokio::test(start_paused = true)]
async fn a_definition_is_established_and_discovered_at_once() {
    let cluster = cluster();
    assert_eq!(call(&cluster, "GET", WIDGETS, Value::Null).await.0, 404);
    let (code, made) = call(&cluster, "POST", CRDS, definition()).await;
    assert_eq!(code, 201, "{made}");
    let path = format!("{CRDS}/widgets.example.com");
    let (_, crd) = call(&cluster, "GET", &path, Value::Null).await;
    let established = crd["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .any(|c| c["type"] == "Established" && c["status"] == "True");
    assert!(established, "{crd}");
    assert_eq!(crd["status"]["acceptedNames"]["listKind"], "WidgetList");
    assert_eq!(crd["status"]["storedVersions"], json!(["v1"]));

    let (_, list) = call(&cluster, "GET", "/apis/example.com/v1", Value::Null).await;
    let names: Vec<&str> = list["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["widgets", "widgets/status", "widgets/scale"]);
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let answer = send(&cluster, "GET", "/apis", &[("accept", accept)], "").await;
    let tag = answer.headers()["etag"].to_str().unwrap().to_owned();
    let (_, groups) = read(answer).await;
    let group = groups["items"].as_array().unwrap().last().unwrap();
    assert_eq!(group["metadata"]["name"], "example.com");
    assert_eq!(
        group["versions"][0]["resources"][0]["shortNames"],
        json!(["wd"])
    );
    let headers = [("accept", accept), ("if-none-match", tag.as_str())];
    assert_eq!(
        send(&cluster, "GET", "/apis", &headers, "").await.status(),
        304
    );
    let (_, index) = call(&cluster, "GET", "/openapi/v3", Value::Null).await;
    let url = index["paths"]["apis/example.com/v1"]["serverRelativeURL"]
        .as_str()
        .unwrap();
    let (code, document) = call(&cluster, "GET", url, Value::Null).await;
    assert_eq!(code, 200);
    assert!(document["paths"].to_string().contains("Widget"));
}

#[tokio::test(start_paused = true)]
async fn objects_take_the_shape_of_the_schema() {
    let cluster = cluster();
    call(&cluster, "POST", CRDS, definition()).await;
    let mut strange = widget("w");
    strange["spec"]["wheels"] = json!(4);
    let strict = format!("{WIDGETS}?fieldValidation=Strict");
    let (code, status) = call(&cluster, "POST", &strict, strange.clone()).await;
    assert_eq!(code, 400);
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .ends_with("strict decoding error: unknown field \"spec.wheels\""),
        "{status}"
    );
    let json = [("content-type", "application/json")];
    let answer = send(&cluster, "POST", WIDGETS, &json, strange.to_string()).await;
    assert_eq!(
        answer.headers()["warning"],
        "299 - \"unknown field \\\"spec.wheels\\\"\""
    );
    let (code, made) = read(answer).await;
    assert_eq!(code, 201);
    assert_eq!(made["spec"], json!({"replicas": 2, "colour": "red"}));
    let mut wrong = widget("x");
    wrong["spec"]["replicas"] = json!(-1);
    let (code, status) = call(&cluster, "POST", WIDGETS, wrong).await;
    assert_eq!(code, 422);
    assert_eq!(status["details"]["causes"][0]["field"], "spec.replicas");

    // Updates need a version, and PATCH brings it along.
    let mut blind = made.clone();
    blind["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("resourceVersion");
    let path = format!("{WIDGETS}/w");
    assert_eq!(call(&cluster, "PUT", &path, blind).await.0, 422);
    let (_, changed) = call(
        &cluster,
        "PATCH",
        &path,
        json!({"spec": {"replicas": 3}, "status": {"a": 1}}),
    )
    .await;
    assert_eq!(changed["metadata"]["generation"], 2);
    assert!(changed["status"].is_null());
    let status = json!({"status": {
        "replicas": 1, "selector": "app=w", "conditions": [{"type": "Ready", "status": "True"}],
    }});
    call(&cluster, "PATCH", &format!("{path}/status"), status).await;
    let (_, scale) = call(&cluster, "GET", &format!("{path}/scale"), Value::Null).await;
    assert_eq!(scale["spec"]["replicas"], 3);
    assert_eq!(scale["status"], json!({"replicas": 1, "selector": "app=w"}));
    call(
        &cluster,
        "PATCH",
        &format!("{path}/scale"),
        json!({"spec": {"replicas": 5}}),
    )
    .await;
    tokio::time::advance(std::time::Duration::from_secs(90)).await;
    let (_, table) = read(send(&cluster, "GET", WIDGETS, TABLE, "").await).await;
    assert_eq!(table["rows"][0]["cells"], json!(["w", 5, "True", "90s"]));
    let strategic = [("content-type", "application/strategic-merge-patch+json")];
    let answer = send(&cluster, "PATCH", &path, &strategic, "{}").await;
    assert_eq!(read(answer).await.0, 415);
}

#[tokio::test(start_paused = true)]
async fn objects_go_with_their_definition() {
    let cluster = cluster();
    call(&cluster, "POST", CRDS, definition()).await;
    call(&cluster, "POST", WIDGETS, widget("free")).await;
    let mut held = widget("held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    call(&cluster, "POST", WIDGETS, held).await;
    let path = format!("{WIDGETS}?watch=true&resourceVersion=0");
    let mut watch = Watch::start(&cluster, &path, "application/json").await;
    assert_eq!(watch.brief().await, "ADDED free");
    assert_eq!(watch.brief().await, "ADDED held");
    let crd = format!("{CRDS}/widgets.example.com");
    let (_, going) = call(&cluster, "DELETE", &crd, Value::Null).await;
    assert!(going["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(watch.brief().await, "DELETED free");
    assert_eq!(watch.brief().await, "MODIFIED held");
    assert_eq!(call(&cluster, "GET", &crd, Value::Null).await.0, 200);
    let (_, going) = call(&cluster, "GET", &crd, Value::Null).await;
    let conditions = going["status"]["conditions"].as_array().unwrap();
    let last = conditions.iter().find(|c| c["type"] == "Terminating");
    assert_eq!(last.unwrap()["status"], "True");
    assert_eq!(last.unwrap()["reason"], "InstanceDeletionInProgress");
    // Nothing new may keep the definition alive.
    let (code, status) = call(&cluster, "POST", WIDGETS, widget("late")).await;
    assert_eq!(code, 405);
    assert_eq!(status["reason"], "MethodNotAllowed");
    assert_eq!(
        status["message"],
        "create not allowed while custom resource definition is terminating"
    );
    let path = format!("{WIDGETS}/held");
    call(
        &cluster,
        "PATCH",
        &path,
        json!({"metadata": {"finalizers": null}}),
    )
    .await;
    assert_eq!(watch.brief().await, "DELETED held");
    assert_eq!(watch.brief().await, "end");
    assert_eq!(call(&cluster, "GET", &crd, Value::Null).await.0, 404);
    assert_eq!(call(&cluster, "GET", WIDGETS, Value::Null).await.0, 404);
    // And it can come again.
    assert_eq!(call(&cluster, "POST", CRDS, definition()).await.0, 201);
    assert_eq!(call(&cluster, "GET", WIDGETS, Value::Null).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_may_not_go_is_tried_again() {
    let cluster = cluster();
    call(&cluster, "POST", CRDS, definition()).await;
    let mut held = widget("held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    call(&cluster, "POST", WIDGETS, held).await;
    call(&cluster, "POST", WIDGETS, widget("kept")).await;
    let refuse = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let refusing = refuse.clone();
    cluster.admit(
        "widgets.example.com",
        "keeper",
        std::sync::Arc::new(move |what: &cluster::Admission| {
            let keep = what.operation == cluster::Operation::Delete && what.name == "kept";
            match keep && refusing.load(std::sync::atomic::Ordering::Relaxed) {
                true => Err("not yet".to_owned()),
                false => Ok(vec![]),
            }
        }),
    );
    let crd = format!("{CRDS}/widgets.example.com");
    call(&cluster, "DELETE", &crd, Value::Null).await;
    assert_eq!(call(&cluster, "GET", &crd, Value::Null).await.0, 200);
    refuse.store(false, std::sync::atomic::Ordering::Relaxed);
    let path = format!("{WIDGETS}/held");
    let free = json!({"metadata": {"finalizers": null}});
    call(&cluster, "PATCH", &path, free).await;
    assert_eq!(call(&cluster, "GET", &crd, Value::Null).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn applies_are_merged_by_field_owner() {
    let cluster = cluster();
    call(&cluster, "POST", CRDS, definition()).await;
    let yaml = [("content-type", "application/apply-patch+yaml")];
    let path = format!("{WIDGETS}/w?fieldManager=one");
    let body =
        "apiVersion: example.com/v1\nkind: Widget\nmetadata:\n  name: w\nspec:\n  replicas: 2\n";
    let (code, made) = read(send(&cluster, "PATCH", &path, &yaml, body).await).await;
    assert_eq!(code, 201, "{made}");
    let (code, again) = read(send(&cluster, "PATCH", &path, &yaml, body).await).await;
    assert_eq!(code, 200);
    assert_eq!(
        again["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"]
    );
    let anonymous = send(&cluster, "PATCH", &format!("{WIDGETS}/w"), &yaml, body).await;
    let (code, status) = read(anonymous).await;
    assert_eq!(code, 422);
    assert_eq!(
        status["message"],
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for \
         apply patch"
    );
}

#[tokio::test(start_paused = true)]
async fn mounted_groups_are_answered_in_process() {
    let cluster = cluster();
    cluster.mount(
        "metrics.example.com",
        "v1beta1",
        std::sync::Arc::new(|request: http::Request<bytes::Bytes>| {
            let body = format!("{{\"path\": \"{}\"}}", request.uri().path());
            Box::pin(async move { http::Response::new(bytes::Bytes::from(body)) })
        }),
    );
    let path = "/apis/metrics.example.com/v1beta1/namespaces/default/x";
    assert_eq!(
        call(&cluster, "GET", path, Value::Null).await.1["path"],
        path
    );
    let (_, groups) = call(&cluster, "GET", "/apis", Value::Null).await;
    let last = groups["groups"].as_array().unwrap().last().unwrap();
    assert_eq!(last["name"], "metrics.example.com");
    let name = "v1beta1.metrics.example.com";
    let service = cluster
        .get("apiservices.apiregistration.k8s.io", "", name)
        .unwrap();
    assert_eq!(service["status"]["conditions"][0]["status"], "True");
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_answered_here_stays_so_whatever_its_registration_says() {
    let cluster = cluster();
    let answer = |_: http::Request<bytes::Bytes>| -> futures::future::BoxFuture<'static, _> {
        Box::pin(async { http::Response::new(bytes::Bytes::from("{\"here\": true}")) })
    };
    cluster.mount("metrics.example.com", "v1", std::sync::Arc::new(answer));
    let all = "/apis/apiregistration.k8s.io/v1/apiservices";
    let at = format!("{all}/v1.metrics.example.com");
    // Another server that nobody can reach is registered in its place.
    let elsewhere = json!({"spec": {"service": {"name": "away", "namespace": "default"}}});
    let (code, changed) = call(&cluster, "PATCH", &at, elsewhere).await;
    assert_eq!(
        (code, &changed["spec"]["service"]["name"]),
        (200, &json!("away"))
    );
    let group = "/apis/metrics.example.com/v1";
    assert_eq!(
        call(&cluster, "GET", group, Value::Null).await.1["here"],
        true
    );
    assert_eq!(changed["status"]["conditions"][0]["status"], "True");

    // Deleted, it stays deleted, and whoever waits for that is served.
    assert_eq!(call(&cluster, "DELETE", &at, Value::Null).await.0, 200);
    assert_eq!(call(&cluster, "GET", &at, Value::Null).await.0, 404);
    assert_eq!(
        call(&cluster, "GET", group, Value::Null).await.1["here"],
        true
    );
}

#[tokio::test(start_paused = true)]
async fn a_custom_group_is_registered_anew_as_long_as_it_is_served() {
    let cluster = cluster();
    assert_eq!(call(&cluster, "POST", CRDS, definition()).await.0, 201);
    let at = "/apis/apiregistration.k8s.io/v1/apiservices/v1.example.com";
    for finalizer in [false, true] {
        if finalizer {
            let held = json!({"metadata": {"finalizers": ["example.com/hold"]}});
            assert_eq!(call(&cluster, "PATCH", at, held).await.0, 200);
        }
        let (_, before) = call(&cluster, "GET", at, Value::Null).await;
        assert_eq!(call(&cluster, "DELETE", at, Value::Null).await.0, 200);
        if finalizer {
            let free = json!({"metadata": {"finalizers": null}});
            assert_eq!(call(&cluster, "PATCH", at, free).await.0, 200);
        }
        let (code, after) = call(&cluster, "GET", at, Value::Null).await;
        assert_eq!(code, 200, "{after}");
        assert_ne!(before["metadata"]["uid"], after["metadata"]["uid"]);
        assert_eq!(after["status"]["conditions"][0]["status"], "True");
    }
}
