//! Queries: read or refused; a query that is read can be evaluated on an empty store.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if promql::parser::parse(text).is_ok() {
        let options = promql::eval::EvalOptions {
            max_samples: 10_000,
            max_work: 1_000_000,
            ..Default::default()
        };
        let store = promql::store::Store::default();
        let _ = promql::eval::instant(&store, text, 1_000_000, &options);
    }
    let _ = promql::parser::parse_duration(text);
});
