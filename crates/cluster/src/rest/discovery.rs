//! What is served: aggregated and plain discovery, version and health.

use std::collections::BTreeMap;

use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::{Call, answer};
use crate::resource::{Endpoint, api_version};
use crate::{Body, Cluster, value};

/// Kubernetes' version, as clients see it.
pub(crate) fn version() -> Response<Body> {
    answer::json(
        200,
        &json!({
            "major": "1", "minor": "37",
            "emulationMajor": "1", "emulationMinor": "37",
            "minCompatibilityMajor": "1", "minCompatibilityMinor": "36",
            "gitVersion": "v1.37.2", "gitCommit": "$Format:%H$", "gitTreeState": "",
            "buildDate": "2026-10-15T00:00:00Z", "goVersion": "go1.26.8", "compiler": "gc",
            "platform": "linux/amd64",
        }),
    )
}

/// /healthz, /livez, /readyz.
pub(crate) fn health(call: &Call<'_>) -> Response<Body> {
    if call.query.get("verbose").is_none() {
        return answer::raw(200, "text/plain; charset=utf-8", "ok");
    }
    let name = call
        .path
        .trim_matches('/')
        .split('/')
        .next()
        .unwrap_or("healthz")
        .to_owned();
    let text = format!("[+]ping ok\n[+]log ok\n[+]store ok\n{name} check passed\n");
    answer::raw(200, "text/plain; charset=utf-8", text)
}

/// The paths that lead on from /.
pub(crate) fn root(call: &Call<'_>) -> Response<Body> {
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for (group, versions) in group_versions(call.cluster) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|v| format!("/apis/{group}/{v}")));
    }
    for more in ["/healthz", "/livez", "/openapi/v3", "/readyz", "/version"] {
        paths.push(more.to_owned());
    }
    paths.sort();
    answer::json(200, &json!({"paths": paths}))
}

/// Named groups with their versions, most preferred first, in order of discovery.
fn group_versions(cluster: &Cluster) -> Vec<(String, Vec<String>)> {
    let registry = cluster.registry();
    let mut builtin: Vec<(String, Vec<String>)> = Vec::new();
    let mut custom: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for endpoint in registry.endpoints().iter().filter(|e| !e.group.is_empty()) {
        let versions = if endpoint.row.custom.is_some() {
            custom.entry(endpoint.group.clone()).or_default()
        } else if let Some(at) = builtin.iter().position(|(g, _)| *g == endpoint.group) {
            &mut builtin[at].1
        } else {
            builtin.push((endpoint.group.clone(), Vec::new()));
            let last = builtin.len() - 1;
            &mut builtin[last].1
        };
        if !versions.contains(&endpoint.version) {
            versions.push(endpoint.version.clone());
        }
    }
    for (group, version) in cluster.mounts() {
        let versions = custom.entry(group).or_default();
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    for versions in custom.values_mut() {
        versions.sort_by_key(|v| std::cmp::Reverse(priority(v)));
    }
    // Groups that other servers answer come after those of this one.
    let mounted: Vec<String> = cluster.mounts().into_iter().map(|(g, _)| g).collect();
    let (last, middle): (Vec<_>, Vec<_>) = custom
        .into_iter()
        .partition(|(group, _)| mounted.contains(group));
    builtin.into_iter().chain(middle).chain(last).collect()
}

/// Orders versions as Kubernetes does: v2, v1, v1beta1, v1alpha1, others by name.
fn priority(version: &str) -> (u8, u64, u64) {
    let Some(rest) = version.strip_prefix('v') else {
        return (0, 0, 0);
    };
    let digits = rest.chars().take_while(char::is_ascii_digit).count();
    let major: u64 = rest[..digits].parse().unwrap_or(0);
    let tail = &rest[digits..];
    let minor = |prefix: &str| tail.strip_prefix(prefix).and_then(|n| n.parse().ok());
    match tail {
        "" => (3, major, 0),
        _ => match (minor("beta"), minor("alpha")) {
            (Some(n), _) => (2, major, n),
            (_, Some(n)) => (1, major, n),
            _ => (0, 0, 0),
        },
    }
}

/// Whether a client wants one document for everything, and in which version.
fn aggregated(call: &Call<'_>) -> Option<&'static str> {
    for clause in call.header("accept").split(',') {
        let clause = clause.trim();
        if clause.contains("as=APIGroupDiscoveryList") {
            if clause.contains("v=v2beta1") {
                return Some("v2beta1");
            }
            if clause.contains("v=v2") {
                return Some("v2");
            }
        } else if clause.starts_with("application/json") || clause.starts_with("*/*") {
            return None;
        }
    }
    None
}

/// An answer that clients may keep, with a tag made from its content.
pub(crate) fn tagged(call: &Call<'_>, media: &str, body: &Value) -> Response<Body> {
    let text = body.to_string();
    let tag = format!("\"{}\"", digest(text.as_bytes()));
    let mut response = if call.header("if-none-match") == tag {
        let mut response = Response::new(Body::full(""));
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        answer::raw(200, media, text)
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// A fingerprint of some bytes, in hex: it tells versions apart and guards nothing.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let mut out = String::new();
    for seed in [0xcbf2_9ce4_8422_2325_u64, 0x6c62_272e_07bb_0142] {
        let mut hash = seed;
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        out.push_str(&format!("{hash:016X}"));
    }
    out
}

fn discovery_list(call: &Call<'_>, version: &str, items: &[Value]) -> Response<Body> {
    let media =
        format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    let body = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {}, "items": items,
    });
    tagged(call, &media, &body)
}

/// /api
pub(crate) fn core(call: &Call<'_>) -> Response<Body> {
    if let Some(version) = aggregated(call) {
        let item = json!({
            "metadata": {},
            "versions": [{
                "version": "v1", "freshness": "Current",
                "resources": described(call.cluster, "", "v1"),
            }],
        });
        return discovery_list(call, version, &[item]);
    }
    let body = json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}],
    });
    tagged(call, "application/json", &body)
}

/// /apis
pub(crate) fn groups(call: &Call<'_>) -> Response<Body> {
    let groups = group_versions(call.cluster);
    if let Some(version) = aggregated(call) {
        let items: Vec<Value> = groups
            .iter()
            .map(|(group, versions)| {
                let versions: Vec<Value> = versions
                    .iter()
                    .map(|v| {
                        let mut out = json!({"version": v, "freshness": "Current"});
                        let resources = described(call.cluster, group, v);
                        if !resources.is_empty() {
                            out["resources"] = json!(resources);
                        }
                        out
                    })
                    .collect();
                json!({"metadata": {"name": group}, "versions": versions})
            })
            .collect();
        return discovery_list(call, version, &items);
    }
    let groups: Vec<Value> = groups.iter().map(|(g, v)| group_value(g, v)).collect();
    let body = json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups});
    tagged(call, "application/json", &body)
}

fn group_value(group: &str, versions: &[String]) -> Value {
    let all: Vec<Value> = versions
        .iter()
        .map(|v| json!({"groupVersion": api_version(group, v), "version": v}))
        .collect();
    json!({"name": group, "preferredVersion": all.first(), "versions": all})
}

/// /apis/GROUP
pub(crate) fn group(call: &Call<'_>, name: &str) -> Response<Body> {
    let groups = group_versions(call.cluster);
    let Some((_, versions)) = groups.iter().find(|(g, _)| g == name) else {
        return answer::no_such_page();
    };
    let mut body = group_value(name, versions);
    body["kind"] = json!("APIGroup");
    body["apiVersion"] = json!("v1");
    answer::json(200, &body)
}

/// The kind that a subresource speaks, its verbs.
fn sub_kind(endpoint: &Endpoint, sub: &str) -> (Value, Vec<&'static str>) {
    let own = |kind: &str| {
        let custom = endpoint.row.custom.is_some();
        let (group, version) = if custom {
            (endpoint.group.as_str(), endpoint.version.as_str())
        } else {
            ("", "")
        };
        json!({"group": group, "version": version, "kind": kind})
    };
    let foreign = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let all = vec!["create", "delete", "get", "patch", "update"];
    let plural = endpoint.row.plural.as_str();
    match sub {
        "scale" => (
            foreign("autoscaling", "v1", "Scale"),
            vec!["get", "patch", "update"],
        ),
        "token" => (
            foreign("authentication.k8s.io", "v1", "TokenRequest"),
            vec!["create"],
        ),
        "eviction" => (foreign("policy", "v1", "Eviction"), vec!["create"]),
        "binding" => (own("Binding"), vec!["create"]),
        "log" => (own("Pod"), vec!["get"]),
        "finalize" => (own("Namespace"), vec!["update"]),
        "attach" => (own("PodAttachOptions"), vec!["create", "get"]),
        "exec" => (own("PodExecOptions"), vec!["create", "get"]),
        "portforward" => (own("PodPortForwardOptions"), vec!["create", "get"]),
        "proxy" if plural == "pods" => (own("PodProxyOptions"), all),
        "proxy" if plural == "nodes" => (own("NodeProxyOptions"), all),
        "proxy" => (own("ServiceProxyOptions"), all),
        _ => (own(&endpoint.row.kind), vec!["get", "patch", "update"]),
    }
}

/// Subresources of an endpoint (a custom kind may offer fewer in one version).
fn subresources(endpoint: &Endpoint) -> Vec<&str> {
    endpoint
        .row
        .subresources
        .iter()
        .map(String::as_str)
        .filter(|sub| {
            let version = endpoint
                .row
                .custom
                .as_ref()
                .and_then(|c| c.version(&endpoint.version));
            *sub != "scale" || version.is_none_or(|v| v.scale.is_some())
        })
        .collect()
}

/// Resources of a group version for aggregated discovery.
fn described(cluster: &Cluster, group: &str, version: &str) -> Vec<Value> {
    let registry = cluster.registry();
    registry
        .endpoints()
        .iter()
        .filter(|e| e.group == group && e.version == version)
        .map(|e| {
            let row = &e.row;
            let custom = row.custom.is_some();
            let (g, v) = if custom { (group, version) } else { ("", "") };
            let mut out = json!({
                "resource": row.plural,
                "responseKind": {"group": g, "version": v, "kind": row.kind},
                "scope": if row.namespaced { "Namespaced" } else { "Cluster" },
                "singularResource": row.singular,
                "verbs": row.verbs,
            });
            if !row.short_names.is_empty() {
                out["shortNames"] = json!(row.short_names);
            }
            if !row.categories.is_empty() {
                out["categories"] = json!(row.categories);
            }
            let subs: Vec<Value> = subresources(e)
                .into_iter()
                .map(|sub| {
                    let (kind, verbs) = sub_kind(e, sub);
                    json!({"subresource": sub, "responseKind": kind, "verbs": verbs})
                })
                .collect();
            if !subs.is_empty() {
                out["subresources"] = json!(subs);
            }
            out
        })
        .collect()
}

/// /apis/GROUP/VERSION and /api/v1
pub(crate) fn resources(call: &Call<'_>, group: &str, version: &str) -> Response<Body> {
    let registry = call.cluster.registry();
    let mut list = Vec::new();
    for e in registry
        .endpoints()
        .iter()
        .filter(|e| e.group == group && e.version == version)
    {
        let row = &e.row;
        let mut entry = json!({
            "name": row.plural, "singularName": row.singular, "namespaced": row.namespaced,
            "kind": row.kind, "verbs": row.verbs,
        });
        if !row.short_names.is_empty() {
            entry["shortNames"] = json!(row.short_names);
        }
        if !row.categories.is_empty() {
            entry["categories"] = json!(row.categories);
        }
        if row.verbs.len() == 8 {
            let hash = digest(format!("{group}/{}/{}", row.version, row.kind).as_bytes());
            entry["storageVersionHash"] = json!(format!("{}=", &hash[..11]));
        }
        list.push(entry);
        for sub in subresources(e) {
            let (kind, verbs) = sub_kind(e, sub);
            let mut entry = json!({
                "name": format!("{}/{sub}", row.plural), "singularName": "",
                "namespaced": row.namespaced, "kind": kind["kind"], "verbs": verbs,
            });
            let foreign = value::text(&kind, &["group"]);
            if !foreign.is_empty() && foreign != group {
                entry["group"] = json!(foreign);
                entry["version"] = kind["version"].clone();
            }
            list.push(entry);
        }
    }
    if list.is_empty() {
        return answer::no_such_page();
    }
    answer::json(
        200,
        &json!({
            "kind": "APIResourceList", "apiVersion": "v1",
            "groupVersion": api_version(group, version), "resources": list,
        }),
    )
}
