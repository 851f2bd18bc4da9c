//! What linting costs: 1,000 documents, half of them ScaledObjects, half
//! Deployments, with pools. `cargo run --release -p rheostat-lint --example
//! lint_cost`.

use std::fmt::Write as _;
use std::time::Instant;

use api::pool::Pool;
use lint::{Assumptions, Source};

fn main() {
    let mut text = String::new();
    for n in 0..500 {
        let _ = write!(
            text,
            "---\napiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata:\n  name: m{n}\nspec:\n  \
             scaleTargetRef:\n    name: m{n}\n  minReplicaCount: 1\n  maxReplicaCount: 20\n  triggers:\n  \
             - type: prometheus\n    metadata:\n      serverAddress: http://prometheus:9090\n      \
             metricName: x\n      query: avg(DCGM_FI_DEV_GPU_UTIL{{deployment=\"m{n}\"}})\n      \
             threshold: '5'\n      activationThreshold: '2'\n---\napiVersion: apps/v1\nkind: \
             Deployment\nmetadata:\n  name: m{n}\nspec:\n  selector:\n    matchLabels: {{app: m{n}}}\n  \
             template:\n    metadata:\n      labels: {{app: m{n}}}\n    spec:\n      tolerations:\n      \
             - {{key: sku, value: gpu, effect: NoSchedule}}\n      containers:\n      - name: c\n        \
             image: x\n        resources:\n          limits:\n            nvidia.com/gpu: 1\n"
        );
    }
    let pools = Pool::parse_all(&[
        "name=gpunp,sku=Standard_NC40ads_H100_v5,min=0,max=3,taint=sku=gpu:NoSchedule",
        "name=cpu,sku=Standard_D4s_v5,count=2",
    ]);
    let assumptions = Assumptions {
        pools: pools.unwrap_or_default(),
        ..Assumptions::default()
    };
    let sources = [Source {
        name: "all.yaml".to_owned(),
        text,
    }];
    let start = Instant::now();
    let report = lint::lint(&sources, &assumptions).unwrap_or_default();
    let took = start.elapsed().as_secs_f64();
    println!(
        "{} objects, {} findings: {took:.3} s",
        report.objects,
        report.findings.len()
    );
}
