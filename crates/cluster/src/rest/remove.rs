//! DELETE.

use http::Response;
use serde_json::{Value, json};

use super::filter::Filter;
use super::negotiate::Form;
use super::read::{fetch, matching, show};
use super::write::{read_body, rename};
use super::{Call, Target, answer};
use crate::deletion::{DeleteOptions, Propagation};
use crate::resource::Endpoint;
use crate::status::Status;
use crate::{Body, value, views};

/// The options of a deletion, from body and query.
pub(crate) fn options(call: &Call<'_>) -> Result<DeleteOptions, Status> {
    let body = if call.body.is_empty() {
        Value::Null
    } else {
        read_body(call)?.0
    };
    let policy = match value::text(&body, &["propagationPolicy"]) {
        "" => call.query.get("propagationPolicy").unwrap_or(""),
        text => text,
    };
    let orphan = match &body["orphanDependents"] {
        Value::Bool(b) => Some(*b),
        _ => call
            .query
            .get("orphanDependents")
            .map(|v| v == "true" || v == "1"),
    };
    let mut causes = Vec::new();
    let mut refuse = |reason: &str, message: String| {
        causes.push(crate::Cause {
            reason: reason.to_owned(),
            message,
            field: "propagationPolicy".to_owned(),
        });
    };
    let propagation = Propagation::parse(policy);
    if orphan.is_some() && !policy.is_empty() {
        let message = format!(
            "Invalid value: \"{policy}\": orphanDependents and deletionPropagation cannot be both set"
        );
        refuse("FieldValueInvalid", message);
    }
    if propagation.is_none() && !policy.is_empty() {
        let message = format!(
            "Unsupported value: \"{policy}\": supported values: \"Background\", \"Foreground\", \
             \"Orphan\", \"nil\""
        );
        refuse("FieldValueNotSupported", message);
    }
    let mut dry = value::strings(&body, &["dryRun"]);
    dry.extend(call.query.get("dryRun"));
    causes.extend(dry.iter().find_map(|v| super::options::dry_run(v)));
    if !causes.is_empty() {
        return Err(Status::invalid("DeleteOptions", "meta.k8s.io", "", causes));
    }
    let grace = super::options::integer(call, "gracePeriodSeconds")?;
    let mut out = DeleteOptions {
        dry_run: dry.contains(&"All"),
        propagation: propagation.or(match orphan {
            Some(true) => Some(Propagation::Orphan),
            Some(false) => Some(Propagation::Background),
            None => None,
        }),
        grace_period_seconds: value::integer(&body, &["gracePeriodSeconds"]).or(grace),
        ..DeleteOptions::default()
    };
    let precondition = |key: &str| match value::text(&body, &["preconditions", key]) {
        "" => None,
        text => Some(text.to_owned()),
    };
    out.uid = precondition("uid");
    out.resource_version = precondition("resourceVersion");
    Ok(out)
}

/// Kinds whose deletion answers with the object even when it is gone at once.
fn returns_object(endpoint: &Endpoint) -> bool {
    matches!(
        &*endpoint.row.name,
        "pods"
            | "podtemplates"
            | "serviceaccounts"
            | "services"
            | "resourcequotas"
            | "persistentvolumes"
            | "persistentvolumeclaims"
    )
}

/// DELETE of one object.
pub(crate) fn one(call: &Call<'_>, target: &Target) -> Result<Response<Body>, Status> {
    let options = options(call)?;
    let row = &target.endpoint.row;
    let old = fetch(call.cluster, target)?;
    let (object, gone) = call
        .cluster
        .delete_row(row, &old, &options)
        .map_err(|s| rename(s, target))?;
    if gone && !returns_object(&target.endpoint) {
        let mut details = json!({
            "name": target.name(), "kind": row.plural, "uid": value::uid(&object),
        });
        if !target.endpoint.group.is_empty() {
            details["group"] = json!(target.endpoint.group);
        }
        return Ok(answer::success(&details));
    }
    Ok(show(call, target, 200, &object, Form::Plain))
}

/// DELETE of a collection.
pub(crate) fn collection(call: &Call<'_>, target: &Target) -> Result<Response<Body>, Status> {
    let options = options(call)?;
    let filter = Filter::of(call, target)?;
    let endpoint = &target.endpoint;
    let row = &endpoint.row;
    let objects = call.cluster.with_store(|store| {
        store
            .shelves
            .get(&*row.name)
            .map(|shelf| matching(&shelf.objects, &filter, row, None))
            .unwrap_or_default()
    });
    let mut items = Vec::new();
    for old in objects {
        match call.cluster.delete_row(row, &old, &options) {
            Ok((object, _)) => items.push(views::served(endpoint, &object).into_owned()),
            // Someone else was faster.
            Err(status) if status.is_not_found() => {}
            Err(status) => return Err(rename(status, target)),
        }
    }
    let version = call.cluster.with_store(|s| s.version);
    Ok(answer::json(
        200,
        &json!({
            "kind": row.list_kind, "apiVersion": endpoint.api_version(),
            "metadata": {"resourceVersion": version.to_string()}, "items": items,
        }),
    ))
}
