//! `rheostat nodepools`: the node-pool autoscaler.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nodepools::externalgrpc::{CloudConfig, ExternalGrpc};
use nodepools::{Options, Settings};

use crate::connect::{self, Cluster};
use crate::daemon;

/// Flags of the command; those of the cluster autoscaler have its names and
/// mean the same.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: Cluster,
    /// How the cloud is spoken to
    #[arg(long, value_enum, value_name = "NAME", default_value = "externalgrpc")]
    cloud_provider: CloudProvider,
    /// Where the cloud is: YAML with address and, for TLS, cert, key and cacert; grpc_timeout is 5s
    #[arg(long, value_name = "PATH")]
    cloud_config: PathBuf,
    /// A node goes after nobody has needed it for this long
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = api::duration::span)]
    scale_down_unneeded_time: Duration,
    /// A pool does not shrink for this long after it has grown
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = api::duration::span)]
    scale_down_delay_after_add: Duration,
    /// A pool does not shrink for this long after an order has failed
    #[arg(long, value_name = "DURATION", default_value = "3m", value_parser = api::duration::span)]
    scale_down_delay_after_failure: Duration,
    /// A node that has not been usable for this long goes
    #[arg(long, value_name = "DURATION", default_value = "20m", value_parser = api::duration::span)]
    scale_down_unready_time: Duration,
    /// A node that is used by more than this share, of GPUs or else of the rest, is needed
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, value_parser = share)]
    scale_down_utilization_threshold: f64,
    /// An ordered node that has not come up after this long is given up
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = api::duration::span)]
    max_node_provision_time: Duration,
    /// Whether a pod that keeps data on its node's disk keeps the node
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    skip_nodes_with_local_storage: bool,
    /// Pods of lower priority never make a pool grow
    #[arg(long, value_name = "PRIORITY", default_value_t = -10, allow_hyphen_values = true)]
    expendable_pods_priority_cutoff: i64,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum CloudProvider {
    /// A server of the cluster autoscaler's gRPC protocol
    Externalgrpc,
}

fn share(text: &str) -> Result<f64, String> {
    let parsed = text.parse::<f64>().ok();
    let share = parsed.filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "a share is a number from 0 to 1".to_owned())
}

impl Args {
    fn settings(&self) -> Settings {
        Settings {
            unneeded: self.scale_down_unneeded_time,
            delay_after_add: self.scale_down_delay_after_add,
            delay_after_failure: self.scale_down_delay_after_failure,
            unready: self.scale_down_unready_time,
            threshold: self.scale_down_utilization_threshold,
            provision: self.max_node_provision_time,
            local_storage: self.skip_nodes_with_local_storage,
            expendable: self.expendable_pods_priority_cutoff,
            ..Settings::default()
        }
    }
}

/// Runs until it is told to stop.
pub fn run(args: Args) -> Result<()> {
    daemon::run(operate(args))
}

async fn operate(args: Args) -> Result<()> {
    let path = &args.cloud_config;
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("cannot read {}", path.display()))?;
    let CloudProvider::Externalgrpc = args.cloud_provider;
    let read = CloudConfig::parse(&text).and_then(|config| Ok((config.channel()?, config)));
    let (channel, cloud) = match read {
        Ok(read) => read,
        Err(why) => bail!("{}: {why}", path.display()),
    };
    let hint = "run it in a pod, or give a kubeconfig with --kubeconfig";
    let config = connect::config(args.cluster.kubeconfig.as_deref(), hint).await?;
    let options = Options {
        settings: args.settings(),
        ..Options::default()
    };
    eprintln!(
        "rheostat nodepools {}: the pools of {}",
        env!("CARGO_PKG_VERSION"),
        cloud.address
    );
    let client = connect::patient_client(config).await?;
    let clock = clock::Clock::system();
    let provider = ExternalGrpc::new(channel, cloud, client.clone(), clock);
    nodepools::run(client, clock, Arc::new(provider), options).await;
    Ok(())
}
