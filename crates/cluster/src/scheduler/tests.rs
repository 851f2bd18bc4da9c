//! What a user sees of the scheduler, on a paused clock.

use std::time::Duration;

use clock::Clock;
use serde_json::{Value, json};

use crate::{Cluster, Options, Without};

fn start() -> Cluster {
    let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().unwrap());
    let cluster = Cluster::new(Options { seed: 7, clock });
    tokio::spawn(super::run(cluster.clone(), Without::new()));
    cluster
}

/// Lets every task run until all of them wait.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn node(cluster: &Cluster, name: &str, gpus: u32) {
    let mut allocatable = json!({"cpu": "8", "memory": "32Gi", "pods": "110"});
    let mut spec = json!({});
    if gpus > 0 {
        allocatable["nvidia.com/gpu"] = json!(gpus.to_string());
        spec["taints"] = json!([{"key": "sku", "value": "gpu", "effect": "NoSchedule"}]);
    }
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}, "spec": spec,
    });
    cluster.create("nodes", node).unwrap();
    cluster
        .modify_status("nodes", "", name, |node| {
            node["status"] = json!({"allocatable": allocatable, "capacity": allocatable});
        })
        .unwrap();
}

fn pod(cluster: &Cluster, name: &str, resources: Value, priority: Option<&str>) {
    let mut spec = json!({
        "containers": [{"name": "c", "image": "x", "resources": {"limits": resources}}],
        "tolerations": [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}],
    });
    if let Some(class) = priority {
        spec["priorityClassName"] = json!(class);
    }
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    });
    cluster.create("pods", pod).unwrap();
}

fn gpu_pod(cluster: &Cluster, name: &str) {
    pod(cluster, name, json!({"nvidia.com/gpu": "1"}), None);
}

fn place(cluster: &Cluster, name: &str) -> String {
    let pod = cluster.get("pods", "default", name).unwrap();
    pod["spec"]["nodeName"].as_str().unwrap_or("").to_owned()
}

fn condition(cluster: &Cluster, name: &str) -> (String, String) {
    let pod = cluster.get("pods", "default", name).unwrap();
    let list = pod["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let found = list
        .iter()
        .find(|c| c["type"] == "PodScheduled")
        .cloned()
        .unwrap_or_default();
    let text = |f: &str| found[f].as_str().unwrap_or("").to_owned();
    (text("status"), text("message"))
}

fn events(cluster: &Cluster, name: &str) -> Vec<String> {
    let mut all: Vec<_> = cluster
        .list("events", None)
        .into_iter()
        .filter(|e| e["involvedObject"]["name"] == name)
        .collect();
    all.sort_by_key(|e| e["metadata"]["resourceVersion"].as_str().map(str::len));
    all.iter()
        .map(|e| {
            let t = |f: &str| e[f].as_str().unwrap_or("").to_owned();
            format!(
                "{} {} {}",
                t("reportingComponent"),
                t("reason"),
                t("message")
            )
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn the_articles_pod_waits_with_its_sentence_and_gets_the_new_node() {
    let cluster = start();
    node(&cluster, "cpu-0", 0);
    node(&cluster, "cpu-1", 0);
    gpu_pod(&cluster, "w");
    settle().await;
    let sentence = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu. preemption: 0/2 nodes \
                    are available: 2 Preemption is not helpful for scheduling.";
    assert_eq!(
        condition(&cluster, "w"),
        ("False".to_owned(), sentence.to_owned())
    );
    assert_eq!(
        events(&cluster, "w"),
        [format!("default-scheduler FailedScheduling {sentence}")]
    );
    assert_eq!(place(&cluster, "w"), "");

    node(&cluster, "gpu-0", 1);
    settle().await;
    assert_eq!(place(&cluster, "w"), "gpu-0");
    assert_eq!(condition(&cluster, "w").0, "True");
    let told = "default-scheduler Scheduled Successfully assigned default/w to gpu-0".to_owned();
    assert!(events(&cluster, "w").contains(&told));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_pod_frees_its_gpu_for_the_next_one() {
    let cluster = start();
    node(&cluster, "gpu-0", 1);
    gpu_pod(&cluster, "a");
    settle().await;
    gpu_pod(&cluster, "b");
    settle().await;
    assert_eq!(
        (place(&cluster, "a").as_str(), place(&cluster, "b").as_str()),
        ("gpu-0", "")
    );
    let now = crate::DeleteOptions {
        grace_period_seconds: Some(0),
        ..Default::default()
    };
    cluster.delete("pods", "default", "a", now).unwrap();
    settle().await;
    assert_eq!(place(&cluster, "b"), "gpu-0");
}

#[tokio::test(start_paused = true)]
async fn an_important_pod_takes_the_place_of_another() {
    let cluster = start();
    let class = json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
        "metadata": {"name": "high"}, "value": 1000,
    });
    cluster
        .create("priorityclasses.scheduling.k8s.io", class)
        .unwrap();
    node(&cluster, "gpu-0", 1);
    gpu_pod(&cluster, "batch");
    settle().await;
    pod(
        &cluster,
        "serving",
        json!({"nvidia.com/gpu": "1"}),
        Some("high"),
    );
    settle().await;
    let told = events(&cluster, "serving").join("\n");
    assert!(
        told.contains("found a potential placement for pod on node gpu-0, preempting 1 victims"),
        "{told}"
    );
    assert!(
        events(&cluster, "batch")
            .join("\n")
            .contains("Preempted Preempted by pod ")
    );
    // What a kubelet does once the victim has stopped.
    let now = crate::DeleteOptions {
        grace_period_seconds: Some(0),
        ..Default::default()
    };
    let _ = cluster.delete("pods", "default", "batch", now);
    settle().await;
    assert_eq!(place(&cluster, "serving"), "gpu-0");
}

#[tokio::test(start_paused = true)]
async fn a_cordoned_node_carries_its_taint_and_takes_no_pod() {
    let cluster = start();
    node(&cluster, "gpu-0", 1);
    let cordon = |on: bool| {
        cluster
            .modify("nodes", "", "gpu-0", |n| {
                n["spec"]["unschedulable"] = json!(on)
            })
            .unwrap();
    };
    let taints = || cluster.get("nodes", "", "gpu-0").unwrap()["spec"]["taints"].to_string();
    cordon(true);
    gpu_pod(&cluster, "a");
    settle().await;
    assert!(taints().contains("node.kubernetes.io/unschedulable"));
    assert!(
        condition(&cluster, "a")
            .1
            .contains("1 node(s) were unschedulable")
    );
    cordon(false);
    settle().await;
    assert!(!taints().contains("node.kubernetes.io/unschedulable"));
    assert_eq!(place(&cluster, "a"), "gpu-0");
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_vanished_node_are_given_up() {
    let cluster = start();
    node(&cluster, "gpu-0", 1);
    gpu_pod(&cluster, "a");
    settle().await;
    cluster
        .delete("nodes", "", "gpu-0", crate::DeleteOptions::default())
        .unwrap();
    tokio::time::sleep(Duration::from_secs(39)).await;
    assert!(cluster.get("pods", "default", "a").is_ok());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(cluster.get("pods", "default", "a").is_err());
}

#[tokio::test(start_paused = true)]
async fn thousands_of_pods_are_spread_over_hundreds_of_nodes() {
    let cluster = start();
    for i in 0..100 {
        node(&cluster, &format!("n{i:03}"), 8);
    }
    for i in 0..1000 {
        gpu_pod(&cluster, &format!("p{i:04}"));
    }
    let began = std::time::Instant::now();
    settle().await;
    println!("1000 pods on 100 nodes: {:?}", began.elapsed());
    let pods = cluster.list("pods", None);
    let placed = pods
        .iter()
        .filter(|p| p["spec"]["nodeName"].is_string())
        .count();
    assert_eq!(placed, 800);
    let began = std::time::Instant::now();
    for _ in 0..50 {
        let now = crate::DeleteOptions {
            grace_period_seconds: Some(0),
            ..Default::default()
        };
        let pods = cluster.list("pods", None);
        let gone = pods
            .iter()
            .find(|p| p["spec"]["nodeName"].is_string())
            .unwrap();
        let name = gone["metadata"]["name"].as_str().unwrap();
        cluster.delete("pods", "default", name, now).unwrap();
        settle().await;
    }
    println!("50 replaced with 150 to 200 waiting: {:?}", began.elapsed());
    let pods = cluster.list("pods", None);
    let placed = pods
        .iter()
        .filter(|p| p["spec"]["nodeName"].is_string())
        .count();
    assert_eq!(placed, 800);
}
