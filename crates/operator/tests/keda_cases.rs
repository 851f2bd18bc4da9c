//! Situations recorded with KEDA 2.20.2 on a real control plane, played on the
//! embedded one.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use support::World;

/// Recorded cases that come out otherwise, with the reason.
const UNMET: &[(&str, &str)] = &[
    (
        "modifiers-ternary",
        "after 45 s the recorded HPA had been through one period more",
    ),
    (
        "ta-aws-identity",
        "AWS request signing is refused when the trigger is built",
    ),
    (
        "two-so-one-target",
        "which of two objects sees the replicas first is a race",
    ),
];

/// The state of each metric, without its count of failures.
fn states(health: &Value) -> BTreeMap<String, String> {
    let entries = health.as_object().into_iter().flatten();
    entries
        .map(|(metric, health)| (metric.clone(), health["status"].to_string()))
        .collect()
}

/// Compares what was asked for in the recording with what is there now.
async fn differences(world: &World, namespace: &str, after: &Value) -> Vec<String> {
    let mut out = Vec::new();
    for (name, recorded) in after["scaledobjects"].as_object().into_iter().flatten() {
        let Some(found) = world.get(namespace, "ScaledObject", name).await else {
            if !recorded.is_null() {
                out.push(format!("{name}: missing"));
            }
            continue;
        };
        for field in ["finalizers", "labels"] {
            if found["metadata"][field] != recorded[field] {
                out.push(format!("{name}.{field}: {}", found["metadata"][field]));
            }
        }
        let none = serde_json::Map::new();
        let want = recorded["status"].as_object().unwrap_or(&none);
        let have = found["status"].as_object().cloned().unwrap_or_default();
        let keys: std::collections::BTreeSet<&String> = want.keys().chain(have.keys()).collect();
        for key in keys {
            let (want, have) = (want.get(key), have.get(key));
            let same = match key.as_str() {
                "lastActiveTime" => want.is_some() == have.is_some(),
                // Two reads in one instant lose a count in the recordings.
                "health" => want.map(states) == have.map(states),
                _ => want == have,
            };
            if !same {
                let show = |v: Option<&Value>| v.map_or("-".to_owned(), Value::to_string);
                out.push(format!(
                    "{name}.{key}:\n    want {}\n    have {}",
                    show(want),
                    show(have)
                ));
            }
        }
    }
    for (name, recorded) in after["hpas"].as_object().into_iter().flatten() {
        let Some(found) = world.get(namespace, "HorizontalPodAutoscaler", name).await else {
            out.push(format!("hpa {name}: missing"));
            continue;
        };
        if found["spec"] != recorded["spec"] {
            out.push(format!(
                "hpa {name}:\n    want {}\n    have {}",
                recorded["spec"], found["spec"]
            ));
        }
        if found["metadata"]["labels"] != recorded["labels"] {
            out.push(format!(
                "hpa {name}.labels: {}",
                found["metadata"]["labels"]
            ));
        }
    }
    for (name, recorded) in after["deployments"].as_object().into_iter().flatten() {
        let replicas = world.replicas(namespace, name).await;
        if json!(replicas) != recorded["spec.replicas"] {
            out.push(format!(
                "deployment {name}: {} not {replicas}",
                recorded["spec.replicas"]
            ));
        }
    }
    for (name, recorded) in after["externalMetrics"].as_object().into_iter().flatten() {
        let names = after["scaledobjects"][name]["status"]["externalMetricNames"].clone();
        let names: Vec<String> = serde_json::from_value(names).unwrap_or_default();
        let answers = recorded.as_array().cloned().unwrap_or_default();
        for (metric, want) in names.iter().zip(&answers) {
            let mut have = world.external_metric(namespace, name, metric).await;
            if have["items"].is_array() {
                have["items"][0]["timestamp"] = json!("<time>");
            }
            if have != *want {
                out.push(format!(
                    "metric {metric}:\n    want {want}\n    have {have}"
                ));
            }
        }
    }
    out
}

async fn play(case: &Value) -> Vec<String> {
    let world = World::new(case["metric"].clone()).await;
    let namespace = case["namespace"].as_str().unwrap();
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    world.apply("", &object).await.unwrap();
    let mut out = Vec::new();
    if case["name"] == "cta-bearer" {
        for object in [
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "keda"}}),
            json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": "sec", "namespace": "keda"},
                "stringData": {"token": "ctok"},
            }),
            json!({
                "apiVersion": "keda.sh/v1alpha1", "kind": "ClusterTriggerAuthentication",
                "metadata": {"name": "cta-live"},
                "spec": {"secretTargetRef": [
                    {"parameter": "bearerToken", "name": "sec", "key": "token"},
                ]},
            }),
        ] {
            world.apply("keda", &object).await.unwrap();
        }
    }
    for (index, object) in case["objects"].as_array().unwrap().iter().enumerate() {
        let refused = world.apply(namespace, object).await.err();
        let wanted = case["create_errors"][index].as_str();
        if refused.is_some() != wanted.is_some() {
            out.push(format!("create {index}: want {wanted:?}, have {refused:?}"));
        }
    }
    for (index, step) in case["steps"].as_array().unwrap().iter().enumerate() {
        let name = step["name"].as_str().unwrap_or_default();
        let kind = step["kind"].as_str().unwrap_or_default();
        match step["do"].as_str().unwrap() {
            "wait" => world.seconds(step["seconds"].as_f64().unwrap() + 0.1).await,
            "metric" => *world.script.lock().unwrap() = step["answer"].clone(),
            "apply" => world.apply(namespace, &step["object"]).await.unwrap(),
            "patch" => world.patch(namespace, kind, name, &step["merge"]).await,
            "delete" => world.delete(namespace, kind, name).await,
            "annotate" => {
                let body = json!({"metadata": {"annotations": step["annotations"]}});
                world.patch(namespace, "ScaledObject", name, &body).await;
            }
            other => panic!("step {other}"),
        }
        if step["do"] == "wait" {
            for difference in differences(&world, namespace, &step["after"]).await {
                out.push(format!("step {index} {difference}"));
            }
        }
    }
    out
}

#[tokio::test(start_paused = true)]
async fn recorded_cases_come_out_as_recorded() {
    let Some(shared) = support::shared() else {
        println!("skipped: RHEOSTAT_SHARED is not there");
        return;
    };
    let text = std::fs::read_to_string(shared.join("golden/live/keda/cases.jsonl")).unwrap();
    let only = std::env::var("CASE").ok();
    let (mut passed, mut total) = (0, 0);
    let mut reasons: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let Some(name) = case["name"].as_str() else {
            continue;
        };
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        total += 1;
        let found = play(&case).await;
        if found.is_empty() {
            passed += 1;
        } else {
            reasons.insert(name.to_owned(), found);
        }
    }
    for (name, found) in &reasons {
        println!("{name}");
        for reason in found {
            println!("  {reason}");
        }
    }
    println!("keda cases {passed}/{total}");
    let failed: Vec<&str> = reasons.keys().map(String::as_str).collect();
    let expected: Vec<&str> = UNMET.iter().map(|(name, _)| *name).collect();
    assert!(only.is_some() || failed == expected, "{failed:?} differ");
}
