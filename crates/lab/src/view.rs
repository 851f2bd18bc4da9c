//! What the lab shows at one moment: pools and nodes, workloads and their
//! pods, the metric and the replica counts.

use std::collections::BTreeMap;

use cluster::Cluster;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::cloud::PoolSummary;
use crate::narrate::{gpus, ready};

/// The lab at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Snapshot {
    /// Simulated time of day.
    pub time: Timestamp,
    /// Pools in order of their names.
    pub pools: Vec<PoolView>,
    /// Deployments that a HorizontalPodAutoscaler steers.
    pub workloads: Vec<WorkloadView>,
}

/// One node pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PoolView {
    /// Its name.
    pub name: String,
    /// Nodes that are asked for.
    pub target: u32,
    /// Most nodes it may have.
    pub max: u32,
    /// Nodes that are there.
    pub nodes: usize,
    /// Of them Ready.
    pub ready: usize,
    /// GPUs that the nodes offer.
    pub gpus: i64,
    /// Of them asked for by pods on the nodes.
    pub gpus_used: i64,
}

/// One autoscaled workload.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkloadView {
    /// `namespace/name`.
    pub name: String,
    /// Replicas asked for.
    pub replicas: i64,
    /// Pods by state: Pending, Running, Terminating ….
    pub pods: BTreeMap<String, usize>,
    /// What the autoscaler wants.
    pub desired: i64,
    /// Its bounds.
    pub min: i64,
    /// Its bounds.
    pub max: i64,
    /// The metric and its target as `kubectl get hpa` shows them.
    pub metric: String,
    /// Mean GPU utilization of the running replicas, percent.
    pub utilization: Option<f64>,
    /// Why the autoscaler does not do what it computed, in its own words.
    pub limited: Option<String>,
}

impl Snapshot {
    /// Looks at the cluster and at the cloud's `pools`; `utilization` gives a
    /// workload's mean GPU utilization by namespace and name.
    pub fn take(
        cluster: &Cluster,
        known: &[PoolSummary],
        utilization: impl Fn(&str, &str) -> Option<f64>,
    ) -> Self {
        let pods = cluster.list("pods", None);
        let mut pools: BTreeMap<String, PoolView> = BTreeMap::new();
        for summary in known {
            let view = PoolView {
                name: summary.pool.name.clone(),
                target: summary.target,
                max: summary.pool.max,
                ..PoolView::default()
            };
            pools.insert(view.name.clone(), view);
        }
        let mut pool_of: BTreeMap<&str, String> = BTreeMap::new();
        let nodes = cluster.list("nodes", None);
        for node in &nodes {
            let labels = &node["metadata"]["labels"];
            let name = labels["agentpool"].as_str().unwrap_or("other").to_owned();
            pool_of.insert(cluster::value::name(node), name.clone());
            let pool = pools.entry(name.clone()).or_default();
            pool.name = name;
            pool.nodes += 1;
            pool.ready += usize::from(ready(node));
            pool.gpus += gpus(node);
        }
        for pod in &pods {
            if matches!(
                pod["status"]["phase"].as_str(),
                Some("Succeeded" | "Failed")
            ) {
                continue;
            }
            let on = pod["spec"]["nodeName"]
                .as_str()
                .and_then(|node| pool_of.get(node));
            if let Some(pool) = on.and_then(|name| pools.get_mut(name)) {
                pool.gpus_used += pod_gpus(pod);
            }
        }
        let hpas = cluster.list("horizontalpodautoscalers.autoscaling", None);
        let workloads = hpas
            .iter()
            .filter_map(|hpa| workload(cluster, hpa, &pods, &utilization));
        Self {
            time: cluster.now(),
            workloads: workloads.collect(),
            pools: pools.into_values().collect(),
        }
    }
}

fn workload(
    cluster: &Cluster,
    hpa: &Value,
    pods: &[std::sync::Arc<Value>],
    utilization: &impl Fn(&str, &str) -> Option<f64>,
) -> Option<WorkloadView> {
    let namespace = cluster::value::namespace(hpa);
    let name = hpa["spec"]["scaleTargetRef"]["name"].as_str()?;
    let deployment = cluster.get("deployments.apps", namespace, name).ok()?;
    let selector = deployment["spec"]["selector"]["matchLabels"].as_object()?;
    let mut states: BTreeMap<String, usize> = BTreeMap::new();
    for pod in pods
        .iter()
        .filter(|pod| cluster::value::namespace(pod) == namespace)
    {
        let labels = &pod["metadata"]["labels"];
        if selector.iter().all(|(key, value)| &labels[key] == value) {
            let state = if cluster::value::deleting(pod) {
                "Terminating"
            } else {
                pod["status"]["phase"].as_str().unwrap_or("Unknown")
            };
            *states.entry(state.to_owned()).or_default() += 1;
        }
    }
    let limited = hpa["status"]["conditions"]
        .as_array()
        .and_then(|conditions| {
            let limited = conditions
                .iter()
                .find(|c| c["type"] == "ScalingLimited" && c["status"] == "True")
                .or_else(|| {
                    conditions.iter().find(|c| {
                        c["status"] == "False"
                            && c["type"] != "ScalingLimited"
                            && c["type"] != "ScaledToZero"
                    })
                });
            limited
                .and_then(|c| c["message"].as_str())
                .map(str::to_owned)
        });
    Some(WorkloadView {
        name: format!("{namespace}/{name}"),
        replicas: deployment["spec"]["replicas"].as_i64().unwrap_or(0),
        pods: states,
        desired: hpa["status"]["desiredReplicas"].as_i64().unwrap_or(0),
        min: hpa["spec"]["minReplicas"].as_i64().unwrap_or(1),
        max: hpa["spec"]["maxReplicas"].as_i64().unwrap_or(0),
        metric: metric(hpa),
        utilization: utilization(namespace, name),
        limited,
    })
}

/// The first metric as `current/target`.
fn metric(hpa: &Value) -> String {
    let spec = &hpa["spec"]["metrics"][0]["external"];
    let current = &hpa["status"]["currentMetrics"][0]["external"]["current"];
    let name = spec["metric"]["name"].as_str().unwrap_or("-");
    for (field, mark) in [("averageValue", " (avg)"), ("value", "")] {
        if let Some(target) = spec["target"][field].as_str() {
            let current = current[field].as_str().unwrap_or("<unknown>");
            return format!("{name} {current}/{target}{mark}");
        }
    }
    name.to_owned()
}

/// GPUs that a pod asks for.
pub(crate) fn pod_gpus(pod: &Value) -> i64 {
    cluster::value::list(pod, &["spec", "containers"])
        .iter()
        .map(container_gpus)
        .sum()
}

/// GPUs that a container asks for.
pub(crate) fn container_gpus(container: &Value) -> i64 {
    let limit = &container["resources"]["limits"]["nvidia.com/gpu"];
    limit
        .as_str()
        .and_then(|text| text.parse().ok())
        .or(limit.as_i64())
        .unwrap_or(0)
}
