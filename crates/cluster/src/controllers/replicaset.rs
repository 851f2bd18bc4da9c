//! Replica sets: as many pods as asked for.

use std::sync::Arc;
use std::time::Duration;

use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};

use super::index::PodGroup;
use super::object::{
    add_owner, controller_ref, controller_uid, int, name, namespace, retain_owners, rfc3339, text,
    uid,
};
use super::selector::Selector;
use super::{Ctx, Requeue, victims};
use crate::value::{at, condition, deleting, list};
use crate::{DeleteOptions, Status};

pub(crate) const RESOURCE: &str = "replicasets.apps";
const SOURCE: &str = "replicaset-controller";
/// Most pods created or deleted in one sync.
const BURST: i64 = 500;

/// Brings one replica set's pods and status up to date.
pub(crate) fn sync(ctx: &Ctx<'_>, ns: &str, set: &str) -> Result<Requeue, Status> {
    let rs = match ctx.cluster.get(RESOURCE, ns, set) {
        Ok(rs) => rs,
        Err(e) if e.is_not_found() => return Ok(Requeue::Done),
        Err(e) => return Err(e),
    };
    let selector = Selector::of(&rs["spec"]["selector"]);
    // Pods that this sync adopts or lets go change the counts; the next sync sees them.
    if !selector.is_everything() && claim(ctx, &rs, &selector)? {
        return Ok(Requeue::Now);
    }
    let empty = PodGroup::default();
    let pods = ctx.index.pods_of(uid(&rs)).unwrap_or(&empty);
    let mut active = pods.active();
    let mut failure = None;
    if !deleting(&rs) {
        let missing = int(&rs, &["spec", "replicas"]) - active;
        if missing > 0 {
            let (made, failed) = create(ctx, SOURCE, &rs, missing.min(BURST));
            active += made;
            failure = failed.map(|e| ("FailedCreate", e));
        } else if missing < 0 {
            let (gone, failed) = remove(ctx, &rs, pods, (-missing).min(BURST));
            active -= gone;
            failure = failed.map(|e| ("FailedDelete", e));
        }
        if missing.abs() > BURST && failure.is_none() {
            write_status(ctx, &rs, pods, active, None)?;
            return Ok(Requeue::Now);
        }
    }
    let wait = write_status(ctx, &rs, pods, active, failure.as_ref())?;
    match failure {
        Some((_, e)) => Err(e),
        None => Ok(wait.map_or(Requeue::Done, Requeue::After)),
    }
}

/// Adopts matching pods without controller and releases pods that no longer match; true if
/// there were any.
fn claim(ctx: &Ctx<'_>, rs: &Value, selector: &Selector) -> Result<bool, Status> {
    let (ns, owner) = (namespace(rs), uid(rs));
    if deleting(rs) {
        return Ok(false);
    }
    let mut any = false;
    if let Some(group) = ctx.index.pods_of(owner) {
        for (labels, _) in group.label_sets() {
            if selector.matches(&labels) {
                continue;
            }
            for pod in group.with_labels(&labels) {
                ctx.cluster.modify("pods", ns, &pod, |p| {
                    retain_owners(p, |r| r["uid"] != owner);
                })?;
                any = true;
            }
        }
    }
    for pod_name in ctx.index.orphans("pods", ns) {
        let Ok(pod) = ctx.cluster.get("pods", ns, &pod_name) else {
            continue;
        };
        let ended = matches!(text(&pod, &["status", "phase"]), "Succeeded" | "Failed");
        if ended
            || deleting(&pod)
            || controller_uid(&pod).is_some()
            || !selector.matches(&pod["metadata"]["labels"])
        {
            continue;
        }
        let reference = controller_ref(rs);
        ctx.cluster
            .modify("pods", ns, &pod_name, |p| add_owner(p, reference))?;
        any = true;
    }
    Ok(any)
}

/// A pod of the owner's template.
pub(crate) fn pod_from(owner: &Value, template: &Value) -> Value {
    let mut meta = json!({
        "generateName": format!("{}-", name(owner)),
        "namespace": namespace(owner),
        "ownerReferences": [controller_ref(owner)],
    });
    for field in ["labels", "annotations", "finalizers"] {
        if let Some(v) = at(template, &["metadata", field]) {
            meta[field] = v.clone();
        }
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]})
}

/// Creates `n` pods in growing batches, so that a quota or a webhook that refuses them is not
/// asked hundreds of times. Returns how many came to be, and the first error.
pub(crate) fn create(ctx: &Ctx<'_>, source: &str, owner: &Value, n: i64) -> (i64, Option<Status>) {
    let template = pod_from(owner, &owner["spec"]["template"]);
    let (mut made, mut batch) = (0, 1);
    while made < n {
        let mut failed = None;
        for _ in 0..batch.min(n - made) {
            match ctx.cluster.create("pods", template.clone()) {
                Ok(pod) => {
                    made += 1;
                    let text = format!("Created pod: {}", name(&pod));
                    ctx.event(source, owner, "Normal", "SuccessfulCreate", &text);
                }
                Err(e) => {
                    let text = format!("Error creating: {e}");
                    ctx.event(source, owner, "Warning", "FailedCreate", &text);
                    failed.get_or_insert(e);
                }
            }
        }
        if failed.is_some() {
            return (made, failed);
        }
        batch *= 2;
    }
    (made, None)
}

fn remove(ctx: &Ctx<'_>, rs: &Value, pods: &PodGroup, n: i64) -> (i64, Option<Status>) {
    let ns = namespace(rs);
    let active: Vec<Arc<Value>> = pods
        .iter()
        .filter(|(_, pod)| pod.active)
        .filter_map(|(name, _)| ctx.cluster.get("pods", ns, name).ok())
        .collect();
    let siblings = siblings_by_node(ctx, rs);
    let (mut gone, mut failed) = (0, None);
    for pod in victims::choose(active, &siblings, n, ctx.now) {
        let options = DeleteOptions {
            uid: Some(uid(&pod).to_owned()),
            ..Default::default()
        };
        match ctx.cluster.delete("pods", ns, name(&pod), options) {
            Ok(_) => {
                gone += 1;
                let text = format!("Deleted pod: {}", name(&pod));
                ctx.event(SOURCE, rs, "Normal", "SuccessfulDelete", &text);
            }
            Err(e) if e.is_not_found() => {}
            Err(e) => {
                let text = format!("Error deleting: {e}");
                ctx.event(SOURCE, rs, "Warning", "FailedDelete", &text);
                failed.get_or_insert(e);
            }
        }
    }
    (gone, failed)
}

/// Active pods on each node of all replica sets with the same controller.
fn siblings_by_node(ctx: &Ctx<'_>, rs: &Value) -> std::collections::BTreeMap<String, i64> {
    let ns = namespace(rs);
    let mut sets: Vec<Arc<str>> = match controller_uid(rs) {
        Some(owner) => ctx.index.dependents_of(owner, RESOURCE),
        None => Vec::new(),
    };
    if sets.is_empty() {
        sets.push(name(rs).into());
    }
    let mut nodes = std::collections::BTreeMap::new();
    for set in sets {
        let Ok(set) = ctx.cluster.get(RESOURCE, ns, &set) else {
            continue;
        };
        let Some(group) = ctx.index.pods_of(uid(&set)) else {
            continue;
        };
        for (pod, _) in group.iter().filter(|(_, p)| p.active) {
            if let Ok(pod) = ctx.cluster.get("pods", ns, pod) {
                let node = text(&pod, &["spec", "nodeName"]);
                if !node.is_empty() {
                    *nodes.entry(node.to_owned()).or_insert(0) += 1;
                }
            }
        }
    }
    nodes
}

/// Writes the status if it changed. Returns when the next pod becomes available, if one will
/// by waiting alone.
fn write_status(
    ctx: &Ctx<'_>,
    rs: &Value,
    pods: &PodGroup,
    active: i64,
    failure: Option<&(&str, Status)>,
) -> Result<Option<Duration>, Status> {
    let min_ready = int(rs, &["spec", "minReadySeconds"]);
    let (available, wait) = available(pods, min_ready, ctx.now);
    let template = &rs["spec"]["template"]["metadata"]["labels"];
    let wanted = template.as_object();
    let labelled: usize = pods
        .label_sets()
        .iter()
        .filter(|(l, _)| wanted.is_none_or(|m| m.iter().all(|(k, v)| l.get(k) == Some(v))))
        .map(|(_, n)| *n)
        .sum();
    // Pods made or removed in this sync are not in the index yet; they carry the template's labels.
    let labelled = (i64::try_from(labelled).unwrap_or(0)
        - (pods.unfinished() + pods.succeeded() + pods.failed() - active))
        .clamp(0, active);
    let mut status = json!({
        "replicas": active,
        "observedGeneration": int(rs, &["metadata", "generation"]),
        "terminatingReplicas": pods.terminating() + (pods.active() - active).max(0),
    });
    for (field, n) in [
        ("fullyLabeledReplicas", labelled),
        ("readyReplicas", pods.ready().min(active)),
        ("availableReplicas", available.min(active)),
    ] {
        if n != 0 {
            status[field] = json!(n);
        }
    }
    if let Some((reason, e)) = failure {
        let old = condition(rs, "ReplicaFailure");
        status["conditions"] = match old {
            Some(c) if c["reason"] == *reason => json!([c]),
            _ => json!([{
                "type": "ReplicaFailure", "status": "True", "reason": reason,
                "message": e.to_string(), "lastTransitionTime": rfc3339(ctx.now),
            }]),
        };
    } else {
        let rest: Vec<&Value> = list(rs, &["status", "conditions"])
            .iter()
            .filter(|c| c["type"] != "ReplicaFailure")
            .collect();
        if !rest.is_empty() {
            status["conditions"] = json!(rest);
        }
    }
    if rs["status"] != status {
        ctx.cluster
            .modify_status(RESOURCE, namespace(rs), name(rs), |rs| {
                rs["status"] = status
            })?;
    }
    Ok(wait)
}

/// Pods ready for at least `min_ready` seconds, and the time until the next one is.
fn available(pods: &PodGroup, min_ready: i64, now: Timestamp) -> (i64, Option<Duration>) {
    if min_ready <= 0 {
        return (pods.ready(), None);
    }
    let (mut n, mut next) = (0, None::<Duration>);
    for (_, pod) in pods.iter().filter(|(_, p)| p.active) {
        let Some(since) = pod.ready_since else {
            continue;
        };
        let Ok(at) = since.checked_add(min_ready.seconds()) else {
            continue;
        };
        if at <= now {
            n += 1;
        } else {
            let left = Duration::try_from(at.duration_since(now)).unwrap_or_default();
            next = Some(next.map_or(left, |n| n.min(left)));
        }
    }
    (n, next)
}
