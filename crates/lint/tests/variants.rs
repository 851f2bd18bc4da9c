//! The article's mistakes in other clothes: other kinds, other labels, several
//! triggers, plain HPAs. Each row has the errors and warnings that a reader
//! with the cluster before him would name, and no others.

#![allow(clippy::unwrap_used)]

mod support;

use lint::Assumptions;
use support::{GPUNP, bad, deployment, find, run, scaled, with_pools};

const SAFE: &str = "ignoreNullValues: \"false\"";
const TOLERATES: &str = "tolerations: [{key: sku, operator: Exists, effect: NoSchedule}]";
const THREE: &str = "minReplicaCount: 1\nmaxReplicaCount: 3";

fn pools() -> Assumptions {
    with_pools(&["name=nodepool1,sku=Standard_D4s_v5,count=2", GPUNP])
}

#[track_caller]
fn exactly(text: &str, wanted: &[&str]) {
    assert_eq!(bad(&run(text, &pools())), wanted, "{text}");
}

fn workload() -> String {
    deployment("x", 1, TOLERATES, "")
}

#[test]
fn the_article_as_a_stateful_set() {
    let meta = "metricName: x\nactivationThreshold: '2'";
    let spec = "minReplicaCount: 1\nmaxReplicaCount: 20";
    let query = "avg(DCGM_FI_DEV_GPU_UTIL{statefulset=\"m\"})";
    let text = scaled(query, "5", spec, meta)
        .replace("name: m\n  min", "kind: StatefulSet\n    name: m\n  min")
        + &workload().replace("kind: Deployment", "kind: StatefulSet");
    exactly(
        &text,
        &[
            "error label-not-exported",
            "error max-beyond-pool",
            "warning activation-without-effect",
            "warning bounded-metric-ceiling",
            "warning ignored-field",
            "warning missing-is-zero",
        ],
    );
}

#[test]
fn triggers() {
    let one = |query: &str, threshold: &str| scaled(query, threshold, THREE, SAFE) + &workload();
    let pinned = "exported_pod=~\"m-.*\"";
    exactly(
        &one(&format!("sum(DCGM_FI_DEV_GPU_UTIL{{{pinned}}})"), "70"),
        &[],
    );
    exactly(
        &one("max by (deployment) (DCGM_FI_DEV_GPU_UTIL)", "70"),
        &["error bounded-metric-ceiling", "error many-elements"],
    );
    exactly(
        &one("sum(DCGM_FI_DEV_GPU_UTIL{app=\"m\"})", "70"),
        &["error label-not-exported"],
    );
    exactly(
        &one("avg(DCGM_FI_DEV_GPU_UTIL_RATIO)", "70"),
        &["error bounded-metric-ceiling", "error unreachable-target"],
    );
    exactly(&one("count(DCGM_FI_DEV_GPU_UTIL > 80)", "1"), &[]);
    // The API server wants texts, whatever YAML makes of a bare number.
    exactly(
        &one("sum(DCGM_FI_PROF_SM_ACTIVE)", "0.7").replace("'0.7'", "0.7"),
        &["error spec-value"],
    );
    exactly(
        &one(
            "sum(DCGM_FI_DEV_GPU_UTIL * on (pod, namespace) group_left (label_app) kube_pod_labels{label_app=\"m\"})",
            "70",
        ),
        &["error label-not-exported"],
    );
    let renamed = "sum(label_replace(DCGM_FI_DEV_GPU_UTIL, \"pod\", \"$1\", \"exported_pod\", \"(.+)\") * on (pod) group_left () kube_pod_labels{label_app=\"m\"})";
    exactly(&one(renamed, "70"), &[]);
    // Every trigger has its ceiling, so none lifts the other's.
    let two = scaled(
        &format!("avg(DCGM_FI_DEV_GPU_UTIL{{{pinned}}})"),
        "70",
        THREE,
        SAFE,
    ) + "  - type: prometheus\n    metadata: {serverAddress: http://p, query: avg(vllm:kv_cache_usage_perc), threshold: \"0.8\", ignoreNullValues: \"false\"}\n"
        + &workload();
    exactly(
        &two,
        &[
            "error bounded-metric-ceiling",
            "error bounded-metric-ceiling",
        ],
    );
}

#[test]
fn a_latency_is_not_to_be_summed() {
    let query =
        "histogram_quantile(0.95, sum by (le) (rate(vllm:time_to_first_token_seconds_bucket[5m])))";
    let report = run(&(scaled(query, "2", THREE, SAFE) + &workload()), &pools());
    let finding = find(&report, "total-with-value");
    assert!(!finding.fix.contains("sum("), "{}", finding.fix);
}

#[test]
fn jobs_that_only_jobs_can_start() {
    let job = |query: &str| {
        format!(
            "apiVersion: keda.sh/v1alpha1\nkind: ScaledJob\nmetadata: {{name: train}}\nspec:\n  maxReplicaCount: 3\n  \
             jobTargetRef:\n    template:\n      spec:\n        restartPolicy: Never\n        {TOLERATES}\n        \
             containers:\n        - {{name: c, image: x, resources: {{limits: {{nvidia.com/gpu: 1}}}}}}\n  \
             triggers:\n  - type: prometheus\n    metadata: {{serverAddress: http://p, query: '{query}', threshold: \"5\"}}\n"
        )
    };
    exactly(
        &job("sum(DCGM_FI_DEV_GPU_UTIL{pod=~\"train-.*\"})"),
        &["error label-not-exported", "error no-wake-signal"],
    );
    let report = run(
        &job("sum(DCGM_FI_DEV_GPU_UTIL{deployment=\"train\"})"),
        &pools(),
    );
    let fix = &find(&report, "label-not-exported").fix;
    assert!(fix.contains("exported_pod=~\"train-.*\""), "{fix}");
    exactly(&job("sum(rabbitmq_queue_messages{queue=\"q\"})"), &[]);
    let untolerated = job("sum(rabbitmq_queue_messages{queue=\"q\"})").replace(TOLERATES, "");
    exactly(&untolerated, &["error no-pool-fits"]);
    let report = run(&untolerated, &pools());
    let fix = &find(&report, "no-pool-fits").fix;
    assert!(fix.contains("toleration"), "{fix}");
}

#[test]
fn plain_hpas() {
    let hpa = |metric: &str, min: u32| {
        format!(
            "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: h}}\nspec:\n  \
             scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: m}}\n  minReplicas: {min}\n  \
             maxReplicas: 3\n  metrics:\n  - {metric}\n"
        ) + &workload()
    };
    let pods = |name: &str, target: &str| {
        hpa(
            &format!(
                "{{type: Pods, pods: {{metric: {{name: {name}}}, target: {{type: AverageValue, averageValue: \"{target}\"}}}}}}"
            ),
            1,
        )
    };
    exactly(&pods("DCGM_FI_DEV_GPU_UTIL", "70"), &[]);
    exactly(
        &pods("DCGM_FI_DEV_GPU_UTIL", "95"),
        &["error unreachable-target"],
    );
    exactly(
        &pods("DCGM_FI_PROF_SM_ACTIVE", "70"),
        &["error unreachable-target"],
    );
    exactly(&pods("vllm:num_requests_waiting", "5"), &[]);
    exactly(
        &pods("DCGM_FI_DEV_FB_USED", "20000").replace("image: x", "image: vllm/vllm-openai"),
        &["warning memory-as-load"],
    );
    let object = |target: &str| {
        hpa(
            &format!(
                "{{type: Object, object: {{describedObject: {{apiVersion: v1, kind: Service, name: s}}, metric: {{name: DCGM_FI_DEV_GPU_UTIL}}, target: {{{target}}}}}}}"
            ),
            1,
        )
    };
    exactly(
        &object("type: AverageValue, averageValue: \"80\""),
        &["error bounded-metric-ceiling"],
    );
    exactly(&object("type: Value, value: \"80\""), &[]);
    let external = |name: &str, selector: &str, target: &str, min: u32| {
        hpa(
            &format!(
                "{{type: External, external: {{metric: {{name: \"{name}\", selector: {{matchLabels: {{{selector}}}}}}}, target: {{{target}}}}}}}"
            ),
            min,
        )
    };
    let average = "type: AverageValue, averageValue: \"70\"";
    let util = "DCGM_FI_DEV_GPU_UTIL";
    exactly(&external(util, "gpu: \"0\"", average, 1), &[]);
    exactly(
        &external(util, "deployment: m", average, 1),
        &["error label-not-exported"],
    );
    let google = format!("prometheus.googleapis.com|{util}|gauge");
    exactly(
        &external(&google, "metric.labels.deployment: m", average, 1),
        &["error label-not-exported"],
    );
    exactly(
        &external(util, "exported_pod: m-0", average, 0),
        &["error no-wake-signal"],
    );
    exactly(
        &external("rabbitmq_queue_messages", "queue: q", average, 0),
        &[],
    );
    exactly(
        &external(
            "rabbitmq_queue_messages",
            "queue: q",
            "type: Value, value: \"5\"",
            1,
        ),
        &["error total-with-value"],
    );
}
