//! Whose the replicas are: what a client that applies on the server is told
//! once an autoscaler has set them. Texts and entries are those of a real API
//! server (1.37.2) with Helm 4 as the client.

mod support;

use std::time::Duration;

use cluster::Cluster;
use serde_json::{Value, json};
use support::{call, cluster, read, send};

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/default/deployments/model";
const HPAS: &str = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";

/// What a release would have, with replicas or without.
async fn apply(cluster: &Cluster, replicas: Option<u32>, image: &str) -> (u16, Value) {
    let mut deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "model"},
        "spec": {
            "selector": {"matchLabels": {"app": "model"}},
            "template": {
                "metadata": {"labels": {"app": "model"}},
                "spec": {"containers": [{"name": "model", "image": image}]},
            },
        },
    });
    if let Some(replicas) = replicas {
        deployment["spec"]["replicas"] = json!(replicas);
    }
    let path = format!("{DEPLOYMENT}?fieldManager=helm");
    let media = &[("content-type", "application/apply-patch+yaml")];
    read(send(cluster, "PATCH", &path, media, deployment.to_string()).await).await
}

/// Managers of the replicas with their subresources, and whether they say when.
async fn owners(cluster: &Cluster) -> Vec<(String, Value, bool)> {
    let (_, deployment) = call(cluster, "GET", DEPLOYMENT, Value::Null).await;
    let entries = deployment["metadata"]["managedFields"].as_array();
    let entries = entries.unwrap().iter();
    let of = |entry: &Value| {
        let manager = entry["manager"].as_str().unwrap().to_owned();
        (
            manager,
            entry["subresource"].clone(),
            entry["time"].is_string(),
        )
    };
    let all = entries.filter(|e| e["fieldsV1"]["f:spec"].get("f:replicas").is_some());
    all.map(of).collect()
}

/// An autoscaler raises the replicas to its minimum.
async fn raise(cluster: &Cluster) {
    tokio::spawn(cluster::controllers::run(
        cluster.clone(),
        cluster::controllers::Options::default(),
    ));
    let hpa = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "model"},
        "spec": {
            "minReplicas": 3, "maxReplicas": 6,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "model"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 80}}}],
        },
    });
    assert_eq!(call(cluster, "POST", HPAS, hpa).await.0, 201);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(replicas(cluster).await, 3);
}

async fn replicas(cluster: &Cluster) -> u64 {
    let (_, deployment) = call(cluster, "GET", DEPLOYMENT, Value::Null).await;
    deployment["spec"]["replicas"].as_u64().unwrap()
}

#[tokio::test(start_paused = true)]
async fn replicas_that_were_claimed_become_the_autoscalers() {
    let cluster = cluster();
    assert_eq!(apply(&cluster, Some(1), "model:1").await.0, 201);
    assert_eq!(
        owners(&cluster).await,
        [("helm".to_owned(), Value::Null, true)]
    );
    raise(&cluster).await;
    let scaler = ("kube-controller-manager".to_owned(), json!("scale"), false);
    assert_eq!(owners(&cluster).await, [scaler]);

    let (code, refused) = apply(&cluster, Some(1), "model:2").await;
    assert_eq!(code, 409, "{refused}");
    assert_eq!(
        refused["message"],
        "Apply failed with 1 conflict: conflict with \"kube-controller-manager\" with subresource \
         \"scale\" using apps/v1: .spec.replicas"
    );
    // Let go of, they stay as they are.
    assert_eq!(apply(&cluster, None, "model:2").await.0, 200);
    assert_eq!(replicas(&cluster).await, 3);
}

#[tokio::test(start_paused = true)]
async fn replicas_that_nobody_claimed_stay_nobodys() {
    let cluster = cluster();
    assert_eq!(apply(&cluster, None, "model:1").await.0, 201);
    raise(&cluster).await;
    assert_eq!(owners(&cluster).await, []);
    assert_eq!(apply(&cluster, None, "model:2").await.0, 200);
    assert_eq!(replicas(&cluster).await, 3);
    // So the first to claim them is not told of the autoscaler.
    let (code, taken) = apply(&cluster, Some(1), "model:2").await;
    assert_eq!((code, &taken["spec"]["replicas"]), (200, &json!(1)));
    assert_eq!(
        owners(&cluster).await,
        [("helm".to_owned(), Value::Null, true)]
    );
}
