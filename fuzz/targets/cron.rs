//! Schedules: refused, or with an answer at any time in zones with odd rules.

#![no_main]

use decide::cron::{Schedule, zone};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (i64, &str)| {
    let (seconds, text) = input;
    let Ok(schedule) = Schedule::parse(text) else {
        return;
    };
    let Ok(now) = jiff::Timestamp::from_second(seconds % 10_000_000_000) else {
        return;
    };
    for name in ["UTC", "Pacific/Apia", "Australia/Lord_Howe"] {
        if let Ok(zone) = zone(name)
            && let Ok(Some(next)) = schedule.next(now, &zone)
        {
            assert!(next > now);
        }
    }
});
