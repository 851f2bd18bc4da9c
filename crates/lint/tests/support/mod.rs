//! Short ways to lint a text and to name what was found.

#![allow(dead_code)]

use api::pool::Pool;
use lint::{Assumptions, Finding, Report, Severity, Source};

/// The article's pool.
pub const GPUNP: &str =
    "name=gpunp,sku=Standard_NC40ads_H100_v5,gpus=1,min=0,max=3,taint=sku=gpu:NoSchedule";

pub fn source(name: &str, text: &str) -> Source {
    Source {
        name: name.to_owned(),
        text: text.to_owned(),
    }
}

pub fn run(text: &str, assumptions: &Assumptions) -> Report {
    lint::lint(&[source("m.yaml", text)], assumptions).expect("readable manifests")
}

pub fn with_pools(pools: &[&str]) -> Assumptions {
    Assumptions {
        pools: Pool::parse_all(pools).expect("valid pools"),
        ..Assumptions::default()
    }
}

/// `error bounded-metric-ceiling`, sorted, notes left out.
pub fn bad(report: &Report) -> Vec<String> {
    let mut all: Vec<String> = report
        .findings
        .iter()
        .filter(|f| f.severity != Severity::Note)
        .map(|f| format!("{} {}", f.severity, f.id))
        .collect();
    all.sort();
    all
}

/// Every finding as `severity id`.
pub fn all(text: &str) -> Vec<String> {
    of(text, &Assumptions::default())
}

pub fn of(text: &str, assumptions: &Assumptions) -> Vec<String> {
    let report = run(text, assumptions);
    let names = report.findings.iter();
    names.map(|f| format!("{} {}", f.severity, f.id)).collect()
}

pub fn find<'r>(report: &'r Report, id: &str) -> &'r Finding {
    let found = report.findings.iter().find(|f| f.id == id);
    found.unwrap_or_else(|| panic!("no {id} in {:?}", bad(report)))
}

/// A ScaledObject with one prometheus trigger; `spec` and `meta` are further
/// lines of YAML, without indentation.
pub fn scaled(query: &str, threshold: &str, spec: &str, meta: &str) -> String {
    let indent = |lines: &str, by: usize| -> String {
        let pad = " ".repeat(by);
        lines.lines().map(|l| format!("{pad}{l}\n")).collect()
    };
    let bounds = match spec.contains("ReplicaCount") {
        true => "",
        false => "  minReplicaCount: 1\n  maxReplicaCount: 10\n",
    };
    format!(
        "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata:\n  name: m\nspec:\n  \
         scaleTargetRef:\n    name: m\n{bounds}{}  triggers:\n  - type: prometheus\n    \
         metadata:\n      serverAddress: http://prometheus:9090\n      query: '{}'\n      \
         threshold: '{threshold}'\n{}",
        indent(spec, 2),
        query.replace('\'', "''"),
        indent(meta, if meta.starts_with('~') { 0 } else { 6 }).replace("~", "    "),
    )
}

/// A Deployment `m`; `pod` are lines of the pod spec, `container` of its
/// container.
pub fn deployment(image: &str, gpus: u32, pod: &str, container: &str) -> String {
    let indent = |lines: &str, by: usize| -> String {
        let pad = " ".repeat(by);
        lines.lines().map(|l| format!("{pad}{l}\n")).collect()
    };
    format!(
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: m\nspec:\n  selector:\n    \
         matchLabels:\n      app: m\n  template:\n    metadata:\n      labels:\n        app: m\n    \
         spec:\n{}      containers:\n      - name: m\n        image: {image}\n{}        \
         resources:\n          limits:\n            nvidia.com/gpu: {gpus}\n",
        indent(pod, 6),
        indent(container, 8),
    )
}
