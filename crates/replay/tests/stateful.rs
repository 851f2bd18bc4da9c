//! Pods of a StatefulSet come and go in the order of their ordinals.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{WORKLOAD, scaled_object};
use replay::model::Stage;
use replay::{Builder, DemandOptions, Load, Manifests, Model, Watch, run};

/// How the replicas' count moves after the workload's kind.
fn counts(workload: &str) -> Vec<(i64, u32)> {
    let more = "  minReplicaCount: 1\n";
    let policy = scaled_object("sum(DCGM_FI_DEV_GPU_UTIL)", "50", "");
    assert!(policy.contains(more));
    let mut manifests = Manifests::default();
    manifests.add("w.yaml", workload).unwrap();
    let kind = if workload.contains("kind: StatefulSet") {
        "{kind: StatefulSet, name: my-gpu-workload}"
    } else {
        "{name: my-gpu-workload}"
    };
    let policy = policy.replace("{name: my-gpu-workload}", kind);
    manifests.add("p.yaml", &policy).unwrap();
    let builder = Builder {
        manifests,
        ..Builder::default()
    };
    let policy = builder.build(&builder.manifests.policies[0]).unwrap();
    let mut text = String::from("t,g\n");
    for n in 0..40 {
        text += &format!("{},4\n", n * 30);
    }
    let load = Load::from_csv("l.csv", &text, &DemandOptions::default()).unwrap();
    let model = Model {
        ready_lag: vec![Stage {
            name: String::new(),
            time: Duration::from_secs(120),
        }],
        ..Model::default()
    };
    let mut watch = Watch {
        timeline: true,
        ..Watch::default()
    };
    let outcome = run(&model, &load, &policy, &mut watch);
    let mut steps: Vec<(i64, u32)> = Vec::new();
    for point in &outcome.timeline {
        if steps.last().is_none_or(|s| s.1 != point.replicas) {
            steps.push((point.t / 1000, point.replicas));
        }
    }
    steps
}

#[test]
fn each_pod_waits_for_the_one_before_it() {
    let stateful = WORKLOAD
        .replace("kind: Deployment", "kind: StatefulSet")
        .replace("  replicas: 1\n", "  replicas: 1\n  serviceName: s\n");
    assert!(stateful.contains("serviceName"));
    let parallel = stateful.replace(
        "  serviceName: s\n",
        "  serviceName: s\n  podManagementPolicy: Parallel\n",
    );
    let together = counts(WORKLOAD);
    assert_eq!(counts(&parallel), together);
    let one_by_one = counts(&stateful);
    assert_eq!(one_by_one[0], together[0]);
    let growing = one_by_one.windows(2).take_while(|p| p[1].1 > p[0].1);
    let mut steps = 0;
    for pair in growing {
        assert_eq!(pair[1].1, pair[0].1 + 1, "{one_by_one:?}");
        assert!(pair[1].0 - pair[0].0 >= 120, "{one_by_one:?}");
        steps += 1;
    }
    assert!(steps >= 6, "{one_by_one:?}");
}
