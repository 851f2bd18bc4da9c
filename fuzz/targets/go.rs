//! What is read as Go reads it: floats, URLs, JSON. A float that is printed reads back.

#![no_main]

use api::go::{float, json, url};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(value) = float::parse(text) {
        let again = float::parse(&float::general(value));
        assert!(again.is_ok_and(|again| again == value || value.is_nan()));
    }
    let _ = url::Url::parse(text);
    let _ = json::parse(text.as_bytes());
    let _ = json::number(text);
});
