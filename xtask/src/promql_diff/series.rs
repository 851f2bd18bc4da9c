//! Random series: what real pages leave in a store, and what only a broken one
//! does.

use fastrand::Rng;
use promql::labels::Labels;
use promql::number::stale_nan;

/// Series in the order of their labels, samples in the order of their times.
pub type Data = Vec<(Labels, Vec<(i64, f64)>)>;

/// Where time begins: mostly a present day, sometimes the epoch, so that
/// windows reach below zero.
const STARTS: [i64; 3] = [1_767_225_600_000, 1_767_225_600_000, 0];
/// Time between samples before they are disturbed.
pub const INTERVAL_MS: i64 = 15_000;
const MOST_SAMPLES: usize = 130;

// No subnormal numbers: Go's logarithm on amd64 takes them for the smallest
// normal one.
const AWKWARD: [f64; 14] = [
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    1e300,
    -1e300,
    f64::MAX,
    1e-300,
    -3e-308,
    9_007_199_254_740_993.0,
];

/// A set of series and the time at which they begin.
pub fn any(rng: &mut Rng) -> (Data, i64) {
    let start = STARTS[rng.usize(..STARTS.len())];
    let mut data = Data::new();
    let mut put = |rng: &mut Rng, likely: f64, labels: &[(&str, &str)], shape: Shape| {
        if rng.f64() < likely {
            let samples = samples(rng, start, shape);
            if !samples.is_empty() {
                data.push((Labels::from_pairs(labels.iter().copied()), samples));
            }
        }
    };
    for pod in ["a", "b", "c"] {
        for node in ["n1", "n2"] {
            let shape = Shape::any(rng);
            let labels = [("__name__", "gpu"), ("pod", pod), ("node", node)];
            put(rng, 0.6, &labels, shape);
        }
        for code in ["200", "500"] {
            let labels = [("__name__", "requests_total"), ("pod", pod), ("code", code)];
            put(rng, 0.7, &labels, Shape::Counter);
        }
        for le in ["0.1", "0.5", "1", "2.5", "+Inf"] {
            let labels = [("__name__", "lat_bucket"), ("pod", pod), ("le", le)];
            put(rng, 0.9, &labels, Shape::Counter);
        }
        let labels = [("__name__", "target_info"), ("pod", pod), ("zone", "z1")];
        put(rng, 0.5, &labels, Shape::Constant);
    }
    for node in ["n1", "n2", "n3"] {
        let shape = Shape::any(rng);
        put(rng, 0.7, &[("__name__", "up"), ("node", node)], shape);
    }
    let shape = Shape::any(rng);
    put(rng, 0.8, &[("__name__", "one")], shape);
    data.sort_by(|a, b| a.0.cmp(&b.0));
    (data, start)
}

/// How the values of a series run.
#[derive(Clone, Copy)]
enum Shape {
    Constant,
    /// Whole numbers up and down, with equal neighbours.
    Steps,
    Noise,
    /// Up, with resets to zero.
    Counter,
    Awkward,
}

impl Shape {
    fn any(rng: &mut Rng) -> Self {
        let all = [
            Self::Constant,
            Self::Steps,
            Self::Steps,
            Self::Noise,
            Self::Noise,
            Self::Counter,
            Self::Awkward,
        ];
        all[rng.usize(..all.len())]
    }

    fn next(self, rng: &mut Rng, last: f64) -> f64 {
        match self {
            Self::Constant => last,
            Self::Steps => last + f64::from(rng.i32(-2..=2)),
            Self::Noise => (rng.f64() - 0.5) * 200.0,
            Self::Counter if rng.f64() < 0.05 => 0.0,
            Self::Counter if rng.bool() => last + f64::from(rng.u32(..40)),
            Self::Counter => last + rng.f64(),
            Self::Awkward => AWKWARD[rng.usize(..AWKWARD.len())],
        }
    }
}

fn samples(rng: &mut Rng, start: i64, shape: Shape) -> Vec<(i64, f64)> {
    // On the grid, so that samples meet the edges of windows; near it, as
    // scrapes are; or anywhere.
    let jitter = [0, 0, 40, INTERVAL_MS - 1][rng.usize(..4)];
    let (gaps, markers, odd) = (
        [0.0, 0.02, 0.2][rng.usize(..3)],
        [0.0, 0.0, 0.04][rng.usize(..3)],
        [0.0, 0.0, 0.05][rng.usize(..3)],
    );
    let mut at = start + INTERVAL_MS * rng.i64(0..20);
    let mut value = f64::from(rng.u32(..50));
    let mut out = Vec::new();
    for _ in 0..rng.usize(..MOST_SAMPLES) {
        let t = at + if jitter > 0 { rng.i64(0..=jitter) } else { 0 };
        value = shape.next(rng, value);
        let seen = if rng.f64() < markers {
            stale_nan()
        } else if rng.f64() < odd {
            AWKWARD[rng.usize(..3)]
        } else {
            value
        };
        out.push((t, seen));
        at += INTERVAL_MS;
        if rng.f64() < gaps {
            at += INTERVAL_MS * rng.i64(1..40);
        }
    }
    out
}
