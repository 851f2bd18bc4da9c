//! Disruption budgets: how many of their pods may go, written into their status.
//!
//! What the numbers mean is decided in [`decide::budget`]; here is who the pods are and how many
//! their controllers ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use api::selector::{LabelSelector, printed};
use decide::budget::{Assessment, Budget, CONDITION, FAILED, Member, Scale, condition};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::object::{controller_of, int, name, rfc3339};
use super::{Ctx, Requeue, replicaset};
use crate::value::{deleting, map_mut, set_condition};
use crate::{Cluster, Status};

/// The kind of the budgets.
pub(crate) const RESOURCE: &str = "poddisruptionbudgets.policy";
const SOURCE: &str = "controllermanager";

/// A pod that a budget selects.
struct Guarded {
    name: Arc<str>,
    ready: bool,
    leaving: bool,
    controller: Option<Arc<str>>,
}

/// Names of the budgets of a namespace that select a pod with these labels.
pub(crate) fn budgets_of(cluster: &Cluster, ns: &str, labels: &[&Value]) -> Vec<Arc<str>> {
    let all = cluster.list(RESOURCE, Some(ns));
    let selects = |budget: &&Arc<Value>| {
        let selector = Budget::parse(budget).selector;
        labels.iter().any(|l| selector.matches_json(l))
    };
    all.iter().filter(selects).map(|b| name(b).into()).collect()
}

/// Brings one budget's status up to date.
pub(crate) fn sync(ctx: &Ctx<'_>, ns: &str, budget: &str) -> Result<Requeue, Status> {
    let object = match ctx.cluster.get(RESOURCE, ns, budget) {
        Ok(object) => object,
        Err(e) if e.is_not_found() => return Ok(Requeue::Done),
        Err(e) => return Err(e),
    };
    let read = Budget::parse(&object);
    let pods = guarded(ctx, &read, ns);
    if pods.is_empty() {
        let text = "No matching pods found";
        ctx.event(SOURCE, &object, "Normal", "NoPods", text);
    }
    let mut scales: BTreeMap<&Arc<str>, Option<(Arc<str>, i64)>> = BTreeMap::new();
    for owner in pods.iter().filter_map(|p| p.controller.as_ref()) {
        let known = scales.entry(owner);
        known.or_insert_with(|| replicas(ctx, owner));
    }
    let member = |pod: &'_ Guarded| -> Scale<'_> {
        match pod.controller.as_ref().map(|owner| &scales[owner]) {
            None => Scale::Unmanaged,
            Some(None) => Scale::Unknown,
            Some(Some((owner, n))) => Scale::Of(owner, *n),
        }
    };
    let members: Vec<Member<'_>> = pods
        .iter()
        .map(|pod| Member {
            name: &pod.name,
            ready: pod.ready,
            leaving: pod.leaving,
            scale: member(pod),
        })
        .collect();
    match read.assess(&members, ctx.now) {
        Ok(counts) => {
            tell(ctx, &object, &counts);
            write(ctx, &object, &counts)?;
            let wait = counts.again.map(|at| at.duration_since(ctx.now));
            let wait = wait.map(|w| Duration::try_from(w).unwrap_or_default());
            Ok(wait.map_or(Requeue::Done, Requeue::After))
        }
        Err(why) => {
            let text = format!("Failed to calculate the number of expected pods: {why}");
            let reason = "CalculateExpectedPodCountFailed";
            ctx.event(SOURCE, &object, "Warning", reason, &text);
            close(ctx, &object, &why)?;
            Ok(Requeue::Done)
        }
    }
}

/// The pods that a budget selects, by name.
fn guarded(ctx: &Ctx<'_>, budget: &Budget, ns: &str) -> Vec<Guarded> {
    let mut found = Vec::new();
    for (owner, group) in ctx.index.pod_groups(ns) {
        let sets = group.label_sets();
        let selected = sets.iter().map(|(labels, _)| labels);
        let selected = selected.filter(|labels| budget.selector.matches_json(labels));
        let names: BTreeSet<Arc<str>> = selected.flat_map(|l| group.with_labels(l)).collect();
        let pods = group.iter().filter(|(name, _)| names.contains(*name));
        found.extend(pods.map(|(name, pod)| Guarded {
            name: name.clone(),
            ready: pod.ready_since.is_some(),
            leaving: pod.leaving,
            controller: Some(owner.clone()),
        }));
    }
    for name in ctx.index.orphans("pods", ns) {
        let Ok(pod) = ctx.cluster.get("pods", ns, &name) else {
            continue;
        };
        if budget.selector.matches_json(&pod["metadata"]["labels"]) {
            let ready = crate::value::condition(&pod, "Ready");
            found.push(Guarded {
                name,
                ready: ready.is_some_and(|c| c["status"] == "True"),
                leaving: deleting(&pod),
                controller: None,
            });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Who decides about the number of a controller's pods, and that number: for a replica set its
/// deployment, where it has one.
fn replicas(ctx: &Ctx<'_>, owner: &str) -> Option<(Arc<str>, i64)> {
    let place = ctx.index.find(owner)?;
    let cluster = ctx.cluster;
    let object = cluster
        .get(&place.resource, &place.namespace, &place.name)
        .ok()?;
    if &*place.resource == replicaset::RESOURCE
        && let Some(above) = controller_of(&object)
        && above["kind"] == "Deployment"
        && let Some(found) = replicas(ctx, above["uid"].as_str().unwrap_or(""))
    {
        return Some(found);
    }
    let scale = cluster.scale(&place.resource, &place.namespace, &place.name);
    let scale = scale.ok()?;
    Some((owner.into(), int(&scale, &["spec", "replicas"])))
}

/// Tells what is unusual about the pods.
fn tell(ctx: &Ctx<'_>, budget: &Value, counts: &Assessment) {
    if counts.unmanaged {
        let selector = LabelSelector::deserialize(&budget["spec"]["selector"]).ok();
        let text = format!(
            "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. \
             As a result, the status of the PDB cannot be calculated correctly, which may result \
             in undefined behavior. To account for these pods please set \".spec.minAvailable\" \
             field of the PDB to an integer value.",
            printed(selector.as_ref())
        );
        ctx.event(SOURCE, budget, "Warning", "UnmanagedPods", &text);
    }
    let ns = super::namespace(budget);
    for pod in &counts.overdue {
        let Ok(pod) = ctx.cluster.get("pods", ns, pod) else {
            continue;
        };
        // The original names the namespace where the budget's name belongs.
        let text = format!("Pod was expected by PDB {ns}/{ns} to be deleted but it wasn't");
        ctx.event(SOURCE, &pod, "Warning", "NotDeleted", &text);
    }
}

fn write(ctx: &Ctx<'_>, budget: &Value, counts: &Assessment) -> Result<(), Status> {
    let generation = int(budget, &["metadata", "generation"]);
    let ns = super::namespace(budget);
    ctx.cluster.modify_status(RESOURCE, ns, name(budget), |o| {
        let status = map_mut(o, &["status"]);
        let conditions = status.remove("conditions");
        status.clear();
        for (field, value) in [
            ("currentHealthy", counts.healthy),
            ("desiredHealthy", counts.desired),
            ("disruptionsAllowed", counts.allowed),
            ("expectedPods", counts.expected),
            ("observedGeneration", generation),
        ] {
            status.insert(field.to_owned(), json!(value));
        }
        if !counts.disrupted.is_empty() {
            let pods = counts.disrupted.iter();
            let pods: BTreeMap<_, _> = pods.map(|(pod, at)| (pod, rfc3339(*at))).collect();
            status.insert("disruptedPods".to_owned(), json!(pods));
        }
        status.extend(conditions.map(|c| ("conditions".to_owned(), c)));
        let (word, reason) = condition(counts.allowed);
        judge(status, word, reason, "", ctx.now);
    })?;
    Ok(())
}

/// Lets nothing go where the counts are not known.
fn close(ctx: &Ctx<'_>, budget: &Value, why: &str) -> Result<(), Status> {
    let ns = super::namespace(budget);
    ctx.cluster.modify_status(RESOURCE, ns, name(budget), |o| {
        let status = map_mut(o, &["status"]);
        status.insert("disruptionsAllowed".to_owned(), json!(0));
        judge(status, "False", FAILED, why, ctx.now);
    })?;
    Ok(())
}

/// Sets the condition of a status.
fn judge(
    status: &mut serde_json::Map<String, Value>,
    word: &str,
    reason: &str,
    message: &str,
    now: jiff::Timestamp,
) {
    let mut set = json!({
        "type": CONDITION, "status": word, "reason": reason, "message": message,
        "lastTransitionTime": rfc3339(now),
    });
    // Go leaves a zero out.
    if let Some(seen) = status.get("observedGeneration").filter(|g| **g != 0) {
        set["observedGeneration"] = seen.clone();
    }
    set_condition(status, set);
}

/// Notes that an eviction of `pod` takes from a budget, before the controller can see it go.
pub(crate) fn take(cluster: &Cluster, budget: &Budget, pod: &Value) -> Result<(), Status> {
    let now = cluster.now();
    cluster.modify_status(RESOURCE, &budget.namespace, &budget.name, |o| {
        let status = map_mut(o, &["status"]);
        let left = budget.allowed().unwrap_or(0).saturating_sub(1);
        status.insert("disruptionsAllowed".to_owned(), json!(left));
        let pods = status.entry("disruptedPods").or_insert_with(|| json!({}));
        pods[name(pod)] = json!(rfc3339(now));
        let (word, reason) = condition(left);
        judge(status, word, reason, "", now);
    })?;
    Ok(())
}
