//! Pods on simulated nodes, with the embedded control plane and no sockets.

use std::time::Duration;

use clock::Clock;
use cluster::{Cluster, DeleteOptions};
use serde_json::{Value, json};

use lab::kubelet::{KubeletView, Options, run};

fn start() -> (Cluster, KubeletView) {
    let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().unwrap());
    let cluster = Cluster::new(cluster::Options { seed: 1, clock });
    let view = KubeletView::new(clock);
    let client = kube::Client::new(cluster.client_service(), "default");
    tokio::spawn(run(client, view.clone(), Options::default()));
    (cluster, view)
}

fn node(cluster: &Cluster, name: &str, gpus: u32) {
    let offer = json!({"cpu": "8", "memory": "64Gi", "pods": "110",
                       "nvidia.com/gpu": gpus.to_string()});
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
        "status": {"capacity": offer, "allocatable": offer},
    });
    cluster.create("nodes", node.clone()).unwrap();
    cluster
        .modify_status("nodes", "", name, |n| n["status"] = node["status"].clone())
        .unwrap();
}

fn pod(cluster: &Cluster, name: &str, node: &str, gpus: u32, annotations: Value) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "annotations": annotations},
        "spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 30,
            "containers": [{"name": "c", "image": "tf:gpu", "imagePullPolicy": "IfNotPresent",
                            "resources": {"limits": {"nvidia.com/gpu": gpus.to_string()}}}],
        },
    });
    cluster.create("pods", pod).unwrap();
    cluster.bind("default", name, node).unwrap();
}

fn events(cluster: &Cluster, pod: &str) -> Vec<(String, String)> {
    let mut all: Vec<(String, String, String)> = cluster
        .list("events", Some("default"))
        .iter()
        .filter(|e| e["involvedObject"]["name"] == pod)
        .map(|e| {
            let text = |v: &Value| v.as_str().unwrap().to_owned();
            (
                text(&e["metadata"]["name"]),
                text(&e["reason"]),
                text(&e["message"]),
            )
        })
        .collect();
    all.sort();
    all.into_iter()
        .map(|(_, reason, message)| (reason, message))
        .collect()
}

async fn seconds(n: u64) {
    tokio::time::sleep(Duration::from_secs(n)).await;
}

#[tokio::test(start_paused = true)]
async fn a_bound_pod_starts_runs_and_ends() {
    let (cluster, view) = start();
    node(&cluster, "n1", 2);
    pod(&cluster, "a", "n1", 1, json!({}));
    seconds(1).await;
    let creating = cluster.get("pods", "default", "a").unwrap();
    let waiting = &creating["status"]["containerStatuses"][0]["state"]["waiting"];
    assert_eq!(waiting["reason"], "ContainerCreating");
    assert_eq!(view.gpus()[0].ready_since, None);
    seconds(5).await;
    let running = cluster.get("pods", "default", "a").unwrap();
    let status = &running["status"];
    assert_eq!(
        (&status["phase"], &status["podIP"]),
        (&json!("Running"), &json!("10.244.0.2"))
    );
    assert_eq!(status["startTime"], "2026-01-01T00:00:00Z");
    let ready = status["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["type"] == "Ready");
    assert_eq!(ready.unwrap()["lastTransitionTime"], "2026-01-01T00:00:05Z");
    assert_eq!(
        view.gpus()
            .iter()
            .map(|g| (g.gpu, g.pod.as_str(), g.owner_kind.as_str()))
            .collect::<Vec<_>>(),
        [(0, "a", "Pod")]
    );
    let reasons: Vec<String> = events(&cluster, "a").into_iter().map(|(r, _)| r).collect();
    assert_eq!(reasons, ["Pulling", "Pulled", "Created", "Started"]);
    assert_eq!(
        view.logs("default", "a", "c")[1],
        "2026-01-01T00:00:05Z using GPU 0 of n1"
    );

    // The image is there now.
    pod(&cluster, "b", "n1", 1, json!({}));
    seconds(6).await;
    assert_eq!(
        events(&cluster, "b")[0],
        (
            "Pulled".to_owned(),
            "Container image \"tf:gpu\" already present on machine".to_owned()
        )
    );
    cluster
        .delete("pods", "default", "a", DeleteOptions::default())
        .unwrap();
    assert!(
        cluster.get("pods", "default", "a").is_ok(),
        "deletion is graceful"
    );
    seconds(2).await;
    assert!(cluster.get("pods", "default", "a").is_err());
    assert_eq!(
        events(&cluster, "a").last().unwrap().1,
        "Stopping container c"
    );
    let left: Vec<u32> = view.gpus().iter().map(|g| g.gpu).collect();
    assert_eq!(left, [1]);
}

#[tokio::test(start_paused = true)]
async fn a_pod_can_end_by_itself_and_a_lost_node_takes_its_pods_along() {
    let (cluster, view) = start();
    node(&cluster, "n1", 1);
    pod(
        &cluster,
        "job",
        "n1",
        1,
        json!({"lab.rheostat.dev/run-for": "30s"}),
    );
    seconds(20).await;
    assert_eq!(view.gpus().len(), 1);
    seconds(16).await;
    let job = cluster.get("pods", "default", "job").unwrap();
    assert_eq!(job["status"]["phase"], "Succeeded");
    let ended = &job["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(
        (&ended["reason"], &ended["exitCode"]),
        (&json!("Completed"), &json!(0))
    );
    assert!(view.gpus().is_empty());
    pod(&cluster, "next", "n1", 1, json!({}));
    seconds(6).await;
    assert_eq!(view.gpus().len(), 1);
    pod(&cluster, "toomany", "n1", 1, json!({}));
    seconds(1).await;
    let refused = cluster.get("pods", "default", "toomany").unwrap();
    assert_eq!(refused["status"]["reason"], "UnexpectedAdmissionError");
    cluster
        .delete("nodes", "", "n1", DeleteOptions::default())
        .unwrap();
    seconds(1).await;
    assert!(cluster.get("pods", "default", "next").is_err());
    assert!(view.gpus().is_empty());
}

#[tokio::test(start_paused = true)]
async fn nodes_renew_their_leases_and_tell_their_state() {
    let (cluster, _view) = start();
    node(&cluster, "n1", 1);
    seconds(1).await;
    let lease = || {
        cluster
            .get("leases.coordination.k8s.io", "kube-node-lease", "n1")
            .unwrap()
    };
    assert_eq!(lease()["spec"]["holderIdentity"], "n1");
    let first = lease()["spec"]["renewTime"].clone();
    seconds(61).await;
    assert_ne!(lease()["spec"]["renewTime"], first);
    let node = cluster.get("nodes", "", "n1").unwrap();
    let kinds: Vec<&str> = node["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["MemoryPressure", "DiskPressure", "PIDPressure"]);
}

#[tokio::test(start_paused = true)]
async fn three_thousand_pods_start() {
    let (cluster, view) = start();
    for n in 0..300 {
        node(&cluster, &format!("n{n:03}"), 10);
    }
    for n in 0..3000 {
        pod(
            &cluster,
            &format!("p{n}"),
            &format!("n{:03}", n % 300),
            1,
            json!({}),
        );
    }
    seconds(10).await;
    let pods = cluster.list("pods", None);
    let running = pods
        .iter()
        .filter(|p| p["status"]["phase"] == "Running")
        .count();
    assert_eq!((running, view.gpus().len()), (3000, 3000));
}
