//! A real Prometheus server that scrapes the exporters' pages over HTTP and
//! answers triggers in the place of the embedded store.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use lab::Exporters;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::ServiceExt as _;
use triggers::{HttpService, TlsOptions};

/// A running server; it ends when this is dropped.
pub struct Prometheus {
    child: Child,
    address: String,
    log: PathBuf,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// Whether there is one on this machine.
    pub fn is_there() -> bool {
        let version = Command::new("prometheus").arg("--version").output();
        version.is_ok_and(|o| o.status.success())
    }

    /// Starts one that finds and scrapes the exporters each five seconds, as the
    /// lab's store does, and waits until it answers.
    pub async fn start(exporters: Exporters, clock: clock::Clock, folder: &Path) -> Self {
        let pages = serve(exporters, clock).await;
        let config = folder.join("prometheus.yml");
        let text = json!({
            "global": {"scrape_interval": "5s", "scrape_timeout": "4s"},
            "scrape_configs": [{
                "job_name": "gpus",
                "http_sd_configs": [{"url": format!("http://{pages}/targets"),
                    "refresh_interval": "1s"}],
            }],
        });
        std::fs::write(&config, text.to_string()).unwrap();
        let log = folder.join("prometheus.log");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("tsdb").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let server = Self {
            child,
            address,
            log,
        };
        let began = Instant::now();
        while server.get("/-/ready").await.is_none() {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "prometheus does not start: {}",
                std::fs::read_to_string(&server.log).unwrap_or_default()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        server
    }

    /// The server as a client sees it that asks for paths of its API.
    pub fn service(&self) -> HttpService {
        let network = triggers::net::clients()(&TlsOptions::default()).unwrap();
        let address: Arc<str> = self.address.as_str().into();
        HttpService::new(tower::service_fn(move |mut request: Request<Bytes>| {
            let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
            let uri: Uri = format!("http://{address}{path}").parse().unwrap();
            *request.uri_mut() = uri;
            // It is between the host that was asked and this one.
            request.headers_mut().remove(http::header::HOST);
            request.headers_mut().remove(http::header::AUTHORIZATION);
            network.clone().oneshot(request)
        }))
    }

    /// What a query gives now.
    pub async fn query(&self, query: &str) -> Value {
        let text = percent_encoding::utf8_percent_encode(query, percent_encoding::NON_ALPHANUMERIC);
        let body = self.get(&format!("/api/v1/query?query={text}")).await;
        serde_json::from_slice::<Value>(&body.unwrap()).unwrap()["data"]["result"].clone()
    }

    async fn get(&self, path: &str) -> Option<Bytes> {
        let request = Request::get(path).body(Bytes::new()).unwrap();
        let answer = self.service().oneshot(request).await.ok()?;
        (answer.status() == StatusCode::OK).then(|| answer.into_body())
    }
}

/// Serves `/targets` (Prometheus' HTTP service discovery) and `/NODE/metrics`.
async fn serve(exporters: Exporters, clock: clock::Clock) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let own = address.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (exporters, own) = (exporters.clone(), own.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = answer(&exporters, clock, &own, request.uri().path());
                std::future::ready(Ok::<_, Infallible>(answer))
            });
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(socket), service).await;
            });
        }
    });
    address
}

fn answer(
    exporters: &Exporters,
    clock: clock::Clock,
    own: &str,
    path: &str,
) -> Response<Full<Bytes>> {
    let (kind, body) = if path == "/targets" {
        let groups = exporters.targets().into_iter().map(|(node, labels)| {
            let mut labels: serde_json::Map<String, Value> =
                labels.into_iter().map(|(k, v)| (k, v.into())).collect();
            labels.insert(
                "__metrics_path__".to_owned(),
                format!("/{node}/metrics").into(),
            );
            json!({"targets": [own], "labels": labels})
        });
        let groups: Vec<Value> = groups.collect();
        ("application/json", Some(Value::from(groups).to_string()))
    } else {
        let node = path.trim_start_matches('/').strip_suffix("/metrics");
        let page = node.and_then(|node| exporters.page(node, clock.now()));
        ("text/plain; version=0.0.4", page)
    };
    let status = match body {
        Some(_) => StatusCode::OK,
        None => StatusCode::NOT_FOUND,
    };
    let mut response = Response::new(Full::new(Bytes::from(body.unwrap_or_default())));
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static(kind);
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, kind);
    response
}
