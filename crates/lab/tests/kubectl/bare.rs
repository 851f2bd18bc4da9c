//! The recording's surroundings: bare nodes, pods that run 0.2 s after they
//! are bound and go at once, no kubelets' events, a gauge for an exporter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use lab::Lab;
use promql::labels::Labels;
use serde_json::{Value, json};

const NODES: [&str; 2] = [
    "aks-nodepool1-34179260-vmss000002",
    "aks-nodepool1-34179260-vmss000003",
];
const TURN: Duration = Duration::from_millis(100);

/// What the gauge shows: nothing yet.
pub const SILENT: u32 = u32::MAX;

/// What a test orders, and the time that it is there.
#[derive(Default)]
pub struct Orders {
    /// Simulated milliseconds, as of the last turn.
    pub now: AtomicI64,
    /// How many GPU nodes there are.
    pub gpu_nodes: AtomicU32,
    /// The exporter's utilization.
    pub utilization: AtomicU32,
}

struct Bare {
    client: Client,
    lab: Lab,
    orders: Arc<Orders>,
    /// By uid: turns until a bound pod runs.
    bound: BTreeMap<String, u32>,
    gpu_nodes: u32,
    addresses: u32,
}

/// Surrounds a lab for as long as its runtime lives.
pub async fn surround(lab: Lab, orders: Arc<Orders>) {
    let mut bare = Bare {
        client: lab.client.clone(),
        lab,
        orders,
        bound: BTreeMap::new(),
        gpu_nodes: 0,
        addresses: 0,
    };
    for node in NODES {
        bare.node(node, false).await;
    }
    loop {
        bare.turn().await;
        let now = bare.lab.clock.now().as_millisecond();
        bare.orders.now.store(now, Ordering::Relaxed);
        tokio::time::sleep(TURN).await;
    }
}

impl Bare {
    async fn turn(&mut self) {
        while self.gpu_nodes < self.orders.gpu_nodes.load(Ordering::Relaxed) {
            let name = format!("aks-gpunp-36854149-vmss{:06}", 5 + self.gpu_nodes);
            self.gpu_nodes += 1;
            self.node(&name, true).await;
        }
        let utilization = self.orders.utilization.load(Ordering::Relaxed);
        if utilization != SILENT {
            let labels = Labels::from_pairs([
                ("__name__", "DCGM_FI_DEV_GPU_UTIL"),
                ("deployment", "my-gpu-workload"),
            ]);
            let now = self.lab.clock.now().as_millisecond();
            self.lab
                .store
                .append(&labels, now, f64::from(utilization))
                .unwrap();
        }
        let pods = self.send("GET", "/api/v1/pods", "", Value::Null).await;
        for pod in pods.unwrap()["items"].as_array().unwrap() {
            self.pod(pod).await;
        }
    }

    async fn pod(&mut self, pod: &Value) {
        let meta = &pod["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (ns, name) = (text(&meta["namespace"]), text(&meta["name"]));
        let path = format!("/api/v1/namespaces/{ns}/pods/{name}");
        if pod["spec"]["nodeName"].is_null() {
            return;
        }
        if !meta["deletionTimestamp"].is_null() {
            let now = json!({"gracePeriodSeconds": 0});
            // It may have gone by itself.
            let _ = self.send("DELETE", &path, "application/json", now).await;
            return;
        }
        if pod["status"]["phase"] != "Pending" {
            return;
        }
        let turns = self.bound.entry(text(&meta["uid"])).or_default();
        *turns += 1;
        if *turns < 3 {
            return;
        }
        self.addresses += 1;
        let ip = format!("10.244.0.{}", self.addresses % 250 + 1);
        let now = now(&self.lab);
        let condition = |kind: &str| {
            json!({"type": kind, "status": "True", "lastProbeTime": null,
                "lastTransitionTime": now})
        };
        let containers = pod["spec"]["containers"].as_array().unwrap();
        let containers: Vec<Value> = containers
            .iter()
            .map(|c| {
                json!({"name": c["name"], "image": c["image"], "imageID": c["image"],
                    "ready": true, "started": true, "restartCount": 0, "lastState": {},
                    "state": {"running": {"startedAt": now}}})
            })
            .collect();
        let kinds = ["Initialized", "Ready", "ContainersReady", "PodScheduled"];
        let status = json!({"status": {
            "phase": "Running", "startTime": now, "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": kinds.map(condition), "containerStatuses": containers}});
        let path = format!("{path}/status");
        // It may have been deleted since the list.
        let _ = self
            .send("PATCH", &path, "application/merge-patch+json", status)
            .await;
    }

    async fn node(&self, name: &str, gpu: bool) {
        let mut labels = json!({
            "agentpool": if gpu { "gpunp" } else { "nodepool1" },
            "beta.kubernetes.io/os": "linux", "kubernetes.io/os": "linux",
            "kubernetes.io/hostname": name});
        let mut size = json!({"cpu": "96", "memory": "512Gi", "pods": "500",
            "ephemeral-storage": "100Gi"});
        let mut spec = json!({});
        if gpu {
            labels["kubernetes.azure.com/accelerator"] = json!("nvidia");
            size["nvidia.com/gpu"] = json!("1");
            spec["taints"] = json!([{"key": "sku", "value": "gpu", "effect": "NoSchedule"},
                {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]);
        }
        let now = now(&self.lab);
        let node = json!({"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": labels,
                "annotations": {"node.alpha.kubernetes.io/ttl": "0"}},
            "spec": spec,
            "status": {
                "capacity": size, "allocatable": size,
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady",
                    "message": "ok", "lastHeartbeatTime": now, "lastTransitionTime": now}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
                "nodeInfo": {"architecture": "amd64", "bootID": "", "machineID": "",
                    "systemUUID": "", "operatingSystem": "linux",
                    "osImage": "Ubuntu 22.04.5 LTS", "kernelVersion": "5.15.0-1089-azure",
                    "kubeletVersion": "v1.31.7", "kubeProxyVersion": "v1.31.7",
                    "containerRuntimeVersion": "containerd://1.7.27-1"}}});
        let made = self.send("POST", "/api/v1/nodes", "application/json", node);
        made.await.unwrap();
        if gpu {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let taints = json!([{"key": "sku", "value": "gpu", "effect": "NoSchedule"}]);
            let spec = json!({"spec": {"taints": taints}});
            let merge = "application/merge-patch+json";
            let path = format!("/api/v1/nodes/{name}");
            self.send("PATCH", &path, merge, spec).await.unwrap();
        }
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: Value,
    ) -> Result<Value, kube::Error> {
        let mut request = http::Request::builder().method(method).uri(path);
        let mut bytes = Vec::new();
        if !body.is_null() {
            request = request.header(http::header::CONTENT_TYPE, kind);
            bytes = body.to_string().into_bytes();
        }
        self.client.request(request.body(bytes).unwrap()).await
    }
}

fn now(lab: &Lab) -> String {
    let now = Timestamp::from_second(lab.clock.now().as_second());
    now.unwrap().to_string()
}
