//! Kubernetes' own scheduler and controllers in place of the embedded ones:
//! what they are left to do, and what they need of the API server.

mod support;

use std::time::Duration;

use cluster::{Cluster, Component, Without, controllers, scheduler};
use serde_json::{Value, json};
use support::{call, cluster};

const APPS: &str = "/apis/apps/v1/namespaces/default";

/// A cluster whose parts run, but for some.
fn running(without: &[Component]) -> Cluster {
    let cluster = cluster();
    let without: Without = without.iter().copied().collect();
    let options = controllers::Options {
        without: without.clone(),
        ..controllers::Options::default()
    };
    tokio::spawn(controllers::run(cluster.clone(), options));
    tokio::spawn(scheduler::run(cluster.clone(), without));
    cluster
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "web"}]},
            },
        },
    })
}

fn node() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"},
        "spec": {"unschedulable": true},
        "status": {
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}

async fn settle() {
    tokio::time::sleep(Duration::from_secs(60)).await;
}

async fn count(cluster: &Cluster, path: &str) -> usize {
    let (_, list) = call(cluster, "GET", path, Value::Null).await;
    list["items"].as_array().unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn each_part_can_be_left_to_others() {
    let pods = "/api/v1/namespaces/default/pods";
    for part in Component::ALL {
        let cluster = running(&[part]);
        call(&cluster, "POST", "/api/v1/nodes", node()).await;
        call(
            &cluster,
            "POST",
            &format!("{APPS}/deployments"),
            deployment(),
        )
        .await;
        settle().await;
        let sets = count(&cluster, &format!("{APPS}/replicasets")).await;
        assert_eq!(sets, usize::from(part != Component::Deployment), "{part:?}");
        let made = count(&cluster, pods).await;
        let makes = ![Component::Deployment, Component::ReplicaSet].contains(&part);
        assert_eq!(made, usize::from(makes), "{part:?}");
        let events = count(
            &cluster,
            "/api/v1/namespaces/default/events?fieldSelector=reason=RegisteredNode",
        )
        .await;
        let (_, node) = call(&cluster, "GET", "/api/v1/nodes/n", Value::Null).await;
        let keeps = part != Component::NodeLifecycle;
        assert_eq!(events, usize::from(keeps), "{part:?}");
        assert_eq!(node["spec"]["taints"].is_array(), keeps, "{part:?}");
        // Free at last: the pod is assigned, unless that is somebody else's work.
        let free = json!({"spec": {"unschedulable": null, "taints": null}});
        call(&cluster, "PATCH", "/api/v1/nodes/n", free).await;
        settle().await;
        let assigned = count(&cluster, &format!("{pods}?fieldSelector=spec.nodeName=n")).await;
        let assigns = makes && part != Component::Scheduler;
        assert_eq!(assigned, usize::from(assigns), "{part:?}");
        call(&cluster, "DELETE", "/api/v1/nodes/n", Value::Null).await;
        call(
            &cluster,
            "DELETE",
            &format!("{APPS}/deployments/web"),
            Value::Null,
        )
        .await;
        settle().await;
        let sets = count(&cluster, &format!("{APPS}/replicasets")).await;
        assert_eq!(
            sets,
            usize::from(part == Component::GarbageCollector),
            "{part:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn certificates_are_selected_by_their_signer() {
    let cluster = cluster();
    for (path, fields) in [
        ("clustertrustbundles", "spec.signerName=x"),
        (
            "podcertificaterequests",
            "spec.signerName=x,spec.podName=p,spec.nodeName!=n",
        ),
    ] {
        let path = format!("/apis/certificates.k8s.io/v1/{path}?fieldSelector={fields}");
        let (code, answer) = call(&cluster, "GET", &path, Value::Null).await;
        assert_eq!(code, 200, "{answer}");
    }
    let path = "/apis/resource.k8s.io/v1/resourceslices?fieldSelector=spec.pool.name=x";
    assert_eq!(call(&cluster, "GET", path, Value::Null).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_job_knows_its_pods_by_labels_of_its_own() {
    let cluster = cluster();
    let job = |name: &str, spec: Value| {
        let mut job = json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
            "spec": {"template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}],
            }}},
        });
        for (key, value) in spec.as_object().unwrap() {
            job["spec"][key] = value.clone();
        }
        job
    };
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let (code, made) = call(&cluster, "POST", jobs, job("j", json!({}))).await;
    assert_eq!(code, 201, "{made}");
    let uid = &made["metadata"]["uid"];
    let labels = json!({
        "job-name": "j", "batch.kubernetes.io/job-name": "j",
        "controller-uid": uid, "batch.kubernetes.io/controller-uid": uid,
    });
    assert_eq!(made["spec"]["template"]["metadata"]["labels"], labels);
    assert_eq!(made["metadata"]["labels"], labels);
    let selector = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}});
    assert_eq!(made["spec"]["selector"], selector);

    // Who brings a selector keeps it.
    let mut own = job(
        "own",
        json!({
            "manualSelector": true, "selector": {"matchLabels": {"a": "b"}},
        }),
    );
    own["spec"]["template"]["metadata"] = json!({"labels": {"a": "b"}});
    let (code, made) = call(&cluster, "POST", jobs, own).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(made["spec"]["selector"], json!({"matchLabels": {"a": "b"}}));
    assert_eq!(
        made["spec"]["template"]["metadata"]["labels"],
        json!({"a": "b"})
    );
}
