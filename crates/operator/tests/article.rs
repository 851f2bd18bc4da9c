//! The article's objects, in the order of the walk-through.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use serde_json::{Value, json};
use support::World;

const NAME: &str = "my-gpu-workload";
const HPA: &str = "keda-hpa-my-gpu-workload";

fn scaled_object(authentication: bool) -> Value {
    let mut object = json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": NAME, "namespace": "default"},
        "spec": {
            "scaleTargetRef": {"name": NAME},
            "minReplicaCount": 1,
            "maxReplicaCount": 20,
            "triggers": [{
                "type": "prometheus",
                "metadata": {
                    "serverAddress": "http://127.0.0.1:9090",
                    "metricName": "DCGM_FI_DEV_GPU_UTIL",
                    "query": "avg(DCGM_FI_DEV_GPU_UTIL{deployment=\"my-gpu-workload\"})",
                    "threshold": "5",
                    "activationThreshold": "2",
                },
            }],
        },
    });
    if authentication {
        let reference = json!({"name": "azure-managed-prometheus-trigger-auth"});
        object["spec"]["triggers"][0]["authenticationRef"] = reference;
    }
    object
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": "default"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": NAME}},
            "template": {
                "metadata": {"labels": {"app": NAME}},
                "spec": {"containers": [{"name": "c", "image": "x"}]},
            },
        },
    })
}

fn authentication() -> Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "TriggerAuthentication",
        "metadata": {"name": "azure-managed-prometheus-trigger-auth", "namespace": "default"},
        "spec": {
            "podIdentity": {
                "provider": "azure-workload",
                "identityId": "11111111-2222-3333-4444-555555555555",
            },
        },
    })
}

#[tokio::test(start_paused = true)]
async fn the_hpa_follows_at_once_when_the_deployment_appears() {
    let world = World::new(json!({"values": [0]})).await;
    world.apply("default", &scaled_object(false)).await.unwrap();
    world.seconds(600.0).await;
    assert_eq!(
        world.condition("default", NAME, "Ready").await,
        "False ScaledObjectCheckFailed: ScaledObject doesn't have correct scaleTargetRef \
         specification: deployments.apps \"my-gpu-workload\" not found"
    );
    assert_eq!(
        world.condition("default", NAME, "Active").await,
        "Unknown UnknownState: ScaledObject check failed"
    );
    let events = world.events("ScaledObject");
    assert_eq!(
        events[0],
        "ScaledObjectCheckFailed Target resource doesn't exist"
    );
    assert!(
        world
            .get("default", "HorizontalPodAutoscaler", HPA)
            .await
            .is_none()
    );

    world.apply("default", &deployment()).await.unwrap();
    world.seconds(0.1).await;
    assert!(
        world
            .get("default", "HorizontalPodAutoscaler", HPA)
            .await
            .is_some()
    );
    assert_eq!(
        world.condition("default", NAME, "Ready").await,
        "True ScaledObjectReady: ScaledObject is defined correctly and is ready for scaling"
    );
    assert_eq!(
        world.condition("default", NAME, "Active").await,
        "False ScalerNotActive: Scaling is not performed because triggers are not active"
    );
    world.seconds(30.0).await;
    assert_eq!(
        world.condition("default", NAME, "HPAActive").await,
        "True HPAActive: HPA is actively scaling"
    );
    for event in [
        "KEDAScalersStarted Scaler prometheus is built",
        "KEDAScalersStarted Started scalers watch",
        "ScaledObjectReady ScaledObject is ready for scaling",
    ] {
        let events = world.events("ScaledObject");
        assert!(
            events.iter().any(|found| found == event),
            "{event} not in {events:#?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn replicas_climb_by_the_hpas_steps_and_come_back_after_the_window() {
    let world = World::new(json!({"values": [3]})).await;
    world.apply("default", &deployment()).await.unwrap();
    world.apply("default", &scaled_object(false)).await.unwrap();
    world.seconds(31.0).await;
    assert_eq!(world.replicas("default", NAME).await, 1);
    assert!(
        world
            .condition("default", NAME, "Active")
            .await
            .starts_with("True ScalerActive")
    );
    *world.script.lock().unwrap() = json!({"values": [50]});
    let mut seen = vec![1];
    for _ in 0..50 {
        world.seconds(1.0).await;
        let replicas = world.replicas("default", NAME).await;
        if seen.last() != Some(&replicas) {
            seen.push(replicas);
        }
    }
    assert_eq!(seen, [1, 4, 8, 10]);
    *world.script.lock().unwrap() = json!({"values": [0]});
    world.seconds(280.0).await;
    assert_eq!(world.replicas("default", NAME).await, 10);
    world.seconds(40.0).await;
    assert_eq!(world.replicas("default", NAME).await, 1);
}

#[tokio::test(start_paused = true)]
async fn without_an_identity_the_trigger_error_shows() {
    let world = World::new(json!({"values": [50]})).await;
    world.apply("default", &authentication()).await.unwrap();
    world.apply("default", &deployment()).await.unwrap();
    world.apply("default", &scaled_object(true)).await.unwrap();
    world.seconds(31.0).await;
    assert_eq!(
        world.condition("default", NAME, "Ready").await,
        "False TriggerError: Triggers defined in ScaledObject are not working correctly"
    );
    let hpa = world.condition("default", NAME, "HPAActive").await;
    assert!(
        hpa.starts_with("False FailedGetExternalMetric: HPA is not actively scaling: "),
        "{hpa}"
    );
    assert_eq!(world.replicas("default", NAME).await, 1);
    assert_eq!(
        world.events("TriggerAuthentication"),
        ["TriggerAuthenticationAdded New TriggerAuthentication configured"]
    );
    let auth = world
        .get(
            "default",
            "TriggerAuthentication",
            "azure-managed-prometheus-trigger-auth",
        )
        .await
        .unwrap();
    assert_eq!(auth["status"]["scaledobjects"], NAME);
    assert_eq!(auth["metadata"]["finalizers"], json!(["finalizer.keda.sh"]));
}

#[tokio::test(start_paused = true)]
async fn deleting_the_deployment_and_then_the_object_leaves_nothing() {
    let world = World::new(json!({"values": [0]})).await;
    world.apply("default", &deployment()).await.unwrap();
    world.apply("default", &scaled_object(false)).await.unwrap();
    world.seconds(40.0).await;
    world.delete("default", "Deployment", NAME).await;
    world.seconds(31.0).await;
    assert_eq!(
        world.condition("default", NAME, "Ready").await,
        "False ErrorGettingCurrentReplicas: Error getting current replicas count for ScaleTarget: \
         Deployment.apps \"my-gpu-workload\" not found"
    );
    assert!(
        world
            .condition("default", NAME, "HPAActive")
            .await
            .starts_with("True HPAActive")
    );
    assert!(
        world
            .get("default", "HorizontalPodAutoscaler", HPA)
            .await
            .is_some()
    );
    world.delete("default", "ScaledObject", NAME).await;
    world.seconds(1.0).await;
    assert!(world.get("default", "ScaledObject", NAME).await.is_none());
    assert!(
        world
            .get("default", "HorizontalPodAutoscaler", HPA)
            .await
            .is_none()
    );
    let events = world.events("ScaledObject");
    assert_eq!(
        events.last().unwrap(),
        "ScaledObjectDeleted ScaledObject was deleted"
    );
}

#[tokio::test(start_paused = true)]
async fn a_trigger_type_that_nobody_knows_is_named() {
    let world = World::new(json!({"values": [0]})).await;
    let mut object = scaled_object(false);
    object["spec"]["triggers"][0]["type"] = json!("promethius");
    world.apply("default", &deployment()).await.unwrap();
    world.apply("default", &object).await.unwrap();
    world.seconds(1.0).await;
    assert_eq!(
        world.condition("default", NAME, "Ready").await,
        "False ScaledObjectCheckFailed: failed to ensure HPA is correctly created for \
         ScaledObject: no scaler found for type: promethius"
    );
    let body = json!({"spec": {"triggers": scaled_object(false)["spec"]["triggers"]}});
    world.patch("default", "ScaledObject", NAME, &body).await;
    world.seconds(0.1).await;
    assert!(
        world
            .condition("default", NAME, "Ready")
            .await
            .starts_with("True")
    );
}

/// Everything that happened, as event names and status of all objects.
async fn day(seed_value: i64) -> String {
    let world = World::new(json!({"values": [seed_value]})).await;
    for index in 0..20 {
        let name = format!("w{index}");
        let mut target = deployment();
        target["metadata"]["name"] = json!(name);
        target["spec"]["selector"]["matchLabels"]["app"] = json!(name);
        target["spec"]["template"]["metadata"]["labels"]["app"] = json!(name);
        let mut object = scaled_object(false);
        object["metadata"]["name"] = json!(name);
        object["spec"]["scaleTargetRef"]["name"] = json!(name);
        if index % 3 == 0 {
            object["spec"]["minReplicaCount"] = json!(0);
        }
        if index % 5 == 0 {
            let closed = json!("http://127.0.0.1:29199");
            object["spec"]["triggers"][0]["metadata"]["serverAddress"] = closed;
        }
        world.apply("default", &object).await.unwrap();
        world.apply("default", &target).await.unwrap();
    }
    world.seconds(120.0).await;
    *world.script.lock().unwrap() = json!({"values": [60]});
    world.seconds(200.0).await;
    let mut out = String::new();
    for resource in [
        "events",
        "scaledobjects.keda.sh",
        "horizontalpodautoscalers.autoscaling",
    ] {
        for object in world.cluster.list(resource, None) {
            out.push_str(&object.to_string());
            out.push('\n');
        }
    }
    out
}

#[test]
fn twenty_objects_with_failing_triggers_come_out_the_same_twice() {
    let run = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(day(1))
    };
    let (first, second) = (run(), run());
    assert!(first.len() > 10_000);
    for (one, two) in first.lines().zip(second.lines()) {
        assert_eq!(one, two);
    }
    assert_eq!(first.len(), second.len());
}
