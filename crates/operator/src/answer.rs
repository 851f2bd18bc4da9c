//! Answers of the aggregated APIs, in the API server's own form.

use bytes::Bytes;
use http::{Response, StatusCode, header};
use serde_json::{Value, json};

/// A JSON answer.
pub(crate) fn respond(code: StatusCode, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = code;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// A refusal as a `Status` object; without a reason where it is empty.
pub(crate) fn refused(code: StatusCode, reason: &str, message: &str) -> Response<Bytes> {
    let mut status = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "code": code.as_u16(),
    });
    if !reason.is_empty() {
        status["reason"] = json!(reason);
    }
    respond(code, &status)
}

/// What is said of a path that nothing is served at.
pub(crate) fn not_found() -> Response<Bytes> {
    let text = "the server could not find the requested resource";
    refused(StatusCode::NOT_FOUND, "NotFound", text)
}
