//! No text may make a reader panic, loop or ask for much memory; what is
//! printed must read back.

#![allow(clippy::unwrap_used)]

use api::duration::GoDuration;
use api::pool::Pool;
use api::quantity::Quantity;
use api::selector::{FieldSelector, Selector};
use proptest::prelude::*;

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,24}") {
        let _ = Quantity::parse(&text);
        let _ = GoDuration::parse(&text);
        let _ = Selector::parse(&text);
        let _ = FieldSelector::parse(&text);
        let _ = api::yaml::parse_documents(&text);
        let _ = Pool::parse(&text, 1);
    }

    #[test]
    fn pools_read_back(text in "name=[a-z]{1,3}(,(gpus|min|max|count|price|cpu)=[0-9.e-]{1,6}|,taint=[a=:]{1,4}NoSchedule|,provision=[0-9]{1,9}[smh]?){0,5}") {
        if let Ok(pool) = Pool::parse(&text, 1) {
            let printed = pool.to_string();
            let again = Pool::parse(&printed, 1).map(|p| p.to_string());
            prop_assert_eq!(again.ok(), Some(printed));
        }
    }

    #[test]
    fn yaml_like_text_is_read_or_refused(text in "[-a&*<>{}\\[\\]:,?!|#%'\"\n 0x.~]{0,40}") {
        let _ = api::yaml::parse_documents(&text);
    }

    #[test]
    fn quantities_print_as_what_they_are(text in "[-+]?[0-9]{0,22}(\\.[0-9]{0,12})?(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|e-?[0-9]{1,10})?",
        other in "[0-9]{1,5}(m|k|Gi|e-?[0-9]{1,10})?")
    {
        let Ok(quantity) = Quantity::parse(&text) else { return Ok(()) };
        let other = Quantity::parse(&other).unwrap();
        let _ = (quantity.value(), quantity.milli_value(), quantity.as_f64(), quantity.as_i64());
        let (sum, difference) = (quantity.add(&other), quantity.sub(&other));
        prop_assert!(sum.to_string().len() < 9000 && difference.to_string().len() < 9000);
        prop_assert_eq!(quantity.cmp(&other), other.cmp(&quantity).reverse());
        let mut rounded = quantity.clone();
        rounded.round_up(-3);
        prop_assert!(quantity.sign() < 0 || rounded >= quantity);
        // Suffixes end at E: a larger power of ten prints without one.
        if quantity.to_string().len() < 20 && quantity.as_f64().abs() < 1e18 {
            prop_assert_eq!(Quantity::parse(&quantity.to_string()).unwrap(), quantity);
        }
    }

    #[test]
    fn finite_floats_are_quantities(value in any::<f64>()) {
        let quantity = Quantity::from_f64(value);
        prop_assert_eq!(quantity.is_some(), value.is_finite());
        if value.abs() < 1e6 {
            let off = quantity.unwrap().as_f64() - value;
            prop_assert!(off.abs() <= 0.000_500_001, "{value}: {off}");
        }
    }

    #[test]
    fn durations_read_back(nanos in any::<i64>()) {
        prop_assert_eq!(GoDuration::parse(&GoDuration(nanos).to_string()), Ok(GoDuration(nanos)));
    }

    #[test]
    fn selectors_read_back(text in "[ab=!,() inot<>/.0-9]{0,30}") {
        if let Ok(selector) = Selector::parse(&text) {
            let again = Selector::parse(&selector.to_string()).unwrap();
            prop_assert_eq!(again.to_string(), selector.to_string());
        }
    }
}
