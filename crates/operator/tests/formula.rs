//! One metric made of several, and replicas by the clock, on the embedded
//! control plane.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use serde_json::{Value, json};
use support::World;

fn deployment(replicas: i32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "w"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "w"}},
            "template": {
                "metadata": {"labels": {"app": "w"}},
                "spec": {"containers": [{"name": "c", "image": "x"}]},
            },
        },
    })
}

fn prometheus(name: &str) -> Value {
    json!({
        "type": "prometheus", "name": name,
        "metadata": {
            "serverAddress": "http://127.0.0.1:29191/c/x", "query": "q", "threshold": "5",
        },
    })
}

fn scaled_object(spec: Value) -> Value {
    let mut object = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "so"},
        "spec": {"scaleTargetRef": {"name": "w"}, "pollingInterval": 5},
    });
    let into = object["spec"].as_object_mut().unwrap();
    into.extend(spec.as_object().unwrap().clone());
    object
}

async fn world(metric: Value, replicas: i32) -> World {
    let world = World::new(metric).await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns"}});
    world.apply("", &namespace).await.unwrap();
    world.apply("ns", &deployment(replicas)).await.unwrap();
    world
}

#[tokio::test(start_paused = true)]
async fn a_formula_scales_the_workload() {
    let world = world(json!({"values": [40]}), 0).await;
    let object = scaled_object(json!({
        "triggers": [prometheus("a"), prometheus("b")],
        "advanced": {"scalingModifiers": {
            "formula": "(a + b) / 2 - 10", "target": "10", "activationTarget": "20",
        }},
    }));
    world.apply("ns", &object).await.unwrap();
    world.seconds(70.0).await;
    assert_eq!(world.replicas("ns", "w").await, 3);
    let hpa = world
        .get("ns", "HorizontalPodAutoscaler", "keda-hpa-so")
        .await;
    let metrics = &hpa.unwrap()["spec"]["metrics"];
    assert_eq!(metrics.as_array().unwrap().len(), 1);
    assert_eq!(metrics[0]["external"]["metric"]["name"], "composite-metric");
    let answer = world.external_metric("ns", "so", "composite-metric").await;
    assert_eq!(answer["items"][0]["value"], "30");
    assert_eq!(answer["items"][0]["metricName"], "composite-metric");
    let status = world.status("ns", "so").await;
    assert_eq!(status["compositeScalerName"], "composite-metric");
    assert_eq!(
        status["externalMetricNames"],
        json!(["s0-prometheus", "s1-prometheus"])
    );
    let events = world.events("ScaledObject");
    assert!(
        events
            .iter()
            .any(|note| note.contains("from 0 to 1, triggered by composite-metric")),
        "{events:?}"
    );

    // Another formula counts from the next read on.
    let formula = |text: &str| {
        let modifiers = json!({"scalingModifiers": {"formula": text}});
        json!({"spec": {"advanced": modifiers}})
    };
    world
        .patch("ns", "ScaledObject", "so", &formula("a + b"))
        .await;
    world.seconds(1.0).await;
    let answer = world.external_metric("ns", "so", "composite-metric").await;
    assert_eq!(answer["items"][0]["value"], "80");
    world
        .patch("ns", "ScaledObject", "so", &formula("(a + b) / 2 - 10"))
        .await;

    // Below the activation target, though above the triggers' own.
    *world.script.lock().unwrap() = json!({"values": [25]});
    world.seconds(400.0).await;
    assert_eq!(world.replicas("ns", "w").await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_formula_that_cannot_work_is_told_in_ready() {
    let world = world(json!({"values": [40]}), 1).await;
    let object = scaled_object(json!({
        "triggers": [prometheus("a")],
        "advanced": {"scalingModifiers": {"formula": "a + zz", "target": "10"}},
    }));
    world.apply("ns", &object).await.unwrap();
    world.seconds(10.0).await;
    let ready = world.condition("ns", "so", "Ready").await;
    assert!(ready.contains("unknown name zz (1:11)"), "{ready}");
}

#[tokio::test(start_paused = true)]
async fn a_cron_window_gives_its_replicas_and_takes_them_back() {
    let world = world(json!({"values": []}), 0).await;
    // The simulated day begins at midnight.
    let object = scaled_object(json!({
        "cooldownPeriod": 60,
        "triggers": [{"type": "cron", "metadata": {
            "timezone": "UTC", "start": "10 0 * * *", "end": "30 0 * * *", "desiredReplicas": "4",
        }}],
    }));
    world.apply("ns", &object).await.unwrap();
    world.seconds(300.0).await;
    assert_eq!(world.replicas("ns", "w").await, 0);
    world.seconds(600.0).await;
    assert_eq!(world.replicas("ns", "w").await, 4);
    world.seconds(1_200.0).await;
    assert_eq!(world.replicas("ns", "w").await, 0);
}
