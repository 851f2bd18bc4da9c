//! The article's manifests, a corrected form, and their siblings from public
//! guides.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;

use lint::{Assumptions, Exporter, Report, Source};
use support::{GPUNP, all, bad, deployment, find, of, scaled, with_pools};

fn folder(name: &str) -> Vec<Source> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples/aks-article")
        .join(name);
    ["keda-gpu-scaler-prometheus.yaml", "my-gpu-workload.yaml"]
        .iter()
        .map(|file| Source {
            name: (*file).to_owned(),
            text: std::fs::read_to_string(folder.join(file)).unwrap(),
        })
        .collect()
}

fn article(assumptions: &Assumptions) -> Report {
    lint::lint(&folder("manifests"), assumptions).unwrap()
}

#[test]
fn the_articles_manifests_have_exactly_their_six_traps() {
    let report = article(&with_pools(&[GPUNP]));
    assert_eq!(
        bad(&report),
        [
            "error label-not-exported",
            "error max-beyond-pool",
            "warning activation-without-effect",
            "warning bounded-metric-ceiling",
            "warning ignored-field",
            "warning missing-is-zero",
        ]
    );
    let ceiling = find(&report, "bounded-metric-ceiling");
    assert!(
        ceiling.message.contains("ceil(100/5) = 20"),
        "{}",
        ceiling.message
    );
    assert!(ceiling.message.contains("at 70 it would be 2"));
    let beyond = find(&report, "max-beyond-pool");
    assert!(beyond.message.contains("20 > 3"), "{}", beyond.message);
    let label = find(&report, "label-not-exported");
    let text = &folder("manifests")[0].text;
    assert_eq!(
        &text[label.span.start..label.span.end],
        "deployment=\"my-gpu-workload\""
    );
    let line = text.lines().nth(label.span.line - 1).unwrap();
    let column: String = line.chars().skip(label.span.column - 1).collect();
    assert!(column.starts_with("deployment="));
    assert!(label.assumptions[0].contains("--exporter"));
}

#[test]
fn rheostats_exporter_carries_the_deployment() {
    let mut assumptions = with_pools(&[GPUNP]);
    assumptions.exporter = Some(Exporter::Rheostat);
    let report = article(&assumptions);
    assert!(
        !bad(&report)
            .iter()
            .any(|f| f.contains("label-not-exported"))
    );
    assert_eq!(bad(&report).len(), 5);
}

#[test]
fn without_pools_the_rules_about_them_are_silent() {
    let report = article(&Assumptions::default());
    assert!(!bad(&report).iter().any(|f| f.contains("pool")));
}

#[test]
fn the_corrected_form_has_neither_error_nor_warning() {
    let report = lint::lint(&folder("corrected"), &with_pools(&[GPUNP])).unwrap();
    assert_eq!(bad(&report), Vec::<String>::new());
    let report = lint::lint(&folder("corrected"), &Assumptions::default()).unwrap();
    assert_eq!(bad(&report), Vec::<String>::new());
}

#[test]
fn siblings_from_public_guides_have_their_traps() {
    let util = "avg(DCGM_FI_DEV_GPU_UTIL{exported_pod=~\"m-.*\"})";
    let fifty = "minReplicaCount: 1\nmaxReplicaCount: 50";
    let zero = "minReplicaCount: 0\nmaxReplicaCount: 10";
    let sum = "sum(DCGM_FI_DEV_GPU_UTIL{exported_pod=~\"m-.*\"})";
    let vllm = deployment("vllm/vllm-openai:latest", 1, "", "");
    let memory = scaled("max(DCGM_FI_DEV_FB_USED)", "20000", "", "") + &vllm;
    let table = [
        (
            scaled(util, "80", fifty, ""),
            "error bounded-metric-ceiling",
        ),
        (
            scaled("vllm:num_requests_waiting", "5", "", ""),
            "error many-elements",
        ),
        (
            scaled("avg(vllm:num_requests_running)", "10", "", ""),
            "error total-with-value",
        ),
        (
            scaled("avg(DCGM_FI_PROF_GR_ENGINE_ACTIVE)", "0.8", "", ""),
            "error bounded-metric-ceiling",
        ),
        (memory, "warning memory-as-load"),
        (scaled(sum, "70", zero, ""), "error no-wake-signal"),
        (
            scaled(
                "sum(vllm:num_requests_waiting)",
                "10",
                "",
                "~metricType: Value",
            ),
            "error total-with-value",
        ),
    ];
    for (text, wanted) in table {
        let found = all(&text);
        assert!(
            found.iter().any(|f| f == wanted),
            "{wanted} not in {found:?}\n{text}"
        );
    }
    let report = support::run(&scaled(util, "80", fifty, ""), &Assumptions::default());
    assert!(
        find(&report, "bounded-metric-ceiling")
            .message
            .contains("= 2 replicas")
    );
}

#[test]
fn a_note_stays_a_note_while_the_exporter_is_assumed() {
    let text = scaled("sum(DCGM_FI_DEV_GPU_UTIL)", "70", "", "");
    let with = |exporter| Assumptions {
        exporter,
        ..Assumptions::default()
    };
    let has = |exporter, wanted: &str| of(&text, &with(exporter)).iter().any(|f| f == wanted);
    assert!(has(None, "note renamed-metric"));
    assert!(has(Some(Exporter::Dcgm49), "warning renamed-metric"));
    assert!(!has(Some(Exporter::Dcgm), "note renamed-metric"));
    assert!(!has(Some(Exporter::Rheostat), "note renamed-metric"));
}
