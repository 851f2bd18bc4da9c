//! Recorded schedules are judged with the cron trigger; here is what must hold
//! for any text and any time.

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_skipped_hour_has_no_time_on_that_day() {
    let schedule = Schedule::parse("30 2 * * *").unwrap();
    let zone = zone("America/New_York").unwrap();
    let next = schedule.next(at("2026-03-08T05:00:00Z"), &zone).unwrap();
    assert_eq!(next, Some(at("2026-03-09T06:30:00Z")));
}

#[test]
fn a_zone_in_the_text_outranks_the_callers() {
    let schedule = Schedule::parse("TZ=Asia/Tokyo 0 9 * * *").unwrap();
    let next = schedule.next(at("2026-01-01T00:00:01Z"), &TimeZone::UTC);
    assert_eq!(next, Ok(Some(at("2026-01-02T00:00:00Z"))));
    assert!(Schedule::parse("TZ=UTC").is_err());
}

#[test]
fn a_day_that_a_zone_skips_ends_the_search_with_an_error() {
    let schedule = Schedule::parse("0 6 1 * *").unwrap();
    let zone = zone("Pacific/Apia").unwrap();
    assert_eq!(
        schedule.next(at("2011-12-29T22:30:00Z"), &zone),
        Err(Endless)
    );
}

#[test]
fn a_field_without_a_value_has_no_time() {
    for text in [
        ", * * * *",
        "* , * * *",
        "* * , * *",
        "* * * , *",
        "* * * * ,",
        "* * , * ,",
    ] {
        let schedule = Schedule::parse(text).unwrap();
        let next = schedule.next(at("2026-01-01T00:00:00Z"), &TimeZone::UTC);
        assert_eq!(next, Ok(None), "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_parses_or_is_refused(text in "[-0-9a-zA-Z*?/, @=_.+]{0,40}") {
        let _ = Schedule::parse(&text);
    }

    #[test]
    fn any_schedule_at_any_time_has_an_answer(
        fields in prop::array::uniform5("(\\*|\\*/[0-9]{1,2}|[0-9]{1,2}(-[0-9]{1,2})?)(,[0-9]{1,2})?"),
        zone in prop::sample::select(vec![
            "UTC", "Pacific/Apia", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Beirut",
        ]),
        seconds in Timestamp::MIN.as_second()..Timestamp::MAX.as_second(),
    ) {
        let zone = super::zone(zone).unwrap();
        let now = Timestamp::from_second(seconds).unwrap();
        if let Ok(schedule) = Schedule::parse(&fields.join(" "))
            && let Ok(Some(next)) = schedule.next(now, &zone)
        {
            prop_assert!(next > now);
            // Before that, zones had offsets with seconds.
            prop_assert!(seconds < 0 || next.as_second() % 60 == 0);
        }
    }
}
