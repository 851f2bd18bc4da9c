//! Where a story plays: the lab under a paused clock; the lab in real time with
//! Kubernetes' own scheduler and controllers in place of its own; or any API
//! server with simulated nodes, GPUs and cloud around it and `rheostat
//! operator` and `rheostat nodepools` as processes beside it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::pool::Pool;
use jiff::Timestamp;
use kube::config::{KubeConfigOptions, Kubeconfig};
use lab::story::{Applier, Story, Told, play};
use lab::{Delays, Lab, LabOptions, World};
use testbed::ControlPlane;

use crate::guests::Guests;
use crate::internet::Internet;
use crate::nodepools::Nodepools;
use crate::operator::Operator;
use crate::prometheus::Prometheus;

pub fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The lab's pools, but nodes come and go in seconds; what Kubernetes decides
/// takes as long as it takes.
pub const POOLS: [&str; 2] = [
    "name=nodepool1,sku=Standard_D4s_v5,count=2,provision=10s",
    "name=gpunp,sku=Standard_NC40ads_H100_v5,min=0,max=3,count=0,provision=10s,\
     taint=sku=gpu:NoSchedule",
];

/// Until GPUs are shown, until a pod runs, until an unneeded node goes.
pub const DELAYS: [Duration; 3] = [
    Duration::from_secs(2),
    Duration::from_secs(1),
    Duration::from_secs(30),
];

/// A control plane with the whole pipeline.
pub struct Stage {
    client: kube::Client,
    clock: clock::Clock,
    real: Option<Real>,
    guests: Option<Guests>,
}

/// What a real API server has beside it; it goes in this order.
struct Real {
    kubeconfig: PathBuf,
    operator: Operator,
    nodepools: Nodepools,
    prometheus: Option<Prometheus>,
    _internet: Internet,
    _plane: Option<ControlPlane>,
    _folder: tempfile::TempDir,
}

/// Who keeps the samples and answers the queries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Samples {
    /// The embedded store.
    Store,
    /// A Prometheus server, which lives in real time.
    Prometheus,
}

/// Runs a test on the stage that `RHEOSTAT_E2E_ON` names.
pub fn on_stage(samples: Samples, test: impl AsyncFnOnce(&mut Stage)) {
    let on = std::env::var("RHEOSTAT_E2E_ON").unwrap_or_else(|_| "lab".to_owned());
    if samples == Samples::Prometheus && ["lab", "real-controllers"].contains(&on.as_str()) {
        println!("skipped: the lab has its own store, and no Prometheus server follows its time");
        return;
    }
    if samples == Samples::Prometheus && !Prometheus::is_there() {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI has Debian's prometheus package"
        );
        println!("skipped: no prometheus here (Debian's package of that name has it)");
        return;
    }
    if on == "lab" {
        simulated().block_on(async {
            let lab = Lab::start(LabOptions::default()).await.unwrap();
            let mut stage = Stage {
                client: lab.client.clone(),
                clock: lab.clock,
                real: None,
                guests: None,
            };
            test(&mut stage).await;
        });
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    if on == "real-controllers" {
        let Some(binary) = built() else { return };
        simulated().block_on(async {
            let (lab, guests) = Guests::start(quick(), &binary, folder).await;
            let mut stage = Stage {
                client: lab.client.clone(),
                clock: lab.clock,
                real: None,
                guests: Some(guests),
            };
            test(&mut stage).await;
            stage.guests.unwrap().are_content();
        });
        return;
    }
    let (kubeconfig, plane) = if on == "testbed" {
        let Some(binary) = built() else { return };
        let plane = ControlPlane::start(&binary, &folder.path().join("plane")).unwrap();
        (plane.kubeconfig().to_path_buf(), Some(plane))
    } else {
        (PathBuf::from(on), None)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut stage = Stage::around(&kubeconfig, plane, samples, folder).await;
        test(&mut stage).await;
    });
}

/// A lab's runtime: its clock is the lab's.
fn simulated() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

/// The programs of `testbed/`, where there is a Go to build them.
pub fn built() -> Option<PathBuf> {
    testbed::or_skip(testbed::control_plane().build(&mut |line| eprintln!("{line}")))
}

/// For real time: nodes come and go in seconds; what Kubernetes decides takes
/// as long as it takes.
fn quick() -> LabOptions {
    let [gpu_ready, pod_start, unneeded] = DELAYS;
    LabOptions {
        pools: Pool::parse_all(&POOLS).unwrap(),
        delays: Delays {
            gpu_ready,
            pod_start,
            unneeded,
            ..Delays::default()
        },
        ..LabOptions::default()
    }
}

impl Stage {
    /// The pipeline around an API server; `plane` goes when the stage does.
    pub async fn around(
        kubeconfig: &Path,
        plane: Option<ControlPlane>,
        samples: Samples,
        folder: tempfile::TempDir,
    ) -> Self {
        let config = Kubeconfig::read_from(kubeconfig).unwrap();
        let config =
            kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await;
        let config = config.unwrap();
        let client = kube::Client::try_from(config.clone()).unwrap();
        let clock = clock::Clock::system();
        let world = World::new(client.clone(), clock, &quick());
        let mut names = world.names();
        let mut prometheus = None;
        if samples == Samples::Prometheus {
            let server = Prometheus::start(world.exporters.clone(), clock, folder.path()).await;
            names.server = Some(server.service());
            prometheus = Some(server);
        }
        let internet = Internet::open(names, &world.authority, folder.path()).await;
        let operator = Operator::install(&client, &config, &internet, folder.path()).await;
        for (_, part) in world.parts() {
            tokio::spawn(part);
        }
        world.cloud.start().await.unwrap();
        let nodepools = world.cloud.clone();
        let nodepools = Nodepools::install(&client, &config, nodepools, folder.path()).await;
        Self {
            client,
            clock,
            real: Some(Real {
                kubeconfig: kubeconfig.to_path_buf(),
                operator,
                nodepools,
                prometheus,
                _internet: internet,
                _plane: plane,
                _folder: folder,
            }),
            guests: None,
        }
    }

    /// The article's story.
    pub fn article(&self) -> Story {
        Story::read(&here().join("examples/aks-article/story.yaml")).unwrap()
    }

    /// Plays some steps of a story and gives the times at which its checks came
    /// to hold.
    pub async fn play(&self, story: &Story, steps: Range<usize>) -> Vec<(String, Duration)> {
        let part = Story {
            steps: story.steps[steps].to_vec(),
            ..story.clone()
        };
        let mut reached = Vec::new();
        let note = |at: Timestamp, told: Told| {
            println!("{at:.0} {told:?}");
            if let Told::Reached { check, after } = told {
                reached.push((check, after));
            }
        };
        if let Err(error) = play(&part, self.client.clone(), self.clock, note).await {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            panic!("{error}: {}\n{}", cause.unwrap_or_default(), self.log());
        }
        reached
    }

    /// Plays steps that stand in a test; their files are the article's.
    pub async fn tell(&self, steps: &str) -> Vec<(String, Duration)> {
        let folder = here().join("examples/aks-article/manifests");
        let text = format!("title: test\nsteps:\n{steps}");
        let story = Story::parse(&text, Path::new("test"), folder).unwrap();
        self.play(&story, 0..story.steps.len()).await
    }

    /// Kills the operator and the planner and starts them again; where they live
    /// and die with the lab, stops and starts the programs beside the lab, if there are any.
    pub async fn restart(&mut self) {
        if let Some(guests) = &mut self.guests {
            guests.restart().await;
        }
        if let Some(real) = &mut self.real {
            real.nodepools.kill();
            real.nodepools.start();
        }
        self.stop_operator();
        self.start_operator().await;
    }

    /// How a process reaches the API server; nothing on the lab, whose
    /// simulated time no process follows.
    pub fn kubeconfig(&self) -> Option<&Path> {
        Some(&self.real.as_ref()?.kubeconfig)
    }

    /// A client of the API server.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// Kills the operator. The lab's lives and dies with the lab.
    pub fn stop_operator(&mut self) {
        if let Some(real) = &mut self.real {
            real.operator.kill();
        }
    }

    /// Starts it again.
    pub async fn start_operator(&mut self) {
        if let Some(real) = &mut self.real {
            real.operator.start().await;
        }
    }

    /// The Prometheus server, where one keeps the samples.
    pub fn prometheus(&self) -> Option<&Prometheus> {
        self.real.as_ref()?.prometheus.as_ref()
    }

    /// What the programs beside the control plane say.
    fn log(&self) -> String {
        match (&self.real, &self.guests) {
            (Some(real), _) => format!("{}\n{}", real.operator.log(), real.nodepools.log()),
            (None, Some(guests)) => guests.complaints(),
            (None, None) => String::new(),
        }
    }
}

/// Applies objects.
pub async fn apply(client: &kube::Client, folder: &Path, objects: &[serde_json::Value]) {
    let path = folder.join("apply.yaml");
    let documents: Vec<String> = objects.iter().map(ToString::to_string).collect();
    std::fs::write(&path, documents.join("\n---\n")).unwrap();
    let outcomes = Applier::new(client.clone()).apply(&path).await;
    if let Err(error) = outcomes {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        panic!("{error}: {}", cause.unwrap_or_default());
    }
}
