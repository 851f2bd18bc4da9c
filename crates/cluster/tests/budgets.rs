//! What users see of disruption budgets: a status that follows the pods, and evictions that it
//! lets through or not.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use cluster::{Cluster, controllers};
use serde_json::{Value, json};
use support::call;

const BUDGETS: &str = "poddisruptionbudgets.policy";

/// A cluster with its controllers, a deployment of three pods and a budget.
async fn start(spec: Value) -> Cluster {
    let cluster = support::cluster();
    tokio::spawn(controllers::run(
        cluster.clone(),
        controllers::Options::default(),
    ));
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": 3, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "x"}]},
            },
        },
    });
    cluster.create("deployments.apps", deployment).unwrap();
    budget(&cluster, spec);
    settle().await;
    cluster
}

fn budget(cluster: &Cluster, mut spec: Value) {
    if spec["selector"].is_null() {
        spec["selector"] = json!({"matchLabels": {"app": "web"}});
    }
    let object = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "web", "namespace": "default"}, "spec": spec,
    });
    cluster.create(BUDGETS, object).unwrap();
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

fn pods(cluster: &Cluster) -> Vec<String> {
    let all = cluster.list("pods", Some("default"));
    all.iter()
        .filter(|p| p["metadata"]["deletionTimestamp"].is_null())
        .map(|p| p["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Makes a pod run and be ready, or not.
fn serve(cluster: &Cluster, pod: &str, ready: &str) {
    let now = cluster.now().to_string();
    let serves = |p: &mut Value| {
        p["status"] = json!({"phase": "Running", "conditions": [
            {"type": "Ready", "status": ready, "lastTransitionTime": now}]});
    };
    cluster
        .modify_status("pods", "default", pod, serves)
        .unwrap();
}

fn serve_all(cluster: &Cluster) {
    for pod in pods(cluster) {
        serve(cluster, &pod, "True");
    }
}

fn status(cluster: &Cluster) -> Value {
    let budget: Arc<Value> = cluster.get(BUDGETS, "default", "web").unwrap();
    budget["status"].clone()
}

/// Expected, desired, healthy and allowed pods.
fn counts(cluster: &Cluster) -> [i64; 4] {
    let status = status(cluster);
    let fields = [
        "expectedPods",
        "desiredHealthy",
        "currentHealthy",
        "disruptionsAllowed",
    ];
    fields.map(|field| status[field].as_i64().unwrap())
}

fn condition(cluster: &Cluster) -> (String, String) {
    let status = status(cluster);
    let all = status["conditions"].as_array().unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0]["type"], "DisruptionAllowed");
    let text = |field: &str| all[0][field].as_str().unwrap().to_owned();
    (text("status"), text("reason"))
}

async fn evict(cluster: &Cluster, pod: &str, query: &str) -> (u16, Value) {
    let body = json!({
        "apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": pod, "namespace": "default"},
        "deleteOptions": {"gracePeriodSeconds": 0},
    });
    let path = format!("/api/v1/namespaces/default/pods/{pod}/eviction{query}");
    call(cluster, "POST", &path, body).await
}

fn events(cluster: &Cluster, reason: &str) -> Vec<String> {
    let all = cluster.list("events", Some("default"));
    let found = all.iter().filter(|e| e["reason"] == reason);
    found
        .map(|e| e["message"].as_str().unwrap().to_owned())
        .collect()
}

fn told(reason: &str, status: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[tokio::test(start_paused = true)]
async fn the_status_follows_the_pods() {
    let cluster = start(json!({"minAvailable": "50%"})).await;
    assert_eq!(counts(&cluster), [3, 2, 0, 0]);
    assert_eq!(condition(&cluster), told("InsufficientPods", "False"));
    assert_eq!(status(&cluster)["observedGeneration"], 1);
    serve_all(&cluster);
    settle().await;
    assert_eq!(counts(&cluster), [3, 2, 3, 1]);
    assert_eq!(condition(&cluster), told("SufficientPods", "True"));
    let since = status(&cluster)["conditions"][0]["lastTransitionTime"].clone();

    // Another spec is another generation, and as many pods may go as before.
    cluster
        .modify(BUDGETS, "default", "web", |b| {
            b["spec"].as_object_mut().unwrap().remove("minAvailable");
            b["spec"]["maxUnavailable"] = json!(2);
        })
        .unwrap();
    settle().await;
    assert_eq!(counts(&cluster), [3, 1, 3, 2]);
    let now = status(&cluster);
    assert_eq!(now["observedGeneration"], 2);
    assert_eq!(now["conditions"][0]["lastTransitionTime"], since);
    assert_eq!(now["conditions"][0]["observedGeneration"], 2);
    // A pod that fails its probe takes from what is left.
    serve(&cluster, &pods(&cluster)[0], "False");
    settle().await;
    assert_eq!(counts(&cluster), [3, 1, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn evictions_take_from_the_budget_until_it_is_used_up() {
    let cluster = start(json!({"minAvailable": 2})).await;
    serve_all(&cluster);
    settle().await;
    let all = pods(&cluster);
    let (code, _) = evict(&cluster, &all[0], "?dryRun=All").await;
    assert_eq!((code, counts(&cluster)[3]), (201, 1), "nothing was taken");
    let (code, _) = evict(&cluster, &all[0], "").await;
    assert_eq!((code, counts(&cluster)[3]), (201, 0));
    assert!(status(&cluster)["disruptedPods"][&all[0]].is_string());
    assert_eq!(condition(&cluster), told("InsufficientPods", "False"));
    // At once, before the controller has seen the pod go, and afterwards.
    let why = "Cannot evict pod as it would violate the pod's disruption budget.";
    let (code, refusal) = evict(&cluster, &all[1], "").await;
    assert_eq!((code, &refusal["message"]), (429, &json!(why)));
    settle().await;
    let (code, refusal) = evict(&cluster, &all[1], "").await;
    assert_eq!((code, &refusal["message"]), (429, &json!(why)));
    assert_eq!(
        refusal["details"]["causes"],
        json!([{
            "reason": "DisruptionBudget",
            "message": "The disruption budget web needs 2 healthy pods and has 2 currently",
        }])
    );
    // The replica set has made another one.
    assert!(status(&cluster)["disruptedPods"].is_null());
    serve_all(&cluster);
    settle().await;
    assert_eq!(counts(&cluster), [3, 2, 3, 1]);
    assert_eq!(evict(&cluster, &all[1], "").await.0, 201);
}

#[tokio::test(start_paused = true)]
async fn pods_that_serve_nobody_go_although_the_budget_is_used_up() {
    let cluster = start(json!({"minAvailable": 2})).await;
    let all = pods(&cluster);
    assert_eq!(evict(&cluster, &all[0], "").await.0, 201, "pending");
    settle().await;
    let all = pods(&cluster);
    serve(&cluster, &all[0], "True");
    serve(&cluster, &all[1], "True");
    serve(&cluster, &all[2], "False");
    settle().await;
    assert_eq!(counts(&cluster), [3, 2, 2, 0]);
    assert_eq!(evict(&cluster, &all[2], "").await.0, 201, "not ready");
    assert!(status(&cluster)["disruptedPods"].is_null());
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_nobody_has_counted_yet_lets_nothing_go() {
    let cluster = support::cluster();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "x"}]},
    });
    cluster.create("pods", pod).unwrap();
    serve(&cluster, "p", "True");
    budget(&cluster, json!({"minAvailable": 0}));
    let (code, refusal) = evict(&cluster, "p", "").await;
    assert_eq!(
        (code, &refusal["details"]["retryAfterSeconds"]),
        (429, &json!(10))
    );
    assert_eq!(
        refusal["details"]["causes"][0]["message"],
        "The disruption budget web is still being processed by the server."
    );
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_controller_without_replicas_close_a_budget_that_counts_them() {
    let cluster = start(json!({"maxUnavailable": 1})).await;
    serve_all(&cluster);
    settle().await;
    assert_eq!(counts(&cluster), [3, 2, 3, 1]);
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "j", "namespace": "default"},
        "spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}],
        }}},
    });
    let job = cluster.create("jobs.batch", job).unwrap();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "a-job", "namespace": "default", "labels": {"app": "web"},
            "ownerReferences": [{
                "apiVersion": "batch/v1", "kind": "Job", "name": "j",
                "uid": job["metadata"]["uid"], "controller": true,
            }],
        },
        "spec": {"containers": [{"name": "c", "image": "x"}]},
    });
    cluster.create("pods", pod).unwrap();
    settle().await;
    assert_eq!(counts(&cluster)[3], 0);
    assert_eq!(condition(&cluster), told("SyncFailed", "False"));
    let why = "found no controllers for pod \"a-job\"";
    assert_eq!(
        events(&cluster, "CalculateExpectedPodCountFailed"),
        [format!(
            "Failed to calculate the number of expected pods: {why}"
        )]
    );
    let (code, refusal) = evict(&cluster, &pods(&cluster)[1], "").await;
    assert_eq!(code, 429);
    assert_eq!(
        refusal["details"]["causes"][0]["message"],
        format!(
            "The disruption budget web does not allow evicting pods currently because it failed \
             sync: {why}"
        )
    );
}

#[tokio::test(start_paused = true)]
async fn two_budgets_on_one_pod_are_more_than_an_eviction_can_take_from() {
    let cluster = start(json!({"minAvailable": 0})).await;
    let second = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "all", "namespace": "default"},
        "spec": {"selector": {}, "minAvailable": 0},
    });
    cluster.create(BUDGETS, second).unwrap();
    serve_all(&cluster);
    settle().await;
    let (code, refusal) = evict(&cluster, &pods(&cluster)[0], "").await;
    assert_eq!(code, 500);
    assert_eq!(
        refusal["message"],
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not \
         support."
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_was_to_be_gone_and_is_not_counts_again_after_two_minutes() {
    let cluster = start(json!({"minAvailable": 2})).await;
    serve_all(&cluster);
    settle().await;
    let pod = pods(&cluster)[0].clone();
    let at = cluster.now().strftime("%FT%TZ").to_string();
    cluster
        .modify_status(BUDGETS, "default", "web", |b| {
            b["status"]["disruptedPods"] = json!({ &*pod: at });
        })
        .unwrap();
    settle().await;
    assert_eq!(counts(&cluster), [3, 2, 2, 0]);
    tokio::time::sleep(Duration::from_secs(121)).await;
    assert_eq!(counts(&cluster), [3, 2, 3, 1]);
    assert_eq!(
        events(&cluster, "NotDeleted"),
        ["Pod was expected by PDB default/default to be deleted but it wasn't"]
    );
}

#[tokio::test(start_paused = true)]
async fn pods_without_a_controller_are_told_about_where_they_cannot_be_counted() {
    let cluster = support::cluster();
    tokio::spawn(controllers::run(
        cluster.clone(),
        controllers::Options::default(),
    ));
    budget(&cluster, json!({"maxUnavailable": 1}));
    settle().await;
    assert_eq!(events(&cluster, "NoPods"), ["No matching pods found"]);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "x"}]},
    });
    cluster.create("pods", pod).unwrap();
    settle().await;
    assert_eq!(counts(&cluster), [0, 0, 0, 0]);
    let told = events(&cluster, "UnmanagedPods");
    let begin = "Pods selected by this PodDisruptionBudget (selector: \
                 &LabelSelector{MatchLabels:map[string]string{app: web,},";
    assert!(told[0].starts_with(begin), "{told:?}");
}
