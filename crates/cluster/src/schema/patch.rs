//! JSON patch (RFC 6902) and merge patch (RFC 7386) as the API server applies them.

use json_patch::{PatchOperation, TestOperation};
use serde_json::Value;

/// The largest number of operations that the API server takes in one JSON patch.
const MAX_OPERATIONS: usize = 10_000;
/// What `copy` operations may add up to, so that a short patch cannot fill the memory.
const MAX_COPIED: usize = 3 << 20;

/// A patch that cannot be applied, with the HTTP status it answers with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PatchError {
    /// HTTP status code.
    pub code: u16,
    /// Kubernetes' reason.
    pub reason: &'static str,
    /// Text of the status.
    pub message: String,
}

impl PatchError {
    pub(crate) fn bad_request(message: impl Into<String>) -> PatchError {
        PatchError {
            code: 400,
            reason: "BadRequest",
            message: message.into(),
        }
    }

    fn rejected() -> PatchError {
        PatchError {
            code: 422,
            reason: "Invalid",
            message: "the server rejected our request due to an error in our request".into(),
        }
    }
}

/// Reads the JSON of a patch.
pub(crate) fn decode(patch: &[u8]) -> Result<Value, PatchError> {
    serde_json::from_slice(patch).map_err(|e| {
        // An end that comes too early is the one fault that clients meet.
        let why = match e.is_eof() {
            true => "unexpected end of JSON input".to_owned(),
            false => e.to_string(),
        };
        PatchError::bad_request(format!("error decoding patch: {why}"))
    })
}

/// A patch that is JSON, but of another type than Go's `wanted`.
pub(crate) fn wrong_type(patch: &Value, wanted: &str) -> PatchError {
    let found = super::decode::go_value(patch);
    PatchError::bad_request(format!(
        "error decoding patch: json: cannot unmarshal {found} into Go value of type {wanted}"
    ))
}

/// Applies a JSON patch. `test` with null on an absent key succeeds, as Kubernetes has it
/// and finalizer helpers of clients rely on.
pub fn json_patch(current: &Value, patch: &[u8]) -> Result<Value, PatchError> {
    let raw = decode(patch)?;
    if !raw.is_array() {
        return Err(wrong_type(&raw, "[]handlers.jsonPatchOp"));
    }
    let count = raw.as_array().map_or(0, Vec::len);
    if count > MAX_OPERATIONS {
        return Err(PatchError {
            code: 413,
            reason: "RequestEntityTooLarge",
            message: format!(
                "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {count}"
            ),
        });
    }
    let mut raw = raw;
    for operation in raw.as_array_mut().into_iter().flatten() {
        let Value::Object(fields) = operation else {
            return Err(wrong_type(operation, "handlers.jsonPatchOp"));
        };
        // A value that is not given is null.
        if fields
            .get("op")
            .is_some_and(|op| op == "add" || op == "replace")
        {
            fields.entry("value").or_insert(Value::Null);
        }
    }
    let operations: Vec<PatchOperation> =
        serde_json::from_value(raw).map_err(|_| PatchError::rejected())?;
    let mut doc = current.clone();
    let mut copied = 0;
    for operation in &operations {
        match operation {
            PatchOperation::Test(TestOperation {
                path,
                value: Value::Null,
            }) if doc.pointer(path.as_str()).is_none() => {
                continue;
            }
            PatchOperation::Copy(copy) => {
                if let Some(v) = doc.pointer(copy.from.as_str()) {
                    copied += size(v);
                }
                if copied > MAX_COPIED {
                    return Err(PatchError::rejected());
                }
            }
            _ => {}
        }
        json_patch::patch(&mut doc, std::slice::from_ref(operation))
            .map_err(|_| PatchError::rejected())?;
    }
    Ok(doc)
}

/// A rough count of the bytes a value takes.
fn size(v: &Value) -> usize {
    match v {
        Value::String(s) => s.len() + 8,
        Value::Array(a) => 8 + a.iter().map(size).sum::<usize>(),
        Value::Object(o) => 8 + o.iter().map(|(k, v)| k.len() + 8 + size(v)).sum::<usize>(),
        _ => 8,
    }
}

/// Applies a merge patch.
pub fn merge_patch(current: &Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else {
        return patch.clone();
    };
    let mut out = match current {
        Value::Object(o) => o.clone(),
        _ => serde_json::Map::new(),
    };
    for (key, value) in patch {
        if value.is_null() {
            out.remove(key);
        } else {
            let old = out.remove(key).unwrap_or(Value::Null);
            out.insert(key.clone(), merge_patch(&old, value));
        }
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn testing_for_null_succeeds_on_an_absent_key() {
        let patch = br#"[{"op":"test","path":"/metadata/finalizers","value":null},
            {"op":"add","path":"/metadata/finalizers","value":["a"]}]"#;
        let out = json_patch(&json!({"metadata": {}}), patch).unwrap();
        assert_eq!(out, json!({"metadata": {"finalizers": ["a"]}}));
        assert!(json_patch(&out, patch).is_err());
    }

    #[test]
    fn removing_what_is_not_there_is_refused_as_recorded() {
        let e = json_patch(
            &json!({"spec": {}}),
            br#"[{"op":"remove","path":"/spec/nope"}]"#,
        );
        let e = e.unwrap_err();
        assert_eq!(e.code, 422);
        assert_eq!(
            e.message,
            "the server rejected our request due to an error in our request"
        );
    }

    #[test]
    fn a_patch_that_copies_itself_does_not_fill_the_memory() {
        let op = r#"{"op":"copy","from":"/a","path":"/a/-"},"#;
        let patch = format!("[{}]", op.repeat(200).trim_end_matches(','));
        assert!(json_patch(&json!({"a": [1, 2, 3]}), patch.as_bytes()).is_err());
    }

    #[test]
    fn merge_patch_deletes_with_null() {
        let out = merge_patch(
            &json!({"a": 1, "b": {"c": 2, "d": 3}}),
            &json!({"a": null, "b": {"c": null, "e": {"x": null}}}),
        );
        assert_eq!(out, json!({"b": {"d": 3, "e": {}}}));
    }
}
