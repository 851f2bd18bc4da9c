//! The explanations that a running lab serves, asked as a client asks.

use std::path::Path;
use std::time::Duration;

use decide::explain::{Account, Explanation, render};
use lab::story::Applier;
use lab::{Lab, LabOptions};

/// The text of an answer, or the words of the refusal.
async fn ask(lab: &Lab, what: &str) -> Result<Account, String> {
    let path = format!("/apis/explain.rheostat.dev/v1/namespaces/default/{what}");
    let request = http::Request::get(path).body(Vec::new()).unwrap();
    match lab.client.request_text(request).await {
        Ok(text) => Ok(serde_json::from_str(&text).unwrap()),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_running_lab_says_why_now_and_then() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let lab = Lab::start(LabOptions::default()).await.unwrap();
        let early = ask(&lab, "deployment/my-gpu-workload").await.unwrap_err();
        assert!(
            early.starts_with("no decision has been recorded yet"),
            "{early}"
        );
        let manifests =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/aks-article/manifests");
        Applier::new(lab.client.clone())
            .apply(&manifests)
            .await
            .unwrap();
        // One GPU at full load is 100 for a target of 5 a replica.
        tokio::time::sleep(Duration::from_secs(420)).await;

        // Each name leads to the same workload.
        let now = ask(&lab, "deployment/my-gpu-workload").await.unwrap();
        for name in ["hpa/keda-hpa-my-gpu-workload", "so/my-gpu-workload"] {
            assert_eq!(ask(&lab, name).await.unwrap().target, now.target, "{name}");
        }
        let text = render(&now, false);
        assert!(
            text.starts_with("deployment/my-gpu-workload in default "),
            "{text}"
        );
        assert!(
            text.contains("s0-prometheus is 100 for a target of 5 a replica: asks for 20"),
            "{text}"
        );
        // Three nodes are all that the pool may have.
        assert!(text.contains("for a node: no pool can help ("), "{text}");
        let all = render(&now, true);
        assert!(
            all.contains("scaledobject/my-gpu-workload polled at") && all.contains(", active"),
            "{all}"
        );

        // The moment at which it went up by the rate limit.
        let kept = lab.explanations.records();
        let step = kept.iter().find_map(|r| match &r.explanation {
            Explanation::Hpa(e) if e.current == 1 && e.desired == 4 => Some(r.time),
            _ => None,
        });
        let past = format!("deployment/my-gpu-workload?at={}", step.unwrap());
        let past = render(&ask(&lab, &past).await.unwrap(), false);
        assert!(past.contains("goes from 1 to 4 replicas"), "{past}");
        assert!(
            past.contains("at most twice as many at a time, or 4; would be 20 without"),
            "{past}"
        );

        let unknown = ask(&lab, "deployment/my-gpu-workloda").await.unwrap_err();
        assert!(
            unknown.contains("did you mean deployment/my-gpu-workload?"),
            "{unknown}"
        );
        let before = ask(&lab, "deployment/my-gpu-workload?at=1h")
            .await
            .unwrap_err();
        assert!(
            before.contains("--at takes a time from 2020-01-06T08:0"),
            "{before}"
        );
        let kind = ask(&lab, "job/x").await.unwrap_err();
        assert!(
            kind.contains("ask about a scaledobject (so), hpa, deployment"),
            "{kind}"
        );
    });
}
