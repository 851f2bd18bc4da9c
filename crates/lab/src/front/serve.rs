//! Listening, on a thread with a real-time runtime.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::WatchEnd;
use futures::StreamExt as _;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::{Answer, Door, FrontConfig, FrontError, Knock, Kubeconfig, MAX_BODY, QUEUE, tls};
use crate::pacer::Bell;

/// Connections at a time; past it new ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 512;
/// How long a TLS handshake, a request's head and its body may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a watch may still say once its time is up.
const LAST_WORDS: Duration = Duration::from_secs(1);

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The open doors. Dropping it closes them and ends their thread.
#[derive(Debug)]
pub struct Doors {
    /// Where the Kubernetes API listens.
    pub kubernetes: SocketAddr,
    /// Where the Prometheus API listens.
    pub prometheus: SocketAddr,
    /// The kubeconfig that leads to it.
    pub kubeconfig: Kubeconfig,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Doors {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Opens both doors; requests arrive at the returned receiver, and `bell` is
/// rung for each.
///
/// # Errors
/// When an address cannot be had or the kubeconfig cannot be written.
pub fn open(
    config: &FrontConfig,
    bell: Bell,
) -> Result<(Doors, mpsc::Receiver<Knock>), FrontError> {
    let bind = |addr: SocketAddr| {
        let made = std::net::TcpListener::bind(addr).and_then(|l| {
            l.set_nonblocking(true)
                .and_then(|()| Ok((l.local_addr()?, l)))
        });
        made.map_err(|source| FrontError::Listen { addr, source })
    };
    let (kubernetes, kubernetes_listener) = bind(config.listen)?;
    let (prometheus, prometheus_listener) = bind(config.prometheus)?;
    let identity = tls::identity(kubernetes.ip())?;
    let kubeconfig = Kubeconfig::write(
        config.kubeconfig.as_deref(),
        &format!("https://{kubernetes}"),
        &identity.ca_pem,
        &identity.token,
    )?;

    let (knocks, desk) = mpsc::channel(QUEUE);
    let (stop, stopped) = oneshot::channel::<()>();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(FrontError::Start)?;
    let acceptor = tokio_rustls::TlsAcceptor::from(identity.config);
    let token: Arc<str> = identity.token.into();
    let serve = async move {
        let kubernetes = Arc::new(Porch {
            door: Door::Kubernetes,
            token: Some(token),
            knocks: knocks.clone(),
            bell: bell.clone(),
        });
        let prometheus = Arc::new(Porch {
            door: Door::Prometheus,
            token: None,
            knocks,
            bell,
        });
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let first = accept(
            kubernetes_listener,
            Some(acceptor),
            kubernetes,
            Arc::clone(&room),
        );
        let second = accept(prometheus_listener, None, prometheus, room);
        tokio::select! {
            biased;
            _ = stopped => {}
            () = first => {}
            () = second => {}
        }
    };
    let thread = std::thread::Builder::new()
        .name("front-door".to_owned())
        .spawn(move || runtime.block_on(serve))
        .map_err(FrontError::Start)?;
    let doors = Doors {
        kubernetes,
        prometheus,
        kubeconfig,
        stop: Some(stop),
        thread: Some(thread),
    };
    Ok((doors, desk))
}

/// One door's way in.
struct Porch {
    door: Door,
    /// What a caller must show; `None` lets anyone on the loopback in.
    token: Option<Arc<str>>,
    knocks: mpsc::Sender<Knock>,
    bell: Bell,
}

async fn accept(
    listener: std::net::TcpListener,
    tls: Option<tokio_rustls::TlsAcceptor>,
    porch: Arc<Porch>,
    room: Arc<Semaphore>,
) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    loop {
        let Ok(seat) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let Ok((socket, _)) = listener.accept().await else {
            // Out of file handles: give running connections time to end.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let _ = socket.set_nodelay(true);
        let (porch, tls) = (Arc::clone(&porch), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => connection(socket, porch).await,
                Some(tls) => {
                    if let Ok(Ok(socket)) = timeout(PATIENCE, tls.accept(socket)).await {
                        connection(socket, porch).await;
                    }
                }
            }
            drop(seat);
        });
    }
}

async fn connection<S>(socket: S, porch: Arc<Porch>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(128);
    let service = service_fn(move |request| {
        let porch = Arc::clone(&porch);
        async move { Ok::<_, Infallible>(porch.answer(request).await) }
    });
    // A client that hangs up mid-answer is its own business.
    let _ = server.serve_connection(TokioIo::new(socket), service).await;
}

impl Porch {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if let Some(token) = &self.token
            && !bearer(request.headers()).is_some_and(|shown| same(shown, token))
        {
            return refusal(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized");
        }
        let (mut head, body) = request.into_parts();
        let body = match timeout(PATIENCE, Limited::new(body, MAX_BODY).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => {
                let why = "Request entity too large: limit is 3145728";
                return refusal(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", why);
            }
            Err(_) => {
                let why = "the request's body did not arrive within 30 s";
                return refusal(StatusCode::REQUEST_TIMEOUT, "Timeout", why);
            }
        };
        let limit = take_watch_timeout(&mut head.uri);
        let end = WatchEnd::default();
        if limit.is_some() {
            head.extensions.insert(end.clone());
        }
        let bell = self.bell.clone();
        let (reply, answer) = oneshot::channel();
        let knock = Knock {
            door: self.door,
            at: jiff::Timestamp::now(),
            request: Request::from_parts(head, body),
            reply,
        };
        if self.knocks.try_send(knock).is_err() {
            let why = "the lab has too many requests waiting: try again";
            return refusal(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", why);
        }
        self.bell.ring();
        let Ok(answer) = answer.await else {
            let why = "the lab is shutting down";
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", why);
        };
        answer.map(|body| match body {
            Answer::Whole(bytes) => Full::new(bytes).boxed_unsync(),
            Answer::Stream(chunks) => stream(chunks, limit, end, bell),
        })
    }
}

/// The chunks of a watch, until it ends or its client's time is up; then the
/// simulation gets a moment for its last words (a bookmark).
fn stream(
    chunks: mpsc::Receiver<Bytes>,
    limit: Option<Duration>,
    end: WatchEnd,
    bell: Bell,
) -> Body {
    let deadline = limit.map(|limit| Instant::now() + limit);
    let state = (chunks, deadline, false);
    let frames = futures::stream::unfold(state, move |(mut chunks, mut deadline, mut over)| {
        let (end, bell) = (end.clone(), bell.clone());
        async move {
            loop {
                let next = match deadline {
                    Some(at) => tokio::time::timeout_at(at, chunks.recv()).await,
                    None => Ok(chunks.recv().await),
                };
                match next {
                    Ok(next) => return next.map(|bytes| (bytes, (chunks, deadline, over))),
                    Err(_) if over => return None,
                    Err(_) => {
                        over = true;
                        deadline = Some(Instant::now() + LAST_WORDS);
                        end.finish();
                        bell.nudge();
                    }
                }
            }
        }
    });
    StreamBody::new(frames.map(|bytes| Ok(Frame::data(bytes)))).boxed_unsync()
}

/// Takes `timeoutSeconds` out of a watch's address and gives the watch's limit:
/// the client means real seconds, and the simulation would count its own.
/// `None` for what is no watch.
fn take_watch_timeout(uri: &mut http::Uri) -> Option<Duration> {
    let query = uri.query()?;
    if !query
        .split('&')
        .any(|pair| matches!(pair, "watch=true" | "watch=1" | "watch"))
    {
        return None;
    }
    let (timeouts, kept): (Vec<&str>, Vec<&str>) = query
        .split('&')
        .partition(|pair| pair.starts_with("timeoutSeconds="));
    let asked = timeouts.first().and_then(|pair| pair.split_once('='));
    let asked = asked
        .and_then(|(_, text)| text.parse().ok())
        .filter(|seconds| *seconds > 0);
    // As the API server: half an hour to an hour, so that watches that began
    // together do not end together.
    let seconds = asked.unwrap_or_else(|| {
        1800 + u64::from(jiff::Timestamp::now().subsec_nanosecond().unsigned_abs()) % 1800
    });
    if let Ok(address) = format!("{}?{}", uri.path(), kept.join("&")).parse() {
        *uri = address;
    }
    Some(Duration::from_secs(seconds))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
}

/// Compares without stopping at the first difference, so that the time taken
/// tells nothing about the token.
fn same(shown: &str, token: &str) -> bool {
    shown.len() == token.len()
        && shown
            .bytes()
            .zip(token.bytes())
            .fold(0, |diff, (a, b)| diff | (a ^ b))
            == 0
}

fn refusal(code: StatusCode, reason: &str, message: &str) -> Response<Body> {
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code.as_u16(),
    });
    let body = Full::new(Bytes::from(status.to_string())).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_watch_loses_its_timeout() {
        let mut uri = "/api/v1/pods?watch=true&timeoutSeconds=300&resourceVersion=7"
            .parse()
            .unwrap();
        assert_eq!(take_watch_timeout(&mut uri), Some(Duration::from_secs(300)));
        assert_eq!(uri, "/api/v1/pods?watch=true&resourceVersion=7");
        let mut uri = "/api/v1/pods?watch=1&timeoutSeconds=0".parse().unwrap();
        assert!(take_watch_timeout(&mut uri).unwrap() >= Duration::from_secs(1800));
        let mut uri = "/api/v1/pods?timeoutSeconds=300".parse().unwrap();
        assert_eq!(take_watch_timeout(&mut uri), None);
        assert_eq!(uri, "/api/v1/pods?timeoutSeconds=300");
    }
}
