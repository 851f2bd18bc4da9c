//! What the tests of the REST API share.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "helpers of tests, of which each uses some"
)]

use bytes::Bytes;
use cluster::{Body, Cluster, Options};
use http_body_util::BodyExt as _;
use serde_json::Value;

/// A cluster on simulated time.
pub fn cluster() -> Cluster {
    let start = "2026-01-01T00:00:00Z".parse().unwrap();
    Cluster::new(Options {
        seed: 7,
        clock: clock::Clock::simulated(start),
    })
}

/// Sends a request with headers and returns the answer.
pub async fn send(
    cluster: &Cluster,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> http::Response<Body> {
    let mut request = http::Request::builder().method(method).uri(path);
    for (key, value) in headers {
        request = request.header(*key, *value);
    }
    cluster.request(request.body(body.into()).unwrap()).await
}

/// Sends JSON (or nothing) and reads JSON.
pub async fn call(cluster: &Cluster, method: &str, path: &str, body: Value) -> (u16, Value) {
    let media = match (method, &body) {
        ("PATCH", Value::Array(_)) => "application/json-patch+json",
        ("PATCH", _) => "application/merge-patch+json",
        _ => "application/json",
    };
    let bytes = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    read(send(cluster, method, path, &[("content-type", media)], bytes).await).await
}

/// Reads an answer as JSON.
pub async fn read(response: http::Response<Body>) -> (u16, Value) {
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

/// A watch, read event by event.
pub struct Watch {
    body: Body,
    rest: Vec<u8>,
}

impl Watch {
    /// Starts a watch.
    pub async fn start(cluster: &Cluster, path: &str, accept: &str) -> Self {
        let response = send(cluster, "GET", path, &[("accept", accept)], "").await;
        assert_eq!(response.status(), 200, "{path}");
        Self {
            body: response.into_body(),
            rest: Vec::new(),
        }
    }

    /// The next event: its type and object. `None` at the end.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line).unwrap();
                return Some((
                    event["type"].as_str().unwrap().to_owned(),
                    event["object"].clone(),
                ));
            }
            let frame = self.body.frame().await?.unwrap();
            self.rest.extend_from_slice(&frame.into_data().unwrap());
        }
    }

    /// The next event as "TYPE name".
    pub async fn brief(&mut self) -> String {
        match self.next().await {
            Some((kind, object)) => {
                format!(
                    "{kind} {}",
                    object["metadata"]["name"].as_str().unwrap_or("-")
                )
            }
            None => "end".to_owned(),
        }
    }
}
