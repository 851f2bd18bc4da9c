//! Tables, as `kubectl get` shows them: for each kind its columns and the cells of a row.

mod age;
mod autoscaler;
mod custom;
mod events;
mod jsonpath;
mod nodes;
mod pods;
mod storage;
mod various;
mod workloads;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::resource::{Endpoint, Resource};
use crate::{Cluster, value, views};

pub(crate) use age::{age, since};

/// A column: name, type, priority. Columns with a priority above 0 are shown with `-o wide`.
pub(crate) type Column = (&'static str, &'static str, u8);

/// The cells of one object.
pub(crate) type Row = fn(&Value, Timestamp) -> Vec<Value>;

/// Makes the cells of an object.
type Cells<'a> = Box<dyn Fn(&Value) -> Vec<Value> + 'a>;

/// Columns and cells of a kind.
pub(crate) type Printer = (&'static [Column], Row);

const FALLBACK: &[Column] = &[("Name", "string", 0), ("Created At", "date", 0)];

fn fallback(object: &Value, _: Timestamp) -> Vec<Value> {
    let created = value::text(object, &["metadata", "creationTimestamp"]);
    vec![json!(value::name(object)), json!(created)]
}

/// How a built-in kind is shown.
fn printer(resource: &str) -> Printer {
    match resource {
        "pods" => pods::PODS,
        "deployments.apps" => workloads::DEPLOYMENTS,
        "replicasets.apps" | "replicationcontrollers" => workloads::REPLICA_SETS,
        "statefulsets.apps" => workloads::STATEFUL_SETS,
        "daemonsets.apps" => workloads::DAEMON_SETS,
        "jobs.batch" => workloads::JOBS,
        "cronjobs.batch" => workloads::CRON_JOBS,
        "nodes" => nodes::NODES,
        "horizontalpodautoscalers.autoscaling" => autoscaler::AUTOSCALERS,
        "events" => events::EVENTS,
        "leases.coordination.k8s.io" => various::LEASES,
        "namespaces" => various::NAMESPACES,
        "services" => various::SERVICES,
        "endpoints" => various::ENDPOINTS,
        "configmaps" => various::CONFIG_MAPS,
        "secrets" => various::SECRETS,
        "serviceaccounts" => various::SERVICE_ACCOUNTS,
        "resourcequotas" => various::QUOTAS,
        "priorityclasses.scheduling.k8s.io" => various::PRIORITY_CLASSES,
        "poddisruptionbudgets.policy" => various::BUDGETS,
        "rolebindings.rbac.authorization.k8s.io"
        | "clusterrolebindings.rbac.authorization.k8s.io" => various::BINDINGS,
        "customresourcedefinitions.apiextensions.k8s.io" => various::DEFINITIONS,
        "apiservices.apiregistration.k8s.io" => various::API_SERVICES,
        "validatingwebhookconfigurations.admissionregistration.k8s.io"
        | "mutatingwebhookconfigurations.admissionregistration.k8s.io" => various::WEBHOOKS,
        "networkpolicies.networking.k8s.io" => various::NETWORK_POLICIES,
        "ingressclasses.networking.k8s.io" => various::INGRESS_CLASSES,
        "ingresses.networking.k8s.io" => various::INGRESSES,
        "storageclasses.storage.k8s.io" => storage::CLASSES,
        "persistentvolumes" => storage::VOLUMES,
        "persistentvolumeclaims" => storage::CLAIMS,
        _ => (FALLBACK, fallback),
    }
}

fn definitions(columns: &[Column]) -> Vec<Value> {
    columns
        .iter()
        .map(|(name, kind, priority)| {
            let format = if *name == "Name" { "name" } else { "" };
            json!({
                "name": name, "type": kind, "format": format, "description": "",
                "priority": priority,
            })
        })
        .collect()
}

/// The object that goes with a row.
fn companion(endpoint: &Endpoint, object: &Arc<Value>, version: &str, include: &str) -> Value {
    match include {
        "None" => Value::Null,
        "Object" => views::served(endpoint, object).into_owned(),
        _ => json!({
            "kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{version}"),
            "metadata": object["metadata"],
        }),
    }
}

fn assemble(version: &str, meta: Value, columns: Vec<Value>, rows: Vec<Value>) -> Value {
    json!({
        "kind": "Table", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": meta,
        "columnDefinitions": columns, "rows": rows,
    })
}

/// A table of objects.
pub(crate) fn table(
    cluster: &Cluster,
    endpoint: &Endpoint,
    objects: &[Arc<Value>],
    version: &str,
    include: &str,
    meta: Value,
) -> Value {
    let now = cluster.now();
    let row: &Resource = &endpoint.row;
    let custom = row
        .custom
        .as_ref()
        .and_then(|c| c.version(&endpoint.version));
    let (columns, cells): (Vec<Value>, Cells<'_>) = match custom {
        Some(version) => (
            custom::columns(version),
            Box::new(move |o| custom::cells(version, &views::served(endpoint, o), now)),
        ),
        None => {
            let (columns, cells) = printer(&row.name);
            (definitions(columns), Box::new(move |o| cells(o, now)))
        }
    };
    let rows = objects
        .iter()
        .map(|object| {
            let mut out = json!({"cells": cells(object)});
            let companion = companion(endpoint, object, version, include);
            if !companion.is_null() {
                out["object"] = companion;
            }
            out
        })
        .collect();
    assemble(version, meta, columns, rows)
}

/// The table of one Scale.
pub(crate) fn scale_table(cluster: &Cluster, scale: &Value, version: &str) -> Value {
    let columns: &[Column] = &[
        ("Name", "string", 0),
        ("Desired", "integer", 0),
        ("Available", "integer", 0),
        ("Age", "string", 0),
    ];
    let cells = json!([
        value::name(scale),
        value::integer(scale, &["spec", "replicas"]).unwrap_or(0),
        value::integer(scale, &["status", "replicas"]).unwrap_or(0),
        age(scale, cluster.now()),
    ]);
    let object = json!({
        "kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": scale["metadata"],
    });
    let meta = json!({"resourceVersion": value::resource_version(scale)});
    assemble(
        version,
        meta,
        definitions(columns),
        vec![json!({"cells": cells, "object": object})],
    )
}

/// Text, or `<none>`.
pub(crate) fn or_none(text: &str) -> Value {
    json!(if text.is_empty() { "<none>" } else { text })
}

/// A number below an object, 0 where absent.
pub(crate) fn number(object: &Value, path: &[&str]) -> Value {
    json!(value::integer(object, path).unwrap_or(0))
}

/// `a=b,c=d` of a map, or `<none>`.
pub(crate) fn pairs(map: &Value) -> String {
    let Some(map) = map.as_object().filter(|m| !m.is_empty()) else {
        return "<none>".to_owned();
    };
    // Sorted, whatever order the map was written in.
    let sorted: std::collections::BTreeMap<&String, &Value> = map.iter().collect();
    let texts: Vec<String> = sorted
        .iter()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or("")))
        .collect();
    texts.join(",")
}
