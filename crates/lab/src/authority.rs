//! The lab's token authority: stands in for Microsoft Entra ID so that the
//! whole workload identity exchange is made on one machine.
//!
//! It answers `POST /TENANT/oauth2/v2.0/token` for the one federated assertion
//! that the lab projects, and knows which of its tokens still hold.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use triggers::azure::Environment;

/// Host of the authority, as the workload identity webhook injects it.
pub const HOST: &str = "https://login.microsoftonline.com/";
/// Where the kubelet projects the federated token.
pub const TOKEN_FILE: &str = "/var/run/secrets/azure/tokens/azure-identity-token";
/// The only scope that is served.
pub const SCOPE: &str = "https://prometheus.monitor.azure.com/.default";

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const LIFE: SignedDuration = SignedDuration::from_secs(3600);
const CLIENT_ID: &str = "00000000-0000-4000-8000-00000000c11e";
const TENANT_ID: &str = "00000000-0000-4000-8000-0000000ae4a7";

/// The token authority. Cheap to clone; clones share what was issued.
#[derive(Clone)]
pub struct Authority {
    clock: clock::Clock,
    seed: u64,
    issued: Arc<Mutex<Issued>>,
}

#[derive(Default)]
struct Issued {
    count: u64,
    expiry: BTreeMap<String, Timestamp>,
}

impl Authority {
    /// An authority whose tokens are the same for the same seed.
    pub fn new(clock: clock::Clock, seed: u64) -> Self {
        Self {
            clock,
            seed,
            issued: Arc::default(),
        }
    }

    /// The variables of a pod with this identity.
    pub fn environment(&self) -> Environment {
        Environment {
            client_id: Some(CLIENT_ID.to_owned()),
            tenant_id: Some(TENANT_ID.to_owned()),
            authority_host: Some(HOST.to_owned()),
            token_file: Some(TOKEN_FILE.to_owned()),
        }
    }

    /// Contents of the projected token file.
    pub fn assertion(&self) -> String {
        format!("lab.federated.{:016x}", mix(self.seed))
    }

    /// Reads the lab's files: the token file, nothing else.
    pub fn file_reader(&self) -> triggers::FileReader {
        let assertion = self.assertion();
        Arc::new(move |path| {
            let answer = if path == TOKEN_FILE {
                Ok(assertion.clone().into_bytes())
            } else {
                Err(std::io::ErrorKind::NotFound.into())
            };
            Box::pin(std::future::ready(answer))
        })
    }

    /// Answers one request to the authority's host.
    pub fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        match self.exchange(&request) {
            Ok(body) => reply(StatusCode::OK, &body),
            Err(refusal) => reply(
                refusal.status,
                &json!({"error": refusal.error, "error_description": refusal.text}),
            ),
        }
    }

    /// Whether a bearer token is one of ours and still holds.
    pub fn accepts(&self, bearer: &str, now: Timestamp) -> bool {
        self.lock()
            .expiry
            .get(bearer)
            .is_some_and(|expiry| now < *expiry)
    }

    /// Ends a token before its time, as an administrator would.
    pub fn revoke_all(&self) {
        self.lock().expiry.clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Issued> {
        self.issued
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn exchange(&self, request: &Request<Bytes>) -> Result<Value, Refusal> {
        let mut path = request.uri().path().trim_matches('/').splitn(2, '/');
        let tenant = path.next().unwrap_or_default();
        if tenant.is_empty() || path.next() != Some("oauth2/v2.0/token") {
            return Err(Refusal {
                status: StatusCode::NOT_FOUND,
                error: "invalid_request",
                text: "only /TENANT/oauth2/v2.0/token is served".to_owned(),
            });
        }
        if request.method() != Method::POST {
            return Err(Refusal {
                status: StatusCode::METHOD_NOT_ALLOWED,
                error: "invalid_request",
                text: "AADSTS900561: The endpoint only accepts POST requests".to_owned(),
            });
        }
        let form = form(request.body());
        let field = |name: &str| {
            let value = form.get(name).map(String::as_str).filter(|v| !v.is_empty());
            value.ok_or_else(|| {
                bad(
                    "invalid_request",
                    format!("AADSTS900144: the body must contain '{name}'"),
                )
            })
        };
        let grant = field("grant_type")?;
        if grant != "client_credentials" {
            let text = format!("AADSTS70003: grant type '{grant}' is not supported");
            return Err(bad("unsupported_grant_type", text));
        }
        field("client_id")?;
        let scope = field("scope")?;
        if scope != SCOPE {
            let text = format!("AADSTS70011: scope '{scope}' is not valid; the lab serves {SCOPE}");
            return Err(bad("invalid_scope", text));
        }
        if field("client_assertion_type")? != ASSERTION_TYPE {
            let text = format!("AADSTS50027: client_assertion_type must be {ASSERTION_TYPE}");
            return Err(bad("invalid_request", text));
        }
        if field("client_assertion")? != self.assertion() {
            return Err(Refusal {
                status: StatusCode::UNAUTHORIZED,
                error: "invalid_client",
                text: "AADSTS700213: No matching federated identity record found for the \
                       presented assertion"
                    .to_owned(),
            });
        }
        let now = self.clock.now();
        let mut issued = self.lock();
        issued.expiry.retain(|_, expiry| now < *expiry);
        issued.count += 1;
        let token = format!(
            "lab.{}.{:016x}",
            issued.count,
            mix(self.seed ^ mix(issued.count))
        );
        let expiry = now.checked_add(LIFE).unwrap_or(Timestamp::MAX);
        issued.expiry.insert(token.clone(), expiry);
        Ok(json!({
            "token_type": "Bearer",
            "expires_in": LIFE.as_secs(),
            "ext_expires_in": LIFE.as_secs(),
            "access_token": token,
        }))
    }
}

struct Refusal {
    status: StatusCode,
    error: &'static str,
    text: String,
}

fn bad(error: &'static str, text: String) -> Refusal {
    Refusal {
        status: StatusCode::BAD_REQUEST,
        error,
        text,
    }
}

fn reply(status: StatusCode, body: &Value) -> Response<Bytes> {
    let mut reply = Response::new(Bytes::from(body.to_string()));
    *reply.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json; charset=utf-8");
    reply.headers_mut().insert(header::CONTENT_TYPE, json);
    let private = header::HeaderValue::from_static("no-store, no-cache");
    reply.headers_mut().insert(header::CACHE_CONTROL, private);
    reply
}

/// Reads an urlencoded form; the first of two equal names counts.
fn form(body: &[u8]) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for pair in body.split(|b| *b == b'&') {
        let mut parts = pair.splitn(2, |b| *b == b'=');
        let name = decode(parts.next().unwrap_or_default());
        let value = decode(parts.next().unwrap_or_default());
        out.entry(name).or_insert(value);
    }
    out
}

fn decode(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let hex = text
            .get(at + 1..at + 3)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        match (byte, hex.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'%', Some(value)) => {
                out.push(value);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Spreads a number over 64 bits (SplitMix64's last step).
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use triggers::azure::TokenSource;
    use triggers::{Context, HttpService, Input, PodIdentity};

    use super::*;

    const START: &str = "2026-01-01T00:00:00Z";

    /// The authority and a store that asks for a bearer token, in one service;
    /// counts exchanges and queries.
    fn world(authority: &Authority, clock: clock::Clock) -> (HttpService, Arc<Mutex<[u32; 2]>>) {
        let counts = Arc::new(Mutex::new([0, 0]));
        let (authority, seen) = (authority.clone(), counts.clone());
        let service = HttpService::new(tower::service_fn(move |request: Request<Bytes>| {
            let answer = if request.uri().host() == Some("login.microsoftonline.com") {
                seen.lock().unwrap()[0] += 1;
                authority.handle(request)
            } else {
                seen.lock().unwrap()[1] += 1;
                let bearer = request.headers().get(header::AUTHORIZATION);
                let bearer = bearer.and_then(|v| v.to_str().ok()).unwrap_or_default();
                let bearer = bearer.strip_prefix("Bearer ").unwrap_or_default();
                if authority.accepts(bearer, clock.now()) {
                    reply(
                        StatusCode::OK,
                        &json!({"data": {"result": [{"value": [0, "42"]}]}}),
                    )
                } else {
                    reply(StatusCode::UNAUTHORIZED, &json!({}))
                }
            };
            std::future::ready(Ok::<_, tower::BoxError>(answer))
        }));
        (service, counts)
    }

    fn input() -> Input {
        let metadata = [
            (
                "serverAddress",
                "https://example.prometheus.monitor.azure.com",
            ),
            ("query", "up"),
            ("threshold", "5"),
        ];
        Input {
            metadata: metadata.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            pod_identity: PodIdentity {
                identity_id: Some("my-client".to_owned()),
                ..PodIdentity::of("azure-workload")
            },
            ..Input::default()
        }
    }

    fn context(authority: &Authority, clock: clock::Clock) -> (Context, Arc<Mutex<[u32; 2]>>) {
        let (service, counts) = world(authority, clock);
        let ctx = Context::new(service, clock)
            .with_azure(authority.environment(), authority.file_reader());
        (ctx, counts)
    }

    #[tokio::test(start_paused = true)]
    async fn a_trigger_exchanges_keeps_and_renews_its_token() {
        let clock = clock::Clock::simulated(START.parse().unwrap());
        let authority = Authority::new(clock, 7);
        let (ctx, counts) = context(&authority, clock);
        let trigger = triggers::build("prometheus", &input(), &ctx).unwrap();
        for _ in 0..118 {
            assert_eq!(trigger.read().await.unwrap().value, 42.0);
            tokio::time::advance(Duration::from_secs(30)).await;
        }
        assert_eq!(
            *counts.lock().unwrap(),
            [1, 118],
            "59 minutes need one exchange"
        );
        trigger.read().await.unwrap();
        assert_eq!(
            *counts.lock().unwrap(),
            [2, 119],
            "renewed in the last minute"
        );
        tokio::time::advance(Duration::from_secs(10 * 3600)).await;
        trigger.read().await.unwrap();
        assert_eq!(
            *counts.lock().unwrap(),
            [3, 120],
            "renewed after a long silence"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_replaced_once() {
        let clock = clock::Clock::simulated(START.parse().unwrap());
        let authority = Authority::new(clock, 7);
        let (ctx, counts) = context(&authority, clock);
        let trigger = triggers::build("prometheus", &input(), &ctx).unwrap();
        trigger.read().await.unwrap();
        authority.revoke_all();
        assert_eq!(trigger.read().await.unwrap().value, 42.0);
        assert_eq!(*counts.lock().unwrap(), [2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn every_part_of_the_exchange_is_checked() {
        let clock = clock::Clock::simulated(START.parse().unwrap());
        let authority = Authority::new(clock, 7);
        let (service, _) = world(&authority, clock);
        let source =
            |environment, reader| TokenSource::new(environment, reader, service.clone(), clock);
        let good = source(authority.environment(), authority.file_reader());
        let error = good
            .token("https://management.azure.com/.default")
            .await
            .unwrap_err();
        assert!(error.to_string().contains("AADSTS70011"), "{error}");
        let forged: triggers::FileReader =
            Arc::new(|_| Box::pin(std::future::ready(Ok(b"forged-secret".to_vec()))));
        let error = source(authority.environment(), forged)
            .token(SCOPE)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("AADSTS700213"), "{error}");
        assert!(!error.to_string().contains("forged-secret"), "{error}");
        let nobody = Environment {
            client_id: None,
            ..authority.environment()
        };
        let error = source(nobody, authority.file_reader())
            .token(SCOPE)
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("AZURE_CLIENT_ID is not set"),
            "{error}"
        );
        let lost = Environment {
            token_file: Some("/x".to_owned()),
            ..authority.environment()
        };
        let error = source(lost, authority.file_reader())
            .token(SCOPE)
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("cannot read the token file /x"),
            "{error}"
        );
    }
}
