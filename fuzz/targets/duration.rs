//! Durations: read or refused, and what is printed reads back.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(duration) = api::duration::GoDuration::parse(text) {
        let printed = duration.to_string();
        assert_eq!(api::duration::GoDuration::parse(&printed), Ok(duration));
    }
});
