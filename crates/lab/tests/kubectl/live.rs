//! A lab on a thread of its own, and kubectl to talk to it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use api::pool::Pool;
use lab::front::{self, Desk, FrontConfig};
use lab::pacer::{Pacer, Tempo};
use lab::{Lab, LabOptions, Loads};

use crate::normal::Answer;

/// A running lab.
pub struct Live {
    tempo: Tempo,
    loads: Loads,
    orders: mpsc::Sender<u32>,
    kubeconfig: PathBuf,
    server: String,
    manifests: PathBuf,
    scratch: tempfile::TempDir,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Live {
    /// Starts a lab like the recording's cluster: two CPU nodes and `gpus`
    /// nodes with one GPU each, no node planner.
    pub fn start(kubectl: &Path, manifests: PathBuf, gpus: u32, identity: bool) -> Self {
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let scratch = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(kubectl, scratch.path().join("kubectl")).unwrap();
        let kubeconfig = scratch.path().join("config");
        let path = kubeconfig.clone();
        let thread =
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .start_paused(true)
                    .build()
                    .unwrap();
                runtime.block_on(async move {
                let gpunp = format!(
                    "name=gpunp,sku=Standard_NC40ads_H100_v5,min=0,max=3,count={gpus},provision=1s,\
                     taint=sku=gpu:NoSchedule"
                );
                let pools = ["name=nodepool1,sku=Standard_D4s_v5,count=2", &gpunp];
                let options = LabOptions {
                    pools: Pool::parse_all(&pools).unwrap(),
                    plan_nodes: false,
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
                let desk = Desk { cluster: lab.cluster.clone(), store: lab.store.clone(), bell };
                tokio::spawn(front::receive(desk, knocks));
                let server = format!("https://{}", doors.kubernetes);
                let (orders, ordered) = mpsc::channel::<u32>();
                tell.send((pacer.tempo(), lab.loads.clone(), server, orders)).unwrap();
                let cloud = lab.cloud.provider();
                let group = lab::cloud::group_name("gpunp", lab.options.seed);
                tokio::spawn(async move {
                    loop {
                        tokio::time::sleep(Duration::from_millis(500)).await;
                        if let Ok(nodes) = ordered.try_recv() {
                            cloud.resize(&group, nodes).await.unwrap();
                        }
                    }
                });
                tokio::spawn(pacer.run());
                let _ = stopped.await;
                drop(doors);
            });
            });
        let (tempo, loads, server, orders) = told.recv_timeout(Duration::from_secs(30)).unwrap();
        let (stop, thread) = (Some(stop), Some(thread));
        Self {
            tempo,
            loads,
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
        let speed = 40.0;
        self.tempo.set(speed);
        std::thread::sleep(Duration::from_secs_f64(seconds / speed + 0.02));
        self.tempo.set(0.05);
    }

    /// Sets how fast time goes until further notice.
    pub fn tempo(&self, speed: f64) {
        self.tempo.set(speed);
    }

    /// Sets a workload's load without leaving a trace on its objects.
    pub fn load(&self, workload: &str, load: &str) {
        self.loads.set(workload, load).unwrap();
    }

    /// Orders GPU nodes, as the recording's were added by hand.
    pub fn gpu_nodes(&self, to: u32) {
        self.orders.send(to).unwrap();
    }

    /// Lets time pass until a field has a value.
    pub fn until(&self, object: &str, path: &str, value: &str) {
        let began = Instant::now();
        self.tempo.set(10.0);
        loop {
            let answer = self.kubectl(&format!("kubectl get {object} -o jsonpath='{path}'"));
            if answer.stdout == value {
                break;
            }
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "{object} {path} is {}",
                answer.stdout
            );
        }
        self.tempo.set(0.05);
    }

    /// Runs one command line. Where the recording stopped a command that
    /// watches, so does this.
    pub fn kubectl(&self, command: &str) -> Answer {
        let command = command
            .replace("aks-nodepool1-34179260-vmss000002", "$NODE0")
            .replace("aks-nodepool1-34179260-vmss000003", "$NODE1");
        let watches = command.contains(" -w") || command.contains("--watch-only");
        let limit = if watches && !command.contains("--request-timeout") {
            Duration::from_secs(2)
        } else {
            crate::LIMIT
        };
        let nodes = r#"set -- $(kubectl get nodes -l agentpool=nodepool1 -o name | sed s,node/,,); NODE0=$1 NODE1=$2; "#;
        let script = if command.contains("$NODE") {
            format!("{nodes}{command}")
        } else {
            command
        };
        let path = std::env::var("PATH").unwrap_or_default();
        let mut child = Command::new("bash")
            .arg("-c")
            .arg(&script)
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
