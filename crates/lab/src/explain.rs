//! Where the lab's decisions are noted down: by the HPA controller, the
//! operator and the node planner. [`operator::Explanations`] keeps and serves
//! them.

use std::collections::BTreeMap;
use std::sync::Arc;

use clock::Clock;
use cluster::Cluster;
use cluster::controllers::hpa;
use decide::explain::{Explanation, Object, Record, WaitingPods, Workload};
use decide::nodes::Plan;
use operator::Explanations;
use serde_json::Value;

/// Keeps what the HPA controller decides.
pub(crate) fn of_hpas(kept: Explanations) -> hpa::Report {
    Arc::new(move |object, time, explanation| {
        let target = &object["spec"]["scaleTargetRef"];
        kept.add(Record {
            time,
            object: Object {
                kind: "HorizontalPodAutoscaler".to_owned(),
                namespace: cluster::value::namespace(object).to_owned(),
                name: cluster::value::name(object).to_owned(),
            },
            target: Workload {
                kind: word(&target["kind"]),
                name: word(&target["name"]),
            },
            explanation: Explanation::Hpa(explanation),
        });
    })
}

/// Keeps what the node planner says of pods that wait, by their workloads.
pub(crate) fn of_plans(kept: Explanations, cluster: Cluster, clock: Clock) -> nodepools::Report {
    Arc::new(move |plan| {
        let mut waiting = by_workload(&cluster, plan);
        // Those that no longer wait are told once.
        for object in kept.waiting() {
            waiting.entry(object).or_default();
        }
        for (object, pods) in waiting {
            kept.add(Record {
                time: clock.now(),
                target: Workload {
                    kind: object.kind.clone(),
                    name: object.name.clone(),
                },
                object,
                explanation: Explanation::Nodes(pods),
            });
        }
    })
}

fn by_workload(cluster: &Cluster, plan: &Plan) -> BTreeMap<Object, WaitingPods> {
    let mut out: BTreeMap<Object, WaitingPods> = BTreeMap::new();
    for (key, outcome) in &plan.explanation.pods {
        let Some((namespace, name)) = key.split_once('/') else {
            continue;
        };
        let pod = cluster.get("pods", namespace, name).ok();
        let Some(owner) = pod.and_then(|pod| exporter::Owner::of_pod(&pod)) else {
            continue;
        };
        let object = Object {
            kind: owner.kind,
            namespace: namespace.to_owned(),
            name: owner.name,
        };
        let pods = &mut out.entry(object).or_default().pods;
        pods.insert(name.to_owned(), outcome.clone());
    }
    out
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
