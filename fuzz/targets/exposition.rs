//! Pages in the text exposition format: read or refused, twice in a row with one cache.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = promql::store::parse_exposition(text);
    let store = promql::store::Store::default();
    let mut cache = promql::store::ScrapeCache::new();
    let target = [("job".to_owned(), "fuzz".to_owned())];
    for at in [1_000, 6_000] {
        store.ingest(text, &target, at, &mut cache);
    }
});
