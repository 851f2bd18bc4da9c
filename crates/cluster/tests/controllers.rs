//! What users see of the controllers: deployments roll out, scale and go, owners take their
//! dependents along, namespaces empty themselves.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::time::Duration;

use cluster::{Cluster, DeleteOptions, Options, Propagation, controllers};
use serde_json::{Value, json};

const START: &str = "2026-01-01T00:00:00Z";

/// A cluster with its controllers running. Pods become ready when a test says so.
fn start() -> Cluster {
    let clock = clock::Clock::simulated(START.parse().unwrap());
    let cluster = Cluster::new(Options { seed: 7, clock });
    tokio::spawn(controllers::run(
        cluster.clone(),
        controllers::Options::default(),
    ));
    cluster
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

fn deployment(name: &str, replicas: u32, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            "strategy": {"type": "RollingUpdate",
                         "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": image}]},
            },
        },
    })
}

fn pods(cluster: &Cluster) -> Vec<Arc<Value>> {
    cluster.list("pods", Some("default"))
}

fn names(objects: &[Arc<Value>]) -> Vec<String> {
    objects
        .iter()
        .map(|o| o["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Makes every pod that is not leaving run and be ready, and ends those that are leaving.
fn play_kubelet(cluster: &Cluster) {
    for pod in pods(cluster) {
        let name = pod["metadata"]["name"].as_str().unwrap();
        if pod["metadata"].get("deletionTimestamp").is_some() {
            let now = DeleteOptions {
                grace_period_seconds: Some(0),
                ..Default::default()
            };
            cluster.delete("pods", "default", name, now).unwrap();
        } else if pod["status"]["phase"] != "Running" {
            ready(cluster, name);
        }
    }
}

fn ready(cluster: &Cluster, pod: &str) {
    let now = cluster.now().to_string();
    let pod_now = cluster.get("pods", "default", pod).unwrap();
    if pod_now["spec"].get("nodeName").is_none() {
        cluster.bind("default", pod, "node-1").unwrap();
    }
    cluster
        .modify_status("pods", "default", pod, |p| {
            p["status"] = json!({"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": now}]});
        })
        .unwrap();
}

fn get(cluster: &Cluster, name: &str) -> Arc<Value> {
    cluster.get("deployments.apps", "default", name).unwrap()
}

fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let all = object["status"]["conditions"].as_array().unwrap();
    all.iter().find(|c| c["type"] == kind).unwrap()
}

fn events(cluster: &Cluster, reason: &str) -> Vec<String> {
    let all = cluster.list("events", Some("default"));
    let mut found: Vec<(String, String)> = all
        .iter()
        .filter(|e| e["reason"] == reason)
        .map(|e| {
            let name = e["metadata"]["name"].as_str().unwrap();
            let order = name.rsplit('.').next().unwrap().to_owned();
            (order, e["message"].as_str().unwrap().to_owned())
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, m)| m).collect()
}

#[tokio::test(start_paused = true)]
async fn a_deployment_becomes_a_replica_set_and_pods_and_reports_progress() {
    let cluster = start();
    cluster
        .create("deployments.apps", deployment("web", 2, "nginx:1"))
        .unwrap();
    settle().await;
    let sets = cluster.list("replicasets.apps", Some("default"));
    assert_eq!(sets.len(), 1);
    let rs = &sets[0];
    let rs_name = rs["metadata"]["name"].as_str().unwrap();
    let hash = rs["metadata"]["labels"]["pod-template-hash"]
        .as_str()
        .unwrap();
    assert_eq!(rs_name, format!("web-{hash}"));
    let notes = &rs["metadata"]["annotations"];
    assert_eq!(notes["deployment.kubernetes.io/revision"], "1");
    assert_eq!(notes["deployment.kubernetes.io/desired-replicas"], "2");
    assert_eq!(notes["deployment.kubernetes.io/max-replicas"], "3");
    assert_eq!(pods(&cluster).len(), 2);
    assert!(
        names(&pods(&cluster))
            .iter()
            .all(|p| p.starts_with(&format!("{rs_name}-")))
    );
    let d = get(&cluster, "web");
    assert_eq!(
        d["metadata"]["annotations"]["deployment.kubernetes.io/revision"],
        "1"
    );
    assert_eq!(d["metadata"]["generation"], 1);
    assert_eq!(d["status"]["unavailableReplicas"], 2);
    assert_eq!(condition(&d, "Available")["status"], "False");
    assert_eq!(condition(&d, "Progressing")["reason"], "ReplicaSetUpdated");
    assert_eq!(
        events(&cluster, "ScalingReplicaSet"),
        [format!("Scaled up replica set {rs_name} from 0 to 2")]
    );
    assert_eq!(events(&cluster, "SuccessfulCreate").len(), 2);

    play_kubelet(&cluster);
    settle().await;
    let d = get(&cluster, "web");
    assert_eq!(
        (
            &d["status"]["readyReplicas"],
            &d["status"]["availableReplicas"]
        ),
        (&json!(2), &json!(2))
    );
    assert_eq!(
        condition(&d, "Progressing")["message"],
        format!("ReplicaSet \"{rs_name}\" has successfully progressed.")
    );
    assert_eq!(
        condition(&d, "Available")["reason"],
        "MinimumReplicasAvailable"
    );
    assert_eq!(d["status"]["terminatingReplicas"], 0);
}

#[tokio::test(start_paused = true)]
async fn scaling_down_takes_the_pods_that_serve_nobody() {
    let cluster = start();
    cluster
        .create("deployments.apps", deployment("web", 4, "nginx:1"))
        .unwrap();
    settle().await;
    let all = names(&pods(&cluster));
    ready(&cluster, &all[1]);
    ready(&cluster, &all[3]);
    settle().await;
    cluster
        .modify("deployments.apps", "default", "web", |d| {
            d["spec"]["replicas"] = json!(2)
        })
        .unwrap();
    settle().await;
    assert_eq!(names(&pods(&cluster)), [all[1].clone(), all[3].clone()]);
    assert_eq!(events(&cluster, "SuccessfulDelete").len(), 2);
    cluster
        .modify("deployments.apps", "default", "web", |d| {
            d["spec"]["replicas"] = json!(6)
        })
        .unwrap();
    settle().await;
    assert_eq!(pods(&cluster).len(), 6);
    assert_eq!(get(&cluster, "web")["status"]["replicas"], 6);
}

#[tokio::test(start_paused = true)]
async fn a_new_image_rolls_out_without_losing_capacity_and_can_be_undone() {
    let cluster = start();
    cluster
        .create("deployments.apps", deployment("web", 4, "nginx:1"))
        .unwrap();
    settle().await;
    play_kubelet(&cluster);
    settle().await;
    let set_image = |image: &str| {
        let image = json!(image);
        cluster
            .modify("deployments.apps", "default", "web", |d| {
                d["spec"]["template"]["spec"]["containers"][0]["image"] = image;
            })
            .unwrap();
    };
    set_image("nginx:2");
    for _ in 0..20 {
        settle().await;
        let serving = pods(&cluster)
            .iter()
            .filter(|p| p["metadata"].get("deletionTimestamp").is_none())
            .filter(|p| p["status"]["phase"] == "Running")
            .count();
        assert!(serving >= 3, "25 % of 4 may be missing, {serving} serve");
        assert!(pods(&cluster).len() <= 4 + 1 + 4);
        play_kubelet(&cluster);
    }
    settle().await;
    let images: Vec<Value> = pods(&cluster)
        .iter()
        .map(|p| p["spec"]["containers"][0]["image"].clone())
        .collect();
    assert_eq!(images, vec![json!("nginx:2"); 4]);
    let d = get(&cluster, "web");
    assert_eq!(
        d["metadata"]["annotations"]["deployment.kubernetes.io/revision"],
        "2"
    );
    assert_eq!(
        condition(&d, "Progressing")["reason"],
        "NewReplicaSetAvailable"
    );

    set_image("nginx:1");
    for _ in 0..20 {
        settle().await;
        play_kubelet(&cluster);
    }
    let sets = cluster.list("replicasets.apps", Some("default"));
    assert_eq!(sets.len(), 2, "the first replica set is used again");
    let back = sets.iter().find(|rs| rs["spec"]["replicas"] == 4).unwrap();
    let notes = &back["metadata"]["annotations"];
    assert_eq!(notes["deployment.kubernetes.io/revision"], "3");
    assert_eq!(notes["deployment.kubernetes.io/revision-history"], "1");
}

#[tokio::test(start_paused = true)]
async fn a_paused_deployment_waits_and_a_stuck_one_says_so() {
    let cluster = start();
    cluster
        .create("deployments.apps", deployment("web", 1, "nginx:1"))
        .unwrap();
    settle().await;
    let stuck_after = Duration::from_secs(602);
    tokio::time::sleep(stuck_after).await;
    let d = get(&cluster, "web");
    assert_eq!(
        condition(&d, "Progressing")["reason"],
        "ProgressDeadlineExceeded"
    );
    play_kubelet(&cluster);
    settle().await;
    cluster
        .modify("deployments.apps", "default", "web", |d| {
            d["spec"]["paused"] = json!(true);
            d["spec"]["template"]["spec"]["containers"][0]["image"] = json!("nginx:2");
        })
        .unwrap();
    settle().await;
    assert_eq!(cluster.list("replicasets.apps", None).len(), 1);
    assert_eq!(
        condition(&get(&cluster, "web"), "Progressing")["reason"],
        "DeploymentPaused"
    );
    cluster
        .modify("deployments.apps", "default", "web", |d| {
            d["spec"]["paused"] = json!(false)
        })
        .unwrap();
    settle().await;
    assert_eq!(cluster.list("replicasets.apps", None).len(), 2);
}

async fn web_with_pods() -> Cluster {
    let cluster = start();
    cluster
        .create("deployments.apps", deployment("web", 2, "nginx:1"))
        .unwrap();
    settle().await;
    play_kubelet(&cluster);
    settle().await;
    cluster
}

fn delete_web(cluster: &Cluster, propagation: Propagation) {
    let options = DeleteOptions {
        propagation: Some(propagation),
        ..Default::default()
    };
    cluster
        .delete("deployments.apps", "default", "web", options)
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn deleting_in_the_background_takes_everything_along() {
    let cluster = web_with_pods().await;
    delete_web(&cluster, Propagation::Background);
    assert!(cluster.get("deployments.apps", "default", "web").is_err());
    settle().await;
    assert!(cluster.list("replicasets.apps", None).is_empty());
    assert!(
        pods(&cluster)
            .iter()
            .all(|p| p["metadata"].get("deletionTimestamp").is_some())
    );
    play_kubelet(&cluster);
    settle().await;
    assert!(pods(&cluster).is_empty());
}

#[tokio::test(start_paused = true)]
async fn deleting_in_the_foreground_keeps_the_owner_until_the_pods_are_gone() {
    let cluster = web_with_pods().await;
    delete_web(&cluster, Propagation::Foreground);
    settle().await;
    assert!(
        get(&cluster, "web")["metadata"]
            .get("deletionTimestamp")
            .is_some()
    );
    assert_eq!(cluster.list("replicasets.apps", None).len(), 1);
    play_kubelet(&cluster);
    settle().await;
    assert!(pods(&cluster).is_empty());
    assert!(cluster.list("replicasets.apps", None).is_empty());
    assert!(cluster.get("deployments.apps", "default", "web").is_err());
}

#[tokio::test(start_paused = true)]
async fn orphaned_replica_sets_stay_and_a_new_deployment_adopts_them() {
    let cluster = web_with_pods().await;
    let before = names(&pods(&cluster));
    delete_web(&cluster, Propagation::Orphan);
    settle().await;
    assert!(cluster.get("deployments.apps", "default", "web").is_err());
    let sets = cluster.list("replicasets.apps", None);
    assert!(sets[0]["metadata"].get("ownerReferences").is_none());
    assert_eq!(names(&pods(&cluster)), before);
    cluster
        .create("deployments.apps", deployment("web", 2, "nginx:1"))
        .unwrap();
    settle().await;
    let sets = cluster.list("replicasets.apps", None);
    assert_eq!(sets.len(), 1);
    assert_eq!(
        sets[0]["metadata"]["ownerReferences"][0]["kind"],
        "Deployment"
    );
    assert_eq!(names(&pods(&cluster)), before);
}

#[tokio::test(start_paused = true)]
async fn a_relabelled_pod_is_released_and_replaced() {
    let cluster = web_with_pods().await;
    let pod = names(&pods(&cluster))[0].clone();
    cluster
        .modify("pods", "default", &pod, |p| {
            p["metadata"]["labels"]["app"] = json!("debug")
        })
        .unwrap();
    settle().await;
    assert_eq!(pods(&cluster).len(), 3);
    let released = cluster.get("pods", "default", &pod).unwrap();
    assert!(released["metadata"].get("ownerReferences").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_namespace_is_furnished_and_empties_itself() {
    let cluster = start();
    let ns = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}});
    cluster.create("namespaces", ns).unwrap();
    settle().await;
    assert!(cluster.get("serviceaccounts", "team", "default").is_ok());
    assert!(
        cluster
            .get("configmaps", "team", "kube-root-ca.crt")
            .is_ok()
    );
    let mut web = deployment("web", 3, "nginx:1");
    web["metadata"]["namespace"] = json!("team");
    cluster.create("deployments.apps", web).unwrap();
    settle().await;
    let pod = names(&cluster.list("pods", Some("team")))[0].clone();
    cluster.bind("team", &pod, "node-1").unwrap();
    cluster
        .delete("namespaces", "", "team", DeleteOptions::default())
        .unwrap();
    settle().await;
    let ns = cluster.get("namespaces", "", "team").unwrap();
    assert_eq!(ns["status"]["phase"], "Terminating");
    assert_eq!(
        condition(&ns, "NamespaceContentRemaining")["message"],
        "Some resources are remaining: pods has 1 resource instances"
    );
    let now = DeleteOptions {
        grace_period_seconds: Some(0),
        ..Default::default()
    };
    cluster.delete("pods", "team", &pod, now).unwrap();
    settle().await;
    assert!(cluster.get("namespaces", "", "team").is_err());
    assert!(cluster.list("serviceaccounts", Some("team")).is_empty());
    assert!(cluster.list("events", Some("team")).is_empty());
}

#[tokio::test(start_paused = true)]
async fn events_go_after_an_hour() {
    let cluster = web_with_pods().await;
    assert!(!cluster.list("events", None).is_empty());
    tokio::time::sleep(Duration::from_secs(3700)).await;
    assert!(cluster.list("events", None).is_empty());
}

#[tokio::test(start_paused = true)]
async fn three_thousand_pods_come_and_serve_at_linear_cost() {
    let cluster = start();
    cluster
        .create("deployments.apps", deployment("big", 3000, "nginx:1"))
        .unwrap();
    settle().await;
    assert_eq!(pods(&cluster).len(), 3000);
    for pod in names(&pods(&cluster)) {
        ready(&cluster, &pod);
        // Each pod becomes ready on its own: the controllers see 3,000 separate changes.
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
    }
    settle().await;
    assert_eq!(get(&cluster, "big")["status"]["availableReplicas"], 3000);
}

/// An external metrics API whose one metric has this value.
fn serve_metric(cluster: &Cluster, value: Arc<std::sync::Mutex<Result<i64, String>>>) {
    let handler = move |request: http::Request<bytes::Bytes>| {
        let path = request.uri().path().to_owned();
        let (code, body) = match &*value.lock().unwrap() {
            Ok(n) => (
                200,
                json!({"kind": "ExternalMetricValueList",
                       "apiVersion": "external.metrics.k8s.io/v1beta1", "metadata": {},
                       "items": [{"metricName": "s0-prometheus", "metricLabels": null,
                                  "timestamp": START, "value": n.to_string()}]}),
            ),
            Err(message) => (
                500,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 500,
                       "message": message}),
            ),
        };
        assert_eq!(
            path,
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/s0-prometheus"
        );
        assert_eq!(
            request.uri().query(),
            Some("labelSelector=scaledobject.keda.sh%2Fname%3Dmy-gpu-workload")
        );
        let answer = http::Response::builder()
            .status(code)
            .header("content-type", "application/json")
            .body(bytes::Bytes::from(body.to_string()))
            .unwrap();
        Box::pin(std::future::ready(answer)) as futures::future::BoxFuture<'static, _>
    };
    cluster.mount("external.metrics.k8s.io", "v1beta1", Arc::new(handler));
}

fn hpa() -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "keda-hpa-my-gpu-workload", "namespace": "default"},
        "spec": {
            "minReplicas": 1, "maxReplicas": 20,
            "scaleTargetRef":
                {"apiVersion": "apps/v1", "kind": "Deployment", "name": "my-gpu-workload"},
            "metrics": [{"type": "External", "external": {
                "metric": {"name": "s0-prometheus", "selector": {
                    "matchLabels": {"scaledobject.keda.sh/name": "my-gpu-workload"}}},
                "target": {"type": "AverageValue", "averageValue": "5"}}}],
        },
    })
}

const HPA: &str = "horizontalpodautoscalers.autoscaling";
const NAME: &str = "keda-hpa-my-gpu-workload";

#[tokio::test(start_paused = true)]
async fn the_recorded_step_of_load_takes_the_recorded_way() {
    let cluster = start();
    let metric = Arc::new(std::sync::Mutex::new(Ok(0)));
    serve_metric(&cluster, metric.clone());
    cluster
        .create(
            "deployments.apps",
            deployment("my-gpu-workload", 1, "tf:gpu"),
        )
        .unwrap();
    settle().await;
    cluster.create(HPA, hpa()).unwrap();
    settle().await;
    let status = || cluster.get(HPA, "default", NAME).unwrap()["status"].clone();
    let replicas = || {
        get(&cluster, "my-gpu-workload")["spec"]["replicas"]
            .as_i64()
            .unwrap()
    };
    // A new HPA is evaluated at once.
    assert_eq!(
        (&status()["currentReplicas"], &status()["desiredReplicas"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(status()["observedGeneration"], 1);
    assert_eq!(
        status()["currentMetrics"][0]["external"]["current"]["averageValue"],
        "0"
    );
    tokio::time::sleep(Duration::from_secs(3)).await;
    *metric.lock().unwrap() = Ok(50);
    let mut way = vec![(0, replicas())];
    for second in 1..=60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if way.last().unwrap().1 != replicas() {
            way.push((second, replicas()));
        }
    }
    // Steps of 15 s counted from the HPA's creation.
    assert_eq!(way, [(0, 1), (12, 4), (27, 8), (42, 10)]);
    let hpa = cluster.get(HPA, "default", NAME).unwrap();
    let all = hpa["status"]["conditions"].as_array().unwrap();
    let kinds: Vec<&str> = all.iter().map(|c| c["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "AbleToScale",
            "ScalingActive",
            "ScalingLimited",
            "ScaledToZero"
        ]
    );
    let metric_text = "external metric s0-prometheus(&LabelSelector{MatchLabels:map[string]string\
        {scaledobject.keda.sh/name: my-gpu-workload,},MatchExpressions:[]LabelSelectorRequirement\
        {},})";
    assert_eq!(
        condition(&hpa, "ScalingActive")["message"],
        format!("the HPA was able to successfully calculate a replica count from {metric_text}")
    );
    let rescales: Vec<String> = [4, 8, 10]
        .iter()
        .map(|n| format!("New size: {n}; reason: {metric_text} above target"))
        .collect();
    assert_eq!(events(&cluster, "SuccessfulRescale"), rescales);
    assert_eq!(pods(&cluster).len(), 10);

    // The load goes: down to one once the last high recommendation is five minutes old.
    *metric.lock().unwrap() = Ok(0);
    let mut seconds = 0;
    while replicas() == 10 && seconds < 400 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        seconds += 1;
    }
    assert_eq!(replicas(), 1);
    assert!((295..=315).contains(&seconds), "took {seconds} s");
    settle().await;
    assert_eq!(pods(&cluster).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_told_in_conditions_and_events() {
    let cluster = start();
    let trouble = "rpc error: code = Unknown desc = error when getting metric values \
                   metric:s0-prometheus encountered error";
    let metric = Arc::new(std::sync::Mutex::new(Err(trouble.to_owned())));
    serve_metric(&cluster, metric.clone());
    cluster
        .create(
            "deployments.apps",
            deployment("my-gpu-workload", 1, "tf:gpu"),
        )
        .unwrap();
    cluster.create(HPA, hpa()).unwrap();
    settle().await;
    let hpa = cluster.get(HPA, "default", NAME).unwrap();
    let active = condition(&hpa, "ScalingActive");
    assert_eq!(active["reason"], "FailedGetExternalMetric");
    assert_eq!(
        active["message"],
        format!(
            "the HPA was unable to compute the replica count: unable to get external metric \
             default/s0-prometheus/&LabelSelector{{MatchLabels:map[string]string\
             {{scaledobject.keda.sh/name: my-gpu-workload,}},MatchExpressions:\
             []LabelSelectorRequirement{{}},}}: unable to fetch metrics from external metrics API: \
             {trouble}"
        )
    );
    let gone = DeleteOptions::default();
    cluster
        .delete("deployments.apps", "default", "my-gpu-workload", gone)
        .unwrap();
    tokio::time::sleep(Duration::from_secs(31)).await;
    let hpa = cluster.get(HPA, "default", NAME).unwrap();
    assert_eq!(
        condition(&hpa, "AbleToScale")["message"],
        "the HPA controller was unable to get the target's current scale: \
         deployments.apps \"my-gpu-workload\" not found"
    );
    let told: Vec<Arc<Value>> = cluster.list("events", Some("default"));
    let told = told
        .iter()
        .find(|e| e["reason"] == "FailedGetScale")
        .unwrap();
    assert_eq!(told["count"], 2);
    assert_eq!(told["source"]["component"], "horizontal-pod-autoscaler");
}

#[tokio::test(start_paused = true)]
async fn a_changed_spec_acts_at_once() {
    let cluster = start();
    serve_metric(&cluster, Arc::new(std::sync::Mutex::new(Ok(0))));
    cluster
        .create(
            "deployments.apps",
            deployment("my-gpu-workload", 1, "tf:gpu"),
        )
        .unwrap();
    cluster.create(HPA, hpa()).unwrap();
    settle().await;
    cluster
        .modify(HPA, "default", NAME, |h| {
            h["spec"]["minReplicas"] = json!(3)
        })
        .unwrap();
    settle().await;
    assert_eq!(get(&cluster, "my-gpu-workload")["spec"]["replicas"], 3);
    let reason = "Current number of replicas below Spec.MinReplicas";
    assert_eq!(
        events(&cluster, "SuccessfulRescale"),
        [format!("New size: 3; reason: {reason}")]
    );
}
