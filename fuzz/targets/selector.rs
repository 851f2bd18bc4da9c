//! Label and field selectors: read or refused, and what is printed reads back.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(selector) = api::selector::Selector::parse(text) {
        let printed = selector.to_string();
        let again = api::selector::Selector::parse(&printed).map(|s| s.to_string());
        assert_eq!(again.ok(), Some(printed));
    }
    let _ = api::selector::FieldSelector::parse(text);
    let _ = api::selector::labels_map(text);
});
