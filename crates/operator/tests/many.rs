//! Many ScaledObjects: what they cost an API server, and what comes first.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::Request;
use kube::Client;
use serde_json::json;
use support::{World, workload};
use tower::ServiceExt as _;

/// The operator's requests in order, as `POST horizontalpodautoscalers`.
type Asked = Arc<Mutex<Vec<String>>>;

/// A world whose operator finds `count` objects that share an authentication,
/// and all it asked of the API server in the first ten seconds.
async fn with_objects(count: usize) -> (World, Vec<String>) {
    let asked = Asked::default();
    let log = Arc::clone(&asked);
    let world = World::with(json!({"values": [0]}), |cluster| {
        for n in 0..count {
            let name = format!("w-{n:03}");
            let [deployment, mut scaled] = workload(&name);
            scaled["spec"]["triggers"][0]["authenticationRef"] = json!({"name": "shared"});
            cluster.create("deployments.apps", deployment).unwrap();
            cluster.create("scaledobjects.keda.sh", scaled).unwrap();
        }
        let many = json!({"apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
            "metadata": {"name": "shared", "namespace": "default"},
            "spec": {"podIdentity": {"provider": "none"}}});
        cluster
            .create("triggerauthentications.keda.sh", many)
            .unwrap();
        let api = cluster.client_service();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let path = request.uri().path();
            let named = path.split('/').find(|part| {
                part.ends_with("scalers") || part.ends_with("jects") || *part == "events"
            });
            let what = named.unwrap_or(path);
            log.lock()
                .unwrap()
                .push(format!("{} {what}", request.method()));
            api.clone().oneshot(request)
        });
        Client::new(service, "default")
    })
    .await;
    world.seconds(10.0).await;
    let asked = asked.lock().unwrap().clone();
    (world, asked)
}

#[tokio::test(start_paused = true)]
async fn twice_the_objects_cost_no_more_than_twice_the_requests() {
    let (_, few) = with_objects(40).await;
    let (world, many) = with_objects(80).await;
    let each = (many.len() - few.len()) as f64 / 40.0;
    let mut kinds = BTreeMap::new();
    many.iter()
        .for_each(|what| *kinds.entry(what).or_insert(0) += 1);
    // Claimed, concluded and polled, an HPA, three events.
    assert!(each <= 8.0, "{each} requests an object: {kinds:#?}");
    let shared = world
        .get("default", "TriggerAuthentication", "shared")
        .await
        .unwrap();
    let users = shared["status"]["scaledobjects"].as_str().unwrap();
    assert_eq!(users.split(',').count(), 80, "{users}");
}

#[tokio::test(start_paused = true)]
async fn hpas_come_before_what_can_wait() {
    let (_, asked) = with_objects(80).await;
    let at = |what: &str| {
        let found = asked.iter().enumerate().filter(|(_, asked)| *asked == what);
        found.map(|(at, _)| at).collect::<Vec<usize>>()
    };
    let hpas = at("POST horizontalpodautoscalers");
    assert_eq!(hpas.len(), 80);
    let last = hpas[79];
    let before = asked[..last].iter();
    let statuses = before.filter(|a| *a == "PATCH scaledobjects").count();
    // Each is claimed before; a quarter may have been concluded and polled, too.
    assert!(statuses <= 80 + 40, "{statuses} of {}", asked.len());
}
