//! Story files: read or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = lab::story::Story::parse(text, "fuzz".as_ref(), ".".into());
});
