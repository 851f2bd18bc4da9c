//! End to end: the same stories on the lab and on a real control plane.
//!
//! `cargo xtask e2e --on lab|testbed|KUBECONFIG` runs them; plain `cargo test`
//! leaves them out, since a real control plane takes minutes.

#![allow(clippy::unwrap_used)]

mod internet;
mod operator;
mod stage;

use std::time::Duration;

use stage::{Stage, on_stage};

fn near(reached: &[(String, Duration)], at: usize, recorded: f64) {
    let (check, after) = &reached[at];
    let off = after.as_secs_f64() - recorded;
    println!("{check}: after {after:.1?}, recorded {recorded} s");
    assert!(
        off.abs() <= 16.0,
        "{check}: {after:?}, recorded {recorded} s"
    );
}

/// The article's walk-through. In its middle, while the replicas rise, the
/// operator is killed and started again.
#[test]
#[ignore = "takes minutes on a real control plane: cargo xtask e2e"]
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
#[ignore = "takes minutes on a real control plane: cargo xtask e2e"]
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
  expect: deployment/my-gpu-workload spec.replicas = 10
- annotate: {deployment/my-gpu-workload: {lab.rheostat.dev/load: idle}}
  until: deployment/my-gpu-workload spec.replicas = 1
",
            )
            .await;
        for (at, recorded) in [(1, 12.4), (2, 27.4), (3, 42.4), (5, 289.5)] {
            near(&reached, at, recorded);
        }
    });
}
