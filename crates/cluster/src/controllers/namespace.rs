//! Namespaces: what every new one holds, and how one is emptied.

use serde_json::{Value, json};

use super::object::{rfc3339, text};
use super::{Ctx, Requeue};
use crate::value::{condition, deleting, list, map_mut, set_condition};
use crate::{DeleteOptions, Status};

const RESOURCE: &str = "namespaces";
pub(crate) const ROOT_CA: &str = "kube-root-ca.crt";
const ACCOUNT: &str = "serviceaccounts";

/// Brings one namespace up to date.
pub(crate) fn sync(ctx: &Ctx<'_>, ns: &str) -> Result<Requeue, Status> {
    let namespace = match ctx.cluster.get(RESOURCE, "", ns) {
        Ok(n) => n,
        Err(e) if e.is_not_found() => return Ok(Requeue::Done),
        Err(e) => return Err(e),
    };
    if deleting(&namespace) {
        empty(ctx, ns, &namespace)
    } else {
        furnish(ctx, ns)
    }
}

/// Gives a namespace its default service account and the root certificate.
fn furnish(ctx: &Ctx<'_>, ns: &str) -> Result<Requeue, Status> {
    if ctx.cluster.get(ACCOUNT, ns, "default").is_err() {
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": ns},
        });
        ignore_existing(ctx.cluster.create(ACCOUNT, account))?;
    }
    if ctx.cluster.get("configmaps", ns, ROOT_CA).is_err() {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": ROOT_CA, "namespace": ns,
                "annotations": {
                    "kubernetes.io/description": "Contains a CA bundle that can be used to verify \
                        the kube-apiserver when using internal endpoints such as the internal \
                        service IP or kubernetes.default.svc. No other usage is guaranteed across \
                        distributions of Kubernetes clusters.",
                },
            },
            "data": {"ca.crt": ctx.options.root_ca.as_str()},
        });
        ignore_existing(ctx.cluster.create("configmaps", map))?;
    }
    Ok(Requeue::Done)
}

fn ignore_existing<T>(result: Result<T, Status>) -> Result<(), Status> {
    match result {
        Err(e) if !e.is_already_exists() => Err(e),
        _ => Ok(()),
    }
}

/// Deletes what a namespace holds; when nothing is left, lets it go.
fn empty(ctx: &Ctx<'_>, ns: &str, namespace: &Value) -> Result<Requeue, Status> {
    if list(namespace, &["spec", "finalizers"]).is_empty() {
        return Ok(Requeue::Done);
    }
    for event in ctx.cluster.list("events", Some(ns)) {
        let name = text(&event, &["metadata", "name"]);
        // An event that went by itself in the meantime is what is wanted.
        let _ = ctx
            .cluster
            .delete("events", ns, name, DeleteOptions::default());
    }
    let mut left = std::collections::BTreeMap::<String, usize>::new();
    let mut held = std::collections::BTreeMap::<String, usize>::new();
    for place in ctx.index.in_namespace(ns) {
        let Ok(object) = ctx.cluster.get(&place.resource, ns, &place.name) else {
            continue;
        };
        if !deleting(&object) {
            match ctx
                .cluster
                .delete(&place.resource, ns, &place.name, DeleteOptions::default())
            {
                Err(e) if !e.is_not_found() => return Err(e),
                _ => {}
            }
        }
        let Ok(object) = ctx.cluster.get(&place.resource, ns, &place.name) else {
            continue;
        };
        *left.entry(place.resource.to_string()).or_insert(0) += 1;
        for finalizer in list(&object, &["metadata", "finalizers"]) {
            *held
                .entry(finalizer.as_str().unwrap_or("").to_owned())
                .or_insert(0) += 1;
        }
    }
    if left.is_empty() {
        ctx.cluster.modify(RESOURCE, "", ns, |n| {
            map_mut(n, &["spec"]).remove("finalizers");
        })?;
        return Ok(Requeue::Done);
    }
    report(ctx, ns, namespace, &left, &held)?;
    // Each removal in the namespace brings it back here.
    Ok(Requeue::Done)
}

fn counted(n: &std::collections::BTreeMap<String, usize>, noun: &str) -> String {
    let parts: Vec<String> = n
        .iter()
        .map(|(what, n)| format!("{what} {noun} {n} resource instances"))
        .collect();
    parts.join(", ")
}

/// Says in the namespace's conditions what it waits for.
fn report(
    ctx: &Ctx<'_>,
    ns: &str,
    namespace: &Value,
    left: &std::collections::BTreeMap<String, usize>,
    held: &std::collections::BTreeMap<String, usize>,
) -> Result<(), Status> {
    let remaining = format!("Some resources are remaining: {}", counted(left, "has"));
    let finalizers = format!(
        "Some content in the namespace has finalizers remaining: {}",
        counted(held, "in")
    );
    let wanted = [
        (
            "NamespaceDeletionDiscoveryFailure",
            "False",
            "ResourcesDiscovered",
            "All resources successfully discovered".to_owned(),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".to_owned(),
        ),
        (
            "NamespaceDeletionContentFailure",
            "False",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization".to_owned(),
        ),
        (
            "NamespaceContentRemaining",
            "True",
            "SomeResourcesRemain",
            remaining,
        ),
        if held.is_empty() {
            (
                "NamespaceFinalizersRemaining",
                "False",
                "ContentHasNoFinalizers",
                "All content-preserving finalizers finished".to_owned(),
            )
        } else {
            (
                "NamespaceFinalizersRemaining",
                "True",
                "SomeFinalizersRemain",
                finalizers,
            )
        },
    ];
    let same = wanted.iter().all(|(kind, _, _, message)| {
        condition(namespace, kind).is_some_and(|c| c["message"] == message.as_str())
    });
    if same {
        return Ok(());
    }
    let now = rfc3339(ctx.now);
    ctx.cluster.modify_status(RESOURCE, "", ns, |n| {
        let target = map_mut(n, &["status"]);
        for (kind, status, reason, message) in &wanted {
            set_condition(
                target,
                json!({"type": kind, "status": status, "reason": reason, "message": message,
                       "lastTransitionTime": now}),
            );
        }
    })?;
    Ok(())
}
