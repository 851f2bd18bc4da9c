//! A cluster in process with the operator, a scripted Prometheus and pods that
//! are ready at once, all on a paused clock.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cluster::Cluster;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use operator::{METRICS_GROUP, METRICS_VERSION, Operator, Options};
use serde_json::{Value, json};

/// The recordings, where they are at hand.
pub fn shared() -> Option<PathBuf> {
    let root = std::env::var_os("RHEOSTAT_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    root.is_dir().then_some(root)
}

/// One answer of the scripted Prometheus, in the recordings' form.
pub type Script = Arc<Mutex<Value>>;

/// Everything a test needs.
pub struct World {
    pub cluster: Cluster,
    pub client: Client,
    pub operator: Operator,
    pub script: Script,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for World {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl World {
    pub async fn new(metric: Value) -> Self {
        Self::with(metric, |cluster| {
            Client::new(cluster.client_service(), "default")
        })
        .await
    }

    /// One whose operator has a client of its own making.
    pub async fn with(metric: Value, own: impl FnOnce(&Cluster) -> Client) -> Self {
        let clock = clock::Clock::simulated("2026-01-01T00:00:00Z".parse().unwrap());
        let cluster = Cluster::new(cluster::Options { seed: 1, clock });
        for crd in api::keda::crds() {
            cluster
                .create("customresourcedefinitions.apiextensions.k8s.io", crd)
                .unwrap();
        }
        let client = Client::new(cluster.client_service(), "default");
        let script: Script = Arc::new(Mutex::new(metric));
        let context = triggers::Context::new(prometheus(Arc::clone(&script)), clock);
        let operator = Operator::new(own(&cluster), context, Options::default());
        cluster.mount(
            METRICS_GROUP,
            METRICS_VERSION,
            operator.external_metrics_handler(),
        );
        let tasks = vec![
            tokio::spawn(cluster::controllers::run(
                cluster.clone(),
                Default::default(),
            )),
            tokio::spawn(operator.clone().run()),
            tokio::spawn(ready_pods(cluster.clone())),
        ];
        let world = Self {
            cluster,
            client,
            operator,
            script,
            tasks,
        };
        world.wait(Duration::from_millis(1)).await;
        world
    }

    pub async fn wait(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    pub async fn seconds(&self, seconds: f64) {
        self.wait(Duration::from_secs_f64(seconds)).await;
    }

    fn api(&self, namespace: &str, kind: &str) -> Api<DynamicObject> {
        let resource = resource(kind);
        if matches!(kind, "ClusterTriggerAuthentication" | "Namespace") {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), namespace, &resource)
        }
    }

    pub async fn apply(&self, namespace: &str, object: &Value) -> Result<(), String> {
        let mut object = object.clone();
        if let Some(texts) = object["stringData"].as_object().cloned() {
            use base64::Engine as _;
            let engine = base64::engine::general_purpose::STANDARD;
            let data: BTreeMap<String, String> = texts
                .iter()
                .map(|(key, value)| (key.clone(), engine.encode(value.as_str().unwrap())))
                .collect();
            object["data"] = json!(data);
            object.as_object_mut().unwrap().remove("stringData");
        }
        let kind = object["kind"].as_str().unwrap().to_owned();
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let created = self
            .api(namespace, &kind)
            .create(&PostParams::default(), &object)
            .await;
        created.map(drop).map_err(|error| error.to_string())
    }

    pub async fn patch(&self, namespace: &str, kind: &str, name: &str, body: &Value) {
        let api = self.api(namespace, kind);
        api.patch(name, &PatchParams::default(), &Patch::Merge(body))
            .await
            .unwrap();
    }

    pub async fn delete(&self, namespace: &str, kind: &str, name: &str) {
        self.api(namespace, kind)
            .delete(name, &Default::default())
            .await
            .unwrap();
    }

    pub async fn get(&self, namespace: &str, kind: &str, name: &str) -> Option<Value> {
        let found = self.api(namespace, kind).get(name).await.ok()?;
        Some(serde_json::to_value(found).unwrap())
    }

    /// The status of a ScaledObject.
    pub async fn status(&self, namespace: &str, name: &str) -> Value {
        let found = self.get(namespace, "ScaledObject", name).await;
        found.map_or(Value::Null, |object| object["status"].clone())
    }

    /// A condition as `Status Reason: message`.
    pub async fn condition(&self, namespace: &str, name: &str, kind: &str) -> String {
        let status = self.status(namespace, name).await;
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        conditions
            .iter()
            .find(|c| c["type"] == kind)
            .map_or_else(String::new, |c| {
                format!(
                    "{} {}: {}",
                    text(&c["status"]),
                    text(&c["reason"]),
                    text(&c["message"])
                )
            })
    }

    pub async fn replicas(&self, namespace: &str, name: &str) -> i64 {
        let found = self.get(namespace, "Deployment", name).await;
        found.map_or(-1, |object| object["spec"]["replicas"].as_i64().unwrap())
    }

    /// Notes of the operator's events about objects of a kind, oldest first.
    pub fn events(&self, kind: &str) -> Vec<String> {
        let mut found: Vec<(String, String)> = self
            .cluster
            .list("events", None)
            .iter()
            .filter(|event| event["reportingComponent"] == "keda-operator")
            .filter(|event| event["involvedObject"]["kind"] == kind)
            .map(|event| {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let name = text(&event["metadata"]["name"]);
                let order = name.rsplit('.').next().unwrap_or_default().to_owned();
                (
                    order,
                    format!("{} {}", text(&event["reason"]), text(&event["message"])),
                )
            })
            .collect();
        found.sort();
        found.into_iter().map(|(_, text)| text).collect()
    }

    /// What the HPA is answered.
    pub async fn external_metric(&self, namespace: &str, object: &str, metric: &str) -> Value {
        let path = format!(
            "/apis/{METRICS_GROUP}/{METRICS_VERSION}/namespaces/{namespace}/{metric}\
             ?labelSelector=scaledobject.keda.sh%2Fname%3D{object}"
        );
        let request = http::Request::get(path).body(Bytes::new()).unwrap();
        let handler = self.operator.external_metrics_handler();
        let response = handler(request).await;
        serde_json::from_slice(response.body()).unwrap()
    }
}

fn resource(kind: &str) -> ApiResource {
    let (group, version, plural) = match kind {
        "Deployment" => ("apps", "v1", "deployments"),
        "StatefulSet" => ("apps", "v1", "statefulsets"),
        "ScaledObject" => ("keda.sh", "v1alpha1", "scaledobjects"),
        "TriggerAuthentication" => ("keda.sh", "v1alpha1", "triggerauthentications"),
        "ClusterTriggerAuthentication" => ("keda.sh", "v1alpha1", "clustertriggerauthentications"),
        "HorizontalPodAutoscaler" => ("autoscaling", "v2", "horizontalpodautoscalers"),
        "Secret" => ("", "v1", "secrets"),
        "Namespace" => ("", "v1", "namespaces"),
        other => panic!("no resource for {other}"),
    };
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// Binds every pod and makes it ready, as the recordings' nodes did.
async fn ready_pods(cluster: Cluster) {
    let mut changes = cluster.subscribe();
    loop {
        changes.next().await;
        for pod in cluster.list("pods", None) {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (ns, name) = (
                text(&pod["metadata"]["namespace"]),
                text(&pod["metadata"]["name"]),
            );
            if pod["metadata"]["deletionTimestamp"].is_string() {
                let now = cluster::DeleteOptions {
                    grace_period_seconds: Some(0),
                    ..Default::default()
                };
                let _ = cluster.delete("pods", &ns, &name, now);
            } else if !pod["spec"]["nodeName"].is_string() {
                let _ = cluster.bind(&ns, &name, "sim");
                let now = cluster.now().to_string();
                let _ = cluster.modify_status("pods", &ns, &name, |pod| {
                    pod["status"] = json!({
                        "phase": "Running",
                        "startTime": now,
                        "conditions": [
                            {"type": "Ready", "status": "True", "lastTransitionTime": now},
                        ],
                    });
                });
            }
        }
    }
}

fn prometheus(script: Script) -> triggers::HttpService {
    let service = tower::service_fn(move |request: http::Request<Bytes>| {
        let script = script.lock().unwrap().clone();
        async move { answer(&script, &request) }
    });
    triggers::HttpService::new(service)
}

fn answer(
    script: &Value,
    request: &http::Request<Bytes>,
) -> Result<http::Response<Bytes>, tower::BoxError> {
    if request.uri().port_u16() == Some(29199) {
        return Err("dial tcp 127.0.0.1:29199: connect: connection refused".into());
    }
    let query = request.uri().query().unwrap_or_default();
    let expression = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("query="));
    let by_query = &script["by_query"];
    let script = match expression.and_then(|expression| by_query.get(expression)) {
        Some(script) => script,
        None => script,
    };
    if script["close"] == true {
        return Err("EOF".into());
    }
    let mut code = script["status"].as_u64().unwrap_or(200) as u16;
    if let Some(need) = script["need"].as_str() {
        let given = request
            .headers()
            .get("authorization")
            .and_then(|v| v.to_str().ok());
        if given != Some(need) {
            code = 401;
        }
    }
    let body = match script["raw"].as_str() {
        Some(raw) => raw.to_owned(),
        None => {
            let values = script["values"].as_array().cloned().unwrap_or_default();
            let result: Vec<Value> = values
                .iter()
                .map(|value| {
                    let text = value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned);
                    json!({"metric": {}, "value": [1_767_225_600, text]})
                })
                .collect();
            json!({"status": "success", "data": {"resultType": "vector", "result": result}})
                .to_string()
        }
    };
    Ok(http::Response::builder()
        .status(code)
        .body(Bytes::from(body))?)
}

/// A Deployment of one replica, and a ScaledObject for it that asks a Prometheus.
pub fn workload(name: &str) -> [Value; 2] {
    let labels = json!({"app": name});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels},
                "spec": {"containers": [{"name": "c", "image": "x"}]}}}});
    let scaled = json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"scaleTargetRef": {"name": name}, "minReplicaCount": 1,
            "triggers": [{"type": "prometheus", "metadata": {
                "serverAddress": "http://p:9090", "query": "q", "threshold": "5"}}]}});
    [deployment, scaled]
}
