//! What a cluster has from the start, and what a namespace gets.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::value;

/// The objects of a new cluster.
pub(crate) fn bootstrap(cluster: &Cluster) {
    let make = |resource: &str, object: Value| {
        // A fresh store refuses none of these.
        let _ = cluster.create(resource, object);
    };
    for ns in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        make("namespaces", json!({"metadata": {"name": ns}}));
    }
    make(
        "services",
        json!({
            "metadata": {
                "name": "kubernetes", "namespace": "default",
                "labels": {"component": "apiserver", "provider": "kubernetes"},
            },
            "spec": {
                "clusterIP": "10.0.0.1", "type": "ClusterIP", "sessionAffinity": "None",
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
            },
        }),
    );
    for (name, priority, about) in [
        (
            "system-cluster-critical",
            2_000_000_000_u64,
            "Used for system critical pods that must run in the cluster, but can be moved to \
             another node if necessary.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ] {
        make(
            "priorityclasses.scheduling.k8s.io",
            json!({
                "metadata": {"name": name}, "value": priority, "description": about,
                "preemptionPolicy": "PreemptLowerPriority",
            }),
        );
    }
    make(
        "clusterroles.rbac.authorization.k8s.io",
        json!({
            "metadata": {
                "name": "cluster-admin",
                "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
                "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
            },
            "rules": [
                {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
                {"nonResourceURLs": ["*"], "verbs": ["*"]},
            ],
        }),
    );
    register_builtin(cluster);
}

/// APIServices of the groups that are built in.
fn register_builtin(cluster: &Cluster) {
    let versions: std::collections::BTreeSet<(String, String)> = cluster
        .registry()
        .endpoints()
        .iter()
        .map(|e| (e.group.clone(), e.version.clone()))
        .collect();
    for (group, version) in versions {
        register_local(cluster, &group, &version);
    }
}

/// What every namespace gets.
pub(crate) fn furnish_namespace(cluster: &Cluster, namespace: &Value) {
    if value::deleting(namespace) {
        return;
    }
    let ns = value::name(namespace);
    if cluster.get("serviceaccounts", ns, "default").is_err() {
        let account = json!({"metadata": {"name": "default", "namespace": ns}});
        let _ = cluster.create("serviceaccounts", account);
        let root = json!({
            "metadata": {
                "name": "kube-root-ca.crt", "namespace": ns,
                "annotations": {
                    "kubernetes.io/description":
                        "Contains a CA bundle that can be used to verify the kube-apiserver when \
                         using internal endpoints such as the internal service IP or \
                         kubernetes.default.svc. No other usage is guaranteed across \
                         distributions of Kubernetes clusters.",
                },
            },
            "data": {"ca.crt": ""},
        });
        let _ = cluster.create("configmaps", root);
    }
}

/// The APIService of a group that is answered in process.
pub(crate) fn register_mount(cluster: &Cluster, group: &str, version: &str) {
    let now = value::time(cluster.now());
    let resource = "apiservices.apiregistration.k8s.io";
    let name = format!("{version}.{group}");
    let _ = cluster.create(
        resource,
        json!({
            "metadata": {"name": name},
            "spec": {
                "group": group, "version": version,
                "groupPriorityMinimum": 100, "versionPriority": 100,
                "service": {"name": "in-process", "namespace": "kube-system", "port": 443},
                "insecureSkipTLSVerify": true,
            },
        }),
    );
    let _ = cluster.modify_status(resource, "", &name, |object| {
        object["status"] = json!({"conditions": [{
            "type": "Available", "status": "True", "reason": "Passed",
            "message": "all checks passed", "lastTransitionTime": now,
        }]});
    });
}

/// Registers a custom group anew whose APIService was deleted, as the real
/// server does: its kinds are still served. Mounted groups stay as the client
/// wants them, who waits for its deletion; they are answered all the same.
pub(crate) fn register_again(cluster: &Cluster, gone: &Value) {
    let group = value::text(gone, &["spec", "group"]);
    let version = value::text(gone, &["spec", "version"]);
    let registry = cluster.registry();
    let custom = registry
        .endpoints()
        .iter()
        .any(|e| e.group == group && e.version == version && e.row.custom.is_some());
    if custom {
        register_local(cluster, group, version);
    }
}

/// The APIService of a group that this server answers itself.
pub(crate) fn register_local(cluster: &Cluster, group: &str, version: &str) {
    let now = value::time(cluster.now());
    let resource = "apiservices.apiregistration.k8s.io";
    let name = format!("{version}.{group}");
    let made = cluster.create(
        resource,
        json!({
            "metadata": {
                "name": name,
                "labels": {"kube-aggregator.kubernetes.io/automanaged": "onstart"},
            },
            "spec": {
                "group": group, "version": version,
                "groupPriorityMinimum": 1000, "versionPriority": 100,
            },
        }),
    );
    if made.is_ok() {
        let _ = cluster.modify_status(resource, "", &name, |object| {
            object["status"] = json!({"conditions": [{
                "type": "Available", "status": "True", "reason": "Local",
                "message": "Local APIServices are always available", "lastTransitionTime": now,
            }]});
        });
    }
}
