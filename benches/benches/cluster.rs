//! The embedded control plane and the whole lab.

use std::path::Path;
use std::time::Duration;

use benches::{Report, best};
use cluster::{ClientService, Cluster};
use http_body_util::BodyExt as _;
use lab::story::Applier;
use lab::{Lab, LabOptions};
use serde_json::json;
use tower::ServiceExt as _;

const PODS: usize = 3_000;
const DAY: Duration = Duration::from_secs(24 * 3600);

fn main() {
    let mut report = Report::new("embedded control plane and lab, one core");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap_or_else(|e| panic!("{e}"));
    let clock = clock::Clock::simulated(jiff::Timestamp::UNIX_EPOCH);
    let cluster = Cluster::new(cluster::Options { seed: 1, clock });
    for n in 0..PODS {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("w-{n:04}"), "namespace": "default", "labels": {"app": "w"}},
            "spec": {"containers": [{"name": "c", "image": "x"}]},
        });
        if let Err(error) = cluster.create("pods", pod) {
            panic!("{}", error.message);
        }
    }
    let service = cluster.client_service();
    let path = "/api/v1/namespaces/default/pods";
    let list = best(10, || {
        runtime.block_on(get(&service, path, "application/json"))
    });
    report.within(
        "list of 3,000 pods as JSON",
        list,
        Duration::from_millis(200),
    );
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let rows = best(10, || runtime.block_on(get(&service, path, table)));
    report.within(
        "the same as kubectl's table",
        rows,
        Duration::from_millis(200),
    );
    let objects = cluster.list("pods", Some("default"));
    let print = best(10, || {
        objects.iter().map(|o| o.to_string().len()).sum::<usize>()
    });
    report.beside("the list", list, "printing the objects alone", print, 4.0);

    let day = best(1, || simulate(DAY));
    report.within(
        "a simulated day of the article's cluster",
        day,
        Duration::from_secs(10),
    );
    report.finish();
}

async fn get(service: &ClientService, path: &str, accept: &str) -> usize {
    let request = http::Request::get(path)
        .header("accept", accept)
        .body(http_body_util::Empty::<bytes::Bytes>::new());
    let Ok(request) = request else { return 0 };
    match service.clone().oneshot(request).await {
        Ok(answer) => match answer.into_body().collect().await {
            Ok(body) => body.to_bytes().len(),
            Err(_) => 0,
        },
        Err(_) => 0,
    }
}

/// Lets the article's cluster run for so long.
fn simulate(span: Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap_or_else(|e| panic!("{e}"));
    runtime.block_on(async {
        let lab = Lab::start(LabOptions::default())
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/aks-article/manifests");
        let applied = Applier::new(lab.client.clone()).apply(&folder).await;
        if let Err(error) = applied {
            panic!("{error}");
        }
        tokio::time::sleep(span).await;
    });
}
