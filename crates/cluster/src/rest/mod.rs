//! The REST API.

use bytes::Bytes;

use crate::{Body, Cluster};

/// Answers one request.
pub(crate) async fn handle(
    _cluster: &Cluster,
    _request: http::Request<Bytes>,
) -> http::Response<Body> {
    http::Response::new(Body::full("not found"))
}
