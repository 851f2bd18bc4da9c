//! `rheostat nodepools` as a process of its own, with the rights that
//! `deploy/nodepools.yaml` grants and no others; the simulated cloud is a gRPC
//! server behind mutual TLS.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use kube::Client;
use lab::cloud::Cloud;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::operator::kubeconfig;
use crate::stage::{DELAYS, apply, here};
use crate::tls::Authority;

/// A running planner; it is killed when this is dropped.
pub struct Nodepools {
    kubeconfig: PathBuf,
    cloud: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Drop for Nodepools {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Nodepools {
    /// Installs what the manifest says, except the Deployment, opens the cloud
    /// and starts the program in the Deployment's place.
    pub async fn install(
        client: &Client,
        config: &kube::Config,
        cloud: Cloud,
        folder: &Path,
    ) -> Self {
        let text = std::fs::read_to_string(here().join("deploy/nodepools.yaml")).unwrap();
        let documents = api::yaml::parse_documents(&text).unwrap();
        let objects = documents.into_iter().map(|document| document.value);
        let objects: Vec<Value> = objects.filter(|o| o["kind"] != "Deployment").collect();
        apply(client, folder, &objects).await;
        let account = ("rheostat", "rheostat-nodepools");
        let mut started = Self {
            kubeconfig: kubeconfig(client, config, account, folder).await,
            cloud: open(cloud, folder).await,
            log: folder.join("nodepools.log"),
            child: None,
        };
        started.start();
        started
    }

    pub fn start(&mut self) {
        let [_, _, unneeded] = DELAYS.map(|delay| format!("{}s", delay.as_secs()));
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log);
        let child = Command::new(env!("CARGO_BIN_EXE_rheostat"))
            .args(["nodepools", "--scale-down-unneeded-time", &unneeded])
            .args(["--scale-down-delay-after-add", &unneeded])
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .arg("--cloud-config")
            .arg(&self.cloud)
            .env_clear()
            .env("RHEOSTAT_LOG", "info")
            .stdin(Stdio::null())
            .stderr(log.unwrap())
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// Kills it as a node's failure would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// What it has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// Serves the cloud to whoever has a certificate of the authority that is made
/// here, and writes the cloud config of one who has.
async fn open(cloud: Cloud, folder: &Path) -> PathBuf {
    let authority = Authority::new();
    let file = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let client = authority.sign("client");
    let files = [
        ("cacert", file("cloud-ca.pem", authority.pem())),
        ("cert", file("cloud-client.pem", client.certificate.pem())),
        ("key", file("cloud-client.key", client.key.serialize_pem())),
    ];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let lines = files.iter().map(|(key, path)| format!("{key}: {path}\n"));
    let text = format!(
        "address: localhost:{}\n{}",
        address.port(),
        lines.collect::<String>()
    );
    let config = PathBuf::from(file("cloud.yaml", text));

    let mut tls = authority.sign("localhost").server(Some(&authority));
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, cloud) = (acceptor.clone(), cloud.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(socket).await {
                    lab::cloud::grpc::talk(cloud, stream).await;
                }
            });
        }
    });
    config
}
