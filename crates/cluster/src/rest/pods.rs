//! Subresources of pods and service accounts: binding, eviction, log, token.

use decide::budget::{self, Budget, Refusal};
use http::Response;
use jiff::ToSpan as _;
use serde_json::{Value, json};

use super::read::fetch;
use super::write::read_body;
use super::{Call, Target, answer};
use crate::controllers::disruption;
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
    let labels = &pod["metadata"]["labels"];
    let all = call.cluster.list(disruption::RESOURCE, Some(target.ns()));
    let budgets: Vec<Budget> = all
        .iter()
        .map(|b| Budget::parse(b))
        .filter(|b| b.selector.matches_json(labels))
        .collect();
    match budget::evict(&pod, &budgets) {
        Ok(Some(budget)) if !options.dry_run => disruption::take(call.cluster, budget, &pod)?,
        Ok(_) => {}
        Err(refusal) => return Err(refused(&refusal)),
    }
    let row = &target.endpoint.row;
    call.cluster.delete_row(row, &pod, &options)?;
    Ok(created())
}

/// A refused eviction, as the API server puts it.
fn refused(refusal: &Refusal) -> Status {
    let text = refusal.to_string();
    match refusal {
        Refusal::Several => Status::new(500, "", text),
        Refusal::Crowded(budget) => Status::forbidden(disruption::RESOURCE, budget, &text),
        Refusal::Unprocessed(_)
        | Refusal::Failed(..)
        | Refusal::Exhausted(..)
        | Refusal::Closed(_) => {
            let mut status = Status::new(
                429,
                "TooManyRequests",
                "Cannot evict pod as it would violate the pod's disruption budget.",
            );
            if matches!(refusal, Refusal::Unprocessed(_)) {
                status.retry_after = Some(10);
            }
            status.causes.push(Cause {
                reason: "DisruptionBudget".to_owned(),
                message: text,
                field: String::new(),
            });
            status
        }
    }
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
    let Some(source) = call.cluster.log_source() else {
        return Err(no_kubelet(call, &pod));
    };
    let mut lines = source(target.ns(), target.name(), container);
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

/// What the API server says when it cannot reach the kubelet of a pod's node.
pub(crate) fn no_kubelet(call: &Call<'_>, pod: &Value) -> Status {
    let node = value::text(pod, &["spec", "nodeName"]);
    let node = call.cluster.get("nodes", "", node).unwrap_or_default();
    let known = value::list(&node, &["status", "addresses"]);
    let text = match known {
        [] => "no preferred addresses found; known addresses: []".to_owned(),
        [first, ..] => format!(
            "dial tcp {}: no kubelet answers there: the nodes of this control plane are not its own",
            value::text(first, &["address"])
        ),
    };
    Status::new(500, "", text)
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
