//! Wall-clock time for everything that takes part in a simulation.
//!
//! A [`Clock`] reads the time of day through tokio's clock, so a paused or
//! stepped runtime moves it; outside a simulation it is the system's clock.
//! Rooms below take a `Clock` instead of asking the system, since a second
//! source of time is what makes a simulation irreproducible.

use jiff::{Timestamp, ToSpan as _};
use tokio::time::Instant;

/// A source of the time of day. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    anchor: Option<(Timestamp, Instant)>,
}

impl Clock {
    /// The machine's own clock.
    pub fn system() -> Self {
        Self { anchor: None }
    }

    /// A clock that shows `start` now and moves with tokio's clock.
    ///
    /// Must be called inside the runtime whose clock it follows.
    pub fn simulated(start: Timestamp) -> Self {
        Self {
            anchor: Some((start, Instant::now())),
        }
    }

    /// The time of day, to the microsecond.
    pub fn now(&self) -> Timestamp {
        match self.anchor {
            None => Timestamp::now(),
            Some((start, at)) => {
                let elapsed = i64::try_from(at.elapsed().as_micros()).unwrap_or(i64::MAX);
                start
                    .checked_add(elapsed.microseconds())
                    .unwrap_or(Timestamp::MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_simulated_clock_moves_only_with_the_paused_runtime() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock = Clock::simulated(start);
        assert_eq!(clock.now(), start);
        tokio::time::advance(Duration::from_secs(86_400)).await;
        assert_eq!(clock.now().to_string(), "2026-01-02T00:00:00Z");
    }
}
