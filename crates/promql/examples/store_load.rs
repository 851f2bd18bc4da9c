//! Measures the store: two simulated weeks of a scrape every five seconds, then queries.
//!
//! `cargo run --release -p rheostat-promql --example store_load [DAYS] [SERIES]`

use promql::eval::{EvalOptions, instant};
use promql::store::{ScrapeCache, Store};
use std::time::Instant;

fn main() {
    let mut args = std::env::args()
        .skip(1)
        .filter_map(|a| a.parse::<i64>().ok());
    let days = args.next().unwrap_or(14);
    let series = args.next().unwrap_or(300);
    let store = Store::default();
    let target = [("job".to_owned(), "dcgm".to_owned())];
    let mut cache = ScrapeCache::new();
    let begun = Instant::now();
    let rounds = days * 86_400 / 5;
    let mut page = String::new();
    for i in 0..rounds {
        page.clear();
        for s in 0..series {
            let v = match s % 3 {
                0 => (i * 7 + s) % 101,
                1 => i * s,
                _ => s,
            };
            page += &format!(
                "gpu_{}{{gpu=\"{s}\",modelName=\"NVIDIA A100\"}} {v}\n",
                s % 10
            );
        }
        store.ingest(&page, &target, i * 5_000, &mut cache);
    }
    let took = begun.elapsed().as_secs_f64();
    let stats = store.stats();
    println!(
        "{} samples of {} series ingested in {took:.2} s ({:.2} M/s), {:.1} MB ({:.2} B/sample)",
        rounds * series,
        stats.series,
        (rounds * series) as f64 / took / 1e6,
        stats.sample_bytes as f64 / 1e6,
        stats.sample_bytes as f64 / stats.samples.max(1) as f64
    );
    let end = rounds * 5_000;
    for (query, t) in [
        ("vector(1)", end),
        ("avg(gpu_1{gpu=~\"1|11|21\"})", end),
        ("avg(gpu_1{gpu=~\"1|11|21\"})", end / 2),
        ("avg(gpu_1)", end),
        ("sum(rate(gpu_1[2m]))", end),
        ("sum(rate(gpu_1[2m]))", end / 2),
        ("avg_over_time(avg(gpu_1)[1h:1m])", end),
    ] {
        let n = 200;
        let begun = Instant::now();
        for _ in 0..n {
            instant(&store, query, t, &EvalOptions::default()).expect("the query is valid");
        }
        println!(
            "{:>9.1} µs  {query} at {t}",
            begun.elapsed().as_secs_f64() * 1e6 / f64::from(n)
        );
    }
}
