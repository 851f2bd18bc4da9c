//! Where Helm plays: a `rheostat lab`, a real control plane, or any cluster; the
//! last two with simulated kubelets around them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use lab::{Delays, LabOptions, World};
use serde_json::{Value, json};
use testbed::{ControlPlane, GoProgram};

/// Simulated seconds a second: pods start in a moment, and the HPA looks often.
const SPEED: &str = "20";
/// How long a cluster may take for what is asked of it.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn here() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap()
}

/// One release of Helm, with a home of its own.
pub struct Helm {
    binary: PathBuf,
    /// 3 or 4.
    pub major: u8,
    kubeconfig: PathBuf,
    home: tempfile::TempDir,
}

impl Helm {
    /// For commands that ask no cluster.
    pub fn without_cluster(helm: &GoProgram) -> Option<Self> {
        let binary = testbed::or_skip(helm.for_test(&mut |line| eprintln!("{line}")))?;
        Some(Self {
            binary,
            major: if helm.name == "helm3" { 3 } else { 4 },
            kubeconfig: PathBuf::from("/dev/null"),
            home: tempfile::tempdir().unwrap(),
        })
    }

    /// Runs a command that must succeed; gives what it printed.
    pub fn run(&self, arguments: &[&str]) -> String {
        let (fine, said) = self.call(arguments);
        assert!(fine, "helm {arguments:?}: {said}");
        said
    }

    /// Runs a command that must be refused; gives the words.
    pub fn fail(&self, arguments: &[&str]) -> String {
        let (fine, said) = self.call(arguments);
        assert!(!fine, "helm {arguments:?} was not refused: {said}");
        said
    }

    fn call(&self, arguments: &[&str]) -> (bool, String) {
        let began = Instant::now();
        let out = Command::new(&self.binary)
            .args(arguments)
            .current_dir(here())
            .env("HOME", self.home.path())
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        println!(
            "helm {} {}: {} after {:.1} s",
            self.major,
            arguments[..2.min(arguments.len())].join(" "),
            out.status,
            began.elapsed().as_secs_f64()
        );
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (out.status.success(), text(&out.stdout) + &text(&out.stderr))
    }
}

/// A cluster and one Helm.
pub struct Stage {
    pub helm: Helm,
    pub client: Client,
    runtime: tokio::runtime::Runtime,
    lab: Option<Running>,
    _plane: Option<ControlPlane>,
    _folder: tempfile::TempDir,
}

/// `rheostat lab`, until this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Stage {
    /// The stage that `RHEOSTAT_E2E_ON` names, the lab otherwise.
    pub fn open(helm: &GoProgram) -> Option<Self> {
        let mut helm = Helm::without_cluster(helm)?;
        let on = std::env::var("RHEOSTAT_E2E_ON").unwrap_or_else(|_| "lab".to_owned());
        let folder = tempfile::tempdir().unwrap();
        let (mut lab, mut plane) = (None, None);
        helm.kubeconfig = match on.as_str() {
            "lab" => {
                let path = folder.path().join("kubeconfig");
                lab = Some(start_lab(&path));
                path
            }
            "testbed" => {
                let binary = testbed::control_plane();
                let binary = testbed::or_skip(binary.build(&mut |line| eprintln!("{line}")))?;
                let started = ControlPlane::start(&binary, &folder.path().join("plane"));
                plane = Some(started.unwrap());
                plane.as_ref()?.kubeconfig().to_path_buf()
            }
            "real-controllers" => {
                println!("skipped: Helm plays on lab and testbed");
                return None;
            }
            path => PathBuf::from(path),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build();
        let runtime = runtime.unwrap();
        let client = runtime.block_on(connect(&helm.kubeconfig));
        if lab.is_none() {
            runtime.block_on(surround(&client));
        }
        Some(Self {
            helm,
            client,
            runtime,
            lab,
            _plane: plane,
            _folder: folder,
        })
    }

    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// The lab's own operator serves what the chart's would, so the chart takes
    /// its place in the books.
    pub fn install_arguments(&self) -> &[&str] {
        match self.lab {
            Some(_) => &["--take-ownership"],
            None => &[],
        }
    }

    fn api(&self, kind: &str, namespace: &str) -> Api<DynamicObject> {
        let (group, version) = match kind {
            "APIService" => ("apiregistration.k8s.io", "v1"),
            "CustomResourceDefinition" => ("apiextensions.k8s.io", "v1"),
            "Deployment" => ("apps", "v1"),
            "HorizontalPodAutoscaler" => ("autoscaling", "v2"),
            "ScaledObject" => ("keda.sh", "v1alpha1"),
            other => panic!("{other}?"),
        };
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        if namespace.is_empty() {
            Api::all_with(self.client.clone(), &kind)
        } else {
            Api::namespaced_with(self.client.clone(), namespace, &kind)
        }
    }

    pub fn find(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let api = self.api(kind, namespace);
        let found = self.block_on(api.get_opt(name)).unwrap();
        found.map(|object| serde_json::to_value(object).unwrap())
    }

    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Value {
        let found = self.find(kind, namespace, name);
        found.unwrap_or_else(|| panic!("no {kind} {namespace}/{name}"))
    }

    /// KEDA's definitions, but for what moves by itself.
    pub fn definitions(&self) -> Vec<Value> {
        let api = self.api("CustomResourceDefinition", "");
        let all = self.block_on(api.list(&ListParams::default())).unwrap();
        let all = all.items.into_iter().map(|crd| {
            let crd = serde_json::to_value(crd).unwrap();
            json!({"name": crd["metadata"]["name"], "uid": crd["metadata"]["uid"],
                "generation": crd["metadata"]["generation"], "spec": crd["spec"]})
        });
        all.filter(|crd| crd["spec"]["group"].as_str().unwrap().ends_with("keda.sh"))
            .collect()
    }

    /// `rheostat crds | kubectl apply --server-side --force-conflicts -f -`
    pub fn upgrade_definitions(&self) {
        let api = self.api("CustomResourceDefinition", "");
        let params = PatchParams::apply("kubectl").force();
        for crd in api::keda::crds() {
            let name = crd["metadata"]["name"].as_str().unwrap();
            let patch = Patch::Apply(&crd);
            self.block_on(api.patch(name, &params, &patch)).unwrap();
        }
    }

    /// KEDA's registration, or that of the lab's own operator.
    pub fn another_server(&self, name: &str) {
        if self.lab.is_none() {
            let (version, group) = name.split_once('.').unwrap();
            let object = json!({
                "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
                "metadata": {"name": name},
                "spec": {"group": group, "version": version,
                    "groupPriorityMinimum": 100, "versionPriority": 100,
                    "service": {"name": "keda-operator-metrics-apiserver", "namespace": "keda"}},
            });
            self.create("APIService", "", object);
        }
    }

    /// Takes KEDA's registration away again.
    pub fn no_other_server(&self, name: &str) {
        if self.lab.is_none() {
            let api = self.api("APIService", "");
            self.block_on(api.delete(name, &DeleteParams::default()))
                .unwrap();
        }
    }

    /// Whether the group of an API answers.
    pub fn answers(&self, name: &str) -> bool {
        let (version, group) = name.split_once('.').unwrap();
        let request = http::Request::get(format!("/apis/{group}/{version}"));
        let request = request.body(Vec::new()).unwrap();
        self.block_on(self.client.request_text(request)).is_ok()
    }

    fn create(&self, kind: &str, namespace: &str, object: Value) {
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let api = self.api(kind, namespace);
        self.block_on(api.create(&PostParams::default(), &object))
            .unwrap();
    }

    /// The HPA that the operator makes; by hand where none runs.
    pub fn autoscale(&self, namespace: &str, name: &str) {
        if self.lab.is_none() {
            let metric = json!({"type": "External", "external": {
                "metric": {"name": "s0-prometheus",
                    "selector": {"matchLabels": {"scaledobject.keda.sh/name": name}}},
                "target": {"type": "AverageValue", "averageValue": "50"}}});
            let object = json!({
                "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
                "metadata": {"name": format!("keda-hpa-{name}"), "namespace": namespace},
                "spec": {"minReplicas": 3, "maxReplicas": 6, "metrics": [metric],
                    "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}},
            });
            self.create("HorizontalPodAutoscaler", namespace, object);
        }
    }

    /// Waits for something.
    pub fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What of a workload nobody but its owner may change, and when its HPA last
    /// had to: had Helm set the replicas back, it would have raised them again.
    pub fn workload(&self, namespace: &str, name: &str) -> Value {
        let scaled = self.get("ScaledObject", namespace, name);
        let deployment = self.get("Deployment", namespace, name);
        let hpa = self.get(
            "HorizontalPodAutoscaler",
            namespace,
            &format!("keda-hpa-{name}"),
        );
        json!({
            "scaledObject": {"uid": scaled["metadata"]["uid"], "spec": scaled["spec"]},
            "deployment": {"uid": deployment["metadata"]["uid"],
                "replicas": deployment["spec"]["replicas"]},
            "hpa": {"uid": hpa["metadata"]["uid"], "spec": hpa["spec"],
                "lastScaleTime": hpa["status"]["lastScaleTime"]},
        })
    }
}

fn start_lab(kubeconfig: &Path) -> Running {
    let child = Command::new(env!("CARGO_BIN_EXE_rheostat"))
        .args(["lab", "--speed", SPEED, "--kubeconfig"])
        .arg(kubeconfig)
        // Should nobody be left to stop it: ten real minutes.
        .args(["--for", "200m"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    let mut lab = Running(child.unwrap());
    let until = Instant::now() + PATIENCE;
    while !kubeconfig.exists() {
        assert!(lab.0.try_wait().unwrap().is_none(), "the lab has ended");
        assert!(Instant::now() < until, "the lab does not serve");
        std::thread::sleep(Duration::from_millis(20));
    }
    lab
}

async fn connect(kubeconfig: &Path) -> Client {
    let config = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await;
    Client::try_from(config.unwrap()).unwrap()
}

/// Simulated nodes and kubelets, so that pods get ready.
async fn surround(client: &Client) {
    let options = LabOptions {
        delays: Delays {
            pod_start: Duration::from_secs(1),
            ..Delays::default()
        },
        ..LabOptions::default()
    };
    let world = World::new(client.clone(), clock::Clock::system(), &options);
    for (_, part) in world.parts() {
        tokio::spawn(part);
    }
    world.cloud.start().await.unwrap();
}
