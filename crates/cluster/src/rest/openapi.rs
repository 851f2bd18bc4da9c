//! OpenAPI v3: the index and one document for each group version.

use std::collections::BTreeMap;

use http::{HeaderValue, Response, header};
use serde_json::{Value, json};

use super::{Call, answer, discovery};
use crate::resource::Endpoint;
use crate::{Body, Cluster, schema};

/// `api/v1`, `apis/apps/v1`
fn key(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

/// Group versions that have a document, with what a change of it depends on.
fn served(cluster: &Cluster) -> BTreeMap<String, (String, String)> {
    let mut out = BTreeMap::new();
    for endpoint in cluster.registry().endpoints() {
        out.insert(
            key(&endpoint.group, &endpoint.version),
            (endpoint.group.clone(), endpoint.version.clone()),
        );
    }
    out
}

/// A fingerprint of a group version's document, without building it.
fn hash(cluster: &Cluster, group: &str, version: &str) -> String {
    let mut text = format!("{group}/{version}");
    for endpoint in cluster.registry().endpoints() {
        if endpoint.group == group && endpoint.version == version {
            text.push_str(&endpoint.row.kind);
            if let Some(custom) = &endpoint.row.custom
                && let Some(version) = custom.version(version)
            {
                text.push_str(&version.schema.to_string());
            }
        }
    }
    discovery::digest(text.as_bytes())
}

/// /openapi/v3
pub(crate) fn index(call: &Call<'_>) -> Response<Body> {
    let mut paths = serde_json::Map::new();
    for (key, (group, version)) in served(call.cluster) {
        let hash = hash(call.cluster, &group, &version);
        let url = format!("/openapi/v3/{key}?hash={hash}");
        paths.insert(key, json!({"serverRelativeURL": url}));
    }
    discovery::tagged(call, "application/json", &json!({"paths": paths}))
}

/// /openapi/v3/apis/GROUP/VERSION and /openapi/v3/api/v1
pub(crate) fn document(call: &Call<'_>, rest: &[&str]) -> Response<Body> {
    let (group, version) = match rest {
        ["api", version] => ("", *version),
        ["apis", group, version] => (*group, *version),
        _ => return answer::no_such_page(),
    };
    let registry = call.cluster.registry();
    let endpoints: Vec<&Endpoint> = registry
        .endpoints()
        .iter()
        .filter(|e| e.group == group && e.version == version)
        .collect();
    if endpoints.is_empty() {
        return answer::no_such_page();
    }
    let mut document = schema::openapi_v3(group, version).unwrap_or_else(|| bare(&endpoints));
    for endpoint in endpoints {
        let Some(custom) = &endpoint.row.custom else {
            continue;
        };
        let Ok(crd) = call.cluster.get(crate::crd::RESOURCE, "", &custom.name) else {
            continue;
        };
        if let Some(more) = schema::openapi_v3_for_crd(&crd, version) {
            merge(&mut document, more);
        }
    }
    let mut response = discovery::tagged(call, "application/json", &document);
    if call.query.get("hash") == Some(&hash(call.cluster, group, version)) {
        let forever = HeaderValue::from_static("public, immutable");
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, forever);
    }
    response
}

/// Adds what two levels down is not there yet.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                match into.get_mut(&key) {
                    Some(slot) => merge(slot, value),
                    None => {
                        into.insert(key, value);
                    }
                }
            }
        }
        (Value::Null, from) => {
            // Nothing was there.
            let _ = from;
        }
        _ => {}
    }
}

/// /openapi/v2: an empty document, so that clients that fall back to it find no kind in it
/// instead of failing.
pub(crate) fn empty_v2(call: &Call<'_>) -> Response<Body> {
    const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    if call.header("accept").contains("proto-openapi.spec.v2") {
        // swagger (1), info (2: title 1, version 2), paths (8).
        let mut body = b"\x0a\x032.0\x12\x15\x0a\x0aKubernetes\x12\x07v1.37.2".to_vec();
        body.extend_from_slice(b"\x42\x00");
        return answer::raw(200, PROTOBUF, body);
    }
    answer::json(
        200,
        &json!({
            "swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1.37.2"},
            "paths": {}, "definitions": {},
        }),
    )
}

/// The least that kubectl needs: one PATCH for each kind, with its content types.
fn bare(endpoints: &[&Endpoint]) -> Value {
    let mut paths = serde_json::Map::new();
    for endpoint in endpoints {
        let row = &endpoint.row;
        let base = key(&endpoint.group, &endpoint.version);
        let path = if row.namespaced {
            format!("/{base}/namespaces/{{namespace}}/{}/{{name}}", row.plural)
        } else {
            format!("/{base}/{}/{{name}}", row.plural)
        };
        let mut content = json!({
            "application/apply-patch+yaml": {}, "application/json-patch+json": {},
            "application/merge-patch+json": {},
        });
        if row.custom.is_none() {
            content["application/strategic-merge-patch+json"] = json!({});
        }
        paths.insert(
            path,
            json!({"patch": {
                "parameters": [{"name": "fieldValidation", "in": "query",
                                "schema": {"type": "string", "uniqueItems": true}}],
                "requestBody": {"content": content},
                "responses": {"200": {"description": "OK"}},
                "x-kubernetes-group-version-kind": {
                    "group": endpoint.group, "version": endpoint.version, "kind": row.kind,
                },
            }}),
        );
    }
    json!({
        "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.37.2"},
        "paths": paths, "components": {"schemas": {}},
    })
}
