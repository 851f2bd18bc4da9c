//! The resource metrics API (`metrics.k8s.io`), for `kubectl top` and for HPAs
//! on cpu and memory: what a metrics-server would say of simulated pods.
//!
//! A running container uses a tenth of the cpu it asks for, a busy GPU one
//! core to feed it, and half of the memory it asks for; enough for the tables
//! to look like a cluster's and for a cpu rule to have something to read.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::quantity::Quantity;
use api::selector::Selector;
use bytes::Bytes;
use cluster::{Cluster, MountFn, value};
use http::{Request, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::gpus::Loads;
use crate::view::container_gpus;

/// Group and version that are served.
pub const GROUP: &str = "metrics.k8s.io";
/// See [`GROUP`].
pub const VERSION: &str = "v1beta1";

const WINDOW: &str = "15s";
/// Cpu of a container that asks for none, millicores.
const IDLE_MILLI: i64 = 5;
/// Memory of a container that asks for none.
const IDLE_BYTES: i64 = 32 << 20;
/// What the system of a node uses beside its pods.
const SYSTEM_MILLI: i64 = 120;
const SYSTEM_BYTES: i64 = 900 << 20;

/// The API as a handler for [`Cluster::mount`].
pub(crate) fn handler(cluster: Cluster, loads: Loads) -> MountFn {
    Arc::new(move |request: Request<Bytes>| {
        let answer = Usage {
            cluster: cluster.clone(),
            loads: loads.clone(),
        }
        .answer(&request);
        Box::pin(std::future::ready(answer))
    })
}

struct Usage {
    cluster: Cluster,
    loads: Loads,
}

impl Usage {
    fn answer(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let root = format!("/apis/{GROUP}/{VERSION}");
        let path = request.uri().path().strip_prefix(&root).unwrap_or("");
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let selector = match selector(request.uri().query().unwrap_or("")) {
            Ok(selector) => selector,
            Err(why) => return status(StatusCode::BAD_REQUEST, "BadRequest", &why),
        };
        let found = match parts[..] {
            [] => return respond(StatusCode::OK, &discovery()),
            ["nodes"] => list("NodeMetricsList", self.nodes(&selector)),
            ["nodes", name] => one(self.nodes(&selector), name),
            ["pods"] => list("PodMetricsList", self.pods(None, &selector)),
            ["namespaces", ns, "pods"] => list("PodMetricsList", self.pods(Some(ns), &selector)),
            ["namespaces", ns, "pods", name] => one(self.pods(Some(ns), &selector), name),
            _ => None,
        };
        match found {
            Some(found) => respond(StatusCode::OK, &found),
            None => {
                let what = parts.last().unwrap_or(&"");
                let why = format!("metrics of \"{what}\" not found");
                status(StatusCode::NOT_FOUND, "NotFound", &why)
            }
        }
    }

    fn pods(&self, namespace: Option<&str>, selector: &Selector) -> Vec<Value> {
        let pods = self.cluster.list("pods", namespace);
        let running = pods
            .iter()
            .filter(|pod| pod["status"]["phase"] == "Running");
        let wanted = running.filter(|pod| selector.matches_json(&pod["metadata"]["labels"]));
        wanted.map(|pod| self.pod(pod)).collect()
    }

    fn pod(&self, pod: &Value) -> Value {
        let containers = value::list(pod, &["spec", "containers"])
            .iter()
            .map(|container| {
                let (cpu, memory) = self.container(pod, container);
                json!({"name": container["name"], "usage": usage(cpu, memory)})
            });
        let containers: Vec<Value> = containers.collect();
        let mut metrics = self.metrics("PodMetrics", pod);
        metrics["containers"] = containers.into();
        metrics
    }

    /// Millicores and bytes.
    fn container(&self, pod: &Value, container: &Value) -> (i64, i64) {
        let request = |name: &str| {
            let requests = &container["resources"]["requests"][name];
            Quantity::from_json(requests)
                .ok()
                .filter(|_| !requests.is_null())
        };
        let mut cpu = request("cpu").map_or(IDLE_MILLI, |cpu| cpu.milli_value() / 10);
        let memory = request("memory").map_or(IDLE_BYTES, |memory| memory.value() / 2);
        let gpus = container_gpus(container);
        if gpus > 0 {
            let owner = exporter::Owner::of_pod(pod).filter(|owner| owner.kind == "Deployment");
            let name = owner.map(|owner| owner.name);
            let busy = self.loads.of_ready(value::namespace(pod), name.as_deref());
            cpu += (busy * 10.0) as i64 * gpus;
        }
        (cpu, memory)
    }

    fn nodes(&self, selector: &Selector) -> Vec<Value> {
        let mut used: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for pod in self.cluster.list("pods", None) {
            if pod["status"]["phase"] == "Running" {
                let node = value::text(&pod, &["spec", "nodeName"]).to_owned();
                let total = used.entry(node).or_default();
                for container in value::list(&pod, &["spec", "containers"]) {
                    let (cpu, memory) = self.container(&pod, container);
                    *total = (total.0 + cpu, total.1 + memory);
                }
            }
        }
        let nodes = self.cluster.list("nodes", None);
        let wanted = nodes
            .iter()
            .filter(|n| selector.matches_json(&n["metadata"]["labels"]));
        wanted
            .map(|node| {
                let (cpu, memory) = used.get(value::name(node)).copied().unwrap_or_default();
                let mut metrics = self.metrics("NodeMetrics", node);
                metrics["usage"] = usage(cpu + SYSTEM_MILLI, memory + SYSTEM_BYTES);
                metrics
            })
            .collect()
    }

    fn metrics(&self, kind: &str, of: &Value) -> Value {
        let time = value::time(self.cluster.now());
        let mut metadata = json!({"name": value::name(of), "creationTimestamp": time});
        if let Some(namespace) = value::at(of, &["metadata", "namespace"]) {
            metadata["namespace"] = namespace.clone();
        }
        if let Some(labels) = value::at(of, &["metadata", "labels"]) {
            metadata["labels"] = labels.clone();
        }
        json!({"kind": kind, "apiVersion": format!("{GROUP}/{VERSION}"), "metadata": metadata,
            "timestamp": time, "window": WINDOW})
    }
}

fn usage(milli: i64, bytes: i64) -> Value {
    json!({"cpu": format!("{milli}m"), "memory": format!("{}Ki", bytes / 1024)})
}

fn one(all: Vec<Value>, name: &str) -> Option<Value> {
    all.into_iter().find(|metrics| value::name(metrics) == name)
}

fn list(kind: &str, items: Vec<Value>) -> Option<Value> {
    let version = format!("{GROUP}/{VERSION}");
    Some(json!({"kind": kind, "apiVersion": version, "metadata": {}, "items": items}))
}

fn discovery() -> Value {
    let resource = |name: &str, kind: &str, namespaced: bool| {
        json!({"name": name, "singularName": "", "namespaced": namespaced, "kind": kind,
            "verbs": ["get", "list"]})
    };
    json!({"kind": "APIResourceList", "apiVersion": "v1",
        "groupVersion": format!("{GROUP}/{VERSION}"),
        "resources": [resource("nodes", "NodeMetrics", false), resource("pods", "PodMetrics", true)]})
}

fn selector(query: &str) -> Result<Selector, String> {
    let text = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("labelSelector="));
    let text = percent_encoding::percent_decode_str(text.unwrap_or("")).decode_utf8_lossy();
    Selector::parse(&text).map_err(|error| error.to_string())
}

fn status(code: StatusCode, reason: &str, message: &str) -> Response<Bytes> {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code.as_u16()});
    respond(code, &body)
}

fn respond(code: StatusCode, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = code;
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
