//! Custom kinds with several versions, schemas that change under stored objects, and metadata
//! that is checked like everybody else's.

mod support;

use serde_json::{Value, json};
use support::{Watch, call, cluster, read, send};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const CRD: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com";
const V1: &str = "/apis/example.com/v1/namespaces/default/widgets";
const V2: &str = "/apis/example.com/v2/namespaces/default/widgets";

fn version(name: &str, storage: bool, spec: Value) -> Value {
    json!({
        "name": name, "served": true, "storage": storage,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "properties": spec},
        }}},
    })
}

fn definition(versions: Vec<Value>) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": versions,
        },
    })
}

fn widget(version: &str, spec: Value) -> Value {
    json!({
        "apiVersion": format!("example.com/{version}"), "kind": "Widget",
        "metadata": {"name": "w"}, "spec": spec,
    })
}

/// v1 is stored; v2 has a limit, a default and a field of its own.
fn two() -> Vec<Value> {
    let text = json!({"type": "string"});
    let first = json!({"size": {"type": "integer"}, "old": text, "colour": text});
    let mut second = first.clone();
    second["size"]["maximum"] = json!(5);
    second["colour"]["default"] = json!("red");
    second["shade"] = text;
    vec![version("v1", true, first), version("v2", false, second)]
}

#[tokio::test(start_paused = true)]
async fn a_write_is_judged_by_the_version_of_the_request() {
    let cluster = cluster();
    assert_eq!(call(&cluster, "POST", CRDS, definition(two())).await.0, 201);
    let (code, status) = call(&cluster, "POST", V2, widget("v2", json!({"size": 6}))).await;
    assert_eq!(code, 422, "{status}");
    let (code, made) = call(&cluster, "POST", V1, widget("v1", json!({"size": 6}))).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(made["spec"], json!({"size": 6}));
    // A field that v2 alone has is unknown to v1.
    let strict = format!("{V1}/w?fieldValidation=Strict");
    let patch = json!({"spec": {"shade": "dark"}});
    assert_eq!(call(&cluster, "PATCH", &strict, patch.clone()).await.0, 400);
    // Through v2 the size has to fit v2, and the field's default comes in.
    let path = format!("{V2}/w?fieldManager=two");
    let (code, status) = call(&cluster, "PATCH", &path, patch).await;
    assert_eq!(code, 422);
    assert_eq!(status["details"]["causes"][0]["field"], "spec.size");
    let patch = json!({"spec": {"size": 3, "old": "x"}});
    let (code, changed) = call(&cluster, "PATCH", &path, patch.clone()).await;
    assert_eq!(code, 200, "{changed}");
    assert_eq!(changed["apiVersion"], "example.com/v2");
    assert_eq!(
        changed["spec"],
        json!({"size": 3, "old": "x", "colour": "red"})
    );
    let owners = changed["metadata"]["managedFields"].as_array().unwrap();
    let ours = owners.iter().find(|o| o["manager"] == "two").unwrap();
    assert_eq!(ours["apiVersion"], "example.com/v2");
    // The same again is no change.
    let (_, again) = call(&cluster, "PATCH", &path, patch).await;
    assert_eq!(
        again["metadata"]["resourceVersion"],
        changed["metadata"]["resourceVersion"]
    );
    let (_, first) = call(&cluster, "GET", &format!("{V1}/w"), Value::Null).await;
    assert_eq!(first["apiVersion"], "example.com/v1");
    assert_eq!(
        first["spec"],
        json!({"size": 3, "old": "x", "colour": "red"})
    );
}

#[tokio::test(start_paused = true)]
async fn stored_objects_are_read_with_the_schema_of_now() {
    let cluster = cluster();
    let first = version(
        "v1",
        true,
        json!({"size": {"type": "integer"}, "old": {"type": "string"}}),
    );
    call(&cluster, "POST", CRDS, definition(vec![first.clone()])).await;
    let body = widget("v1", json!({"size": 1, "old": "x"}));
    let (_, made) = call(&cluster, "POST", V1, body).await;
    let (_, list) = call(&cluster, "GET", V1, Value::Null).await;
    let from = list["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned();
    let second = version(
        "v1",
        true,
        json!({"size": {"type": "integer"}, "colour": {"type": "string", "default": "red"}}),
    );
    let patch = json!({"spec": {"versions": [second]}});
    let (code, crd) = call(&cluster, "PATCH", CRD, patch).await;
    assert_eq!(code, 200, "{crd}");
    let wanted = json!({"size": 1, "colour": "red"});
    let (_, read_back) = call(&cluster, "GET", &format!("{V1}/w"), Value::Null).await;
    assert_eq!(read_back["spec"], wanted);
    assert_eq!(
        read_back["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"]
    );
    let (_, list) = call(&cluster, "GET", V1, Value::Null).await;
    assert_eq!(list["items"][0]["spec"], wanted);
    let mut watch = Watch::start(&cluster, &format!("{V1}?watch=true"), "").await;
    assert_eq!(watch.next().await.unwrap().1["spec"], wanted);
    // A write stores the new shape and nobody is said to have written the default.
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    let (_, written) = call(&cluster, "PATCH", &format!("{V1}/w"), label).await;
    assert_eq!(written["spec"], wanted);
    assert_eq!(written["metadata"]["generation"], 1);
    assert_eq!(watch.next().await.unwrap().1["spec"], wanted);
    assert_ne!(from, written["metadata"]["resourceVersion"]);
    // With the old schema back, what was never written over is there again.
    let patch = json!({"spec": {"versions": [first]}});
    assert_eq!(call(&cluster, "PATCH", CRD, patch).await.0, 200);
    let (_, again) = call(&cluster, "GET", &format!("{V1}/w"), Value::Null).await;
    assert_eq!(again["spec"], json!({"size": 1}));
}

#[tokio::test(start_paused = true)]
async fn objects_follow_a_new_storage_version() {
    let cluster = cluster();
    call(&cluster, "POST", CRDS, definition(two())).await;
    call(&cluster, "POST", V1, widget("v1", json!({"size": 1}))).await;
    let mut versions = two();
    versions[0]["storage"] = json!(false);
    versions[1]["storage"] = json!(true);
    let patch = json!({"spec": {"versions": versions}});
    let (_, crd) = call(&cluster, "PATCH", CRD, patch).await;
    assert_eq!(crd["status"]["storedVersions"], json!(["v1", "v2"]));
    let (_, second) = call(&cluster, "GET", &format!("{V2}/w"), Value::Null).await;
    assert_eq!(second["apiVersion"], "example.com/v2");
    assert_eq!(second["spec"], json!({"size": 1, "colour": "red"}));
    let (_, first) = call(&cluster, "GET", &format!("{V1}/w"), Value::Null).await;
    assert_eq!(first["apiVersion"], "example.com/v1");
    assert_eq!(first["spec"], json!({"size": 1, "colour": "red"}));
    // An empty write moves it to the new version.
    let (_, moved) = call(&cluster, "PUT", &format!("{V1}/w"), first.clone()).await;
    assert_ne!(
        moved["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
}

#[tokio::test(start_paused = true)]
async fn metadata_is_read_by_its_types() {
    let cluster = cluster();
    call(&cluster, "POST", CRDS, definition(two())).await;
    for (metadata, why) in [
        (
            json!({"name": "w", "labels": {"a": 1}}),
            "json: cannot unmarshal number into Go struct field ObjectMeta.labels of type string",
        ),
        (
            json!({"name": "w", "finalizers": "x"}),
            "json: cannot unmarshal string into Go struct field ObjectMeta.finalizers of type \
             []string",
        ),
        (
            json!("w"),
            "json: cannot unmarshal string into Go value of type v1.ObjectMeta",
        ),
    ] {
        let mut body = widget("v1", json!({}));
        body["metadata"] = metadata;
        let (code, status) = call(&cluster, "POST", V1, body).await;
        assert_eq!(code, 400, "{status}");
        assert_eq!(
            status["message"],
            format!("Widget in version \"v1\" cannot be handled as a Widget: {why}")
        );
    }
    // Nobody owns metadata as a whole.
    let path = format!("{V1}?fieldManager=me");
    let (_, made) = call(&cluster, "POST", &path, widget("v1", json!({"size": 1}))).await;
    assert_eq!(
        made["metadata"]["managedFields"][0]["fieldsV1"],
        json!({"f:spec": {".": {}, "f:size": {}}})
    );
    let patch = json!({"metadata": {"annotations": {"n": 1}}});
    let (code, status) = call(&cluster, "PATCH", &format!("{V1}/w"), patch).await;
    assert_eq!(code, 422, "{status}");
}

#[tokio::test(start_paused = true)]
async fn an_object_inside_an_object_says_what_it_is() {
    let cluster = cluster();
    let inner = json!({"inner": {
        "type": "object", "x-kubernetes-embedded-resource": true,
        "x-kubernetes-preserve-unknown-fields": true,
    }});
    call(
        &cluster,
        "POST",
        CRDS,
        definition(vec![version("v1", true, inner)]),
    )
    .await;
    let body = widget("v1", json!({"inner": {"apiVersion": "v1", "spec": {}}}));
    let (code, status) = call(&cluster, "POST", V1, body).await;
    assert_eq!(code, 422);
    assert_eq!(
        status["message"],
        "Widget.example.com \"w\" is invalid: spec.inner.kind: Required value"
    );
    let body = widget(
        "v1",
        json!({"inner": {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": 3}}}),
    );
    let json = [("content-type", "application/json")];
    let (code, status) = read(send(&cluster, "POST", V1, &json, body.to_string()).await).await;
    assert_eq!(code, 400);
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .contains("spec.inner.metadata: Invalid value"),
        "{status}"
    );
    let body = widget(
        "v1",
        json!({"inner": {"apiVersion": "v1", "kind": "Pod", "x": 1}}),
    );
    let (code, made) = call(&cluster, "POST", V1, body).await;
    assert_eq!(code, 201);
    assert_eq!(made["spec"]["inner"]["x"], 1);
}
