//! KEDA's admission webhooks, answered in process.

use std::sync::Arc;

use cluster::Cluster;
use decide::scale::admission::{self, Surroundings};
use serde_json::Value;

fn values(cluster: &Cluster, resource: &str, namespace: &str) -> Vec<Value> {
    cluster
        .list(resource, Some(namespace))
        .iter()
        .map(|object| (**object).clone())
        .collect()
}

/// Lets the webhooks of KEDA guard a cluster: what they refuse never reaches
/// its store.
pub fn guard(cluster: &Cluster) {
    for (resource, webhook) in admission::WEBHOOKS {
        let inner = cluster.clone();
        let check = move |asked: &cluster::Admission| {
            let namespace = asked.namespace.as_str();
            let target = asked.object["spec"]["scaleTargetRef"]["name"].as_str();
            let workload = target.and_then(|name| {
                inner
                    .get("deployments.apps", namespace, name)
                    .ok()
                    .map(|found| (*found).clone())
            });
            let others = values(&inner, "scaledobjects.keda.sh", namespace);
            let around = Surroundings {
                scaled_objects: others
                    .into_iter()
                    .filter_map(|object| serde_json::from_value(object).ok())
                    .collect(),
                hpas: values(&inner, "horizontalpodautoscalers.autoscaling", namespace),
                workload,
                limit_ranges: values(&inner, "limitranges", namespace),
                dry_run: asked.dry_run,
            };
            admission::review(resource, &asked.object, &asked.old, &around)
        };
        cluster.admit(resource, webhook, Arc::new(check));
    }
}
