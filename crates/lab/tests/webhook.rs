//! What the API server and KEDA's webhooks said to manifests, recorded with
//! KEDA 2.20.2.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use bytes::Bytes;
use cluster::Cluster;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

/// Cases that must come out as recorded.
const FLOOR: usize = 45;

fn deployment(name: &str, resources: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": "webhook"},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "x", "resources": resources}]},
            },
        },
    })
}

fn world() -> Cluster {
    let clock = clock::Clock::simulated("2026-01-01T00:00:00Z".parse().unwrap());
    let cluster = Cluster::new(cluster::Options { seed: 1, clock });
    for crd in api::keda::crds() {
        cluster
            .create("customresourcedefinitions.apiextensions.k8s.io", crd)
            .unwrap();
    }
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "webhook"},
    });
    cluster.create("namespaces", namespace).unwrap();
    let requests = json!({"requests": {"cpu": "100m", "memory": "64Mi"}});
    for object in [
        deployment("w", json!({})),
        deployment("wr", requests),
        deployment("wh", json!({})),
    ] {
        cluster.create("deployments.apps", object).unwrap();
    }
    let hpa = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "mine", "namespace": "webhook"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "wh"},
            "maxReplicas": 3,
        },
    });
    cluster
        .create("horizontalpodautoscalers.autoscaling", hpa)
        .unwrap();
    lab::admission::guard(&cluster);
    cluster
}

fn path(object: &Value) -> String {
    let plural = format!("{}s", object["kind"].as_str().unwrap().to_lowercase());
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("/apis/keda.sh/v1alpha1/namespaces/{namespace}/{plural}"),
        None => format!("/apis/keda.sh/v1alpha1/{plural}"),
    }
}

async fn send(cluster: &Cluster, method: &str, path: &str, kind: &str, body: &Value) -> Value {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", kind)
        .body(Bytes::from(body.to_string()))
        .unwrap();
    let response = cluster.request(request).await;
    let code = response.status().as_u16();
    let warnings: Vec<Value> = response
        .headers()
        .get_all("warning")
        .iter()
        .map(|value| json!(value.to_str().unwrap()))
        .collect();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&bytes).unwrap();
    json!({"http": code, "warnings": warnings, "body": body})
}

fn differs(wanted: &Value, found: &Value) -> Option<String> {
    let body = |answer: &Value| match answer["http"].as_u64() {
        Some(200..=299) => answer["body"]["spec"].clone(),
        _ => answer["body"].clone(),
    };
    for field in ["http", "warnings"] {
        if wanted[field] != found[field] {
            return Some(format!(
                "{field}: want {} have {} {}",
                wanted[field], found[field], found["body"]["message"]
            ));
        }
    }
    let (want, mut have) = (body(wanted), body(found));
    if want.get("metadata").is_none()
        && let Some(map) = have.as_object_mut()
    {
        map.remove("metadata");
        if want.get("apiVersion").is_none() {
            map.remove("apiVersion");
        }
    }
    (want != have).then(|| format!("\n    want {want}\n    have {have}"))
}

#[tokio::test(start_paused = true)]
async fn recorded_refusals_come_out_as_recorded() {
    let Some(shared) = shared() else {
        println!("skipped: RHEOSTAT_SHARED is not there");
        return;
    };
    let text = std::fs::read_to_string(shared.join("golden/live/keda/webhook.jsonl")).unwrap();
    let (mut passed, mut total) = (0, 0);
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let cluster = world();
        let plain = "application/json";
        for object in case["before"].as_array().into_iter().flatten() {
            let _ = send(&cluster, "POST", &path(object), plain, object).await;
        }
        let mut object = case["object"].clone();
        if case["name"] == "same-target" {
            object["metadata"]["name"] = json!("so2");
        }
        let mut path = path(&object);
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let dry = if case["dryRun"] == true {
            "?dryRun=All"
        } else {
            ""
        };
        let found = send(&cluster, "POST", &format!("{path}{dry}"), plain, &object).await;
        let mut difference = differs(&case["create"], &found);
        if difference.is_none() && case["update"].is_object() {
            path.push('/');
            path.push_str(&name);
            let kind = "application/merge-patch+json";
            let body = &case["update"]["patch"];
            let found = send(&cluster, "PATCH", &path, kind, body).await;
            difference = differs(&case["update"], &found);
        }
        total += 1;
        match difference {
            None => passed += 1,
            Some(text) => println!("{}: {text}", case["name"]),
        }
    }
    println!("webhook cases {passed}/{total}");
    assert!(passed >= FLOOR, "{passed} of {total} cases");
}

/// The folder of recordings, if it is there.
fn shared() -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("RHEOSTAT_SHARED").map_or_else(beside, PathBuf::from);
    shared.join("golden").is_dir().then_some(shared)
}
