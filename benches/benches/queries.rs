//! The query engine beside Prometheus 3's own, over the same samples: that one
//! reads them from its own database, as a server does. Needs Go, once.

use std::error::Error;
use std::time::{Duration, Instant};

use benches::Report;
use promql::eval::{EvalOptions, QueryValue, Span, instant, range};
use promql::labels::Labels;
use promql::number::almost_equal;
use promql::store::{Store, StoreOptions};
use serde_json::{Value, json};
use testbed::{Referee, TestbedError};

/// 40 % gauges, 30 % counters, 30 % histogram buckets.
const SERIES: u32 = 20_000;
const STEP: i64 = 15_000;
/// An hour and five minutes.
const SAMPLES: i64 = 65 * 4;
/// Series that are sent at a time.
const BATCH: usize = 1_000;
/// Off the grid of the samples.
const NOW: i64 = SAMPLES * STEP + 137;
/// Each engine has its turn so often.
const ROUNDS: usize = 5;
/// Bounds of the histograms.
const BOUNDS: [&str; 12] = [
    "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "30", "+Inf",
];

/// The shapes that autoscaling rules have, and how often one is run at a time.
const QUERIES: [(&str, &str, usize); 11] = [
    ("a number", "vector(1)", 200),
    (
        "one series",
        "DCGM_FI_DEV_GPU_UTIL{pod=\"w-17\",gpu=\"1\"}",
        200,
    ),
    ("average of 8,000 gauges", "avg(DCGM_FI_DEV_GPU_UTIL)", 20),
    (
        "sum by namespace",
        "sum by (namespace) (DCGM_FI_DEV_GPU_UTIL)",
        20,
    ),
    (
        "average of the highest of a minute",
        "avg(max_over_time(DCGM_FI_DEV_GPU_UTIL[1m]))",
        10,
    ),
    (
        "sum of 6,000 rates",
        "sum(rate(vllm:generation_tokens_total[1m]))",
        10,
    ),
    (
        "ratio of rates",
        "sum(rate(vllm:generation_tokens_total[1m])) / sum(rate(vllm:generation_tokens_total{namespace=\"n-1\"}[1m]))",
        10,
    ),
    (
        "95th percentile of 500 histograms",
        "histogram_quantile(0.95, sum by (le, model) (rate(vllm:latency_seconds_bucket[1m])))",
        10,
    ),
    (
        "gauges joined with another",
        "DCGM_FI_DEV_GPU_UTIL{gpu=\"0\"} * on (pod) group_left () max by (pod) (DCGM_FI_DEV_GPU_UTIL{gpu=\"1\"})",
        10,
    ),
    (
        "an hour of the sum of rates",
        "sum(rate(vllm:generation_tokens_total[1m]))",
        2,
    ),
    ("names by a pattern", "count({__name__=~\"vllm:.*\"})", 10),
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut report = Report::new("query engine beside Prometheus 3's");
    let binary = match testbed::promql_referee().build(&mut |line| eprintln!("{line}")) {
        Err(why @ TestbedError::NoGo { .. }) => {
            println!("  skipped: {why}");
            return Ok(());
        }
        built => built?,
    };
    let mut referee = Referee::start(&binary)?;
    let store = Store::new(StoreOptions {
        max_bytes: 1 << 30,
        max_series: SERIES as usize,
        ..StoreOptions::default()
    });
    let all: Vec<u32> = (0..SERIES).collect();
    for batch in all.chunks(BATCH) {
        let mut sent = Vec::with_capacity(batch.len());
        for n in batch {
            let labels = labels(*n);
            let mut samples = Vec::new();
            for at in 0..SAMPLES {
                let (t, v) = (at * STEP, value(*n, at));
                store.append(&Labels::from_pairs(labels.clone()), t, v)?;
                samples.push(json!({"t": t, "v": v.to_string()}));
            }
            let labels: serde_json::Map<String, Value> =
                labels.into_iter().map(|(k, v)| (k, v.into())).collect();
            sent.push(json!({"labels": labels, "samples": samples}));
        }
        referee.send(&json!({ "store": sent }))?;
        if let Some(error) = referee.receive()?.get("error") {
            return Err(format!("the referee cannot keep the series: {error}").into());
        }
    }
    for (at, (what, query, repeat)) in QUERIES.iter().enumerate() {
        let span = match at {
            9 => (NOW - 3_600_000, NOW, STEP),
            _ => (NOW, NOW, 0),
        };
        let (mut own, mut other) = (Duration::MAX, Duration::MAX);
        for _ in 0..ROUNDS {
            let (took, value) = ours(&store, query, span, *repeat)?;
            own = own.min(took);
            let (took, answer) = theirs(&mut referee, query, span, *repeat)?;
            other = other.min(took);
            same(query, &value, &answer)?;
        }
        report.beside(what, own, "Prometheus", other, 1.0);
    }
    report.finish();
    Ok(())
}

/// The median of some runs, and what the last one gave.
fn ours(
    store: &Store,
    query: &str,
    (start, end, step): (i64, i64, i64),
    repeat: usize,
) -> Result<(Duration, QueryValue), Box<dyn Error>> {
    let options = EvalOptions::default();
    let mut times = Vec::with_capacity(repeat);
    let mut last = None;
    for _ in 0..repeat {
        let began = Instant::now();
        let result = match step {
            0 => instant(store, query, start, &options)?,
            _ => range(store, query, Span { start, end, step }, &options)?,
        };
        times.push(began.elapsed());
        last = Some(result.value);
    }
    Ok((median(times), last.ok_or("nothing was run")?))
}

fn theirs(
    referee: &mut Referee,
    query: &str,
    (start, end, step): (i64, i64, i64),
    repeat: usize,
) -> Result<(Duration, Value), Box<dyn Error>> {
    referee.send(&json!({
        "query": query, "start": start, "end": end, "step": step, "repeat": repeat,
    }))?;
    let answer = referee.receive()?;
    if let Some(error) = answer.get("error") {
        return Err(format!("{query}: {error}").into());
    }
    let nanos = answer["nanos"].as_array().ok_or("no times")?;
    let times = nanos.iter().filter_map(Value::as_u64);
    Ok((median(times.map(Duration::from_nanos).collect()), answer))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// A figure is worth nothing where the answers differ.
fn same(query: &str, ours: &QueryValue, theirs: &Value) -> Result<(), Box<dyn Error>> {
    let mut own: Vec<(Labels, Vec<f64>)> = match ours {
        QueryValue::Scalar(v) => vec![(Labels::default(), vec![*v])],
        QueryValue::Vector(all) => all.iter().map(|(l, v)| (l.clone(), vec![*v])).collect(),
        QueryValue::Matrix(all) => all
            .iter()
            .map(|(l, p)| (l.clone(), p.iter().map(|p| p.1).collect()))
            .collect(),
        QueryValue::Text(_) => return Err("a text".into()),
    };
    own.sort_by(|a, b| a.0.cmp(&b.0));
    let list = theirs["series"].as_array().into_iter().flatten();
    let mut other: Vec<(Labels, Vec<f64>)> = list
        .map(|s| {
            let labels = s["labels"].as_object().into_iter().flatten();
            let labels = labels.map(|(k, v)| (k.as_str(), v.as_str().unwrap_or("")));
            let samples = s["samples"].as_array().into_iter().flatten();
            let values = samples.filter_map(|p| p["v"].as_str()?.parse().ok());
            (Labels::from_pairs(labels), values.collect())
        })
        .collect();
    other.sort_by(|a, b| a.0.cmp(&b.0));
    let equal = |a: &(Labels, Vec<f64>), b: &(Labels, Vec<f64>)| {
        let mut values = a.1.iter().zip(&b.1);
        a.0 == b.0 && a.1.len() == b.1.len() && values.all(|(x, y)| almost_equal(*x, *y, 1e-9))
    };
    let all = own.len() == other.len() && own.iter().zip(&other).all(|(a, b)| equal(a, b));
    match all {
        true => Ok(()),
        false => Err(format!("{query}: the answers differ, so their times say nothing").into()),
    }
}

fn labels(n: u32) -> Vec<(String, String)> {
    let pair = |k: &str, v: String| (k.to_owned(), v);
    let mut out = vec![
        pair("namespace", format!("n-{}", n % 20)),
        pair("instance", format!("node{}:9400", n % 300)),
        pair("job", "nvidia-dcgm-exporter".to_owned()),
    ];
    match n % 10 {
        // 8,000, eight a pod.
        0..4 => {
            let n = n / 10 * 4 + n % 10;
            out.extend([
                pair("__name__", "DCGM_FI_DEV_GPU_UTIL".to_owned()),
                pair("gpu", (n % 8).to_string()),
                pair("pod", format!("w-{}", n / 8)),
                pair("UUID", format!("GPU-{n:08x}")),
                pair("modelName", "NVIDIA H100 NVL".to_owned()),
            ]);
        }
        4..7 => out.extend([
            pair("__name__", "vllm:generation_tokens_total".to_owned()),
            pair("pod", format!("t-{n}")),
        ]),
        _ => {
            let n = n / 10 * 3 + n % 10 - 7;
            out.extend([
                pair("__name__", "vllm:latency_seconds_bucket".to_owned()),
                pair("model", format!("m-{}", n / 12 % 10)),
                pair("pod", format!("h-{}", n / 12)),
                pair("le", BOUNDS[n as usize % 12].to_owned()),
            ]);
        }
    }
    out
}

/// Gauges go up and down, counters and buckets up, with a reset here and there.
fn value(n: u32, at: i64) -> f64 {
    let (n, t) = (i64::from(n), at);
    match n % 10 {
        0..4 => ((n * 31 + t * 7) % 101) as f64,
        4..7 => {
            let since = if n % 20 == 5 { t % 97 } else { t };
            (since * (10 + n % 50)) as f64
        }
        _ => {
            let bound = (n / 10 * 3 + n % 10 - 7) % 12 + 1;
            (t * bound) as f64
        }
    }
}
