//! A user who is faster than the operator's own writes.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cluster::Cluster;
use http::Request;
use kube::Client;
use serde_json::{Value, json};
use support::{World, workload};
use tower::ServiceExt as _;

/// A client whose next `method` on a path that ends so comes after `change`,
/// by so much.
fn overtaken(
    cluster: &Cluster,
    armed: &Arc<AtomicBool>,
    (method, end): (&'static str, &'static str),
    change: impl Fn(&Cluster) + Clone + Send + 'static,
    by: Duration,
) -> Client {
    let (cluster, armed) = (cluster.clone(), Arc::clone(armed));
    let api = cluster.client_service();
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let writes = request.method() == method && request.uri().path().ends_with(end);
        let overtakes = writes && armed.swap(false, Ordering::Relaxed);
        if overtakes {
            change(&cluster);
        }
        let api = api.clone();
        async move {
            if overtakes {
                tokio::time::sleep(by).await;
            }
            api.oneshot(request).await
        }
    });
    Client::new(service, "default")
}

async fn apply(world: &World) {
    for object in workload("web") {
        world.apply("default", &object).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_deletion_beside_a_status_write_is_seen() {
    let armed = Arc::new(AtomicBool::new(false));
    let delete = |cluster: &Cluster| {
        let how = cluster::DeleteOptions::default();
        let (kind, name) = ("scaledobjects.keda.sh", "web");
        cluster.delete(kind, "default", name, how).unwrap();
    };
    let world = World::with(json!({"values": [0]}), |c| {
        // The answer brings the deletion before the watch does.
        overtaken(
            c,
            &armed,
            ("PATCH", "/scaledobjects/web/status"),
            delete,
            Duration::ZERO,
        )
    })
    .await;
    apply(&world).await;
    world.seconds(10.0).await;
    // The next poll finds load, and writes so.
    *world.script.lock().unwrap() = json!({"values": [50]});
    armed.store(true, Ordering::Relaxed);
    world.seconds(60.0).await;
    assert!(!armed.load(Ordering::Relaxed), "no status was written");
    let left = world.get("default", "ScaledObject", "web").await;
    assert_eq!(left, None);
}

#[tokio::test(start_paused = true)]
async fn a_new_name_of_the_hpa_leaves_no_second_one() {
    let armed = Arc::new(AtomicBool::new(true));
    let rename = |cluster: &Cluster| {
        let advanced = json!({"horizontalPodAutoscalerConfig": {"name": "other"}});
        cluster
            .modify(
                "scaledobjects.keda.sh",
                "default",
                "web",
                |object: &mut Value| {
                    object["spec"]["advanced"] = advanced;
                },
            )
            .unwrap();
    };
    let world = World::with(json!({"values": [0]}), |c| {
        // The watch brings it while the HPA of the old name is being made.
        let by = Duration::from_millis(5);
        overtaken(c, &armed, ("POST", "/horizontalpodautoscalers"), rename, by)
    })
    .await;
    apply(&world).await;
    world.seconds(60.0).await;
    assert!(!armed.load(Ordering::Relaxed), "no HPA was made");
    let kind = "horizontalpodautoscalers.autoscaling";
    let names: Vec<String> = world
        .cluster
        .list(kind, None)
        .iter()
        .map(|hpa| hpa["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["other"]);
}
