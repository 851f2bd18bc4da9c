//! Pool flags: read or refused, and what is printed reads back.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(pool) = api::pool::Pool::parse(text, 1) {
        let printed = pool.to_string();
        let again = api::pool::Pool::parse(&printed, 1).map(|p| p.to_string());
        assert_eq!(again.ok(), Some(printed));
    }
});
