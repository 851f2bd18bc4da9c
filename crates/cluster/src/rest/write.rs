//! POST and PUT.

use std::sync::Arc;

use http::Response;
use serde_json::{Value, json};

use super::negotiate::form;
use super::read::{fetch, show};
use super::{Call, Target, answer};
use crate::cluster::{WriteOptions, Written};
use crate::resource::Endpoint;
use crate::schema::FieldValidation;
use crate::status::Status;
use crate::{Body, hooks, value, views};

/// The options of a write, from query and headers.
pub(crate) fn options(
    call: &Call<'_>,
    endpoint: &Endpoint,
    subresource: &'static str,
) -> WriteOptions {
    WriteOptions {
        dry_run: call.dry_run(),
        manager: call.manager(),
        subresource,
        version: endpoint.version.clone(),
        ..WriteOptions::default()
    }
}

/// The fieldValidation parameter; [`super::options::check`] has looked at the value.
pub(crate) fn validation(call: &Call<'_>) -> FieldValidation {
    let text = call.query.get("fieldValidation").unwrap_or("");
    FieldValidation::parse(text).unwrap_or_default()
}

/// Reads a body in JSON, YAML or protobuf; the second part lists duplicate fields.
pub(crate) fn read_body(call: &Call<'_>) -> Result<(Value, Vec<String>), Status> {
    let media = call
        .header("content-type")
        .split(';')
        .next()
        .unwrap_or("")
        .trim();
    match media {
        "" | "application/json" => {
            crate::schema::decode_json(&call.body).map_err(|e| Status::bad_request(e.to_string()))
        }
        "application/yaml" => {
            let text = std::str::from_utf8(&call.body)
                .map_err(|_| Status::bad_request("the body is not UTF-8"))?;
            let value = api::yaml::parse(text)
                .map_err(|e| Status::bad_request(format!("error parsing YAML: {e}")))?;
            Ok((value, vec![]))
        }
        "application/vnd.kubernetes.protobuf" => crate::schema::protobuf::decode(&call.body)
            .map(|v| (v, vec![]))
            .map_err(|e| Status::bad_request(e.to_string())),
        _ => Err(Status::unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: \
             application/json, application/yaml, application/vnd.kubernetes.protobuf",
        )),
    }
}

/// Brings a body of an endpoint into its stored form, with warnings.
pub(crate) fn accept(
    call: &Call<'_>,
    endpoint: &Endpoint,
    mut body: Value,
    duplicates: Vec<String>,
) -> Result<(Value, Vec<String>), Status> {
    if !body.is_object() {
        return Err(Status::bad_request("the body is not a JSON object"));
    }
    let wanted = endpoint.api_version();
    let given = value::text(&body, &["apiVersion"]);
    if !given.is_empty() && given != wanted {
        return Err(Status::bad_request(format!(
            "the API version in the data ({given}) does not match the expected API version \
             ({wanted})"
        )));
    }
    let kind = value::text(&body, &["kind"]);
    if !kind.is_empty() && kind != endpoint.row.kind {
        return Err(Status::bad_request(format!(
            "{kind} in version \"{}\" cannot be handled as a {}: converting ({kind}) to ({}): \
             unknown conversion",
            endpoint.version, endpoint.row.kind, endpoint.row.kind
        )));
    }
    body["apiVersion"] = json!(wanted);
    body["kind"] = json!(endpoint.row.kind);
    let (body, warnings) = hooks::decode(endpoint, body, duplicates, validation(call))?;
    Ok((views::stored(endpoint, body), warnings))
}

/// Checks that body and URL speak of the same namespace, and puts it in.
pub(crate) fn place(target: &Target, body: &mut Value) -> Result<(), Status> {
    if let Some(ns) = &target.namespace {
        let given = value::namespace(body);
        if !given.is_empty() && given != ns {
            return Err(Status::bad_request(format!(
                "the namespace of the provided object does not match the namespace sent on the \
                 request ({given} != {ns})"
            )));
        }
        value::metadata_mut(body).insert("namespace".to_owned(), json!(ns));
    }
    Ok(())
}

/// POST to a collection.
pub(crate) fn create(call: &Call<'_>, target: &Target) -> Result<Response<Body>, Status> {
    let wanted = form(call.header("accept"))?;
    let row = &target.endpoint.row;
    if row.namespaced && target.namespace.is_none() {
        return Err(Status::bad_request(
            "an object of a namespaced kind must be posted to a namespace",
        ));
    }
    let (body, duplicates) = read_body(call)?;
    let (mut object, mut warnings) = accept(call, &target.endpoint, body, duplicates)?;
    place(target, &mut object)?;
    let written = call
        .cluster
        .create_row(row, object, &options(call, &target.endpoint, ""))
        .map_err(|s| rename(s, target))?;
    warnings.extend(written.warnings);
    let response = show(call, target, 201, &written.object, wanted);
    Ok(answer::warn(response, &warnings))
}

/// Errors name the resource as the request did (events have two names).
pub(crate) fn rename(mut status: Status, target: &Target) -> Status {
    let (stored, served) = (&*target.endpoint.row.name, target.endpoint.name());
    if stored != served && status.message.contains(stored) {
        status.message = status.message.replacen(stored, &served, 1);
        status.group.clone_from(&target.endpoint.group);
    }
    status
}

/// PUT of an object or of its status.
pub(crate) fn replace(
    call: &Call<'_>,
    target: &Target,
    subresource: &'static str,
) -> Result<Response<Body>, Status> {
    let wanted = form(call.header("accept"))?;
    let (body, duplicates) = read_body(call)?;
    let (mut new, mut warnings) = accept(call, &target.endpoint, body, duplicates)?;
    place(target, &mut new)?;
    same_name(target, &mut new)?;
    let (written, code) = match fetch(call.cluster, target) {
        Ok(old) => (put(call, target, &old, new, subresource)?, 200),
        Err(status) if status.is_not_found() && subresource.is_empty() => {
            let row = &target.endpoint.row;
            if !row.upsert {
                return Err(status);
            }
            let options = options(call, &target.endpoint, "");
            let made = call.cluster.create_row(row, new, &options);
            (made.map_err(|s| rename(s, target))?, 201)
        }
        Err(status) => return Err(status),
    };
    warnings.extend(written.warnings);
    let response = show(call, target, code, &written.object, wanted);
    Ok(answer::warn(response, &warnings))
}

pub(crate) fn same_name(target: &Target, new: &mut Value) -> Result<(), Status> {
    let given = value::name(new);
    if given.is_empty() {
        value::metadata_mut(new).insert("name".to_owned(), json!(target.name()));
    } else if given != target.name() {
        return Err(Status::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({})",
            target.name()
        )));
    }
    Ok(())
}

fn put(
    call: &Call<'_>,
    target: &Target,
    old: &Arc<Value>,
    new: Value,
    subresource: &'static str,
) -> Result<Written, Status> {
    let options = options(call, &target.endpoint, subresource);
    call.cluster
        .update_row(&target.endpoint.row, old, new, &options)
        .map_err(|s| rename(s, target))
}

/// PUT of namespaces/NAME/finalize: the only way to take spec.finalizers away.
pub(crate) fn finalize(call: &Call<'_>, target: &Target) -> Result<Response<Body>, Status> {
    let wanted = form(call.header("accept"))?;
    let (body, duplicates) = read_body(call)?;
    let (new, _) = accept(call, &target.endpoint, body, duplicates)?;
    let old = fetch(call.cluster, target)?;
    let mut kept = Value::clone(&old);
    let finalizers = new["spec"]
        .get("finalizers")
        .cloned()
        .unwrap_or_else(|| json!([]));
    value::map_mut(&mut kept, &["spec"]).insert("finalizers".to_owned(), finalizers);
    let options = WriteOptions {
        internal: true,
        ..options(call, &target.endpoint, "")
    };
    let written = call
        .cluster
        .update_row(&target.endpoint.row, &old, kept, &options)?;
    Ok(show(call, target, 200, &written.object, wanted))
}
