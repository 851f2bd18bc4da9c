//! Managed fields and server-side apply.

use super::{Schema, patch};
use serde_json::Value;

/// One field that another manager owns with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// How the message names the manager, such as `"kubectl"`.
    pub manager: String,
    /// The field's path, such as `.spec.replicas`.
    pub field: String,
}

/// Why an apply is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Other managers own fields: 409 Conflict.
    #[error("{}", conflict_text(.0))]
    Conflicts(Vec<Conflict>),
    /// The request is wrong: 400 BadRequest.
    #[error("{0}")]
    BadRequest(String),
}

fn conflict_text(conflicts: &[Conflict]) -> String {
    format!("Apply failed with {} conflicts", conflicts.len())
}

/// Records who owns what after a write other than an apply. `subresource` is empty for the
/// object itself; `time` is RFC 3339 in seconds.
pub fn update_managed_fields(
    _schema: Schema<'_>,
    _old: Option<&Value>,
    _new: &mut Value,
    _manager: &str,
    _subresource: &str,
    _time: &str,
) {
}

/// Server-side apply: the new object with its managed fields. `live` is absent on creation.
pub fn server_side_apply(
    _schema: Schema<'_>,
    live: Option<&Value>,
    applied: &Value,
    _manager: &str,
    _subresource: &str,
    _force: bool,
    _time: &str,
) -> Result<Value, ApplyError> {
    Ok(patch::merge_patch(live.unwrap_or(&Value::Null), applied))
}
