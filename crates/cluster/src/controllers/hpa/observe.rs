//! What an HPA looks at: its target's scale, the target's pods, and metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use api::quantity::Quantity;
use api::selector::Selector;
use bytes::Bytes;
use decide::hpa::{
    MetricObservation, MetricWanted, ObjectRef, PodObservation, PodUsage, PodValue,
    ScaleObservation,
};
use http::Request;
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::super::object::{int, text, time_at};
use crate::value::list;
use crate::{Cluster, Status};

const METRICS: &str = "metrics.k8s.io";
const CUSTOM: &str = "custom.metrics.k8s.io";
const EXTERNAL: &str = "external.metrics.k8s.io";

/// What stays as it is in a path segment or a query value.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// `?a=b&c=d` of the parameters that are not empty.
fn query(parameters: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (key, value) in parameters.iter().filter(|(_, v)| !v.is_empty()) {
        out.push(if out.is_empty() { '?' } else { '&' });
        out.push_str(key);
        out.push('=');
        out.push_str(&encoded(value));
    }
    out
}

/// Sends a request to the API; an answer that is no success is an error in the API's words.
pub(super) async fn send(cluster: &Cluster, request: Request<Bytes>) -> Result<Value, Status> {
    let what = request.uri().path().to_owned();
    let response = cluster.request(request).await;
    let code = response.status();
    let body = match response.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(never) => match never {},
    };
    let value: Option<Value> = serde_json::from_slice(&body).ok();
    if code.is_success() {
        return value.ok_or_else(|| Status::internal(format!("{what} answered no JSON")));
    }
    let message = match value {
        Some(v) if v["kind"] == "Status" => text(&v, &["message"]).to_owned(),
        _ if code == http::StatusCode::NOT_FOUND => {
            format!(
                "the server could not find the requested resource{}",
                requested(&what)
            )
        }
        _ => String::from_utf8_lossy(&body).trim().to_owned(),
    };
    Err(Status::new(code.as_u16(), "", message))
}

/// ` (get NAME.GROUP)`: what was asked for, as clients put it.
fn requested(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        ["", "apis", group, _, "namespaces", _, resource, ..] => {
            format!(" (get {resource}.{group})")
        }
        _ => String::new(),
    }
}

/// Reads one path of the API.
pub(super) async fn get(cluster: &Cluster, path: &str) -> Result<Value, Status> {
    let request = Request::builder().uri(path).body(Bytes::new());
    match request {
        Ok(request) => send(cluster, request).await,
        Err(e) => Err(Status::bad_request(format!("{path} is no path: {e}"))),
    }
}

/// Where the scale of a target is.
pub(super) struct Target {
    pub(super) scale_path: String,
}

impl Target {
    /// Finds the kind that the reference means; else says why there is no scale.
    pub(super) fn find(
        cluster: &Cluster,
        ns: &str,
        reference: &ObjectRef,
    ) -> Result<Target, ScaleObservation> {
        let (group, version) = match reference.api_version.split_once('/') {
            Some((_, version)) if version.contains('/') => {
                return Err(ScaleObservation::Failed(format!(
                    "invalid API version in scale target reference: unexpected GroupVersion \
                     string: {}",
                    reference.api_version
                )));
            }
            Some((group, version)) => (group, version),
            None => ("", reference.api_version.as_str()),
        };
        let registry = cluster.registry();
        let endpoint = registry
            .by_kind(group, version, &reference.kind)
            .or_else(|| {
                registry
                    .endpoints()
                    .iter()
                    .find(|e| e.group == group && e.row.kind == reference.kind)
            });
        let Some(endpoint) = endpoint.filter(|e| e.row.namespaced) else {
            return Err(ScaleObservation::UnknownKind);
        };
        let root = if group.is_empty() {
            "/api".to_owned()
        } else {
            format!("/apis/{group}")
        };
        let scale_path = format!(
            "{root}/{}/namespaces/{ns}/{}/{}/scale",
            endpoint.version,
            endpoint.row.plural,
            encoded(&reference.name)
        );
        Ok(Target { scale_path })
    }
}

/// Reads the scale of the target.
pub(super) async fn scale(
    cluster: &Cluster,
    target: &Result<Target, ScaleObservation>,
) -> ScaleObservation {
    let target = match target {
        Ok(target) => target,
        Err(why) => return why.clone(),
    };
    let replicas =
        |v: &Value, part: &str| i32::try_from(int(v, &[part, "replicas"])).unwrap_or(i32::MAX);
    match get(cluster, &target.scale_path).await {
        Ok(v) => ScaleObservation::Found {
            spec_replicas: replicas(&v, "spec"),
            status_replicas: replicas(&v, "status"),
            selector: text(&v, &["status", "selector"]).to_owned(),
        },
        Err(e) => ScaleObservation::Failed(e.message),
    }
}

/// The pods of the target.
pub(super) fn pods(cluster: &Cluster, ns: &str, selector: &str) -> Vec<PodObservation> {
    if selector.is_empty() {
        return Vec::new();
    }
    let Ok(selector) = Selector::parse(selector) else {
        return Vec::new();
    };
    cluster
        .list("pods", Some(ns))
        .iter()
        .filter(|pod| selector.matches_json(&pod["metadata"]["labels"]))
        .map(|pod| PodObservation::from_json(pod))
        .collect()
}

/// Reads one metric, and when it was taken where that is said of the whole.
pub(super) async fn metric(
    cluster: &Cluster,
    ns: &str,
    what: &MetricWanted,
) -> (MetricObservation, Option<Timestamp>) {
    let mut sampled = None;
    let mut timed = |values: Vec<(Quantity, Option<Timestamp>)>| -> Vec<Quantity> {
        sampled = values.iter().filter_map(|(_, at)| *at).min();
        values.into_iter().map(|(value, _)| value).collect()
    };
    let observed = match what {
        MetricWanted::External { name, selector } => {
            let path = format!(
                "/apis/{EXTERNAL}/v1beta1/namespaces/{ns}/{}{}",
                encoded(name),
                query(&[("labelSelector", selector)])
            );
            let values = read(cluster, Ok(path), quantity_at).await;
            MetricObservation::External(values.map(&mut timed))
        }
        MetricWanted::Resource { pods } => {
            let query = query(&[("labelSelector", pods)]);
            let path = format!("/apis/{METRICS}/v1beta1/namespaces/{ns}/pods{query}");
            MetricObservation::Resource(read(cluster, Ok(path), usage).await)
        }
        MetricWanted::Pods {
            name,
            selector,
            pods,
        } => {
            let path = custom(cluster).map(|version| {
                let query = query(&[("labelSelector", pods), ("metricLabelSelector", selector)]);
                format!(
                    "/apis/{CUSTOM}/{version}/namespaces/{ns}/pods/*/{}{query}",
                    encoded(name)
                )
            });
            MetricObservation::Pods(read(cluster, path, pod_value).await)
        }
        MetricWanted::Object {
            name,
            selector,
            object,
        } => {
            let path = object_path(cluster, ns, name, selector, object);
            let values = read(cluster, path, quantity_at).await.map(&mut timed);
            MetricObservation::Object(values.and_then(|v| match <[Quantity; 1]>::try_from(v) {
                Ok([value]) => Ok(value),
                Err(v) => Err(format!(
                    "the server returned {} values for metric {name}, want one",
                    v.len()
                )),
            }))
        }
    };
    (observed, sampled)
}

/// The version of the custom metrics API that is served.
fn custom(cluster: &Cluster) -> Result<&'static str, String> {
    ["v1beta2", "v1beta1"]
        .into_iter()
        .find(|version| cluster.mounted(CUSTOM, version).is_some())
        .ok_or_else(|| format!("no custom metrics API ({CUSTOM}) registered"))
}

fn object_path(
    cluster: &Cluster,
    ns: &str,
    metric: &str,
    selector: &str,
    object: &ObjectRef,
) -> Result<String, String> {
    let version = custom(cluster)?;
    let query = query(&[("metricLabelSelector", selector)]);
    let base = format!("/apis/{CUSTOM}/{version}");
    let (name, metric) = (encoded(&object.name), encoded(metric));
    if object.kind == "Namespace" {
        return Ok(format!("{base}/namespaces/{name}/metrics/{metric}{query}"));
    }
    let group = object
        .api_version
        .split_once('/')
        .map_or("", |(group, _)| group);
    let registry = cluster.registry();
    let found = registry
        .rows()
        .find(|r| r.group == group && r.kind == object.kind);
    let Some(row) = found else {
        let version = &object.api_version;
        return Err(format!(
            "no matches for kind \"{}\" in version \"{version}\"",
            object.kind
        ));
    };
    Ok(if row.namespaced {
        format!("{base}/namespaces/{ns}/{}/{name}/{metric}{query}", row.name)
    } else {
        format!("{base}/{}/{name}/{metric}{query}", row.name)
    })
}

async fn read<T>(
    cluster: &Cluster,
    path: Result<String, String>,
    item: impl Fn(&Value) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let answer = get(cluster, &path?).await.map_err(|e| e.message)?;
    list(&answer, &["items"]).iter().map(item).collect()
}

fn quantity(item: &Value) -> Result<Quantity, String> {
    Quantity::from_json(&item["value"]).map_err(|e| e.to_string())
}

fn quantity_at(item: &Value) -> Result<(Quantity, Option<Timestamp>), String> {
    Ok((quantity(item)?, time_at(item, &["timestamp"])))
}

fn sampled(item: &Value) -> Timestamp {
    time_at(item, &["timestamp"]).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn usage(item: &Value) -> Result<PodUsage, String> {
    let window = text(item, &["window"]);
    let window = api::duration::GoDuration::parse(window).map(|d| d.to_std());
    let mut containers = Vec::new();
    for container in list(item, &["containers"]) {
        let mut used = BTreeMap::new();
        for (resource, value) in container["usage"].as_object().into_iter().flatten() {
            let value = Quantity::from_json(value).map_err(|e| e.to_string())?;
            used.insert(resource.clone(), value);
        }
        containers.push((text(container, &["name"]).to_owned(), used));
    }
    Ok(PodUsage {
        pod: text(item, &["metadata", "name"]).to_owned(),
        timestamp: sampled(item),
        window: window.unwrap_or_default(),
        containers,
    })
}

fn pod_value(item: &Value) -> Result<PodValue, String> {
    let window = item["windowSeconds"]
        .as_u64()
        .or_else(|| item["window"].as_u64())
        .unwrap_or(60);
    Ok(PodValue {
        pod: text(item, &["describedObject", "name"]).to_owned(),
        timestamp: sampled(item),
        window: Duration::from_secs(window),
        value: quantity(item)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_leave_out_what_is_empty_and_encode_the_rest() {
        let q = query(&[
            ("labelSelector", "a=b,c in (d)"),
            ("metricLabelSelector", ""),
        ]);
        assert_eq!(q, "?labelSelector=a%3Db%2Cc%20in%20%28d%29");
    }

    #[test]
    fn a_missing_api_is_named_as_clients_name_it() {
        let path = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods";
        assert_eq!(requested(path), " (get pods.metrics.k8s.io)");
    }
}
