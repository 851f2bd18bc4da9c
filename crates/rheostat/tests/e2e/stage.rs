//! Where a story plays: the lab under a paused clock, or any API server with
//! simulated nodes, GPUs and cloud around it and `rheostat operator` as a
//! process beside it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::pool::Pool;
use jiff::Timestamp;
use kube::config::{KubeConfigOptions, Kubeconfig};
use lab::story::{Applier, Story, Told, play};
use lab::{Delays, Lab, LabOptions, World};
use testbed::{ControlPlane, TestbedError};

use crate::internet::Internet;
use crate::operator::Operator;
use crate::prometheus::Prometheus;

pub fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A control plane with the whole pipeline.
pub struct Stage {
    client: kube::Client,
    clock: clock::Clock,
    real: Option<Real>,
}

/// What a real API server has beside it; it goes in this order.
struct Real {
    kubeconfig: PathBuf,
    operator: Operator,
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
    if samples == Samples::Prometheus && on == "lab" {
        println!("skipped: a Prometheus server does not follow the lab's simulated time");
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
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let lab = Lab::start(LabOptions::default()).await.unwrap();
            let mut stage = Stage {
                client: lab.client.clone(),
                clock: lab.clock,
                real: None,
            };
            test(&mut stage).await;
        });
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (kubeconfig, plane) = if on == "testbed" {
        let binary = match testbed::control_plane().build(&mut |line| eprintln!("{line}")) {
            Ok(path) => path,
            Err(e @ TestbedError::NoGo { .. }) if std::env::var_os("CI").is_none() => {
                println!("skipped: {e}");
                return;
            }
            Err(e) => panic!("{e}"),
        };
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
        // Nodes come and go in seconds here; what Kubernetes decides takes as
        // long as it takes.
        let mut pools = Pool::defaults();
        for pool in &mut pools {
            pool.provision = Duration::from_secs(10);
        }
        let options = LabOptions {
            pools,
            delays: Delays {
                gpu_ready: Duration::from_secs(2),
                pod_start: Duration::from_secs(1),
                unneeded: Duration::from_secs(30),
                ..Delays::default()
            },
            ..LabOptions::default()
        };
        let world = World::new(client.clone(), clock, &options);
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
        tokio::spawn(world.planner(None).1);
        Self {
            client,
            clock,
            real: Some(Real {
                kubeconfig: kubeconfig.to_path_buf(),
                operator,
                prometheus,
                _internet: internet,
                _plane: plane,
                _folder: folder,
            }),
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
            panic!(
                "{error}: {}\n{}",
                cause.unwrap_or_default(),
                self.operator_log()
            );
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

    fn operator_log(&self) -> String {
        self.real
            .as_ref()
            .map_or_else(String::new, |r| r.operator.log())
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
