//! Name routing inside the lab: what a host name leads to.
//!
//! Service names lead to the embedded store, and so does any host of Azure
//! Managed Prometheus, which asks for a bearer token first; the token comes
//! from the local authority under its public name. Everything else is a name
//! that the lab does not know, and says so as a resolver would.

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use tower::{BoxError, ServiceExt as _};
use triggers::HttpService;

use crate::authority::Authority;
use crate::front::prometheus;

/// Hosts of Azure Managed Prometheus end so.
const AZURE_PROMETHEUS: &str = ".prometheus.monitor.azure.com";
/// Host of the token authority that workload identity uses by default.
const AUTHORITY: &str = "login.microsoftonline.com";

/// Where a name leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Store,
    GuardedStore,
    Authority,
}

/// The lab's network as triggers see it.
#[derive(Clone)]
pub struct Names {
    /// The embedded store.
    pub store: promql::store::Store,
    /// A Prometheus server that answers in the store's place.
    pub server: Option<HttpService>,
    /// The local token authority.
    pub authority: Authority,
    /// Simulated time.
    pub clock: clock::Clock,
    /// `host:port` of servers that stand for the store beside the names.
    pub aliases: Vec<String>,
}

impl Names {
    /// The network as the HTTP client that triggers are given.
    pub fn service(self) -> HttpService {
        let service = tower::service_fn(move |request: Request<Bytes>| {
            let names = self.clone();
            async move { names.answer(request).await }
        });
        HttpService::new(service)
    }

    async fn answer(&self, request: Request<Bytes>) -> Result<Response<Bytes>, BoxError> {
        let host = request.uri().host().unwrap_or("").to_ascii_lowercase();
        let alias = request
            .uri()
            .authority()
            .is_some_and(|authority| self.aliases.iter().any(|alias| alias == authority.as_str()));
        match if alias {
            Some(Place::Store)
        } else {
            resolve(&host)
        } {
            Some(Place::Store) => self.query(request).await,
            Some(Place::GuardedStore) => {
                let now = self.clock.now();
                let shown = bearer(&request);
                let accepted = shown.is_some_and(|token| self.authority.accepts(token, now));
                match accepted {
                    true => self.query(request).await,
                    false => Ok(unauthorized()),
                }
            }
            Some(Place::Authority) => Ok(self.authority.handle(request)),
            None => Err(format!(
                "dial tcp: lookup {host}: no such host (inside the lab there are Service names \
                 and *.prometheus.monitor.azure.com)"
            )
            .into()),
        }
    }

    /// Azure and most proxies serve the API below a prefix; the store's own
    /// paths begin at `/api/v1`.
    async fn query(&self, request: Request<Bytes>) -> Result<Response<Bytes>, BoxError> {
        let (mut head, body) = request.into_parts();
        if let Some(at) = head
            .uri
            .path_and_query()
            .and_then(|p| p.as_str().find("/api/v1/"))
            && at > 0
        {
            let path = head.uri.path_and_query().map_or("", |p| &p.as_str()[at..]);
            if let Ok(uri) = path.parse() {
                head.uri = uri;
            }
        }
        let request = Request::from_parts(head, body);
        match &self.server {
            Some(server) => server.clone().oneshot(request).await,
            None => Ok(prometheus(&self.store, &request, self.clock.now())),
        }
    }
}

fn resolve(host: &str) -> Option<Place> {
    if host.ends_with(AZURE_PROMETHEUS) {
        return Some(Place::GuardedStore);
    }
    if host == AUTHORITY {
        return Some(Place::Authority);
    }
    service_name(host).then_some(Place::Store)
}

/// `name`, `name.namespace`, `name.namespace.svc` and
/// `name.namespace.svc.cluster.local`, each label a DNS label with a letter
/// first (which an IP address has not).
fn service_name(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    let host = host.strip_suffix(".cluster.local").unwrap_or(host);
    let name = host.strip_suffix(".svc").unwrap_or(host);
    let label = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase())
            && part.len() <= 63
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host != "localhost" && name.split('.').count() <= 2 && name.split('.').all(label)
}

fn bearer(request: &Request<Bytes>) -> Option<&str> {
    request
        .headers()
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
}

fn unauthorized() -> Response<Bytes> {
    let body = r#"{"error":{"code":"Unauthorized","message":"Authentication required: a bearer token for https://prometheus.monitor.azure.com"}}"#;
    let mut response = Response::new(Bytes::from_static(body.as_bytes()));
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_where_the_lab_says() {
        let check = |host: &str, place| assert_eq!(resolve(host), place, "{host}");
        check(
            "example.prometheus.monitor.azure.com",
            Some(Place::GuardedStore),
        );
        check("login.microsoftonline.com", Some(Place::Authority));
        check("prometheus", Some(Place::Store));
        check("prometheus-server.monitoring", Some(Place::Store));
        check("prometheus-server.monitoring.svc", Some(Place::Store));
        check(
            "prometheus-server.monitoring.svc.cluster.local",
            Some(Place::Store),
        );
        check("10.0.0.1", None);
        check("localhost", None);
        check("metrics.vendor.example.com", None);
        check("", None);
    }
}
