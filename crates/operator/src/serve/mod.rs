//! The operator's own server: the aggregated APIs over TLS, for the API server
//! that passes requests on and for whoever comes with a token.
//!
//! A request is answered when its caller is known and allowed ([`callers`]);
//! certificates are made, stored, handed to the API server and renewed by
//! [`certificates`].

mod callers;
mod certificates;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use kube::Client;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::timeout;

use crate::Handler;
use crate::answer::{not_found, refused};

pub use certificates::Certificates;

/// Connections at a time; past it new ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 256;
/// How long a handshake, a connection's first request and an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// A connection that is older is asked to end, so that a client makes a new
/// one under the certificates of the day.
const AGE: Duration = Duration::from_secs(600);
/// The APIs served here are read by short requests.
const MAX_BODY: usize = 1 << 20;

/// Where the APIs are served and under which name the API server finds them.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Namespace of the Service and of the Secret with the certificate.
    pub namespace: String,
    /// The Service that leads here.
    pub service: String,
    /// Where certificates come from.
    pub certificates: Certificates,
}

/// Handlers by API group and version.
pub type Groups = BTreeMap<(String, String), Handler>;

/// Serves `groups` on `listener` until dropped, and calls `ready` when it begins.
/// While no certificate can be had, or the API server does not say whom to
/// trust, nobody is answered, and the log says what is missing.
pub async fn serve(
    client: Client,
    listener: TcpListener,
    groups: Groups,
    options: ServeOptions,
    clock: clock::Clock,
    ready: impl FnOnce(),
) -> Infallible {
    let versions: Vec<String> = groups.keys().map(|(g, v)| format!("{v}.{g}")).collect();
    let keeper = certificates::Keeper::new(client.clone(), options, versions, clock);
    let (config, current) = watch::channel(keeper.first().await);
    ready();
    let gate = Arc::new(callers::Gate::new(client));
    let desk = Arc::new(Desk { gate, groups });
    tokio::select! {
        biased;
        never = keeper.keep(config) => match never {},
        never = accept(listener, current, desk) => match never {},
    }
}

/// What a connection is served with.
#[derive(Clone)]
struct Current {
    tls: Arc<rustls::ServerConfig>,
    trust: Arc<callers::FrontTrust>,
}

struct Desk {
    gate: Arc<callers::Gate>,
    groups: Groups,
}

async fn accept(
    listener: TcpListener,
    current: watch::Receiver<Current>,
    desk: Arc<Desk>,
) -> Infallible {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            // It is never closed.
            std::future::pending::<()>().await;
            continue;
        };
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let current = current.borrow().clone();
        let desk = Arc::clone(&desk);
        tokio::spawn(async move {
            if let Err(error) = talk(socket, current, desk).await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(place);
        });
    }
}

async fn talk(socket: TcpStream, current: Current, desk: Arc<Desk>) -> io::Result<()> {
    let acceptor = tokio_rustls::TlsAcceptor::from(current.tls);
    let stream = timeout(PATIENCE, acceptor.accept(socket)).await??;
    // Who vouches for the headers of this connection's requests.
    let front = stream.get_ref().1.peer_certificates();
    let front = front.and_then(|chain| current.trust.name_of(chain.first()?));
    let trust = current.trust;
    let spoken = Arc::new(Notify::new());
    let first = Arc::clone(&spoken);
    let service = service_fn(move |request: Request<Incoming>| {
        first.notify_one();
        let (desk, front, trust) = (Arc::clone(&desk), front.clone(), Arc::clone(&trust));
        async move {
            let answer = desk.answer(request, front.as_deref(), &trust);
            let text = "the answer took too long";
            let late = || refused(StatusCode::GATEWAY_TIMEOUT, "Timeout", text);
            let response = timeout(PATIENCE, answer).await.unwrap_or_else(|_| late());
            Ok::<_, Infallible>(response.map(Full::new))
        }
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE);
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PATIENCE)
        .max_concurrent_streams(100);
    let connection = server.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // A place that is held in silence is one that nobody else can have.
    let silence = async {
        let heard = timeout(PATIENCE, spoken.notified()).await.is_ok();
        if heard {
            tokio::time::sleep(AGE).await;
        }
        heard
    };
    tokio::select! {
        biased;
        ended = connection.as_mut() => return ended.map_err(io::Error::other),
        heard = silence => if !heard {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    connection.as_mut().graceful_shutdown();
    timeout(PATIENCE, connection)
        .await?
        .map_err(io::Error::other)
}

impl Desk {
    async fn answer(
        &self,
        request: Request<Incoming>,
        front: Option<&str>,
        trust: &callers::FrontTrust,
    ) -> Response<Bytes> {
        let path = request.uri().path();
        if matches!(path, "/healthz" | "/livez" | "/readyz") {
            return Response::new(Bytes::from_static(b"ok"));
        }
        let Some(wish) = callers::Wish::of(request.method(), path) else {
            return not_found();
        };
        let caller = match self.gate.caller(request.headers(), front, trust).await {
            Ok(caller) => caller,
            Err(refusal) => return refusal.response(),
        };
        if let Err(refusal) = self.gate.allowed(&caller, &wish).await {
            return refusal.response();
        }
        let mut parts = path.split('/').skip(1);
        let handler = match (parts.next(), parts.next(), parts.next()) {
            (Some("apis"), Some(group), Some(version)) => {
                self.groups.get(&(group.to_owned(), version.to_owned()))
            }
            _ => None,
        };
        let Some(handler) = handler else {
            return not_found();
        };
        let (head, body) = request.into_parts();
        match Limited::new(body, MAX_BODY).collect().await {
            Ok(body) => handler(Request::from_parts(head, body.to_bytes())).await,
            Err(error) => {
                let text = format!("the request's body could not be read: {error}");
                refused(StatusCode::BAD_REQUEST, "BadRequest", &text)
            }
        }
    }
}
