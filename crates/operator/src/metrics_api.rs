//! The external metrics API, which the HPA asks.

use api::keda::{SCALED_OBJECT_LABEL, ScaledObject};
use api::quantity::Quantity;
use bytes::Bytes;
use decide::scale::conditions::{FALLBACK, status_of};
use decide::scale::fallback::{self, MetricRead, Settled};
use decide::scale::hpa_spec::COMPOSITE;
use decide::scale::modifiers::Composite;
use futures::future::join_all;
use http::{Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::answer::{not_found, refused, respond};
use crate::state::{Key, Shared};
use crate::{METRICS_GROUP, METRICS_VERSION, io, scalers, target};

/// Answers a request below `/apis/external.metrics.k8s.io/v1beta1`.
pub(crate) async fn answer(shared: &Shared, request: &Request<Bytes>) -> Response<Bytes> {
    let root = format!("/apis/{METRICS_GROUP}/{METRICS_VERSION}");
    let path = request.uri().path();
    let Some(rest) = path.strip_prefix(&root) else {
        return not_found();
    };
    if rest.trim_matches('/').is_empty() {
        return respond(StatusCode::OK, &discovery());
    }
    let parts: Vec<&str> = rest.split('/').skip(1).collect();
    let ["namespaces", namespace, metric] = parts.as_slice() else {
        return not_found();
    };
    if request.method() != http::Method::GET {
        let text = "the server does not allow this method on the requested resource";
        return refused(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", text);
    }
    let (namespace, metric) = (decode(namespace), decode(metric));
    match name_in_selector(request.uri().query().unwrap_or_default()) {
        Some(name) => match value(shared, (namespace, name), &metric).await {
            Ok(item) => respond(StatusCode::OK, &item),
            Err(text) => {
                let text = format!(
                    "rpc error: code = Unknown desc = error when getting metric values {text}"
                );
                refused(StatusCode::INTERNAL_SERVER_ERROR, "", &text)
            }
        },
        None => {
            let text = "scaledObject name is not specified";
            refused(StatusCode::INTERNAL_SERVER_ERROR, "", text)
        }
    }
}

/// Reads a metric for the HPA: live, unless the trigger's last poll counts.
async fn value(shared: &Shared, key: Key, asked: &str) -> Result<Value, String> {
    let missing = || format!("no matching metrics found for {asked}");
    let object = match shared.object(&key) {
        Some(object) => object,
        None => {
            let (namespace, name) = &key;
            return Err(format!(
                "error getting scaledObject {namespace}/{name}: ScaledObject.keda.sh {name:?} not \
                 found"
            ));
        }
    };
    let scalers = scalers::of(shared, &key, &object)
        .await
        .map_err(|error| format!("error getting scalers {error}"))?;
    // With a formula every name of the object's stands for the composite.
    let known = asked.eq_ignore_ascii_case(COMPOSITE)
        || scalers
            .external
            .iter()
            .any(|external| external.metric.eq_ignore_ascii_case(asked));
    let composite = scalers.composite.as_ref().filter(|_| known);
    let wanted: Vec<&scalers::External> = scalers
        .external
        .iter()
        .filter(|external| composite.is_some() || external.metric.eq_ignore_ascii_case(asked))
        .collect();
    let name = match wanted.first() {
        None => return Err(missing()),
        Some(_) if composite.is_some() => COMPOSITE,
        Some(external) => external.metric.as_str(),
    };
    let reads = wanted
        .iter()
        .map(|external| read(shared, &key, &object, external));
    let reads = join_all(reads).await;
    if reads
        .iter()
        .any(|read| matches!(read.read, fallback::Read::Failed(_)))
    {
        shared.state().scalers.remove(&key);
    }
    let value = match settle(shared, &key, &reads, composite).await {
        Ok(value) => value,
        Err(error) => {
            tracing::debug!(
                namespace = key.0,
                name = key.1,
                error,
                "metric not available"
            );
            return Err(format!("metric:{name} encountered error"));
        }
    };
    let quantity = Quantity::parse(&format!("{value:.3}"))
        .map_err(|_| format!("metric:{name} is {value}, not a quantity"))?
        .to_string();
    let now = decide::scale::seconds(shared.triggers.clock.now());
    Ok(json!({
        "kind": "ExternalMetricValueList",
        "apiVersion": format!("{METRICS_GROUP}/{METRICS_VERSION}"),
        "metadata": {},
        "items": [{
            "metricName": name,
            "metricLabels": null,
            "timestamp": now,
            "value": quantity,
        }],
    }))
}

/// Reads one trigger, or repeats its last poll where the object asks for that.
async fn read(
    shared: &Shared,
    key: &Key,
    object: &ScaledObject,
    external: &scalers::External,
) -> MetricRead {
    let kept = {
        let state = shared.state();
        state
            .reads
            .get(&(key.clone(), external.metric.clone()))
            .cloned()
    };
    match kept.filter(|_| external.cached) {
        Some(read) => MetricRead {
            metric: external.metric.clone(),
            target: external.target,
            read,
        },
        None => scalers::read(shared, object, external).await,
    }
}

/// Counts the reads and applies the fallback: what the HPA reads counts as much
/// as what a poll reads. With `composite` the reads go through the formula.
async fn settle(
    shared: &Shared,
    key: &Key,
    reads: &[MetricRead],
    composite: Option<&Composite>,
) -> Result<f64, String> {
    let lock = shared.lock_of(key);
    let _held = lock.lock().await;
    let Some(object) = shared.object(key) else {
        return Err("the ScaledObject is gone".to_owned());
    };
    let mut status = object.status.clone();
    let enabled = fallback::is_enabled(&object.spec);
    let (replicas, ready) = if enabled {
        let workload = target::find(shared, &object).await.ok();
        let replicas = workload.as_deref().map(target::replicas);
        (replicas, workload.as_deref().and_then(target::ready))
    } else {
        (None, None)
    };
    let settled: Vec<Settled> = reads
        .iter()
        .map(|read| fallback::settle(&object.spec, &mut status.health, read, replicas, ready))
        .collect();
    if enabled {
        if status_of(&status.conditions, FALLBACK) != "Unknown" {
            fallback::set_condition(&object.spec, &status.health, &mut status.conditions);
        }
        if let Err(error) = shared.write_status(&object, &status).await {
            tracing::warn!(
                namespace = key.0,
                name = key.1,
                error = io::message(&error),
                "health lost"
            );
        }
    }
    let outcome = if let Some(composite) = composite {
        let names = reads.iter().map(|read| read.metric.as_str());
        let by_name: Vec<(&str, &Settled)> = names.zip(&settled).collect();
        let fallback = object.spec.fallback.as_ref();
        Some(composite.value(fallback, &by_name, shared.triggers.clock.now()))
    } else {
        settled.into_iter().next()
    };
    match outcome {
        Some(Settled::Value { value, .. }) => Ok(value),
        Some(Settled::Error(error)) => Err(error),
        Some(Settled::Nil) | None => Err("the metric only stands in a formula".to_owned()),
    }
}

/// The ScaledObject named by the label selector of a query string.
fn name_in_selector(query: &str) -> Option<String> {
    let selector = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("labelSelector="))?;
    let selector = decode(&selector.replace('+', " "));
    let mut name = None;
    for term in selector.split(',') {
        let (key, value) = term.split_once("==").or_else(|| term.split_once('='))?;
        if key.trim() == SCALED_OBJECT_LABEL {
            name = Some(value.trim().to_owned());
        }
    }
    name.filter(|name| !name.is_empty())
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn discovery() -> Value {
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": format!("{METRICS_GROUP}/{METRICS_VERSION}"),
        "resources": [{
            "name": "externalmetrics",
            "singularName": "",
            "namespaced": true,
            "kind": "ExternalMetricValueList",
            "verbs": ["get"],
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selector_must_name_the_scaled_object() {
        let name = |query| name_in_selector(query);
        let encoded = "labelSelector=scaledobject.keda.sh%2Fname%3Dmy-gpu";
        assert_eq!(name(encoded), Some("my-gpu".to_owned()));
        let two = "a=b&labelSelector=x%3D1%2Cscaledobject.keda.sh/name==so";
        assert_eq!(name(two), Some("so".to_owned()));
        assert_eq!(name("labelSelector=x"), None);
        assert_eq!(name(""), None);
    }
}
