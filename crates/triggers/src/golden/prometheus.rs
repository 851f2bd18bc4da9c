//! The prometheus trigger against recordings of KEDA's: build errors, HPA
//! metric, requests sent, value, activity and error texts. The HTTP server is
//! a service in process; time stands still except for delayed answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use decide::scale::hpa_spec;
use serde_json::{Value, json};

use crate::{Context, HttpService, Input, MetricSpec, MetricType, PodIdentity, build, parse};

const HOST: &str = "prom.test:9090";
const TLS_HOST: &str = "tls.test:9443";
const NOW: &str = "2026-01-01T00:00:00Z";
const NOW_SECONDS: i64 = 1_767_225_600;

type Seen = Arc<Mutex<Vec<http::Request<Bytes>>>>;

fn lock(seen: &Seen) -> MutexGuard<'_, Vec<http::Request<Bytes>>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

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

fn text(value: &Value) -> String {
    fill(value.as_str().unwrap_or_default())
}

fn map(value: &Value) -> BTreeMap<String, String> {
    let pairs = value.as_object().into_iter().flatten();
    pairs.map(|(k, v)| (k.clone(), text(v))).collect()
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
                let mut seen = lock(&seen);
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
        let values: Vec<_> = values.as_array().into_iter().flatten().map(text).collect();
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
    let query = text(&want["query"]);
    let path = text(&want["path"]);
    let want = (
        want["method"].as_str().unwrap_or_default(),
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

/// The autoscaling/v2 metric entry, without a selector.
fn in_hpa(spec: &MetricSpec) -> Value {
    let field = match spec.metric_type {
        MetricType::AverageValue => "averageValue",
        _ => "value",
    };
    let target = hpa_spec::target_text(spec.target);
    json!({
        "type": "External",
        "external": {
            "metric": {"name": spec.metric_name},
            "target": {"type": spec.metric_type.as_str(), field: target},
        },
    })
}

pub(super) async fn check(case: &Value) -> Result<(), String> {
    let out = &case["out"];
    let input = Input {
        metadata: map(&case["metadata"]),
        auth_params: map(&case["authParams"]),
        pod_identity: PodIdentity::of(case["podIdentity"].as_str().unwrap_or("")),
        metric_type: case["metricType"].as_str().map(str::to_owned),
        trigger_index: case["triggerIndex"].as_u64().unwrap_or(0) as usize,
        ..Input::default()
    };
    let seen = Seen::default();
    let response = case["response"].clone();
    let start = jiff::Timestamp::from_second(NOW_SECONDS).unwrap_or_default();
    let clock = clock::Clock::simulated(start);
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
    let spec = in_hpa(trigger.spec());
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
    let seen = lock(&seen);
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
        out["rawValueBits"].as_str().unwrap_or_default(),
        out["value"].as_str().unwrap_or_default().to_owned(),
        out["active"].as_bool().unwrap_or_default(),
    );
    if ours == want {
        Ok(())
    } else {
        Err(format!("reading\n    ours {ours:?}\n    want {want:?}"))
    }
}
