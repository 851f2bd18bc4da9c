//! Formulas: refused, or run within their budget.

#![no_main]

use std::collections::BTreeMap;

use decide::formula::Formula;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let names = ["a", "b", "c"].map(str::to_owned);
    if let Ok(formula) = Formula::new(text, &names) {
        let values = names.into_iter().zip([Some(2.0), Some(f64::NAN), None]);
        let values: BTreeMap<_, _> = values.collect();
        let _ = formula.run(&values, jiff::Timestamp::UNIX_EPOCH);
    }
});
