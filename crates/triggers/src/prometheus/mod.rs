//! The `prometheus` trigger: one instant query, one number.

mod config;
pub mod reply;

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tower::ServiceExt as _;

pub use config::{Auth, Config};

use crate::azure::TokenSource;
use crate::go::url::{Url, query_escape, without_password};
use crate::{BuildError, Context, HttpService, MetricSpec, Reading, Trigger, TriggerError, go};

/// As many redirects as Go's client follows.
const MAX_REDIRECTS: usize = 10;

/// A built prometheus trigger.
pub struct Prometheus {
    config: Config,
    http: HttpService,
    clock: clock::Clock,
    azure: Option<(TokenSource, String)>,
}

impl Prometheus {
    /// Sets up the connection and the credentials.
    pub fn new(config: Config, ctx: &Context) -> Result<Self, BuildError> {
        config.check_tls()?;
        if let Some(what) = config.unsupported {
            // Sending the query without them would fail in a way that hides the cause.
            return Err(BuildError::Connection(format!(
                "{what} for the prometheus trigger: not supported yet by Rheostat"
            )));
        }
        let http = (ctx.http)(&config.tls).map_err(BuildError::Connection)?;
        let azure = match config.azure_scope()? {
            Some(scope) => {
                let environment = ctx.azure.overridden_by(&config.pod_identity);
                let source = TokenSource::new(
                    environment,
                    ctx.read_file.clone(),
                    ctx.token_http.clone(),
                    ctx.clock,
                );
                Some((source, scope))
            }
            None => None,
        };
        Ok(Self {
            config,
            http,
            clock: ctx.clock,
            azure,
        })
    }

    /// The trigger's parameters.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether a token or another credential can be had, without using it.
    ///
    /// # Errors
    /// Why there is none; never with a secret in it.
    pub async fn check_credentials(&self) -> Result<(), String> {
        self.token().await.map(drop)
    }

    /// Another query to the same server, with the same credentials, and the
    /// elements of its answer: for whoever looks into why the trigger's own
    /// query gives what it gives.
    ///
    /// # Errors
    /// The same as of a read.
    pub async fn ask(&self, query: &str) -> Result<Vec<reply::Element>, TriggerError> {
        let body = self.fetch(query).await?;
        reply::elements(&body).map_err(TriggerError)
    }

    /// The URL of one query at this moment.
    fn url(&self, query: &str) -> String {
        let config = &self.config;
        let now = self.clock.now();
        let mut url = format!(
            "{}/api/v1/query?query={}&time={}",
            config.server_address,
            query_escape(query),
            now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        );
        if let Some(namespace) = &config.namespace {
            url.push_str("&namespace=");
            url.push_str(namespace);
        }
        for (name, value) in &config.query_parameters {
            url.push('&');
            url.push_str(&query_escape(name));
            url.push('=');
            url.push_str(&query_escape(value));
        }
        url
    }

    /// Custom headers first, the authentication's over them.
    fn headers(&self, token: Option<&str>) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.config.custom_headers {
            set(&mut headers, name, value)?;
        }
        // The connection's host is the URL's, whatever the header says.
        headers.remove(header::HOST);
        match &self.config.auth {
            Auth::None => {}
            Auth::Bearer(token) => set(&mut headers, "Authorization", &format!("Bearer {token}"))?,
            Auth::Basic(name, password) => {
                set(
                    &mut headers,
                    "Authorization",
                    &go::url::basic(name, password),
                )?;
            }
            Auth::Custom(name, value) => set(&mut headers, name, value)?,
        }
        if let Some(token) = token {
            set(&mut headers, "Authorization", &format!("Bearer {token}"))?;
        }
        Ok(headers)
    }

    async fn query(&self) -> Result<Reading, TriggerError> {
        let config = &self.config;
        let body = self.fetch(&config.query).await?;
        let value =
            reply::value(&body, &config.query, config.ignore_null_values).map_err(TriggerError)?;
        Ok(Reading {
            value,
            active: value > config.activation_threshold,
        })
    }

    /// The body of a query's answer.
    async fn fetch(&self, query: &str) -> Result<Bytes, TriggerError> {
        let text = self.url(query);
        let mut url = Url::parse(&text).map_err(TriggerError)?;
        let shown = go::quote(&without_password(&text));
        let fail = |cause: String| TriggerError(format!("Get {shown}: {cause}"));
        let limit = self.config.timeout;
        let late = || {
            "context deadline exceeded (Client.Timeout exceeded while awaiting headers)".to_owned()
        };
        let token = self.token().await.map_err(fail)?;
        let mut headers = self.headers(token.as_deref()).map_err(fail)?;
        url.check_sendable().map_err(fail)?;
        let exchange = async {
            let mut reply = self.follow(&mut url, &mut headers).await?;
            if reply.status() == StatusCode::UNAUTHORIZED
                && let (Some((source, _)), Some(stale)) = (&self.azure, &token)
            {
                // The endpoint may have revoked a token before its expiry.
                source.forget(stale).await;
                let fresh = self.token().await?;
                let mut headers = self.headers(fresh.as_deref())?;
                let mut url = Url::parse(&text)?;
                reply = self.follow(&mut url, &mut headers).await?;
            }
            Ok::<_, String>(reply)
        };
        let reply = match tokio::time::timeout(limit, exchange).await {
            Ok(reply) => reply.map_err(fail)?,
            Err(_) => return Err(fail(late())),
        };
        if !reply.status().is_success() {
            let status = reply.status().as_u16();
            let why = refusal(reply.body());
            return Err(TriggerError(format!(
                "prometheus query api returned error. status: {status}{why}"
            )));
        }
        Ok(reply.into_body())
    }

    async fn token(&self) -> Result<Option<String>, String> {
        match &self.azure {
            Some((source, scope)) => source
                .token(scope)
                .await
                .map(Some)
                .map_err(|e| e.to_string()),
            None => Ok(None),
        }
    }

    /// Sends a GET and follows redirects as Go's client does; credentials do
    /// not follow to another host.
    async fn follow(
        &self,
        url: &mut Url,
        headers: &mut HeaderMap,
    ) -> Result<http::Response<Bytes>, String> {
        for _ in 0..=MAX_REDIRECTS {
            let reply = self.send(url, headers.clone()).await?;
            let redirect = matches!(reply.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            let location = reply.headers().get(header::LOCATION).filter(|_| redirect);
            let Some(location) = location else {
                return Ok(reply);
            };
            let location = location
                .to_str()
                .map_err(|_| "failed to parse Location header")?;
            let next = url.join(location)?;
            next.check_sendable()?;
            if next.host != url.host && !next.host.ends_with(&format!(".{}", url.host)) {
                headers.remove(header::AUTHORIZATION);
                headers.remove(header::COOKIE);
            }
            if !(url.scheme == "https" && next.scheme == "http")
                && let Ok(referer) = HeaderValue::from_str(&url.target())
            {
                headers.insert(header::REFERER, referer);
            }
            *url = next;
        }
        Err(format!("stopped after {MAX_REDIRECTS} redirects"))
    }

    async fn send(&self, url: &Url, headers: HeaderMap) -> Result<http::Response<Bytes>, String> {
        let mut request = http::Request::get(url.target())
            .body(Bytes::new())
            .map_err(|e| format!("cannot send this URL: {e}"))?;
        *request.headers_mut() = headers;
        if !request.headers().contains_key(header::AUTHORIZATION)
            && let Some(basic) = url.basic()
            && let Ok(basic) = HeaderValue::from_str(&basic)
        {
            request.headers_mut().insert(header::AUTHORIZATION, basic);
        }
        self.http
            .clone()
            .oneshot(request)
            .await
            .map_err(|e| e.to_string())
    }
}

impl Trigger for Prometheus {
    fn spec(&self) -> &MetricSpec {
        &self.config.spec
    }

    fn read(&self) -> BoxFuture<'_, Result<Reading, TriggerError>> {
        Box::pin(self.query())
    }
}

/// KEDA's time limit where neither the trigger nor the operator sets one.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);

fn set(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), String> {
    let key = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| format!("net/http: invalid header field name {}", go::quote(name)))?;
    // The value stays out of the text: it may be a secret.
    let mut value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
        format!(
            "net/http: invalid header field value for {}",
            go::quote(&canonical(name))
        )
    })?;
    value.set_sensitive(key == header::AUTHORIZATION);
    headers.insert(key, value);
    Ok(())
}

/// `x-key` as `X-Key`.
fn canonical(name: &str) -> String {
    let mut start = true;
    name.chars()
        .map(|c| {
            let out = if start {
                c.to_ascii_uppercase()
            } else {
                c.to_ascii_lowercase()
            };
            start = c == '-';
            out
        })
        .collect()
}

/// Most of a server's reason that is handed on.
const REASON: usize = 300;

/// The reason that a Prometheus server gives with a refusal, where it is one
/// that answered: KEDA's text alone does not say what is wrong with a query.
fn refusal(body: &[u8]) -> String {
    let answer: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let error = answer.as_ref().and_then(|answer| {
        answer["errorType"].as_str()?;
        answer["error"].as_str()
    });
    let Some(error) = error else {
        return String::new();
    };
    let clipped: String = error
        .chars()
        .filter(|c| !c.is_control())
        .take(REASON)
        .collect();
    format!(": {clipped}")
}
