//! What planning reads of a Node, between JSON and the protocol.

use std::collections::BTreeMap;

use decide::nodes::{CANDIDATE_TAINT, LEAVING_TAINT};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::wire;

/// The Node as JSON, Ready, since it stands for those that will be.
pub fn to_json(node: wire::Node) -> Value {
    let amounts = |amounts: BTreeMap<String, wire::Quantity>| -> BTreeMap<String, String> {
        let texts = amounts
            .into_iter()
            .map(|(name, amount)| (name, amount.string));
        texts.collect()
    };
    let (meta, spec) = (
        node.metadata.unwrap_or_default(),
        node.spec.unwrap_or_default(),
    );
    let status = node.status.unwrap_or_default();
    let taint = |taint: &wire::Taint| json!({"key": taint.key, "value": taint.value, "effect": taint.effect});
    let taints: Vec<Value> = spec.taints.iter().map(taint).collect();
    json!({
        "metadata": {"name": meta.name, "labels": meta.labels, "annotations": meta.annotations},
        "spec": {"unschedulable": spec.unschedulable, "taints": taints},
        "status": {
            "capacity": amounts(status.capacity),
            "allocatable": amounts(status.allocatable),
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}

/// A Node's JSON for the protocol.
pub fn from_json(node: &Value) -> wire::Node {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let texts = |value: &Value| -> BTreeMap<String, String> {
        let entries = value.as_object().into_iter().flatten();
        entries
            .map(|(key, value)| (key.clone(), text(value)))
            .collect()
    };
    let amounts = |value: &Value| -> BTreeMap<String, wire::Quantity> {
        let texts = texts(value).into_iter();
        texts
            .map(|(name, string)| (name, wire::Quantity { string }))
            .collect()
    };
    let taints = node["spec"]["taints"].as_array().into_iter().flatten();
    let taints = taints.map(|taint| wire::Taint {
        key: text(&taint["key"]),
        value: text(&taint["value"]),
        effect: text(&taint["effect"]),
    });
    let meta = &node["metadata"];
    wire::Node {
        metadata: Some(wire::Metadata {
            name: text(&meta["name"]),
            labels: texts(&meta["labels"]),
            annotations: texts(&meta["annotations"]),
        }),
        spec: Some(wire::NodeSpec {
            unschedulable: node["spec"]["unschedulable"] == true,
            taints: taints.collect(),
        }),
        status: Some(wire::NodeStatus {
            capacity: amounts(&node["status"]["capacity"]),
            allocatable: amounts(&node["status"]["allocatable"]),
        }),
    }
}

/// How long a node must have been Ready before others are expected to be like it.
const STARTED: SignedDuration = SignedDuration::from_mins(1);

/// What a new node will be like, from one that has started; nothing from one
/// that has not, or that is cordoned.
pub fn example(mut node: Value, now: Timestamp) -> Option<Value> {
    let conditions = node["status"]["conditions"].as_array()?;
    let ready = conditions
        .iter()
        .find(|c| c["type"] == "Ready" && c["status"] == "True")?;
    let since: Timestamp = ready["lastTransitionTime"].as_str()?.parse().ok()?;
    if now.duration_since(since) < STARTED || node["spec"]["unschedulable"] == true {
        return None;
    }
    node["metadata"]["name"] = json!("template");
    node["metadata"]["labels"]["kubernetes.io/hostname"] = json!("template");
    if let Some(taints) = node["spec"]["taints"].as_array_mut() {
        let passing = ["node.kubernetes.io/", "node.cloudprovider.kubernetes.io/"];
        let leaving = [LEAVING_TAINT, CANDIDATE_TAINT];
        taints.retain(|taint| {
            let key = taint["key"].as_str().unwrap_or_default();
            !passing.iter().any(|prefix| key.starts_with(prefix)) && !leaving.contains(&key)
        });
    }
    Some(node)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn what_planning_reads_comes_through() {
        let node = json!({
            "metadata": {"name": "n", "labels": {"sku": "gpu"}, "annotations": {"a": "b"}},
            "spec": {
                "unschedulable": false,
                "taints": [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}],
            },
            "status": {
                "capacity": {"cpu": "40", "nvidia.com/gpu": "1"},
                "allocatable": {"cpu": "39500m", "nvidia.com/gpu": "1"},
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        });
        let bytes = from_json(&node).encode_to_vec();
        let read = wire::Node::decode(bytes.as_slice()).unwrap();
        assert_eq!(to_json(read), node);
    }

    #[test]
    fn only_a_node_that_has_started_is_an_example() {
        let node = |status: &str| {
            json!({
                "metadata": {"name": "n", "labels": {"sku": "gpu"}},
                "spec": {"taints": [
                    {"key": "sku", "effect": "NoSchedule"},
                    {"key": LEAVING_TAINT, "effect": "NoSchedule"},
                ]},
                "status": {"conditions": [{"type": "Ready", "status": status,
                    "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
            })
        };
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(example(node("False"), at("2026-01-01T01:00:00Z")), None);
        assert_eq!(example(node("True"), at("2026-01-01T00:00:30Z")), None);
        let found = example(node("True"), at("2026-01-01T00:02:00Z")).unwrap();
        assert_eq!(found["spec"]["taints"].as_array().unwrap().len(), 1);
        assert_eq!(found["metadata"]["labels"]["sku"], "gpu");
    }

    /// A Node as the Kubernetes library of Go encodes it, with fields that are
    /// not read here among those that are.
    #[test]
    fn unknown_fields_are_skipped() {
        let bytes = [
            // metadata: name "n", generateName "g", labels {"a": "b"}
            &[
                0x0a, 14, 0x0a, 1, b'n', 0x12, 1, b'g', 0x5a, 6, 0x0a, 1, b'a', 0x12, 1, b'b',
            ][..],
            // spec: podCIDR "p", unschedulable, taint "k" of effect "NoExecute"
            &[
                0x12, 21, 0x0a, 1, b'p', 0x20, 1, 0x2a, 14, 0x0a, 1, b'k', 0x1a, 9,
            ][..],
            b"NoExecute",
            // status: capacity {"cpu": "4"}, phase "x"
            &[
                0x1a, 15, 0x0a, 10, 0x0a, 3, b'c', b'p', b'u', 0x12, 3, 0x0a, 1, b'4', 0x1a, 1,
            ][..],
            b"x",
        ]
        .concat();
        let read = to_json(wire::Node::decode(bytes.as_slice()).unwrap());
        assert_eq!(read["metadata"]["labels"], json!({"a": "b"}));
        assert_eq!(read["spec"]["unschedulable"], true);
        assert_eq!(read["spec"]["taints"][0]["effect"], "NoExecute");
        assert_eq!(read["status"]["capacity"], json!({"cpu": "4"}));
    }
}
