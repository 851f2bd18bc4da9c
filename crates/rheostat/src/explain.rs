//! `rheostat explain`: why a replica count is what it is, asked of a running
//! lab or operator, or of a saved log.

use std::io::BufRead as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use decide::explain::{Account, Kind, Question, Record, account, moment, render};

use crate::connect::{self, Cluster};
use crate::inout::{encoded, print};

/// Arguments of `rheostat explain`.
#[derive(clap::Args)]
#[command(after_help = "\
Three lines say what was decided, by which metric, and by which rule, with what would have been \
without it; a line more for each thing out of the ordinary. The cluster is that of --kubeconfig \
(rheostat lab prints the path of its own), of $KUBECONFIG or of ~/.kube/config.")]
pub struct Args {
    /// What to explain: scaledobject/NAME (so), hpa/NAME, deployment/NAME or statefulset/NAME
    #[arg(value_name = "KIND/NAME")]
    object: String,
    /// Its namespace [default: that of the kubeconfig's context, else default]
    #[arg(short, long, value_name = "NS")]
    namespace: Option<String>,
    /// A past moment: 2020-01-06T08:12:30Z, 08:12:30 (UTC) or how long ago (5m)
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    at: Option<String>,
    /// All inputs, rules and counterfactuals
    #[arg(short, long)]
    verbose: bool,
    /// How to tell it
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    format: String,
    /// Read a saved log of decisions (a JSON object a line) instead of asking a cluster
    #[arg(long, value_name = "FILE", conflicts_with = "kubeconfig")]
    log: Option<PathBuf>,
    #[command(flatten)]
    cluster: Cluster,
}

/// Asks and prints.
pub fn run(args: &Args) -> Result<()> {
    let Some((kind, name)) = args.object.split_once('/').filter(|(_, n)| !n.is_empty()) else {
        bail!(
            "{:?} is not KIND/NAME: give an object such as deployment/my-gpu-workload",
            args.object
        );
    };
    let kind = Kind::parse(kind).map_err(anyhow::Error::msg)?;
    let account = match &args.log {
        Some(_) => from_log(args, kind, name)?,
        None => from_cluster(args, kind, name)?,
    };
    let text = match args.format.as_str() {
        "json" => serde_json::to_string_pretty(&account)? + "\n",
        _ => render(&account, args.verbose),
    };
    print(&text)
}

fn from_log(args: &Args, kind: Kind, name: &str) -> Result<Account> {
    let Some(path) = &args.log else {
        bail!("no log is named: give one with --log FILE");
    };
    let shown = path.display();
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {shown}"))?;
    let mut records: Vec<Record> = Vec::new();
    for (n, line) in std::io::BufReader::new(file).lines().enumerate() {
        let line = line.with_context(|| format!("cannot read {shown}"))?;
        if line.trim().is_empty() {
            continue;
        }
        let record: Record = serde_json::from_str(&line)
            .with_context(|| format!("{shown}:{}: not a record of a log of decisions", n + 1))?;
        records.push(record);
    }
    // Several writers may have taken turns within a moment.
    records.sort_by_key(|r| r.time);
    let Some(until) = records.last().map(|r| r.time) else {
        bail!("{shown} has no records");
    };
    let at = args.at.as_deref().map(|text| moment(text, until));
    let question = Question {
        kind,
        namespace: args
            .namespace
            .clone()
            .unwrap_or_else(|| "default".to_owned()),
        name: name.to_owned(),
        at: at.transpose().map_err(anyhow::Error::msg)?,
    };
    account(records.iter(), &question, until).with_context(|| shown.to_string())
}

fn from_cluster(args: &Args, kind: Kind, name: &str) -> Result<Account> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.block_on(ask(args, kind, name))
}

async fn ask(args: &Args, kind: Kind, name: &str) -> Result<Account> {
    let hint = "give the kubeconfig that `rheostat lab` printed with --kubeconfig, or a saved log \
                with --log";
    let config = connect::config(args.cluster.kubeconfig.as_deref(), hint).await?;
    let namespace = args
        .namespace
        .clone()
        .unwrap_or_else(|| config.default_namespace.clone());
    let server = config.cluster_url.to_string();
    let client = connect::client(config).await?;
    let mut path = format!(
        "/apis/{}/{}/namespaces/{}/{}/{}",
        operator::EXPLAIN_GROUP,
        operator::EXPLAIN_VERSION,
        encoded(&namespace),
        kind.short(),
        encoded(name)
    );
    if let Some(at) = &args.at {
        path.push_str(&format!("?at={}", encoded(at)));
    }
    let request = http::Request::get(&path).body(Vec::new())?;
    let text = match client.request_text(request).await {
        Ok(text) => text,
        Err(kube::Error::Api(status)) if status.message.contains("requested resource") => bail!(
            "{server} serves no explanations ({}): is rheostat lab or rheostat operator running \
             there?",
            operator::EXPLAIN_GROUP
        ),
        Err(kube::Error::Api(status)) => bail!("{}", status.message),
        Err(error) => bail!(
            "cannot ask {server}: {}",
            operator::connection_error(&error)
        ),
    };
    serde_json::from_str(&text).with_context(|| {
        format!("{server} answered what this version does not understand: is it another release?")
    })
}
