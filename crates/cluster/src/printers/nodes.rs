//! Nodes.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Printer, age, or_none};
use crate::value::{at, list, name, text};

pub(super) const NODES: Printer = (
    &[
        ("Name", "string", 0),
        ("Status", "string", 0),
        ("Roles", "string", 0),
        ("Age", "string", 0),
        ("Version", "string", 0),
        ("Internal-IP", "string", 1),
        ("External-IP", "string", 1),
        ("OS-Image", "string", 1),
        ("Kernel-Version", "string", 1),
        ("Container-Runtime", "string", 1),
    ],
    cells,
);

fn unknown(text: &str) -> Value {
    json!(if text.is_empty() { "<unknown>" } else { text })
}

fn cells(node: &Value, now: Timestamp) -> Vec<Value> {
    let ready = list(node, &["status", "conditions"])
        .iter()
        .find(|c| c["type"] == "Ready");
    let mut status = match ready {
        None => "Unknown",
        Some(c) if c["status"] == "True" => "Ready",
        Some(_) => "NotReady",
    }
    .to_owned();
    if node["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    let mut roles: Vec<String> = Vec::new();
    for (key, v) in at(node, &["metadata", "labels"])
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        if let Some(role) = key.strip_prefix("node-role.kubernetes.io/") {
            if !role.is_empty() {
                roles.push(role.to_owned());
            }
        } else if key == "kubernetes.io/role"
            && let Some(role) = v.as_str().filter(|r| !r.is_empty())
        {
            roles.push(role.to_owned());
        }
    }
    roles.sort();
    roles.dedup();
    let address = |kind: &str| {
        list(node, &["status", "addresses"])
            .iter()
            .find(|a| a["type"] == kind)
            .map_or("", |a| text(a, &["address"]))
    };
    let info = |key: &str| text(node, &["status", "nodeInfo", key]);
    let kernel = match (info("kernelVersion"), info("architecture")) {
        ("", _) => "<unknown>".to_owned(),
        (kernel, "") => kernel.to_owned(),
        (kernel, architecture) => format!("{kernel} ({architecture})"),
    };
    vec![
        json!(name(node)),
        json!(status),
        or_none(&roles.join(",")),
        json!(age(node, now)),
        json!(info("kubeletVersion")),
        or_none(address("InternalIP")),
        or_none(address("ExternalIP")),
        unknown(info("osImage")),
        json!(kernel),
        unknown(info("containerRuntimeVersion")),
    ]
}
