//! Subresources of pods and service accounts: binding, eviction, log, token.

use http::Response;
use jiff::ToSpan as _;
use serde_json::{Value, json};

use super::read::fetch;
use super::write::read_body;
use super::{Call, Target, answer};
use crate::deletion::DeleteOptions;
use crate::status::{Cause, Status};
use crate::{Body, value};

/// Success that stands for a created binding or eviction.
fn created() -> Response<Body> {
    answer::json(
        201,
        &json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
        }),
    )
}

/// POST of a Binding.
pub(crate) fn bind(call: &Call<'_>, target: &Target) -> Result<Response<Body>, Status> {
    let (body, _) = read_body(call)?;
    let name = if target.name.is_some() {
        target.name()
    } else {
        value::name(&body)
    };
    let node = value::text(&body, &["target", "name"]);
    if node.is_empty() {
        let cause = Cause {
            reason: "FieldValueRequired".to_owned(),
            message: "Required value".to_owned(),
            field: "target.name".to_owned(),
        };
        return Err(Status::invalid("Binding", "", name, vec![cause]));
    }
    call.cluster.bind(target.ns(), name, node)?;
    Ok(created())
}

/// POST of an Eviction.
pub(crate) fn evict(call: &Call<'_>, target: &Target) -> Result<Response<Body>, Status> {
    let (body, _) = read_body(call)?;
    let pod = fetch(call.cluster, target)?;
    let options = DeleteOptions {
        grace_period_seconds: value::integer(&body, &["deleteOptions", "gracePeriodSeconds"]),
        dry_run: call.dry_run()
            || value::strings(&body, &["deleteOptions", "dryRun"]).contains(&"All"),
        ..DeleteOptions::default()
    };
    let ended = matches!(
        value::text(&pod, &["status", "phase"]),
        "Succeeded" | "Failed"
    );
    if !ended && !value::deleting(&pod) {
        within_budgets(call, target.ns(), &pod)?;
    }
    let row = &target.endpoint.row;
    call.cluster.delete_row(row, &pod, &options)?;
    Ok(created())
}

/// Refuses an eviction that a disruption budget does not allow now.
fn within_budgets(call: &Call<'_>, ns: &str, pod: &Value) -> Result<(), Status> {
    for budget in call.cluster.list("poddisruptionbudgets.policy", Some(ns)) {
        let selector = &budget["spec"]["selector"];
        let selected = serde_json::from_value::<api::selector::LabelSelector>(selector.clone())
            .ok()
            .and_then(|s| s.to_selector().ok())
            .is_some_and(|s| s.matches_json(&pod["metadata"]["labels"]));
        if !selected {
            continue;
        }
        if let Some(blocked) = blocked_by(call, ns, &budget) {
            return Err(blocked);
        }
    }
    Ok(())
}

/// Why a budget has no room for one more disruption.
fn blocked_by(call: &Call<'_>, ns: &str, budget: &Value) -> Option<Status> {
    let selector: api::selector::LabelSelector =
        serde_json::from_value(budget["spec"]["selector"].clone()).ok()?;
    let selector = selector.to_selector().ok()?;
    let pods: Vec<_> = call
        .cluster
        .list("pods", Some(ns))
        .into_iter()
        .filter(|p| selector.matches_json(&p["metadata"]["labels"]))
        .collect();
    let healthy = pods
        .iter()
        .filter(|p| {
            !value::deleting(p)
                && value::list(p, &["status", "conditions"])
                    .iter()
                    .any(|c| c["type"] == "Ready" && c["status"] == "True")
        })
        .count() as i64;
    let expected = pods.len() as i64;
    let count = |v: &Value| -> Option<i64> {
        match v {
            Value::Number(n) => n.as_i64(),
            Value::String(s) => {
                let percent: i64 = s.strip_suffix('%')?.parse().ok()?;
                // Rounded up, as the disruption controller does.
                Some((expected * percent + 99) / 100)
            }
            _ => None,
        }
    };
    let needed = match (
        count(&budget["spec"]["minAvailable"]),
        count(&budget["spec"]["maxUnavailable"]),
    ) {
        (Some(minimum), _) => minimum,
        (None, Some(most)) => expected - most,
        (None, None) => return None,
    };
    if healthy > needed {
        return None;
    }
    let name = value::name(budget);
    let mut status = Status::new(
        429,
        "TooManyRequests",
        "Cannot evict pod as it would violate the pod's disruption budget.",
    );
    status.causes.push(Cause {
        reason: "DisruptionBudget".to_owned(),
        message: format!(
            "The disruption budget {name} needs {needed} healthy pods and has {healthy} currently"
        ),
        field: String::new(),
    });
    Some(status)
}

/// GET of a container's log.
pub(crate) fn log(call: &Call<'_>, target: &Target) -> Result<Response<Body>, Status> {
    let pod = fetch(call.cluster, target)?;
    let names: Vec<&str> = ["initContainers", "containers"]
        .iter()
        .flat_map(|key| value::list(&pod, &["spec", key]))
        .map(|c| value::text(c, &["name"]))
        .collect();
    let main = value::list(&pod, &["spec", "containers"]);
    let container = match call.query.get("container").filter(|c| !c.is_empty()) {
        Some(name) if names.contains(&name) => name,
        Some(name) => {
            return Err(Status::bad_request(format!(
                "container {name} is not valid for pod {}",
                target.name()
            )));
        }
        None => match main {
            [only] => value::text(only, &["name"]),
            many => {
                let all: Vec<&str> = many.iter().map(|c| value::text(c, &["name"])).collect();
                return Err(Status::bad_request(format!(
                    "a container name must be specified for pod {}, choose one of: [{}]",
                    target.name(),
                    all.join(" ")
                )));
            }
        },
    };
    let started = value::list(&pod, &["status", "containerStatuses"])
        .iter()
        .any(|s| {
            value::text(s, &["name"]) == container
                && (value::at(s, &["state", "running"]).is_some()
                    || value::at(s, &["state", "terminated"]).is_some())
        });
    if !started {
        let waiting = value::list(&pod, &["status", "containerStatuses"])
            .iter()
            .find(|s| value::text(s, &["name"]) == container)
            .map(|s| value::text(s, &["state", "waiting", "reason"]))
            .filter(|r| !r.is_empty())
            .unwrap_or("ContainerCreating");
        if value::text(&pod, &["spec", "nodeName"]).is_empty() {
            // A pod without a node has no log, which is not a failure.
            return Ok(answer::raw(200, "text/plain", ""));
        }
        return Err(Status::bad_request(format!(
            "container \"{container}\" in pod \"{}\" is waiting to start: {waiting}",
            target.name()
        )));
    }
    let mut lines = call
        .cluster
        .log_source()
        .map(|source| source(target.ns(), target.name(), container))
        .unwrap_or_default();
    if let Some(tail) = call.query.number("tailLines") {
        let skip = lines.len().saturating_sub(tail as usize);
        lines.drain(..skip);
    }
    let mut text = lines.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    Ok(answer::raw(200, "text/plain", text))
}

/// POST of a TokenRequest.
pub(crate) fn token(call: &Call<'_>, target: &Target) -> Result<Response<Body>, Status> {
    let (mut body, _) = read_body(call)?;
    let account = fetch(call.cluster, target)?;
    let seconds = value::integer(&body, &["spec", "expirationSeconds"]).unwrap_or(3600);
    let until = call
        .cluster
        .now()
        .checked_add(seconds.clamp(0, 1 << 32).seconds());
    let until = until.unwrap_or_else(|_| call.cluster.now());
    body["kind"] = json!("TokenRequest");
    body["apiVersion"] = json!("authentication.k8s.io/v1");
    body["metadata"] = json!({
        "name": target.name(), "namespace": target.ns(),
        "creationTimestamp": value::time(call.cluster.now()),
    });
    // Nothing checks it: whoever reaches this server may do everything.
    let token = format!(
        "lab.{}.{:x}",
        value::uid(&account),
        call.cluster.random(u64::MAX)
    );
    body["status"] = json!({"token": token, "expirationTimestamp": value::time(until)});
    Ok(answer::json(201, &body))
}
