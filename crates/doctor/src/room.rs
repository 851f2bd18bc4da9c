//! The links of the workload's pods: what keeps them from running, and whether
//! a pool has room for them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cluster::text;
use crate::scaling::condition;
use crate::seen::{ClusterSeen, ObjectSeen};
use crate::{Link, count, some};

/// Reasons of a waiting container that do not pass by themselves.
const STUCK: &[(&str, &str)] = &[
    (
        "ImagePullBackOff",
        "Correct the image's name, or give the pod imagePullSecrets.",
    ),
    (
        "ErrImagePull",
        "Correct the image's name, or give the pod imagePullSecrets.",
    ),
    (
        "CrashLoopBackOff",
        "Read the log of the run before: kubectl logs --previous.",
    ),
    (
        "CreateContainerConfigError",
        "A ConfigMap or Secret that the container names is missing.",
    ),
    (
        "RunContainerError",
        "kubectl describe the pod; with GPUs it is often the container runtime's NVIDIA hook.",
    ),
];

/// Both links.
pub(crate) fn links(cluster: &ClusterSeen, seen: &ObjectSeen) -> Vec<Link> {
    const PODS: &str = "pods";
    if let Some(unseen) = seen.pods.unseen(PODS, "Pods") {
        return vec![unseen];
    }
    let pods = seen.pods.got().map_or(&[][..], Vec::as_slice);
    let waiting: Vec<(&Value, &str)> = pods.iter().filter_map(unscheduled).collect();
    vec![
        running(seen, pods, waiting.len()),
        room(cluster, seen, &waiting),
    ]
}

/// A pod that no node takes, with the scheduler's sentence.
fn unscheduled(pod: &Value) -> Option<(&Value, &str)> {
    match condition(pod, "PodScheduled") {
        Some(("False", _, message)) => Some((pod, message)),
        _ => None,
    }
}

/// Names of pods that no node takes.
pub fn waiting(pods: &[Value]) -> impl Iterator<Item = &str> {
    let names = pods.iter().filter_map(unscheduled);
    names.map(|(pod, _)| text(&pod["metadata"]["name"]))
}

fn running(seen: &ObjectSeen, pods: &[Value], waiting: usize) -> Link {
    const NAME: &str = "pods";
    let failure = seen
        .target
        .got()
        .and_then(|t| condition(t, "ReplicaFailure"));
    if let Some(("True", _, message)) = failure {
        let cure = match message.contains("exceeded quota") {
            true => "Raise the namespace's ResourceQuota, or ask for less.",
            false => "The message names the admission rule that refuses the pods.",
        };
        return Link::broken(NAME, format!("Pods cannot be made: {message}"), cure);
    }
    for pod in pods {
        let statuses = pod["status"]["containerStatuses"].as_array();
        for container in statuses.into_iter().flatten() {
            let state = &container["state"]["waiting"];
            let reason = text(&state["reason"]);
            if let Some((_, cure)) = STUCK.iter().find(|(stuck, _)| *stuck == reason) {
                let name = text(&pod["metadata"]["name"]);
                let message = text(&state["message"]);
                return Link::broken(NAME, format!("{name}: {reason}: {message}"), *cure);
            }
        }
    }
    let ready = pods
        .iter()
        .filter(|pod| matches!(condition(pod, "Ready"), Some(("True", ..))))
        .count();
    let others = pods.len().saturating_sub(ready + waiting);
    let mut finding = format!("{ready} of {} ready", count(pods.len(), "pod"));
    if others > 0 {
        finding.push_str(&format!(", {others} starting or ending"));
    }
    if waiting > 0 {
        finding.push_str(&format!(", {waiting} waiting for a node"));
    }
    Link::ok(NAME, finding)
}

fn room(cluster: &ClusterSeen, seen: &ObjectSeen, waiting: &[(&Value, &str)]) -> Link {
    const NAME: &str = "pool room";
    let Some((_, scheduler)) = waiting.first() else {
        return Link::ok(NAME, "No pod waits for a node");
    };
    if let Some(unseen) = seen.events.unseen(NAME, "Events") {
        return unseen;
    }
    let names: Vec<&str> = waiting
        .iter()
        .map(|(pod, _)| text(&pod["metadata"]["name"]))
        .collect();
    let who = count(names.len(), "pod");
    let waits = if names.len() == 1 { "waits" } else { "wait" };
    let newest = newest_of_autoscaler(seen);
    let ordered = newest
        .values()
        .filter(|event| event["reason"] == "TriggeredScaleUp");
    let refused = newest
        .values()
        .filter(|event| event["reason"] != "TriggeredScaleUp");
    // A group that cannot grow says nothing about a pod for which another was
    // asked.
    let asked: Vec<&str> = ordered
        .clone()
        .map(|event| text(&event["message"]))
        .collect();
    if let Some(problem) = trouble(cluster, &asked) {
        let finding = format!("{who} {waits}, and the pool cannot grow: {problem}");
        return Link::broken(NAME, finding, trouble_cure(&problem));
    }
    if let Some(refused) = refused.into_iter().next() {
        let message = text(&refused["message"]);
        let finding = format!("{who} {waits} ({}): {message}", some(names.iter().copied()));
        return Link::broken(NAME, finding, refusal_cure(message));
    }
    if let Some(ordered) = ordered.into_iter().next() {
        let message = text(&ordered["message"]);
        return Link::ok(
            NAME,
            format!("{who} {waits} for a node that is ordered: {message}"),
        );
    }
    Link::broken(
        NAME,
        format!("{who} {waits} and no autoscaler has said anything: {scheduler}"),
        scheduler_cure(scheduler),
    )
}

/// The newest event of the cluster autoscaler about each waiting pod.
fn newest_of_autoscaler(seen: &ObjectSeen) -> BTreeMap<&str, &Value> {
    let mut newest: BTreeMap<&str, &Value> = BTreeMap::new();
    let all = seen.events.got().map_or(&[][..], Vec::as_slice);
    for event in all {
        if !matches!(
            text(&event["reason"]),
            "TriggeredScaleUp" | "NotTriggerScaleUp" | "FailedScaleUp"
        ) {
            continue;
        }
        let pod = text(&event["involvedObject"]["name"]);
        let known = newest.get(pod);
        if known.is_none_or(|known| time(known) <= time(event)) {
            newest.insert(pod, event);
        }
    }
    newest
}

/// When an event last happened; times of one form compare as texts.
fn time(event: &Value) -> &str {
    let fields = ["lastTimestamp", "eventTime", "firstTimestamp"];
    let found = fields.iter().find_map(|field| event[*field].as_str());
    found.unwrap_or_else(|| text(&event["metadata"]["creationTimestamp"]))
}

/// What keeps a pool from growing, by the autoscaler's status: a group in
/// back-off with the cloud's reason.
///
/// Where nodes have been ordered (`ordered` are the events' messages), only
/// the groups that those name count.
fn trouble(cluster: &ClusterSeen, ordered: &[&str]) -> Option<String> {
    let status = api::yaml::parse(cluster.autoscaler.got()?).ok()?;
    let groups = status["nodeGroups"].as_array()?;
    let group = groups.iter().find(|group| {
        // As the autoscaler writes it: `pod triggered scale-up: [{NAME 0->1 (max: 2)}]`.
        let named = format!("{{{} ", text(&group["name"]));
        let concerned = ordered.is_empty() || ordered.iter().any(|said| said.contains(&named));
        group["scaleUp"]["status"] == "Backoff" && concerned
    })?;
    let name = text(&group["name"]);
    let info = &group["scaleUp"]["backoffInfo"];
    let said = match text(&info["errorMessage"]) {
        "" => last_failure(cluster, name).unwrap_or(text(&info["errorCode"])),
        message => message,
    };
    Some(match said {
        "" => format!("{name} is in back-off after a failed scale-up"),
        said => format!("{name} is in back-off after a failed scale-up: {said}"),
    })
}

/// The newest failure of a group that the autoscaler has told.
fn last_failure<'a>(cluster: &'a ClusterSeen, group: &str) -> Option<&'a str> {
    let all = cluster.autoscaler_events.got()?;
    let failures = all.iter().filter(|event| {
        matches!(
            text(&event["reason"]),
            "FailedToScaleUpGroup" | "ScaleUpFailed" | "ScaleUpTimedOut"
        ) && text(&event["message"]).contains(group)
    });
    failures
        .max_by_key(|event| time(event))
        .map(|event| text(&event["message"]))
}

fn trouble_cure(problem: &str) -> &'static str {
    let lower = problem.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if has(&["quota"]) {
        "Ask the cloud for more quota of this machine size in this region, or let another pool \
         serve the workload."
    } else if has(&[
        "stock",
        "capacity",
        "allocationfailed",
        "skunotavailable",
        "zonalallocation",
    ]) {
        "The cloud has no such machine now. Wait, or add a pool of another size, zone or region \
         that the pods may use as well."
    } else if has(&["register", "timed out", "timeout"]) {
        "Machines come and do not become nodes: look at their boot log, and at the subnet's free \
         addresses."
    } else {
        "Look at the node pool in the cloud's portal; the autoscaler tries again by itself."
    }
}

fn refusal_cure(message: &str) -> &'static str {
    if message.contains("max node group size reached") || message.contains("max total nodes") {
        "Raise the pool's maximum, or lower maxReplicaCount to what the pool can hold."
    } else if message.contains("backoff") {
        "A scale-up has failed a short time before: look at the node pool in the cloud's portal."
    } else if message.contains("untolerated taint") {
        "Give the pods a toleration for the pool's taint."
    } else if message.contains("affinity") || message.contains("selector") {
        "No pool's nodes have the labels that nodeSelector or affinity ask for."
    } else if message.contains("Insufficient") {
        "No pool's node is large enough for the pod: ask for less, or add a pool with more GPUs a \
         node. A pool that scales from zero must declare its GPUs (labels and tags of the group)."
    } else {
        "The message says for each pool why it cannot help; correct the pods or a pool."
    }
}

fn scheduler_cure(message: &str) -> &'static str {
    if message.contains("untolerated taint") && !message.contains("Insufficient") {
        "Give the pods a toleration for the GPU nodes' taint."
    } else if message.contains("affinity") || message.contains("selector") {
        "No node has the labels that nodeSelector or affinity ask for."
    } else {
        "Enable the autoscaler of the GPU pool (az aks nodepool update --enable-cluster-autoscaler \
         --min-count 0 --max-count N), or run rheostat nodepools, or add nodes by hand."
    }
}
