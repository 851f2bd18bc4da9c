//! The Azure token source against an authority that is slow, failing or
//! refusing.

#![allow(clippy::unwrap_used, reason = "a set-up that fails fails the test")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use triggers::azure::{Environment, TokenSource};
use triggers::{FileReader, HttpService};

const SCOPE: &str = "https://prometheus.monitor.azure.com/.default";

type Script = Arc<Mutex<VecDeque<(u16, &'static str)>>>;
type Seen = Arc<Mutex<Vec<String>>>;

/// A source whose authority gives these answers in turn, then 503 for ever.
fn source(answers: &[(u16, &'static str)]) -> (TokenSource, Script, Seen) {
    let script: Script = Arc::new(Mutex::new(answers.iter().copied().collect()));
    let seen = Seen::default();
    let (answers, log) = (script.clone(), seen.clone());
    let http = HttpService::new(tower::service_fn(move |request: http::Request<Bytes>| {
        let body = String::from_utf8_lossy(request.body()).into_owned();
        log.lock()
            .unwrap()
            .push(format!("{} {} {body}", request.method(), request.uri()));
        let (status, body) = answers.lock().unwrap().pop_front().unwrap_or((503, ""));
        let reply = http::Response::builder()
            .status(status)
            .header("retry-after", "2");
        std::future::ready(Ok(reply.body(Bytes::from(body)).unwrap()))
    }));
    let environment = Environment {
        client_id: Some("client".to_owned()),
        tenant_id: Some("tenant".to_owned()),
        authority_host: Some("https://login.microsoftonline.com/".to_owned()),
        token_file: Some("/token".to_owned()),
    };
    let file: FileReader =
        Arc::new(|_| Box::pin(std::future::ready(Ok(b"assertion+1\n".to_vec()))));
    let clock = clock::Clock::simulated("2026-01-01T00:00:00Z".parse().unwrap());
    (
        TokenSource::new(environment, file, http, clock),
        script,
        seen,
    )
}

#[tokio::test(start_paused = true)]
async fn the_exchange_is_the_documented_form_post() {
    let (source, _, seen) = source(&[(200, r#"{"access_token":"t1","expires_in":3600}"#)]);
    assert_eq!(source.token(SCOPE).await.unwrap(), "t1");
    let want = "POST https://login.microsoftonline.com/tenant/oauth2/v2.0/token \
                client_assertion=assertion%2B1\
                &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer\
                &client_id=client&grant_type=client_credentials\
                &scope=https%3A%2F%2Fprometheus.monitor.azure.com%2F.default";
    assert_eq!(*seen.lock().unwrap(), [want]);
}

#[tokio::test(start_paused = true)]
async fn a_busy_authority_is_asked_again_when_it_says() {
    let (source, _, seen) = source(&[
        (429, ""),
        (200, r#"{"access_token":"t1","expires_in":"3600"}"#),
    ]);
    let start = tokio::time::Instant::now();
    assert_eq!(source.token(SCOPE).await.unwrap(), "t1");
    assert_eq!(start.elapsed(), Duration::from_secs(2));
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_still_holds_survives_a_failing_authority() {
    let (source, _, _) = source(&[(200, r#"{"access_token":"t1","expires_in":3600}"#)]);
    source.token(SCOPE).await.unwrap();
    tokio::time::advance(Duration::from_secs(3545)).await;
    assert_eq!(
        source.token(SCOPE).await.unwrap(),
        "t1",
        "renewal failed, the old one holds"
    );
    tokio::time::advance(Duration::from_secs(60)).await;
    let error = source.token(SCOPE).await.unwrap_err().to_string();
    assert!(error.contains("status 503"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_once_and_without_the_assertion() {
    let refusal =
        r#"{"error":"invalid_client","error_description":"AADSTS1: assertion+1 is bad\nTrace"}"#;
    let (source, script, seen) = source(&[(401, refusal)]);
    let error = source.token(SCOPE).await.unwrap_err().to_string();
    assert!(
        error.ends_with("status 401: invalid_client: AADSTS1: <assertion> is bad"),
        "{error}"
    );
    assert_eq!(seen.lock().unwrap().len(), 1, "a refusal is not repeated");
    script
        .lock()
        .unwrap()
        .push_back((200, r#"{"access_token":"","expires_in":3600}"#));
    let error = source.token(SCOPE).await.unwrap_err().to_string();
    assert!(error.contains("access_token is missing"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn callers_at_the_same_time_share_one_exchange() {
    let (source, _, seen) = source(&[(200, r#"{"access_token":"t1","expires_in":3600}"#)]);
    let (a, b) = tokio::join!(source.token(SCOPE), source.token(SCOPE));
    assert_eq!((a.unwrap(), b.unwrap()), ("t1".to_owned(), "t1".to_owned()));
    assert_eq!(seen.lock().unwrap().len(), 1);
}
