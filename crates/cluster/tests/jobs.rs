//! What users see of Jobs: pods until enough have succeeded or too many failed,
//! with the status, conditions and events that Kubernetes 1.37 writes.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::time::Duration;

use cluster::{Cluster, DeleteOptions, Options, controllers};
use serde_json::{Value, json};

fn start() -> Cluster {
    let clock = clock::Clock::simulated("2026-01-01T00:00:00Z".parse().unwrap());
    let cluster = Cluster::new(Options { seed: 7, clock });
    tokio::spawn(controllers::run(
        cluster.clone(),
        controllers::Options::default(),
    ));
    cluster
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_millis(seconds * 1000 + 100)).await;
}

fn create(cluster: &Cluster, spec: Value) {
    let mut spec = spec;
    spec["template"]["spec"] = json!({"restartPolicy": "Never",
        "containers": [{"name": "c", "image": "trainer:1"}]});
    let job = json!({"metadata": {"name": "j", "namespace": "default"}, "spec": spec});
    cluster.create("jobs.batch", job).unwrap();
}

fn job(cluster: &Cluster) -> Arc<Value> {
    cluster.get("jobs.batch", "default", "j").unwrap()
}

/// Pods that have not ended.
fn running(cluster: &Cluster) -> Vec<String> {
    let pods = cluster.list("pods", Some("default"));
    let live = pods.iter().filter(|p| {
        !["Succeeded", "Failed"].contains(&p["status"]["phase"].as_str().unwrap())
            && p["metadata"].get("deletionTimestamp").is_none()
    });
    live.map(|p| p["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

fn end(cluster: &Cluster, pod: &str, phase: &str) {
    let now = cluster.now().to_string();
    cluster
        .modify_status("pods", "default", pod, |p| {
            p["status"] = json!({"phase": phase, "containerStatuses": [
                {"name": "c", "state": {"terminated": {"exitCode": 1, "finishedAt": now}}}]});
        })
        .unwrap();
}

fn conditions(cluster: &Cluster) -> Vec<String> {
    let job = job(cluster);
    let all = job["status"]["conditions"].as_array().cloned();
    let text =
        |c: &Value| format!("{} {} {}", c["type"], c["status"], c["reason"]).replace('"', "");
    all.unwrap_or_default().iter().map(text).collect()
}

fn reasons(cluster: &Cluster) -> Vec<String> {
    let events = cluster.list("events", Some("default"));
    let mut all: Vec<String> = events
        .iter()
        .map(|e| e["reason"].as_str().unwrap().to_owned())
        .collect();
    all.sort();
    all
}

#[tokio::test(start_paused = true)]
async fn a_job_is_complete_when_enough_pods_have_succeeded() {
    let cluster = start();
    create(&cluster, json!({"completions": 3, "parallelism": 2}));
    pass(0).await;
    let made = job(&cluster);
    let uid = &made["metadata"]["uid"];
    let selector = &made["spec"]["selector"]["matchLabels"];
    assert_eq!(selector["batch.kubernetes.io/controller-uid"], *uid);
    assert_eq!(made["metadata"]["labels"]["job-name"], "j");
    let status = json!({"active": 2, "ready": 0, "terminating": 0, "uncountedTerminatedPods": {},
        "startTime": "2026-01-01T00:00:00Z"});
    assert_eq!(made["status"], status);
    let pods = running(&cluster);
    assert_eq!(pods.len(), 2);
    let pod = cluster.get("pods", "default", &pods[0]).unwrap();
    let tracked = json!(["batch.kubernetes.io/job-tracking"]);
    assert_eq!(pod["metadata"]["finalizers"], tracked);
    assert_eq!(pod["metadata"]["labels"]["job-name"], "j");

    end(&cluster, &pods[0], "Succeeded");
    pass(0).await;
    let first = cluster.get("pods", "default", &pods[0]).unwrap();
    assert!(first["metadata"].get("finalizers").is_none());
    assert_eq!(running(&cluster).len(), 2, "one more takes its place");
    for pod in running(&cluster) {
        end(&cluster, &pod, "Succeeded");
    }
    pass(5).await;
    assert!(running(&cluster).is_empty());
    let done = job(&cluster);
    assert_eq!(done["status"]["succeeded"], 3);
    assert_eq!(done["status"]["completionTime"], "2026-01-01T00:00:00Z");
    assert!(done["status"].get("active").is_none());
    let expected = [
        "SuccessCriteriaMet True CompletionsReached",
        "Complete True CompletionsReached",
    ];
    assert_eq!(conditions(&cluster), expected);
    let created = [
        "Completed",
        "SuccessfulCreate",
        "SuccessfulCreate",
        "SuccessfulCreate",
    ];
    assert_eq!(reasons(&cluster), created);
}

#[tokio::test(start_paused = true)]
async fn failed_pods_are_replaced_after_a_while_until_the_limit() {
    let cluster = start();
    create(&cluster, json!({"backoffLimit": 1}));
    pass(0).await;
    end(&cluster, &running(&cluster)[0], "Failed");
    pass(5).await;
    assert_eq!(job(&cluster)["status"]["failed"], 1);
    assert!(running(&cluster).is_empty(), "ten seconds are not over");
    pass(6).await;
    end(&cluster, &running(&cluster)[0], "Failed");
    pass(0).await;
    let expected = [
        "FailureTarget True BackoffLimitExceeded",
        "Failed True BackoffLimitExceeded",
    ];
    assert_eq!(conditions(&cluster), expected);
    pass(600).await;
    assert!(running(&cluster).is_empty());
    assert!(reasons(&cluster).contains(&"BackoffLimitExceeded".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn deadlines_suspension_and_time_to_live_are_kept() {
    let cluster = start();
    let spec = json!({"activeDeadlineSeconds": 30, "suspend": true, "ttlSecondsAfterFinished": 60});
    create(&cluster, spec);
    pass(40).await;
    assert!(running(&cluster).is_empty());
    assert_eq!(conditions(&cluster), ["Suspended True JobSuspended"]);
    cluster
        .modify("jobs.batch", "default", "j", |j| {
            j["spec"]["suspend"] = json!(false);
        })
        .unwrap();
    pass(0).await;
    let pod = running(&cluster).remove(0);
    assert_eq!(conditions(&cluster), ["Suspended False JobResumed"]);
    // Once it has a node, a pod does not go by itself.
    cluster.bind("default", &pod, "n").unwrap();
    pass(31).await;
    // The pod is told to go, and the Job is over once it is gone.
    let ends = [
        "Suspended False JobResumed",
        "FailureTarget True DeadlineExceeded",
    ];
    assert_eq!(conditions(&cluster), ends);
    let now = DeleteOptions {
        grace_period_seconds: Some(0),
        ..Default::default()
    };
    cluster.delete("pods", "default", &pod, now).unwrap();
    pass(1).await;
    assert_eq!(conditions(&cluster)[2], "Failed True DeadlineExceeded");
    pass(61).await;
    assert!(cluster.get("jobs.batch", "default", "j").is_err());
}

#[tokio::test(start_paused = true)]
async fn a_deleted_job_takes_its_pods_along() {
    let cluster = start();
    create(&cluster, json!({"parallelism": 2, "completions": 2}));
    pass(0).await;
    end(&cluster, &running(&cluster)[0], "Succeeded");
    cluster
        .delete("jobs.batch", "default", "j", DeleteOptions::default())
        .unwrap();
    pass(0).await;
    for pod in cluster.list("pods", Some("default")) {
        let meta = &pod["metadata"];
        assert!(meta.get("deletionTimestamp").is_some());
        assert!(meta.get("finalizers").is_none(), "nothing holds it back");
    }
}
