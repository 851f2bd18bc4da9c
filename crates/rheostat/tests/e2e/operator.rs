//! `rheostat operator` as a process of its own, with the rights that
//! `deploy/operator.yaml` grants and no others.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::internet::Internet;
use crate::stage::{apply, here};

const NAMESPACE: &str = "rheostat";
const NAME: &str = "rheostat-operator";

/// A running operator; it is killed when this is dropped.
pub struct Operator {
    client: Client,
    kubeconfig: PathBuf,
    environment: Vec<(&'static str, String)>,
    folder: PathBuf,
    child: Option<Child>,
    /// Its port, from the first start on.
    port: u16,
    log: Arc<Mutex<String>>,
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Operator {
    /// Installs what the manifests say, except the Deployment, and starts the
    /// program in its place.
    pub async fn install(
        client: &Client,
        config: &kube::Config,
        internet: &Internet,
        folder: &Path,
    ) -> Self {
        apply(client, folder, &api::keda::crds()).await;
        wait(
            client,
            "apiextensions.k8s.io",
            "CustomResourceDefinition",
            "scaledobjects.keda.sh",
            "Established",
        )
        .await;
        let text = std::fs::read_to_string(here().join("deploy/operator.yaml")).unwrap();
        let objects: Vec<Value> = api::yaml::parse_documents(&text)
            .unwrap()
            .into_iter()
            .map(|d| d.value)
            .filter(|o| {
                !["Deployment", "Service", "APIService"].contains(&o["kind"].as_str().unwrap())
            })
            .collect();
        apply(client, folder, &objects).await;
        let kubeconfig = kubeconfig(client, config, (NAMESPACE, NAME), folder).await;
        let path = |p: &Path| p.display().to_string();
        let environment = vec![
            ("HTTPS_PROXY", internet.proxy.clone()),
            ("NO_PROXY", "127.0.0.1".to_owned()),
            ("SSL_CERT_FILE", path(&internet.ca)),
            (
                "AZURE_CLIENT_ID",
                "11111111-2222-3333-4444-555555555555".to_owned(),
            ),
            (
                "AZURE_TENANT_ID",
                "66666666-7777-8888-9999-000000000000".to_owned(),
            ),
            (
                "AZURE_AUTHORITY_HOST",
                "https://login.microsoftonline.com/".to_owned(),
            ),
            ("AZURE_FEDERATED_TOKEN_FILE", path(&internet.token)),
        ];
        let mut operator = Self {
            client: client.clone(),
            kubeconfig,
            environment,
            folder: folder.to_path_buf(),
            child: None,
            port: 0,
            log: Arc::default(),
        };
        operator.start().await;
        operator
    }

    /// Starts it and waits until the API server reaches its metrics.
    pub async fn start(&mut self) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rheostat"))
            .args([
                "operator",
                "--namespace",
                NAMESPACE,
                "--health-listen",
                "127.0.0.1:0",
            ])
            .arg(format!("--listen=127.0.0.1:{}", self.port))
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .env_clear()
            .env("RHEOSTAT_LOG", "info")
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        self.child = Some(child);
        let mut first = String::new();
        let began = Instant::now();
        while !first.contains("APIs on ") {
            first.clear();
            assert!(
                lines.read_line(&mut first).unwrap() > 0,
                "the operator ended: {}",
                self.log()
            );
            self.log.lock().unwrap().push_str(&first);
            assert!(began.elapsed() < Duration::from_secs(60), "{}", self.log());
        }
        let port = first.split("APIs on 127.0.0.1:").nth(1).unwrap();
        self.port = port.split(',').next().unwrap().parse().unwrap();
        let log = Arc::clone(&self.log);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = lines.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..length]);
                log.lock().unwrap().push_str(&text);
            }
        });
        let text = std::fs::read_to_string(here().join("deploy/operator.yaml")).unwrap();
        let mut services: Vec<Value> = api::yaml::parse_documents(&text)
            .unwrap()
            .into_iter()
            .map(|d| d.value)
            .filter(|o| ["Service", "APIService"].contains(&o["kind"].as_str().unwrap()))
            .collect();
        // The API server reaches a process of its own machine by name.
        for object in &mut services {
            if object["kind"] == "Service" {
                object["spec"] = json!({"type": "ExternalName", "externalName": "localhost",
                    "ports": [{"port": self.port}]});
            } else {
                object["spec"]["service"]["port"] = json!(self.port);
            }
        }
        apply(&self.client, &self.folder, &services).await;
        for name in ["v1beta1.external.metrics.k8s.io", "v1.explain.rheostat.dev"] {
            wait(
                &self.client,
                "apiregistration.k8s.io",
                "APIService",
                name,
                "Available",
            )
            .await;
        }
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
        self.log.lock().unwrap().clone()
    }
}

/// A kubeconfig with a token of this service account.
pub async fn kubeconfig(
    client: &Client,
    config: &kube::Config,
    (namespace, name): (&str, &str),
    folder: &Path,
) -> PathBuf {
    let authority = config.root_cert.as_ref().unwrap();
    let base64 = base64::engine::general_purpose::STANDARD;
    let pem = |der: &Vec<u8>| {
        let text = base64.encode(der);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    };
    let authority: String = authority.iter().map(pem).collect();
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"expirationSeconds": 7200}});
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(body.to_string().into_bytes())
        .unwrap();
    let answer: Value = client.request(request).await.unwrap();
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": {
            "server": config.cluster_url.to_string().trim_end_matches('/'),
            "certificate-authority-data": base64.encode(authority)}}],
        "users": [{"name": "it", "user": {"token": answer["status"]["token"]}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    });
    let path = folder.join(format!("{name}.kubeconfig"));
    std::fs::write(&path, text.to_string()).unwrap();
    path
}

/// Waits until an object has a condition.
async fn wait(client: &Client, group: &str, kind: &str, name: &str, condition: &str) {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let began = Instant::now();
    loop {
        let found = api.get_opt(name).await.unwrap();
        let conditions = found.map(|o| o.data["status"]["conditions"].clone());
        let conditions = conditions.unwrap_or_default();
        let holds = conditions.as_array().is_some_and(|all| {
            all.iter()
                .any(|c| c["type"] == condition && c["status"] == "True")
        });
        if holds {
            return;
        }
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "{kind} {name} is not {condition}: {conditions}"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
