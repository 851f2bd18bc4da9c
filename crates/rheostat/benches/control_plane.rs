//! The lab beside a real control plane, and the operator on the real one with a
//! thousand ScaledObjects. Takes a quarter of an hour; needs Go, once.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../tests/e2e/guests.rs"]
mod guests;
#[allow(dead_code)]
#[path = "../tests/e2e/internet.rs"]
mod internet;
#[allow(dead_code)]
#[path = "../tests/e2e/nodepools.rs"]
mod nodepools;
#[allow(dead_code)]
#[path = "../tests/e2e/operator.rs"]
mod operator;
#[allow(dead_code)]
#[path = "../tests/e2e/prometheus.rs"]
mod prometheus;
#[allow(dead_code)]
#[path = "../tests/e2e/stage.rs"]
mod stage;
#[allow(dead_code)]
#[path = "../tests/e2e/tls.rs"]
mod tls;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use benches::Report;
use futures::StreamExt as _;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use stage::{Samples, Stage, here};
use testbed::{ControlPlane, TestbedError};
use tokio::sync::watch;

/// ScaledObjects that are there when the operator starts.
const MANY: usize = 1_000;
/// And those that come afterwards, so many a second.
const LATER: usize = 300;
const RATE: u32 = 15;
const STORY: &str = "examples/aks-article/story.yaml";

fn main() {
    let mut report = Report::new("lab and operator beside a real control plane");
    let binary = match testbed::control_plane().build(&mut |line| eprintln!("{line}")) {
        Err(why @ TestbedError::NoGo { .. }) => {
            println!("  skipped: {why}");
            return;
        }
        built => built.unwrap(),
    };
    let folder = tempfile::tempdir().unwrap();
    let (lab, lab_kib) = lab_start(folder.path());
    let began = Instant::now();
    let plane = ControlPlane::start(&binary, &folder.path().join("plane")).unwrap();
    let real = began.elapsed();
    let pids = plane.processes();
    let real_kib: f64 = pids.iter().map(|(_, pid)| resident(*pid)).sum();
    let peer = "the real control plane";
    report.beside("lab ready to serve", lab, peer, real, 1.0 / 30.0);
    report.no_larger("lab resident, KiB", lab_kib, peer, real_kib, 0.1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(on_the_real_one(&plane, folder, &mut report));
    report.finish();
}

async fn on_the_real_one(plane: &ControlPlane, folder: tempfile::TempDir, report: &mut Report) {
    let config = plane.kubeconfig().to_path_buf();
    let mut stage = Stage::around(&config, None, Samples::Store, folder).await;
    // `-- many` leaves out the story and its eight minutes.
    if !std::env::args().any(|argument| argument == "many") {
        story(&mut stage, report).await;
    }
    many(&mut stage, plane, report).await;
}

async fn story(stage: &mut Stage, report: &mut Report) {
    let story = stage.article();
    let began = Instant::now();
    stage.play(&story, 0..story.steps.len()).await;
    let real = began.elapsed();
    let began = Instant::now();
    let played = Command::new(env!("CARGO_BIN_EXE_rheostat"))
        .args(["lab", "--speed", "max", "--play"])
        .arg(here().join(STORY))
        .stdout(Stdio::null())
        .status();
    assert!(played.unwrap().success());
    let lab = began.elapsed();
    let peer = "the real control plane";
    report.beside("the article's story", lab, peer, real, 0.01);
}

/// An operator that finds a thousand ScaledObjects, and more that come.
async fn many(stage: &mut Stage, plane: &ControlPlane, report: &mut Report) {
    let client = stage.client();
    stage.stop_operator();
    let auth = json!({"apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
        "metadata": {"name": "many"}, "spec": {"podIdentity": {"provider": "azure-workload"}}});
    post(
        &client,
        ("keda.sh", "v1alpha1", "TriggerAuthentication"),
        &auth,
    )
    .await;
    create(&client, 0..MANY).await;
    let hpas = Hpas::watch(&client).await;
    let stop = watch::channel(false);
    let beside = listing(plane, stop.1);
    let began = Instant::now();
    let (process, ()) = tokio::join!(
        async {
            stage.start_operator().await;
            began.elapsed()
        },
        hpas.until(MANY)
    );
    println!("    (its APIs were there after {process:.1?})");
    let all = began.elapsed();
    stop.0.send_replace(true);
    let slowest = beside.join().unwrap();
    let limit = Duration::from_secs(20);
    report.within("a start with 1,000 ScaledObjects: all HPAs", all, limit);
    let limit = Duration::from_secs(1);
    report.within("the slowest kubectl get beside it", slowest, limit);

    let mut made = BTreeMap::new();
    let mut tick = tokio::time::interval(Duration::from_secs(1) / RATE);
    for n in MANY..MANY + LATER {
        tick.tick().await;
        create_target(&client, n).await;
        create_scaled_object(&client, n).await;
        made.insert(name(n), Instant::now());
    }
    hpas.until(MANY + LATER).await;
    let seen = hpas.seen();
    let mut lags: Vec<Duration> = made
        .iter()
        .map(|(name, at)| seen[&format!("keda-hpa-{name}")].saturating_duration_since(*at))
        .collect();
    lags.sort();
    let at = |share: usize| lags[(lags.len() * share / 100).min(lags.len() - 1)];
    println!("    (median {:.1?}, slowest {:.1?})", at(50), at(100));
    let what = "from creation to HPA at 15 a second, 99th percentile";
    report.within(what, at(99), limit);
}

/// How long the lab takes until a client gets an answer, and what it holds then.
fn lab_start(folder: &Path) -> (Duration, f64) {
    let kubeconfig = folder.join("lab.kubeconfig");
    let began = Instant::now();
    let mut lab = Command::new(env!("CARGO_BIN_EXE_rheostat"))
        .args(["lab", "--format", "json", "--kubeconfig"])
        .arg(&kubeconfig)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut lines = BufReader::new(lab.stdout.take().unwrap());
    lines.read_line(&mut first).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = client(&kubeconfig).await;
        let request = http::Request::get("/api/v1/nodes").body(Vec::new());
        let nodes: Value = client.request(request.unwrap()).await.unwrap();
        assert!(nodes["items"].is_array());
    });
    let ready = began.elapsed();
    // The real one has settled, too, when it is looked at.
    std::thread::sleep(Duration::from_secs(2));
    let held = resident(lab.id());
    lab.kill().unwrap();
    lab.wait().unwrap();
    (ready, held)
}

async fn client(kubeconfig: &Path) -> Client {
    let config = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(config, &options).await;
    Client::try_from(config.unwrap()).unwrap()
}

/// Resident memory in KiB (Linux).
fn resident(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Runs `kubectl get` again and again; gives the slowest.
fn listing(plane: &ControlPlane, stop: watch::Receiver<bool>) -> std::thread::JoinHandle<Duration> {
    let mut command = plane.kubectl();
    command.args(["get", "deployments", "-n", "kube-system"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    std::thread::spawn(move || {
        let mut slowest = Duration::ZERO;
        while !*stop.borrow() {
            let began = Instant::now();
            assert!(command.status().unwrap().success());
            slowest = slowest.max(began.elapsed());
        }
        slowest
    })
}

fn name(n: usize) -> String {
    format!("many-{n}")
}

async fn create(client: &Client, range: std::ops::Range<usize>) {
    let made = futures::stream::iter(range).for_each_concurrent(16, |n| async move {
        create_target(client, n).await;
        create_scaled_object(client, n).await;
    });
    made.await;
}

/// A Deployment that makes no pods.
async fn create_target(client: &Client, n: usize) {
    let labels = json!({"app": name(n)});
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name(n)},
        "spec": {"paused": true, "replicas": 1, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels},
                "spec": {"containers": [{"name": "c", "image": "example/none"}]}}}});
    post(client, ("apps", "v1", "Deployment"), &object).await;
}

async fn create_scaled_object(client: &Client, n: usize) {
    let object = json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"name": name(n)},
        "spec": {"scaleTargetRef": {"name": name(n)}, "maxReplicaCount": 5,
            "triggers": [{"type": "prometheus", "metadata": {
                "serverAddress": "https://example.prometheus.monitor.azure.com",
                "query": format!("sum(up{{app=\"{}\"}})", name(n)), "threshold": "5"},
                "authenticationRef": {"name": "many"}}]}});
    post(client, ("keda.sh", "v1alpha1", "ScaledObject"), &object).await;
}

fn api(client: &Client, (group, version, kind): (&str, &str, &str)) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Api::namespaced_with(client.clone(), "default", &resource)
}

async fn post(client: &Client, gvk: (&str, &str, &str), object: &Value) {
    let object = serde_json::from_value(object.clone()).unwrap();
    let made = api(client, gvk)
        .create(&PostParams::default(), &object)
        .await;
    made.unwrap();
}

/// The HPAs that there are, each with the moment it was first seen.
struct Hpas(watch::Receiver<BTreeMap<String, Instant>>);

impl Hpas {
    async fn watch(client: &Client) -> Self {
        let api = api(client, ("autoscaling", "v2", "HorizontalPodAutoscaler"));
        let (tell, told) = watch::channel(BTreeMap::new());
        tokio::spawn(async move {
            let mut events = watcher::watcher(api, watcher::Config::default()).boxed();
            while let Some(event) = events.next().await {
                if let Ok(Event::Apply(hpa) | Event::InitApply(hpa)) = event {
                    tell.send_modify(|all| {
                        all.entry(hpa.name_any()).or_insert_with(Instant::now);
                    });
                }
            }
        });
        Self(told)
    }

    /// Waits until there are so many of ours.
    async fn until(&self, count: usize) {
        let mut told = self.0.clone();
        let ours = |all: &BTreeMap<String, Instant>| {
            let ours = all.keys().filter(|n| n.starts_with("keda-hpa-many-"));
            ours.count() >= count
        };
        let patience = Duration::from_secs(600);
        let waited = tokio::time::timeout(patience, told.wait_for(ours)).await;
        waited.expect("the HPAs come").unwrap();
    }

    fn seen(&self) -> BTreeMap<String, Instant> {
        self.0.borrow().clone()
    }
}
