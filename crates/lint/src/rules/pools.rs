//! Rules over pods and the nodes that could take them. Fit is asked of the
//! scheduler's filters, on the node that a pool would make.

use std::sync::Arc;

use api::pointer::token;
use api::pool::{NodeName, Pool};
use decide::fit::{Check, NodeInfo, PodInfo, PodKey, Reason, Snapshot, is_gpu};
use serde_json::{Map, Value, json};

use super::{Context, Trigger, behavior, own, plural};
use crate::finding::Severity;
use crate::metrics::Origin;
use crate::model::{Model, Object, Workload, pool_names};
use crate::query::{Per, Query};

/// More pods than a kubelet takes.
const PODS_PER_NODE: usize = 256;
/// Labels of a template whose value is made up, or may differ on real nodes.
const UNCERTAIN: &[&str] = &[
    "kubernetes.io/hostname",
    "kubernetes.azure.com/cluster",
    "kubernetes.azure.com/mode",
    "kubernetes.azure.com/nodepool-type",
    "kubernetes.azure.com/node-image-version",
    "kubernetes.azure.com/os-sku",
    "kubernetes.azure.com/role",
    "kubernetes.azure.com/storageprofile",
    "kubernetes.azure.com/storagetier",
    "kubernetes.azure.com/sku-cpu",
    "kubernetes.azure.com/sku-memory",
    "nvidia.com/gpu.product",
    "nvidia.com/gpu.memory",
    "nvidia.com/gpu.count",
];

pub(super) fn check(cx: &mut Context<'_>, triggers: &[Trigger<'_>]) {
    let model = cx.model;
    for workload in &model.workloads {
        if !cx.assume.pools.is_empty() {
            fit(cx, workload);
        }
    }
    for scaled in &model.scaled {
        let Some(workload) = cx.workload(scaled) else {
            continue;
        };
        let severity = match scaled.is_job {
            // More Jobs than nodes is a queue.
            true => Severity::Warning,
            false => Severity::Error,
        };
        let max = scaled.spec.spec.max();
        beyond(
            cx,
            &scaled.object,
            "maxReplicaCount",
            max,
            severity,
            workload,
        );
        if !scaled.is_job {
            let own = own(triggers, scaled);
            gang(cx, &scaled.object, max, workload, own);
        }
    }
    for hpa in &model.hpas {
        let max = hpa.object.get("/spec/maxReplicas").as_i64().unwrap_or(0);
        let max = i32::try_from(max).unwrap_or(i32::MAX);
        if let Some(workload) = model.workload(hpa.workload) {
            beyond(
                cx,
                &hpa.object,
                "maxReplicas",
                max,
                Severity::Error,
                workload,
            );
            gang(cx, &hpa.object, max, workload, &[]);
        }
    }
}

/// The node that a pool would make, without what is made up.
fn template(pool: &Pool) -> Value {
    let name = format!("{}-new", pool.name);
    let mut labels = pool.node_labels(&NodeName {
        name: &name,
        resource_group: "",
        region: "",
    });
    labels.retain(|key, _| {
        let own = pool.labels.contains_key(key);
        let guessed = UNCERTAIN.contains(&key.as_str())
            || key.contains("topology.kubernetes.io/")
            || key.contains("failure-domain.")
            || (pool.sku.is_empty() && key.ends_with("/instance-type"));
        own || !guessed
    });
    let mut amounts = pool.node_amounts(true);
    if let Some((resource, count)) = pool.gpu_resource() {
        amounts[resource] = json!(count.to_string());
    }
    let taints: Vec<Value> = pool
        .taints
        .iter()
        .map(|t| json!({"key": t.key, "value": t.value, "effect": t.effect}))
        .collect();
    json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": taints},
        "status": {
            "allocatable": amounts,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}

/// The pod without the labels that the template does not know: real nodes may
/// carry them.
fn on_known_labels(workload: &Workload<'_>, labels: &Value) -> PodInfo {
    let mut pod = workload.pod_json.clone();
    let known = |key: &str| labels.get(key).is_some();
    if let Some(selector) = pod["spec"]["nodeSelector"].as_object_mut() {
        let kept: Map<String, Value> = std::mem::take(selector)
            .into_iter()
            .filter(|(key, _)| known(key))
            .collect();
        *selector = kept;
    }
    const TERMS: &str =
        "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution";
    let mut any = false;
    let terms = pod
        .pointer_mut(&format!("{TERMS}/nodeSelectorTerms"))
        .and_then(Value::as_array_mut);
    for term in terms.into_iter().flatten() {
        let list = term
            .get_mut("matchExpressions")
            .and_then(Value::as_array_mut);
        if let Some(list) = list {
            list.retain(|e| {
                let absent = matches!(e["operator"].as_str(), Some("NotIn" | "DoesNotExist"));
                absent || known(e["key"].as_str().unwrap_or(""))
            });
            any |= list.is_empty() && term["matchFields"].is_null();
        }
    }
    if any && let Some(affinity) = pod.pointer_mut("/spec/affinity/nodeAffinity") {
        affinity["requiredDuringSchedulingIgnoredDuringExecution"] = Value::Null;
    }
    PodInfo::parse(&pod)
}

/// What a pool says to a pod.
#[derive(Clone)]
pub(super) struct Answer<'p> {
    pool: &'p Pool,
    refused: Option<Vec<Reason>>,
    per_node: usize,
}

impl Answer<'_> {
    /// GPUs of the nodes are not known: neither a size nor a number was given.
    fn unknown_gpus(&self) -> bool {
        self.pool.sku.is_empty()
            && self.pool.gpus == 0
            && self.pool.min == 0
            && self.pool.max > 0
            && self.refused.as_ref().is_some_and(|reasons| {
                reasons
                    .iter()
                    .all(|r| matches!(r, Reason::Insufficient(name) if is_gpu(name)))
            })
    }
}

/// What every pool says to every workload, by the workload's index.
pub(super) fn ask_all<'a>(model: &Model<'_>, pools: &'a [Pool]) -> Vec<Vec<Answer<'a>>> {
    let nodes: Vec<(&Pool, Value)> = pools.iter().map(|pool| (pool, template(pool))).collect();
    let of = |workload: &Workload<'_>| {
        let nodes = nodes.iter();
        nodes
            .map(|(pool, node)| ask(pool, node, workload))
            .collect()
    };
    model.workloads.iter().map(of).collect()
}

fn ask<'p>(pool: &'p Pool, node: &Value, workload: &Workload<'_>) -> Answer<'p> {
    let pod = on_known_labels(workload, &node["metadata"]["labels"]);
    let node = NodeInfo::parse(node);
    let name = node.name.clone();
    let mut cluster = Snapshot::default();
    cluster.imagine(node);
    let mut refused = None;
    let mut per_node = 0;
    // Only pods with devices are counted; for others it is enough that one fits.
    let most = match devices(workload).is_empty() {
        true => 1,
        false => PODS_PER_NODE,
    };
    while per_node < most {
        let Some(node) = cluster.node(&name) else {
            break;
        };
        if let Err(rejection) = Check::new(&pod, &cluster).filter(node) {
            if per_node == 0 {
                refused = Some(rejection.reasons);
            }
            break;
        }
        let mut placed = pod.clone();
        placed.key = PodKey {
            namespace: pod.key.namespace.clone(),
            name: Arc::from(per_node.to_string()),
        };
        placed.node = Some(name.clone());
        cluster.assign(Arc::new(placed), &name);
        per_node += 1;
    }
    Answer {
        pool,
        refused,
        per_node,
    }
}

/// A pool whose size may change and which takes the pods of a workload.
pub(super) fn growing<'a>(cx: &Context<'a>, workload: Option<usize>) -> Option<&'a Pool> {
    let answers = cx.pools.get(workload?)?.iter();
    let mut taking = answers.filter(|a| a.refused.is_none() && a.pool.scales());
    taking.next().map(|answer| answer.pool)
}

/// Devices that a pod asks for: `nvidia.com/gpu`, MIG slices, anything with a
/// vendor's name.
fn devices<'w>(workload: &'w Workload<'_>) -> Vec<(&'w str, i64)> {
    let extended = workload.pod.requests.extended.iter();
    extended
        .filter(|(name, amount)| name.contains('/') && **amount > 0)
        .map(|(name, amount)| (&**name, *amount))
        .collect()
}

fn fit(cx: &mut Context<'_>, workload: &Workload<'_>) {
    if devices(workload).is_empty() {
        return;
    }
    let answers = cx.pools[workload.index].clone();
    let usable = |a: &&Answer<'_>| a.refused.is_none() && a.pool.max > 0;
    if answers.iter().any(|a| usable(&a)) {
        let taking: Vec<&Pool> = answers.iter().filter(usable).map(|a| a.pool).collect();
        from_zero(cx, workload, &taking);
        return;
    }
    if let Some(answer) = answers.iter().find(|a| a.unknown_gpus()) {
        let object = &workload.object;
        let device = devices(workload)[0].0;
        cx.report(
            ("pool-from-zero", Severity::Warning),
            object,
            object.key(&device_pointer(workload, device)),
            format!(
                "pool {} starts from 0 nodes and nothing says that its nodes have GPUs: an \
                 autoscaler cannot see that one would help",
                answer.pool.name
            ),
            "Give the pool's size (sku=…) or gpus=….",
        );
        return;
    }
    nowhere(cx, workload, &answers);
}

/// How far a pod got: later filters come after earlier ones were passed.
fn rank(reason: &Reason) -> u8 {
    match reason {
        Reason::Taint => 0,
        Reason::Affinity => 1,
        Reason::Insufficient(_) => 3,
        _ => 2,
    }
}

fn nowhere(cx: &mut Context<'_>, workload: &Workload<'_>, answers: &[Answer<'_>]) {
    let mut parts = Vec::new();
    let mut best: Option<&Reason> = None;
    for answer in answers {
        let reasons = match &answer.refused {
            Some(reasons) => reasons.as_slice(),
            None => &[],
        };
        let texts: Vec<String> = match reasons {
            [] => vec!["has no nodes (max=0)".to_owned()],
            some => some
                .iter()
                .map(|r| explain(r, answer.pool, workload))
                .collect(),
        };
        parts.push(format!("{}: {}", answer.pool.name, texts.join(", ")));
        for reason in reasons {
            let further = best.is_none_or(|b| rank(reason) > rank(b));
            // A CPU pool lacks GPUs by nature; what a GPU pool says counts.
            let lacks =
                matches!(reason, Reason::Insufficient(n) if is_gpu(n)) && answer.pool.gpus == 0;
            if (further && !lacks) || best.is_none() {
                best = Some(reason);
            }
        }
    }
    let object = &workload.object;
    let (span, fix) = match best {
        Some(Reason::Taint) => {
            let tolerations = workload.under("/spec/tolerations");
            let span = match object.has(&tolerations) {
                true => object.key(&tolerations),
                false => object.key(&workload.under("/spec")),
            };
            (span, "Add a toleration for the pool's taint.")
        }
        Some(Reason::Affinity) => {
            let selector = workload.under("/spec/nodeSelector");
            let span = match object.has(&selector) {
                true => object.key(&selector),
                false => object.key(&workload.under("/spec/affinity")),
            };
            (span, "Select labels that the pool's nodes carry.")
        }
        Some(Reason::Insufficient(name)) => (
            object.key(&device_pointer(workload, name)),
            "Ask for what a node of a pool has, or add a pool with larger nodes.",
        ),
        _ => (
            object.key(&workload.under("/spec")),
            "Change the pod or the pools so that they fit.",
        ),
    };
    let pools = plural(answers.len() as i64, "pool");
    cx.report(
        ("no-pool-fits", Severity::Error),
        object,
        span,
        format!(
            "no node of the {pools} can take this pod: {}",
            parts.join("; ")
        ),
        fix,
    );
}

fn explain(reason: &Reason, pool: &Pool, workload: &Workload<'_>) -> String {
    match reason {
        Reason::Taint => {
            let taints: Vec<String> = pool.taints.iter().map(ToString::to_string).collect();
            format!("{reason} {{{}}}", taints.join(", "))
        }
        Reason::Insufficient(name) => {
            let asked = workload.pod.requests.get(name);
            let node = NodeInfo::parse(&template(pool));
            let has = node.allocatable.get(name);
            match (&**name, has) {
                ("cpu", _) => format!("{reason} (asks {asked}m, a node has {has}m)"),
                ("memory", _) => format!(
                    "{reason} (asks {} Gi, a node has {} Gi)",
                    asked >> 30,
                    has >> 30
                ),
                (_, 0) => format!("{reason} (its nodes have none)"),
                _ => format!("{reason} (asks {asked}, a node has {has})"),
            }
        }
        other => other.to_string(),
    }
}

/// Where the pod asks for a resource.
fn device_pointer(workload: &Workload<'_>, name: &str) -> String {
    let token = token(name);
    for (pointer, container) in workload.containers() {
        for list in ["limits", "requests"] {
            if !container["resources"][list][name].is_null() {
                return format!("{pointer}/resources/{list}/{token}");
            }
        }
    }
    workload.under("/spec/containers")
}

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

fn from_zero(cx: &mut Context<'_>, workload: &Workload<'_>, taking: &[&Pool]) {
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

fn beyond(
    cx: &mut Context<'_>,
    scaler: &Object<'_>,
    field: &str,
    max: i32,
    severity: Severity,
    workload: &Workload<'_>,
) {
    let gpus = workload.gpus();
    if gpus == 0 || cx.assume.pools.is_empty() {
        return;
    }
    let answers = cx.pools[workload.index].clone();
    if answers.iter().any(Answer::unknown_gpus) {
        return;
    }
    let taking: Vec<&Answer<'_>> = answers.iter().filter(|a| a.per_node > 0).collect();
    let pods: i64 = taking
        .iter()
        .map(|a| i64::from(a.pool.max) * a.per_node as i64)
        .sum();
    let replicas = pods / workload.pods_per_replica;
    if taking.is_empty() || i64::from(max) <= replicas {
        return;
    }
    let parts: Vec<String> = taking
        .iter()
        .map(|a| {
            format!(
                "{}: {} × {}",
                a.pool.name,
                plural(a.pool.max.into(), "node"),
                plural(a.per_node as i64, "pod")
            )
        })
        .collect();
    let pointer = format!("/spec/{field}");
    let (span, said) = match scaler.has(&pointer) {
        true => (scaler.at(&pointer), format!("{field} {max}")),
        false => (
            scaler.key("/spec"),
            format!("{field} {max} (the default, none is given)"),
        ),
    };
    let total = i64::from(max).saturating_mul(gpus);
    let held = replicas.saturating_mul(gpus);
    cx.report(
        ("max-beyond-pool", severity),
        scaler,
        span,
        format!(
            "{said} × {} = {total}, and the pools that take the pod hold {} ({}), {total} > {held}: \
             {} wait for ever at full load",
            plural(gpus, "GPU"),
            plural(held, "GPU"),
            parts.join(", "),
            plural(i64::from(max) - replicas, "replica")
        ),
        format!("Set {field} to {replicas}, or raise the pool's max."),
    )
    .patch = scaler
        .has(&pointer)
        .then(|| format!("- op: replace\n  path: {pointer}\n  value: {replicas}\n"));
}

/// What says that several pods make one replica.
fn several_pods(workload: &Workload<'_>) -> Option<String> {
    let number = |names: &[&str]| {
        workload
            .option(names)
            .and_then(|(_, t)| t.parse::<i64>().ok())
    };
    let nodes = number(&["--nnodes", "--num-nodes", "--num_nodes"]).unwrap_or(1);
    if nodes > 1 {
        return Some(format!("its command starts {nodes} nodes for one model"));
    }
    let tensor = number(&["--tensor-parallel-size", "-tp", "--tp", "--tp-size"]);
    let pipeline = number(&["--pipeline-parallel-size", "-pp", "--pp-size"]);
    let gpus = workload.pod.requests.gpus();
    let wanted = tensor.unwrap_or(1).saturating_mul(pipeline.unwrap_or(1));
    (gpus > 0 && wanted > gpus)
        .then(|| format!("its command splits the model over {wanted} GPUs and a pod has {gpus}"))
}

fn gang(
    cx: &mut Context<'_>,
    scaler: &Object<'_>,
    max: i32,
    workload: &Workload<'_>,
    own: &[Trigger<'_>],
) {
    let per_pod = workload.pod.requests.gpus();
    let object = &workload.object;
    let groups = object.kind == "LeaderWorkerSet";
    let device = devices(workload).first().map_or("", |(name, _)| *name);
    let span = match device.is_empty() {
        true => object.key(&workload.under("/spec")),
        false => object.key(&device_pointer(workload, device)),
    };
    if let Some(why) = several_pods(workload).filter(|_| !groups) {
        cx.report(
            ("gang", Severity::Warning),
            object,
            span,
            format!(
                "one replica is several pods ({why}), and {} adds and removes single pods: a part \
                 of a model serves nothing and holds its GPUs",
                scaler.title()
            ),
            "Scale a LeaderWorkerSet (or another kind that makes whole groups), or fit the model \
             into one pod.",
        );
        return;
    }
    if per_pod < 2 || groups {
        return;
    }
    let sums_gpus = |query: &Query| {
        let uses = query.uses();
        uses.iter().any(|u| u.metric.origin == Origin::Dcgm) && query.meaning().per == Per::Total
    };
    let summed = own.iter().filter_map(Trigger::read).any(sums_gpus);
    let (_, rules) = behavior(scaler);
    let step = match rules["scaleUp"]["policies"].is_array() {
        true => "as its policies say",
        false => "one pod or more at a time",
    };
    let counted = match summed {
        true => format!(
            ". The query adds up GPUs, so a target per GPU counts each replica {per_pod} times"
        ),
        false => String::new(),
    };
    cx.report(
        ("gang", Severity::Warning),
        object,
        span,
        format!(
            "a replica needs {per_pod} GPUs on one node at once and is scaled {step}: {max} \
             replicas are {} GPUs, and nodes with fewer than {per_pod} free ones do not help{counted}",
            i64::from(max).saturating_mul(per_pod)
        ),
        format!(
            "Use pools whose nodes have a multiple of {per_pod} GPUs, count maxReplicaCount in whole \
             replicas, and make the target that of a whole replica."
        ),
    );
}
