//! The query parameters of writes and lists, checked as the API server checks them.

use http::Method;

use super::{Call, patch};
use crate::schema::FieldValidation;
use crate::status::{Cause, Status};

/// The longest name of a field manager, in bytes.
const MAX_MANAGER: usize = 128;

fn cause(field: &str, reason: &str, message: String) -> Cause {
    Cause {
        reason: format!("FieldValue{reason}"),
        message,
        field: field.to_owned(),
    }
}

/// What is wrong with a dryRun value.
pub(crate) fn dry_run(value: &str) -> Option<Cause> {
    let known = value.is_empty() || value == "All";
    (!known).then(|| {
        let message = format!("Unsupported value: [\"{value}\"]: supported values: \"All\"");
        cause("dryRun", "NotSupported", message)
    })
}

/// Checks the options of a creation, an update or a patch.
pub(crate) fn check(call: &Call<'_>) -> Result<(), Status> {
    let kind = match call.method {
        Method::POST => "CreateOptions",
        Method::PUT => "UpdateOptions",
        Method::PATCH => "PatchOptions",
        _ => return Ok(()),
    };
    let apply = patch::media(call) == patch::APPLY;
    let get = |key: &str| call.query.get(key).unwrap_or("");
    let manager = get("fieldManager");
    let mut causes = Vec::new();
    if kind == "PatchOptions" && !apply && call.query.get("force").is_some() {
        let message = "Forbidden: may not be specified for non-apply patch".to_owned();
        causes.push(cause("force", "Forbidden", message));
    }
    if kind == "PatchOptions" && apply && manager.is_empty() {
        let message = "Required value: is required for apply patch".to_owned();
        causes.push(cause("fieldManager", "Required", message));
    }
    if manager.len() > MAX_MANAGER {
        let message = format!("Too long: may not be more than {MAX_MANAGER} bytes");
        causes.push(cause("fieldManager", "TooLong", message));
    }
    if let Some((at, c)) = manager.char_indices().find(|(_, c)| c.is_control()) {
        let shown = serde_json::Value::from(manager);
        let message = format!(
            "Invalid value: {shown}: invalid character U+{:04X} (at position {at})",
            c as u32
        );
        causes.push(cause("fieldManager", "Invalid", message));
    }
    causes.extend(dry_run(get("dryRun")));
    let validation = get("fieldValidation");
    if FieldValidation::parse(validation).is_none() {
        let message = format!(
            "Unsupported value: \"{validation}\": supported values: \"\", \"Ignore\", \"Strict\", \
             \"Warn\""
        );
        causes.push(cause("fieldValidation", "NotSupported", message));
    }
    if causes.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(kind, "meta.k8s.io", "", causes))
}

/// A parameter as a whole number, where it is set.
pub(crate) fn integer(call: &Call<'_>, key: &str) -> Result<Option<i64>, Status> {
    let Some(text) = call.query.get(key).filter(|t| !t.is_empty()) else {
        return Ok(None);
    };
    text.parse()
        .map(Some)
        .map_err(|e: std::num::ParseIntError| {
            use std::num::IntErrorKind::{NegOverflow, PosOverflow};
            let why = match e.kind() {
                PosOverflow | NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            Status::bad_request(format!("strconv.ParseInt: parsing \"{text}\": {why}"))
        })
}
