//! For whom a GPU works: a pod's container, and the workload above the pod.

use serde_json::Value;

/// The pod that has a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribution {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Container that asked for the GPU.
    pub container: String,
    /// Workload above the pod.
    pub owner: Option<Owner>,
}

/// A workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Kind, e.g. `Deployment`.
    pub kind: String,
    /// Name.
    pub name: String,
}

impl Owner {
    /// The workload above a pod, from the pod alone. A Deployment names its
    /// ReplicaSets by the hash that its pods carry as a label.
    pub fn of_pod(pod: &Value) -> Option<Self> {
        let metadata = &pod["metadata"];
        let owners = metadata["ownerReferences"].as_array()?;
        let owner = owners.iter().find(|owner| owner["controller"] == true)?;
        let (kind, name) = (owner["kind"].as_str()?, owner["name"].as_str()?);
        if kind == "ReplicaSet"
            && let Some(hash) = metadata["labels"]["pod-template-hash"].as_str()
            && let Some(name) = name.strip_suffix(hash).and_then(|n| n.strip_suffix('-'))
        {
            return Some(Self {
                kind: "Deployment".to_owned(),
                name: name.to_owned(),
            });
        }
        Some(Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
        })
    }

    /// The label of this kind's own, where it clashes with no label that a
    /// scrape adds (`job` would).
    fn own_label(&self) -> Option<&'static str> {
        match self.kind.as_str() {
            "Deployment" => Some("deployment"),
            "StatefulSet" => Some("statefulset"),
            "DaemonSet" => Some("daemonset"),
            _ => None,
        }
    }
}

impl Attribution {
    /// The container of a pod that asks for GPUs, and the pod's owner.
    pub fn of_pod(pod: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let containers = pod["spec"]["containers"].as_array()?;
        let asks = |container: &&Value| {
            let resources = &container["resources"];
            ["limits", "requests"]
                .iter()
                .any(|list| !resources[list]["nvidia.com/gpu"].is_null())
        };
        Some(Self {
            namespace: text(&pod["metadata"]["namespace"])?,
            pod: text(&pod["metadata"]["name"])?,
            container: text(&containers.iter().find(asks)?["name"])?,
            owner: Owner::of_pod(pod),
        })
    }

    /// The labels, in dcgm-exporter's order, the owner's after them.
    pub(crate) fn labels(&self, with_owner: bool) -> Vec<(&str, &str)> {
        let mut labels = vec![
            ("container", self.container.as_str()),
            ("namespace", self.namespace.as_str()),
            ("pod", self.pod.as_str()),
        ];
        if with_owner && let Some(owner) = &self.owner {
            if let Some(own) = owner.own_label() {
                labels.push((own, &owner.name));
            }
            labels.push(("workload_kind", &owner.kind));
            labels.push(("workload_name", &owner.name));
        }
        labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(kind: &str, name: &str, labels: Value) -> Value {
        json!({
            "metadata": {
                "namespace": "default", "name": "p", "labels": labels,
                "ownerReferences": [{"kind": kind, "name": name, "controller": true}],
            },
            "spec": {"containers": [
                {"name": "sidecar"},
                {"name": "main", "resources": {"limits": {"nvidia.com/gpu": "1"}}},
            ]},
        })
    }

    #[test]
    fn the_deployment_is_found_above_the_replica_set() {
        let labels = json!({"pod-template-hash": "5d4f8"});
        let found = Attribution::of_pod(&pod("ReplicaSet", "my-app-5d4f8", labels)).unwrap();
        assert_eq!(found.container, "main");
        let deployment = Owner {
            kind: "Deployment".into(),
            name: "my-app".into(),
        };
        assert_eq!(found.owner, Some(deployment));
    }

    #[test]
    fn other_owners_stand_as_they_are() {
        let owner = Owner::of_pod(&pod("ReplicaSet", "bare", json!({}))).unwrap();
        assert_eq!(
            (owner.kind.as_str(), owner.name.as_str()),
            ("ReplicaSet", "bare")
        );
        let found = Attribution::of_pod(&pod("Job", "train", json!({}))).unwrap();
        assert!(found.labels(true).iter().all(|(name, _)| *name != "job"));
        assert_eq!(Owner::of_pod(&json!({"metadata": {}})), None);
    }
}
