//! Asking a trigger's server without an operator of ours in the cluster: a
//! Service through the API server's proxy, any other host from this machine.
//!
//! Only servers that want no credentials are asked: those of an operator are
//! its own, and the API server's proxy would take an Authorization header for
//! itself.

use bytes::Bytes;
use doctor::seen::{Diagnosis, TriggerSeen};
use http_body_util::{BodyExt as _, Limited};
use kube::Client;
use tower::{BoxError, ServiceExt as _};
use triggers::{Context, HttpService, Input, TlsOptions};

/// Answers longer than this are not what was asked for.
const LONGEST: usize = 16 << 20;

/// What the triggers say when they are asked from here.
pub(super) async fn diagnosis(client: &Client, scaled: &api::keda::ScaledObject) -> Diagnosis {
    let network = triggers::net::clients();
    let mut triggers = Vec::new();
    for (index, entry) in scaled.spec.triggers.iter().enumerate() {
        let not_asked = |why: &str| TriggerSeen {
            index,
            kind: entry.trigger_type.clone(),
            not_asked: Some(why.to_owned()),
            ..TriggerSeen::default()
        };
        let from_env = entry.metadata.keys().any(|key| key.ends_with("FromEnv"));
        triggers.push(if let Some(known) = operator::of_resource(index, entry) {
            known
        } else if entry.trigger_type != "prometheus" {
            not_asked("only the operator asks it")
        } else if entry.authentication_ref.is_some() || from_env {
            not_asked("its server wants the operator's credentials, which are not used from here")
        } else {
            let input = Input::of(scaled, index);
            let (client, namespace) = (client.clone(), scaled.metadata.namespace.clone());
            let direct = match network(&TlsOptions::default()) {
                Ok(direct) => direct,
                Err(why) => {
                    triggers.push(not_asked(&why));
                    continue;
                }
            };
            let service = service(client, namespace, direct);
            let context = Context::new(service, clock::Clock::system());
            let seen = operator::diagnose(&entry.trigger_type, &input, &context).await;
            match &seen.failed {
                // That this machine has no way there is not the cluster's fault;
                // what a server answers is.
                Some(why) if why.starts_with("Get ") => not_asked(&format!("from here: {why}")),
                _ => seen,
            }
        });
    }
    Diagnosis {
        asked_by: "rheostat doctor, without an operator of its own in the cluster,".to_owned(),
        triggers,
    }
}

/// The HTTP client: Service names through the API server, others directly.
fn service(client: Client, namespace: String, direct: HttpService) -> HttpService {
    HttpService::new(tower::service_fn(move |request: http::Request<Bytes>| {
        let (client, namespace, direct) = (client.clone(), namespace.clone(), direct.clone());
        async move {
            let host = request.uri().host().unwrap_or_default().to_owned();
            match named_service(&host, &namespace) {
                Some(service) if service.sure || is_there(&client, &service).await => {
                    proxied(&client, &request, &service).await
                }
                _ => direct.oneshot(request).await,
            }
        }
    }))
}

/// The Service that a host name stands for.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    namespace: String,
    name: String,
    /// Whether it can be nothing else: `p.mon` may be one, and `example.com`.
    sure: bool,
}

fn named_service(host: &str, own: &str) -> Option<Named> {
    let host = host.trim_end_matches('.');
    let inner = host.strip_suffix(".cluster.local").unwrap_or(host);
    let (inner, sure) = match inner.strip_suffix(".svc") {
        Some(inner) => (inner, true),
        None => (inner, false),
    };
    let named = |name: &str, namespace: &str, sure| {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Some(Named {
            namespace,
            name,
            sure,
        })
    };
    let parts: Vec<&str> = inner.split('.').collect();
    match parts[..] {
        // One label is a name of the trigger's namespace for nobody but pods.
        [name] if !sure && name != "localhost" && !name.is_empty() => named(name, own, true),
        [name, namespace] if sure || !name.bytes().all(|b| b.is_ascii_digit()) => {
            named(name, namespace, sure)
        }
        _ => None,
    }
}

/// Whether there is such a Service, as far as this user may see.
async fn is_there(client: &Client, service: &Named) -> bool {
    let Named {
        namespace, name, ..
    } = service;
    let path = format!("/api/v1/namespaces/{namespace}/services/{name}");
    let Ok(request) = http::Request::get(path).body(Vec::new()) else {
        return false;
    };
    client.request::<serde_json::Value>(request).await.is_ok()
}

async fn proxied(
    client: &Client,
    request: &http::Request<Bytes>,
    service: &Named,
) -> Result<http::Response<Bytes>, BoxError> {
    let Named {
        namespace, name, ..
    } = service;
    let uri = request.uri();
    let https = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
    let scheme = if https { "https:" } else { "" };
    let rest = uri.path_and_query().map_or("/", |rest| rest.as_str());
    let path = format!("/api/v1/namespaces/{namespace}/services/{scheme}{name}:{port}/proxy{rest}");
    let mut asked = http::Request::get(path).body(kube::client::Body::empty())?;
    *asked.headers_mut() = request.headers().clone();
    asked.headers_mut().remove(http::header::HOST);
    if asked.headers().contains_key(http::header::AUTHORIZATION) {
        let why = "its server wants a password, which the API server's proxy would take for itself";
        return Err(why.into());
    }
    let reply = client.send(asked).await?;
    let (head, body) = reply.into_parts();
    let body = Limited::new(body, LONGEST).collect().await?.to_bytes();
    let status: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    if status["kind"] == "Status" && status["apiVersion"] == "v1" {
        // The API server's own words, not the store's.
        return Err(status["message"].as_str().unwrap_or("refused").into());
    }
    Ok(http::Response::from_parts(head, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_names_go_through_the_api_server() {
        let of = |host: &str| named_service(host, "own");
        let expected = |namespace: &str, name: &str, sure| {
            let (namespace, name) = (namespace.to_owned(), name.to_owned());
            Some(Named {
                namespace,
                name,
                sure,
            })
        };
        assert_eq!(of("prometheus"), expected("own", "prometheus", true));
        assert_eq!(of("p.mon"), expected("mon", "p", false));
        assert_eq!(of("p.mon.svc"), expected("mon", "p", true));
        assert_eq!(of("p.mon.svc.cluster.local"), expected("mon", "p", true));
        assert_eq!(of("localhost"), None);
        assert_eq!(of("10.0.0.1"), None);
        assert_eq!(of("prometheus.example.com"), None);
    }
}
