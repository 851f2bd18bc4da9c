//! Each rule where it must speak and where it must not.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use lint::{Assumptions, Exporter};
use support::{GPUNP, all, deployment, find, of, run, scaled, with_pools};

const SUM: &str = "sum(DCGM_FI_DEV_GPU_UTIL{exported_pod=~\"m-.*\"})";
const SAFE: &str = "ignoreNullValues: \"false\"";

/// Asserts that `wanted` (`error id`) is found, or with a leading `!` that the
/// id is not.
#[track_caller]
fn check(text: &str, assumptions: &Assumptions, wanted: &str) {
    let found = of(text, assumptions);
    let has = |w: &str| {
        found
            .iter()
            .any(|f| f == w || f.ends_with(&format!(" {w}")))
    };
    match wanted.strip_prefix('!') {
        Some(id) => assert!(!has(id), "{id} in {found:?}\n{text}"),
        None => assert!(has(wanted), "{wanted} not in {found:?}\n{text}"),
    }
}

#[track_caller]
fn plain(text: &str, wanted: &str) {
    check(text, &Assumptions::default(), wanted);
}

#[track_caller]
fn query(query: &str, threshold: &str, wanted: &str) {
    plain(&scaled(query, threshold, "", ""), wanted);
}

#[test]
fn ceilings() {
    query(
        "max(DCGM_FI_DEV_GPU_UTIL)",
        "80",
        "error bounded-metric-ceiling",
    );
    query(
        "avg(vllm:kv_cache_usage_perc)",
        "0.7",
        "error bounded-metric-ceiling",
    );
    query(
        "100 * avg(vllm:gpu_cache_usage_perc)",
        "70",
        "error bounded-metric-ceiling",
    );
    query(
        "sum(DCGM_FI_DEV_GPU_UTIL) / count(DCGM_FI_DEV_GPU_UTIL)",
        "70",
        "error bounded-metric-ceiling",
    );
    query(
        "avg(my_service_gpu_utilization)",
        "70",
        "warning bounded-metric-ceiling",
    );
    query(
        "avg(DCGM_FI_DEV_GPU_UTIL)",
        "2",
        "warning bounded-metric-ceiling",
    );
    query(SUM, "70", "!bounded-metric-ceiling");
    query(
        "sum(vllm:num_requests_waiting)",
        "5",
        "!bounded-metric-ceiling",
    );
    let of_value = scaled("avg(DCGM_FI_DEV_GPU_UTIL)", "70", "", "~metricType: Value");
    plain(&of_value, "!bounded-metric-ceiling");
    let two = scaled("avg(DCGM_FI_DEV_GPU_UTIL)", "70", "", "")
        + "  - type: cron\n    metadata: {timezone: UTC, start: 0 8 * * *, end: 0 9 * * *, desiredReplicas: \"9\"}\n";
    plain(&two, "warning bounded-metric-ceiling");
}

#[test]
fn totals_and_means() {
    let of_value = |q: &str, t: &str| scaled(q, t, "", "~metricType: Value");
    plain(&of_value(SUM, "70"), "error total-with-value");
    plain(
        &of_value("sum(rate(http_requests_total[1m]))", "100"),
        "error total-with-value",
    );
    plain(
        &of_value("max(rabbitmq_queue_messages_ready{queue=\"q\"})", "10"),
        "error total-with-value",
    );
    plain(
        &of_value("avg(vllm:num_requests_running)", "10"),
        "!total-with-value",
    );
    let p95 =
        "histogram_quantile(0.95, sum by (le) (rate(vllm:e2e_request_latency_seconds_bucket[5m])))";
    plain(&of_value(p95, "2"), "!total-with-value");
    query(p95, "2", "error total-with-value");
    query(
        "sum(vllm:num_requests_waiting) / count(vllm:num_requests_waiting)",
        "5",
        "error total-with-value",
    );
    query(
        "max(vllm:num_requests_waiting)",
        "5",
        "error total-with-value",
    );
    query("avg(my_queue_depth)", "5", "warning total-with-value");
    query(
        "max(rabbitmq_queue_messages_ready{queue=\"q\"})",
        "10",
        "!total-with-value",
    );
    query("sum(vllm:num_requests_waiting)", "5", "!total-with-value");
    query("avg(q)", "5", "!total-with-value");
    let hpa = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: h}\nspec:\n  \
        scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: m}\n  maxReplicas: 5\n  metrics:\n  \
        - type: External\n    external:\n      metric: {name: \"vllm:num_requests_waiting\"}\n      \
        target: {type: Value, value: 10}\n";
    plain(hpa, "error total-with-value");
    plain(
        &hpa.replace("Value, value", "AverageValue, averageValue"),
        "!total-with-value",
    );
}

#[test]
fn elements_and_results() {
    query(
        "sum by (pod) (vllm:num_requests_waiting)",
        "5",
        "error many-elements",
    );
    query("rate(http_requests_total[1m])", "5", "error many-elements");
    query("q", "5", "warning many-elements");
    query("job:queue:sum", "5", "warning many-elements");
    query(
        "sum by (queue) (rabbitmq_queue_messages{queue=\"a\"})",
        "5",
        "!many-elements",
    );
    query(
        "sum(vllm:num_requests_waiting) or vector(0)",
        "5",
        "!many-elements",
    );
    query("sum(", "5", "error query-syntax");
    query("http_requests_total[5m]", "5", "error query-result");
    query("scalar(sum(x_y))", "5", "error query-result");
    query("vector(1)", "5", "!query-result");
}

#[test]
fn labels() {
    let util = |labels: &str| {
        scaled(
            &format!("sum(DCGM_FI_DEV_GPU_UTIL{{{labels}}})"),
            "70",
            "",
            "",
        )
    };
    let with = |exporter, honor_labels| Assumptions {
        exporter,
        honor_labels,
        ..Assumptions::default()
    };
    let honest = with(None, Some(true));
    plain(&util("deployment=\"m\""), "error label-not-exported");
    plain(&util("app=\"m\""), "error label-not-exported");
    plain(&util("pod=~\"m-.*\""), "error label-not-exported");
    check(&util("pod=~\"m-.*\""), &honest, "!label-not-exported");
    plain(&util("exported_pod=~\"m-.*\""), "!label-not-exported");
    check(
        &util("exported_pod=~\"m-.*\""),
        &honest,
        "error label-not-exported",
    );
    plain(&util("namespace=\"prod\""), "warning label-not-exported");
    plain(
        &util("namespace=\"gpu-operator\",exported_namespace=\"prod\""),
        "!label-not-exported",
    );
    plain(
        &util("deployment!=\"m\",cluster=\"c\",gpu=\"0\",pod=~\".*\""),
        "!label-not-exported",
    );
    check(
        &util("deployment=\"m\""),
        &with(Some(Exporter::Rheostat), None),
        "!label-not-exported",
    );
    check(
        &util("pod=~\"m-.*\""),
        &with(Some(Exporter::Rheostat), None),
        "error label-not-exported",
    );
    query(
        "sum(vllm:num_requests_waiting{pod=~\"m-.*\"})",
        "5",
        "!label-not-exported",
    );
    let monitor = "---\napiVersion: monitoring.coreos.com/v1\nkind: ServiceMonitor\nmetadata: {name: dcgm-exporter}\nspec:\n  \
        selector: {matchLabels: {app: dcgm-exporter}}\n  endpoints:\n  - port: metrics\n";
    let keeps = format!("{monitor}    honorLabels: true\n");
    plain(&(util("pod=~\"m-.*\"") + &keeps), "!label-not-exported");
    check(
        &(util("pod=~\"m-.*\"") + &keeps),
        &with(None, Some(false)),
        "error label-not-exported",
    );
    let adds = format!(
        "{monitor}    metricRelabelings:\n    - targetLabel: deployment\n      sourceLabels: [exported_pod]\n"
    );
    plain(&(util("deployment=\"m\"") + &adds), "!label-not-exported");
    // A copy of the workload's label to its own name, and its removal.
    let rule = |lines: &str| format!("{monitor}    metricRelabelings:\n    - {{{lines}}}\n");
    let maps = rule("action: labelmap, regex: exported_(.+)");
    plain(&(util("pod=~\"m-.*\"") + &maps), "!label-not-exported");
    plain(
        &(util("deployment=\"m\"") + &maps),
        "error label-not-exported",
    );
    let drops = rule("action: labeldrop, regex: exported_.*");
    plain(
        &(util("exported_pod=~\"m-.*\"") + &drops),
        "error label-not-exported",
    );
    let meta = rule("action: labelmap, regex: __meta_kubernetes_pod_label_(.+)");
    plain(&(util("team=\"m\"") + &meta), "!label-not-exported");
    plain(&(util("pod=~\"m-.*\"") + &meta), "error label-not-exported");
    // Pod labels on the exporter's page: those that the pods have, and no other.
    let copies = deployment(
        "dcgm-exporter",
        1,
        "",
        "args: [--kubernetes-enable-pod-labels]",
    )
    .replace("name: m\nspec", "name: dcgm-exporter\nspec");
    let pods = deployment("x", 1, "", "");
    plain(&(util("app=\"m\"") + &copies), "!label-not-exported");
    plain(
        &(util("app=\"m\"") + &copies + &pods),
        "!label-not-exported",
    );
    plain(
        &(util("deployment=\"m\"") + &copies + &pods),
        "error label-not-exported",
    );
    plain(
        &(util("pod=~\"m-.*\"") + &copies + &pods),
        "error label-not-exported",
    );
    let text = util("deployment=\"m\"")
        .replace("query: '", "query: >-\n        ")
        .replace(")'\n", ")\n");
    plain(&text, "error label-not-exported");
}

#[test]
fn missing_data() {
    let zero = "minReplicaCount: 0\nmaxReplicaCount: 10";
    query(SUM, "70", "warning missing-is-zero");
    plain(&scaled(SUM, "70", zero, ""), "error missing-is-zero");
    plain(&scaled(SUM, "70", zero, SAFE), "!missing-is-zero");
    query("sum(x_y) or vector(0)", "5", "!missing-is-zero");
    let fallback = |n: u32| {
        format!(
            "minReplicaCount: 2\nmaxReplicaCount: 10\nfallback: {{failureThreshold: 3, replicas: {n}}}"
        )
    };
    plain(
        &scaled(SUM, "70", &fallback(1), SAFE),
        "warning fallback-too-small",
    );
    plain(
        &scaled(SUM, "70", &fallback(2), SAFE),
        "!fallback-too-small",
    );
    let current = fallback(1).replace(
        "replicas: 1",
        "replicas: 1, behavior: currentReplicasIfHigher",
    );
    plain(&scaled(SUM, "70", &current, SAFE), "!fallback-too-small");
    plain(&scaled(SUM, "70", zero, SAFE), "warning jump-to-zero");
    plain(&scaled(SUM, "70", "", SAFE), "!jump-to-zero");
    let idle = "idleReplicaCount: 0\nminReplicaCount: 2\nmaxReplicaCount: 10";
    plain(&scaled(SUM, "70", idle, SAFE), "warning jump-to-zero");
    plain(&scaled(SUM, "70", idle, SAFE), "error no-wake-signal");
    // An idle count takes replicas away as a minimum of 0 does.
    plain(&scaled(SUM, "70", idle, ""), "error missing-is-zero");
    let one = idle.replace("Count: 0", "Count: 1");
    let report = run(&scaled(SUM, "70", &one, ""), &Assumptions::default());
    let finding = find(&report, "missing-is-zero");
    assert!(
        finding.message.contains("idleReplicaCount, 1 replica"),
        "{}",
        finding.message
    );
    let chain = find(&report, "slow-chain");
    assert!(chain.message.contains("poll 30"), "{}", chain.message);
}

#[test]
fn waking_up() {
    let zero = "minReplicaCount: 0\nmaxReplicaCount: 10";
    let cron = "  - type: cron\n    metadata: {timezone: UTC, start: 0 8 * * *, end: 0 9 * * *, desiredReplicas: \"2\"}\n";
    let at_zero = |q: &str| scaled(q, "5", zero, SAFE);
    plain(
        &at_zero("sum(vllm:num_requests_waiting)"),
        "error no-wake-signal",
    );
    plain(
        &at_zero("sum(vllm:num_requests_waiting) or vector(0)"),
        "error no-wake-signal",
    );
    plain(
        &at_zero("sum(vllm:num_requests_waiting) or vector(1)"),
        "!no-wake-signal",
    );
    plain(
        &at_zero("sum(DCGM_FI_DEV_GPU_UTIL)"),
        "warning no-wake-signal",
    );
    plain(
        &at_zero("sum(rabbitmq_queue_messages{queue=\"q\"})"),
        "!no-wake-signal",
    );
    plain(
        &at_zero("sum(rate(istio_requests_total[1m]))"),
        "!no-wake-signal",
    );
    plain(&(at_zero(SUM) + cron), "!no-wake-signal");
    query("sum(vllm:num_requests_waiting)", "5", "!no-wake-signal");
}

#[test]
fn fields_without_effect() {
    let with = |spec: &str, meta: &str| scaled(SUM, "70", spec, meta);
    let one = "minReplicaCount: 1\nmaxReplicaCount: 10";
    plain(
        &with(one, "activationThreshold: \"2\""),
        "warning activation-without-effect",
    );
    plain(
        &with(one, "activationThreshold: \"0\""),
        "!activation-without-effect",
    );
    plain(
        &with("minReplicaCount: 0", "activationThreshold: \"2\""),
        "!activation-without-effect",
    );
    plain(
        &with(
            "minReplicaCount: 1\nidleReplicaCount: 0",
            "activationThreshold: \"2\"",
        ),
        "!activation-without-effect",
    );
    plain(&with(one, "metricName: x"), "warning ignored-field");
    plain(&with(one, "treshold: \"1\""), "warning ignored-field");
    plain(&with(one, "timeout: 1s"), "!ignored-field");
    let spec = |more: &str| with(&format!("{one}\n{more}"), "");
    plain(&spec("pollingInterval: 5"), "note ignored-field");
    plain(&spec("cooldownPeriod: 60"), "note ignored-field");
    plain(
        &spec("pollingInterval: 5\nfallback: {failureThreshold: 3, replicas: 2}"),
        "!ignored-field",
    );
    plain(
        &with(
            "minReplicaCount: 0\ncooldownPeriod: 60\npollingInterval: 5",
            "",
        ),
        "!ignored-field",
    );
    let report = run(&spec("maxReplicas: 5"), &Assumptions::default());
    assert!(
        find(&report, "ignored-field")
            .fix
            .contains("maxReplicaCount")
    );
}

#[test]
fn pools_and_pods() {
    let tolerates = "tolerations:\n- {key: sku, operator: Equal, value: gpu, effect: NoSchedule}";
    let three = "minReplicaCount: 1\nmaxReplicaCount: 3";
    let text = |max: u32, gpus: u32, pod: &str| {
        scaled(
            SUM,
            "70",
            &format!("minReplicaCount: 1\nmaxReplicaCount: {max}"),
            SAFE,
        ) + &deployment("x", gpus, pod, "")
    };
    let pool = with_pools(&[GPUNP]);
    check(&text(3, 1, tolerates), &pool, "!max-beyond-pool");
    check(&text(4, 1, tolerates), &pool, "error max-beyond-pool");
    check(&text(4, 1, ""), &pool, "error no-pool-fits");
    check(&text(4, 1, ""), &pool, "!max-beyond-pool");
    check(&text(1, 2, tolerates), &pool, "error no-pool-fits");
    check(&text(3, 1, tolerates), &pool, "!no-pool-fits");
    let eight = with_pools(&["name=big,sku=Standard_ND96isr_H100_v5,min=0,max=2"]);
    check(&text(16, 1, ""), &eight, "!max-beyond-pool");
    check(&text(17, 1, ""), &eight, "error max-beyond-pool");
    check(&text(5, 3, ""), &eight, "error max-beyond-pool");
    check(&text(4, 3, ""), &eight, "!max-beyond-pool");
    check(&text(4, 3, ""), &eight, "warning gang");
    check(&text(3, 1, tolerates), &eight, "!gang");
    let mig = (scaled(SUM, "70", three, SAFE) + &deployment("x", 1, "", ""))
        .replace("nvidia.com/gpu: 1", "nvidia.com/mig-1g.10gb: 1");
    check(&mig, &eight, "error no-pool-fits");
    let default_max = scaled(SUM, "70", "minReplicaCount: 1", SAFE) + &deployment("x", 1, "", "");
    let report = run(&default_max, &eight);
    assert!(
        find(&report, "max-beyond-pool")
            .message
            .contains("100 (the default")
    );
    let both = with_pools(&["name=cpu,sku=Standard_D4s_v5,count=2", GPUNP]);
    check(&text(4, 1, tolerates), &both, "error max-beyond-pool");
    check(&text(4, 1, ""), &both, "error no-pool-fits");
    let cpu = text(30, 1, "").replace("nvidia.com/gpu: 1", "cpu: 1");
    check(&cpu, &pool, "!no-pool-fits");
    check(&cpu, &pool, "!max-beyond-pool");
    let hpa = "---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: h}\nspec:\n  \
        scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: m}\n  maxReplicas: 9\n";
    check(
        &(deployment("x", 1, tolerates, "") + hpa),
        &pool,
        "error max-beyond-pool",
    );
}

#[test]
fn pools_from_zero() {
    let text = |pod: &str| {
        scaled(SUM, "70", "minReplicaCount: 1\nmaxReplicaCount: 2", SAFE)
            + &deployment("x", 1, pod, "")
    };
    let zero = with_pools(&["name=gpu,sku=Standard_NC40ads_H100_v5,min=0,max=3"]);
    let label = "nodeSelector: {team: ml}";
    check(&text(label), &zero, "warning pool-from-zero");
    check(&text(label), &zero, "!no-pool-fits");
    check(
        &text(label),
        &with_pools(&["name=gpu,gpus=1,min=0,max=3,label=team=ml"]),
        "!pool-from-zero",
    );
    check(
        &text(label),
        &with_pools(&["name=gpu,gpus=1,min=1,max=3"]),
        "!pool-from-zero",
    );
    check(
        &text(label),
        &with_pools(&["name=gpu,gpus=1,min=0,max=3,label=team=web"]),
        "error no-pool-fits",
    );
    check(
        &text("nodeSelector: {agentpool: gpu, kubernetes.io/arch: amd64}"),
        &zero,
        "!pool-from-zero",
    );
    check(
        &text("nodeSelector: {agentpool: other}"),
        &zero,
        "error no-pool-fits",
    );
    check(
        &text("nodeSelector: {kubernetes.azure.com/accelerator: nvidia}"),
        &zero,
        "warning pool-from-zero",
    );
    let t4 = with_pools(&["name=gpu,sku=Standard_NC4as_T4_v3,min=0,max=3"]);
    check(
        &text("nodeSelector: {kubernetes.azure.com/accelerator: nvidia}"),
        &t4,
        "!pool-from-zero",
    );
    check(&text(""), &zero, "!pool-from-zero");
    check(
        &text(""),
        &with_pools(&["name=gpu,cpu=8,min=0,max=3"]),
        "warning pool-from-zero",
    );
    check(
        &text(""),
        &with_pools(&["name=gpu,gpus=1,min=0,max=3"]),
        "!pool-from-zero",
    );
    let affinity = "affinity:\n  nodeAffinity:\n    requiredDuringSchedulingIgnoredDuringExecution:\n      \
        nodeSelectorTerms:\n      - matchExpressions:\n        - {key: nvidia.com/gpu.product, operator: In, values: [A]}";
    check(&text(affinity), &zero, "warning pool-from-zero");
}

#[test]
fn targets_out_of_reach() {
    query(
        "avg(DCGM_FI_PROF_GR_ENGINE_ACTIVE)",
        "80",
        "error unreachable-target",
    );
    query(
        "avg(DCGM_FI_PROF_GR_ENGINE_ACTIVE)",
        "0.8",
        "!unreachable-target",
    );
    query(
        "sum(DCGM_FI_PROF_GR_ENGINE_ACTIVE)",
        "80",
        "error unreachable-target",
    );
    query("sum(DCGM_FI_DEV_GPU_UTIL)", "70", "!unreachable-target");
    plain(
        &scaled("avg(DCGM_FI_DEV_GPU_UTIL)", "120", "", "~metricType: Value"),
        "error unreachable-target",
    );
    let one = |t: &str| scaled(SUM, t, "", "") + &deployment("x", 1, "", "");
    plain(&one("95"), "error unreachable-target");
    plain(&one("90"), "!unreachable-target");
    let slots = |n: u32, t: &str| {
        let args = format!("args: [\"--max-num-seqs={n}\"]");
        scaled("sum(vllm:num_requests_running)", t, "", "")
            + &deployment("vllm/vllm-openai", 1, "", &args)
    };
    plain(&slots(16, "32"), "error unreachable-target");
    plain(&slots(64, "32"), "!unreachable-target");
    let llama = scaled("sum(llamacpp:requests_processing)", "2", "", "")
        + &deployment("llama.cpp", 1, "", "");
    plain(&llama, "error unreachable-target");
    // Messages repeat what is written: this flag, this tolerance.
    let message = |text: &str| {
        let report = run(text, &Assumptions::default());
        find(&report, "unreachable-target").message.clone()
    };
    let short = scaled("sum(llamacpp:requests_processing)", "2", "", "")
        + &deployment("llama.cpp", 1, "", "args: [-np, \"2\"]");
    let said = message(&short);
    assert!(said.contains("(-np 2)"), "{said}");
    let wide = "minReplicaCount: 1\nadvanced: {horizontalPodAutoscalerConfig: {behavior: {scaleUp: {tolerance: 500m}}}}";
    let said = message(
        &(scaled(
            "avg(DCGM_FI_DEV_GPU_UTIL)",
            "70",
            wide,
            "~metricType: Value",
        ) + &deployment("x", 1, "", "")),
    );
    assert!(said.contains("tolerance of 50 %"), "{said}");
}

#[test]
fn signals() {
    let on = |image: &str, q: &str| scaled(q, "20000", "", "") + &deployment(image, 1, "", "");
    plain(
        &on("vllm/vllm-openai", "sum(DCGM_FI_DEV_FB_USED)"),
        "warning memory-as-load",
    );
    plain(
        &on("my/server", "sum(DCGM_FI_DEV_FB_USED)"),
        "note memory-as-load",
    );
    plain(
        &on("vllm/vllm-openai", "sum(vllm:num_requests_waiting)"),
        "!memory-as-load",
    );
    query(SUM, "70", "note saturating-signal");
    let slow = "minReplicaCount: 2\nmaxReplicaCount: 4\nadvanced: {horizontalPodAutoscalerConfig: {behavior: {scaleUp: {policies: [{type: Pods, value: 1, periodSeconds: 60}]}}}}";
    let report = run(&scaled(SUM, "20", slow, ""), &Assumptions::default());
    let said = &find(&report, "saturating-signal").message;
    assert!(
        said.contains("5 evaluations (15 s each) under behavior.scaleUp from 2 to 4"),
        "{said}"
    );
    query("sum(DCGM_FI_PROF_SM_ACTIVE)", "0.7", "!saturating-signal");
    let mig = |q: &str| {
        (scaled(q, "70", "", "") + &deployment("x", 1, "", ""))
            .replace("nvidia.com/gpu: 1", "nvidia.com/mig-1g.10gb: 1")
    };
    plain(&mig(SUM), "warning shared-gpu");
    plain(&mig("sum(DCGM_FI_PROF_GR_ENGINE_ACTIVE)"), "!shared-gpu");
    let sliced = "nodeSelector: {nvidia.com/gpu.sharing-strategy: time-slicing}";
    plain(
        &(scaled(SUM, "70", "", "") + &deployment("x", 1, sliced, "")),
        "warning shared-gpu",
    );
    plain(
        &(scaled(SUM, "70", "", "") + &deployment("x", 1, "", "")),
        "!shared-gpu",
    );
    let spread = scaled(SUM, "70", "", "")
        + &deployment(
            "vllm",
            8,
            "",
            "args: [serve, --tensor-parallel-size, \"8\", --pipeline-parallel-size, \"2\"]",
        );
    let report = run(&spread, &Assumptions::default());
    assert!(
        find(&report, "gang")
            .message
            .contains("16 GPUs and a pod has 8")
    );
}

#[test]
fn time() {
    let lag = |s| Assumptions {
        ready_lag: Some(Duration::from_secs(s)),
        ..Assumptions::default()
    };
    let behavior = |up: &str, down: &str| {
        format!(
            "minReplicaCount: 1\nmaxReplicaCount: 10\nadvanced:\n  horizontalPodAutoscalerConfig:\n    behavior:\n      scaleUp: {up}\n      scaleDown: {down}"
        )
    };
    plain(&scaled(SUM, "70", "", ""), "!shorter-than-ready");
    check(
        &scaled(SUM, "70", "", ""),
        &lag(120),
        "warning shorter-than-ready",
    );
    let calm = behavior(
        "{policies: [{type: Pods, value: 2, periodSeconds: 180}]}",
        "{stabilizationWindowSeconds: 300}",
    );
    check(
        &scaled(SUM, "70", &calm, ""),
        &lag(120),
        "!shorter-than-ready",
    );
    let calm = behavior(
        "{stabilizationWindowSeconds: 120}",
        "{stabilizationWindowSeconds: 60}",
    );
    check(
        &scaled(SUM, "70", &calm, ""),
        &lag(120),
        "warning shorter-than-ready",
    );
    let window = |s: u32| behavior("{}", &format!("{{stabilizationWindowSeconds: {s}}}"));
    plain(
        &scaled("sum(rate(x_total[10m]))", "5", &window(60), ""),
        "warning shorter-than-ready",
    );
    plain(
        &scaled("sum(rate(x_total[1m]))", "5", &window(60), ""),
        "!shorter-than-ready",
    );
    let service =
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {selector: {app: m}}\n";
    let workload = scaled(SUM, "70", "", "") + &deployment("x", 1, "", "");
    plain(&workload, "note scale-down-without-drain");
    plain(
        &(workload.clone() + service),
        "warning scale-down-without-drain",
    );
    plain(
        &(workload + &service.replace("app: m", "app: n")),
        "note scale-down-without-drain",
    );
    let hook = "lifecycle: {preStop: {exec: {command: [sleep, \"60\"]}}}";
    plain(
        &(scaled(SUM, "70", "", "") + &deployment("x", 1, "", hook) + service),
        "!scale-down-without-drain",
    );
    let mut goal = lag(240);
    goal.objective = Some(Duration::from_secs(120));
    let report = run(&scaled(SUM, "70", "", ""), &goal);
    let chain = find(&report, "slow-chain");
    assert!(
        chain.message.contains("316 s") && chain.message.contains("196 s more"),
        "{}",
        chain.message
    );
}

#[test]
fn writers() {
    let one = scaled(SUM, "70", "", SAFE);
    let two = one.replace("name: m\nspec", "name: m2\nspec");
    plain(&format!("{one}---\n{two}"), "error two-writers");
    let elsewhere = two.replace("name: m2\n", "name: m2\n  namespace: other\n");
    plain(&format!("{one}---\n{elsewhere}"), "!two-writers");
    plain(&format!("{one}---\n{one}"), "!two-writers");
    let hpa = |name: &str, target: &str| {
        format!(
            "---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: {name}}}\nspec:\n  \
         scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: {target}}}\n  maxReplicas: 5\n"
        )
    };
    plain(&(one.clone() + &hpa("h", "m")), "error two-writers");
    plain(
        &(one.clone() + &hpa("keda-hpa-m", "other")),
        "error two-writers",
    );
    plain(&(one.clone() + &hpa("h", "other")), "!two-writers");
    plain(&(hpa("a", "m") + &hpa("b", "m")), "error two-writers");
    let marked = deployment("x", 1, "", "").replace(
        "spec:\n  selector",
        "  annotations: {argocd.argoproj.io/tracking-id: a}\nspec:\n  replicas: 2\n  selector",
    );
    plain(&(one.clone() + &marked), "warning two-writers");
    plain(
        &(one.clone() + &marked.replace("  replicas: 2\n", "")),
        "!two-writers",
    );
    plain(
        &(one + &marked.replace("argocd.argoproj.io/tracking-id", "note")),
        "!two-writers",
    );
}

#[test]
fn refusals() {
    let spec = |lines: &str| scaled(SUM, "70", lines, SAFE);
    plain(
        &spec("minReplicaCount: 5\nmaxReplicaCount: 2"),
        "error spec-value",
    );
    plain(
        &spec("minReplicaCount: 2\nidleReplicaCount: 2"),
        "error spec-value",
    );
    plain(&scaled(SUM, "five", "", ""), "error spec-value");
    plain(
        &scaled(SUM, "70", "", "~metricType: Average"),
        "error spec-value",
    );
    plain(
        &scaled(SUM, "70", "", "~metricType: Utilization"),
        "error spec-value",
    );
    plain(
        &scaled(SUM, "70", "", "authModes: bearer"),
        "error spec-value",
    );
    // What a TriggerAuthentication elsewhere brings is not known.
    let elsewhere = scaled(SUM, "70", "", "~authenticationRef: {name: a}").replace(
        "threshold: '70'",
        "threshold: '70'\n      authModes: bearer",
    );
    plain(&elsewhere, "!spec-value");
    let here = "---\napiVersion: keda.sh/v1alpha1\nkind: TriggerAuthentication\nmetadata: {name: a}\n\
                spec: {secretTargetRef: [{parameter: username, name: s, key: k}]}\n";
    plain(&(elsewhere + here), "error spec-value");
    plain(
        &scaled(SUM, "70", "", "").replace("'70'", "70"),
        "error spec-value",
    );
    plain(
        &spec("").replace("type: prometheus", "type: promethius"),
        "error spec-value",
    );
    plain(&spec(""), "!spec-value");
    let bad = "minReplicaCount: 1\nadvanced: {horizontalPodAutoscalerConfig: {behavior: {scaleDown: {policies: [{type: Pod, value: 1, periodSeconds: 60}]}}}}";
    plain(&spec(bad), "error spec-value");
    assert!(!all(&spec(bad)).is_empty());
}

#[test]
fn lists_json_and_bad_yaml() {
    let list = r#"{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject", "metadata": {"name": "m"}, "spec": {"scaleTargetRef": {"name": "m"},
        "minReplicaCount": 1, "triggers": [{"type": "prometheus", "metadata": {"serverAddress":
        "http://p", "threshold": "70",
        "query": "sum(DCGM_FI_DEV_GPU_UTIL{deployment=\"m\"})"}}]}}]}"#;
    let report = run(list, &Assumptions::default());
    assert_eq!(find(&report, "label-not-exported").span.line, 5);
    let source = support::source("bad.yaml", "a: 1\nb: [1\nc: 2\n");
    let error = lint::lint(&[source], &Assumptions::default()).unwrap_err();
    assert_eq!((error.file.as_str(), error.line), ("bad.yaml", 3));
}

#[test]
fn triggers_are_read_as_the_operator_reads_them() {
    // A trigger that only feeds a formula needs no target of its own.
    let pods = |value: &str| {
        scaled(
            SUM,
            "70",
            "advanced: {scalingModifiers: {formula: a + b, target: \"70\"}}",
            "~name: a",
        ) + &format!(
            "  - type: kubernetes-workload\n    name: b\n    metadata: {{podSelector: app=m{value}}}\n"
        )
    };
    plain(&pods(""), "!spec-value");
    let alone = pods("").replace("advanced:", "x-advanced:");
    plain(&alone, "error spec-value");
    // The HPA gets three decimals: this target is one thousandth, not none.
    query("sum(x_y)", "0.0009", "!spec-value");
    query("sum(x_y)", "0.0004", "error spec-value");
    // Blank parameters are absent ones, for every rule.
    let blank = scaled(SUM, "70", "", "ignoreNullValues: \" \"");
    plain(&blank, "warning missing-is-zero");
}
