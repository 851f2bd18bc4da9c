//! A decimal number of any length, as far as quantities need one: decimal
//! digits and a power of ten. Slow and small on purpose; nearly every quantity
//! stays in the 64-bit form.

use std::cmp::Ordering;

/// How far apart two exponents may lie before the smaller number is dropped in
/// a sum. No real quantity comes near; it bounds the memory of hostile input.
const MAX_SPREAD: i64 = 4096;

/// `sign × digits × 10^exponent`.
#[derive(Clone, Debug)]
pub(super) struct Decimal {
    negative: bool,
    /// Most significant first, no leading zeros, empty for zero.
    digits: Vec<u8>,
    exponent: i64,
}

fn strip(digits: &mut Vec<u8>) {
    let lead = digits.iter().take_while(|d| **d == 0).count();
    digits.drain(..lead);
}

impl Decimal {
    /// From the characters of `[+-]digits[.digits]`; `None` without any digit.
    pub(super) fn parse(text: &str) -> Option<Decimal> {
        let negative = text.starts_with('-');
        let body = text.trim_start_matches(['+', '-']);
        let (whole, fraction) = body.split_once('.').unwrap_or((body, ""));
        let mut digits: Vec<u8> = Vec::with_capacity(whole.len() + fraction.len());
        for byte in whole.bytes().chain(fraction.bytes()) {
            if !byte.is_ascii_digit() {
                return None;
            }
            digits.push(byte - b'0');
        }
        if digits.is_empty() {
            return None;
        }
        strip(&mut digits);
        Some(Decimal {
            negative,
            digits,
            exponent: -(fraction.len() as i64),
        })
    }

    pub(super) fn from_int(value: i64, exponent: i64) -> Decimal {
        let mut digits: Vec<u8> = value
            .unsigned_abs()
            .to_string()
            .bytes()
            .map(|b| b - b'0')
            .collect();
        strip(&mut digits);
        Decimal {
            negative: value < 0,
            digits,
            exponent,
        }
    }

    pub(super) fn exponent(&self) -> i64 {
        self.exponent
    }

    pub(super) fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    pub(super) fn sign(&self) -> i32 {
        match (self.is_zero(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    pub(super) fn negated(mut self) -> Decimal {
        self.negative = !self.negative;
        self
    }

    pub(super) fn shifted(mut self, by: i64) -> Decimal {
        self.exponent += by;
        self
    }

    /// Multiplies the digits by a factor below 2^61.
    pub(super) fn times(mut self, factor: u64) -> Decimal {
        let mut carry: u128 = 0;
        for digit in self.digits.iter_mut().rev() {
            let value = u128::from(*digit) * u128::from(factor) + carry;
            *digit = (value % 10) as u8;
            carry = value / 10;
        }
        let mut head = Vec::new();
        while carry > 0 {
            head.push((carry % 10) as u8);
            carry /= 10;
        }
        head.reverse();
        head.append(&mut self.digits);
        self.digits = head;
        strip(&mut self.digits);
        self
    }

    /// Rounds away from zero to multiples of `10^exponent`; says whether the
    /// value was exact. A coarser number is left alone.
    pub(super) fn round_up(&self, exponent: i64) -> (Decimal, bool) {
        if self.exponent >= exponent {
            return (self.clone(), true);
        }
        let drop = exponent - self.exponent;
        let keep = (self.digits.len() as i64 - drop).max(0) as usize;
        let exact = self.digits[keep..].iter().all(|d| *d == 0);
        let mut digits = self.digits[..keep].to_vec();
        if !exact {
            let mut at = digits.len();
            loop {
                if at == 0 {
                    digits.insert(0, 1);
                    break;
                }
                at -= 1;
                if digits[at] == 9 {
                    digits[at] = 0;
                } else {
                    digits[at] += 1;
                    break;
                }
            }
        }
        (
            Decimal {
                negative: self.negative,
                digits,
                exponent,
            },
            exact,
        )
    }

    /// Digits without trailing zeros, exponent adjusted to a multiple of 3.
    pub(super) fn canonical(&self) -> (String, i64) {
        let zeros = self.digits.iter().rev().take_while(|d| **d == 0).count();
        let mut digits = self.digits[..self.digits.len() - zeros].to_vec();
        let mut exponent = self.exponent + zeros as i64;
        while exponent % 3 != 0 {
            digits.push(0);
            exponent -= 1;
        }
        (self.text_of(&digits), exponent)
    }

    /// The integer value (rounded up) without factors of 1024, and their count.
    pub(super) fn canonical_1024(&self) -> (String, i64) {
        let (rounded, _) = self.round_up(0);
        let mut digits = rounded.digits;
        let zeros = rounded.exponent.clamp(0, MAX_SPREAD) as usize;
        digits.resize(digits.len() + zeros, 0);
        let mut factors = 0;
        while !digits.is_empty() {
            let mut remainder: u32 = 0;
            let mut quotient = Vec::with_capacity(digits.len());
            for digit in &digits {
                let value = remainder * 10 + u32::from(*digit);
                quotient.push((value / 1024) as u8);
                remainder = value % 1024;
            }
            if remainder != 0 {
                break;
            }
            strip(&mut quotient);
            digits = quotient;
            factors += 1;
        }
        (self.text_of(&digits), factors)
    }

    fn text_of(&self, digits: &[u8]) -> String {
        let mut text = String::with_capacity(digits.len() + 1);
        if self.negative && !digits.is_empty() {
            text.push('-');
        }
        if digits.is_empty() {
            text.push('0');
        }
        text.extend(digits.iter().map(|d| char::from(b'0' + d)));
        text
    }

    /// The digits alone, wrapped into 64 bits.
    fn low_bits(&self, digits: &[u8]) -> i64 {
        let magnitude = digits.iter().fold(0u64, |sum, d| {
            sum.wrapping_mul(10).wrapping_add(u64::from(*d))
        });
        let value = magnitude as i64;
        if self.negative {
            value.wrapping_neg()
        } else {
            value
        }
    }

    /// Writes the number with exactly this exponent, if it is finer than the
    /// present one and not absurdly far away.
    pub(super) fn padded(mut self, exponent: i64) -> Decimal {
        let more = self.exponent - exponent;
        if !self.is_zero() && (1..=MAX_SPREAD).contains(&more) {
            self.digits.resize(self.digits.len() + more as usize, 0);
            self.exponent = exponent;
        }
        self
    }

    /// In units of `10^exponent`. Scaling up multiplies wrapped 64-bit numbers.
    /// Scaling down truncates and then adds one for any remainder, for negative
    /// numbers too; and since every negative number passes for a small one, a
    /// large negative one is wrapped into 64 bits before it is divided.
    pub(super) fn scaled(&self, exponent: i64) -> i64 {
        let up = self.exponent - exponent;
        if up == 0 {
            return self.low_bits(&self.digits);
        }
        if up > 0 {
            let factor = super::pow10(up);
            let factor = if factor < 9_223_372_036_854_775_808.0 {
                factor as i64
            } else {
                i64::MIN
            };
            return self.low_bits(&self.digits).wrapping_mul(factor);
        }
        let largest = Decimal::from_int(i64::MAX, 0);
        let whole = Decimal {
            exponent: 0,
            ..self.clone()
        };
        if -up < 18 && whole.cmp(&largest).is_lt() {
            let divisor = 10i64.pow(-up as u32);
            let value = self.low_bits(&self.digits);
            return value / divisor + i64::from(value % divisor != 0);
        }
        let keep = (self.digits.len() as i64 + up).max(0) as usize;
        let exact = self.digits[keep..].iter().all(|d| *d == 0);
        let rest = i64::from(!exact && !self.negative);
        self.low_bits(&self.digits[..keep]).wrapping_add(rest)
    }

    /// The digits as the nearest float, without the exponent.
    pub(super) fn mantissa_f64(&self) -> f64 {
        self.text_of(&self.digits).parse().unwrap_or(0.0)
    }

    fn magnitude_cmp(&self, other: &Decimal) -> Ordering {
        let size = |d: &Decimal| d.digits.len() as i64 + d.exponent;
        match (self.is_zero(), other.is_zero()) {
            (true, true) => return Ordering::Equal,
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        size(self).cmp(&size(other)).then_with(|| {
            let longest = self.digits.len().max(other.digits.len());
            (0..longest)
                .map(|i| {
                    let digit = |d: &Decimal| d.digits.get(i).copied().unwrap_or(0);
                    digit(self).cmp(&digit(other))
                })
                .find(|o| o.is_ne())
                .unwrap_or(Ordering::Equal)
        })
    }

    pub(super) fn cmp(&self, other: &Decimal) -> Ordering {
        self.sign()
            .cmp(&other.sign())
            .then_with(|| match self.sign() {
                -1 => other.magnitude_cmp(self),
                _ => self.magnitude_cmp(other),
            })
    }

    pub(super) fn add(&self, other: &Decimal) -> Decimal {
        if other.is_zero() && other.exponent >= self.exponent || self.is_zero() && other.is_zero() {
            return self.clone();
        }
        if self.is_zero() {
            return other.clone();
        }
        if other.is_zero() {
            return self.clone();
        }
        let exponent = self.exponent.min(other.exponent);
        if (self.exponent - other.exponent).abs() > MAX_SPREAD {
            let larger = self.magnitude_cmp(other) == Ordering::Greater;
            return if larger { self.clone() } else { other.clone() };
        }
        let pad = |d: &Decimal| {
            let mut digits = d.digits.clone();
            digits.resize(digits.len() + (d.exponent - exponent) as usize, 0);
            digits
        };
        let (mut big, mut small) = (pad(self), pad(other));
        let mut negative = self.negative;
        if self.magnitude_cmp(other) == Ordering::Less {
            std::mem::swap(&mut big, &mut small);
            negative = other.negative;
        }
        let same = self.negative == other.negative;
        let mut carry = 0i16;
        for i in 0..big.len() {
            let at = big.len() - 1 - i;
            let right = if i < small.len() {
                i16::from(small[small.len() - 1 - i])
            } else {
                0
            };
            let mut value = i16::from(big[at]) + carry + if same { right } else { -right };
            carry = value.div_euclid(10);
            value = value.rem_euclid(10);
            big[at] = value as u8;
        }
        if carry > 0 {
            big.insert(0, carry as u8);
        }
        strip(&mut big);
        Decimal {
            negative,
            digits: big,
            exponent,
        }
    }
}
