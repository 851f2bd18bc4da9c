//! The links of one scaled object, in the order in which each needs the one
//! before it.

use serde_json::Value;

use crate::cluster::text;
use crate::seen::{ClusterSeen, Look, ObjectSeen};
use crate::{Link, State, room, scaling, signal};

/// The links from a ScaledObject (or an HPA of somebody else) to its pods.
///
/// The scale target comes before the signal, since KEDA reads no trigger and
/// makes no HPA without it.
pub fn object(cluster: &ClusterSeen, seen: &ObjectSeen) -> Vec<Link> {
    let scaled = scaling::typed(seen);
    let scaled = scaled.as_ref();
    let scale = scaling::scale(seen, scaled);
    let mut links = Vec::new();
    if let Some(look) = &seen.scaled {
        let link = scaling::scaled_object(seen, look);
        let ends = link.state == State::Broken && scaled.is_none() || look.got().is_none();
        links.push(link);
        if ends {
            return links;
        }
    } else if let Some(unseen) = seen.hpa.unseen("HPA", "The HPA") {
        links.push(unseen);
        return links;
    } else if seen.hpa == Look::Missing {
        links.push(nothing_scales(seen));
        return links;
    }
    let target = scaling::target(seen, scaled);
    links.push(target);
    if seen.scaled.is_some() {
        links.extend(signal::links(cluster, seen, &scale));
    }
    if needs_external(seen) {
        links.push(scaling::metrics_service(cluster));
        links.extend(scaling::questions(cluster, seen));
    }
    links.push(scaling::hpa(seen, scaled, &scale));
    links.extend(room::links(cluster, seen));
    links
}

/// The link that lists a cluster's ScaledObjects; where there are none, the
/// external metrics API stands for what they would need.
pub fn listed(scaled: &Look<Vec<Value>>, cluster: &ClusterSeen) -> Vec<Link> {
    const NAME: &str = "ScaledObjects";
    if let Some(unseen) = scaled.unseen(NAME, "ScaledObjects") {
        return vec![unseen];
    }
    match scaled.got().map_or(0, Vec::len) {
        0 => vec![
            Link::skipped(NAME, "There are none"),
            scaling::metrics_service(cluster),
        ],
        n => vec![Link::ok(NAME, crate::count(n, "ScaledObject"))],
    }
}

/// Whether the HPA asks the external metrics API, as every HPA of KEDA does
/// but for those with resource triggers alone.
fn needs_external(seen: &ObjectSeen) -> bool {
    let Some(hpa) = seen.hpa.got() else {
        return seen.scaled.is_some();
    };
    let metrics = hpa["spec"]["metrics"].as_array();
    metrics.is_some_and(|all| all.iter().any(|m| text(&m["type"]) == "External"))
}

fn nothing_scales(seen: &ObjectSeen) -> Link {
    const NAME: &str = "HPA";
    let (asked, namespace) = (&seen.asked, &seen.namespace);
    match asked.split_once('/') {
        Some(("hpa", name)) => {
            let names = seen.names.iter().map(String::as_str);
            Link::broken(
                NAME,
                format!("{asked} does not exist in namespace {namespace}"),
                match api::near::meant(name, names) {
                    Some(near) => format!("Did you mean {near}?"),
                    None => format!("An HPA of KEDA is called keda-hpa-NAME; try so/{name}."),
                },
            )
        }
        _ => Link::broken(
            NAME,
            format!("No ScaledObject and no HPA in namespace {namespace} points to {asked}"),
            "Create a ScaledObject whose scaleTargetRef names it, or name another namespace with \
             -n.",
        ),
    }
}

/// The external metrics that an HPA asks for: name and label selector, as they
/// stand in a request.
pub fn questions(hpa: &Value) -> Vec<(String, String)> {
    let metrics = hpa["spec"]["metrics"].as_array().into_iter().flatten();
    metrics
        .filter(|metric| text(&metric["type"]) == "External")
        .map(|metric| {
            let metric = &metric["external"]["metric"];
            let selector =
                serde_json::from_value::<api::selector::LabelSelector>(metric["selector"].clone());
            let selector = selector.ok().and_then(|s| s.to_selector().ok());
            let selector = selector.map_or_else(String::new, |s| s.to_string());
            (text(&metric["name"]).to_owned(), selector)
        })
        .collect()
}
