//! Where a story plays: the lab under a paused clock; the lab in real time with
//! Kubernetes' own scheduler and controllers in place of its own; or any API
//! server with simulated nodes, GPUs and cloud around it and `rheostat
//! operator` as a process beside it.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::pool::Pool;
use cluster::Component;
use jiff::Timestamp;
use kube::config::{KubeConfigOptions, Kubeconfig};
use lab::front::{self, Desk, Doors, FrontConfig};
use lab::pacer::Pacer;
use lab::story::{Applier, Story, Told, play};
use lab::{Delays, Lab, LabOptions, World};
use testbed::{ControlPlane, Controllers, TestbedError};

use crate::internet::Internet;
use crate::operator::Operator;

pub fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A control plane with the whole pipeline.
pub struct Stage {
    client: kube::Client,
    clock: clock::Clock,
    real: Option<Real>,
    guests: Option<Guests>,
}

/// What the lab has beside it in place of its own controllers; it goes in this
/// order.
struct Guests {
    controllers: Option<Controllers>,
    /// What those that were stopped had complained of.
    complaints: Vec<String>,
    binary: PathBuf,
    starts: usize,
    doors: Doors,
    folder: tempfile::TempDir,
}

impl Guests {
    fn start(binary: &Path, folder: tempfile::TempDir, doors: Doors) -> Self {
        Self {
            controllers: Some(controllers(
                binary,
                &folder.path().join("programs-1"),
                &doors,
            )),
            complaints: Vec::new(),
            binary: binary.to_path_buf(),
            starts: 1,
            doors,
            folder,
        }
    }

    async fn restart(&mut self) {
        self.starts += 1;
        let old = self.controllers.take().unwrap();
        // Read first: what they say about their own end is no complaint.
        self.complaints.extend(old.complaints().unwrap());
        let (done, gone) = tokio::sync::oneshot::channel();
        // Elsewhere: they end with requests to the lab, which is this thread.
        std::thread::spawn(move || {
            old.stop();
            done.send(())
        });
        gone.await.unwrap();
        let place = self.folder.path().join(format!("programs-{}", self.starts));
        self.controllers = Some(controllers(&self.binary, &place, &self.doors));
    }
}

/// Starts Kubernetes' programs in front of the lab.
fn controllers(binary: &Path, folder: &Path, doors: &Doors) -> Controllers {
    let names: Vec<&str> = GUESTS
        .iter()
        .filter(|c| **c != Component::Scheduler)
        .map(|c| c.name())
        .collect();
    Controllers::start(binary, folder, doors.kubeconfig.path(), &names).unwrap()
}

/// Parts of lines that the programs write on a control plane of their own too.
const EXPECTED: [&str; 3] = [
    // A flag for a file that is not given.
    "The manifest file is empty, ignoring.",
    // A controller that looked before its own last write came back to it; it
    // looks again.
    "is not as new as written version",
    // The article ends with its workload deleted while the HPA stays.
    "failed to query scale subresource for Deployment/default/my-gpu-workload",
];

/// What Kubernetes' own programs do on `real-controllers`.
const GUESTS: [Component; 5] = [
    Component::Scheduler,
    Component::Deployment,
    Component::ReplicaSet,
    Component::HorizontalPodAutoscaler,
    Component::GarbageCollector,
];

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
                guests: None,
            };
            test(&mut stage).await;
        });
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    if on == "real-controllers" {
        let Some(binary) = built() else { return };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut stage = Stage::beside(&binary, folder).await;
            test(&mut stage).await;
            stage.guests_are_content();
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
        let mut stage = Stage::around(&kubeconfig, plane, folder).await;
        test(&mut stage).await;
    });
}

/// The programs of `testbed/`, where there is a Go to build them.
fn built() -> Option<PathBuf> {
    match testbed::control_plane().build(&mut |line| eprintln!("{line}")) {
        Ok(path) => Some(path),
        Err(e @ TestbedError::NoGo { .. }) if std::env::var_os("CI").is_none() => {
            println!("skipped: {e}");
            None
        }
        Err(e) => panic!("{e}"),
    }
}

/// For real time: nodes come and go in seconds; what Kubernetes decides takes
/// as long as it takes.
fn quick() -> LabOptions {
    let mut pools = Pool::defaults();
    for pool in &mut pools {
        pool.provision = Duration::from_secs(10);
    }
    LabOptions {
        pools,
        delays: Delays {
            gpu_ready: Duration::from_secs(2),
            pod_start: Duration::from_secs(1),
            unneeded: Duration::from_secs(30),
            ..Delays::default()
        },
        ..LabOptions::default()
    }
}

impl Stage {
    /// The lab in real time, with Kubernetes' programs in place of its own.
    async fn beside(binary: &Path, folder: tempfile::TempDir) -> Self {
        let options = LabOptions {
            start: Timestamp::now(),
            without: GUESTS.into(),
            ..quick()
        };
        let lab = Lab::start(options).await.unwrap();
        let pacer = Pacer::new(1.0);
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let config = FrontConfig {
            listen: local,
            prometheus: local,
            kubeconfig: Some(folder.path().join("kubeconfig")),
        };
        let (doors, knocks) = front::open(&config, pacer.bell()).unwrap();
        let desk = Desk {
            cluster: lab.cluster.clone(),
            store: lab.store.clone(),
            bell: pacer.bell(),
        };
        tokio::spawn(front::receive(desk, knocks));
        tokio::spawn(pacer.run());
        Self {
            client: lab.client.clone(),
            clock: lab.clock,
            real: None,
            guests: Some(Guests::start(binary, folder, doors)),
        }
    }

    /// The programs beside the lab still run, and had nothing to complain of
    /// but what they also write on a control plane of their own.
    fn guests_are_content(&mut self) {
        let Some(guests) = &mut self.guests else {
            return;
        };
        let controllers = guests.controllers.as_mut().unwrap();
        controllers.must_run().unwrap();
        let mut complaints = controllers.complaints().unwrap();
        complaints.append(&mut guests.complaints);
        let behind = Timestamp::now().duration_since(self.clock.now());
        println!("the lab's day is {behind:#} behind the machine's");
        complaints.retain(|line| !EXPECTED.iter().any(|part| line.contains(part)));
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    }

    async fn around(
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
        let world = World::new(client.clone(), clock, &quick());
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

    /// Kills the operator and starts it again; where the operator lives and dies
    /// with the lab, stops and starts the programs beside it, if there are any.
    pub async fn restart(&mut self) {
        if let Some(guests) = &mut self.guests {
            guests.restart().await;
        }
        if let Some(real) = &mut self.real {
            real.operator.kill();
            real.operator.start().await;
        }
    }

    /// What the programs beside the control plane say.
    fn log(&self) -> String {
        let controllers = self.guests.as_ref().and_then(|g| g.controllers.as_ref());
        match (&self.real, controllers) {
            (Some(real), _) => real.operator.log(),
            (None, Some(controllers)) => controllers.complaints().unwrap().join("\n"),
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
