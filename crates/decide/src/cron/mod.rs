//! Cron schedules as KEDA's cron trigger reads them: five fields, in a time
//! zone, with the rules of Go's `robfig/cron` at clock changes.
//!
//! Not a crate, because the ones there are fire at the first instant after a
//! skipped hour, where KEDA does not fire on that day at all.

mod next;
mod parse;
mod zone;

use jiff::Timestamp;
use jiff::tz::TimeZone;

pub use next::Endless;
pub use parse::ParseError;
pub use zone::{UnknownZone, zone};

/// A parsed five-field expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    minute: u64,
    hour: u64,
    day: u64,
    month: u64,
    weekday: u64,
    /// Of a leading `TZ=` in the expression; it outranks the caller's.
    zone: Option<TimeZone>,
}

/// Set in a day field that was `*`: then both day fields must match, where
/// otherwise one of them is enough.
const STAR: u64 = 1 << 63;

impl Schedule {
    /// Parses `minute hour day month weekday`.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse::schedule(text)
    }

    /// The first time after `after`, in whole seconds, or `None` where there is
    /// none within five years.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Result<Option<Timestamp>, Endless> {
        next::next(self, after, self.zone.as_ref().unwrap_or(zone))
    }
}

/// The time between two schedules, over and over.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Opens it.
    pub start: Schedule,
    /// Closes it.
    pub end: Schedule,
}

/// When a [`Window`] changes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edges {
    /// The next opening.
    pub start: Option<Timestamp>,
    /// The next closing.
    pub end: Option<Timestamp>,
    /// Whether the window is open now: it closes before it opens again.
    pub open: bool,
}

impl Window {
    /// Whether the window is open at `now`, and its next changes.
    ///
    /// A schedule that never comes counts as one that came before all time, as
    /// in KEDA: a window that never opens again stays open.
    pub fn at(&self, now: Timestamp, zone: &TimeZone) -> Result<Edges, Endless> {
        let start = self.start.next(now, zone)?;
        let end = self.end.next(now, zone)?;
        let opens_first = start < end;
        let started = start.is_none();
        let ends_later = end.is_some();
        let open = if opens_first {
            started && ends_later
        } else {
            started || ends_later
        };
        Ok(Edges { start, end, open })
    }
}

#[cfg(test)]
mod tests;
