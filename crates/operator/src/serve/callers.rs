//! Who asks, and whether they may.
//!
//! As extension API servers do: the API server that passes a request on shows a
//! certificate of the front-proxy authority and names the user in headers;
//! anybody else shows a bearer token, which the API server reviews. What the
//! user may do is the API server's decision as well, by a SubjectAccessReview
//! (Kubernetes, "Configure the aggregation layer", authentication flow).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
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
use tokio::sync::Semaphore;
use tokio::time::Instant;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::answer::refused;

/// How long the API server's verdicts are kept. Its own authorizer keeps an
/// allowed request five minutes and a denied one thirty seconds; ten seconds
/// spare the HPA's stream of questions and make a taken-away right felt soon.
const KEEP: Duration = Duration::from_secs(10);
/// Callers and verdicts kept, each; at more, new ones are asked for every time.
const MAX_KEPT: usize = 1024;
/// Questions to the API server at a time; more wait.
const MAX_ASKED: usize = 16;
/// Longer tokens and paths are nobody's, and would only fill the memory.
const MAX_TOKEN: usize = 16 << 10;
const MAX_PATH: usize = 1 << 10;

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
    asked: Semaphore,
    /// Whose a token is; nobody's where it is none.
    tokens: Mutex<Kept<String, Option<Caller>>>,
    /// Whether a caller may, and the API server's reason.
    verdicts: Mutex<Kept<(Caller, Wish), (bool, String)>>,
}

/// Answers that hold for [`KEEP`].
struct Kept<K, V>(HashMap<K, (Instant, V)>);

impl<K: Eq + std::hash::Hash, V: Clone> Kept<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        let fresh = self.0.get(key).filter(|(at, _)| at.elapsed() < KEEP);
        fresh.map(|(_, value)| value.clone())
    }

    fn put(&mut self, key: K, value: V) {
        if self.0.len() >= MAX_KEPT {
            self.0.retain(|_, (at, _)| at.elapsed() < KEEP);
        }
        if self.0.len() < MAX_KEPT {
            self.0.insert(key, (Instant::now(), value));
        }
    }
}

/// What a request wants, as RBAC sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Wish {
    verb: &'static str,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum What {
    /// A group's discovery.
    Path(String),
    /// Group, version, namespace, resource, name, subresource; the last two may
    /// be empty.
    Resource([String; 6]),
}

impl Wish {
    /// As the API server's request info: a name makes `get` of `list`. A path
    /// of any other form is nothing that is served here, and must not be taken
    /// for discovery, which everybody may read.
    pub(super) fn of(method: &Method, path: &str) -> Option<Self> {
        if path.len() > MAX_PATH {
            return None;
        }
        let decode = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let parts: Vec<String> = path.split('/').skip(1).map(decode).collect();
        let words: Vec<&str> = parts.iter().map(String::as_str).collect();
        let what = match words.as_slice() {
            ["apis", _, _] => What::Path(path.to_owned()),
            [
                "apis",
                group,
                version,
                "namespaces",
                namespace,
                resource,
                rest @ ..,
            ] if rest.len() <= 2 => {
                let at = |n: usize| rest.get(n).copied().unwrap_or("");
                let named = [group, version, namespace, resource, &at(0), &at(1)];
                What::Resource(named.map(|t| (*t).to_owned()))
            }
            _ => return None,
        };
        if words.iter().any(|word| word.is_empty()) {
            return None;
        }
        let verb = match (method, &what) {
            (&Method::GET | &Method::HEAD, What::Resource(named)) if named[4].is_empty() => "list",
            (&Method::GET | &Method::HEAD, _) => "get",
            (&Method::POST, _) => "create",
            (&Method::PUT, _) => "update",
            (&Method::PATCH, _) => "patch",
            _ => "delete",
        };
        Some(Self { verb, what })
    }
}

impl Gate {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            asked: Semaphore::new(MAX_ASKED),
            tokens: Mutex::new(Kept(HashMap::new())),
            verdicts: Mutex::new(Kept(HashMap::new())),
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
            .filter(|token| !token.is_empty() && token.len() <= MAX_TOKEN)
            .ok_or(Refusal::Unknown)?;
        let kept = lock(&self.tokens).get(&token.to_owned());
        if let Some(known) = kept {
            return known.ok_or(Refusal::Unknown);
        }
        let _turn = self.asked.acquire().await;
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
        let caller = (status.authenticated == Some(true)).then(|| Caller {
            user: user.username.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
            extra: user.extra.unwrap_or_default(),
        });
        lock(&self.tokens).put(token.to_owned(), caller.clone());
        caller.ok_or(Refusal::Unknown)
    }

    /// Whether the API server lets this caller do that.
    pub(super) async fn allowed(&self, caller: &Caller, wish: &Wish) -> Result<(), Refusal> {
        // The API server itself asks in this group, before RBAC can answer.
        if caller.groups.iter().any(|g| g == "system:masters") {
            return Ok(());
        }
        let key = (caller.clone(), wish.clone());
        let kept = lock(&self.verdicts).get(&key);
        let (allowed, reason) = match kept {
            Some(kept) => kept,
            None => {
                let _turn = self.asked.acquire().await;
                let verdict = self.review(caller, wish).await?;
                lock(&self.verdicts).put(key, verdict.clone());
                verdict
            }
        };
        if allowed {
            return Ok(());
        }
        let because = match reason.is_empty() {
            true => String::new(),
            false => format!(": {reason}"),
        };
        let (user, verb) = (&caller.user, wish.verb);
        Err(Refusal::Forbidden(match &wish.what {
            What::Path(path) => {
                format!("forbidden: User {user:?} cannot {verb} path {path:?}{because}")
            }
            What::Resource([group, _, namespace, resource, name, sub]) => {
                let resource = match sub.is_empty() {
                    true => resource.clone(),
                    false => format!("{resource}/{sub}"),
                };
                let named = match name.is_empty() {
                    true => String::new(),
                    false => format!(" {name:?}"),
                };
                format!(
                    "{resource}.{group}{named} is forbidden: User {user:?} cannot {verb} resource \
                     {resource:?} in API group {group:?} in the namespace {namespace:?}{because}"
                )
            }
        }))
    }

    async fn review(&self, caller: &Caller, wish: &Wish) -> Result<(bool, String), Refusal> {
        let verb = Some(wish.verb.to_owned());
        let mut spec = SubjectAccessReviewSpec {
            user: Some(caller.user.clone()),
            groups: Some(caller.groups.clone()),
            extra: Some(caller.extra.clone()),
            ..SubjectAccessReviewSpec::default()
        };
        match &wish.what {
            What::Resource([group, version, namespace, resource, name, sub]) => {
                spec.resource_attributes = Some(ResourceAttributes {
                    group: Some(group.clone()),
                    version: Some(version.clone()),
                    namespace: Some(namespace.clone()),
                    resource: Some(resource.clone()),
                    name: Some(name.clone()).filter(|n| !n.is_empty()),
                    subresource: Some(sub.clone()).filter(|n| !n.is_empty()),
                    verb,
                    ..ResourceAttributes::default()
                });
            }
            What::Path(path) => {
                let path = Some(path.clone());
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

fn lock<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::BodyExt as _;

    use super::*;

    #[test]
    fn a_request_is_read_as_the_api_server_reads_it() {
        let read = |path: &str| {
            Wish::of(&Method::GET, path).map(|wish| match wish.what {
                What::Path(path) => format!("{} {path}", wish.verb),
                What::Resource(named) => format!("{} {}", wish.verb, named.join(" ")),
            })
        };
        for (path, want) in [
            ("/apis/g/v1", "get /apis/g/v1"),
            (
                "/apis/g/v1/namespaces/ml/s0-prometheus",
                "list g v1 ml s0-prometheus  ",
            ),
            (
                "/apis/g/v1/namespaces/ml/deployment/web",
                "get g v1 ml deployment web ",
            ),
            (
                "/apis/g/v1/namespaces/ml/so/web/diagnosis",
                "get g v1 ml so web diagnosis",
            ),
        ] {
            assert_eq!(read(path).as_deref(), Some(want), "{path}");
        }
        // None of these is discovery, which every caller may read.
        for path in [
            "/",
            "/apis",
            "/apis/g/v1/",
            "/apis/g/v1//namespaces/ml/deployment/web",
            "/apis/g/v1/namespaces/ml//web",
            "/apis/g/v1/namespaces//deployment/web",
            "/apis/g/v1/namespaces/ml/so/web/diagnosis/more",
            "/apis/g/v1/deployment/web",
            &format!("/apis/g/v1/namespaces/ml/{}", "x".repeat(MAX_PATH)),
        ] {
            assert_eq!(read(path), None, "{path}");
        }
    }

    /// An API server that knows the token `good` and lets its user do what does
    /// not concern the namespace `closed`; each question is counted.
    fn server(asked: Arc<AtomicUsize>) -> Gate {
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            asked.fetch_add(1, Ordering::Relaxed);
            async move {
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect().await?.to_bytes();
                let mut object: serde_json::Value = serde_json::from_slice(&body)?;
                object["status"] = match path.ends_with("tokenreviews") {
                    true if object["spec"]["token"] == "good" => serde_json::json!({
                        "authenticated": true, "user": {"username": "ann"}}),
                    true => serde_json::json!({"authenticated": false}),
                    false => serde_json::json!({"allowed":
                        object["spec"]["resourceAttributes"]["namespace"] != "closed"}),
                };
                let body = kube::client::Body::from(object.to_string().into_bytes());
                Ok::<_, tower::BoxError>(Response::new(body))
            }
        });
        Gate::new(Client::new(service, "default"))
    }

    fn with_token(token: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        headers
    }

    #[tokio::test]
    async fn only_a_front_may_name_the_user_and_only_a_known_token_counts() {
        let asked = Arc::new(AtomicUsize::new(0));
        let gate = server(Arc::clone(&asked));
        let trust = FrontTrust {
            username: vec!["X-Remote-User".to_owned()],
            group: vec!["X-Remote-Group".to_owned()],
            ..FrontTrust::default()
        };
        let mut headers = HeaderMap::new();
        headers.insert("x-remote-user", "mallory".parse().unwrap());
        headers.insert("x-remote-group", "system:masters".parse().unwrap());
        let caller = gate.caller(&headers, None, &trust).await;
        assert_eq!(caller, Err(Refusal::Unknown));
        let caller = gate.caller(&headers, Some("front"), &trust).await.unwrap();
        assert_eq!(caller.groups, ["system:masters"]);
        let bad = with_token("bad");
        assert_eq!(gate.caller(&bad, None, &trust).await, Err(Refusal::Unknown));
        let good = with_token("good");
        assert_eq!(gate.caller(&good, None, &trust).await.unwrap().user, "ann");
        // Each token was asked about once.
        for _ in 0..3 {
            assert!(gate.caller(&bad, None, &trust).await.is_err());
            assert!(gate.caller(&good, None, &trust).await.is_ok());
        }
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        let long = with_token(&"x".repeat(MAX_TOKEN + 1));
        assert_eq!(
            gate.caller(&long, None, &trust).await,
            Err(Refusal::Unknown)
        );
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn what_the_api_server_denies_is_forbidden() {
        let gate = server(Arc::default());
        let ann = Caller {
            user: "ann".to_owned(),
            ..Caller::default()
        };
        let wish = |path| Wish::of(&Method::GET, path).unwrap();
        let open = wish("/apis/g/v1/namespaces/open/so/web");
        assert_eq!(gate.allowed(&ann, &open).await, Ok(()));
        let closed = wish("/apis/g/v1/namespaces/closed/so/web/diagnosis");
        let Err(Refusal::Forbidden(text)) = gate.allowed(&ann, &closed).await else {
            panic!("allowed");
        };
        assert_eq!(
            text,
            "so/diagnosis.g \"web\" is forbidden: User \"ann\" cannot get resource \
             \"so/diagnosis\" in API group \"g\" in the namespace \"closed\""
        );
    }

    #[test]
    fn a_certificate_vouches_only_under_an_allowed_name() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "front");
        let certificate = params.self_signed(&key).unwrap();
        let name = |names: &[&str]| {
            let names = names.iter().map(|n| (*n).to_owned()).collect();
            let trust = FrontTrust {
                names,
                ..FrontTrust::default()
            };
            trust.name_of(certificate.der())
        };
        assert_eq!(name(&["front"]).as_deref(), Some("front"));
        assert_eq!(name(&[]).as_deref(), Some("front"));
        assert_eq!(name(&["other"]), None);
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
