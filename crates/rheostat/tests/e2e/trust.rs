//! `rheostat operator` before an API server whose certificate it cannot take,
//! or that is not there: it says so with the cure, goes on asking, and works as
//! soon as it can, all in one process.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::tls::Authority;

/// Which certificate the API server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    Good,
    Expired,
    Foreign,
    /// It takes no connection.
    Nothing,
}

/// In a process' log: what was said before has been heard.
const MARK: &str = "----\n";

/// A process that is killed when this is dropped, and what it has said.
struct Process {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        let log = Arc::<Mutex<String>>::default();
        let pipes: [Option<Box<dyn std::io::Read + Send>>; 2] = [
            child.stdout.take().map(|p| Box::new(p) as _),
            child.stderr.take().map(|p| Box::new(p) as _),
        ];
        for pipe in pipes.into_iter().flatten() {
            let log = Arc::clone(&log);
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    *log.lock().unwrap() += &format!("{line}\n");
                }
            });
        }
        Self { child, log }
    }

    /// Waits until it has said all of these since it was last asked.
    async fn says(&self, wanted: &[&str], within: Duration) {
        let began = Instant::now();
        while began.elapsed() < within {
            {
                let mut log = self.log.lock().unwrap();
                let new = log.split(MARK).last().unwrap_or_default();
                if wanted.iter().all(|text| new.contains(text)) {
                    *log += MARK;
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let said = self.log.lock().unwrap();
        panic!("not said within {within:?}: {wanted:?}; but:\n{said}");
    }

    /// What its health port answers at `path`, status line and all.
    async fn health(&self, path: &str) -> String {
        let address = {
            let log = self.log.lock().unwrap();
            let (_, rest) = log.split_once("health on ").unwrap();
            rest.lines().next().unwrap().to_owned()
        };
        let mut socket = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Resident memory in KiB (Linux).
    fn resident(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}

/// Stands before the API server at `upstream` with certificates of its own; a
/// change ends every connection, as a restart does.
async fn front(upstream: String, lab: Arc<rustls::ClientConfig>) -> Front {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let host = "127.0.0.1";
    let leaves = [
        ours.sign(host),
        ours.sign_until(host, 2020),
        theirs.sign(host),
    ];
    let configs = leaves.map(|leaf| Arc::new(leaf.server(None)));
    let (shows, shown) = watch::channel(Shows::Nothing);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let mut shown = shown.clone();
            let now = *shown.borrow_and_update();
            if now == Shows::Nothing {
                continue;
            }
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&configs[now as usize]));
            let connector = tokio_rustls::TlsConnector::from(Arc::clone(&lab));
            let upstream = upstream.clone();
            tokio::spawn(async move {
                let mut down = acceptor.accept(socket).await?;
                let name = "127.0.0.1".try_into().unwrap();
                let up = TcpStream::connect(&upstream).await?;
                let mut up = connector.connect(name, up).await?;
                tokio::select! {
                    biased;
                    done = copy_bidirectional(&mut down, &mut up) => done.map(drop),
                    _ = shown.changed() => Ok(()),
                }
            });
        }
    });
    Front {
        address,
        pem: ours.pem(),
        shows,
    }
}

struct Front {
    address: String,
    pem: String,
    shows: watch::Sender<Shows>,
}

fn trusting(pem: &[u8]) -> Arc<rustls::ClientConfig> {
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    let der = rustls::pki_types::CertificateDer::from_pem_slice(pem).unwrap();
    roots.add(der).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

fn rheostat() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rheostat"));
    command.env_clear().env("RHEOSTAT_LOG", "info");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Where the lab is, its authority and its token.
async fn lab(folder: &Path) -> (Process, Value) {
    let path = folder.join("lab.yaml");
    let process = Process::start(rheostat().args(["lab", "--kubeconfig"]).arg(&path));
    process
        .says(&["export KUBECONFIG"], Duration::from_secs(10))
        .await;
    let text = std::fs::read_to_string(path).unwrap();
    let config = api::yaml::parse_documents(&text).unwrap().remove(0).value;
    (process, config)
}

/// Makes an object that the operator watches.
async fn news(kubeconfig: &Path) {
    let config = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
    let config = kube::Config::from_custom_kubeconfig(config, &Default::default()).await;
    let client = kube::Client::try_from(config.unwrap()).unwrap();
    let object = json!({"apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
        "metadata": {"name": "news"}, "spec": {"podIdentity": {"provider": "none"}}});
    let path = "/apis/keda.sh/v1alpha1/namespaces/default/triggerauthentications";
    let request = http::Request::post(path).header("content-type", "application/json");
    let request = request.body(object.to_string().into_bytes()).unwrap();
    client.request::<Value>(request).await.unwrap();
}

#[tokio::test]
async fn certificates_that_cannot_be_taken_are_told_and_outlived() {
    let base64 = base64::engine::general_purpose::STANDARD;
    let folder = tempfile::tempdir().unwrap();
    let (_lab, config) = lab(folder.path()).await;
    let cluster = &config["clusters"][0]["cluster"];
    let upstream = cluster["server"].as_str().unwrap();
    let upstream = upstream.strip_prefix("https://").unwrap().to_owned();
    let authority = cluster["certificate-authority-data"].as_str().unwrap();
    let authority = base64.decode(authority).unwrap();
    let front = front(upstream, trusting(&authority)).await;
    let kubeconfig = folder.path().join("operator.yaml");
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": {
            "server": format!("https://{}", front.address),
            "certificate-authority-data": base64.encode(&front.pem)}}],
        "users": config["users"],
        "contexts": [{"name": "it", "context": {
            "cluster": "it", "user": config["users"][0]["name"]}}],
    });
    std::fs::write(&kubeconfig, text.to_string()).unwrap();

    let operator = Process::start(
        rheostat()
            .args(["operator", "--namespace", "keda", "--listen", "127.0.0.1:0"])
            .args(["--health-listen", "127.0.0.1:0", "--kubeconfig"])
            .arg(&kubeconfig),
    );
    let soon = Duration::from_secs(10);
    let next = Duration::from_secs(40);
    operator.says(&["cannot ask", "trying again"], soon).await;
    let ready = operator.health("/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    let alive = operator.health("/healthz").await;
    assert!(alive.starts_with("HTTP/1.1 200"), "{alive}");
    front.shows.send_replace(Shows::Expired);
    operator
        .says(&["certificate expired", "Renew the server's"], next)
        .await;
    front.shows.send_replace(Shows::Good);
    // The lab has no front for aggregated APIs, and the operator says so.
    operator
        .says(&["serving the APIs: ConfigMap", "front-proxy"], next)
        .await;
    let normal = operator.resident();

    front.shows.send_replace(Shows::Foreign);
    let cure = "not of the authority in the kubeconfig";
    operator
        .says(&["scaledobjects.keda.sh cannot be watched", cure], soon)
        .await;
    front.shows.send_replace(Shows::Good);
    // A watch that goes on is silent until there is news.
    news(&folder.path().join("lab.yaml")).await;
    operator
        .says(&["triggerauthentications.keda.sh: watching again"], next)
        .await;
    let after = operator.resident();
    assert!(after <= 2 * normal, "{after} KiB after, {normal} before");
}
