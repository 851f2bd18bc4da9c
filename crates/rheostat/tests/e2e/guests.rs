//! The lab in real time, with Kubernetes' own scheduler and controllers as
//! processes in place of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use cluster::Component;
use jiff::Timestamp;
use lab::front::{self, Desk, Doors, FrontConfig};
use lab::pacer::Pacer;
use lab::{Lab, LabOptions};
use testbed::Controllers;

/// What the programs do in the lab's place.
const WORK: [Component; 5] = [
    Component::Scheduler,
    Component::Deployment,
    Component::ReplicaSet,
    Component::HorizontalPodAutoscaler,
    Component::GarbageCollector,
];

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

/// The programs beside a lab; they go before its doors close.
pub struct Guests {
    controllers: Option<Controllers>,
    /// What those that were stopped had complained of.
    complaints: Vec<String>,
    binary: PathBuf,
    starts: usize,
    clock: clock::Clock,
    doors: Doors,
    folder: tempfile::TempDir,
}

impl Guests {
    /// Starts a lab whose day begins now, and the programs of `binary` beside it.
    pub async fn start(
        options: LabOptions,
        binary: &Path,
        folder: tempfile::TempDir,
    ) -> (Lab, Self) {
        let options = LabOptions {
            start: Timestamp::now(),
            without: WORK.into(),
            ..options
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
        let mut guests = Self {
            controllers: None,
            complaints: Vec::new(),
            binary: binary.to_path_buf(),
            starts: 0,
            clock: lab.clock,
            doors,
            folder,
        };
        guests.let_in();
        (lab, guests)
    }

    fn let_in(&mut self) {
        self.starts += 1;
        let place = self.folder.path().join(format!("programs-{}", self.starts));
        let controllers = WORK.iter().filter(|c| **c != Component::Scheduler);
        let names: Vec<&str> = controllers.map(|c| c.name()).collect();
        let kubeconfig = self.doors.kubeconfig.path();
        let started = Controllers::start(&self.binary, &place, kubeconfig, &names);
        self.controllers = Some(started.unwrap());
    }

    /// Stops the programs and starts them again.
    pub async fn restart(&mut self) {
        let old = self.controllers.take().unwrap();
        // Read first: what they say about their own end is no complaint.
        self.complaints.extend(old.complaints().unwrap());
        let (done, gone) = tokio::sync::oneshot::channel();
        // Elsewhere: they end with requests to the lab, which is this thread.
        std::thread::spawn(move || {
            old.stop();
            let _ = done.send(());
        });
        gone.await.unwrap();
        self.let_in();
    }

    /// What they have complained of so far, but for what is expected.
    pub fn complaints(&self) -> String {
        let now = self
            .controllers
            .iter()
            .flat_map(|c| c.complaints().unwrap());
        let mut all: Vec<String> = self.complaints.iter().cloned().chain(now).collect();
        all.retain(|line| !EXPECTED.iter().any(|part| line.contains(part)));
        all.join("\n")
    }

    /// They still run, and had nothing to complain of.
    pub fn are_content(&mut self) {
        let behind = Timestamp::now().duration_since(self.clock.now());
        println!("the lab's day is {behind:#} behind the machine's");
        self.controllers.as_mut().unwrap().must_run().unwrap();
        assert_eq!(self.complaints(), "");
    }
}
