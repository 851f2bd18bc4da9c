//! The next time of a schedule.
//!
//! What happens in an hour that the clock skips or repeats follows from the
//! order of the steps: month, day, hour, minute, each started over when the
//! one above it moves. A local time that does not exist becomes one an hour
//! off, so its hour does not match and the day passes without a time.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::{STAR, Schedule};

/// More steps than five years can take: months, days, hours and minutes are
/// each tried at most once over before the next larger one moves.
const MAX_STEPS: usize = 20_000;

/// No next time was found because the zone skips a whole day, which the
/// original's search never gets over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no next time of the schedule: the time zone skips a whole day, over which it cannot go")]
pub struct Endless;

/// A position of the search in local time.
struct At<'a> {
    zone: &'a TimeZone,
    /// Seconds since the epoch.
    seconds: i64,
    steps: usize,
}

impl At<'_> {
    fn offset(&self, seconds: i64) -> i64 {
        let at = Timestamp::from_second(seconds).unwrap_or(if seconds < 0 {
            Timestamp::MIN
        } else {
            Timestamp::MAX
        });
        i64::from(self.zone.to_offset(at).seconds())
    }

    fn local(&self) -> Option<DateTime> {
        let local = self.seconds.checked_add(self.offset(self.seconds))?;
        Some(TimeZone::UTC.to_datetime(Timestamp::from_second(local).ok()?))
    }

    /// Goes to a local time, by the offset that holds there as if the local
    /// time were UTC, corrected once.
    fn go(&mut self, to: DateTime) -> Option<()> {
        let local = TimeZone::UTC.to_timestamp(to).ok()?.as_second();
        let guess = self.offset(local);
        self.seconds = match guess {
            0 => local,
            guess => local - self.offset(local - guess),
        };
        Some(())
    }

    fn step(&mut self) -> Result<(), Endless> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(Endless);
        }
        Ok(())
    }
}

pub(super) fn next(
    schedule: &Schedule,
    after: Timestamp,
    zone: &TimeZone,
) -> Result<Option<Timestamp>, Endless> {
    // Each hour of five years would be tried for a field that has no value.
    if [schedule.hour, schedule.minute].contains(&0) {
        return Ok(None);
    }
    let mut at = At {
        zone,
        seconds: after.as_nanosecond().div_euclid(1_000_000_000) as i64 + 1,
        steps: 0,
    };
    let found = search(schedule, &mut at)?;
    Ok(found.and_then(|seconds| Timestamp::from_second(seconds).ok()))
}

/// `None` also where the calendar ends.
fn search(schedule: &Schedule, at: &mut At<'_>) -> Result<Option<i64>, Endless> {
    /// Takes a value or ends the search without a time.
    macro_rules! some {
        ($value:expr) => {
            match $value {
                Some(value) => value,
                None => return Ok(None),
            }
        };
    }
    let has = |set: u64, value: i8| set & (1 << value) != 0;
    let last_year = some!(at.local()).year() + 5;
    // Set once the search has moved: from then on the smaller parts are 0.
    let mut moved = false;
    'again: loop {
        let mut local = some!(at.local());
        if local.year() > last_year {
            return Ok(None);
        }
        while !has(schedule.month, local.month()) {
            at.step()?;
            if !std::mem::replace(&mut moved, true) {
                some!(at.go(local.date().first_of_month().at(0, 0, 0, 0)));
                local = some!(at.local());
            }
            some!(at.go(some!(next_month(local))));
            local = some!(at.local());
            if local.month() == 1 {
                continue 'again;
            }
        }
        while !day_matches(schedule, local.date()) {
            at.step()?;
            if !std::mem::replace(&mut moved, true) {
                some!(at.go(local.date().at(0, 0, 0, 0)));
                local = some!(at.local());
            }
            some!(at.go(some!(local.checked_add(1.day()).ok())));
            local = some!(at.local());
            // A midnight that the clock skipped is an hour off.
            let hour = i64::from(local.hour());
            if hour != 0 {
                at.seconds += if hour > 12 { 24 - hour } else { -hour } * 3600;
                local = some!(at.local());
            }
            if local.day() == 1 {
                continue 'again;
            }
        }
        while !has(schedule.hour, local.hour()) {
            at.step()?;
            if !std::mem::replace(&mut moved, true) {
                some!(at.go(local.date().at(local.hour(), 0, 0, 0)));
            }
            at.seconds += 3600;
            local = some!(at.local());
            if local.hour() == 0 {
                continue 'again;
            }
        }
        while !has(schedule.minute, local.minute()) {
            at.step()?;
            if !std::mem::replace(&mut moved, true) {
                at.seconds -= at.seconds.rem_euclid(60);
            }
            at.seconds += 60;
            local = some!(at.local());
            if local.minute() == 0 {
                continue 'again;
            }
        }
        if local.second() == 0 {
            return Ok(Some(at.seconds));
        }
        at.step()?;
        moved = true;
        at.seconds += 60 - i64::from(local.second());
    }
}

/// A month on; a day that it does not have runs over into the one after.
fn next_month(local: DateTime) -> Option<DateTime> {
    let first = local.date().first_of_month();
    let next = first.checked_add(1.month()).ok()?;
    let day = next.checked_add((i64::from(local.day()) - 1).days()).ok()?;
    Some(day.to_datetime(local.time()))
}

fn day_matches(schedule: &Schedule, date: Date) -> bool {
    let day = schedule.day & (1 << date.day()) != 0;
    let weekday = schedule.weekday & (1 << date.weekday().to_sunday_zero_offset()) != 0;
    if (schedule.day | schedule.weekday) & STAR != 0 {
        day && weekday
    } else {
        day || weekday
    }
}
