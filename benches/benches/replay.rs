//! Replays: two weeks at 15 s, and a hundred policies over them.

use std::error::Error;
use std::time::{Duration, Instant};

use api::pool::Pool;
use benches::{Report, best, peak_memory};
use replay::study::{Job, run_all};
use replay::sweep::Sweep;
use replay::{Builder, DemandOptions, Load, Manifests, Model, Watch, run};

const WORKLOAD: &str = include_str!("../../examples/replay/workload.yaml");
const POLICY: &str = include_str!("../../examples/replay/sum-70.yaml");
/// Two weeks.
const ROWS: u32 = 14 * 24 * 3600 / 15;

fn main() -> Result<(), Box<dyn Error>> {
    let mut report = Report::new("replay of two weeks at 15 s");
    let load = load()?;
    let mut manifests = Manifests::default();
    manifests.add("workload.yaml", WORKLOAD)?;
    manifests.add("policy.yaml", POLICY)?;
    let builder = Builder {
        manifests,
        ..Builder::default()
    };
    let source = &builder.manifests.policies[0];
    let policy = builder.build(source)?;
    let bare = Model::default();
    let pool = "name=gpu,gpus=1,min=0,max=20,price=2";
    let nodes = Model {
        pools: Pool::parse_all(&[pool]).map_err(|e| e.problem)?,
        ..Model::default()
    };
    let limit = Duration::from_millis(200);
    let once = |model: &Model| {
        let policy = &policy;
        let load = &load;
        let outcome = run(model, load, policy, &mut Watch::default());
        println!("    ({} scale events)", outcome.scale_events);
        best(3, || run(model, load, policy, &mut Watch::default()))
    };
    report.within("one policy, one core", once(&bare), limit);
    report.within("the same with a pool", once(&nodes), limit);

    let sweep = Sweep::parse("threshold=1..100/1")?;
    let mut jobs = Vec::new();
    for ((_, source), value) in sweep.variants(source)?.iter().zip(&sweep.values) {
        jobs.push(Job {
            policy: builder.build(source)?,
            swept: Some(*value),
            timeline: false,
        });
    }
    let all = |jobs: &[Job]| {
        let began = Instant::now();
        let rows = run_all(&nodes, &load, None, jobs, 2, &|_| {});
        (began.elapsed(), rows.len())
    };
    let (_, one) = peak_memory(|| all(&jobs[..1]));
    let ((took, rows), hundred) = peak_memory(|| all(&jobs));
    report.within(
        &format!("{rows} policies with a pool and foresight, two threads, by the clock"),
        took,
        Duration::from_secs(10),
    );
    if let (Some(one), Some(hundred)) = (one, hundred) {
        report.no_larger("KiB at most, 100 policies", hundred, "one", one, 1.2);
    }
    report.finish();
    Ok(())
}

/// Days and nights with noise from a fixed seed.
fn load() -> Result<Load, Box<dyn Error>> {
    let mut text = String::from("t,gpus\n");
    let mut seed = 1u32;
    for row in 0..ROWS {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = f64::from(seed >> 16) / 65_536.0;
        let day = f64::from(row * 15) / 86_400.0;
        let gpus = 4.0 - 3.0 * (day * std::f64::consts::TAU).cos() + noise;
        text += &format!("{},{gpus:.3}\n", row * 15);
    }
    Ok(Load::from_csv("load", &text, &DemandOptions::default())?)
}
