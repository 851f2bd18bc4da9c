//! The article's walk-through as the HPA sees it on Kubernetes 1.37: one GPU
//! pod, a queue that grows, 1 -> 4 -> 8 -> 10, and back to 1.

#![allow(clippy::unwrap_used)]

use api::quantity::Quantity;
use decide::hpa::*;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

const SELECTOR: &str = "&LabelSelector{MatchLabels:map[string]string{scaledobject.keda.sh/name: \
                        my-gpu-workload,},MatchExpressions:[]LabelSelectorRequirement{},}";

struct Lab {
    spec: HpaSpec,
    status: Value,
    memory: HpaMemory,
    now: Timestamp,
    replicas: i32,
    utilization: i64,
}

impl Lab {
    fn new() -> Lab {
        let spec = json!({
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment",
                "name": "my-gpu-workload"},
            "minReplicas": 1, "maxReplicas": 20,
            "metrics": [{"type": "External", "external": {
                "metric": {"name": "s0-prometheus", "selector": {"matchLabels": {
                    "scaledobject.keda.sh/name": "my-gpu-workload"}}},
                "target": {"type": "AverageValue", "averageValue": "5"}}}],
        });
        Lab {
            spec: HpaSpec::from_json(&spec).unwrap(),
            status: json!({"desiredReplicas": 0, "currentMetrics": null}),
            memory: HpaMemory::default(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            replicas: 1,
            utilization: 0,
        }
    }

    fn input(&self) -> HpaInput {
        let mut input = HpaInput {
            namespace: "default".to_owned(),
            name: "keda-hpa-my-gpu-workload".to_owned(),
            generation: Some(1),
            spec: self.spec.clone(),
            status: HpaStatus::from_json(&self.status),
            scale: ScaleObservation::Found {
                spec_replicas: self.replicas,
                status_replicas: self.replicas,
                selector: "app=my-gpu-workload".to_owned(),
            },
            ..HpaInput::default()
        };
        for query in wants(&input) {
            let want = MetricWanted::External {
                name: "s0-prometheus".to_owned(),
                selector: "scaledobject.keda.sh/name=my-gpu-workload".to_owned(),
            };
            assert_eq!(query.what, want);
            let value = Quantity::parse(&self.utilization.to_string()).unwrap();
            input
                .metrics
                .insert(query.index, MetricObservation::External(Ok(vec![value])));
        }
        input
    }

    /// One evaluation, and then a period passes.
    fn sync(&mut self) -> HpaDecision {
        let decision = reconcile(&self.input(), &self.memory, self.now);
        self.now += SignedDuration::from_secs(15);
        self.memory = decision.memory.clone();
        self.status = decision.status.clone();
        self.replicas = decision.scale_to.unwrap_or(self.replicas);
        decision
    }
}

/// `Type=Status Reason` of every condition.
fn conditions(decision: &HpaDecision) -> Vec<String> {
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    let list = decision.status["conditions"].as_array().unwrap();
    list.iter()
        .map(|c| {
            format!(
                "{}={} {}",
                text(&c["type"]),
                text(&c["status"]),
                text(&c["reason"])
            )
        })
        .collect()
}

#[test]
fn the_walk_through_takes_the_recorded_steps() {
    let mut lab = Lab::new();

    // The first evaluation finds the seed of the stabilization window.
    let first = lab.sync();
    assert_eq!(first.scale_to, None);
    assert!(first.write_status && first.events.is_empty() && first.error.is_none());
    assert_eq!(
        conditions(&first),
        [
            "AbleToScale=True ScaleDownStabilized",
            "ScalingActive=True ValidMetricFound",
            "ScalingLimited=False DesiredWithinRange",
        ]
    );
    assert_eq!(first.status["observedGeneration"], 1);
    assert_eq!(
        first.status["conditions"][1]["message"],
        format!(
            "the HPA was able to successfully calculate a replica count from external metric \
             s0-prometheus({SELECTOR})"
        )
    );
    assert_eq!(
        first.status["currentMetrics"][0]["external"]["current"]["averageValue"],
        "0"
    );

    // Nothing to write while nothing changes; after 300 s the window is empty.
    for _ in 1..=20 {
        assert!(!lab.sync().write_status);
    }
    let settled = lab.sync();
    assert_eq!(
        conditions(&settled),
        [
            "AbleToScale=True ReadyForNewScale",
            "ScalingActive=True ValidMetricFound",
            "ScalingLimited=True TooFewReplicas",
        ]
    );

    lab.utilization = 3;
    assert_eq!(lab.sync().scale_to, None);
    assert!(conditions(&lab.sync())[0].contains("ReadyForNewScale"));

    lab.utilization = 50;
    let mut averages = Vec::new();
    for want in [4, 8, 10] {
        let step = lab.sync();
        assert_eq!(step.scale_to, Some(want));
        let event = &step.events[0];
        assert_eq!(
            (event.kind(), event.reason.as_str()),
            ("Normal", "SuccessfulRescale")
        );
        assert_eq!(
            event.message,
            format!(
                "New size: {want}; reason: external metric s0-prometheus({SELECTOR}) above target"
            )
        );
        let limited = match want {
            10 => "ScalingLimited=False DesiredWithinRange",
            _ => "ScalingLimited=True ScaleUpLimit",
        };
        assert_eq!(
            conditions(&step),
            [
                "AbleToScale=True SucceededRescale",
                "ScalingActive=True ValidMetricFound",
                limited,
                "ScaledToZero=False NotScaledToZero",
            ]
        );
        let current = &step.status["currentMetrics"][0]["external"]["current"]["averageValue"];
        averages.push(current.as_str().unwrap().to_owned());
    }
    assert_eq!(averages, ["50", "12500m", "6250m"]);
    let steady = lab.sync();
    assert_eq!(steady.scale_to, None);
    assert_eq!(steady.status["currentReplicas"], 10);
    assert!(conditions(&steady)[0].contains("ReadyForNewScale"));

    // Back to nothing: held for 300 s after the last high recommendation.
    lab.utilization = 0;
    for _ in 0..20 {
        let held = lab.sync();
        assert_eq!(held.scale_to, None);
        assert!(conditions(&held)[0].contains("ScaleDownStabilized"));
    }
    let down = lab.sync();
    assert_eq!(down.scale_to, Some(1));
    assert_eq!(
        down.events[0].message,
        "New size: 1; reason: All metrics below target"
    );
    assert_eq!(conditions(&down)[2], "ScalingLimited=True TooFewReplicas");
    assert_eq!(down.status["currentReplicas"], 10);
    assert_eq!(down.status["desiredReplicas"], 1);
}

#[test]
fn a_deleted_target_is_reported_and_the_rest_of_the_status_kept() {
    let mut lab = Lab::new();
    lab.sync();
    let mut input = lab.input();
    let text = "deployments.apps \"my-gpu-workload\" not found";
    input.scale = ScaleObservation::Failed(text.to_owned());
    assert!(wants(&input).is_empty());
    let decision = reconcile(&input, &lab.memory, lab.now);
    assert_eq!(conditions(&decision)[0], "AbleToScale=False FailedGetScale");
    assert_eq!(decision.status["currentReplicas"], 1);
    assert_eq!(decision.events[0].message, text);
    assert!(
        decision
            .error
            .unwrap()
            .starts_with("failed to query scale subresource for Deployment/")
    );
}

#[test]
fn two_hpas_on_the_same_pods_name_each_other() {
    let lab = Lab::new();
    let mut input = lab.input();
    input.pods.push(PodObservation {
        name: "p".to_owned(),
        labels: [("app".to_owned(), "my-gpu-workload".to_owned())].into(),
        ..PodObservation::default()
    });
    let selector = "app=my-gpu-workload".to_owned();
    input.others.push(OtherHpa {
        name: "zz".to_owned(),
        selector,
    });
    let decision = reconcile(&input, &lab.memory, lab.now);
    assert_eq!(decision.scale_to, None);
    assert_eq!(
        decision.status["conditions"][1]["message"],
        "pods by selector app=my-gpu-workload are controlled by more than one HPA (e.g. \
         [default/keda-hpa-my-gpu-workload default/zz])"
    );
}

#[test]
fn a_target_at_zero_is_left_alone_until_something_else_wakes_it() {
    let mut lab = Lab::new();
    lab.replicas = 0;
    lab.utilization = 50;
    assert!(wants(&lab.input()).is_empty());
    let decision = lab.sync();
    assert_eq!(decision.scale_to, None);
    assert_eq!(
        conditions(&decision)[1],
        "ScalingActive=False ScalingDisabled"
    );
    assert_eq!(decision.status["currentMetrics"], Value::Null);
}
