//! What linting and printing cost: documents, half of them ScaledObjects, half
//! Deployments, with pools; once and twice as many of them, as documents and as
//! items of one List. `cargo run --release -p rheostat-lint --example
//! lint_cost`.

use std::fmt::Write as _;
use std::time::Instant;

use api::pool::Pool;
use lint::{Assumptions, Source, Text};

/// `count` ScaledObjects with their Deployments, one document each.
fn documents(count: usize) -> Vec<String> {
    let mut out = Vec::new();
    for n in 0..count {
        out.push(format!(
            "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata:\n  name: m{n}\nspec:\n  \
             scaleTargetRef:\n    name: m{n}\n  minReplicaCount: 1\n  maxReplicaCount: 20\n  triggers:\n  \
             - type: prometheus\n    metadata:\n      serverAddress: http://prometheus:9090\n      \
             metricName: x\n      query: avg(DCGM_FI_DEV_GPU_UTIL{{deployment=\"m{n}\"}})\n      \
             threshold: '5'\n      activationThreshold: '2'\n"
        ));
        out.push(format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: m{n}\nspec:\n  selector:\n    \
             matchLabels: {{app: m{n}}}\n  template:\n    metadata:\n      labels: {{app: m{n}}}\n    \
             spec:\n      tolerations:\n      - {{key: sku, value: gpu, effect: NoSchedule}}\n      \
             containers:\n      - name: c\n        image: x\n        resources:\n          limits:\n            \
             nvidia.com/gpu: 1\n"
        ));
    }
    out
}

/// The documents as items of one List.
fn list(documents: &[String]) -> String {
    let mut out = "apiVersion: v1\nkind: List\nitems:\n".to_owned();
    for document in documents {
        for (n, line) in document.lines().enumerate() {
            let _ = writeln!(out, "{}{line}", if n == 0 { "- " } else { "  " });
        }
    }
    out
}

fn measure(what: &str, text: String, assumptions: &Assumptions) {
    let sources = [Source {
        name: "all.yaml".to_owned(),
        text,
    }];
    let start = Instant::now();
    let report = lint::lint(&sources, assumptions).unwrap_or_default();
    let linted = start.elapsed().as_secs_f64();
    let style = Text {
        colour: false,
        width: 100,
    };
    let start = Instant::now();
    let printed = lint::text(&report, &sources, style).len();
    println!(
        "{what}: {} objects, {} findings: lint {linted:.3} s, {printed} bytes of text {:.3} s",
        report.objects,
        report.findings.len(),
        start.elapsed().as_secs_f64()
    );
}

fn main() {
    let pools = Pool::parse_all(&[
        "name=gpunp,sku=Standard_NC40ads_H100_v5,min=0,max=3,taint=sku=gpu:NoSchedule",
        "name=cpu,sku=Standard_D4s_v5,count=2",
    ]);
    let assumptions = Assumptions {
        pools: pools.unwrap_or_default(),
        ..Assumptions::default()
    };
    for count in [500, 1_000, 2_000] {
        let documents = documents(count);
        measure("documents", documents.join("---\n"), &assumptions);
        measure("one List", list(&documents), &assumptions);
    }
}
