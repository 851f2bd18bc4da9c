//! No text may make a reader of this room panic, loop or ask for much memory.

#![allow(clippy::unwrap_used)]

use promql::parser;
use promql::promqltest::run_text;
use promql::store::{ScrapeCache, Store, parse_exposition};
use proptest::prelude::*;

/// Pieces that a reader of test files reacts to.
const TEST_WORDS: &[&str] = &[
    "load 5m",
    "\n",
    "  ",
    "http_requests{a=\"b\"} ",
    "0+10x10",
    "_x3",
    "stale",
    "clear",
    "eval ",
    "instant at 50m ",
    "range from 0 to 10m step 5m ",
    "sum(http_requests)",
    "{} 1",
    "expect fail",
    "expect ordered",
    "1e999",
    "x99999999999",
    "{{schema:0}}",
    "#",
    "\t",
    "-",
    "NaN",
    "at",
    "\"",
];
/// Pieces of pages.
const PAGE_WORDS: &[&str] = &[
    "# HELP a b\n",
    "# TYPE a gauge\n",
    "# EOF\n",
    "a",
    "{",
    "}",
    "b=\"c\"",
    ",",
    " ",
    "1",
    "NaN",
    "+Inf",
    "0x1p-2",
    "\n",
    "\\",
    "\"",
    "123456789012345678901",
    "\u{1F525}",
    "{\"quoted\"} 1\n",
    "=",
];

fn joined(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::collection::vec(0..words.len(), 0..24)
        .prop_map(move |picks| picks.into_iter().map(|at| words[at]).collect())
}

fn read_page(text: &str) {
    let _ = parse_exposition(text);
    let store = Store::default();
    let mut cache = ScrapeCache::new();
    for at in [1_000, 6_000] {
        store.ingest(text, &[], at, &mut cache);
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
        let _ = parser::parse(&text);
        let _ = parser::parse_selector(&text);
        let _ = parser::parse_duration(&text);
        read_page(&text);
        run_text("any", &text);
    }

    #[test]
    fn text_like_a_test_file_is_run_or_reported(text in joined(TEST_WORDS)) {
        let result = run_text("like", &text);
        prop_assert!(result.passed <= result.total);
    }

    #[test]
    fn text_like_a_page_is_read_or_refused(text in joined(PAGE_WORDS)) {
        read_page(&text);
    }
}
