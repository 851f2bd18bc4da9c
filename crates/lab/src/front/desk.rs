//! The simulation's side of the front door.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Body as _;
use jiff::Timestamp;
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
            request,
            reply,
        } = knock;
        match door {
            Door::Prometheus => {
                let answer = prometheus(&self.store, &request, self.cluster.now());
                self.bell.answered();
                // The caller may have hung up; there is nobody to tell.
                let _ = reply.send(answer.map(Answer::Whole));
            }
            Door::Kubernetes => {
                let answer = self.cluster.request(request).await;
                self.bell.answered();
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
