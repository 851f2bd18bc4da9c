//! Numbers as text: Go's float forms, special NaN values and compensated sums.

/// Bit pattern of the NaN that marks a series as gone.
pub const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;
/// Bit pattern that stands for a native histogram sample, which this engine cannot evaluate.
pub const HISTOGRAM_BITS: u64 = 0x7ff0_0000_0000_4847;

/// The staleness marker.
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_BITS)
}

/// Whether a value is the staleness marker (an ordinary NaN is not).
pub fn is_stale(v: f64) -> bool {
    v.to_bits() == STALE_BITS
}

/// Whether a value stands for a native histogram.
pub fn is_histogram(v: f64) -> bool {
    v.to_bits() == HISTOGRAM_BITS
}

/// The difference that two results may have, relative to their sum, and still be the same:
/// sums in another order differ. Prometheus' own tests allow as much.
pub const SAME_RESULT: f64 = 1e-6;

/// Whether two numbers differ by less than `epsilon` of their sum. NaN equals NaN, and the
/// staleness marker only itself.
pub fn almost_equal(a: f64, b: f64, epsilon: f64) -> bool {
    if is_histogram(a) || is_histogram(b) || is_stale(a) != is_stale(b) {
        return false;
    }
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let (sum, diff) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return diff < epsilon * f64::MIN_POSITIVE;
    }
    diff / sum.min(f64::MAX) < epsilon
}

/// Decimal form without exponent, as scalars and `count_values` labels print.
pub fn format_plain(v: f64) -> String {
    if v.is_nan() {
        "NaN".into()
    } else if v.is_infinite() {
        if v > 0.0 {
            "+Inf".into()
        } else {
            "-Inf".into()
        }
    } else {
        format!("{v}")
    }
}

/// The form used for samples in JSON: exponent below 1e-6 and from 1e21 on.
pub fn format_sample(v: f64) -> String {
    let abs = v.abs();
    if v.is_finite() && abs != 0.0 && !(1e-6..1e21).contains(&abs) {
        exponent_form(v)
    } else {
        format_plain(v)
    }
}

/// Go's `%g` with shortest digits: exponent below 1e-4 and from 1e21 on.
pub fn format_general(v: f64) -> String {
    let abs = v.abs();
    if v.is_finite() && abs != 0.0 && !(1e-4..1e21).contains(&abs) {
        exponent_form(v)
    } else {
        format_plain(v)
    }
}

fn exponent_form(v: f64) -> String {
    let s = format!("{v:e}");
    let (mantissa, exp) = s.split_once('e').unwrap_or((&s, "0"));
    let (sign, digits) = match exp.strip_prefix('-') {
        Some(d) => ('-', d),
        None => ('+', exp),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// The text a bucket bound or quantile is normalised to on ingest: `1` becomes `1.0`.
pub fn format_bound(v: f64) -> String {
    let s = format_general(v);
    if v.is_finite() && !s.contains(['.', 'e']) {
        s + ".0"
    } else {
        s
    }
}

/// Parses a number the way Go does: decimal, hex, underscores refused, `Inf`/`NaN` in any case.
pub fn parse_float(s: &str) -> Option<f64> {
    let plain = |c: u8| c.is_ascii_digit() || matches!(c, b'.' | b'e' | b'-' | b'+');
    if s.bytes().all(plain) {
        return s.parse().ok();
    }
    let (neg, body) = match s.as_bytes().first()? {
        b'-' => (true, &s[1..]),
        b'+' => (false, &s[1..]),
        _ => (false, s),
    };
    let lower = body.to_ascii_lowercase();
    let v = match lower.as_str() {
        "inf" | "infinity" => f64::INFINITY,
        "nan" => return Some(f64::NAN),
        _ => {
            if let Some(hex) = lower.strip_prefix("0x") {
                parse_hex(hex)?
            } else {
                if !lower
                    .bytes()
                    .all(|c| c.is_ascii_digit() || b".e+-".contains(&c))
                {
                    return None;
                }
                lower.parse().ok()?
            }
        }
    };
    Some(if neg { -v } else { v })
}

fn parse_hex(hex: &str) -> Option<f64> {
    let (digits, exp) = match hex.split_once('p') {
        Some((d, e)) => (d, e.parse::<i32>().ok()?),
        None => (hex, 0),
    };
    let (int, frac) = digits.split_once('.').unwrap_or((digits, ""));
    if int.is_empty() && frac.is_empty() {
        return None;
    }
    let mut v = 0.0;
    for c in int.chars() {
        v = v * 16.0 + f64::from(c.to_digit(16)?);
    }
    let mut scale = 1.0 / 16.0;
    for c in frac.chars() {
        v += f64::from(c.to_digit(16)?) * scale;
        scale /= 16.0;
    }
    Some(v * 2f64.powi(exp))
}

/// A running sum with Neumaier's compensation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// Plain sum so far.
    pub sum: f64,
    /// Compensation to add at the end.
    pub c: f64,
}

impl Sum {
    /// Starts at a value.
    pub fn start(v: f64) -> Self {
        Self { sum: v, c: 0.0 }
    }

    /// Adds one value.
    pub fn add(&mut self, x: f64) {
        let t = self.sum + x;
        if t.is_infinite() {
            self.c = 0.0;
        } else if self.sum.abs() >= x.abs() {
            self.c += (self.sum - t) + x;
        } else {
            self.c += (x - t) + self.sum;
        }
        self.sum = t;
    }

    /// The compensated result.
    pub fn total(self) -> f64 {
        if self.sum.is_infinite() {
            self.sum
        } else {
            self.sum + self.c
        }
    }
}

/// A compensated mean that switches to an incremental form where the sum would overflow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mean {
    sum: Sum,
    count: f64,
    incremental: bool,
}

impl Mean {
    /// Adds one value.
    pub fn add(&mut self, x: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.sum = Sum::start(x);
            return;
        }
        if !self.incremental {
            let mut next = self.sum;
            next.add(x);
            if !next.sum.is_infinite() {
                self.sum = next;
                return;
            }
            // The sum is about to overflow: carry on with the mean itself.
            self.incremental = true;
            self.sum.sum /= self.count - 1.0;
            self.sum.c /= self.count - 1.0;
        }
        if self.sum.sum.is_infinite() {
            if x.is_infinite() && (self.sum.sum > 0.0) == (x > 0.0) {
                return; // the mean stays at this infinity
            }
            if x.is_finite() {
                return; // a finite value cannot move an infinite mean
            }
        }
        let q = (self.count - 1.0) / self.count;
        let corrected = Sum {
            sum: q * self.sum.sum,
            c: q * self.sum.c,
        };
        self.sum = corrected;
        self.sum.add(x / self.count);
    }

    /// The mean of what was added.
    pub fn value(self) -> f64 {
        if self.incremental {
            self.sum.total()
        } else {
            self.sum.sum / self.count + self.sum.c / self.count
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_in_go() {
        assert_eq!(format_sample(1e-7), "1e-07");
        assert_eq!(format_sample(1e21), "1e+21");
        assert_eq!(format_sample(123456.5), "123456.5");
        assert_eq!(format_sample(f64::INFINITY), "+Inf");
        assert_eq!(format_sample(f64::NAN), "NaN");
        assert_eq!(format_plain(1e21), "1000000000000000000000");
        assert_eq!(format_bound(1.0), "1.0");
        assert_eq!(format_bound(0.00001), "1e-05");
    }

    #[test]
    fn floats_parse_as_in_go() {
        assert_eq!(parse_float("0x1f"), Some(31.0));
        assert_eq!(parse_float("-Inf"), Some(f64::NEG_INFINITY));
        assert!(parse_float("nan").unwrap().is_nan());
        assert_eq!(parse_float("1e3"), Some(1000.0));
        assert_eq!(parse_float("1_000"), None);
        assert_eq!(parse_float(""), None);
        assert_eq!(parse_float("-"), None);
    }

    #[test]
    fn sums_keep_what_plain_addition_loses() {
        let mut s = Sum::default();
        for v in [1.0, 1e100, 1.0, -1e100] {
            s.add(v);
        }
        assert_eq!(s.total(), 2.0);
    }
}
