//! Tokens by Azure workload identity: the projected service account token is
//! exchanged for a bearer token, which is kept until shortly before it expires.
//!
//! No error or debug text of this module contains a token or an assertion.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;
use tower::ServiceExt as _;

use crate::go::url::query_escape;
use crate::{FileReader, HttpService, PodIdentity};

/// A token is renewed when this much or less of its life is left.
const MARGIN: SignedDuration = SignedDuration::from_secs(60);
/// Time limit of one exchange.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(10);
/// Tries of one exchange when the authority is busy or failing.
const TRIES: u32 = 3;
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The variables that the workload identity webhook injects into a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// AZURE_CLIENT_ID.
    pub client_id: Option<String>,
    /// AZURE_TENANT_ID.
    pub tenant_id: Option<String>,
    /// AZURE_AUTHORITY_HOST.
    pub authority_host: Option<String>,
    /// AZURE_FEDERATED_TOKEN_FILE.
    pub token_file: Option<String>,
}

impl Environment {
    /// This environment with what a TriggerAuthentication's pod identity sets.
    pub fn overridden_by(&self, identity: &PodIdentity) -> Self {
        let pick = |over: &Option<String>, own: &Option<String>| {
            over.clone()
                .filter(|text| !text.is_empty())
                .or_else(|| own.clone())
        };
        Self {
            client_id: pick(&identity.identity_id, &self.client_id),
            tenant_id: pick(&identity.identity_tenant_id, &self.tenant_id),
            authority_host: pick(&identity.identity_authority_host, &self.authority_host),
            token_file: self.token_file.clone(),
        }
    }
}

/// A token could not be obtained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// A variable is missing.
    #[error(
        "azure workload identity: {0} is not set; label the pod azure.workload.identity/use=true \
         so that the webhook injects it, or set it in the TriggerAuthentication's podIdentity"
    )]
    Missing(&'static str),
    /// The projected token cannot be read.
    #[error("azure workload identity: cannot read the token file {path}: {cause}")]
    File {
        /// Path of the file.
        path: String,
        /// What went wrong.
        cause: String,
    },
    /// The authority cannot be reached.
    #[error("azure workload identity: token request to {url} failed: {cause}")]
    Unreachable {
        /// URL of the token endpoint.
        url: String,
        /// What went wrong.
        cause: String,
    },
    /// The authority said no.
    #[error("azure workload identity: {url} refused the token request: status {status}: {reason}")]
    Refused {
        /// URL of the token endpoint.
        url: String,
        /// HTTP status.
        status: u16,
        /// The authority's words.
        reason: String,
    },
    /// The answer holds no token.
    #[error("azure workload identity: {url} sent no usable token: {cause}")]
    Malformed {
        /// URL of the token endpoint.
        url: String,
        /// What is missing.
        cause: String,
    },
}

#[derive(Clone)]
struct Cached {
    scope: String,
    token: String,
    renew_at: Timestamp,
    expires_at: Timestamp,
}

/// Hands out bearer tokens. Cheap to clone; clones share the cache.
#[derive(Clone)]
pub struct TokenSource {
    inner: Arc<Inner>,
}

struct Inner {
    environment: Environment,
    read_file: FileReader,
    http: HttpService,
    clock: clock::Clock,
    // Held across an exchange, so that one is in flight at a time.
    cached: Mutex<Option<Cached>>,
}

impl TokenSource {
    /// A source for one identity.
    pub fn new(
        environment: Environment,
        read_file: FileReader,
        http: HttpService,
        clock: clock::Clock,
    ) -> Self {
        let cached = Mutex::new(None);
        Self {
            inner: Arc::new(Inner {
                environment,
                read_file,
                http,
                clock,
                cached,
            }),
        }
    }

    /// A token for this scope, from the cache or from the authority.
    pub async fn token(&self, scope: &str) -> Result<String, TokenError> {
        let mut cached = self.inner.cached.lock().await;
        let now = self.inner.clock.now();
        let kept = cached
            .take()
            .filter(|c| c.scope == scope && now < c.expires_at);
        if let Some(kept) = &kept
            && now < kept.renew_at
        {
            let token = kept.token.clone();
            *cached = Some(kept.clone());
            return Ok(token);
        }
        match self.inner.exchange(scope).await {
            Ok(fresh) => {
                let token = fresh.token.clone();
                *cached = Some(fresh);
                Ok(token)
            }
            // A token that still holds is better than none.
            Err(error) => match kept.filter(|k| self.inner.clock.now() < k.expires_at) {
                Some(kept) => {
                    let token = kept.token.clone();
                    *cached = Some(kept);
                    Ok(token)
                }
                None => Err(error),
            },
        }
    }

    /// Drops a token that an endpoint refused; one that replaced it meanwhile stays.
    pub async fn forget(&self, token: &str) {
        let mut cached = self.inner.cached.lock().await;
        if cached.as_ref().is_some_and(|c| c.token == token) {
            *cached = None;
        }
    }
}

impl Inner {
    async fn exchange(&self, scope: &str) -> Result<Cached, TokenError> {
        let environment = &self.environment;
        let need = |value: &Option<String>, name| {
            value
                .clone()
                .filter(|v| !v.is_empty())
                .ok_or(TokenError::Missing(name))
        };
        let client_id = need(&environment.client_id, "AZURE_CLIENT_ID")?;
        let tenant = need(&environment.tenant_id, "AZURE_TENANT_ID")?;
        let host = need(&environment.authority_host, "AZURE_AUTHORITY_HOST")?;
        let path = need(&environment.token_file, "AZURE_FEDERATED_TOKEN_FILE")?;
        let url = format!("{}/{tenant}/oauth2/v2.0/token", host.trim_end_matches('/'));
        // The kubelet rotates the file, so it is read for each exchange.
        let assertion = (self.read_file)(path.clone())
            .await
            .map_err(|e| e.to_string())
            .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned()))
            .map(|text| text.trim().to_owned())
            .and_then(|text| {
                if text.is_empty() {
                    Err("empty".to_owned())
                } else {
                    Ok(text)
                }
            })
            .map_err(|cause| TokenError::File { path, cause })?;
        let form = format!(
            "client_assertion={}&client_assertion_type={}&client_id={}&grant_type=client_credentials&\
             scope={}",
            query_escape(&assertion),
            query_escape(ASSERTION_TYPE),
            query_escape(&client_id),
            query_escape(scope),
        );
        let mut pause = Duration::from_millis(500);
        for tries_left in (0..TRIES).rev() {
            let reply = match self.post(&url, &form).await {
                Ok(reply) => reply,
                Err(_) if tries_left > 0 => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                    continue;
                }
                Err(cause) => return Err(TokenError::Unreachable { url, cause }),
            };
            let status = reply.status();
            if status.is_success() {
                return self.read(scope, url, reply.body());
            }
            let busy = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
            if busy && tries_left > 0 {
                let asked = reply
                    .headers()
                    .get(header::RETRY_AFTER)
                    .and_then(|v| v.to_str().ok());
                let asked = asked
                    .and_then(|v| v.parse::<u64>().ok())
                    .map(Duration::from_secs);
                tokio::time::sleep(asked.unwrap_or(pause).min(Duration::from_secs(5))).await;
                pause *= 2;
                continue;
            }
            let reason = reason(reply.body(), &assertion);
            return Err(TokenError::Refused {
                url,
                status: status.as_u16(),
                reason,
            });
        }
        Err(TokenError::Unreachable {
            url,
            cause: "no try left".to_owned(),
        })
    }

    async fn post(&self, url: &str, form: &str) -> Result<http::Response<Bytes>, String> {
        let request = http::Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(Bytes::from(form.to_owned()))
            .map_err(|e| e.to_string())?;
        match tokio::time::timeout(EXCHANGE_LIMIT, self.http.clone().oneshot(request)).await {
            Ok(reply) => reply.map_err(|e| e.to_string()),
            Err(_) => Err(format!("no answer within {} s", EXCHANGE_LIMIT.as_secs())),
        }
    }

    fn read(&self, scope: &str, url: String, body: &[u8]) -> Result<Cached, TokenError> {
        let malformed = |cause: &str| TokenError::Malformed {
            url: url.clone(),
            cause: cause.to_owned(),
        };
        let reply: serde_json::Value =
            serde_json::from_slice(body).map_err(|_| malformed("the answer is not JSON"))?;
        let token = reply["access_token"].as_str().filter(|t| !t.is_empty());
        let token = token.ok_or_else(|| malformed("access_token is missing"))?;
        // Old endpoints send the number as text.
        let seconds = |name: &str| match &reply[name] {
            serde_json::Value::String(text) => text.parse().ok(),
            other => other.as_i64(),
        };
        let life = seconds("expires_in").filter(|s| (1..=31_536_000).contains(s));
        let life = life.ok_or_else(|| malformed("expires_in is missing or out of range"))?;
        let life = SignedDuration::from_secs(life);
        // A token that lives for less than two margins is renewed half way.
        let mut renew = (life - MARGIN).max(life / 2);
        if let Some(refresh) = seconds("refresh_in").filter(|s| *s > 0) {
            renew = renew.min(SignedDuration::from_secs(refresh));
        }
        let now = self.clock.now();
        Ok(Cached {
            scope: scope.to_owned(),
            token: token.to_owned(),
            renew_at: now.checked_add(renew).unwrap_or(Timestamp::MAX),
            expires_at: now.checked_add(life).unwrap_or(Timestamp::MAX),
        })
    }
}

/// The authority's error in one line, without the assertion.
fn reason(body: &[u8], assertion: &str) -> String {
    let reply: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let error = reply["error"].as_str().unwrap_or("no reason given");
    let description = reply["error_description"].as_str().unwrap_or_default();
    let line = description.lines().next().unwrap_or_default();
    let text = if line.is_empty() {
        error.to_owned()
    } else {
        format!("{error}: {line}")
    };
    let text = text.replace(assertion, "<assertion>");
    text.chars().take(300).collect()
}
