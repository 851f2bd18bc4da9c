//! A lab on a thread of its own, and kubectl to talk to it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use lab::front::{self, Desk, FrontConfig};
use lab::pacer::{Pacer, Tempo};
use lab::{Lab, LabOptions};

use crate::LIMIT;
use crate::bare::{self, Orders};
use crate::normal::Answer;

/// A running lab.
pub struct Live {
    tempo: Tempo,
    orders: Arc<Orders>,
    kubeconfig: PathBuf,
    server: String,
    manifests: PathBuf,
    scratch: tempfile::TempDir,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Live {
    /// Starts a lab in the recording's surroundings: two bare CPU nodes and
    /// `gpus` GPU nodes, no kubelets, no node planner.
    pub fn start(kubectl: &Path, manifests: PathBuf, gpus: u32, identity: bool) -> Self {
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let scratch = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(kubectl, scratch.path().join("kubectl")).unwrap();
        let kubeconfig = scratch.path().join("config");
        let path = kubeconfig.clone();
        let orders = Arc::new(Orders::default());
        orders.gpu_nodes.store(gpus, Ordering::Relaxed);
        orders.utilization.store(bare::SILENT, Ordering::Relaxed);
        let ordered = Arc::clone(&orders);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            runtime.block_on(async move {
                let options = LabOptions {
                    pools: Vec::new(),
                    plan_nodes: false,
                    kubelets: false,
                    identity,
                    store_hosts: vec!["127.0.0.1:29090".to_owned()],
                    ..LabOptions::default()
                };
                let lab = Lab::start(options).await.unwrap();
                let pacer = Pacer::new(4.0);
                let config = FrontConfig {
                    listen: "127.0.0.1:0".parse().unwrap(),
                    prometheus: "127.0.0.1:0".parse().unwrap(),
                    kubeconfig: Some(path),
                };
                let (doors, knocks) = front::open(&config, pacer.bell()).unwrap();
                let bell = pacer.bell();
                let desk = Desk {
                    cluster: lab.cluster.clone(),
                    store: lab.store.clone(),
                    bell,
                };
                tokio::spawn(front::receive(desk, knocks));
                let server = format!("https://{}", doors.kubernetes);
                tell.send((pacer.tempo(), server)).unwrap();
                tokio::spawn(bare::surround(lab.clone(), ordered));
                tokio::spawn(pacer.run());
                let _ = stopped.await;
                drop(doors);
            });
        });
        let (tempo, server) = told.recv_timeout(Duration::from_secs(30)).unwrap();
        // Until its first turn there is no time to go by.
        let began = Instant::now();
        while orders.now.load(Ordering::Relaxed) == 0 {
            assert!(began.elapsed() < LIMIT, "the lab does not start");
            std::thread::sleep(Duration::from_millis(2));
        }
        let (stop, thread) = (Some(stop), Some(thread));
        Self {
            tempo,
            orders,
            kubeconfig,
            server,
            manifests,
            scratch,
            stop,
            thread,
        }
    }

    /// Lets so many simulated seconds pass, quickly.
    pub fn pass(&self, seconds: f64) {
        let now = || self.orders.now.load(Ordering::Relaxed);
        let until = now() + (seconds * 1000.0) as i64;
        let began = Instant::now();
        self.tempo.set(if seconds > 600.0 { 2000.0 } else { 40.0 });
        while now() < until {
            assert!(began.elapsed() < LIMIT, "the lab's time stands still");
            std::thread::sleep(Duration::from_millis(2));
        }
        self.tempo.set(0.05);
    }

    /// Sets how fast time goes until further notice.
    pub fn tempo(&self, speed: f64) {
        self.tempo.set(speed);
    }

    /// What the exporter shows from now on.
    pub fn utilization(&self, percent: u32) {
        self.orders.utilization.store(percent, Ordering::Relaxed);
    }

    /// How many GPU nodes there are, at the next turn.
    pub fn gpu_nodes(&self, to: u32) {
        self.orders.gpu_nodes.store(to, Ordering::Relaxed);
    }

    /// Lets time pass until a field has a value.
    pub fn until(&self, object: &str, path: &str, value: &str) {
        let began = Instant::now();
        // Slow enough for the test to be there at the moment it waits for.
        self.tempo.set(4.0);
        loop {
            let answer = self.kubectl(&format!("kubectl get {object} -o jsonpath='{path}'"));
            if answer.stdout == value {
                break;
            }
            assert!(
                began.elapsed() < LIMIT,
                "{object} {path} is {}",
                answer.stdout
            );
        }
        self.tempo.set(0.05);
    }

    /// Runs one command line. Where the recording stopped a command that
    /// watches, so does this.
    pub fn kubectl(&self, command: &str) -> Answer {
        let watches = command.contains(" -w") || command.contains("--watch-only");
        let limit = if watches && !command.contains("--request-timeout") {
            Duration::from_secs(2)
        } else {
            LIMIT
        };
        let path = std::env::var("PATH").unwrap_or_default();
        let mut child = Command::new("bash")
            .arg("-c")
            .arg(command)
            .env("PATH", format!("{}:{path}", self.scratch.path().display()))
            .env("HOME", self.scratch.path())
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBE_EDITOR", "sed -i s/nginx:1/nginx:9/")
            .current_dir(&self.manifests)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = drain(child.stdout.take().unwrap());
        let stderr = drain(child.stderr.take().unwrap());
        let began = Instant::now();
        let rc = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status.code().unwrap_or(-1).to_string(),
                None if began.elapsed() > limit => {
                    // bash has become kubectl (it execs its last command).
                    let _ = child.kill();
                    let _ = child.wait();
                    break "timeout".to_owned();
                }
                None => std::thread::sleep(Duration::from_millis(3)),
            }
        };
        let text = |rows: std::thread::JoinHandle<String>| {
            rows.join().unwrap().replace(&self.server, "<server>")
        };
        Answer::new(&rc, &text(stdout), &text(stderr))
    }
}

fn drain(mut pipe: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = std::io::copy(&mut pipe, &mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

impl Drop for Live {
    fn drop(&mut self) {
        drop(self.stop.take());
        // Time goes fast for a moment so that the simulation hears of it.
        self.tempo.set(40.0);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
