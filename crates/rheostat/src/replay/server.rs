//! Asking a Prometheus server.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use replay::error::{InputError, Read};
use replay::prometheus::{Series, Stretch};
use tokio::runtime::Runtime;
use tower::ServiceExt as _;
use triggers::{HttpService, TlsOptions};

/// How long one query may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that can be asked. It is reached as triggers reach theirs: through
/// the environment's proxies, trusting the system's authorities or those of
/// `SSL_CERT_FILE`.
pub struct Server {
    place: String,
    endpoint: http::Uri,
    token: Option<HeaderValue>,
    service: HttpService,
    runtime: Runtime,
}

impl Server {
    /// Looks at the address and reads the bearer token.
    ///
    /// # Errors
    /// An address that is no HTTP URL, a file that holds no token.
    pub fn new(url: &str, token: Option<&Path>) -> Read<Self> {
        let place = format!("--prometheus {url}");
        let fail = |problem: String| InputError::new(&place, problem);
        let base: http::Uri = url
            .parse()
            .map_err(|e| fail(format!("not a URL: {e}; write http://HOST:PORT")))?;
        if !matches!(base.scheme_str(), Some("http" | "https")) || base.query().is_some() {
            return Err(fail(
                "not the URL of a server; write http://HOST:PORT or https://HOST".to_owned(),
            ));
        }
        let path = format!("{}/api/v1/query_range", base.path().trim_end_matches('/'));
        let mut parts = base.into_parts();
        parts.path_and_query = Some(path.parse().map_err(|e| fail(format!("{e}")))?);
        let endpoint = http::Uri::from_parts(parts).map_err(|e| fail(e.to_string()))?;
        let token = token.map(bearer).transpose()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| fail(e.to_string()))?;
        let service = triggers::net::clients()(&TlsOptions::default()).map_err(fail)?;
        Ok(Self {
            place,
            endpoint,
            token,
            service,
            runtime,
        })
    }

    /// Asks for one query over a stretch.
    ///
    /// # Errors
    /// What the server or the way to it says, with the query.
    pub fn ask(&self, query: &str, stretch: &Stretch) -> Read<Series> {
        let fail =
            |problem: String| InputError::new(&self.place, format!("query {query}: {problem}"));
        let mut series = Series::default();
        for part in stretch.parts() {
            let form = part
                .fields(query)
                .iter()
                .map(|(name, value)| {
                    format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))
                })
                .collect::<Vec<_>>()
                .join("&");
            let exchange = async {
                match tokio::time::timeout(PATIENCE, self.post(form)).await {
                    Ok(answer) => answer,
                    Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
                }
            };
            let body = self.runtime.block_on(exchange).map_err(fail)?;
            series.add(&self.place, query, &part, &body)?;
        }
        Ok(series)
    }

    async fn post(&self, form: String) -> Result<Vec<u8>, String> {
        let mut request = http::Request::post(self.endpoint.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(Bytes::from(form))
            .map_err(|e| e.to_string())?;
        if let Some(token) = &self.token {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        let answer = self.service.clone().oneshot(request).await;
        let reply = answer.map_err(|e| format!("no answer: {e}"))?;
        let (status, body) = (reply.status(), reply.into_body());
        // A refusal in the API's own form is told by its reader.
        let speaks = serde_json::from_slice::<serde_json::Value>(&body)
            .is_ok_and(|v| v["status"].is_string());
        match status.is_success() || speaks {
            true => Ok(body.to_vec()),
            false => Err(format!("the server answers {status}")),
        }
    }
}

/// The header of a token that lies in a file: on the command line every user of
/// the machine could read it.
fn bearer(file: &Path) -> Read<HeaderValue> {
    let place = format!("--token-file {}", file.display());
    let text = std::fs::read_to_string(file)
        .map_err(|e| InputError::new(&place, format!("cannot be read: {e}")))?;
    let token = text.trim();
    let value = HeaderValue::from_str(&format!("Bearer {token}"));
    match (value, token.is_empty()) {
        (Ok(mut value), false) => {
            value.set_sensitive(true);
            Ok(value)
        }
        _ => Err(InputError::new(
            &place,
            "holds no bearer token; it must be one line of plain text",
        )),
    }
}
