//! Behaviour of the store as a scraper and a reader see it.

use super::*;
use crate::labels::MatchOp;
use crate::number::is_stale;

fn target() -> Vec<(String, String)> {
    vec![
        ("job".into(), "dcgm".into()),
        ("instance".into(), "10.0.0.1:9400".into()),
    ]
}

fn read(store: &Store, name: &str) -> Vec<SeriesData> {
    let m = Matcher::new("__name__", MatchOp::Equal, name).unwrap();
    store.select(&[m], i64::MIN, i64::MAX, false)
}

#[test]
fn a_scrape_stores_labels_target_labels_and_its_report() {
    let store = Store::default();
    let mut cache = ScrapeCache::new();
    let page = "# HELP g Load.\n# TYPE g gauge\ng{gpu=\"0\",job=\"mine\"} 5\ng{gpu=\"1\"} 6\n";
    let s = store.ingest(page, &target(), 1_000, &mut cache);
    assert_eq!((s.samples, s.added, s.error), (2, 2, None));
    let g = read(&store, "g");
    assert_eq!(
        g[0].labels.to_string(),
        r#"{__name__="g", exported_job="mine", gpu="0", instance="10.0.0.1:9400", job="dcgm"}"#
    );
    assert_eq!(read(&store, "up")[0].points, [(1_000, 1.0)]);
    assert_eq!(
        read(&store, "scrape_samples_scraped")[0].points,
        [(1_000, 2.0)]
    );
    assert_eq!(store.metadata()["g"].help, "Load.");
    assert_eq!(store.metadata()["g"].kind, "gauge");
}

#[test]
fn a_vanished_series_goes_stale_and_may_come_back() {
    let store = Store::default();
    let mut cache = ScrapeCache::new();
    store.ingest("a 1\nb 1\n", &target(), 1_000, &mut cache);
    store.ingest("a 2\n", &target(), 2_000, &mut cache);
    store.ingest("a 3\n", &target(), 3_000, &mut cache);
    store.ingest("b 7\na 3\n", &target(), 4_000, &mut cache);
    let b = &read(&store, "b")[0].points;
    assert_eq!(b.len(), 3);
    assert!(is_stale(b[1].1) && b[1].0 == 2_000);
    assert_eq!(b[2], (4_000, 7.0));
}

#[test]
fn a_broken_page_is_a_failed_scrape() {
    let store = Store::default();
    let mut cache = ScrapeCache::new();
    store.ingest("a 1\n", &target(), 1_000, &mut cache);
    let s = store.ingest("a 2\na{ 3\n", &target(), 2_000, &mut cache);
    assert_eq!(s.error.unwrap().line, 2);
    assert!(is_stale(read(&store, "a")[0].points[1].1));
    assert_eq!(read(&store, "up")[0].points[1], (2_000, 0.0));
    store.end_target(3_000, &mut cache);
    assert!(is_stale(read(&store, "up")[0].points[2].1));
}

#[test]
fn bucket_bounds_are_normalised() {
    let store = Store::default();
    let page =
        "# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 2\nother{le=\"1\"} 1\n";
    store.ingest(page, &target(), 1_000, &mut ScrapeCache::new());
    let h = read(&store, "h_bucket");
    assert_eq!(
        (h[0].labels.get("le"), h[1].labels.get("le")),
        ("+Inf", "1.0")
    );
    assert_eq!(read(&store, "other")[0].labels.get("le"), "1");
}

#[test]
fn appends_must_move_forward_in_time() {
    let store = Store::default();
    let l = Labels::from_pairs([("__name__", "a")]);
    store.append(&l, 1_000, 1.0).unwrap();
    assert_eq!(store.append(&l, 1_000, 1.0), Ok(()));
    assert_eq!(store.append(&l, 1_000, 2.0), Err(AppendError::Duplicate));
    assert_eq!(store.append(&l, 500, 2.0), Err(AppendError::OutOfOrder));
}

#[test]
fn the_number_of_series_is_bounded() {
    let store = Store::new(StoreOptions {
        max_series: 2,
        ..StoreOptions::default()
    });
    for n in ["a", "b"] {
        store
            .append(&Labels::from_pairs([("__name__", n)]), 0, 1.0)
            .unwrap();
    }
    let c = Labels::from_pairs([("__name__", "c")]);
    assert_eq!(store.append(&c, 0, 1.0), Err(AppendError::TooManySeries(2)));
}

#[test]
fn old_samples_and_series_are_forgotten() {
    let hour = 3_600_000;
    let store = Store::new(StoreOptions {
        retention: Duration::from_secs(24 * 3_600),
        ..StoreOptions::default()
    });
    store
        .append(
            &Labels::from_pairs([("__name__", "gone"), ("x", "y")]),
            0,
            1.0,
        )
        .unwrap();
    let l = Labels::from_pairs([("__name__", "kept")]);
    for i in 0..72 * 60 {
        store.append(&l, i * 60_000, i as f64).unwrap();
    }
    assert!(read(&store, "gone").is_empty());
    assert_eq!(store.series(&[], i64::MIN, i64::MAX), [l]);
    let kept = &read(&store, "kept")[0].points;
    assert!(
        kept[0].0 >= 72 * hour - 24 * hour - 3 * hour,
        "{}",
        kept[0].0
    );
    assert!(kept.len() >= 24 * 60);
}

#[test]
fn the_oldest_samples_go_when_memory_is_short() {
    let store = Store::new(StoreOptions {
        max_bytes: 100_000,
        ..StoreOptions::default()
    });
    let l = Labels::from_pairs([("__name__", "a")]);
    for i in 0..100_000i64 {
        store
            .append(&l, i * 5_000, (i * 7_919 % 1_013) as f64)
            .unwrap();
    }
    assert!(store.stats().sample_bytes < 105_000, "{:?}", store.stats());
    let a = &read(&store, "a")[0].points;
    assert_eq!(a.last().unwrap().0, 99_999 * 5_000);
    assert!(a.len() > 10_000 && a[0].0 > 0, "{}", a.len());
}

#[test]
fn reads_by_time_cross_chunks() {
    let store = Store::default();
    let l = Labels::from_pairs([("__name__", "a")]);
    for i in 0..1_000 {
        store.append(&l, i * 5_000, i as f64).unwrap();
    }
    let m = [Matcher::new("__name__", MatchOp::Equal, "a").unwrap()];
    let got = store.select(&m, 500_000, 1_500_000, false);
    assert_eq!(got[0].points.len(), 201);
    assert_eq!(got[0].points[0], (500_000, 100.0));
    let got = store.select(&m, 0, 1_501_000, true);
    assert_eq!(got[0].points, [(1_500_000, 300.0)]);
    assert!(store.stats().sample_bytes < 1_000 * 5 + 4_000);
}
