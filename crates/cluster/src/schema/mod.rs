//! What the API server knows about the shape of objects: decoding and field validation,
//! defaults, validation, patches, server-side apply, protobuf bodies, custom resource
//! schemas and OpenAPI documents. Pure functions on JSON values; nothing here stores.

pub mod apply;
mod cel;
pub mod decode;
pub mod defaults;
mod descriptions;
mod fieldset;
pub mod openapi;
pub mod patch;
pub mod protobuf;
pub mod strategic;
pub mod structural;
pub(crate) mod table;
#[cfg(test)]
mod tests;
pub mod validate;
mod walk;

pub use apply::{ApplyError, Conflict, server_side_apply, update_managed_fields};
pub use decode::{DecodeError, FieldValidation, decode_check, decode_json};
pub use defaults::apply_defaults;
pub use openapi::{openapi_v3, openapi_v3_for_crd, openapi_v3_for_crds};
pub use patch::{PatchError, json_patch, merge_patch};
pub use strategic::strategic_merge;
pub use structural::Structural;
pub use validate::{Cause, FieldError, validate};

use serde_json::Value;

/// Group, version and kind; the group is empty for the core group.
pub type Gvk<'a> = (&'a str, &'a str, &'a str);

/// Whether the built-in table knows this kind.
pub fn is_builtin(gvk: Gvk<'_>) -> bool {
    table::Table::get().kind(gvk.0, gvk.1, gvk.2).is_some()
}

/// Where the shape of an object comes from.
#[derive(Clone, Copy)]
pub enum Schema<'a> {
    /// A built-in kind, looked up in the table.
    Builtin(Gvk<'a>),
    /// A custom resource.
    Custom(&'a Structural),
}

/// Go's name for the type of a JSON value, as error texts print it.
pub(crate) fn json_type(v: &Value) -> &'static str {
    match v {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
