//! The part of the internet that the article's manifests name: Azure Managed
//! Prometheus over the embedded store, and the token authority. A proxy leads
//! there, so that the manifests stay byte for byte and the operator's own
//! network code is what speaks.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use lab::authority::Authority;
use lab::names::Names;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;
use triggers::HttpService;

use crate::tls;

/// A proxy to the simulated hosts, with certificates of its own authority.
pub struct Internet {
    /// `http://127.0.0.1:PORT`.
    pub proxy: String,
    /// The authority that its hosts' certificates are of, PEM.
    pub ca: PathBuf,
    /// The operator's projected token.
    pub token: PathBuf,
}

struct Hosts {
    authority: tls::Authority,
    known: Mutex<HashMap<String, Arc<ServerConfig>>>,
    names: HttpService,
}

impl Internet {
    pub async fn open(names: Names, authority: &Authority, folder: &Path) -> Self {
        let own = tls::Authority::new();
        let (ca, token) = (folder.join("internet.pem"), folder.join("token"));
        std::fs::write(&ca, own.pem()).unwrap();
        std::fs::write(&token, authority.assertion()).unwrap();
        let hosts = Arc::new(Hosts {
            authority: own,
            known: Mutex::default(),
            names: names.service(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let hosts = Arc::clone(&hosts);
                tokio::spawn(async move { hosts.lead(socket).await });
            }
        });
        Self { proxy, ca, token }
    }
}

impl Hosts {
    /// Takes one CONNECT and then is the host that was asked for.
    async fn lead(&self, mut socket: TcpStream) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && head.len() < 4096 {
            head.push(socket.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let host = head
            .strip_prefix("CONNECT ")
            .and_then(|t| t.split_once(':'));
        let Some((host, _)) = host else {
            return socket
                .write_all(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n")
                .await;
        };
        socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        let acceptor = tokio_rustls::TlsAcceptor::from(self.config(host));
        let stream = acceptor.accept(socket).await?;
        let (names, host) = (self.names.clone(), host.to_owned());
        let service = service_fn(move |request: Request<Incoming>| {
            let (names, host) = (names.clone(), host.clone());
            async move {
                let (mut head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let path = head.uri.path_and_query().map_or("/", |p| p.as_str());
                head.uri = format!("https://{host}{path}").parse().unwrap();
                let answer = names.oneshot(Request::from_parts(head, body)).await;
                Ok::<_, Infallible>(answer.unwrap().map(Full::<Bytes>::new))
            }
        });
        let server = auto::Builder::new(TokioExecutor::new());
        let served = server.serve_connection(TokioIo::new(stream), service).await;
        served.map_err(std::io::Error::other)
    }

    fn config(&self, host: &str) -> Arc<ServerConfig> {
        let mut known = self.known.lock().unwrap();
        let made = known
            .entry(host.to_owned())
            .or_insert_with(|| Arc::new(self.authority.sign(host).server(None)));
        Arc::clone(made)
    }
}
