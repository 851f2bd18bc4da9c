//! The REST API as a tower service for in-process clients.

use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt as _, Limited};
use tower::{BoxError, Service};

use crate::{Body, Cluster};

/// Largest request body that is read, as on a real API server.
pub(crate) const LIMIT: usize = 3 * 1024 * 1024;

/// Answers requests of any body type. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ClientService {
    cluster: Cluster,
}

impl ClientService {
    pub(crate) fn new(cluster: Cluster) -> Self {
        Self { cluster }
    }
}

impl<B> Service<http::Request<B>> for ClientService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = http::Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let cluster = self.cluster.clone();
        let (parts, body) = request.into_parts();
        Box::pin(async move {
            let bytes = Limited::new(body, LIMIT).collect().await?.to_bytes();
            Ok(cluster
                .request(http::Request::from_parts(parts, bytes))
                .await)
        })
    }
}
