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
}

/// What a real API server has beside it; it goes in this order.
struct Real {
    operator: Operator,
    _internet: Internet,
    _plane: Option<ControlPlane>,
    _folder: tempfile::TempDir,
}

/// Runs a test on the stage that `RHEOSTAT_E2E_ON` names.
pub fn on_stage(test: impl AsyncFnOnce(&mut Stage)) {
    let on = std::env::var("RHEOSTAT_E2E_ON").unwrap_or_else(|_| "lab".to_owned());
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
        let mut stage = Stage::around(&kubeconfig, plane, folder).await;
        test(&mut stage).await;
    });
}

impl Stage {
    /// Surrounds an API server.
    pub async fn around(
        kubeconfig: &Path,
        plane: Option<ControlPlane>,
        folder: tempfile::TempDir,
    ) -> Self {
        let config = Kubeconfig::read_from(kubeconfig).unwrap();
        let config =
            kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await;
        let config = config.unwrap();
        let client = kube::Client::try_from(config.clone()).unwrap();
        let clock = clock::Clock::system();
        let [gpu_ready, pod_start, unneeded] = DELAYS;
        let options = LabOptions {
            pools: Pool::parse_all(&POOLS).unwrap(),
            delays: Delays {
                gpu_ready,
                pod_start,
                unneeded,
                ..Delays::default()
            },
            ..LabOptions::default()
        };
        let world = World::new(client.clone(), clock, &options);
        let internet = Internet::open(world.names(), &world.authority, folder.path()).await;
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
                operator,
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

    /// Kills the operator and starts it again. The lab's lives and dies with the
    /// lab.
    pub async fn restart_operator(&mut self) {
        if let Some(real) = &mut self.real {
            real.operator.kill();
            real.operator.start().await;
        }
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
