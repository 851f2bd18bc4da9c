//! What KEDA adds to a policy: formulas over several triggers, fallback.

#![allow(clippy::unwrap_used)]

mod common;

use common::{policy, scaled_object};
use replay::{Actuation, DemandOptions, Load, Model, Outcome, Policy, Watch, run};

fn load(value: impl Fn(u32) -> f64) -> Load {
    let mut text = String::from("t,g\n");
    for n in 0..240 {
        text += &format!("{},{}\n", n * 60, value(n));
    }
    Load::from_csv("l.csv", &text, &DemandOptions::default()).unwrap()
}

fn course(load: &Load, policy: &Policy, in_full: bool) -> Outcome {
    let mut watch = Watch {
        timeline: true,
        in_full,
        ..Watch::default()
    };
    run(&Model::default(), load, policy, &mut watch)
}

const BUSY: &str = "sum(DCGM_FI_DEV_GPU_UTIL)";

#[test]
fn a_formula_over_two_triggers_acts_like_the_same_arithmetic_in_one_query() {
    let load = load(|n| f64::from(n % 60) / 5.0);
    let trigger = |name: &str, query: &str| {
        format!(
            "  - type: prometheus\n    name: {name}\n    metadata: {{serverAddress: 'http://p', \
             query: '{query}', threshold: '1'}}\n"
        )
    };
    let formula = format!(
        "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {{name: p}}\nspec:\n  \
         scaleTargetRef: {{name: my-gpu-workload}}\n  minReplicaCount: 1\n  maxReplicaCount: 20\n  \
         advanced: {{scalingModifiers: {{formula: busy / 2 + 30 * all, target: '70', \
         activationTarget: '2'}}}}\n  triggers:\n{}{}",
        trigger("busy", BUSY),
        trigger("all", "count(DCGM_FI_DEV_GPU_UTIL)")
    );
    let single = format!("{BUSY} / 2 + 30 * count(DCGM_FI_DEV_GPU_UTIL)");
    let single = scaled_object(&single, "70", "");
    for actuation in [Actuation::Hpa, Actuation::Direct] {
        let [formula, single] = [&formula, &single].map(|text| {
            let mut policy = policy(text);
            policy.actuation = actuation;
            policy
        });
        let mine = course(&load, &formula, false);
        assert!(mine.scale_events > 20, "{mine:?}");
        assert_eq!(mine, course(&load, &single, false));
        assert_eq!(mine, course(&load, &formula, true));
    }
    let terms = policy(&formula).terms();
    assert_eq!(terms[1], "one metric by the formula busy / 2 + 30 * all");
}

#[test]
fn an_answer_ends_a_row_of_failures() {
    // For a minute nothing to read, for a minute a number.
    let load = load(|n| if n % 2 == 0 { 0.4 } else { 0.8 });
    let failing = |threshold: u32| {
        let more = format!(
            "  pollingInterval: 600\n  fallback: {{failureThreshold: {threshold}, replicas: 9}}\n"
        );
        let text = scaled_object(&format!("{BUSY} > 50"), "70", &more);
        course(
            &load,
            &policy(&format!("{text}      ignoreNullValues: 'false'\n")),
            false,
        )
    };
    let most = |outcome: &Outcome| outcome.timeline.iter().map(|p| p.replicas).max().unwrap();
    assert_eq!(most(&failing(2)), 9);
    // Four or five syncs in a row fail, never nine.
    assert_eq!(most(&failing(8)), 2);
}
