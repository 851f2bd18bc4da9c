//! The language of Prometheus query tests: every command is run or reported.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = promql::promqltest::run_text("fuzz", text);
});
