//! Server-side apply.

use http::Response;
use serde_json::{Value, json};

use super::negotiate::form;
use super::read::{fetch, show};
use super::write::{accept, options, place, rename};
use super::{Call, Target, answer};
use crate::cluster::WriteOptions;
use crate::schema::{self, ApplyError};
use crate::status::{Cause, Status};
use crate::{Body, hooks, value, views};

/// PATCH with an apply body.
pub(crate) fn apply(
    call: &Call<'_>,
    target: &Target,
    subresource: &'static str,
) -> Result<Response<Body>, Status> {
    let wanted = form(call.header("accept"))?;
    let manager = call.manager();
    let endpoint = &target.endpoint;
    let row = &endpoint.row;
    let (body, duplicates) = read(call)?;
    if value::at(&body, &["metadata", "managedFields"]).is_some() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    for key in ["apiVersion", "kind"] {
        if value::text(&body, &[key]).is_empty() {
            return Err(Status::bad_request(format!(
                "{key} must be set in an apply patch"
            )));
        }
    }
    let given = value::name(&body);
    if !given.is_empty() && given != target.name() {
        return Err(Status::bad_request(format!(
            "metadata.name ({given}) does not match the name on the URL ({})",
            target.name()
        )));
    }
    declared(target, &body)?;
    // The applied body must not be filled up with defaults, so only its fields are checked.
    let (_, mut warnings) = accept(call, endpoint, body.clone(), duplicates)?;
    let mut applied = body;
    value::metadata_mut(&mut applied).insert("name".to_owned(), json!(target.name()));
    place(target, &mut applied)?;
    let live = match fetch(call.cluster, target) {
        Ok(object) => Some(object),
        Err(status) if status.is_not_found() && subresource.is_empty() => None,
        Err(status) => return Err(status),
    };
    if live.is_none() && !value::resource_version(&applied).is_empty() {
        return Err(Status::modified(&endpoint.name(), target.name()));
    }
    let shown = live
        .as_ref()
        .map(|l| views::served(endpoint, l).into_owned());
    let schema = hooks::schema(endpoint);
    let merged = schema::server_side_apply(
        schema.get(),
        shown.as_ref(),
        &applied,
        &manager,
        subresource,
        call.query.flag("force"),
        &value::time(call.cluster.now()),
    )
    .map_err(refused)?;
    let (new, _) = hooks::decode(endpoint, merged, vec![], schema::FieldValidation::Ignore)?;
    let new: Value = views::stored(endpoint, new);
    let options = WriteOptions {
        applied: true,
        manager,
        ..options(call, endpoint, subresource)
    };
    let (written, code) = match &live {
        None => (call.cluster.create_row(row, new, &options), 201),
        // Apply does not need the version it was worked out from.
        Some(old) => {
            let mut new = new;
            if value::resource_version(&applied).is_empty() {
                let version = value::resource_version(old).to_owned();
                value::metadata_mut(&mut new).insert("resourceVersion".to_owned(), json!(version));
            }
            (call.cluster.update_row(row, old, new, &options), 200)
        }
    };
    let written = written.map_err(|s| rename(s, target))?;
    warnings.extend(written.warnings);
    let response = show(call, target, code, &written.object, wanted);
    Ok(answer::warn(response, &warnings))
}

/// Apply knows declared fields only, whatever the field validation; the first that it comes
/// upon is named.
fn declared(target: &Target, body: &Value) -> Result<(), Status> {
    let endpoint = &target.endpoint;
    let mode = schema::FieldValidation::Warn;
    let Ok((_, found)) = hooks::decode(endpoint, body.clone(), vec![], mode) else {
        // It says itself what cannot be read.
        return Ok(());
    };
    let unknown = found.iter().filter_map(|text| {
        let path = text.strip_prefix("unknown field \"")?.strip_suffix('"')?;
        Some((path.matches('.').count(), path))
    });
    let Some((_, path)) = unknown.min() else {
        return Ok(());
    };
    let name = match &target.namespace {
        Some(ns) => format!("{ns}/{}", target.name()),
        None => format!("/{}", target.name()),
    };
    let version = value::text(body, &["apiVersion"]);
    let text = format!(
        "failed to create typed patch object ({name}; {version}, Kind={}): .{}: field not \
         declared in schema",
        endpoint.row.kind,
        by_name(body, path)
    );
    Err(Status::new(500, "", text))
}

/// A path with its items called by their names, where they have one.
fn by_name(body: &Value, path: &str) -> String {
    let mut out = String::new();
    let mut at = body;
    for step in path.split_inclusive(['.', '[', ']']) {
        let key = step.trim_end_matches(['.', '[', ']']);
        if let (Ok(index), true) = (key.parse::<usize>(), step.ends_with(']')) {
            at = &at[index];
            match at["name"].as_str() {
                Some(name) => out.push_str(&format!("name={name:?}]")),
                None => out.push_str(step),
            }
        } else {
            if !key.is_empty() {
                at = &at[key];
            }
            out.push_str(step);
        }
    }
    out
}

pub(super) fn read(call: &Call<'_>) -> Result<(Value, Vec<String>), Status> {
    // The body is called YAML and is nearly always JSON.
    if let Ok(read) = schema::decode_json(&call.body) {
        return Ok(read);
    }
    let text = std::str::from_utf8(&call.body)
        .map_err(|_| Status::bad_request("error decoding YAML: the body is not UTF-8"))?;
    let value = api::yaml::parse(text)
        .map_err(|e| Status::bad_request(format!("error decoding YAML: {e}")))?;
    if !value.is_object() {
        return Err(Status::bad_request(
            "error decoding YAML: the body is not an object",
        ));
    }
    Ok((value, vec![]))
}

pub(super) fn refused(error: ApplyError) -> Status {
    let text = error.to_string();
    match error {
        ApplyError::BadRequest(message) => Status::bad_request(message),
        ApplyError::Conflicts(conflicts) => {
            let mut status = Status::new(409, "Conflict", text);
            status.causes = conflicts
                .into_iter()
                .map(|c| Cause {
                    reason: "FieldManagerConflict".to_owned(),
                    message: format!("conflict with {}", c.manager),
                    field: c.field,
                })
                .collect();
            status
        }
    }
}
