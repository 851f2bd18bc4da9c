//! The article's rule and two others on two weeks of a real service's load.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use api::pool::Pool;
use common::{policy, scaled_object, trace};
use replay::model::Stage;
use replay::oracle::Oracle;
use replay::{Actuation, DemandOptions, Load, Model, Outcome, Policy, Watch, run};

const UTIL: &str = "DCGM_FI_DEV_GPU_UTIL{deployment=\"my-gpu-workload\"}";

fn servegen() -> Option<Load> {
    let text = trace("servegen_10min_rates.csv")?;
    let options = DemandOptions {
        column: Some("m_large_rps"),
        peak: Some(8.0),
        linear: true,
    };
    Some(Load::from_csv("servegen_10min_rates.csv", &text, &options).unwrap())
}

fn model(lag: u64) -> Model {
    let pool = "name=gpu,gpus=1,min=0,max=20,price=6.98,taint=sku=gpu:NoSchedule";
    Model {
        ready_lag: vec![Stage {
            name: String::new(),
            time: Duration::from_secs(lag),
        }],
        pools: Pool::parse_all(&[pool]).unwrap(),
        ..Model::default()
    }
}

fn replay(model: &Model, load: &Load, policy: &Policy) -> Outcome {
    run(model, load, policy, &mut Watch::default())
}

#[test]
fn the_three_rules_cost_and_serve_as_the_arithmetic_says() {
    let Some(load) = servegen() else { return };
    assert!((load.gpu_hours() - 1291.0).abs() < 2.0);
    let model = model(300);
    let of = |query: &str, threshold: &str| {
        replay(&model, &load, &policy(&scaled_object(query, threshold, "")))
    };
    let article = of(&format!("avg({UTIL})"), "5");
    assert!((article.gpu_hours - 3000.0).abs() < 100.0, "{article:?}");
    assert!(article.unmet_fraction < 0.002, "{article:?}");
    // avg never exceeds 100, so 70 never asks for more than two replicas.
    let seventy = of(&format!("avg({UTIL})"), "70");
    assert!((seventy.gpu_hours - 670.0).abs() < 10.0, "{seventy:?}");
    assert!((seventy.unmet_fraction - 0.5).abs() < 0.05, "{seventy:?}");
    let sum = of(&format!("sum({UTIL})"), "70");
    assert!((sum.gpu_hours - 2000.0).abs() < 100.0, "{sum:?}");
    assert!(sum.unmet_fraction < 0.005, "{sum:?}");
    for outcome in [&article, &seventy, &sum] {
        let ideal = Oracle::new(&load, 1, 300_000).gpu_hours(outcome.unmet_fraction);
        assert!(ideal < outcome.gpu_hours, "{ideal} {outcome:?}");
        let nodes = outcome.node_gpu_hours.unwrap();
        assert!(nodes > outcome.gpu_hours * 0.97, "{outcome:?}");
        assert!((outcome.cost.unwrap() - nodes * 6.98).abs() < 1.0);
    }
}

#[test]
fn the_whole_evaluation_and_the_numbers_alone_replay_alike() {
    let Some(mut load) = servegen() else { return };
    load.end = 2 * 86_400_000;
    let behavior = "  advanced: {horizontalPodAutoscalerConfig: {behavior: {scaleDown: \
                    {stabilizationWindowSeconds: 120, policies: [{type: Percent, value: 20, \
                    periodSeconds: 60}]}}}}\n";
    for more in ["", behavior] {
        let policy = policy(&scaled_object(&format!("avg({UTIL})"), "5", more));
        let once = |in_full| {
            let mut watch = Watch {
                timeline: true,
                in_full,
                ..Watch::default()
            };
            run(&model(120), &load, &policy, &mut watch)
        };
        assert_eq!(once(true), once(false));
    }
}

/// The rules that the comparison of actuations runs, by name.
fn rules() -> [(&'static str, Policy); 2] {
    let of = |query: &str, threshold: &str| policy(&scaled_object(query, threshold, ""));
    [
        ("avg/5", of(&format!("avg({UTIL})"), "5")),
        ("sum/70", of(&format!("sum({UTIL})"), "70")),
    ]
}

#[test]
fn direct_costs_no_more_and_serves_no_less() {
    let (Some(servegen), Some(text)) = (servegen(), trace("azure_llm_2023_conversation_1s.csv"))
    else {
        return;
    };
    let options = DemandOptions {
        column: Some("generated_tokens"),
        peak: Some(8.0),
        linear: false,
    };
    let azure = Load::from_csv("azure", &text, &options).unwrap();
    let mut worse = Vec::new();
    for (trace, load) in [("servegen", &servegen), ("azure", &azure)] {
        for (rule, policy) in rules() {
            for lag in [30, 120, 300, 600] {
                let mut model = model(lag);
                model.pools.clear();
                model.exporter = Duration::from_secs(1);
                model.scrape = Duration::from_secs(5);
                let hpa = replay(&model, load, &policy);
                let mut direct = policy.clone();
                direct.actuation = Actuation::Direct;
                let direct = replay(&model, load, &direct);
                let cost = direct.gpu_hours / hpa.gpu_hours - 1.0;
                let unmet = direct.unmet_fraction - hpa.unmet_fraction;
                println!(
                    "| {trace} | {rule} | {lag} s | {:.2} | {:.2} | {:+.2} % | {:.3} % | {:.3} % | {} | {} |",
                    hpa.gpu_hours,
                    direct.gpu_hours,
                    cost * 100.0,
                    hpa.unmet_fraction * 100.0,
                    direct.unmet_fraction * 100.0,
                    hpa.scale_events,
                    direct.scale_events,
                );
                // A rule on an average reacts to its own replicas, so that two courses
                // differ by a hair: a hundredth of a percentage point is no difference.
                if cost > 0.01 || unmet > 1e-4 {
                    worse.push(format!("{trace} {rule} {lag} s: {cost:+.4} {unmet:+.6}"));
                }
            }
        }
    }
    assert!(worse.is_empty(), "{worse:#?}");
}
