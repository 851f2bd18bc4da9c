//! `rheostat doctor`: walks the chain from GPU to node pool in a cluster and
//! names the first broken link. Reads only.

mod direct;
mod look;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use decide::explain::Kind;
use doctor::Report;

use crate::connect::{self, Cluster};
use look::Looker;

/// Arguments of `rheostat doctor`.
#[derive(clap::Args)]
#[command(after_help = "\
One line a link: ✓ works, ✗ broken, ? could not be looked at, - has no part to do now. It stops at \
the first broken one and says how to mend it. Nothing is written to the cluster, and no secret is \
shown. Exit status: 0 nothing is broken, 1 something is, 2 it could not look. The cluster is that \
of --kubeconfig, of $KUBECONFIG or of ~/.kube/config.")]
pub struct Args {
    /// What to look at: scaledobject/NAME (so), hpa/NAME, deployment/NAME or statefulset/NAME
    /// [default: the cluster and all its ScaledObjects]
    #[arg(value_name = "KIND/NAME")]
    object: Option<String>,
    /// Its namespace [default: that of the kubeconfig's context, else default; without KIND/NAME
    /// all of them]
    #[arg(short, long, value_name = "NS")]
    namespace: Option<String>,
    /// Go on behind a broken link
    #[arg(long)]
    all: bool,
    /// How to tell it
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    format: String,
    #[command(flatten)]
    cluster: Cluster,
}

/// Exit status where it could not look.
const BLIND: u8 = 2;

/// Looks and prints.
pub fn run(args: &Args) -> ExitCode {
    match look_and_print(args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(BLIND)
        }
    }
}

fn look_and_print(args: &Args) -> Result<u8> {
    let object = args.object.as_deref().map(parse).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let report = runtime.block_on(async {
        let hint =
            "give its kubeconfig with --kubeconfig (rheostat lab prints the path of its own)";
        let config = connect::config(args.cluster.kubeconfig.as_deref(), hint).await?;
        let server = config.cluster_url.to_string();
        let default = config.default_namespace.clone();
        let client =
            kube::Client::try_from(config).with_context(|| format!("cannot use {server}"))?;
        let looker = Looker::new(client, server);
        let namespace = args.namespace.clone();
        Ok::<_, anyhow::Error>(match object {
            Some((kind, name)) => {
                let namespace = namespace.unwrap_or(default);
                one(&looker, kind, &namespace, &name, args.all).await
            }
            None => whole(&looker, namespace.as_deref(), args.all).await,
        })
    })?;
    let text = match args.format.as_str() {
        "json" => serde_json::to_string_pretty(&report)? + "\n",
        _ => report.text(),
    };
    crate::inout::print(&text)?;
    Ok(status(&report))
}

fn parse(object: &str) -> Result<(Kind, String)> {
    let Some((kind, name)) = object.split_once('/').filter(|(_, name)| !name.is_empty()) else {
        bail!("{object:?} is not KIND/NAME: give an object such as scaledobject/my-gpu-workload");
    };
    Ok((
        Kind::parse(kind).map_err(anyhow::Error::msg)?,
        name.to_owned(),
    ))
}

/// The exit status that a report asks for.
fn status(report: &Report) -> u8 {
    match (report.blind(), report.broken()) {
        (true, _) => BLIND,
        (false, Some(_)) => 1,
        (false, None) => 0,
    }
}

/// The chain of one object.
async fn one(looker: &Looker, kind: Kind, namespace: &str, name: &str, all: bool) -> Report {
    let cluster = looker.cluster().await;
    let mut report = Report::default();
    report.add("cluster", doctor::cluster(&cluster), all);
    if cluster.version.got().is_none() {
        return report;
    }
    let seen = looker.object(kind, namespace, name).await;
    let of = format!("{} in {namespace}", seen.asked);
    report.add(of, doctor::object(&cluster, &seen), all);
    report
}

/// The chains of all ScaledObjects, up to the first that is broken unless all
/// are wanted.
async fn whole(looker: &Looker, namespace: Option<&str>, all: bool) -> Report {
    let cluster = looker.cluster().await;
    let mut report = Report::default();
    report.add("cluster", doctor::cluster(&cluster), all);
    if cluster.version.got().is_none() {
        return report;
    }
    let scaled = looker.scaled_objects(namespace).await;
    report.add("ScaledObjects", doctor::listed(&scaled, &cluster), all);
    for value in scaled.got().into_iter().flatten() {
        if !all && report.broken().is_some() {
            break;
        }
        let text = |field: &str| value["metadata"][field].as_str().unwrap_or_default();
        let (namespace, name) = (text("namespace"), text("name"));
        let seen = looker.object(Kind::ScaledObject, namespace, name).await;
        let of = format!("{} in {namespace}", seen.asked);
        report.add(of, doctor::object(&cluster, &seen), all);
    }
    report
}
