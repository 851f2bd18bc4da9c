//! What goes wrong before a write: parameters, patch bodies, missing versions; and what the
//! scale subresource makes of a write.

mod support;

use serde_json::{Value, json};
use support::{call, cluster, read, send};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

#[tokio::test(start_paused = true)]
async fn parameters_are_checked() {
    let cluster = cluster();
    call(&cluster, "POST", MAPS, map("m")).await;
    let one = format!("{MAPS}/m");
    for (method, path, body, why) in [
        (
            "POST",
            format!("{MAPS}?dryRun=Some"),
            map("x"),
            "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Some\"]: \
             supported values: \"All\"",
        ),
        (
            "PUT",
            format!("{one}?fieldValidation=Loose"),
            map("m"),
            "UpdateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \
             \"Loose\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"",
        ),
        (
            "PATCH",
            format!("{one}?force=true"),
            json!({}),
            "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for \
             non-apply patch",
        ),
        (
            "DELETE",
            format!("{one}?propagationPolicy=Never"),
            Value::Null,
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \
             \"Never\": supported values: \"Background\", \"Foreground\", \"Orphan\", \"nil\"",
        ),
        (
            "DELETE",
            one.clone(),
            json!({"propagationPolicy": "Orphan", "orphanDependents": true}),
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Invalid value: \
             \"Orphan\": orphanDependents and deletionPropagation cannot be both set",
        ),
    ] {
        let (code, status) = call(&cluster, method, &path, body).await;
        assert_eq!(code, 422, "{method} {path}: {status}");
        assert_eq!(status["message"], why);
    }
    for path in [
        format!("{MAPS}?limit=many"),
        format!("{MAPS}?watch=true&timeoutSeconds=many"),
    ] {
        let (code, status) = call(&cluster, "GET", &path, Value::Null).await;
        assert_eq!(code, 400);
        assert_eq!(
            status["message"],
            "strconv.ParseInt: parsing \"many\": invalid syntax"
        );
    }
    assert_eq!(call(&cluster, "GET", &one, Value::Null).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn patches_have_to_be_patches() {
    let cluster = cluster();
    call(&cluster, "POST", MAPS, map("m")).await;
    let one = format!("{MAPS}/m");
    let (json, merge) = (
        "application/json-patch+json",
        "application/merge-patch+json",
    );
    for (media, body, code, why) in [
        (
            merge,
            "",
            400,
            "error decoding patch: unexpected end of JSON input",
        ),
        (
            merge,
            "[]",
            400,
            "error decoding patch: json: cannot unmarshal array into Go value of type \
             map[string]interface {}",
        ),
        (
            json,
            "{}",
            400,
            "error decoding patch: json: cannot unmarshal object into Go value of type \
             []handlers.jsonPatchOp",
        ),
        (
            "text/plain",
            "{}",
            415,
            "the body of the request was in an unknown format - accepted media types include: \
             application/json-patch+json, application/merge-patch+json, \
             application/strategic-merge-patch+json, application/apply-patch+yaml",
        ),
    ] {
        let headers = [("content-type", media)];
        let (got, status) = read(send(&cluster, "PATCH", &one, &headers, body).await).await;
        assert_eq!(got, code, "{status}");
        assert_eq!(status["message"], why);
    }
    let (_, status) =
        read(send(&cluster, "POST", MAPS, &[("content-type", "a/b")], "").await).await;
    assert_eq!(
        status["message"],
        "the body of the request was in an unknown format - accepted media types include: \
         application/json, application/yaml, application/vnd.kubernetes.protobuf"
    );
}

#[tokio::test(start_paused = true)]
async fn kinds_differ_in_what_an_update_may_leave_out() {
    let cluster = cluster();
    // A PUT makes a lease, but changes it only from a known version.
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
        "spec": {"holderIdentity": "a"},
    });
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    assert_eq!(call(&cluster, "PUT", path, lease.clone()).await.0, 201);
    let (code, status) = call(&cluster, "PUT", path, lease).await;
    assert_eq!(code, 422);
    assert_eq!(
        status["details"]["causes"][0]["field"],
        "metadata.resourceVersion"
    );
    // A config map is the other way round.
    let path = format!("{MAPS}/m");
    assert_eq!(call(&cluster, "PUT", &path, map("m")).await.0, 404);
    call(&cluster, "POST", MAPS, map("m")).await;
    assert_eq!(call(&cluster, "PUT", &path, map("m")).await.0, 200);
}

const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";

#[tokio::test(start_paused = true)]
async fn a_scale_is_a_typed_object_with_owners() {
    let cluster = cluster();
    let set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "s"},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
        },
    });
    let made = call(&cluster, "POST", &format!("{SETS}?fieldManager=maker"), set).await;
    assert_eq!(made.0, 201, "{}", made.1);
    let scale = format!("{SETS}/s/scale");
    for (body, code, why) in [
        (
            json!({"spec": {"replicas": "2"}}),
            400,
            "Scale in version \"v1\" cannot be handled as a Scale: json: cannot unmarshal string \
             into Go struct field ScaleSpec.spec.replicas of type int32",
        ),
        (
            json!({"spec": {"replicas": 5_000_000_000_u64}}),
            400,
            "Scale in version \"v1\" cannot be handled as a Scale: json: cannot unmarshal number \
             5000000000 into Go struct field ScaleSpec.spec.replicas of type int32",
        ),
        (
            json!({"spec": {"replicas": -1}}),
            422,
            "Scale.autoscaling \"s\" is invalid: spec.replicas: Invalid value: -1: must be greater \
             than or equal to 0",
        ),
        (
            json!({"metadata": {"name": "t"}, "spec": {"replicas": 1}}),
            400,
            "the name of the object (t) does not match the name on the URL (s)",
        ),
    ] {
        let (got, status) = call(&cluster, "PUT", &scale, body).await;
        assert_eq!(got, code, "{status}");
        assert_eq!(status["message"], why);
    }
    let apply = [("content-type", "application/apply-patch+yaml")];
    let body = "apiVersion: autoscaling/v1\nkind: Scale\nspec:\n  replicas: 3\n";
    let path = format!("{scale}?fieldManager=me");
    let (code, status) = read(send(&cluster, "PATCH", &path, &apply, body).await).await;
    assert_eq!(code, 409, "{status}");
    assert_eq!(status["details"]["causes"][0]["field"], ".spec.replicas");
    let path = format!("{path}&force=true");
    let (code, scaled) = read(send(&cluster, "PATCH", &path, &apply, body).await).await;
    assert_eq!(code, 200, "{scaled}");
    assert_eq!(scaled["spec"]["replicas"], 3);
    let (_, set) = call(&cluster, "GET", &format!("{SETS}/s"), Value::Null).await;
    let owners = set["metadata"]["managedFields"].as_array().unwrap();
    let ours = owners.iter().find(|o| o["manager"] == "me").unwrap();
    assert_eq!(ours["operation"], "Apply");
    assert_eq!(ours["subresource"], "scale");
    assert_eq!(ours["apiVersion"], "apps/v1");
    assert_eq!(ours["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
}

#[tokio::test(start_paused = true)]
async fn a_scale_that_is_not_there_yet_can_be_written() {
    let cluster = cluster();
    let number = json!({"type": "object", "properties": {"replicas": {"type": "integer"}}});
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {"scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                }},
                "schema": {"openAPIV3Schema": {
                    "type": "object", "properties": {"spec": number, "status": number},
                }},
            }],
        },
    });
    call(
        &cluster,
        "POST",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        crd,
    )
    .await;
    let widgets = "/apis/example.com/v1/namespaces/default/widgets";
    let widget = json!({
        "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {},
    });
    call(&cluster, "POST", widgets, widget).await;
    let scale = format!("{widgets}/w/scale");
    let (code, status) = call(&cluster, "GET", &scale, Value::Null).await;
    assert_eq!(code, 500);
    assert_eq!(
        status["message"],
        "Internal error occurred: the spec replicas field \".spec.replicas\" does not exist"
    );
    let (code, scaled) = call(&cluster, "PATCH", &scale, json!({"spec": {"replicas": 2}})).await;
    assert_eq!(code, 200, "{scaled}");
    assert_eq!(scaled["spec"]["replicas"], 2);
}
