//! Measures what a page costs: `cargo run --release -p rheostat-exporter --example page_cost`.

use std::time::Instant;

use exporter::{Exporter, Options};
use gpu::SimulatedGpus;
use jiff::Timestamp;

fn main() {
    const PAGES: u32 = 17_280;
    for gpus in [1, 8] {
        let source = SimulatedGpus::new("node", gpus, "NVIDIA H100 NVL", 94);
        let mut exporter = Exporter::new("node", source, Options::default());
        let mut bytes = 0;
        let start = Instant::now();
        for _ in 0..PAGES {
            for _ in 0..5 {
                exporter.sample(Timestamp::UNIX_EPOCH);
            }
            bytes = exporter.page(Timestamp::UNIX_EPOCH).len();
        }
        let each = start.elapsed() / PAGES;
        println!("{gpus} GPU(s): {bytes} bytes, {each:?} for five samples and a page");
    }
}
