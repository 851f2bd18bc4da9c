//! The command's options.

use std::path::PathBuf;
use std::time::Duration;

use api::duration::span;
use api::pool::Pool;
use replay::Actuation;
use replay::error::{InputError, Read};
use replay::model::{Model, Starting, ready_lag};
use replay::sweep::Sweep;

/// Sources of load beside which an option of `--demand` would change nothing.
/// Said beside `requires`, which clap passes over where what is required would
/// conflict with what is given.
const NO_FILE_OF_DEMAND: [&str; 2] = ["observed", "prometheus"];
/// The same for an option of `--prometheus`.
const NO_SERVER: [&str; 2] = ["demand", "observed"];

/// Arguments of `rheostat replay`.
#[derive(clap::Args)]
#[command(after_help = "\
Exactly one of --demand, --observed and --prometheus says what the load was. Exit code 2: input \
that cannot be used.")]
pub struct Args {
    /// Manifests: ScaledObject or HorizontalPodAutoscaler, and the workload it scales; file or
    /// folder (repeatable)
    #[arg(short, long = "file", value_name = "FILE", required = true)]
    pub file: Vec<PathBuf>,
    /// Which policy, where the files hold several
    #[arg(long, value_name = "NAME")]
    pub policy: Option<String>,
    /// Load as a CSV file: time (seconds or RFC 3339), then GPUs of work; a #column chooses one of
    /// several
    #[arg(long, value_name = "FILE[#COLUMN]", group = "source")]
    pub demand: Option<String>,
    /// What was observed as a CSV file: time, utilization (percent), replicas, and if known ready
    #[arg(long, value_name = "FILE", group = "source")]
    pub observed: Option<PathBuf>,
    /// Read what was observed from a Prometheus server: the policy's own query and the workload's
    /// replicas
    #[arg(
        long,
        value_name = "URL",
        group = "source",
        requires = "from",
        requires = "to"
    )]
    pub prometheus: Option<String>,
    /// Start of the time to read (RFC 3339 or seconds since the epoch)
    #[arg(long, value_name = "TIME", requires = "prometheus", conflicts_with_all = NO_SERVER)]
    pub from: Option<String>,
    /// End of the time to read
    #[arg(long, value_name = "TIME", requires = "prometheus", conflicts_with_all = NO_SERVER)]
    pub to: Option<String>,
    /// Distance of the points to read [default: 15s]
    #[arg(long, value_name = "DURATION", value_parser = span, requires = "prometheus", conflicts_with_all = NO_SERVER)]
    pub step: Option<Duration>,
    /// Query of the workload's replicas
    /// [default: kube_<kind>_status_replicas of the workload]
    #[arg(long, value_name = "QUERY", requires = "prometheus", conflicts_with_all = NO_SERVER)]
    pub replicas_query: Option<String>,
    /// Query of the workload's ready replicas
    /// [default: kube_<kind>_status_replicas_ready of the workload]
    #[arg(long, value_name = "QUERY", requires = "prometheus", conflicts_with_all = NO_SERVER)]
    pub ready_query: Option<String>,
    /// File with the server's bearer token
    #[arg(long, value_name = "FILE", requires = "prometheus", conflicts_with_all = NO_SERVER)]
    pub token_file: Option<PathBuf>,
    /// Report on an answer with holes or warnings, and say so on top
    #[arg(long, requires = "prometheus", conflicts_with_all = NO_SERVER)]
    pub allow_partial: bool,
    /// Scale the demand so that its 99th percentile is that many GPUs
    #[arg(long, value_name = "GPUS", requires = "demand", conflicts_with_all = NO_FILE_OF_DEMAND)]
    pub peak: Option<f64>,
    /// Between two rows of the demand: hold the value, or join them by a line
    #[arg(long, default_value = "step", value_parser = ["step", "linear"], requires = "demand", conflicts_with_all = NO_FILE_OF_DEMAND)]
    pub interpolate: String,
    /// Utilization from which observed GPUs count as saturated, in percent
    #[arg(
        long,
        value_name = "PERCENT",
        default_value_t = 99.0,
        conflicts_with = "demand"
    )]
    pub saturated: f64,
    /// Another policy to run beside it; its file may lack the workload (repeatable)
    #[arg(long, value_name = "FILE")]
    pub compare: Vec<PathBuf>,
    /// Run the policy with a field at each of these values: threshold=5..90/5
    #[arg(long, value_name = "FIELD=A..B/STEP")]
    pub sweep: Option<String>,
    /// Who acts: hpa, direct, or both (default: as the policy's annotation says, else hpa)
    #[arg(long, value_name = "WHO", value_delimiter = ',', value_parser = ["hpa", "direct"])]
    pub actuation: Vec<String>,
    /// A node pool: name=…,sku=…,gpus=…,min=…,max=…,count=…,price=…,taint=…,provision=…
    /// (repeatable; without any, every replica finds a GPU at once)
    #[arg(long, value_name = "POOL")]
    pub pool: Vec<String>,
    /// From a replica's creation on a node that is there until it serves: 5m, or stages
    /// image=90s,weights=3m
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    pub ready_lag: String,
    /// Between two samples of a GPU by the exporter
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = positive)]
    pub sample: Duration,
    /// Between two scrapes of the exporter
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = positive)]
    pub scrape: Duration,
    /// Period of the HorizontalPodAutoscaler controller
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = positive)]
    pub hpa_period: Duration,
    /// How long a sync of that controller takes; the next one is a period later
    #[arg(long, value_name = "DURATION", default_value = "30ms", value_parser = span)]
    pub hpa_latency: Duration,
    /// From a node's appearance until its GPUs can be used
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = span, requires = "pool")]
    pub gpu_ready: Duration,
    /// How long a node is unneeded before it goes
    #[arg(long, value_name = "DURATION", default_value = "600s", value_parser = span, requires = "pool")]
    pub unneeded: Duration,
    /// What the GPU of a starting replica shows: idle (0 %) or hidden (no series)
    #[arg(long, default_value = "idle", value_parser = ["idle", "hidden"])]
    pub starting: String,
    /// Work that cannot be served when it comes waits instead of being lost
    #[arg(long)]
    pub queueing: bool,
    /// A further metric that shows how busy GPUs are: NAME=percent or NAME=ratio (repeatable)
    #[arg(long, value_name = "NAME=UNIT")]
    pub metric: Vec<String>,
    /// Write a page with charts
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Write every decision of the first policy, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Give each policy's course in the JSON report: seconds, replicas, ready replicas and GPUs of
    /// nodes, at each change (not of a sweep's variants)
    #[arg(long)]
    pub timeline: bool,
    /// How to print the report
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    pub format: String,
}

fn positive(text: &str) -> Result<Duration, String> {
    let time = span(text)?;
    match time < Duration::from_millis(1) {
        true => Err(format!("\"{text}\" is not above zero")),
        false => Ok(time),
    }
}

impl Args {
    /// The world that the options describe.
    pub fn model(&self) -> Read<Model> {
        if !(0.0..=100.0).contains(&self.saturated) {
            return Err(InputError::new(
                format!("--saturated {}", self.saturated),
                "give percent, 0 to 100",
            ));
        }
        let default = Model::default();
        Ok(Model {
            exporter: self.sample,
            scrape: self.scrape,
            hpa: decide::hpa::HpaConfig {
                sync_period: self.hpa_period,
                ..default.hpa
            },
            hpa_latency: self.hpa_latency,
            ready_lag: ready_lag(&self.ready_lag)?,
            starting: match self.starting.as_str() {
                "hidden" => Starting::Hidden,
                _ => Starting::Idle,
            },
            queueing: self.queueing,
            pools: Pool::parse_all(&self.pool)
                .map_err(|e| InputError::new(format!("--pool number {}", e.position), e.problem))?,
            gpu_ready: self.gpu_ready,
            nodes: decide::nodes::Settings {
                unneeded: self.unneeded,
                ..default.nodes
            },
        })
    }

    /// The sweep that is asked for.
    pub fn sweep(&self) -> Read<Option<Sweep>> {
        self.sweep.as_deref().map(Sweep::parse).transpose()
    }

    /// The actuations that are asked for.
    pub fn actuations(&self) -> Option<Vec<Actuation>> {
        let one = |text: &String| match text.as_str() {
            "direct" => Actuation::Direct,
            _ => Actuation::Hpa,
        };
        let mut list: Vec<Actuation> = self.actuation.iter().map(one).collect();
        list.dedup();
        (!list.is_empty()).then_some(list)
    }
}
