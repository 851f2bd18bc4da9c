//! Behaviour that the language's own test files do not cover.

use super::*;
use crate::labels::Labels;
use crate::store::Store;

fn store() -> Store {
    let s = Store::default();
    for i in 0..120 {
        for pod in ["a", "b"] {
            let l = Labels::from_pairs([("__name__", "gpu"), ("pod", pod)]);
            s.append(&l, i * 5_000, i as f64).unwrap();
        }
    }
    s
}

#[test]
fn a_query_of_the_kind_that_scales_workloads() {
    let r = instant(
        &store(),
        "avg(gpu{pod=~\"a|b\"})",
        595_000,
        &EvalOptions::default(),
    )
    .unwrap();
    assert_eq!(r.value, QueryValue::Vector(vec![(Labels::empty(), 119.0)]));
}

#[test]
fn costs_are_bounded() {
    let tight = EvalOptions {
        max_samples: 100,
        ..EvalOptions::default()
    };
    let e = instant(&store(), "count_over_time(gpu[10m])", 595_000, &tight).unwrap_err();
    assert!(e.to_string().contains("too many samples"), "{e}");
    let short = EvalOptions {
        max_work: 10_000,
        ..EvalOptions::default()
    };
    let e = instant(
        &store(),
        "count_over_time(nothing[90d:1ms])",
        595_000,
        &short,
    );
    assert!(e.unwrap_err().to_string().contains("evaluation steps"));
}

#[test]
fn the_deepest_accepted_query_runs() {
    let deep = "-(".repeat(90) + "gpu" + &")".repeat(90);
    let options = EvalOptions::default();
    assert!(instant(&store(), &deep, 595_000, &options).is_ok());
    let long = "gpu".to_owned() + &" + gpu".repeat(190);
    assert!(instant(&store(), &long, 595_000, &options).is_ok());
}

#[test]
fn times_at_the_edge_of_the_calendar_do_no_harm() {
    let options = EvalOptions::default();
    for q in [
        "gpu @ 9e12",
        "rate(gpu[285616y] @ 9e12)",
        "sum_over_time(gpu[1d:1h] @ -9e12)",
        "gpu offset 1e12",
        "predict_linear(gpu[10m], 1e300)",
        "day_of_year(vector(1e300))",
    ] {
        let _ = instant(&store(), q, 595_000, &options);
        let span = Span {
            start: 0,
            end: 9_000_000_000_000,
            step: 3_000_000_000_000,
        };
        let _ = range(&store(), q, span, &options);
    }
}

/// Pods that come, go and come back, so that steps see different series.
fn churn() -> Store {
    let s = Store::default();
    for i in 0..120_i64 {
        for pod in 0..9_i64 {
            if (i / 10 + pod) % 4 == 0 {
                continue;
            }
            let names = ["gpu", "up", "requests_total"];
            let l = Labels::from_pairs([
                ("__name__", names[pod as usize % 3].to_owned()),
                ("pod", format!("p{pod}")),
                ("node", format!("n{}", pod % 2)),
            ]);
            s.append(&l, i * 5_000, ((i * 7 + pod * 3) % 13) as f64)
                .unwrap();
        }
    }
    s
}

#[test]
fn a_range_has_at_each_step_what_the_time_alone_gives() {
    let options = EvalOptions {
        lookback_ms: 20_000,
        ..EvalOptions::default()
    };
    for query in [
        "gpu",
        "-{pod!=\"\"}",
        "gpu offset 30s",
        "{__name__=~\"gpu|up\"} > 5",
        "1 + time()",
        "sum(rate({pod!=\"\"}[1m]))",
        "rate({__name__=~\"requests_total|gpu\"}[1m])",
        "sum by (node) ({pod!=\"\"} > 5)",
        "count without (pod) (increase({__name__=~\".+\"}[40s]))",
        "topk by (node) (1, {pod!=\"\"})",
        "count_values by (node) (\"v\", {pod!=\"\"})",
        "sum by (x) (label_replace(gpu, \"x\", \"$1\", \"pod\", \"(.*)\"))",
        "max_over_time(sum by (node) ({pod!=\"\"})[1m:10s])",
        "sum by (__name__) (gpu) or up",
    ] {
        let store = churn();
        let (start, end, step) = (0, 600_000, 7_000);
        let whole = range(&store, query, Span { start, end, step }, &options).unwrap();
        let QueryValue::Matrix(whole) = whole.value else {
            panic!("{query}: no matrix");
        };
        assert!(whole.is_sorted_by(|a, b| a.0 < b.0), "{query}");
        for t in (start..=end).step_by(step as usize) {
            let mut want = match instant(&store, query, t, &options).unwrap().value {
                QueryValue::Vector(v) => v,
                QueryValue::Scalar(v) => vec![(Labels::empty(), v)],
                other => panic!("{query}: {other:?}"),
            };
            want.sort_by(|a, b| a.0.cmp(&b.0));
            let at_t = |(l, points): &(Labels, Vec<(i64, f64)>)| {
                let i = points.binary_search_by_key(&t, |p| p.0).ok()?;
                Some((l.clone(), points[i].1))
            };
            let have: Vec<_> = whole.iter().filter_map(at_t).collect();
            assert_eq!(have, want, "{query} at {t}");
        }
    }
}

/// Words that make up queries, right and wrong.
const WORDS: &[&str] = &[
    "gpu",
    "{pod=\"a\"}",
    "{pod=~\".*\"}",
    "[5m]",
    "[1m:10s]",
    "[5m:]",
    "(",
    ")",
    "(",
    ")",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "==",
    "bool",
    ">",
    "and",
    "or",
    "unless",
    "on(pod)",
    "ignoring(pod)",
    "group_left",
    "by (pod)",
    "without ()",
    "sum",
    "avg",
    "topk(1,",
    "quantile(0.5,",
    "rate(",
    "count_values(\"x\",",
    "label_replace(",
    "\"$1\"",
    ",",
    "0",
    "1e300",
    "NaN",
    "offset 1m",
    "@ 100",
    "@ end()",
    "vector(",
    "scalar(",
    "histogram_quantile(",
    "deriv(",
    "absent(",
    "max_over_time(",
    "1h",
    "step()",
    "anchored",
    "smoothed",
    "info(",
    "fill(0)",
    "atan2",
    "'",
    "`",
    "#",
    ":",
    "\u{e9}",
];

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_query_does_harm(picks in proptest::collection::vec(0..WORDS.len(), 1..14)) {
        let words: Vec<&str> = picks.iter().map(|i| WORDS[*i]).collect();
        let options = EvalOptions { max_work: 100_000, ..EvalOptions::default() };
        let mut query = words.join(" ");
        // Closing what is open lets more of the queries through to evaluation.
        let open = query.matches('(').count().saturating_sub(query.matches(')').count());
        query += &")".repeat(open);
        let store = store();
        let _ = instant(&store, &query, 595_000, &options);
        let _ = range(&store, &query, Span { start: 0, end: 600_000, step: 200_000 }, &options);
    }

    #[test]
    fn no_text_breaks_the_parser(text in "\\PC{0,60}") {
        let _ = crate::parser::parse(&text);
    }

    #[test]
    fn no_page_breaks_ingestion(page in "([a-z]{1,3}|[{}\",= \\\\0-9.e\n#]|TYPE |le=\"1\"){0,40}") {
        let store = Store::default();
        let mut cache = crate::store::ScrapeCache::new();
        store.ingest(&page, &[], 1_000, &mut cache);
        store.ingest(&page, &[], 2_000, &mut cache);
    }
}
