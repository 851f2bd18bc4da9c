//! The recorded scenarios of the real cluster autoscaler, played on this cloud:
//! it has to tell the same about the same objects.
//!
//! Times are ours (no 30 s wait for GPU pods, no 10 s loop), names of nodes and
//! the taint's wording differ by release, and which of several equal pods is
//! helped is a draw in the original.

use std::collections::BTreeSet;
use std::time::Duration;

use api::pool::Pool;
use clock::Clock;
use cluster::{Cluster, DeleteOptions};
use serde_json::{Value, json};

use super::{Cloud, Fault, Options};

/// Never goes down; 11 are recorded.
const AT_LEAST: usize = 10;
/// Recorded with the original's wait, in which a second pod joins the first.
const DIFFERENT: &[&str] = &["late-pod"];

#[tokio::test(start_paused = true)]
async fn recorded_scenarios_tell_the_same() {
    let recorded = include_str!("../../tests/golden/cluster_autoscaler.jsonl");
    let (mut passed, mut total) = (0, 0);
    for line in recorded.lines() {
        let scenario: Value = serde_json::from_str(line).unwrap();
        let name = scenario["name"].as_str().unwrap();
        total += 1;
        let theirs = expected(&scenario);
        let ours = play(&scenario).await;
        if ours == theirs {
            passed += 1;
        } else {
            println!("{name}: recorded {theirs:#?}, ours {ours:#?}");
            assert!(DIFFERENT.contains(&name), "{name} tells something else");
        }
    }
    println!("cluster autoscaler scenarios {passed}/{total}");
    assert!(
        passed >= AT_LEAST,
        "{passed}/{total} scenarios, at least {AT_LEAST} expected"
    );
}

/// What was told about what, without what differs by run or release.
fn told(object: &str, kind: &str, reason: &str, message: &str, drawn: bool) -> String {
    let object = match object.split_once('/') {
        Some(("Pod", _)) if drawn => "Pod",
        Some(("Node", _)) => "Node",
        _ => object,
    };
    let mut words: Vec<String> = Vec::new();
    for word in message.split(' ') {
        let word = word.trim_start_matches("sim://");
        let plain = word.trim_matches('"');
        if plain.starts_with("aks-gpunp-") && !plain.ends_with("vmss") {
            words.push("NODE".to_owned());
        } else if let Some(at) = word.find("aks-gpunp-") {
            // The scale set's number is drawn from the seed.
            words.push(format!(
                "{}GROUP{}",
                &word[..at],
                &word[at + "aks-gpunp-12345678-vmss".len()..]
            ));
        } else if word.ends_with('s') && word.starts_with("30") {
            words.push("30s".to_owned());
        } else {
            words.push(word.to_owned());
        }
    }
    let message = words.join(" ").replace("taint {sku: gpu}", "taint(s)");
    format!("{object} {kind} {reason} {message}")
}

fn expected(scenario: &Value) -> BTreeSet<String> {
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    let events = scenario["events"].as_array().cloned().unwrap_or_default();
    events
        .iter()
        .map(|e| {
            let (object, kind) = (text(&e["object"]), text(&e["type"]));
            told(
                &object,
                &kind,
                &text(&e["reason"]),
                &text(&e["message"]),
                drawn(scenario),
            )
        })
        .collect()
}

fn drawn(scenario: &Value) -> bool {
    scenario["name"] == "max-reached"
}

async fn play(scenario: &Value) -> BTreeSet<String> {
    let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().unwrap());
    let cluster = Cluster::new(cluster::Options { seed: 1, clock });
    let client = kube::Client::new(cluster.client_service(), "default");
    let mut tasks = vec![tokio::spawn(cluster::scheduler::run(
        cluster.clone(),
        cluster::Without::new(),
    ))];
    let pool = &scenario["pool"];
    let gpus = format!(
        "name=gpunp,sku=Standard_NC40ads_H100_v5,min=0,max={},taint=sku=gpu:NoSchedule,\
         provision={}s",
        pool["max"], pool["node_delay_s"]
    );
    let pools = Pool::parse_all(&["name=nodepool1,sku=Standard_D4s_v5,count=2", &gpus]).unwrap();
    let mut options = Options::new(pools, 1);
    options.ready = Duration::ZERO;
    options.gpu_ready = Duration::from_secs(pool["gpu_delay"].as_u64().unwrap_or(0));
    let cloud = Cloud::new(client.clone(), clock, options);
    cloud.start().await.unwrap();
    cloud.inject("gpunp", fault(pool));
    let mut options = nodepools::Options::default();
    options.settings.unneeded = Duration::from_secs(15);
    options.settings.delay_after_add = Duration::from_secs(20);
    if scenario["flags"].to_string().contains("provision-time=30s") {
        options.settings.provision = Duration::from_secs(30);
    }
    tasks.push(tokio::spawn(nodepools::run(
        client,
        clock,
        cloud.provider(),
        options,
    )));
    let mut now = 0.0;
    for step in scenario["steps"].as_array().unwrap() {
        let at = step["t"].as_f64().unwrap();
        tokio::time::sleep(Duration::from_secs_f64(at - now)).await;
        now = at;
        let what = step["what"].as_str().unwrap();
        if let Some(name) = what.strip_prefix("create pod ") {
            cluster.create("pods", pod(name)).unwrap();
        } else if let Some(name) = what.strip_prefix("delete pod ") {
            let at_once = DeleteOptions {
                grace_period_seconds: Some(0),
                ..Default::default()
            };
            cluster.delete("pods", "default", name, at_once).unwrap();
        }
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    for task in tasks {
        task.abort();
    }
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    let events = cluster.list("events", None);
    events
        .iter()
        .filter(|e| e["source"]["component"] == "cluster-autoscaler")
        .map(|e| {
            let about = &e["involvedObject"];
            let object = format!("{}/{}", text(&about["kind"]), text(&about["name"]));
            let (kind, reason) = (text(&e["type"]), text(&e["reason"]));
            told(
                &object,
                &kind,
                &reason,
                &text(&e["message"]),
                drawn(scenario),
            )
        })
        .collect()
}

fn fault(pool: &Value) -> Fault {
    let error = &pool["error"];
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    Fault {
        stock_out: error
            .is_object()
            .then(|| (text(&error["errorCode"]), text(&error["errorMessage"]))),
        refused: pool["increase_error"].is_string().then(|| {
            "rpc error: code = ResourceExhausted desc = quota for NCads_H100_v5 used up".to_owned()
        }),
        never_registers: pool["never"] == true,
        ..Fault::default()
    }
}

/// The pods that the scenarios' names and descriptions stand for.
fn pod(name: &str) -> Value {
    let (resource, amount) = match name {
        "wants-8" => ("nvidia.com/gpu", "8"),
        "cpu-giant" => ("cpu", "1000"),
        "cpu-a" => ("cpu", "1"),
        _ => ("nvidia.com/gpu", "1"),
    };
    let mut spec = json!({
        "containers": [{"name": "c", "image": "x", "resources": {"limits": {resource: amount}}}],
        "tolerations": [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}],
    });
    match name {
        "no-toleration" | "cpu-giant" => spec["tolerations"] = json!([]),
        "other-selector" => spec["nodeSelector"] = json!({"agentpool": "other"}),
        "cpu-a" => spec["nodeSelector"] = json!({"agentpool": "gpunp"}),
        _ => {}
    }
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    })
}
