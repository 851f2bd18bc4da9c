//! The prometheus trigger against recordings of KEDA's: build errors, HPA
//! metric, requests sent, value, activity and error texts. The HTTP server is
//! a service in process; time stands still except for delayed answers.

#![allow(
    clippy::unwrap_used,
    reason = "a recording that does not parse fails the test"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use triggers::{Context, HttpService, Input, PodIdentity, build, parse};

const RECORDED: &str = include_str!("golden/prometheus_scaler.jsonl");
const HOST: &str = "prom.test:9090";
const TLS_HOST: &str = "tls.test:9443";
const NOW: &str = "2026-01-01T00:00:00Z";

/// Recorded cases that fail on purpose.
const SET_ASIDE: &[(&str, &str)] = &[
    (
        "p0068",
        "AWS request signing is refused when the trigger is built",
    ),
    (
        "p0312",
        "AWS request signing is refused when the trigger is built",
    ),
    (
        "p0394",
        "AWS request signing is refused when the trigger is built",
    ),
    (
        "p0414",
        "AWS request signing is refused when the trigger is built",
    ),
];

type Seen = Arc<Mutex<Vec<http::Request<Bytes>>>>;

fn fill(text: &str) -> String {
    text.replace("{server}", &format!("http://{HOST}"))
        .replace("{hostport}", HOST)
        .replace("{tlsServer}", &format!("https://{TLS_HOST}"))
        .replace("{tlsHostport}", TLS_HOST)
        .replace(
            "{validCert}",
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        )
        .replace(
            "{validKey}",
            "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n",
        )
        .replace("<NOW>", NOW)
        .replace("<NOW-ESCAPED>", &NOW.replace(':', "%3A"))
}

fn map(value: &Value) -> BTreeMap<String, String> {
    let pairs = value.as_object().into_iter().flatten();
    pairs
        .map(|(k, v)| (k.clone(), fill(v.as_str().unwrap_or_default())))
        .collect()
}

/// A server that answers every request as recorded.
fn server(response: Value, seen: Seen, trusted: bool) -> HttpService {
    HttpService::new(tower::service_fn(move |request: http::Request<Bytes>| {
        let (response, seen) = (response.clone(), seen.clone());
        async move {
            let https = request.uri().scheme_str() == Some("https");
            if https && !trusted {
                return Err(
                    "tls: failed to verify certificate: x509: certificate signed by \
                            unknown authority"
                        .into(),
                );
            }
            let first = {
                let mut seen = seen.lock().unwrap();
                seen.push(request);
                seen.len() == 1
            };
            if let Some(delay) = response["delayMs"].as_u64() {
                tokio::time::sleep(Duration::from_millis(delay)).await;
            }
            let mut status = response["status"].as_u64().unwrap_or(200) as u16;
            let mut reply = http::Response::builder();
            if let Some(location) = response["location"].as_str() {
                if first {
                    reply = reply.header("location", location);
                } else {
                    status = 200;
                }
            }
            let body = if status == 204 {
                ""
            } else {
                response["body"].as_str().unwrap_or("")
            };
            Ok(reply.status(status).body(Bytes::from(body.to_owned()))?)
        }
    }))
}

/// A recorded text against ours; placeholders stand for what varies.
fn same_text(ours: Option<&str>, recorded: Option<&str>) -> Result<(), String> {
    match (ours, recorded) {
        (None, None) => Ok(()),
        // Go crashed here; any error is right.
        (Some(_), Some(want)) if want.starts_with("PANIC:") || want.contains("<STACK>") => Ok(()),
        (Some(ours), Some(want)) => {
            let want = fill(want);
            let same = match want.split_once("<TIMEOUT>") {
                Some((head, tail)) => ours.starts_with(head) && ours.ends_with(tail),
                None => ours == want,
            };
            if same {
                Ok(())
            } else {
                Err(format!("error\n    ours {ours}\n    want {want}"))
            }
        }
        (ours, want) => Err(format!("error\n    ours {ours:?}\n    want {want:?}")),
    }
}

fn same_request(ours: &http::Request<Bytes>, want: &Value) -> Result<(), String> {
    let mut recorded = BTreeMap::new();
    for (name, values) in want["headers"].as_object().into_iter().flatten() {
        let values: Vec<_> = values
            .as_array()
            .unwrap()
            .iter()
            .map(|v| fill(v.as_str().unwrap()))
            .collect();
        recorded.insert(name.to_ascii_lowercase(), values.join(","));
    }
    // What Go's client adds by itself is the client's, not the trigger's.
    recorded.remove("accept-encoding");
    recorded.remove("user-agent");
    let mut sent = BTreeMap::new();
    for (name, value) in ours.headers() {
        sent.insert(
            name.to_string(),
            String::from_utf8_lossy(value.as_bytes()).into_owned(),
        );
    }
    let ours = (
        ours.method().as_str(),
        ours.uri().path(),
        ours.uri().query().unwrap_or(""),
        &sent,
    );
    let query = fill(want["query"].as_str().unwrap());
    let path = fill(want["path"].as_str().unwrap());
    let want = (
        want["method"].as_str().unwrap(),
        path.as_str(),
        query.as_str(),
        &recorded,
    );
    if ours == want {
        Ok(())
    } else {
        Err(format!("request\n    ours {ours:?}\n    want {want:?}"))
    }
}

async fn check(case: &Value) -> Result<(), String> {
    let out = &case["out"];
    let input = Input {
        metadata: map(&case["metadata"]),
        resolved_env: map(&case["resolvedEnv"]),
        auth_params: map(&case["authParams"]),
        pod_identity: PodIdentity::of(case["podIdentity"].as_str().unwrap_or("")),
        metric_type: case["metricType"].as_str().map(str::to_owned),
        trigger_index: case["triggerIndex"].as_u64().unwrap_or(0) as usize,
        http_timeout: None,
    };
    let seen = Seen::default();
    let response = case["response"].clone();
    let clock = clock::Clock::simulated(NOW.parse().unwrap());
    let mut ctx = Context::new(server(response.clone(), seen.clone(), true), clock);
    let log = seen.clone();
    ctx.http = Arc::new(move |tls| Ok(server(response.clone(), log.clone(), tls.insecure)));
    let built = build("prometheus", &input, &ctx);
    let error = built.as_ref().err().map(ToString::to_string);
    same_text(error.as_deref(), out["buildError"].as_str())?;
    let Ok(trigger) = built else { return Ok(()) };
    if parse("prometheus", &input).ok().as_ref() != Some(trigger.spec()) {
        return Err("parse and build disagree".to_owned());
    }
    let spec = trigger.spec().to_json();
    if spec != out["metricSpec"] {
        return Err(format!(
            "metric\n    ours {spec}\n    want {}",
            out["metricSpec"]
        ));
    }
    let reading = trigger.read().await;
    let error = reading.as_ref().err().map(ToString::to_string);
    same_text(error.as_deref(), out["error"].as_str())?;
    if out["error"]
        .as_str()
        .is_some_and(|e| e.starts_with("PANIC:"))
    {
        // Nothing else was recorded after a crash.
        return Ok(());
    }
    let seen = seen.lock().unwrap();
    let want = out["requests"].as_array().cloned().unwrap_or_default();
    if seen.len() != want.len() {
        return Err(format!("sent {} requests, want {}", seen.len(), want.len()));
    }
    for (ours, want) in seen.iter().zip(&want) {
        same_request(ours, want)?;
    }
    let Ok(reading) = reading else { return Ok(()) };
    let bits = format!("{:016x}", reading.value.to_bits());
    let ours = (
        bits.as_str(),
        reading.quantity().to_string(),
        reading.active,
    );
    let want = (
        out["rawValueBits"].as_str().unwrap(),
        out["value"].as_str().unwrap().to_owned(),
        out["active"].as_bool().unwrap(),
    );
    if ours == want {
        Ok(())
    } else {
        Err(format!("reading\n    ours {ours:?}\n    want {want:?}"))
    }
}

#[tokio::test(start_paused = true)]
async fn recorded_prometheus_triggers() {
    let (mut passed, mut total, mut failed) = (0, 0, Vec::new());
    for line in RECORDED.lines().skip(1) {
        let case: Value = serde_json::from_str(line).unwrap();
        let id = case["id"].as_str().unwrap();
        total += 1;
        match check(&case).await {
            Ok(()) => passed += 1,
            Err(why) => {
                println!("{id} {}: {why}", case["family"]);
                failed.push(id.to_owned());
            }
        }
    }
    println!("prometheus_scaler {passed}/{total}");
    let expected: Vec<_> = SET_ASIDE.iter().map(|(id, _)| (*id).to_owned()).collect();
    failed.sort();
    assert_eq!(
        failed, expected,
        "cases that fail are listed, each with its reason"
    );
}
