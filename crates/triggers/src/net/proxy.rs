//! Connections through the proxy that the environment names (`HTTPS_PROXY`,
//! `HTTP_PROXY`, `NO_PROXY`), as KEDA's clients make them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::{BoxError, Service};

/// Connects to a host, or to the proxy for it.
#[derive(Clone)]
pub(super) struct Connector {
    direct: HttpConnector,
    proxies: Arc<Matcher>,
}

impl Connector {
    pub(super) fn new(proxies: Matcher) -> Self {
        let mut direct = HttpConnector::new();
        direct.enforce_http(false);
        Self {
            direct,
            proxies: Arc::new(proxies),
        }
    }
}

impl Service<Uri> for Connector {
    type Response = Hop;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Hop, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // A connection is made anew for each call, so there is nothing to wait for.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let mut direct = self.direct.clone();
        let proxies = Arc::clone(&self.proxies);
        Box::pin(async move {
            let Some(proxy) = proxies.intercept(&target) else {
                return Ok(Hop::to(direct.call(target).await?, false));
            };
            let to = proxy.uri().clone();
            let host = to.authority().map_or_else(String::new, ToString::to_string);
            if to.scheme_str() != Some("http") {
                return Err(format!("proxy {host}: only http:// proxies are supported").into());
            }
            let auth = proxy.basic_auth().cloned();
            if target.scheme_str() == Some("https") {
                let mut tunnel = Tunnel::new(to, direct);
                if let Some(auth) = auth {
                    tunnel = tunnel.with_auth(auth);
                }
                let made = tunnel.call(target).await;
                let made = made.map_err(|e| format!("proxy {host}: {e}"))?;
                return Ok(Hop::to(made, false));
            }
            if auth.is_some() {
                let text = "credentials are sent for https:// addresses only";
                return Err(format!("proxy {host}: {text}").into());
            }
            let made = direct.call(to).await;
            let made = made.map_err(|e| format!("proxy {host}: {e}"))?;
            Ok(Hop::to(made, true))
        })
    }
}

/// A connection that knows whether it ends at a proxy, which wants to be told
/// the whole address with each request.
pub(super) struct Hop {
    stream: TokioIo<TcpStream>,
    proxied: bool,
}

impl Hop {
    fn to(stream: TokioIo<TcpStream>, proxied: bool) -> Self {
        Self { stream, proxied }
    }
}

impl Connection for Hop {
    fn connected(&self) -> Connected {
        self.stream.connected().proxy(self.proxied)
    }
}

impl Read for Hop {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for Hop {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
