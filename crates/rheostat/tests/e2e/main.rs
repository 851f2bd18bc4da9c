//! End to end: the same stories on the lab and on a real control plane.
//!
//! Plain `cargo test` plays them on the lab, in a second or two;
//! `cargo xtask e2e --on lab|real-controllers|testbed|KUBECONFIG` where it is
//! told, which takes minutes in real time.

#![allow(clippy::unwrap_used)]

mod doctor;
mod guests;
mod internet;
mod nodepools;
mod operator;
mod prometheus;
mod side_by_side;
mod stage;
mod tls;
mod trust;

use std::time::Duration;

use doctor::Doctor;
use serde_json::json;
use stage::{Samples, Stage, on_stage};

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
/// operator is killed and started again, or the controllers are.
#[test]
fn the_articles_story_plays() {
    on_stage(Samples::Store, async |stage: &mut Stage| {
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
        stage.restart().await;
        stage.play(&story, rise..story.steps.len()).await;
    });
}

/// The recorded change of load, 3 percent to 50 and then to none, moved the
/// real programs 1 -> 4 -> 8 -> 10 -> 1 after 12.4, 27.4, 42.4 and 289.5 s; ours
/// may differ by one period of the HPA.
#[test]
fn a_change_of_load_moves_the_replicas_as_recorded() {
    on_stage(Samples::Store, async |stage: &mut Stage| {
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

/// The walk-through with a real Prometheus in the middle: it finds and scrapes
/// the exporters over HTTP, and the triggers ask it.
#[test]
fn the_story_plays_with_a_real_prometheus() {
    on_stage(Samples::Prometheus, async |stage: &mut Stage| {
        let story = stage.article();
        stage.play(&story, 0..story.steps.len()).await;
        let server = stage.prometheus().unwrap();
        let seen = server
            .query("max_over_time(count(DCGM_FI_DEV_GPU_UTIL)[1h:5s])")
            .await;
        assert_eq!(seen[0]["value"][1], "3", "the pool holds three: {seen}");
        let scraped = server
            .query("count_over_time(up{job=\"nvidia-dcgm-exporter\"}[1h])")
            .await;
        assert!(
            !scraped.as_array().unwrap().is_empty(),
            "it scraped nothing"
        );
    });
}

#[test]
fn doctor_names_the_broken_link() {
    on_stage(Samples::Store, async |stage: &mut Stage| {
        let Some(doctor) = Doctor::of(stage) else {
            println!("skipped: no process follows the lab's simulated time");
            return;
        };
        stage
            .tell(
                "
- apply: [keda-gpu-scaler-prometheus.yaml, my-gpu-workload.yaml]
  annotate: {deployment/my-gpu-workload: {lab.rheostat.dev/load: 'util:3'}}
  until: count pods app=my-gpu-workload ready = 1
",
            )
            .await;
        doctor.is_content().await;

        let query = "avg(DCGM_FI_DEV_GPU_UTIL{deployment=\"my-gpu-workload\"})";
        doctor.query(&query.replace("workload", "wrokload")).await;
        doctor
            .finds("labels", "deployment=\"my-gpu-workload\"")
            .await;
        doctor.query(&query.replace("UTIL", "UTILL")).await;
        doctor.finds("scrape", "DCGM_FI_DEV_GPU_UTIL").await;
        doctor.query(query).await;
        doctor.is_content().await;

        doctor
            .respec(json!({"scaleTargetRef": {"name": "nobody"}}))
            .await;
        doctor.finds("scale target", "nobody").await;
        doctor
            .respec(json!({"scaleTargetRef": {"name": "my-gpu-workload"}}))
            .await;
        doctor.is_content().await;

        let authentication = doctor.take_authentication().await;
        doctor
            .finds("authentication", "azure-managed-prometheus-trigger-auth")
            .await;
        doctor.give_back(&authentication).await;
        doctor.is_content().await;

        stage.stop_operator();
        doctor.finds("external metrics API", "not available").await;
        stage.start_operator().await;
        doctor.is_content().await;

        stage
            .tell(
                "
- annotate: {deployment/my-gpu-workload: {lab.rheostat.dev/load: busy}}
  until: count nodes agentpool=gpunp = 3
",
            )
            .await;
        doctor
            .finds("pool room", "max node group size reached")
            .await;
    });
}
