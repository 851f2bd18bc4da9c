//! The article's pool from zero to three and back, with the embedded control
//! plane, the scheduler, the planner and this cloud, on a paused clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::pool::Pool;
use clock::Clock;
use cluster::{Cluster, DeleteOptions};
use nodepools::externalgrpc::{CloudConfig, ExternalGrpc};
use serde_json::{Value, json};

use super::{Cloud, Fault, Options};

struct Lab {
    cluster: Cluster,
    cloud: Cloud,
    /// The cloud's server takes no connection.
    away: Arc<AtomicBool>,
}

/// How the planner speaks to the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Directly,
    /// Through the cluster autoscaler's protocol.
    Grpc,
}

async fn start(pools: Vec<Pool>) -> Lab {
    start_with(Way::Directly, pools).await
}

async fn start_with(way: Way, pools: Vec<Pool>) -> Lab {
    start_where(way, pools, false, |_| ()).await
}

/// One whose cloud is prepared, or away, before anybody speaks to it.
async fn start_where(way: Way, pools: Vec<Pool>, away: bool, prepare: impl FnOnce(&Cloud)) -> Lab {
    let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().unwrap());
    let cluster = Cluster::new(cluster::Options { seed: 1, clock });
    let client = kube::Client::new(cluster.client_service(), "default");
    tokio::spawn(cluster::scheduler::run(
        cluster.clone(),
        cluster::Without::new(),
    ));
    let cloud = Cloud::new(client.clone(), clock, Options::new(pools, 1));
    cloud.start().await.unwrap();
    prepare(&cloud);
    let away = Arc::new(AtomicBool::new(away));
    let options = nodepools::Options::default();
    let provider = match way {
        Way::Directly => cloud.provider(),
        Way::Grpc => {
            let config = CloudConfig::parse("address: cloud:1").unwrap();
            let channel = channel(cloud.clone(), Arc::clone(&away));
            Arc::new(ExternalGrpc::new(channel, config, client.clone(), clock))
        }
    };
    tokio::spawn(nodepools::run(client, clock, provider, options));
    let lab = Lab {
        cluster,
        cloud,
        away,
    };
    lab.wait(0).await;
    lab
}

/// A connection to the cloud without a network.
fn channel(cloud: Cloud, away: Arc<AtomicBool>) -> tonic::transport::Channel {
    let dial = tower::service_fn(move |_: http::Uri| {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let refused = away.load(Ordering::Relaxed);
        if !refused {
            tokio::spawn(super::grpc::talk(cloud.clone(), theirs));
        }
        async move {
            match refused {
                true => Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)),
                false => Ok(hyper_util::rt::TokioIo::new(ours)),
            }
        }
    });
    tonic::transport::Endpoint::from_static("http://cloud").connect_with_connector_lazy(dial)
}

impl Lab {
    /// Time passes, and half a second more for those who react to its end.
    async fn wait(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds) + Duration::from_millis(500)).await;
    }

    fn run(&self, name: &str) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "containers": [{
                    "name": "c", "image": "x", "resources": {"limits": {"nvidia.com/gpu": "1"}},
                }],
                "tolerations": [{
                    "key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule",
                }],
            },
        });
        self.cluster.create("pods", pod).unwrap();
    }

    fn stop(&self, name: &str) {
        let now = DeleteOptions {
            grace_period_seconds: Some(0),
            ..Default::default()
        };
        self.cluster.delete("pods", "default", name, now).unwrap();
    }

    fn nodes(&self) -> Vec<Arc<Value>> {
        let all = self.cluster.list("nodes", None);
        all.into_iter()
            .filter(|n| n["metadata"]["labels"]["agentpool"] == "gpunp")
            .collect()
    }

    fn placed(&self) -> usize {
        let pods = self.cluster.list("pods", None);
        pods.iter()
            .filter(|p| p["spec"]["nodeName"].is_string())
            .count()
    }

    fn events(&self, name: &str) -> Vec<String> {
        let all = self.cluster.list("events", None);
        let about = |e: &&Arc<Value>| e["involvedObject"]["name"] == name;
        let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
        all.iter()
            .filter(about)
            .map(|e| format!("{} {}", text(&e["reason"]), text(&e["message"])))
            .collect()
    }

    fn told(&self, about: &str, line: &str) {
        let events = self.events(about);
        assert!(
            events.iter().any(|e| e == line),
            "{line:?} is not in {events:#?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_articles_pool_grows_from_zero_to_three_and_shrinks_to_zero() {
    for way in [Way::Directly, Way::Grpc] {
        the_articles_pool(way).await;
    }
}

async fn the_articles_pool(way: Way) {
    let lab = start_with(way, Pool::defaults()).await;
    assert_eq!(lab.cluster.list("nodes", None).len(), 2);
    lab.run("a");
    lab.wait(1).await;
    let group = super::group_name("gpunp", 1);
    let sentence = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu. preemption: 0/2 nodes \
                    are available: 2 Preemption is not helpful for scheduling.";
    lab.told("a", &format!("FailedScheduling {sentence}"));
    lab.told(
        "a",
        &format!("TriggeredScaleUp pod triggered scale-up: [{{{group} 0->1 (max: 3)}}]"),
    );
    lab.wait(170).await;
    assert!(lab.nodes().is_empty(), "the node takes its time");

    lab.wait(8).await;
    let node = lab.nodes()[0].clone();
    assert_eq!(node["metadata"]["name"], format!("{group}000000"));
    assert!(
        node["status"]["allocatable"]
            .get("nvidia.com/gpu")
            .is_none()
    );
    assert_eq!(lab.placed(), 0, "Ready is not enough: the GPUs are missing");
    lab.wait(21).await;
    assert_eq!(lab.placed(), 1);
    assert!(lab.events("a").iter().all(|e| !e.starts_with("NotTrigger")));

    for name in ["b", "c", "d"] {
        lab.run(name);
    }
    lab.wait(1).await;
    lab.told(
        "b",
        &format!("TriggeredScaleUp pod triggered scale-up: [{{{group} 1->3 (max: 3)}}]"),
    );
    let refused = "pod didn't trigger scale-up: 1 max node group size reached";
    lab.told("d", &format!("NotTriggerScaleUp {refused}"));
    lab.wait(202).await;
    assert_eq!((lab.nodes().len(), lab.placed()), (3, 3));

    for name in ["b", "c", "d"] {
        lab.stop(name);
    }
    lab.wait(599).await;
    assert_eq!(lab.nodes().len(), 3);
    lab.wait(20).await;
    assert_eq!(lab.nodes().len(), 1);
    let last = format!("{group}000002");
    lab.told(
        &last,
        "ScaleDown marked the node as toBeDeleted/unschedulable",
    );
    let status = "cluster-autoscaler-status";
    lab.told(
        status,
        &format!("ScaleDownEmpty Scale-down: empty node {last} removed"),
    );
    let map = lab
        .cluster
        .get("configmaps", "kube-system", status)
        .unwrap();
    assert!(
        map["data"]["status"]
            .as_str()
            .unwrap()
            .contains("cloudProviderTarget: 1")
    );

    lab.stop("a");
    lab.wait(620).await;
    assert!(lab.nodes().is_empty());
    assert_eq!(lab.cloud.summaries()[1].target, 0);
    assert_eq!(
        lab.cluster.list("nodes", None).len(),
        2,
        "the fixed pool stays"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stock_out_is_told_and_overcome() {
    for way in [Way::Directly, Way::Grpc] {
        a_stock_out(way).await;
    }
}

async fn a_stock_out(way: Way) {
    let lab = start_with(way, Pool::defaults()).await;
    let words = (
        "ZonalAllocationFailed".to_owned(),
        "no H100 capacity in zone".to_owned(),
    );
    assert!(lab.cloud.inject(
        "gpunp",
        Fault {
            stock_out: Some(words),
            ..Fault::default()
        }
    ));
    lab.run("a");
    // The protocol has no news: such a machine is seen at the next look.
    lab.wait(if way == Way::Grpc { 17 } else { 7 }).await;
    let group = super::group_name("gpunp", 1);
    lab.told(
        "cluster-autoscaler-status",
        &format!(
            "ScaleUpFailed Failed adding 1 nodes to group {group} due to \
             OutOfResource.ZonalAllocationFailed; source errors: no H100 capacity in zone"
        ),
    );
    lab.told(
        "a",
        "NotTriggerScaleUp pod didn't trigger scale-up: 1 in backoff after failed scale-up",
    );
    lab.cloud.inject("gpunp", Fault::default());
    lab.wait(300 + 202).await;
    assert_eq!(lab.placed(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_order_is_told_in_the_clouds_words() {
    for way in [Way::Directly, Way::Grpc] {
        a_refused_order(way).await;
    }
}

async fn a_refused_order(way: Way) {
    let lab = start_with(way, Pool::defaults()).await;
    let refused = Some("quota for NCads_H100_v5 used up".to_owned());
    lab.cloud.inject(
        "gpunp",
        Fault {
            refused,
            ..Fault::default()
        },
    );
    lab.run("a");
    lab.wait(1).await;
    let group = super::group_name("gpunp", 1);
    lab.told(
        "cluster-autoscaler-status",
        &format!(
            "FailedToScaleUpGroup Scale-up failed for group {group}: quota for \
                  NCads_H100_v5 used up"
        ),
    );
    assert_eq!(lab.cloud.summaries()[1].target, 0);
}

#[tokio::test(start_paused = true)]
async fn a_pool_without_a_template_is_learnt_from_its_node() {
    let untold = |cloud: &Cloud| {
        let no_template = true;
        let fault = Fault {
            no_template,
            ..Fault::default()
        };
        assert!(cloud.inject("gpunp", fault));
    };
    let text =
        "name=gpunp,sku=Standard_NC40ads_H100_v5,min=0,max=3,count=1,taint=sku=gpu:NoSchedule";
    let pools = vec![Pool::parse(text, 0).unwrap()];
    let lab = start_where(Way::Grpc, pools, false, untold).await;
    // One that has only just become Ready is no example yet.
    lab.wait(75).await;
    lab.run("a");
    lab.run("b");
    lab.wait(1).await;
    let group = super::group_name("gpunp", 1);
    lab.told(
        "b",
        &format!("TriggeredScaleUp pod triggered scale-up: [{{{group} 1->2 (max: 3)}}]"),
    );
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_not_listed_yet_is_not_ordered_again() {
    let late = |cloud: &Cloud| {
        let fault = Fault {
            listed_after: Duration::from_secs(45),
            ..Fault::default()
        };
        assert!(cloud.inject("gpunp", fault));
    };
    let lab = start_where(Way::Grpc, Pool::defaults(), false, late).await;
    lab.run("a");
    lab.wait(30).await;
    assert_eq!(lab.cloud.summaries()[1].target, 1);
    lab.wait(200).await;
    assert_eq!((lab.cloud.summaries()[1].target, lab.placed()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_cloud_that_is_away_is_asked_again() {
    let lab = start_where(Way::Grpc, Pool::defaults(), true, |_| ()).await;
    lab.run("a");
    lab.wait(60).await;
    assert_eq!(lab.cloud.summaries()[1].target, 0);
    lab.away.store(false, Ordering::Relaxed);
    lab.wait(30).await;
    assert_eq!(lab.cloud.summaries()[1].target, 1);
}

#[tokio::test(start_paused = true)]
async fn nodes_look_like_those_of_aks() {
    let lab = start(vec![
        Pool::parse(
            "name=gpunp,sku=Standard_NC80adis_H100_v5,count=12,taint=sku=gpu:NoSchedule",
            1,
        )
        .unwrap(),
    ])
    .await;
    let nodes = lab.nodes();
    assert_eq!(nodes.len(), 12);
    let names: Vec<_> = nodes
        .iter()
        .filter_map(|n| n["metadata"]["name"].as_str())
        .collect();
    assert!(names[10].ends_with("-vmss00000a"), "{names:?}");
    let node = &nodes[11];
    assert_eq!(node["status"]["allocatable"]["nvidia.com/gpu"], "2");
    assert_eq!(
        node["spec"]["taints"],
        json!([{"key": "sku", "value": "gpu", "effect": "NoSchedule"}])
    );
    let provider = node["spec"]["providerID"].as_str().unwrap();
    assert!(
        provider.starts_with("azure:///subscriptions/"),
        "{provider}"
    );
    assert!(provider.ends_with("/virtualMachines/11"), "{provider}");
    let labels = &node["metadata"]["labels"];
    assert_eq!(
        labels["node.kubernetes.io/instance-type"],
        "Standard_NC80adis_H100_v5"
    );
    assert_eq!(labels["kubernetes.azure.com/accelerator"], "nvidia");
    assert_eq!(labels["nvidia.com/gpu.product"], "NVIDIA-H100-NVL");
    let again = super::node::machine_name("g", 36 * 36 + 35);
    assert_eq!(again, "g00010z");
}

#[tokio::test(start_paused = true)]
async fn hundreds_of_nodes_and_thousands_of_pods_take_no_long_work() {
    let began = std::time::Instant::now();
    let text = "name=gpunp,sku=Standard_ND96isr_H100_v5,min=0,max=300,taint=sku=gpu:NoSchedule";
    let lab = start(vec![Pool::parse(text, 1).unwrap()]).await;
    for i in 0..3000 {
        lab.run(&format!("p{i:04}"));
    }
    lab.wait(1).await;
    assert_eq!(lab.cloud.summaries()[0].target, 300);
    let ordered = began.elapsed();
    lab.wait(205).await;
    assert_eq!((lab.nodes().len(), lab.placed()), (300, 2400));
    println!(
        "3000 pods: ordered after {ordered:?}, placed after {:?}",
        began.elapsed()
    );
    for i in 0..3000 {
        lab.stop(&format!("p{i:04}"));
    }
    // Ten at a time, ten seconds apart.
    lab.wait(600 + 30 * 20).await;
    assert!(lab.nodes().is_empty());
    println!("back at zero after {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn nodes_are_ordered_when_a_deployment_gets_its_replicas() {
    let lab = start(Pool::defaults()).await;
    // No controller makes the pods here: the node is asked for all the same.
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "w", "namespace": "default"},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "w"}},
            "template": {
                "metadata": {"labels": {"app": "w"}},
                "spec": {
                    "containers": [{
                        "name": "c", "image": "x", "resources": {"limits": {"nvidia.com/gpu": "1"}},
                    }],
                    "tolerations": [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}],
                },
            },
        },
    });
    lab.cluster.create("deployments.apps", deployment).unwrap();
    lab.wait(1).await;
    assert_eq!(lab.cloud.summaries()[1].target, 2);
}

#[tokio::test(start_paused = true)]
async fn the_config_map_of_priorities_comes_before_the_price_as_long_as_it_can_be_read() {
    let pool = |text: &str, at| Pool::parse(text, at).unwrap();
    let lab = start(vec![
        pool("name=one,sku=Standard_NC40ads_H100_v5,min=0,max=3", 1),
        pool("name=two,sku=Standard_NC80adis_H100_v5,min=0,max=3", 2),
    ])
    .await;
    let grown = |lab: &Lab| {
        let targets = lab.cloud.summaries();
        (targets[0].target, targets[1].target)
    };
    lab.run("a");
    lab.wait(1).await;
    assert_eq!(grown(&lab), (1, 0), "the price decides");
    let name = "cluster-autoscaler-priority-expander";
    let map = |text: &str| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "kube-system"},
            "data": {"priorities": text},
        })
    };
    lab.cluster
        .create("configmaps", map("10: [aks-one-.*]\n20: [aks-two-.*]\n"))
        .unwrap();
    lab.run("b");
    lab.wait(1).await;
    assert_eq!(grown(&lab), (1, 1));
    lab.cluster
        .delete("configmaps", "kube-system", name, DeleteOptions::default())
        .unwrap();
    lab.cluster
        .create("configmaps", map("high: [aks-two-.*]\n"))
        .unwrap();
    // The second node of two GPUs holds one more, and the next needs a new node.
    lab.run("c");
    lab.run("d");
    lab.wait(1).await;
    assert_eq!(grown(&lab), (2, 1));
    let told = lab.events("cluster-autoscaler-status");
    let invalid = told
        .iter()
        .filter(|e| e.starts_with("PriorityConfigMapInvalid"));
    assert_eq!(invalid.count(), 1, "{told:#?}");
}
