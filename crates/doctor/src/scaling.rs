//! The links between a ScaledObject and its workload: the object itself, the
//! scale target, the external metrics API and the HPA.

use api::keda::{SCALED_OBJECT_LABEL, ScaledObject};
use api::near;
use decide::scale::hpa_spec::hpa_name_in_use;
use decide::scale::pause::Steering;
use serde_json::Value;

use crate::cluster::text;
use crate::seen::{ClusterSeen, Look, ObjectSeen};
use crate::{Link, some};

/// Replicas and their bounds, as far as they are known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scale {
    /// What the workload asks for.
    pub(crate) replicas: Option<i64>,
    /// Pods that are ready.
    pub(crate) ready: i64,
    /// Lower bound of the ScaledObject.
    pub(crate) min: i32,
}

/// Reads them.
pub(crate) fn scale(seen: &ObjectSeen, scaled: Option<&ScaledObject>) -> Scale {
    let target = seen.target.got();
    Scale {
        // Kubernetes counts absence as one.
        replicas: target.map(|t| t["spec"]["replicas"].as_i64().unwrap_or(1)),
        ready: target.map_or(0, |t| t["status"]["readyReplicas"].as_i64().unwrap_or(0)),
        min: scaled.map_or(1, |scaled| scaled.spec.min()),
    }
}

/// The ScaledObject as a type, where it is there and can be read.
pub(crate) fn typed(seen: &ObjectSeen) -> Option<ScaledObject> {
    let value = seen.scaled.as_ref()?.got()?;
    serde_json::from_value(value.clone()).ok()
}

/// Whether the object is there and an operator works on it.
pub(crate) fn scaled_object(seen: &ObjectSeen, scaled: &Look<Value>) -> Link {
    const NAME: &str = "ScaledObject";
    let asked = &seen.asked;
    let namespace = &seen.namespace;
    if let Some(unseen) = scaled.unseen(NAME, asked) {
        return unseen;
    }
    let Some(value) = scaled.got() else {
        let (_, name) = asked.split_once('/').unwrap_or(("", asked));
        let names = || seen.names.iter().map(String::as_str);
        let cure = match near::meant(name, names()) {
            Some(near) => format!("Did you mean {near}?"),
            None if seen.names.is_empty() => {
                format!("There is none in namespace {namespace}; name another one with -n.")
            }
            None => format!(
                "There are {}; another namespace is named with -n.",
                some(names())
            ),
        };
        let finding = format!("{asked} does not exist in namespace {namespace}");
        return Link::broken(NAME, finding, cure);
    };
    if let Err(error) = serde_json::from_value::<ScaledObject>(value.clone()) {
        return Link::broken(
            NAME,
            format!("{asked} cannot be understood: {error}"),
            "Correct the field; `rheostat lint` shows the line.",
        );
    }
    let Some((status, reason, message)) = condition(value, "Ready") else {
        return Link::broken(
            NAME,
            format!("{asked} is there and no operator has looked at it"),
            "KEDA's operator or rheostat operator must run and watch this namespace \
             (WATCH_NAMESPACE).",
        );
    };
    // A missing target and a failing trigger have links of their own.
    if status == "False"
        && reason == "ScaledObjectCheckFailed"
        && !message.contains("scaleTargetRef specification")
    {
        return Link::broken(
            NAME,
            format!("{asked} is refused: {message}"),
            "Correct what the message names; `rheostat lint` knows most of these.",
        );
    }
    Link::ok(
        NAME,
        format!("{asked} in {namespace}: Ready {status} ({reason})"),
    )
}

/// Whether the workload is there and may be scaled.
pub(crate) fn target(seen: &ObjectSeen, scaled: Option<&ScaledObject>) -> Link {
    const NAME: &str = "scale target";
    let hpa = seen.hpa.got().map(|hpa| &hpa["spec"]["scaleTargetRef"]);
    let (kind, name) = match (scaled, hpa) {
        (Some(scaled), _) => {
            let target = &scaled.spec.scale_target_ref;
            (target.gvk().2, target.name.clone())
        }
        (None, Some(target)) => (
            text(&target["kind"]).to_owned(),
            text(&target["name"]).to_owned(),
        ),
        (None, None) => return Link::skipped(NAME, "Nothing names it"),
    };
    let what = format!("{kind} {name}");
    if let Some(unseen) = seen.target.unseen(NAME, &what) {
        return unseen;
    }
    let Some(target) = seen.target.got() else {
        let names = || seen.target_names.iter().map(String::as_str);
        let cure = match near::meant(&name, names()) {
            Some(near) => format!("Did you mean {near}? Correct scaleTargetRef.name."),
            None => format!(
                "Create it in namespace {}, or correct scaleTargetRef (name, kind, apiVersion).",
                seen.namespace
            ),
        };
        return Link::broken(NAME, format!("{what} does not exist"), cure);
    };
    if let Some(scaled) = scaled {
        let steering = Steering::of(&scaled.metadata.annotations);
        if let Some(link) = paused(NAME, &steering) {
            return link;
        }
    }
    if target["spec"]["paused"] == true {
        return Link::broken(
            NAME,
            format!("{what} is paused (spec.paused), so its pods do not follow"),
            format!("kubectl rollout resume {}/{name}", kind.to_lowercase()),
        );
    }
    let replicas = target["spec"]["replicas"].as_i64().unwrap_or(1);
    let ready = target["status"]["readyReplicas"].as_i64().unwrap_or(0);
    Link::ok(NAME, format!("{what}: {replicas} replicas, {ready} ready"))
}

fn paused(name: &str, steering: &Steering) -> Option<Link> {
    use api::keda::{PAUSED, PAUSED_REPLICAS, PAUSED_SCALE_IN, PAUSED_SCALE_OUT};
    let (annotation, what) = if steering.replicas.is_some() {
        (
            PAUSED_REPLICAS,
            "scaling is paused at a fixed number of replicas",
        )
    } else if steering.full {
        (PAUSED, "scaling is paused")
    } else if steering.scale_out {
        (PAUSED_SCALE_OUT, "scaling up is paused")
    } else if steering.scale_in {
        (PAUSED_SCALE_IN, "scaling down is paused")
    } else {
        return None;
    };
    Some(Link::broken(
        name,
        format!("By the annotation {annotation} {what}"),
        format!("Remove the annotation: kubectl annotate scaledobject NAME {annotation}-"),
    ))
}

/// Whether the API server passes the external metrics API on.
pub(crate) fn metrics_service(cluster: &ClusterSeen) -> Link {
    const NAME: &str = "external metrics API";
    const WHAT: &str = "APIService v1beta1.external.metrics.k8s.io";
    if let Some(unseen) = cluster.metrics_service.unseen(NAME, WHAT) {
        return unseen;
    }
    let Some(service) = cluster.metrics_service.got() else {
        return Link::broken(
            NAME,
            format!("{WHAT} does not exist, so an HPA has nobody to ask"),
            "Install KEDA's metrics server or rheostat operator with their APIService.",
        );
    };
    let by = served_by(service);
    match condition(service, "Available") {
        Some(("True", ..)) => Link::ok(NAME, format!("available, served by {by}")),
        found => {
            let why = match found {
                Some((_, reason, message)) => format!("{reason}: {message}"),
                None => "no condition yet".to_owned(),
            };
            Link::broken(
                NAME,
                format!("It is served by {by} and not available ({why})"),
                format!(
                    "The Service {by} must exist and have a ready pod, the API server reach its \
                     port (on private clusters: 6443 through the firewall), and caBundle match \
                     its certificate."
                ),
            )
        }
    }
}

fn served_by(service: &Value) -> String {
    let service = &service["spec"]["service"];
    match service.is_object() {
        true => format!("{}/{}", text(&service["namespace"]), text(&service["name"])),
        false => "the API server itself".to_owned(),
    }
}

/// The HPA's own questions.
pub(crate) fn questions(cluster: &ClusterSeen, seen: &ObjectSeen) -> Vec<Link> {
    const NAME: &str = "the HPA's question";
    let one = |answer: &crate::seen::Answer| {
        let metric = &answer.metric;
        let (finding, why) = match &answer.value {
            Look::Got(value) => return Link::ok(NAME, format!("{metric} is {value}")),
            Look::Denied(_) => {
                let what = format!("External metric {metric}");
                return answer.value.unseen(NAME, &what).unwrap_or_else(|| {
                    // A refusal always has a link.
                    Link::skipped(NAME, what)
                });
            }
            Look::Missing => (format!("{metric} is not known there"), ""),
            Look::Failed(why) => (
                format!("{metric} is answered with an error: {why}"),
                why.as_str(),
            ),
        };
        let by = cluster.metrics_service.got().map(served_by);
        let by = by.unwrap_or_default();
        let known = ["keda", "rheostat", "in-process"];
        let cure = if !known.iter().any(|k| by.contains(k)) && !by.is_empty() {
            format!(
                "{by} serves external metrics here and does not know ScaledObjects: a cluster has \
                 one server for this API, so remove the other adapter's APIService."
            )
        } else if why.contains("not found") {
            "The server of this API does not see the ScaledObject: it must watch its namespace."
                .to_owned()
        } else {
            "Mend the trigger; the server of this API says more in its log.".to_owned()
        };
        Link::broken(NAME, finding, cure)
    };
    seen.answers.iter().map(one).collect()
}

/// Whether the HPA is there and works.
pub(crate) fn hpa(seen: &ObjectSeen, scaled: Option<&ScaledObject>, scale: &Scale) -> Link {
    const NAME: &str = "HPA";
    if let Some(unseen) = seen.hpa.unseen(NAME, "The HPA") {
        return unseen;
    }
    let Some(hpa) = seen.hpa.got() else {
        let name = scaled.map(hpa_name_in_use).unwrap_or_default();
        return Link::broken(
            NAME,
            format!("{name} does not exist"),
            "The operator makes it once the ScaledObject's checks pass: kubectl describe the \
             ScaledObject and read its events.",
        );
    };
    let name = text(&hpa["metadata"]["name"]);
    for (kind, bad) in [("AbleToScale", "False"), ("ScalingActive", "False")] {
        let Some((status, reason, message)) = condition(hpa, kind) else {
            continue;
        };
        if status != bad {
            continue;
        }
        if reason == "ScalingDisabled" {
            // At zero the operator alone wakes the workload.
            let asleep = scale.min == 0 && scaled.is_some();
            if asleep {
                continue;
            }
            return Link::broken(
                NAME,
                format!("{name}: {message}"),
                "Set the workload's replicas to 1 or more; an HPA does not act at zero.",
            );
        }
        return Link::broken(
            NAME,
            format!("{name}: {kind} {status}, {reason}: {message}"),
            hpa_cure(reason),
        );
    }
    let Some((status, reason, _)) = condition(hpa, "ScalingActive") else {
        return Link::unknown(
            NAME,
            format!("{name} has not been evaluated yet"),
            "Wait for the HPA controller's period, 15 s.",
        );
    };
    let limited = condition(hpa, "ScalingLimited").filter(|(status, ..)| *status == "True");
    let max = hpa["spec"]["maxReplicas"].as_i64().unwrap_or(0);
    let limited = match limited {
        Some((_, "TooManyReplicas", _)) => format!("; held at its maximum of {max} replicas"),
        Some((_, reason, _)) => format!("; limited: {reason}"),
        None => String::new(),
    };
    Link::ok(
        NAME,
        format!("{name}: ScalingActive {status} ({reason}){limited}"),
    )
}

/// The ScaledObject that made an HPA.
pub fn maker(hpa: &Value) -> Option<&str> {
    hpa["metadata"]["labels"][SCALED_OBJECT_LABEL].as_str()
}

fn hpa_cure(reason: &str) -> &'static str {
    match reason {
        "FailedGetScale" | "FailedUpdateScale" => {
            "The scale target must exist and offer the scale subresource, and the HPA controller \
             may read and write it."
        }
        "AmbiguousSelector" => {
            "Two autoscalers select the same pods: delete one, or make the workloads' selectors \
             differ."
        }
        "InvalidSelector" => "The scale target's status has no selector: correct the custom kind.",
        "FailedGetExternalMetric" => {
            "Mend the trigger or the external metrics API. Where both answer now, the HPA follows \
             with its next evaluation, within 15 s."
        }
        "FailedGetResourceMetric" | "FailedGetContainerResourceMetric" => {
            "metrics-server must run, and each container have a request for the resource."
        }
        _ => "kubectl describe the HPA; the message names what it misses.",
    }
}

/// A condition of an object: status, reason and message.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let all = object["status"]["conditions"].as_array()?;
    let found = all.iter().find(|c| c["type"] == kind)?;
    Some((
        text(&found["status"]),
        text(&found["reason"]),
        text(&found["message"]),
    ))
}
