//! The simulation's side of the front door.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Body as _;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc;

use super::{Answer, Door, Knock};
use crate::pacer::Bell;

/// Chunks of one watch that may wait for a slow client before the watch
/// stops reading; the store's ring of events is the real buffer.
const CHUNKS: usize = 64;

/// What answers the requests.
#[derive(Clone)]
pub struct Desk {
    /// The Kubernetes API.
    pub cluster: cluster::Cluster,
    /// The store behind the Prometheus API.
    pub store: promql::store::Store,
    /// Told when a request has its answer.
    pub bell: Bell,
}

/// Answers knocks until the doors close.
pub async fn receive(desk: Desk, mut knocks: mpsc::Receiver<Knock>) {
    while let Some(knock) = knocks.recv().await {
        let desk = desk.clone();
        tokio::spawn(async move { desk.answer(knock).await });
    }
}

impl Desk {
    async fn answer(self, knock: Knock) {
        let Knock {
            door,
            at,
            request,
            reply,
        } = knock;
        let waiting = self.bell.waiting();
        match door {
            Door::Prometheus => {
                let answer = outside(&self.store, request, self.cluster.now(), at);
                drop(waiting);
                // The caller may have hung up; there is nobody to tell.
                let _ = reply.send(answer.map(Answer::Whole));
            }
            Door::Kubernetes => {
                let answer = self.cluster.request(request).await;
                drop(waiting);
                let (head, mut body) = answer.into_parts();
                if body.size_hint().exact().is_some() {
                    let mut whole = Vec::new();
                    while let Some(bytes) = next_chunk(&mut body).await {
                        whole.extend_from_slice(&bytes);
                    }
                    let answer = Answer::Whole(whole.into());
                    let _ = reply.send(http::Response::from_parts(head, answer));
                } else {
                    let (chunks, out) = mpsc::channel(CHUNKS);
                    let answer = http::Response::from_parts(head, Answer::Stream(out));
                    if reply.send(answer).is_err() {
                        return;
                    }
                    loop {
                        tokio::select! {
                            biased;
                            () = chunks.closed() => return,
                            next = next_chunk(&mut body) => match next {
                                Some(bytes) => if chunks.send(bytes).await.is_err() { return },
                                None => return,
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Further ahead than this a time is not meant in simulated time.
const AHEAD: f64 = 86_400.0;

/// Answers a client that lives in real time. promtool and dashboards ask for
/// "now" and "the last hour" by their own clock: such times are moved to
/// simulated time, and those in the answer back, so that now is now for both.
fn outside(
    store: &promql::store::Store,
    request: http::Request<Bytes>,
    now: Timestamp,
    real: Timestamp,
) -> http::Response<Bytes> {
    let ahead = real.duration_since(now).as_secs_f64();
    let (mut head, body) = request.into_parts();
    let query = head.uri.query().map(|query| moved(query, now, ahead));
    let form = std::str::from_utf8(&body)
        .ok()
        .map(|form| moved(form, now, ahead));
    let shifted = [&query, &form]
        .into_iter()
        .flatten()
        .any(|(_, shifted)| *shifted);
    if !shifted {
        return prometheus(store, &http::Request::from_parts(head, body), now);
    }
    if let Some((query, _)) = query
        && let Ok(uri) = format!("{}?{query}", head.uri.path()).parse()
    {
        head.uri = uri;
    }
    let body = form.map_or(body, |(form, _)| Bytes::from(form));
    let answer = prometheus(store, &http::Request::from_parts(head, body), now);
    answer.map(|body| {
        let Ok(mut json) = serde_json::from_slice::<Value>(&body) else {
            return body;
        };
        if let Some(result) = json.pointer_mut("/data/result") {
            move_samples(result, ahead);
        }
        Bytes::from(json.to_string())
    })
}

/// The pairs of a query or form with real times made simulated, and whether
/// there were any. RFC 3339 times are read as they are written: who writes a
/// date means it.
fn moved(pairs: &str, now: Timestamp, ahead: f64) -> (String, bool) {
    let mut shifted = false;
    let latest = now.as_second() as f64 + AHEAD;
    let pairs = pairs.split('&').map(|pair| match pair.split_once('=') {
        Some((key @ ("time" | "start" | "end"), text)) => match text.parse::<f64>() {
            Ok(seconds) if seconds > latest => {
                shifted = true;
                format!("{key}={:.3}", seconds - ahead)
            }
            _ => pair.to_owned(),
        },
        _ => pair.to_owned(),
    });
    (pairs.collect::<Vec<_>>().join("&"), shifted)
}

/// Moves the times of a vector's, matrix's or scalar's samples.
fn move_samples(result: &mut Value, ahead: f64) {
    let shift = |sample: &mut Value| {
        if let Some(seconds) = sample.get(0).and_then(Value::as_f64) {
            sample[0] = ((seconds + ahead) * 1000.0).round().into();
            sample[0] = (sample[0].as_f64().unwrap_or(0.0) / 1000.0).into();
        }
    };
    let Some(rows) = result.as_array_mut() else {
        return;
    };
    if rows.first().is_some_and(Value::is_number) {
        shift(result);
        return;
    }
    for row in rows {
        if let Some(sample) = row.get_mut("value") {
            shift(sample);
        }
        for sample in row
            .get_mut("values")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            shift(sample);
        }
    }
}

async fn next_chunk(body: &mut cluster::Body) -> Option<Bytes> {
    loop {
        let frame = std::future::poll_fn(|cx: &mut Context<'_>| -> Poll<_> {
            Pin::new(&mut *body).poll_frame(cx)
        })
        .await;
        match frame?.map(http_body::Frame::into_data) {
            Ok(Ok(bytes)) => return Some(bytes),
            Ok(Err(_trailers)) => {}
            Err(never) => match never {},
        }
    }
}

/// Answers one request to the Prometheus API at simulated time `now`.
pub(crate) fn prometheus(
    store: &promql::store::Store,
    request: &http::Request<Bytes>,
    now: Timestamp,
) -> http::Response<Bytes> {
    let uri = request.uri();
    let (code, json) = promql::http::handle(
        store,
        request.method().as_str(),
        uri.path(),
        uri.query().unwrap_or(""),
        request.body(),
        now,
    );
    let mut response = http::Response::new(Bytes::from(json));
    *response.status_mut() =
        http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let kind = http::HeaderValue::from_static("application/json");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use promql::store::{ScrapeCache, Store, StoreOptions};

    #[test]
    fn now_is_now_for_a_client_in_real_time() {
        let now: Timestamp = "2020-01-06T09:00:00Z".parse().unwrap();
        let real: Timestamp = "2026-05-01T12:00:00Z".parse().unwrap();
        let store = Store::new(StoreOptions::default());
        store.ingest(
            "m 7\n",
            &[],
            now.as_millisecond() - 1000,
            &mut ScrapeCache::new(),
        );
        let ask = |time: String| {
            let uri = format!("/api/v1/query?query=m&time={time}");
            let request = http::Request::get(uri).body(Bytes::new()).unwrap();
            let answer = outside(&store, request, now, real);
            let json: Value = serde_json::from_slice(answer.body()).unwrap();
            json["data"]["result"][0]["value"].clone()
        };
        let sample = ask(real.as_second().to_string());
        assert_eq!(sample[1], "7");
        assert_eq!(sample[0].as_f64().unwrap(), real.as_second() as f64);
        // A simulated time is left as it is.
        assert_eq!(
            ask(now.as_second().to_string())[0].as_f64().unwrap(),
            now.as_second() as f64
        );
    }
}
