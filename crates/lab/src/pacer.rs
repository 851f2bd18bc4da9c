//! Simulated time held to a multiple of real time.
//!
//! Under a paused clock tokio jumps to the next timer whenever nothing is
//! left to do, so a simulation runs as fast as it computes. The pacer is one
//! task among the others that sleeps a quantum of simulated time and then
//! blocks the thread, on a plain channel, until real time has caught up. A
//! [`Bell`] rung from another thread ends the wait for as long as it takes to
//! answer the request that rang it; simulated time stands still meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Real time between two looks at the clock.
const QUANTUM: Duration = Duration::from_millis(5);
/// Turns that other tasks get for the requests of one ring. A request needs
/// about five; one that waits for simulated time would take all of them.
const TURNS: usize = 256;

/// How fast simulated time goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// So many simulated seconds a real second.
    Times(f64),
    /// As fast as it computes.
    Max,
}

impl std::str::FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.parse::<f64>() {
            Ok(n) if (0.01..=100_000.0).contains(&n) => Ok(Self::Times(n)),
            _ => Err(format!(
                "'{text}' is neither 'max' nor a number from 0.01 to 100000"
            )),
        }
    }
}

/// Wakes the simulation from outside.
#[derive(Clone, Debug)]
pub struct Bell {
    rope: SyncSender<()>,
    waiting: Arc<AtomicUsize>,
}

impl Bell {
    /// Says that a request is waiting.
    pub fn ring(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        // A full channel means that it rings already.
        let _ = self.rope.try_send(());
    }

    /// Wakes the simulation without a request: something waits on a channel.
    pub fn nudge(&self) {
        let _ = self.rope.try_send(());
    }

    /// Held for as long as one request waits; it counts as answered when this
    /// is dropped, however its task ends.
    pub fn waiting(&self) -> Waiting {
        Waiting(Arc::clone(&self.waiting))
    }
}

/// Sets the speed of a running pacer.
#[derive(Clone, Debug)]
pub struct Tempo(Arc<AtomicU64>);

impl Tempo {
    /// Simulated seconds a real second from now on; 0 stops time.
    pub fn set(&self, times: f64) {
        self.0.store(times.max(0.0).to_bits(), Ordering::SeqCst);
    }

    fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::SeqCst))
    }
}

/// One request that waits for its answer.
#[derive(Debug)]
pub struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Holds a simulation to real time.
#[derive(Debug)]
pub struct Pacer {
    ears: Receiver<()>,
    bell: Bell,
    tempo: Tempo,
}

impl Pacer {
    /// A pacer that will go at `times` times real time.
    pub fn new(times: f64) -> Self {
        let (rope, ears) = sync_channel(1);
        let bell = Bell {
            rope,
            waiting: Arc::new(AtomicUsize::new(0)),
        };
        Self {
            ears,
            bell,
            tempo: Tempo(Arc::new(AtomicU64::new(times.to_bits()))),
        }
    }

    /// The bell that wakes this pacer.
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// What sets its speed while it runs.
    pub fn tempo(&self) -> Tempo {
        self.tempo.clone()
    }

    /// Holds simulated time to its multiple of real time, for ever. Runs as a
    /// task of the simulation's own runtime and blocks its thread.
    pub async fn run(self) {
        let Self { ears, bell, tempo } = self;
        let mut real = Instant::now();
        let mut due = tokio::time::Instant::now();
        loop {
            let speed = tempo.get();
            if speed > 0.0 {
                due += QUANTUM.mul_f64(speed);
                tokio::time::sleep_until(due).await;
            }
            real += QUANTUM;
            // A machine that was suspended or too slow does not catch up in a
            // rush: what is lost is lost, and time goes on from here.
            if real.elapsed() > Duration::from_secs(1) {
                real = Instant::now();
            }
            loop {
                Self::let_others_answer(&bell).await;
                let left = real.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                match ears.recv_timeout(left) {
                    Ok(()) => {}
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        }
    }

    async fn let_others_answer(bell: &Bell) {
        for _ in 0..TURNS {
            if bell.waiting.load(Ordering::SeqCst) == 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
        // The last answer's chunks and the writes it set off get a few turns
        // more, so that a watch shows them now and not a quantum later.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_a_number_or_max() {
        assert_eq!("20".parse(), Ok(Speed::Times(20.0)));
        assert_eq!("max".parse(), Ok(Speed::Max));
        for bad in ["", "fast", "0", "-1", "NaN", "inf"] {
            assert!(bad.parse::<Speed>().is_err(), "{bad}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn simulated_time_keeps_its_multiple_of_real_time() {
        let real = Instant::now();
        let pacer = tokio::spawn(Pacer::new(1000.0).run());
        tokio::time::sleep(Duration::from_secs(100)).await;
        pacer.abort();
        // The lower bound only: a busy machine may be late, never early.
        assert!(
            real.elapsed() >= Duration::from_millis(95),
            "{:?}",
            real.elapsed()
        );
    }
}
