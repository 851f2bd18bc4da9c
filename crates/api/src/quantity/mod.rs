//! Kubernetes resource quantities (`500m`, `1Gi`, `1e3`) with the arithmetic of
//! Kubernetes' own library, its roundings and overflows included: scaling
//! decisions and printed objects depend on them.

mod decimal;
mod parse;

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use decimal::Decimal;
pub use parse::QuantityError;

/// How a quantity prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// `1e3`.
    DecimalExponent,
    /// `1Ki`, powers of 1024.
    BinarySI,
    /// `1k`, powers of 1000.
    #[default]
    DecimalSI,
}

#[derive(Clone, Debug)]
enum Amount {
    /// `value × 10^scale`.
    Int {
        value: i64,
        scale: i32,
    },
    Dec(Decimal),
}

/// A number with a format. Equality and order are those of the number.
#[derive(Clone, Debug)]
pub struct Quantity {
    amount: Amount,
    format: Format,
    /// The text it was read from, where that counts as canonical.
    text: Option<String>,
}

impl Default for Quantity {
    fn default() -> Self {
        Quantity::new(0, Format::DecimalSI)
    }
}

impl Quantity {
    /// A whole number.
    pub fn new(value: i64, format: Format) -> Quantity {
        Quantity {
            amount: Amount::Int { value, scale: 0 },
            format,
            text: None,
        }
    }

    /// A number of thousandths.
    pub fn from_milli(value: i64, format: Format) -> Quantity {
        Quantity {
            amount: Amount::Int { value, scale: -3 },
            format,
            text: None,
        }
    }

    /// A float as KEDA hands it on: read from its text with three decimals.
    /// `None` where it is no finite number.
    pub fn from_f64(value: f64) -> Option<Quantity> {
        Quantity::parse(&format!("{value:.3}")).ok()
    }

    /// Reads a quantity as Kubernetes does.
    pub fn parse(text: &str) -> Result<Quantity, QuantityError> {
        parse::parse(text)
    }

    /// Reads what stands in a JSON document: a string or a number.
    pub fn from_json(value: &serde_json::Value) -> Result<Quantity, QuantityError> {
        match value {
            serde_json::Value::String(text) => Quantity::parse(text.trim()),
            serde_json::Value::Number(number) => Quantity::parse(&number.to_string()),
            serde_json::Value::Null => Ok(Quantity::default()),
            _ => Err(QuantityError::Format),
        }
    }

    /// The format it was written in.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The same number in another format.
    pub fn in_format(self, format: Format) -> Quantity {
        Quantity {
            amount: self.amount,
            format,
            text: None,
        }
    }

    /// Whether the number is zero.
    pub fn is_zero(&self) -> bool {
        self.sign() == 0
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        match &self.amount {
            Amount::Int { value, .. } => value.signum() as i32,
            Amount::Dec(dec) => dec.sign(),
        }
    }

    /// In units of `10^exponent`, rounded and wrapped as Kubernetes does.
    pub fn scaled_value(&self, exponent: i32) -> i64 {
        match &self.amount {
            Amount::Dec(dec) => dec.scaled(i64::from(exponent)),
            Amount::Int { value, scale } if *scale < exponent => {
                scale_down(*value, i64::from(exponent) - i64::from(*scale)).0
            }
            Amount::Int { value, scale } => {
                scale_up(*value, i64::from(*scale) - i64::from(exponent)).0
            }
        }
    }

    /// As a whole number, rounded up.
    pub fn value(&self) -> i64 {
        self.scaled_value(0)
    }

    /// In thousandths, rounded up.
    pub fn milli_value(&self) -> i64 {
        self.scaled_value(-3)
    }

    /// The whole number, if it is one and small enough.
    pub fn as_i64(&self) -> Option<i64> {
        match &self.amount {
            Amount::Int { value, scale } if *scale >= 0 => {
                let (value, fits) = scale_up(*value, i64::from(*scale));
                fits.then_some(value)
            }
            _ => None,
        }
    }

    /// The nearest float that Kubernetes' own shortcut gives (mantissa times a
    /// power of ten, so up to one unit in the last place off).
    pub fn as_f64(&self) -> f64 {
        let (mantissa, exponent) = match &self.amount {
            Amount::Int { value, scale } => (*value as f64, i64::from(*scale)),
            Amount::Dec(dec) => (dec.mantissa_f64(), dec.exponent()),
        };
        if exponent == 0 {
            mantissa
        } else {
            mantissa * pow10(exponent)
        }
    }

    fn dec(&self) -> Decimal {
        match &self.amount {
            Amount::Int { value, scale } => Decimal::from_int(*value, i64::from(*scale)),
            Amount::Dec(dec) => dec.clone(),
        }
    }

    /// The sum.
    pub fn add(&self, other: &Quantity) -> Quantity {
        let format = if self.is_zero() {
            other.format
        } else {
            self.format
        };
        if let (
            Amount::Int {
                value: a,
                scale: sa,
            },
            Amount::Int {
                value: b,
                scale: sb,
            },
        ) = (&self.amount, &other.amount)
            && let Some((value, scale)) = add_ints(*a, *sa, *b, *sb)
        {
            return Quantity {
                amount: Amount::Int { value, scale },
                format,
                text: None,
            };
        }
        Quantity {
            amount: Amount::Dec(self.dec().add(&other.dec())),
            format,
            text: None,
        }
    }

    /// The difference.
    pub fn sub(&self, other: &Quantity) -> Quantity {
        let negative = match &other.amount {
            Amount::Int { value, scale } if *value != i64::MIN => Amount::Int {
                value: -value,
                scale: *scale,
            },
            _ => Amount::Dec(other.dec().negated()),
        };
        self.add(&Quantity {
            amount: negative,
            format: other.format,
            text: None,
        })
    }

    /// Rounds away from zero to multiples of `10^exponent`; true when nothing
    /// was lost.
    pub fn round_up(&mut self, exponent: i32) -> bool {
        match &self.amount {
            Amount::Dec(dec) => {
                let (rounded, exact) = dec.round_up(i64::from(exponent));
                self.amount = Amount::Dec(rounded);
                self.text = None;
                exact
            }
            Amount::Int { scale, .. } if *scale >= exponent => true,
            Amount::Int { value, scale } => {
                let (value, exact) = scale_down(*value, i64::from(exponent) - i64::from(*scale));
                self.amount = Amount::Int {
                    value,
                    scale: exponent,
                };
                self.text = None;
                exact
            }
        }
    }

    fn canonical(&self) -> String {
        if self.is_zero() {
            return "0".to_owned();
        }
        let mut format = self.format;
        let dec = self.dec();
        if format == Format::BinarySI {
            let limit = |n: i64| Decimal::from_int(n, 0);
            let small = dec.cmp(&limit(-1024)).is_gt() && dec.cmp(&limit(1024)).is_lt();
            if small || !dec.round_up(0).1 {
                format = Format::DecimalSI;
            }
        }
        if format == Format::BinarySI {
            let (number, factors) = dec.canonical_1024();
            return number + parse::binary_suffix(factors);
        }
        let (number, exponent) = dec.canonical();
        match format {
            Format::DecimalExponent if exponent != 0 => format!("{number}e{exponent}"),
            Format::DecimalExponent => number,
            _ => number + parse::decimal_suffix(exponent),
        }
    }
}

/// `10^n` in the steps in which Go computes it.
pub(crate) fn pow10(n: i64) -> f64 {
    let power = |n: i64| -> f64 {
        match n {
            0..=31 => format!("1e{n}").parse().unwrap_or(f64::INFINITY),
            _ => {
                let high: f64 = format!("1e{}", n / 32 * 32)
                    .parse()
                    .unwrap_or(f64::INFINITY);
                let low: f64 = format!("1e{}", n % 32).parse().unwrap_or(f64::INFINITY);
                high * low
            }
        }
    };
    match n {
        0..=308 => power(n),
        -323..=-1 => {
            let high: f64 = format!("1e-{}", -n / 32 * 32).parse().unwrap_or(0.0);
            let low: f64 = format!("1e{}", -n % 32).parse().unwrap_or(f64::INFINITY);
            high / low
        }
        309.. => f64::INFINITY,
        _ => 0.0,
    }
}

/// Multiplies by `10^by`. The short cuts of the original hand back the wrapped
/// product on overflow, its loop hands back zero; both are visible in values.
fn scale_up(value: i64, by: i64) -> (i64, bool) {
    if value == 0 || by == 0 {
        return (value, true);
    }
    match by {
        1 | 2 | 3 | 6 | 9 => {
            if value == i64::MIN {
                return (0, false);
            }
            let factor = 10i64.pow(by as u32);
            let product = value.wrapping_mul(factor);
            (product, product / factor == value)
        }
        4..=18 => value
            .checked_mul(10i64.pow(by as u32))
            .map_or((0, false), |v| (v, true)),
        _ => (0, false),
    }
}

/// Divides by `10^by`, rounding away from zero.
fn scale_down(value: i64, by: i64) -> (i64, bool) {
    if by > 18 {
        return (value.signum(), value == 0);
    }
    let divisor = 10i64.pow(by as u32);
    let (quotient, rest) = (value / divisor, value % divisor);
    if rest == 0 {
        (quotient, true)
    } else {
        (quotient + rest.signum(), false)
    }
}

fn add_ints(a: i64, scale_a: i32, b: i64, scale_b: i32) -> Option<(i64, i32)> {
    if b == 0 {
        return Some((a, scale_a));
    }
    if a == 0 {
        return Some((b, scale_b));
    }
    let scale = scale_a.min(scale_b);
    let lift = |value: i64, from: i32| {
        let (value, fits) = scale_up(value, i64::from(from) - i64::from(scale));
        fits.then_some(value)
    };
    let sum = lift(a, scale_a)?.checked_add(lift(b, scale_b)?)?;
    Some((sum, scale))
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => f.write_str(text),
            None => f.write_str(&self.canonical()),
        }
    }
}

impl std::str::FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Quantity::parse(text)
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        // Nearly all comparisons end here, without memory being asked for.
        if let (
            Amount::Int {
                value: a,
                scale: sa,
            },
            Amount::Int {
                value: b,
                scale: sb,
            },
        ) = (&self.amount, &other.amount)
            && let Some(apart) = sa.checked_sub(*sb).filter(|d| d.abs() <= 18)
        {
            let lift = |value: i64, by: i32| i128::from(value) * 10i128.pow(by.max(0) as u32);
            return lift(*a, apart).cmp(&lift(*b, -apart));
        }
        self.dec().cmp(&other.dec())
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(Ord::cmp(self, other))
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        Ord::cmp(self, other).is_eq()
    }
}

impl Eq for Quantity {}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity: a number or a string such as 500m or 1Gi")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                Quantity::parse(text.trim()).map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Quantity, E> {
                self.visit_str(&value.to_string())
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Quantity, E> {
                self.visit_str(&value.to_string())
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Quantity, E> {
                self.visit_str(&value.to_string())
            }
            fn visit_unit<E: de::Error>(self) -> Result<Quantity, E> {
                Ok(Quantity::default())
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
