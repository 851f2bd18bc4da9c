//! `pool-from-zero`: labels that the template of an empty pool lacks.

use api::pointer::token;
use api::pool::Pool;
use serde_json::Value;

use super::super::Context;
use crate::finding::Severity;
use crate::model::{Workload, pool_names};

/// Labels that a provider gives the template of a pool without nodes
/// (cluster-autoscaler, Azure).
fn known_from_zero(pool: &Pool, key: &str) -> bool {
    // The compiled-in list of accelerator sizes lacks the newer families.
    let unlisted = ["H100", "H200", "A10_", "GB200", "RTX", "MI300"];
    if matches!(key, "accelerator" | "kubernetes.azure.com/accelerator") {
        let listed = !pool.sku.is_empty() && !unlisted.iter().any(|part| pool.sku.contains(part));
        return pool.labels.contains_key(key) || (pool.gpus > 0 && listed);
    }
    pool.labels.contains_key(key)
        || matches!(
            key,
            "agentpool" | "storageprofile" | "storagetier" | "kubernetes.io/hostname"
        )
        || key.starts_with("kubernetes.azure.com/")
        || key.contains("topology.kubernetes.io/")
        || key.contains("failure-domain.")
        || ["kubernetes.io/arch", "kubernetes.io/os", "/instance-type"]
            .iter()
            .any(|end| key.ends_with(end))
}

/// The keys that a node must carry, one list for each alternative, with the
/// pointer to show.
fn selected(workload: &Workload<'_>) -> (Vec<String>, Vec<Vec<String>>) {
    let spec = &workload.pod_json["spec"];
    let plain = spec["nodeSelector"].as_object();
    let plain: Vec<String> = plain
        .into_iter()
        .flatten()
        .map(|(k, _)| k.clone())
        .collect();
    let terms = spec
        .pointer("/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution")
        .and_then(|r| r["nodeSelectorTerms"].as_array());
    let keys = |term: &Value| {
        let list = term["matchExpressions"].as_array().into_iter().flatten();
        list.filter(|e| !matches!(e["operator"].as_str(), Some("NotIn" | "DoesNotExist")))
            .filter_map(|e| e["key"].as_str().map(str::to_owned))
            .collect()
    };
    (plain, terms.into_iter().flatten().map(keys).collect())
}

/// A pod that selects what no template of an empty pool is known to carry.
pub(super) fn check(cx: &mut Context<'_>, workload: &Workload<'_>, taking: &[&Pool]) {
    let (plain, terms) = selected(workload);
    let lacks = |pool: &Pool| -> Option<String> {
        if pool.min > 0 || !pool.scales() {
            return None;
        }
        let unknown = |key: &&String| !known_from_zero(pool, key);
        if let Some(key) = plain.iter().find(unknown) {
            return Some(key.clone());
        }
        let each: Vec<Option<&String>> = terms.iter().map(|t| t.iter().find(unknown)).collect();
        match each.iter().all(Option::is_some) {
            true => each.first().copied().flatten().cloned(),
            false => None,
        }
    };
    let found: Vec<Option<String>> = taking.iter().map(|pool| lacks(pool)).collect();
    let Some(key) = found
        .iter()
        .all(Option::is_some)
        .then(|| found.first().cloned().flatten())
        .flatten()
    else {
        return;
    };
    let object = &workload.object;
    let pointer = workload.under(&format!("/spec/nodeSelector/{}", token(&key)));
    let span = match object.has(&pointer) {
        true => object.key(&pointer),
        false => object.key(&workload.under("/spec/affinity")),
    };
    let names: Vec<Pool> = taking.iter().map(|p| (*p).clone()).collect();
    cx.report(
        ("pool-from-zero", Severity::Warning),
        object,
        span,
        format!(
            "the pod selects the label {key}, and pool {} starts from 0 nodes: no template of it \
             is known to carry that label, so no node is ordered and the pod waits",
            pool_names(&names)
        ),
        "Set the label on the pool itself (label=…; on AKS --labels, or the tag \
         k8s.io_cluster-autoscaler_node-template_label_…), select agentpool instead, or keep one \
         node.",
    );
}
