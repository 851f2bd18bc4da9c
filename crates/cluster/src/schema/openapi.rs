//! OpenAPI v3 documents for kubectl, built from the table of types.

use serde_json::Value;

/// The document of a built-in group version (`""`, `v1` for the core group).
pub fn openapi_v3(_group: &str, _version: &str) -> Option<Value> {
    None
}

/// The document of one version of a custom resource's group.
pub fn openapi_v3_for_crd(_crd: &Value, _version: &str) -> Option<Value> {
    None
}
