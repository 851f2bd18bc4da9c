//! The REST API: from one request to one answer.

mod answer;
mod apply;
mod auth;
mod discovery;
mod filter;
mod negotiate;
mod openapi;
mod options;
mod patch;
mod pods;
mod query;
mod read;
mod remove;
mod route;
pub(crate) mod scale;
mod watch;
mod write;

use bytes::Bytes;
use http::{HeaderMap, Method, Response};

use crate::resource::Endpoint;
use crate::status::Status;
use crate::{Body, Cluster};
use query::Query;

/// One request, taken apart.
pub(crate) struct Call<'a> {
    pub cluster: &'a Cluster,
    pub method: Method,
    pub path: String,
    pub query: Query,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Who ends a watch, where the caller does.
    pub end: Option<WatchEnd>,
}

pub use watch::WatchEnd;

/// The object or collection that a request names.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub endpoint: Endpoint,
    /// `None` for cluster scope and for lists over all namespaces.
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub subresource: Option<String>,
}

impl Target {
    /// Namespace as a store key.
    pub fn ns(&self) -> &str {
        self.namespace.as_deref().unwrap_or("")
    }

    /// Name as a store key.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("")
    }
}

impl Call<'_> {
    /// A header as text.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("")
    }

    /// Whether nothing is to be kept; [`options::check`] has looked at the value.
    pub fn dry_run(&self) -> bool {
        self.query.get("dryRun") == Some("All")
    }

    /// Who writes: the fieldManager parameter, or the client's own name.
    pub fn manager(&self) -> String {
        match self.query.get("fieldManager") {
            Some(name) if !name.is_empty() => name.to_owned(),
            _ => {
                let agent = self.header("user-agent");
                let name = agent.split('/').next().unwrap_or("");
                if name.is_empty() {
                    "unknown".to_owned()
                } else {
                    name.to_owned()
                }
            }
        }
    }
}

/// Answers one request.
pub(crate) async fn handle(cluster: &Cluster, request: http::Request<Bytes>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    if body.len() > crate::service::LIMIT {
        return answer::failure(&Status::new(
            413,
            "RequestEntityTooLarge",
            format!(
                "Request entity too large: limit is {}",
                crate::service::LIMIT
            ),
        ));
    }
    if let Some(mounted) = route::mounted(cluster, parts.uri.path()) {
        let answer = mounted(http::Request::from_parts(parts, body)).await;
        return answer.map(Body::full);
    }
    let call = Call {
        cluster,
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: Query::parse(parts.uri.query().unwrap_or("")),
        headers: parts.headers,
        body,
        end: parts.extensions.get::<WatchEnd>().cloned(),
    };
    match route::dispatch(&call).await {
        Ok(answer) => answer,
        Err(status) => answer::failure(&status),
    }
}
