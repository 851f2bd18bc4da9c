//! `rheostat operator`: the production controllers for KEDA's resources.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail};
use operator::serve::{Certificates, ServeOptions, serve};
use operator::{Explanations, Operator};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::connect::{self, Cluster};
use crate::daemon;

/// Where a pod finds its own namespace.
const OWN_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Flags of the command.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: Cluster,
    /// Namespace of the operator: its Service, its certificate, and the Secrets of
    /// ClusterTriggerAuthentications; otherwise the pod's own
    #[arg(short, long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Service that leads to this operator
    #[arg(long, value_name = "NAME", default_value = "rheostat-operator")]
    service: String,
    /// Where the aggregated APIs are served (external metrics, explanations), over TLS
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:6443")]
    listen: SocketAddr,
    /// Where /healthz and /readyz are served, without TLS
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8081")]
    health_listen: SocketAddr,
    /// Folder with tls.crt and tls.key that somebody else keeps, such as cert-manager; otherwise a
    /// certificate is made, kept in the Secret rheostat-operator-certs and given to the APIServices
    #[arg(long, value_name = "FOLDER")]
    cert_dir: Option<PathBuf>,
    /// Name of this instance in events; otherwise the pod's
    #[arg(
        long,
        env = "POD_NAME",
        value_name = "NAME",
        default_value = "rheostat-operator"
    )]
    instance: String,
}

/// Runs until it is told to stop.
pub fn run(args: Args) -> Result<()> {
    daemon::run(operate(args))
}

async fn operate(args: Args) -> Result<()> {
    let hint = "run it in a pod, or give a kubeconfig with --kubeconfig";
    let config = connect::config(args.cluster.kubeconfig.as_deref(), hint).await?;
    let namespace = match (&args.namespace, std::fs::read_to_string(OWN_NAMESPACE)) {
        (Some(given), _) => given.clone(),
        (None, Ok(own)) => own.trim().to_owned(),
        (None, Err(_)) => bail!("outside of a pod the operator needs its namespace: --namespace"),
    };
    let listener = bind(args.listen).await?;
    let health = bind(args.health_listen).await?;
    eprintln!(
        "rheostat operator {}: APIs on {}, health on {}",
        env!("CARGO_PKG_VERSION"),
        listener.local_addr()?,
        health.local_addr()?
    );
    // The kubelet is told that this runs while the API server is waited for.
    let ready = Arc::new(AtomicBool::new(false));
    tokio::spawn(tell_health(health, Arc::clone(&ready)));
    let client = connect::patient_client(config).await?;
    let clock = clock::Clock::system();

    let http = triggers::net::clients();
    let token_http = http(&triggers::TlsOptions::default()).map_err(anyhow::Error::msg)?;
    let context = triggers::Context {
        http,
        ..triggers::Context::new(token_http, clock)
    };
    let environment = triggers::azure::Environment {
        client_id: variable("AZURE_CLIENT_ID"),
        tenant_id: variable("AZURE_TENANT_ID"),
        authority_host: variable("AZURE_AUTHORITY_HOST"),
        token_file: variable("AZURE_FEDERATED_TOKEN_FILE"),
    };
    let context = context.with_azure(environment, triggers::net::files());
    let explanations = Explanations::new(clock, decide::explain::Limits::default());
    let options = operator::Options {
        namespace: namespace.clone(),
        instance: args.instance,
        on_decision: Some(explanations.report()),
        ..operator::Options::default()
    };
    let operator = Operator::new(client.clone(), context, options);
    let group = |group: &str, version: &str| (group.to_owned(), version.to_owned());
    let groups = BTreeMap::from([
        (
            group(operator::METRICS_GROUP, operator::METRICS_VERSION),
            operator.external_metrics_handler(),
        ),
        (
            group(operator::EXPLAIN_GROUP, operator::EXPLAIN_VERSION),
            operator.explain_handler(&explanations),
        ),
    ]);
    let serving = ServeOptions {
        namespace,
        service: args.service,
        certificates: args
            .cert_dir
            .map_or(Certificates::Own, Certificates::Folder),
    };
    let serves = || ready.store(true, Ordering::Relaxed);
    tokio::select! {
        biased;
        () = operator.run() => bail!("the operator's controller has ended"),
        never = serve(client, listener, groups, serving, clock, serves) => match never {},
    }
}

async fn bind(at: SocketAddr) -> Result<TcpListener> {
    let bound = TcpListener::bind(at).await;
    bound.with_context(|| format!("cannot listen on {at}"))
}

/// An environment variable; none where it is empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Answers the kubelet: alive is what runs, since an API server that is away
/// mends itself and a restart would not help; ready is what serves the APIs.
async fn tell_health(listener: TcpListener, ready: Arc<AtomicBool>) {
    loop {
        let Ok((mut socket, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let ready = Arc::clone(&ready);
        tokio::spawn(async move {
            let told = async {
                let mut request = [0; 1024];
                let read = socket.read(&mut request).await?;
                let asks_ready = request[..read].starts_with(b"GET /readyz");
                let (status, body) = match asks_ready && !ready.load(Ordering::Relaxed) {
                    true => ("503 Service Unavailable", "the APIs are not served yet"),
                    false => ("200 OK", "ok"),
                };
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
                socket.write_all(answer.as_bytes()).await
            };
            let _ = tokio::time::timeout(std::time::Duration::from_secs(5), told).await;
        });
    }
}
