//! Reading a quantity's text: which texts are refused, which form the number
//! takes, and when the text itself is kept.

use super::decimal::Decimal;
use super::{Amount, Format, Quantity};

/// Why a text is no quantity. The messages are Kubernetes'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not number-then-suffix at all.
    #[error(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    /// The number part has no digits.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    /// An unknown suffix.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

const DECIMAL: [(&str, i64); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// The suffix of `10^exponent`; nothing where there is none.
pub(super) fn decimal_suffix(exponent: i64) -> &'static str {
    DECIMAL
        .iter()
        .find(|(_, e)| *e == exponent)
        .map_or("", |(suffix, _)| suffix)
}

/// The suffix of `1024^factors`.
pub(super) fn binary_suffix(factors: i64) -> &'static str {
    usize::try_from(factors)
        .ok()
        .and_then(|f| BINARY.get(f))
        .copied()
        .unwrap_or("")
}

enum Suffix {
    Decimal(i32, Format),
    Binary(u32),
}

fn interpret(suffix: &str) -> Option<Suffix> {
    if let Some((_, exponent)) = DECIMAL.iter().find(|(text, _)| *text == suffix) {
        return Some(Suffix::Decimal(*exponent as i32, Format::DecimalSI));
    }
    if let Some(power) = BINARY.iter().position(|text| *text == suffix) {
        return Some(Suffix::Binary(power as u32 * 10));
    }
    let digits = suffix.strip_prefix(['e', 'E'])?;
    // The original reads 64 bits and keeps 32 of them.
    let exponent: i64 = digits.parse().ok()?;
    Some(Suffix::Decimal(exponent as i32, Format::DecimalExponent))
}

struct Pieces<'a> {
    negative: bool,
    /// Sign, whole part and fraction as written.
    value: &'a str,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

fn split(text: &str) -> Result<Pieces<'_>, QuantityError> {
    let bytes = text.as_bytes();
    let digits_from = |at: usize| {
        at + bytes[at..]
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count()
    };
    let negative = bytes[0] == b'-';
    let mut at = usize::from(negative || bytes[0] == b'+');
    at += bytes[at..].iter().take_while(|b| **b == b'0').count();
    if at == bytes.len() {
        return Ok(Pieces {
            negative,
            value: "0",
            whole: "0",
            fraction: "",
            suffix: "",
        });
    }
    let end = digits_from(at);
    let whole = if end == at { "0" } else { &text[at..end] };
    at = end;
    let mut fraction = "";
    if bytes.get(at) == Some(&b'.') {
        let end = digits_from(at + 1);
        fraction = &text[at + 1..end];
        at = end;
    }
    let value = &text[..at];
    let suffix = &text[at..];
    let letters = suffix
        .bytes()
        .take_while(|b| b"eEinumkKMGTP".contains(b))
        .count();
    let mut tail = &suffix[letters..];
    tail = tail.strip_prefix(['+', '-']).unwrap_or(tail);
    if !tail.bytes().all(|b| b.is_ascii_digit()) {
        return Err(QuantityError::Format);
    }
    Ok(Pieces {
        negative,
        value,
        whole,
        fraction,
        suffix,
    })
}

pub(super) fn parse(text: &str) -> Result<Quantity, QuantityError> {
    if text.is_empty() {
        return Err(QuantityError::Format);
    }
    let pieces = split(text)?;
    let suffix = interpret(pieces.suffix).ok_or(QuantityError::Suffix)?;
    if let Some(quantity) = small(text, &pieces, &suffix) {
        return Ok(quantity);
    }
    large(&pieces, &suffix)
}

/// The 64-bit form, where the digits are few enough for it.
fn small(text: &str, pieces: &Pieces<'_>, suffix: &Suffix) -> Option<Quantity> {
    let count = pieces.whole.len() + pieces.fraction.len();
    let (scale, mantissa, format) = match suffix {
        Suffix::Decimal(exponent, format) => {
            if count > 18 {
                return None;
            }
            (
                exponent.checked_sub(pieces.fraction.len() as i32)?,
                1,
                *format,
            )
        }
        Suffix::Binary(exponent) => {
            let precision = 15 - pieces.whole.len() as i64 - i64::from(exponent * 3 / 10) - 1;
            if precision < 0 || !pieces.fraction.is_empty() {
                return None;
            }
            (0, 1i64 << exponent, Format::BinarySI)
        }
    };
    if scale < -9 {
        return None;
    }
    let digits = format!("{}{}", pieces.whole, pieces.fraction);
    let value: i64 = digits.parse().ok()?;
    // A rough test for "prints as it was written"; such a text is kept, odd
    // spellings such as +5 and 12.500 included.
    let keep = match suffix {
        Suffix::Binary(_) => value & 7 != 0,
        Suffix::Decimal(..) => {
            scale % 3 == 0 && !digits.ends_with("000") && !digits.starts_with('0')
        }
    };
    let product = value.checked_mul(mantissa)?;
    let value = if pieces.negative { -product } else { product };
    let text = (keep || text == "0").then(|| text.to_owned());
    Some(Quantity {
        amount: Amount::Int { value, scale },
        format,
        text,
    })
}

fn large(pieces: &Pieces<'_>, suffix: &Suffix) -> Result<Quantity, QuantityError> {
    let mut amount = Decimal::parse(pieces.value).ok_or(QuantityError::Numeric)?;
    let negative = amount.sign() < 0;
    if negative {
        amount = amount.negated();
    }
    let mut format = match suffix {
        Suffix::Decimal(exponent, format) => {
            amount = amount.shifted(i64::from(*exponent));
            *format
        }
        Suffix::Binary(exponent) => {
            amount = amount.times(1 << exponent);
            Format::BinarySI
        }
    };
    // Too small a wish is still a wish: never round to nothing.
    amount = amount.round_up(-9).0.padded(-9);
    if format == Format::BinarySI {
        let cap = Decimal::from_int(i64::MAX, 0);
        if amount.cmp(&cap).is_gt() {
            amount = cap;
        }
        if !amount.is_zero() && amount.cmp(&Decimal::from_int(1, 0)).is_lt() {
            format = Format::DecimalSI;
        }
    }
    let amount = if negative { amount.negated() } else { amount };
    Ok(Quantity {
        amount: Amount::Dec(amount),
        format,
        text: None,
    })
}
