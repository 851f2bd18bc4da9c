//! Each patch does what its finding asks for: applied, the finding is gone and
//! nothing that the API server or KEDA refuses has come instead.

#![allow(clippy::unwrap_used)]

mod support;

use lint::{Assumptions, Finding, Source};
use serde_json::Value;
use support::{GPUNP, deployment, scaled, with_pools};

fn documents(text: &str) -> Vec<Value> {
    let documents = api::yaml::parse_documents(text).unwrap();
    documents.into_iter().map(|d| d.value).collect()
}

fn run(documents: &[Value], assumptions: &Assumptions) -> Vec<Finding> {
    let texts: Vec<String> = documents.iter().map(api::yaml::to_string).collect();
    let source = Source {
        name: "m.yaml".to_owned(),
        text: texts.join("---\n"),
    };
    lint::lint(&[source], assumptions).unwrap().findings
}

fn same(findings: &[Finding], one: &Finding) -> usize {
    let same = |f: &&Finding| f.id == one.id && f.object == one.object;
    findings.iter().filter(same).count()
}

/// The documents with the patch of a finding.
fn patched(documents: &[Value], finding: &Finding) -> Vec<Value> {
    let patch = api::yaml::parse(finding.patch.as_ref().unwrap()).unwrap();
    let patch: json_patch::Patch = serde_json::from_value(patch).unwrap();
    let mut all = documents.to_vec();
    let named = |d: &&mut Value| {
        let title = format!(
            "{} {}",
            d["kind"].as_str().unwrap_or(""),
            d["metadata"]["name"].as_str().unwrap_or("")
        );
        title == finding.object
    };
    let object = all.iter_mut().find(named).unwrap();
    json_patch::patch(object, &patch).unwrap();
    all
}

#[test]
fn every_patch_ends_its_finding() {
    let article = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples/aks-article/manifests");
    let read = |name: &str| std::fs::read_to_string(article.join(name)).unwrap();
    let pod = "tolerations: [{key: sku, operator: Equal, value: gpu, effect: NoSchedule}]";
    let workload = deployment("vllm/vllm-openai", 1, pod, "");
    let marked = workload.replace(
        "spec:\n  selector",
        "  labels: {app.kubernetes.io/managed-by: Helm}\nspec:\n  replicas: 2\n  selector",
    );
    let zero = "minReplicaCount: 0\nmaxReplicaCount: 9";
    let idle = "minReplicaCount: 2\nidleReplicaCount: 0\nmaxReplicaCount: 9";
    let hpa = "---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: h}\n\
        spec:\n  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: m}\n  maxReplicas: 9\n";
    let cases = [
        read("keda-gpu-scaler-prometheus.yaml") + "---\n" + &read("my-gpu-workload.yaml"),
        scaled("avg(DCGM_FI_DEV_GPU_UTIL)", "80", "", "") + &marked,
        scaled(
            "max(DCGM_FI_PROF_SM_ACTIVE{pod=~\"m-.*\"})",
            "0.5",
            zero,
            "",
        ) + &workload,
        scaled(
            "sum(vllm:num_requests_waiting)",
            "5",
            zero,
            "~metricType: Value",
        ) + &workload,
        scaled("avg(vllm:num_requests_waiting)", "5", idle, "") + &workload,
        scaled(
            "sum(DCGM_FI_DEV_GPU_UTIL{gpu=\"0\", namespace = \"a\"})",
            "95",
            "",
            "",
        ) + &workload,
        workload.clone() + hpa,
    ];
    let assumptions = with_pools(&[GPUNP]);
    let mut seen = std::collections::BTreeSet::new();
    for text in cases {
        let documents = documents(&text);
        let before = run(&documents, &assumptions);
        let mut all = documents.clone();
        for finding in before.iter().filter(|f| f.patch.is_some()) {
            seen.insert(finding.id);
            let after = run(&patched(&documents, finding), &assumptions);
            let what = format!("{}: {:?}\n{text}", finding.id, finding.patch);
            assert!(same(&after, finding) < same(&before, finding), "{what}");
            all = patched(&all, finding);
        }
        // Together they do not get in one another's way.
        let after = run(&all, &assumptions);
        let refused = after.iter().find(|f| f.id == "spec-value");
        assert!(refused.is_none(), "{refused:?}\n{text}");
        for finding in before.iter().filter(|f| f.patch.is_some()) {
            assert!(
                same(&after, finding) < same(&before, finding),
                "{}",
                finding.id
            );
        }
    }
    assert_eq!(
        seen.into_iter().collect::<Vec<_>>(),
        [
            "activation-without-effect",
            "bounded-metric-ceiling",
            "ignored-field",
            "label-not-exported",
            "max-beyond-pool",
            "missing-is-zero",
            "total-with-value",
            "two-writers",
            "unreachable-target",
        ]
    );
}
