//! What stands between a load and a decision, and between a decision and work
//! being served.

use std::time::Duration;

use api::duration::span;
use api::pool::Pool;
use decide::hpa::HpaConfig;
use decide::nodes::Settings;

use crate::error::{InputError, Read};

/// A part of the time from a replica's creation until it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// `image`, `weights`, …; empty for the one unnamed stage.
    pub name: String,
    /// How long it takes.
    pub time: Duration,
}

/// What the GPU of a starting replica shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Starting {
    /// It is on the exporter's page with 0 %.
    #[default]
    Idle,
    /// It is not on the page.
    Hidden,
}

/// The world of a replay.
#[derive(Clone, Debug)]
pub struct Model {
    /// Between two samples of a GPU by the exporter.
    pub exporter: Duration,
    /// Between two scrapes of its page.
    pub scrape: Duration,
    /// The HPA controller.
    pub hpa: HpaConfig,
    /// How long a sync of the HPA takes. The controller waits a period after
    /// each, so this adds to the distance of two syncs, and it matters: it puts
    /// the recommendation of 300 s ago just outside the stabilization window.
    pub hpa_latency: Duration,
    /// From the creation of a replica on a node that is there until it serves.
    pub ready_lag: Vec<Stage>,
    /// What a starting replica's GPU shows.
    pub starting: Starting,
    /// Work that cannot be served waits instead of being lost.
    pub queueing: bool,
    /// Node pools; without any, every replica finds a GPU at once.
    pub pools: Vec<Pool>,
    /// From a node's appearance until its GPUs can be used.
    pub gpu_ready: Duration,
    /// The node planner.
    pub nodes: Settings,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            exporter: Duration::from_secs(30),
            scrape: Duration::from_secs(15),
            hpa: HpaConfig::default(),
            // In the recorded runs of Kubernetes 1.37 syncs are 15.03 s apart.
            hpa_latency: Duration::from_millis(30),
            ready_lag: vec![Stage {
                name: String::new(),
                time: Duration::from_secs(60),
            }],
            starting: Starting::default(),
            queueing: false,
            pools: Vec::new(),
            gpu_ready: Duration::from_secs(20),
            nodes: Settings::default(),
        }
    }
}

impl Model {
    /// The whole readiness lag.
    pub fn lag(&self) -> Duration {
        self.ready_lag.iter().map(|s| s.time).sum()
    }
}

/// Reads a readiness lag: `5m`, or stages `image=90s,weights=3m`.
pub fn ready_lag(text: &str) -> Read<Vec<Stage>> {
    let fail = |problem: String| InputError::new(format!("--ready-lag {text}"), problem);
    let stage = |part: &str| {
        let (name, time) = part.split_once('=').unwrap_or(("", part));
        let time = span(time).map_err(&fail)?;
        Ok(Stage {
            name: name.trim().to_owned(),
            time,
        })
    };
    text.split(',').map(stage).collect()
}
