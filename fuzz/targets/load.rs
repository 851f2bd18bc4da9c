//! Loads: the CSV of a demand, the annotation of the lab, and the flags around them.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = replay::Load::from_csv("fuzz", text, &replay::DemandOptions::default());
    let _ = replay::sweep::Sweep::parse(text);
    let _ = replay::model::ready_lag(text);
    let _ = lab::load::Load::parse(Some(text));
});
