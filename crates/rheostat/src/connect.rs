//! The cluster that a command talks to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use kube::config::{KubeConfigOptions, Kubeconfig};
use operator::connection_error;

/// How long a connection may take; an address that nobody answers at is told
/// within ten seconds.
const PATIENCE: Duration = Duration::from_secs(8);

/// Between two attempts of a program that outlives its server.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Reads where the cluster is: the file, else `KUBECONFIG` or `~/.kube/config`,
/// else the service account of the pod this runs in.
///
/// # Errors
/// Naming the file and what is wrong with it; `hint` says what else to give.
pub async fn config(kubeconfig: Option<&Path>, hint: &str) -> Result<kube::Config> {
    let options = KubeConfigOptions::default();
    let config = match kubeconfig {
        Some(path) => {
            // Its text names the file and the cause already; the chain repeats them.
            let read = Kubeconfig::read_from(path).map_err(|error| anyhow!("{error}"))?;
            kube::Config::from_custom_kubeconfig(read, &options).await
        }
        None => match kube::Config::from_kubeconfig(&options).await {
            // One that is named and cannot be used is no reason to act on
            // another cluster.
            Err(error) if std::env::var_os("KUBECONFIG").is_none() => {
                kube::Config::incluster().map_err(|_| error)
            }
            found => found,
        },
    };
    let mut config = config.with_context(|| format!("no cluster: {hint}"))?;
    config.connect_timeout = Some(PATIENCE);
    // kube takes a proxy from the environment and does not read NO_PROXY.
    let mut environment = ["HTTPS_PROXY", "https_proxy"].iter();
    let from_environment = config.proxy_url.as_ref().is_some_and(|proxy| {
        environment.any(|name| {
            let named = std::env::var(name).ok().and_then(|text| text.parse().ok());
            named.is_some_and(|named: http::Uri| named == *proxy)
        })
    });
    if from_environment && !triggers::net::proxied(&config.cluster_url) {
        config.proxy_url = None;
    }
    Ok(config)
}

/// A client that has spoken to its server.
///
/// # Errors
/// When the server does not answer, or does not know who asks.
pub async fn client(config: kube::Config) -> Result<kube::Client> {
    let server = config.cluster_url.to_string();
    let client = unproven(config)?;
    let spoken = speak(&client, &server).await;
    spoken.map(|()| client).map_err(anyhow::Error::msg)
}

/// The same for a program that outlives its server: it asks until it is
/// answered, and tells each reason why not once.
///
/// # Errors
/// When the kubeconfig makes no client.
pub async fn patient_client(config: kube::Config) -> Result<kube::Client> {
    let server = config.cluster_url.to_string();
    let client = unproven(config)?;
    let mut told = String::new();
    let mut pause = Duration::from_secs(1);
    while let Err(why) = speak(&client, &server).await {
        if told != why {
            tracing::warn!("{why}; trying again");
            told = why;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    Ok(client)
}

fn unproven(config: kube::Config) -> Result<kube::Client> {
    let server = config.cluster_url.to_string();
    kube::Client::try_from(config).with_context(|| format!("cannot use {server}"))
}

async fn speak(client: &kube::Client, server: &str) -> Result<(), String> {
    match tokio::time::timeout(PATIENCE, client.apiserver_version()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("cannot ask {server}: {}", connection_error(&error))),
        Err(_) => Err(format!(
            "{server} does not answer within {} s",
            PATIENCE.as_secs()
        )),
    }
}

/// Where the kubeconfig is given.
#[derive(clap::Args)]
pub struct Cluster {
    /// Kubeconfig of the cluster; otherwise KUBECONFIG, ~/.kube/config or the pod's service account
    #[arg(long, value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,
}
