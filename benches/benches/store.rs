//! The sample store: pages in, the article's query out.

use std::time::Duration;

use benches::{Report, best};
use promql::eval::{EvalOptions, instant};
use promql::store::{ScrapeCache, Store, parse_exposition};

const NODES: i64 = 300;
const QUERY: &str = "avg(DCGM_FI_DEV_GPU_UTIL{deployment=\"my-gpu-workload\"})";

fn main() {
    let mut report = Report::new("sample store, one core");
    let pages: Vec<String> = (0..NODES).map(page).collect();
    let mut caches: Vec<ScrapeCache> = pages.iter().map(|_| ScrapeCache::new()).collect();
    let store = Store::default();
    let mut at = 0;
    let mut scrape = || {
        at += 5_000;
        for (n, page) in pages.iter().enumerate() {
            let target = [("instance".to_owned(), format!("node{n}"))];
            store.ingest(page, &target, at, &mut caches[n]);
        }
    };
    for _ in 0..60 {
        scrape();
    }
    let took = best(20, &mut scrape);
    let read = best(5, || {
        pages
            .iter()
            .map(|p| parse_exposition(p).map_or(0, |s| s.len()))
            .sum::<usize>()
    });
    report.within("a scrape of 300 nodes", took, Duration::from_millis(50));
    report.beside(
        "taking pages in",
        took,
        "reading them without a memory",
        read,
        2.0,
    );
    let now = at;
    let query = |text: &str| {
        let options = EvalOptions::default();
        best(50, || instant(&store, text, now, &options).map(|r| r.value))
    };
    let article = query(QUERY);
    report.within(
        "the article's query over 300 nodes",
        article,
        Duration::from_millis(5),
    );
    let bare = query("DCGM_FI_DEV_GPU_UTIL{deployment=\"my-gpu-workload\"}");
    report.beside("averaging", article, "selecting alone", bare, 2.0);
    report.finish();
}

/// A page of a node with one GPU whose workload is the article's.
fn page(node: i64) -> String {
    let names = [
        "SM_CLOCK",
        "MEM_CLOCK",
        "GPU_TEMP",
        "POWER_USAGE",
        "GPU_UTIL",
        "FB_USED",
    ];
    let mut out = String::new();
    for (n, name) in names.iter().enumerate() {
        out += &format!(
            "# HELP DCGM_FI_DEV_{name} x\n# TYPE DCGM_FI_DEV_{name} gauge\n\
             DCGM_FI_DEV_{name}{{gpu=\"0\",UUID=\"GPU-{node}\",modelName=\"NVIDIA H100 NVL\",\
             Hostname=\"node{node}\",namespace=\"default\",pod=\"w-{node}\",\
             deployment=\"my-gpu-workload\"}} {}\n",
            (node * 7 + n as i64) % 101
        );
    }
    out
}
