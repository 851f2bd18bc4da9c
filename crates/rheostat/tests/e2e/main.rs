//! End to end: the same stories on the lab and on a real control plane.
//!
//! Plain `cargo test` plays them on the lab, in a second or two;
//! `cargo xtask e2e --on lab|testbed|KUBECONFIG` where it is told, which takes
//! minutes on a real control plane.

#![allow(clippy::unwrap_used)]

mod internet;
mod operator;
mod side_by_side;
mod stage;

use std::time::Duration;

use stage::{Stage, on_stage};

fn near(reached: &[(String, Duration)], at: usize, recorded: f64, periods: f64) {
    let (check, after) = &reached[at];
    let after = after.as_secs_f64();
    println!("{check}: after {after:.1} s, recorded {recorded} s");
    assert!(
        (after - recorded).abs() <= 15.0 * periods,
        "{check} after {after} s, recorded {recorded} s"
    );
}

/// The article's walk-through. In its middle, while the replicas rise, the
/// operator is killed and started again.
#[test]
fn the_articles_story_plays() {
    on_stage(async |stage: &mut Stage| {
        let story = stage.article();
        let rise = 1 + story
            .steps
            .iter()
            .position(|s| {
                s.say
                    .as_ref()
                    .is_some_and(|t| t.contains("saturates its GPU"))
            })
            .unwrap();
        stage.play(&story, 0..rise).await;
        stage.restart_operator().await;
        stage.play(&story, rise..story.steps.len()).await;
    });
}

/// The recorded change of load, 3 percent to 50 and then to none, moved the
/// real programs 1 -> 4 -> 8 -> 10 -> 1 after 12.4, 27.4, 42.4 and 289.5 s; ours
/// may differ by one period of the HPA.
#[test]
fn a_change_of_load_moves_the_replicas_as_recorded() {
    on_stage(async |stage: &mut Stage| {
        let reached = stage
            .tell(
                "
- apply: [keda-gpu-scaler-prometheus.yaml, my-gpu-workload.yaml]
  annotate: {deployment/my-gpu-workload: {lab.rheostat.dev/load: 'util:3'}}
  until: count pods app=my-gpu-workload ready = 1
- wait: 60s
  expect: deployment/my-gpu-workload spec.replicas = 1
- annotate: {deployment/my-gpu-workload: {lab.rheostat.dev/load: 'util:50'}}
  until:
    - deployment/my-gpu-workload spec.replicas = 4
    - deployment/my-gpu-workload spec.replicas = 8
    - deployment/my-gpu-workload spec.replicas = 10
- until: count pods app=my-gpu-workload ready = 3
  expect:
    - deployment/my-gpu-workload spec.replicas = 10
    - count nodes agentpool=gpunp = 3
- annotate: {deployment/my-gpu-workload: {lab.rheostat.dev/load: idle}}
  until: deployment/my-gpu-workload spec.replicas = 1
",
            )
            .await;
        near(&reached, 1, 12.4, 1.0);
        near(&reached, 2, 27.4, 1.0);
        near(&reached, 3, 42.4, 1.0);
        // The window counts from the last high recommendation: up to a period
        // before the change there, up to a scrape after it here.
        near(&reached, 5, 289.5, 2.0);
    });
}
