//! Quantities: read or refused, and what is printed reads back.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(quantity) = api::quantity::Quantity::parse(text) {
        let printed = quantity.to_string();
        // What lies beyond the largest suffix is printed with more digits than are read.
        if printed.len() < 20 && quantity.as_f64().abs() < 1e18 {
            assert_eq!(api::quantity::Quantity::parse(&printed), Ok(quantity));
        }
    }
});
