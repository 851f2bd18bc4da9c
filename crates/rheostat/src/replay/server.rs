//! Asking a Prometheus server.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use replay::error::{InputError, Read};
use replay::prometheus::{Series, Stretch};
use tokio::net::TcpStream;

/// How long one query may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Answers longer than this are not what was asked for.
const LONGEST: usize = 64 * 1024 * 1024;

/// Asks for one query over a stretch.
pub fn ask(url: &str, query: &str, stretch: &Stretch) -> Read<Series> {
    let place = format!("--prometheus {url}");
    let fail = |problem: String| InputError::new(&place, format!("query {query}: {problem}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| fail(e.to_string()))?;
    let mut series = Series::default();
    for part in stretch.parts() {
        let form: Vec<String> = part
            .fields(query)
            .iter()
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
            .collect();
        let exchange = async {
            match tokio::time::timeout(PATIENCE, post(url, form.join("&"))).await {
                Ok(answer) => answer,
                Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
            }
        };
        let body = runtime.block_on(exchange).map_err(fail)?;
        series.add(&place, query, &part, &body)?;
    }
    Ok(series)
}

async fn post(url: &str, form: String) -> Result<Vec<u8>, String> {
    let base: http::Uri = url
        .trim_end_matches('/')
        .parse()
        .map_err(|e| format!("not a URL: {e}"))?;
    match base.scheme_str() {
        Some("http") => {}
        Some("https") => {
            return Err(
                "https is not supported here yet; use kubectl port-forward and http://localhost"
                    .to_owned(),
            );
        }
        _ => return Err("not a URL; write http://HOST:PORT".to_owned()),
    }
    let host = base.host().ok_or("the URL has no host")?;
    let port = base.port_u16().unwrap_or(80);
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port))
        .await
        .map_err(|e| format!("cannot connect: {e}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    tokio::spawn(connection);
    let path = base.path().trim_end_matches('/');
    let request = http::Request::post(format!("{path}/api/v1/query_range"))
        .header("Host", base.authority().map_or(host, |a| a.as_str()))
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("Accept", "application/json")
        .body(Full::new(Bytes::from(form)))
        .map_err(|e| e.to_string())?;
    let reply = sender
        .send_request(request)
        .await
        .map_err(|e| e.to_string())?;
    let status = reply.status();
    let body = Limited::new(reply.into_body(), LONGEST)
        .collect()
        .await
        .map_err(|e| format!("the answer broke off: {e}"))?
        .to_bytes()
        .to_vec();
    // A refusal in the API's own form is told by its reader.
    let speaks =
        serde_json::from_slice::<serde_json::Value>(&body).is_ok_and(|v| v["status"].is_string());
    match status.is_success() || speaks {
        true => Ok(body),
        false => Err(format!("the server answers {status}")),
    }
}
