//! Input that cannot be used: one error that names the place and the cure.

#![allow(clippy::unwrap_used)]

mod common;

use common::{WORKLOAD, builder, scaled_object};
use replay::load::{Observed, Sight};
use replay::prometheus::{Stretch, queries};
use replay::sweep::Sweep;
use replay::{Builder, DemandOptions, Load, Manifests};
use serde_json::json;

fn demand(text: &str) -> String {
    let options = DemandOptions::default();
    Load::from_csv("d.csv", text, &options)
        .unwrap_err()
        .to_string()
}

#[test]
fn a_demand_file_must_be_whole() {
    let table = [
        ("", "d.csv: the file is empty"),
        ("0,1\n1,2\n", "d.csv line 1: the first line holds values"),
        ("t,g\n0,1\n", "fewer than two rows"),
        ("t,g\n0,1\n0,2\n", "d.csv line 3: time 0 is there twice"),
        ("t,g\n5,1\n0,2\n", "d.csv line 3: time 0 is earlier"),
        (
            "t,g\n0,1\n10,1\n20,1\n51,1\n",
            "d.csv line 5: there is a hole of 31 s",
        ),
        (
            "t,g\n0,1\n10,-1\n",
            "d.csv line 3, column g: -1 is negative",
        ),
        ("t,g\n0,1\n10,NaN\n", "NaN is not finite"),
        ("t,g\n0,1\n10,inf\n", "inf is not finite"),
        ("t,g\n0,1\n10,\n", "no value"),
        ("t,g\n0,1\n10,x\n", "\"x\" is not a number"),
        (
            "t,g\n0,1\n10\n",
            "1 values where the header names 2 columns",
        ),
        ("t,g\n0,1\nsoon,1\n", "\"soon\" is no time"),
        ("t,a,b\n0,1,2\n10,1,2\n", "choose one: --demand d.csv#a"),
    ];
    for (text, want) in table {
        let error = demand(text);
        assert!(error.contains(want), "{text:?}: {error}");
    }
    // Three usual steps are not a hole yet.
    let fine = "t,g\n0,1\n10,1\n20,1\n50,1\n";
    assert!(Load::from_csv("d.csv", fine, &DemandOptions::default()).is_ok());
}

#[test]
fn observations_must_not_contradict_one_another() {
    let sight = Sight {
        gpus: 1,
        saturated: 99.0,
        lag_ms: 0,
        starting_shown: true,
    };
    let table = [
        ("time,util\n0,1\n1,1\n", "there is no column replicas"),
        (
            "time,utilization,replicas\n0,101,1\n1,1,1\n",
            "101 is above 100",
        ),
        (
            "time,utilization,replicas\n0,1,1.5\n1,1,1\n",
            "1.5 is no number of replicas",
        ),
        (
            "time,utilization,replicas,ready\n0,1,1,2\n1,1,1,1\n",
            "2 ready of 1 replicas",
        ),
        (
            "time,utilization,replicas,shown\n0,1,1,2\n1,1,1,1\n",
            "2 shown of 1 replicas",
        ),
        (
            "time,utilization,replicas\n0,0,0\n1,7,0\n",
            "o.csv line 3, column utilization: 7 % of 0 replicas",
        ),
    ];
    for (text, want) in table {
        let error = Observed::from_csv("o.csv", text, &sight)
            .unwrap_err()
            .to_string();
        assert!(error.contains(want), "{text:?}: {error}");
    }
}

fn refusal(policy: &str) -> String {
    let mut manifests = Manifests::default();
    let added = manifests
        .add("w.yaml", WORKLOAD)
        .and_then(|()| manifests.add("p.yaml", policy));
    if let Err(error) = added {
        return error.to_string();
    }
    let builder = Builder {
        manifests,
        ..Builder::default()
    };
    builder
        .build(&builder.manifests.policies[0])
        .unwrap_err()
        .to_string()
}

/// A HorizontalPodAutoscaler on a metric whose unit is known.
const HPA: &str = "apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: h}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: my-gpu-workload}
  maxReplicas: 5
  behavior:
    scaleDown: {policies: [{type: Pods, value: 1, periodSeconds: 60}]}
  metrics:
  - type: External
    external:
      metric: {name: DCGM_FI_DEV_GPU_UTIL}
      target: {type: AverageValue, averageValue: '70'}
";

#[test]
fn a_policy_that_cannot_be_replayed_says_why() {
    let good = scaled_object("avg(DCGM_FI_DEV_GPU_UTIL)", "5", "");
    let table = [
        (
            good.replace("name: my-gpu-workload", "name: other"),
            "is in none of the files",
        ),
        (
            good.replace("maxReplicaCount", "maxReplicas"),
            "unknown field spec.maxReplicas",
        ),
        (
            good.replace("minReplicaCount: 1", "minReplicaCount: 30"),
            "would refuse it: spec: Invalid value: minReplicaCount must be less than",
        ),
        (
            good.replace("maxReplicaCount: 20", "maxReplicaCount: many"),
            "the API server would refuse it: spec.maxReplicaCount: Invalid value",
        ),
        (
            scaled_object(
                "avg(DCGM_FI_DEV_GPU_UTIL)",
                "5",
                "  advanced: {horizontalPodAutoscalerConfig: {behavior: {scaleUp: {policies: \
                 [{type: Pods, value: 1}]}}}}\n",
            ),
            "scaleUp.policies[0].periodSeconds: Required value",
        ),
        (
            HPA.replace("maxReplicas: 5", "maxReplicas: 0"),
            "the API server would refuse it: spec.maxReplicas: Required value",
        ),
        (
            HPA.replace("value: 1, periodSeconds: 60", "value: 0, periodSeconds: 60"),
            "policies[0].value: Invalid value: 0",
        ),
        (
            HPA.replace(
                "_UTIL}",
                "_UTIL, selector: {matchLabels: {deployment: web}}}",
            ),
            "label deployment=web of the selector of metric DCGM_FI_DEV_GPU_UTIL does not take all",
        ),
        (
            HPA.replace("_UTIL}", "_UTIL, selector: {matchLabels: {gpu: '0'}}}"),
            "label gpu=0 of the selector",
        ),
        (
            HPA.replace(
                "_UTIL}",
                "_UTIL, selector: {matchExpressions: [{key: a, operator: Exists}]}}",
            ),
            "matchExpressions of metric DCGM_FI_DEV_GPU_UTIL are not read",
        ),
        (good.replace("'5'", "'x'"), "threshold"),
        (good.replace("'5'", "'0'"), "threshold 0 is not above 0"),
        (
            good.replace("    metadata:", "    metricType: Avg\n    metadata:"),
            "metricType Avg: the API server refuses",
        ),
        (good.replace("avg(", "avg(("), "query avg((DCGM"),
        (
            good.replace("DCGM_FI_DEV_GPU_UTIL", "vllm:num_requests_waiting"),
            "not \"vllm:num_requests_waiting\"",
        ),
        (
            good.replace("UTIL", "UTIL{deployment=\"web\"}"),
            "label deployment does not fit",
        ),
        (
            good.replace("type: prometheus", "type: kafka"),
            "type kafka cannot be replayed yet",
        ),
        (
            good.replace("type: prometheus", "type: promethius"),
            "is no trigger type",
        ),
        (
            format!("{good}---\n{good}"),
            "p.yaml:16: ScaledObject p is at p.yaml:1 already",
        ),
        (
            format!(
                "{good}---\n{}",
                WORKLOAD.replace("replicas: 1", "replicas: 2")
            ),
            "with another content",
        ),
        (
            format!("{good}---\nkind: X\n"),
            "apiVersion and kind are missing",
        ),
        (format!("{good}  x: [\n"), "p.yaml:"),
    ];
    for (policy, want) in table {
        let error = refusal(&policy);
        assert!(error.contains(want), "{policy}\n{error}");
    }
    let mut manifests = Manifests::default();
    let bare = WORKLOAD.replace("nvidia.com/gpu: 1", "cpu: 1");
    manifests.add("w.yaml", &bare).unwrap();
    manifests.add("p.yaml", &good).unwrap();
    let builder = Builder {
        manifests,
        ..Builder::default()
    };
    let error = builder.build(&builder.manifests.policies[0]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "w.yaml:1: Deployment my-gpu-workload asks for no GPU; add resources.limits \
         nvidia.com/gpu to its container"
    );
}

#[test]
fn a_server_is_asked_for_what_can_be_counted() {
    let day = 86_400_000;
    let error = Stretch::new(0, 30_000 * day, 1000).unwrap_err().to_string();
    assert!(
        error.starts_with("--step: that is more than 4000000 points"),
        "{error}"
    );
    assert!(Stretch::new(0, 14 * day, 1000).is_ok());
    let fitting = HPA.replace(
        "_UTIL}",
        "_UTIL, selector: {matchLabels: {deployment: my-gpu-workload}}}",
    );
    let hpa = common::policy(&fitting);
    let error = queries("--prometheus http://p", &hpa, None, None).unwrap_err();
    assert!(
        error.to_string().contains("give the ScaledObject"),
        "{error}"
    );
    let terms = hpa.terms();
    assert_eq!(
        terms,
        [
            "up 4 pods or 100 % each 15 s, whichever is more",
            "down 1 pods each 60 s, after 300 s of stabilization",
            "metric DCGM_FI_DEV_GPU_UTIL is taken as the sum over the workload's GPUs",
        ]
    );
}

#[test]
fn a_sweep_needs_a_numeric_field() {
    let text = scaled_object("avg(DCGM_FI_DEV_GPU_UTIL)", "5", "");
    let builder = builder(&text);
    let source = &builder.manifests.policies[0];
    let names = |sweep: &str| -> Result<Vec<String>, String> {
        let sweep = Sweep::parse(sweep).map_err(|e| e.to_string())?;
        let variants = sweep.variants(source).map_err(|e| e.to_string())?;
        for (_, variant) in &variants {
            builder.build(variant).map_err(|e| e.to_string())?;
        }
        Ok(variants.into_iter().map(|v| v.0).collect())
    };
    assert_eq!(
        names("threshold=5..15/5").unwrap(),
        ["threshold=5", "threshold=10", "threshold=15"]
    );
    assert_eq!(names("maxReplicaCount=2..4/2").unwrap().len(), 2);
    // Left to its default in the policy, but there is such a field.
    assert_eq!(names("cooldownPeriod=60..120/60").unwrap().len(), 2);
    assert_eq!(
        names("scaleDown.stabilizationWindowSeconds=0..300/100")
            .unwrap()
            .len(),
        4
    );
    assert_eq!(names("scaleUp.tolerance=0.1..0.3/0.1").unwrap().len(), 3);
    let table = [
        (
            "treshold=5..10/5",
            "no numeric field treshold, did you mean threshold? It has spec.maxReplicaCount",
        ),
        ("query=5..10/5", "no numeric field query"),
        ("stabilizationWindowSeconds=0..300/100", "name one in full"),
        ("maxReplicaCount=1..2/0.5", "no whole number"),
        ("threshold=5..1/5", "the end not below the start"),
        ("threshold=5..10/0", "the step must be above 0"),
        ("threshold=5-10", "write FIELD=FROM..TO/STEP"),
        ("threshold=a..b/c", "\"a\" is not a number"),
        (
            "minReplicaCount=10..30/10",
            "--sweep minReplicaCount=30: the API server would refuse it: spec",
        ),
    ];
    for (sweep, want) in table {
        let error = names(sweep).unwrap_err();
        assert!(error.contains(want), "{sweep}: {error}");
    }
}

#[test]
fn a_sweep_of_an_hpa_may_set_what_it_leaves_out() {
    let milli = HPA.replace("averageValue: '70'", "averageValue: 700m");
    let builder = builder(&milli.replace("value: 1, p", "value: 10, p"));
    let source = &builder.manifests.policies[0];
    for (sweep, at, want) in [
        ("minReplicas=2..2/1", "/spec/minReplicas", json!(2)),
        (
            "averageValue=0.5..0.5/1",
            "/spec/metrics/0/external/target/averageValue",
            json!("0.5"),
        ),
        (
            "scaleUp.stabilizationWindowSeconds=60..60/1",
            "/spec/behavior/scaleUp/stabilizationWindowSeconds",
            json!(60),
        ),
        (
            "scaleDown.tolerance=0.2..0.2/1",
            "/spec/behavior/scaleDown/tolerance",
            json!("0.2"),
        ),
        (
            "policies.value=5..5/1",
            "/spec/behavior/scaleDown/policies/0/value",
            json!(5),
        ),
    ] {
        let variants = Sweep::parse(sweep).unwrap().variants(source);
        let variants = variants.unwrap_or_else(|e| panic!("{sweep}: {e}"));
        let object = &variants[0].1.object;
        assert_eq!(object.pointer(at), Some(&want), "{sweep}: {object}");
        builder.build(&variants[0].1).unwrap();
    }
    let refused = |sweep: &str| {
        let sweep = Sweep::parse(sweep).unwrap();
        sweep.variants(source).unwrap_err().to_string()
    };
    assert!(refused("maxReplica=1..2/1").contains("did you mean maxReplicas?"));
    assert!(refused("maxReplicas=0..2/1").contains("--sweep maxReplicas=0: the API server"));
}
