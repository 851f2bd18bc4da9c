//! PATCH: JSON, merge, strategic merge; apply is next door.

use http::Response;
use serde_json::Value;

use super::negotiate::form;
use super::read::{fetch, show};
use super::write::{accept, options, rename};
use super::{Call, Target, answer, apply};
use crate::schema;
use crate::status::{Cause, Status};
use crate::{Body, value, views};

/// How a patch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Json,
    Merge,
    Strategic,
    Apply,
}

/// Content type of a server-side apply.
pub(crate) const APPLY: &str = "application/apply-patch+yaml";

/// The content type without its parameters.
pub(crate) fn media<'a>(call: &'a Call<'_>) -> &'a str {
    let header = call.header("content-type");
    header.split(';').next().unwrap_or("").trim()
}

/// The kind of a patch, from its content type.
pub(crate) fn kind(call: &Call<'_>, target: &Target) -> Result<Kind, Status> {
    let custom = target.endpoint.row.custom.is_some();
    match media(call) {
        "application/json-patch+json" => Ok(Kind::Json),
        "application/merge-patch+json" => Ok(Kind::Merge),
        "application/strategic-merge-patch+json" if !custom => Ok(Kind::Strategic),
        APPLY => Ok(Kind::Apply),
        _ => {
            let strategic = if custom {
                ""
            } else {
                ", application/strategic-merge-patch+json"
            };
            Err(Status::unsupported_media_type(format!(
                "the body of the request was in an unknown format - accepted media types \
                 include: application/json-patch+json, application/merge-patch+json{strategic}, \
                 application/apply-patch+yaml"
            )))
        }
    }
}

impl From<schema::PatchError> for Status {
    fn from(error: schema::PatchError) -> Self {
        Self::new(error.code, error.reason, error.message)
    }
}

/// Applies a patch other than apply to a value.
pub(crate) fn apply_to(
    kind: Kind,
    gvk: schema::Gvk<'_>,
    current: &Value,
    patch: &[u8],
) -> Result<Value, Status> {
    if kind == Kind::Json {
        return Ok(schema::json_patch(current, patch)?);
    }
    let patch = schema::patch::decode(patch)?;
    let Value::Object(_) = &patch else {
        let mut why = schema::patch::wrong_type(&patch, "map[string]interface {}");
        if kind == Kind::Strategic {
            why.message = why.message.replacen("error decoding patch: ", "", 1);
        }
        return Err(why.into());
    };
    Ok(match kind {
        Kind::Strategic => schema::strategic_merge(gvk, current, &patch)?,
        _ => schema::merge_patch(current, &patch),
    })
}

/// What a patch made cannot be read as its kind: the API server says it of the patch.
fn unreadable(status: Status, kind: Kind, patch: &[u8], patched: &Value) -> Status {
    let Some((_, why)) = status.message.split_once(": json: cannot unmarshal ") else {
        return status;
    };
    let (shown, why) = if kind == Kind::Strategic {
        let patch = serde_json::from_slice(patch).unwrap_or_default();
        (schema::strategic::go_text(&patch), unconverted(why))
    } else {
        let why = format!("json: cannot unmarshal {why}");
        (patched.to_string(), why)
    };
    let cause = Cause {
        reason: "FieldValueInvalid".to_owned(),
        message: format!("Invalid value: {}: {why}", schema::validate::quote(&shown)),
        field: "patch".to_owned(),
    };
    Status::invalid("", "", "", vec![cause])
}

/// `string into Go struct field T.path of type int32`, as the conversion of what a strategic
/// merge made puts it.
fn unconverted(why: &str) -> String {
    let (found, ty) = why.split_once(" into Go ").unwrap_or((why, ""));
    let ty = ty.rsplit_once(" of type ").map_or(ty, |(_, ty)| ty);
    let found = match found {
        "object" => "map",
        "array" => "slice",
        number if number.starts_with("number") => match number.contains('.') {
            true => "float64",
            false => "int64",
        },
        other => other,
    };
    match ty {
        "string" if found == "int64" => format!("cannot convert {found} to string"),
        "int32" | "int64" if found == "float64" => format!("cannot convert {found} to {ty}"),
        "string" | "bool" | "int32" | "int64" => format!("unrecognized type: {ty}"),
        list if list.starts_with("[]") => format!("cannot restore slice from {found}"),
        map if map.starts_with("map[") => format!("cannot restore map from {found}"),
        _ => format!("cannot restore struct from: {found}"),
    }
}

/// PATCH of an object or of its status.
pub(crate) fn patch(
    call: &Call<'_>,
    target: &Target,
    subresource: &'static str,
) -> Result<Response<Body>, Status> {
    let kind = kind(call, target)?;
    if kind == Kind::Apply {
        return apply::apply(call, target, subresource);
    }
    let wanted = form(call.header("accept"))?;
    let endpoint = &target.endpoint;
    let row = &endpoint.row;
    let gvk = (
        endpoint.group.as_str(),
        endpoint.version.as_str(),
        row.kind.as_str(),
    );
    let mut attempt = 0;
    loop {
        let old = fetch(call.cluster, target)?;
        let current = views::served(endpoint, &old);
        let mut patched = apply_to(kind, gvk, &current, &call.body)?;
        // The patch leaves identity alone unless it names it; then it must be the same.
        if value::name(&patched) != value::name(&current) {
            return Err(Status::bad_request(format!(
                "the name of the object ({}) does not match the name on the URL ({})",
                value::name(&patched),
                target.name()
            )));
        }
        if !patched.is_object() {
            patched = Value::Null;
        }
        let stale = value::resource_version(&patched) != value::resource_version(&current);
        let read = accept(call, endpoint, patched.clone(), vec![]);
        let (new, mut warnings) = read.map_err(|s| unreadable(s, kind, &call.body, &patched))?;
        let options = options(call, endpoint, subresource);
        match call.cluster.update_row(row, &old, new, &options) {
            Err(status) if status.is_conflict() && !stale && attempt < 5 => attempt += 1,
            Err(status) => return Err(rename(status, target)),
            Ok(written) => {
                warnings.extend(written.warnings);
                let response = show(call, target, 200, &written.object, wanted);
                return Ok(answer::warn(response, &warnings));
            }
        }
    }
}
