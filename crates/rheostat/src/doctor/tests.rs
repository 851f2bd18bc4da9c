//! Each link of the lab's chain broken in turn: the first broken link that is
//! told is that one, with a cure that names what to change.

use std::sync::Arc;
use std::time::Duration;

use ::doctor::{Link, Report, State};
use api::pool::Pool;
use decide::explain::Kind;
use http::Response;
use http_body_util::BodyExt as _;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::client::Body;
use kube::core::GroupVersionKind;
use lab::cloud::Fault;
use lab::story::Applier;
use lab::{Lab, LabOptions};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::look::Looker;
use super::{one, status, whole};

const NAME: &str = "my-gpu-workload";
const SCALED: &str = "scaledobjects.keda.sh";

fn simulate<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(future)
}

/// The article's cluster and workload, one replica that is lightly used.
async fn calm(options: LabOptions) -> Lab {
    let lab = Lab::start(options).await.unwrap();
    let manifests = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples/aks-article/manifests");
    Applier::new(lab.client.clone())
        .apply(&manifests)
        .await
        .unwrap();
    load(&lab, "util:3").await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    lab
}

async fn load(lab: &Lab, load: &str) {
    let annotations = json!({"lab.rheostat.dev/load": load});
    let patch = json!({"metadata": {"annotations": annotations}});
    change(lab, ("apps", "v1", "Deployment"), patch).await;
}

async fn change(lab: &Lab, (group, version, kind): (&str, &str, &str), patch: Value) {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let api: Api<DynamicObject> = Api::namespaced_with(lab.client.clone(), "default", &resource);
    api.patch(NAME, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
}

/// Changes the ScaledObject's spec and lets a minute pass.
async fn respec(lab: &Lab, spec: Value) {
    let gvk = ("keda.sh", "v1alpha1", "ScaledObject");
    change(lab, gvk, json!({"spec": spec})).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
}

/// The article's trigger with other metadata.
fn trigger(changed: Value) -> Value {
    let mut trigger = json!({
        "type": "prometheus",
        "metadata": {
            "serverAddress": "https://example.prometheus.monitor.azure.com",
            "query": "avg(DCGM_FI_DEV_GPU_UTIL{deployment=\"my-gpu-workload\"})",
            "threshold": "5", "activationThreshold": "2",
        },
        "authenticationRef": {"name": "azure-managed-prometheus-trigger-auth"},
    });
    for (key, value) in changed.as_object().unwrap() {
        trigger["metadata"][key] = value.clone();
    }
    json!({"triggers": [trigger]})
}

async fn examined(lab: &Lab) -> Report {
    let looker = Looker::new(lab.client.clone(), "the lab".to_owned());
    one(&looker, Kind::ScaledObject, "default", NAME, false).await
}

/// Asserts the first broken link, and parts of its finding and cure.
fn breaks(report: &Report, name: &str, finding: &str, cure: &str) {
    let text = report.text();
    let Some((_, link)) = report.broken() else {
        panic!("nothing is broken:\n{text}");
    };
    assert_eq!(link.name, name, "{text}");
    assert!(link.finding.contains(finding), "{finding:?} in:\n{text}");
    let said = link.cure.as_deref().unwrap_or_default();
    assert!(said.contains(cure), "{cure:?} in:\n{text}");
    assert_eq!(status(report), 1, "{text}");
    assert!(text.contains("✗"), "{text}");
}

fn links(report: &Report) -> Vec<&Link> {
    report.chains.iter().flat_map(|c| &c.links).collect()
}

#[test]
fn a_chain_that_works_is_told_link_by_link() {
    simulate(async {
        let lab = calm(LabOptions::default()).await;
        let report = examined(&lab).await;
        let text = report.text();
        assert_eq!(status(&report), 0, "{text}");
        for line in [
            "✓ API server",
            "✓ device plugin         1 GPUs can be had on 1 node",
            "✓ authentication        the operator is let in by https://example.prometheus",
            "✓ labels                DCGM_FI_DEV_GPU_UTIL{deployment=\"my-gpu-workload\"} selects 1",
            "✓ trigger's answer      s0-prometheus is 3",
            "✓ the HPA's question    s0-prometheus is 3",
            "✓ pool room             No pod waits for a node",
        ] {
            assert!(text.contains(line), "{line:?} in:\n{text}");
        }
        assert!(!text.contains('?'), "{text}");
        // Every way to name it leads to the same chain.
        let looker = Looker::new(lab.client.clone(), "the lab".to_owned());
        for (kind, name) in [
            (Kind::Deployment, NAME),
            (Kind::Hpa, "keda-hpa-my-gpu-workload"),
        ] {
            let other = one(&looker, kind, "default", name, false).await;
            assert_eq!(
                links(&other).len(),
                links(&report).len(),
                "{}",
                other.text()
            );
        }
        let all = whole(&looker, None, false).await;
        assert_eq!(status(&all), 0, "{}", all.text());
        let secret = lab.authority.assertion();
        assert!(!text.contains(&secret));
    });
}

/// Which part of the ScaledObject is changed, and what must be told of it.
#[test]
fn each_mistake_in_a_scaled_object_breaks_its_own_link() {
    let query = |query: &str| trigger(json!({"query": query}));
    let mut nobody = trigger(json!({}));
    nobody["triggers"][0]["authenticationRef"]["name"] = json!("azure-managed");
    let cases: Vec<(Value, &str, &str, &str)> = vec![
        (
            query("avg(DCGM_FI_DEV_GPU_UTIL{exported_deployment=\"my-gpu-workload\"})"),
            "labels",
            "has a label exported_deployment",
            "Select by deployment=\"my-gpu-workload\" instead",
        ),
        (
            query(
                "avg(DCGM_FI_DEV_GPU_UTIL{namespace=\"default\",deployment=\"my-gpu-wrokload\"})",
            ),
            "labels",
            "with the value \"my-gpu-workload\"",
            "Select by deployment=\"my-gpu-workload\" instead",
        ),
        (
            query("avg(DCGM_FI_DEV_GPU_UTILL{deployment=\"my-gpu-workload\"})"),
            "scrape",
            "nearest is DCGM_FI_DEV_GPU_UTIL",
            "Query DCGM_FI_DEV_GPU_UTIL if that was meant",
        ),
        (
            query("avg(DCGM_FI_DEV_GPU_UTIL_RATIO{deployment=\"my-gpu-workload\"})"),
            "scrape",
            "this exporter calls it DCGM_FI_DEV_GPU_UTIL",
            "mind its unit",
        ),
        (
            query("avg(DCGM_FI_DEV_GPU_UTIL{deployment=\"my-gpu-workload\"}) > 99"),
            "trigger's answer",
            "gives nothing, which KEDA reads as 0",
            "ignoreNullValues",
        ),
        (
            query("{__name__=~\"DCGM_FI_DEV_GPU_UTIL|DCGM_FI_DEV_FB_USED\"}"),
            "trigger's answer",
            "multiple elements",
            "sum(…)",
        ),
        (
            trigger(json!({"serverAddress": "http://prometheus.nowhere.example.com:9090"})),
            "metric store",
            "no such host",
            "query endpoint",
        ),
        (
            nobody,
            "authentication",
            "azure-managed does not exist",
            "authenticationRef",
        ),
        (
            json!({"scaleTargetRef": {"name": "my-gpu-workloads"}}),
            "scale target",
            "Deployment my-gpu-workloads does not exist",
            "Did you mean my-gpu-workload?",
        ),
    ];
    simulate(async {
        let lab = calm(LabOptions::default()).await;
        let right = lab.cluster.get(SCALED, "default", NAME).unwrap()["spec"].clone();
        for (spec, name, finding, cure) in cases {
            respec(&lab, spec).await;
            breaks(&examined(&lab).await, name, finding, cure);
            respec(&lab, right.clone()).await;
        }
        let paused = json!({"autoscaling.keda.sh/paused": "true"});
        let patch = json!({"metadata": {"annotations": paused}});
        change(&lab, ("keda.sh", "v1alpha1", "ScaledObject"), patch).await;
        breaks(
            &examined(&lab).await,
            "scale target",
            "scaling is paused",
            "autoscaling.keda.sh/paused-",
        );
        let looker = Looker::new(lab.client.clone(), "the lab".to_owned());
        let near = one(
            &looker,
            Kind::ScaledObject,
            "default",
            "my-gpu-workloda",
            false,
        )
        .await;
        breaks(
            &near,
            "ScaledObject",
            "does not exist",
            "Did you mean my-gpu-workload?",
        );
    });
}

#[test]
fn an_operator_without_identity_breaks_the_authentication() {
    simulate(async {
        let lab = calm(LabOptions {
            identity: false,
            ..LabOptions::default()
        })
        .await;
        let report = examined(&lab).await;
        breaks(
            &report,
            "authentication",
            "is not set",
            "azure.workload.identity/use=true",
        );
    });
}

#[test]
fn a_trigger_without_credentials_is_refused() {
    simulate(async {
        let lab = calm(LabOptions::default()).await;
        let mut open = trigger(json!({}));
        open["triggers"][0]
            .as_object_mut()
            .unwrap()
            .remove("authenticationRef");
        respec(&lab, open).await;
        let report = examined(&lab).await;
        breaks(
            &report,
            "authentication",
            "status: 401",
            "Monitoring Data Reader",
        );
    });
}

#[test]
fn the_external_metrics_api_and_the_hpa_have_links() {
    simulate(async {
        let lab = calm(LabOptions::default()).await;
        let services = "apiservices.apiregistration.k8s.io";
        let service = "v1beta1.external.metrics.k8s.io";
        let condition = |status: &str| {
            json!([{"type": "Available", "status": status, "reason": "MissingEndpoints",
                "message": "endpoints for service are missing"}])
        };
        for (now, broken) in [("False", true), ("True", false)] {
            let set = |object: &mut Value| object["status"]["conditions"] = condition(now);
            lab.cluster
                .modify_status(services, "", service, set)
                .unwrap();
            let report = examined(&lab).await;
            match broken {
                true => breaks(
                    &report,
                    "external metrics API",
                    "MissingEndpoints",
                    "ready pod",
                ),
                false => assert_eq!(status(&report), 0, "{}", report.text()),
            }
        }
        let second = json!({
            "metadata": {"name": "second", "namespace": "default"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME},
                "minReplicas": 1, "maxReplicas": 2,
            },
        });
        let hpas = "horizontalpodautoscalers.autoscaling";
        lab.cluster.create(hpas, second).unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        breaks(
            &examined(&lab).await,
            "HPA",
            "AmbiguousSelector",
            "delete one",
        );
    });
}

#[test]
fn a_full_pool_and_a_quota_are_told_apart() {
    simulate(async {
        let lab = calm(LabOptions::default()).await;
        load(&lab, "busy").await;
        tokio::time::sleep(Duration::from_secs(900)).await;
        breaks(
            &examined(&lab).await,
            "pool room",
            "max node group size reached",
            "lower maxReplicaCount",
        );
    });
    simulate(async {
        let pools = [
            "name=nodepool1,sku=Standard_D4s_v5,count=2",
            "name=gpunp,sku=Standard_NC40ads_H100_v5,min=0,max=9,count=0,taint=sku=gpu:NoSchedule",
        ];
        let pools = pools.map(str::to_owned);
        let lab = calm(LabOptions {
            pools: Pool::parse_all(&pools).unwrap(),
            ..LabOptions::default()
        })
        .await;
        let refused = Some("Operation could not be completed: quota for NCads_H100_v5".to_owned());
        assert!(lab.cloud.inject(
            "gpunp",
            Fault {
                refused,
                ..Fault::default()
            }
        ));
        load(&lab, "busy").await;
        tokio::time::sleep(Duration::from_secs(180)).await;
        breaks(
            &examined(&lab).await,
            "pool room",
            "quota for NCads",
            "more quota",
        );
    });
}

#[test]
fn a_gpu_node_without_device_plugin_is_named() {
    simulate(async {
        let lab = calm(LabOptions::default()).await;
        let node = json!({
            "metadata": {"name": "lonely", "labels": {"kubernetes.azure.com/accelerator": "nvidia"}},
            "spec": {"taints": [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}]},
        });
        lab.cluster.create("nodes", node).unwrap();
        let ready = |node: &mut Value| {
            node["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
        };
        lab.cluster
            .modify_status("nodes", "", "lonely", ready)
            .unwrap();
        breaks(
            &examined(&lab).await,
            "device plugin",
            "lonely ready and shows no nvidia.com/gpu",
            "must tolerate the node's taint sku=gpu:NoSchedule",
        );
    });
}

#[test]
fn a_cluster_without_kedas_resources_is_told_so() {
    simulate(async {
        let lab = Lab::start(LabOptions::default()).await.unwrap();
        let crds = ApiResource::from_gvk(&GroupVersionKind::gvk(
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
        ));
        let api: Api<DynamicObject> = Api::all_with(lab.client.clone(), &crds);
        api.delete(SCALED, &Default::default()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let looker = Looker::new(lab.client.clone(), "the lab".to_owned());
        let report = whole(&looker, None, false).await;
        breaks(
            &report,
            "KEDA resources",
            "knows no scaledobjects",
            "rheostat crds",
        );
    });
}

/// A client of the lab for which some paths are answered otherwise.
fn behind(
    lab: &Lab,
    instead: impl Fn(&str) -> Option<(u16, Value)> + Send + Sync + 'static,
) -> kube::Client {
    let (inner, instead) = (lab.cluster.client_service(), Arc::new(instead));
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (inner, instead) = (inner.clone(), Arc::clone(&instead));
        async move {
            if let Some((code, body)) = instead(request.uri().path()) {
                let mut response = Response::new(Body::from(body.to_string().into_bytes()));
                *response.status_mut() = http::StatusCode::from_u16(code)?;
                return Ok::<_, tower::BoxError>(response);
            }
            let response = inner.oneshot(request).await?;
            let (head, body) = response.into_parts();
            let bytes = body.collect().await?.to_bytes();
            Ok(Response::from_parts(head, Body::from(bytes.to_vec())))
        }
    });
    kube::Client::new(service, "default")
}

fn refusal(code: u16, message: &str) -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": "Forbidden", "code": code});
    (code, status)
}

#[test]
fn what_may_not_be_read_is_unknown_and_names_the_rule() {
    simulate(async {
        let lab = calm(LabOptions::default()).await;
        let client = behind(&lab, |path| {
            let message = "nodes is forbidden: User \"ann\" cannot list resource \"nodes\" in API \
                           group \"\" at the cluster scope";
            (path == "/api/v1/nodes").then(|| refusal(403, message))
        });
        let looker = Looker::new(client, "the lab".to_owned());
        let report = one(&looker, Kind::ScaledObject, "default", NAME, false).await;
        let text = report.text();
        assert_eq!(status(&report), 0, "{text}");
        let nodes = links(&report).into_iter().find(|l| l.name == "GPU nodes");
        let nodes = nodes.unwrap();
        assert_eq!(nodes.state, State::Unknown);
        let rule = "ClusterRole {apiGroups: [\"\"], resources: [nodes], verbs: [list]}";
        assert!(nodes.cure.as_ref().unwrap().contains(rule), "{text}");
    });
}

#[test]
fn a_cluster_of_kedas_is_looked_at_without_our_operator() {
    simulate(async {
        let lab = calm(LabOptions::default()).await;
        let client = behind(&lab, |path| {
            path.contains("explain.rheostat.dev")
                .then(|| refusal(404, "the server could not find the requested resource"))
        });
        let looker = Looker::new(client, "the lab".to_owned());
        let report = one(&looker, Kind::ScaledObject, "default", NAME, false).await;
        let text = report.text();
        assert_eq!(status(&report), 0, "{text}");
        let credentials = "wants the operator's credentials";
        assert!(text.contains(credentials), "{text}");
        assert!(
            text.contains("✓ the HPA's question    s0-prometheus is 3"),
            "{text}"
        );
    });
}

#[test]
fn a_server_that_hangs_is_told_within_ten_seconds() {
    simulate(async {
        let nobody = tower::service_fn(|_: http::Request<Body>| async {
            std::future::pending::<()>().await;
            Ok::<_, tower::BoxError>(Response::new(Body::empty()))
        });
        let client = kube::Client::new(nobody, "default");
        let looker = Looker::new(client, "https://10.0.0.1:6443".to_owned());
        let before = tokio::time::Instant::now();
        let report = whole(&looker, None, false).await;
        assert!(before.elapsed() <= Duration::from_secs(11));
        assert_eq!(status(&report), 2);
        assert!(
            report.text().contains("no answer within 10 s"),
            "{}",
            report.text()
        );
    });
}
