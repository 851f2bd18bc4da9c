//! A harness of its own: it prints each figure with its limit or its peer from
//! the same run, and how many times one goes into the other. The usual harnesses
//! print times, which say little on somebody else's machine.

use std::time::{Duration, Instant};

/// The shortest of `runs` runs: on a shared machine the least disturbed one.
///
/// Counts the time that this thread has had a core where the system tells it
/// (Linux), else the time that went by: what others do is not ours. The system
/// counts in steps of some milliseconds, so short work is repeated and shared out.
pub fn best<T>(runs: usize, mut work: impl FnMut() -> T) -> Duration {
    let mut shortest = Duration::MAX;
    let mut times = 1;
    let mut left = runs.max(1);
    while left > 0 {
        let (began, busy) = (Instant::now(), on_core());
        for _ in 0..times {
            std::hint::black_box(work());
        }
        let took = match (busy, on_core()) {
            (Some(before), Some(after)) => after.saturating_sub(before),
            _ => began.elapsed(),
        };
        if took < ENOUGH && times < 1 << 20 {
            times *= 2;
            continue;
        }
        shortest = shortest.min(took / times);
        left -= 1;
    }
    shortest
}

/// Shorter work is repeated until it takes so long.
const ENOUGH: Duration = Duration::from_millis(100);

/// How long this thread has had a core so far.
fn on_core() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos = text.split(' ').next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

/// The most memory that the process held while it did some work, in KiB, where
/// the system tells it (Linux).
pub fn peak_memory<T>(work: impl FnOnce() -> T) -> (T, Option<f64>) {
    // Begins the count anew.
    let counted = std::fs::write("/proc/self/clear_refs", "5").is_ok();
    let out = work();
    let read = || {
        let text = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
        line.split_whitespace().next()?.parse().ok()
    };
    (out, read().filter(|_| counted))
}

/// What has been measured.
#[derive(Debug, Default)]
pub struct Report {
    missed: Vec<String>,
}

impl Report {
    /// A report with its title printed.
    pub fn new(title: &str) -> Self {
        println!("{title}");
        Self::default()
    }

    /// A time that should stay below a limit.
    pub fn within(&mut self, what: &str, took: Duration, limit: Duration) {
        let share = took.as_secs_f64() / limit.as_secs_f64();
        self.line(
            what,
            &format!("{took:.1?} of {limit:?}"),
            share,
            share <= 1.0,
        );
    }

    /// A rate that should reach a limit.
    pub fn at_least(&mut self, what: &str, rate: f64, unit: &str, limit: f64) {
        let share = limit / rate;
        let text = format!("{rate:.0} {unit}, {limit:.0} asked");
        self.line(what, &text, share, share <= 1.0);
    }

    /// A time beside a peer's; the ratio should stay at or below `most`.
    pub fn beside(&mut self, what: &str, took: Duration, peer: &str, other: Duration, most: f64) {
        let ratio = took.as_secs_f64() / other.as_secs_f64();
        let text = format!("{took:.1?} beside {other:.1?} for {peer}, {most:.3} at the most");
        self.line(what, &text, ratio, ratio <= most);
    }

    /// A size beside a peer's; the ratio should stay at or below `most`.
    pub fn no_larger(&mut self, what: &str, size: f64, peer: &str, other: f64, most: f64) {
        let ratio = size / other;
        let text = format!("{size:.0} beside {other:.0} for {peer}, {most:.3} at the most");
        self.line(what, &text, ratio, ratio <= most);
    }

    fn line(&mut self, what: &str, text: &str, ratio: f64, met: bool) {
        let mark = if met { "" } else { "  MISSED" };
        println!("  {what}: {text}, ratio {ratio:.2}{mark}");
        if !met {
            self.missed.push(what.to_owned());
        }
    }

    /// Ends the program with 1 if a limit was missed.
    pub fn finish(self) {
        if !self.missed.is_empty() {
            eprintln!("missed: {}", self.missed.join("; "));
            std::process::exit(1);
        }
    }
}
