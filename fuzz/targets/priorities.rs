//! Priorities of pools: read or refused, and every group has one answer.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(priorities) = decide::nodes::Priorities::parse(text) {
        let group = "aks-gpunp-36854149-vmss";
        let _ = priorities.of(group);
    }
});
