//! YAML: documents are read or refused, without blowing up.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = api::yaml::parse_documents(text);
});
