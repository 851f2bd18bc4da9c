//! `rheostat doctor` as a process on a real control plane: the main links
//! broken in turn. The lab's are in `src/doctor/tests.rs`, all of them.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::stage::Stage;

const NAME: &str = "my-gpu-workload";
/// A link shows as broken once those who notice have noticed.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Doctor {
    client: kube::Client,
    kubeconfig: PathBuf,
}

impl Doctor {
    pub fn of(stage: &Stage) -> Option<Self> {
        let kubeconfig = stage.kubeconfig()?.to_path_buf();
        let client = stage.client();
        Some(Self { client, kubeconfig })
    }

    /// Exit code and the first broken link with its finding and cure.
    fn ask(&self) -> (i32, Option<[String; 3]>) {
        let out = Command::new(env!("CARGO_BIN_EXE_rheostat"))
            .args(["doctor", "so/my-gpu-workload", "-n", "default"])
            .args(["--format", "json", "--kubeconfig"])
            .arg(&self.kubeconfig)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let report: Value = serde_json::from_str(&text)
            .unwrap_or_else(|e| panic!("{e}: {text}{}", String::from_utf8_lossy(&out.stderr)));
        let chains = report["chains"].as_array().unwrap();
        let mut links = chains.iter().flat_map(|c| c["links"].as_array().unwrap());
        let broken = links.find(|link| link["state"] == "broken");
        let text = |link: &Value, key: &str| link[key].as_str().unwrap_or_default().to_owned();
        let parts = |link: &Value| ["name", "finding", "cure"].map(|key| text(link, key));
        (out.status.code().unwrap(), broken.map(parts))
    }

    /// Waits until nothing is broken.
    pub async fn is_content(&self) {
        self.until("nothing", |broken| broken.is_none()).await;
    }

    /// Waits until this link is the first that is broken, with a cure that says
    /// so much.
    pub async fn finds(&self, link: &str, cure: &str) {
        let told = |broken: &Option<[String; 3]>| {
            let broken = broken.as_ref();
            broken.is_some_and(|[name, finding, said]| {
                name == link && (finding.contains(cure) || said.contains(cure))
            })
        };
        self.until(link, told).await;
    }

    async fn until(&self, what: &str, holds: impl Fn(&Option<[String; 3]>) -> bool) {
        let began = Instant::now();
        loop {
            let (code, broken) = self.ask();
            assert_eq!(code, i32::from(broken.is_some()), "{broken:?}");
            if holds(&broken) {
                println!("{what}: told after {:.1?}: {broken:?}", began.elapsed());
                return;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{what} was to be broken, but {broken:?}"
            );
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Changes the ScaledObject's spec.
    pub async fn respec(&self, spec: Value) {
        let api = self.api(("keda.sh", "v1alpha1", "ScaledObject"));
        let patch = Patch::Merge(json!({ "spec": spec }));
        let done = api.patch(NAME, &PatchParams::default(), &patch).await;
        done.unwrap();
    }

    /// The article's trigger with another query.
    pub async fn query(&self, query: &str) {
        let auth = json!({"name": "azure-managed-prometheus-trigger-auth"});
        let metadata = json!({"serverAddress": "https://example.prometheus.monitor.azure.com",
            "query": query, "threshold": "5", "activationThreshold": "2"});
        let trigger =
            json!({"type": "prometheus", "metadata": metadata, "authenticationRef": auth});
        self.respec(json!({ "triggers": [trigger] })).await;
    }

    /// Takes the TriggerAuthentication away and gives what brings it back.
    pub async fn take_authentication(&self) -> DynamicObject {
        let api = self.api(("keda.sh", "v1alpha1", "TriggerAuthentication"));
        let name = "azure-managed-prometheus-trigger-auth";
        let mut object = api.get(name).await.unwrap();
        api.delete(name, &Default::default()).await.unwrap();
        object.metadata.resource_version = None;
        object.metadata.uid = None;
        object.metadata.finalizers = None;
        object
    }

    pub async fn give_back(&self, object: &DynamicObject) {
        let api = self.api(("keda.sh", "v1alpha1", "TriggerAuthentication"));
        api.create(&PostParams::default(), object).await.unwrap();
    }

    fn api(&self, (group, version, kind): (&str, &str, &str)) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.client.clone(), "default", &resource)
    }
}
