//! Who asks, and whether they may.
//!
//! As extension API servers do: the API server that passes a request on shows a
//! certificate of the front-proxy authority and names the user in headers;
//! anybody else shows a bearer token, which the API server reviews. What the
//! user may do is the API server's decision as well, by a SubjectAccessReview
//! (Kubernetes, "Configure the aggregation layer", authentication flow).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};
use percent_encoding::percent_decode_str;
use rustls::pki_types::CertificateDer;
use tokio::time::Instant;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::answer::refused;

/// How long the API server's verdicts are kept. Its own authorizer keeps an
/// allowed request five minutes and a denied one thirty seconds; ten seconds
/// spare the HPA's stream of questions and make a taken-away right felt soon.
const KEEP: Duration = Duration::from_secs(10);
/// Verdicts kept; at more, all are forgotten.
const MAX_KEPT: usize = 4096;

/// Whom the API server wants trusted as its own front, from the ConfigMap
/// `kube-system/extension-apiserver-authentication`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FrontTrust {
    /// The authority, PEM; without one nobody can vouch for a user.
    pub ca: Option<String>,
    /// Common names of its certificates that may; any where empty.
    pub names: Vec<String>,
    pub username: Vec<String>,
    pub group: Vec<String>,
    pub extra: Vec<String>,
}

impl FrontTrust {
    /// Reads the ConfigMap's entries.
    pub(super) fn parse(data: &BTreeMap<String, String>) -> Result<Self, String> {
        let list = |key: &str| -> Result<Vec<String>, String> {
            match data.get(key).map(|t| t.trim()).filter(|t| !t.is_empty()) {
                None => Ok(Vec::new()),
                Some(text) => {
                    serde_json::from_str(text).map_err(|e| format!("{key} is no JSON list: {e}"))
                }
            }
        };
        Ok(Self {
            ca: data.get("requestheader-client-ca-file").cloned(),
            names: list("requestheader-allowed-names")?,
            username: list("requestheader-username-headers")?,
            group: list("requestheader-group-headers")?,
            extra: list("requestheader-extra-headers-prefix")?,
        })
    }

    /// The common name of a client's certificate whose chain has been verified,
    /// where that name may vouch for users.
    pub(super) fn name_of(&self, certificate: &CertificateDer<'_>) -> Option<String> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let name = certificate.subject().iter_common_name().next()?;
        let name = name.as_str().ok()?.to_owned();
        (self.names.is_empty() || self.names.contains(&name)).then_some(name)
    }
}

/// A known user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Caller {
    pub user: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Why a request is not answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nobody known.
    Unknown,
    /// Known, but not allowed; the text says what.
    Forbidden(String),
    /// The API server could not be asked.
    Unclear(String),
}

impl Refusal {
    pub(super) fn response(&self) -> Response<Bytes> {
        match self {
            Self::Unknown => refused(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized"),
            Self::Forbidden(text) => refused(StatusCode::FORBIDDEN, "Forbidden", text),
            Self::Unclear(text) => {
                refused(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", text)
            }
        }
    }
}

/// Asks the API server about callers, and remembers its answers for a moment.
pub(super) struct Gate {
    client: Client,
    verdicts: Mutex<HashMap<(Caller, Wish), (Instant, bool, String)>>,
}

/// What a request wants, as RBAC sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Wish {
    verb: &'static str,
    path: String,
    /// Group, version, namespace, resource, name; none for discovery.
    resource: Option<[String; 5]>,
}

impl Wish {
    /// As the API server's request info: a name makes `get` of `list`.
    fn of(method: &Method, path: &str) -> Self {
        let decode = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let parts: Vec<String> = path.split('/').skip(1).map(decode).collect();
        let words: Vec<&str> = parts.iter().map(String::as_str).collect();
        let resource = match words.as_slice() {
            [
                "apis",
                group,
                version,
                "namespaces",
                namespace,
                resource,
                rest @ ..,
            ] => {
                let name = rest.first().copied().unwrap_or("");
                Some([group, version, namespace, resource, &name].map(|t| (*t).to_owned()))
            }
            _ => None,
        };
        let named = resource.as_ref().is_some_and(|r| !r[4].is_empty());
        let verb = match (method, &resource) {
            (&Method::GET | &Method::HEAD, Some(_)) if !named => "list",
            (&Method::GET | &Method::HEAD, _) => "get",
            (&Method::POST, _) => "create",
            (&Method::PUT, _) => "update",
            (&Method::PATCH, _) => "patch",
            _ => "delete",
        };
        Self {
            verb,
            path: path.to_owned(),
            resource,
        }
    }
}

impl Gate {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            verdicts: Mutex::new(HashMap::new()),
        }
    }

    /// Who sent these headers over a connection for which `front` vouches.
    pub(super) async fn caller(
        &self,
        headers: &HeaderMap,
        front: Option<&str>,
        trust: &FrontTrust,
    ) -> Result<Caller, Refusal> {
        if front.is_some()
            && let Some(caller) = named_in(headers, trust)
        {
            return Ok(caller);
        }
        let token = headers
            .get(http::header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.strip_prefix("Bearer "))
            .map(str::trim)
            .filter(|token| !token.is_empty())
            .ok_or(Refusal::Unknown)?;
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: token.to_owned(),
                ..TokenReviewSpec::default()
            },
            ..TokenReview::default()
        };
        let asked = Api::<TokenReview>::all(self.client.clone())
            .create(&PostParams::default(), &review)
            .await;
        let asked = asked.map_err(|e| unclear("who asks (tokenreviews)", &e))?;
        let status = asked.status.unwrap_or_default();
        let user = status.user.unwrap_or_default();
        match status.authenticated {
            Some(true) => Ok(Caller {
                user: user.username.unwrap_or_default(),
                groups: user.groups.unwrap_or_default(),
                extra: user.extra.unwrap_or_default(),
            }),
            _ => Err(Refusal::Unknown),
        }
    }

    /// Whether the API server lets this caller do that.
    pub(super) async fn allowed(
        &self,
        caller: &Caller,
        method: &Method,
        path: &str,
    ) -> Result<(), Refusal> {
        // The API server itself asks in this group, before RBAC can answer.
        if caller.groups.iter().any(|g| g == "system:masters") {
            return Ok(());
        }
        let wish = Wish::of(method, path);
        let key = (caller.clone(), wish.clone());
        let kept = self.verdicts().get(&key).cloned();
        let (allowed, reason) = match kept.filter(|(at, ..)| at.elapsed() < KEEP) {
            Some((_, allowed, reason)) => (allowed, reason),
            None => {
                let (allowed, reason) = self.review(caller, &wish).await?;
                let mut verdicts = self.verdicts();
                if verdicts.len() >= MAX_KEPT {
                    verdicts.clear();
                }
                verdicts.insert(key, (Instant::now(), allowed, reason.clone()));
                (allowed, reason)
            }
        };
        if allowed {
            return Ok(());
        }
        let because = match reason.is_empty() {
            true => String::new(),
            false => format!(": {reason}"),
        };
        Err(Refusal::Forbidden(match &wish.resource {
            None => format!(
                "forbidden: User {:?} cannot {} path {path:?}{because}",
                caller.user, wish.verb
            ),
            Some([group, _, namespace, resource, name]) => {
                let named = match name.is_empty() {
                    true => String::new(),
                    false => format!(" {name:?}"),
                };
                format!(
                    "{resource}.{group}{named} is forbidden: User {:?} cannot {} resource \
                     {resource:?} in API group {group:?} in the namespace {namespace:?}{because}",
                    caller.user, wish.verb
                )
            }
        }))
    }

    fn verdicts(
        &self,
    ) -> std::sync::MutexGuard<'_, HashMap<(Caller, Wish), (Instant, bool, String)>> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn review(&self, caller: &Caller, wish: &Wish) -> Result<(bool, String), Refusal> {
        let verb = Some(wish.verb.to_owned());
        let mut spec = SubjectAccessReviewSpec {
            user: Some(caller.user.clone()),
            groups: Some(caller.groups.clone()),
            extra: Some(caller.extra.clone()),
            ..SubjectAccessReviewSpec::default()
        };
        match &wish.resource {
            Some([group, version, namespace, resource, name]) => {
                spec.resource_attributes = Some(ResourceAttributes {
                    group: Some(group.clone()),
                    version: Some(version.clone()),
                    namespace: Some(namespace.clone()),
                    resource: Some(resource.clone()),
                    name: Some(name.clone()).filter(|n| !n.is_empty()),
                    verb,
                    ..ResourceAttributes::default()
                });
            }
            None => {
                let path = Some(wish.path.clone());
                spec.non_resource_attributes = Some(NonResourceAttributes { path, verb });
            }
        }
        let review = SubjectAccessReview {
            spec,
            ..SubjectAccessReview::default()
        };
        let asked = Api::<SubjectAccessReview>::all(self.client.clone())
            .create(&PostParams::default(), &review)
            .await;
        let asked = asked.map_err(|e| unclear("what may be asked (subjectaccessreviews)", &e))?;
        let status = asked.status.unwrap_or_default();
        Ok((status.allowed, status.reason.unwrap_or_default()))
    }
}

fn unclear(what: &str, error: &kube::Error) -> Refusal {
    let why = crate::io::message(error);
    tracing::warn!(error = why, "the API server did not say {what}");
    Refusal::Unclear(format!("the API server did not say {what}: {why}"))
}

/// The user that a trusted front names in the headers.
fn named_in(headers: &HeaderMap, trust: &FrontTrust) -> Option<Caller> {
    let all = |name: &String| {
        let values = headers.get_all(name.as_str()).iter();
        values
            .filter_map(|v| v.to_str().ok())
            .map(str::to_owned)
            .filter(|v| !v.is_empty())
            .collect::<Vec<String>>()
    };
    let user = trust
        .username
        .iter()
        .find_map(|n| all(n).into_iter().next())?;
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for prefix in &trust.extra {
        let prefix = prefix.to_ascii_lowercase();
        for name in headers.keys() {
            if let Some(key) = name.as_str().strip_prefix(&prefix) {
                let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
                extra.entry(key).or_default().extend(all(&name.to_string()));
            }
        }
    }
    Some(Caller {
        user,
        groups: trust.group.iter().flat_map(all).collect(),
        extra,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(path: &str) -> (&'static str, Option<String>) {
        let wish = Wish::of(&Method::GET, path);
        (wish.verb, wish.resource.map(|r| r.join(" ")))
    }

    #[test]
    fn a_request_is_read_as_the_api_server_reads_it() {
        assert_eq!(wish("/apis/external.metrics.k8s.io/v1beta1"), ("get", None));
        assert_eq!(
            wish("/apis/external.metrics.k8s.io/v1beta1/namespaces/ml/s0-prometheus"),
            (
                "list",
                Some("external.metrics.k8s.io v1beta1 ml s0-prometheus ".into())
            )
        );
        assert_eq!(
            wish("/apis/explain.rheostat.dev/v1/namespaces/ml/deployment/web"),
            (
                "get",
                Some("explain.rheostat.dev v1 ml deployment web".into())
            )
        );
    }

    #[test]
    fn a_front_names_the_user_in_its_headers() {
        let data = [
            ("requestheader-username-headers", r#"["X-Remote-User"]"#),
            ("requestheader-group-headers", r#"["X-Remote-Group"]"#),
            (
                "requestheader-extra-headers-prefix",
                r#"["X-Remote-Extra-"]"#,
            ),
            ("requestheader-allowed-names", ""),
        ];
        let data = data.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let trust = FrontTrust::parse(&data).unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(named_in(&headers, &trust), None);
        headers.insert("x-remote-user", "hpa".parse().unwrap());
        headers.append("x-remote-group", "a".parse().unwrap());
        headers.append("x-remote-group", "b".parse().unwrap());
        headers.insert("x-remote-extra-scopes", "s".parse().unwrap());
        let caller = named_in(&headers, &trust).unwrap();
        assert_eq!((caller.user.as_str(), caller.groups.len()), ("hpa", 2));
        assert_eq!(caller.extra["scopes"], ["s"]);
    }

    #[test]
    fn a_list_that_is_none_is_named() {
        let data = [("requestheader-allowed-names".to_owned(), "x".to_owned())].into();
        let error = FrontTrust::parse(&data).unwrap_err();
        assert!(
            error.starts_with("requestheader-allowed-names is no JSON list"),
            "{error}"
        );
    }
}
