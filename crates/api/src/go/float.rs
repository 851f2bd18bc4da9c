//! Go's floats of 64 bits as text. `strconv.ParseFloat` reads decimal and
//! hexadecimal ones, underscores between digits, infinities and NaN;
//! `strconv.FormatFloat` prints with the fewest digits that read back.

use super::quote;

/// Parses a float; the error text is Go's.
pub fn parse(text: &str) -> Result<f64, String> {
    let syntax = || {
        format!(
            "strconv.ParseFloat: parsing {}: invalid syntax",
            quote(text)
        )
    };
    if let Some(special) = special(text) {
        return Ok(special);
    }
    let (negative, body) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        Some(_) => (false, text),
        None => return Err(syntax()),
    };
    let lower = body.to_ascii_lowercase();
    if !underscores_ok(&lower) {
        return Err(syntax());
    }
    let plain = lower.replace('_', "");
    let value = match plain.strip_prefix("0x") {
        Some(hex) => hex_float(hex),
        None => decimal(&plain),
    };
    let value = value.ok_or_else(syntax)?;
    if value.is_infinite() {
        return Err(format!(
            "strconv.ParseFloat: parsing {}: value out of range",
            quote(text)
        ));
    }
    Ok(if negative { -value } else { value })
}

fn special(text: &str) -> Option<f64> {
    match text.to_ascii_lowercase().as_str() {
        "nan" => Some(f64::NAN),
        "inf" | "+inf" | "infinity" | "+infinity" => Some(f64::INFINITY),
        "-inf" | "-infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// An underscore must stand between digits, or after a base prefix.
fn underscores_ok(lower: &str) -> bool {
    let (hex, digits) = match lower.strip_prefix("0x") {
        Some(rest) => (true, rest),
        None => (false, lower),
    };
    // What came before: 'd' digit or prefix, '_' underscore, '!' other.
    let mut before = if hex { 'd' } else { '^' };
    for c in digits.chars() {
        let digit = c.is_ascii_digit() || (hex && c.is_ascii_hexdigit());
        if c == '_' {
            if before != 'd' {
                return false;
            }
            before = '_';
        } else {
            if !digit && before == '_' {
                return false;
            }
            before = if digit { 'd' } else { '!' };
        }
    }
    before != '_'
}

fn decimal(text: &str) -> Option<f64> {
    let shape = text
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'+' | b'-'));
    let starts = text
        .as_bytes()
        .first()
        .is_some_and(|b| b.is_ascii_digit() || *b == b'.');
    if shape && starts {
        text.parse().ok()
    } else {
        None
    }
}

fn hex_float(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once('p')?;
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let exponent: i64 = exponent.parse().unwrap_or(if exponent.starts_with('-') {
        -1_000_000
    } else {
        1_000_000
    });
    let mut exponent = exponent.clamp(-1_000_000, 1_000_000);
    let (mut value, mut seen, mut point) = (0u64, false, false);
    for c in mantissa.chars() {
        if c == '.' {
            if point {
                return None;
            }
            point = true;
            continue;
        }
        let digit = u64::from(c.to_digit(16)?);
        seen = true;
        if value >> 58 == 0 {
            value = value << 4 | digit;
            exponent -= if point { 4 } else { 0 };
        } else {
            // Beyond a double's precision: keep only that something was there.
            value |= u64::from(digit != 0);
            exponent += if point { 0 } else { 4 };
        }
    }
    if !seen {
        return None;
    }
    let mut result = value as f64;
    while exponent > 0 && result.is_finite() && result != 0.0 {
        let step = exponent.min(1000);
        result *= 2f64.powi(i32::try_from(step).ok()?);
        exponent -= step;
    }
    while exponent < 0 && result != 0.0 {
        let step = (-exponent).min(1000);
        result /= 2f64.powi(i32::try_from(step).ok()?);
        exponent += step;
    }
    Some(result)
}

/// Without an exponent: Go's format `f`, and `NaN`, `+Inf`, `-Inf`.
pub fn plain(value: f64) -> String {
    if value == f64::INFINITY {
        return "+Inf".to_owned();
    }
    if value == f64::NEG_INFINITY {
        return "-Inf".to_owned();
    }
    // Rust writes NaN as Go does, and numbers without an exponent.
    value.to_string()
}

/// A finite number with an exponent of two digits or more: Go's format `e`.
pub fn exponent(value: f64) -> String {
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

/// Go's `%v` and `%g`: with an exponent below 1e-4 and from 1e21 on.
pub fn general(value: f64) -> String {
    let size = value.abs();
    if value.is_finite() && size != 0.0 && !(1e-4..1e21).contains(&size) {
        exponent(value)
    } else {
        plain(value)
    }
}

#[cfg(test)]
mod tests {
    use super::{general, parse, plain};

    #[test]
    fn prints_as_go_does() {
        for (value, want) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1e-4, "0.0001"),
            (9.9e-5, "9.9e-05"),
            (1e20, "100000000000000000000"),
            (-1e21, "-1e+21"),
            (5e-324, "5e-324"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(general(value), want);
        }
        assert_eq!(plain(1e21), "1000000000000000000000");
    }

    #[test]
    fn accepts_what_go_accepts() {
        for (text, want) in [
            ("1_000", 1000.0),
            ("0x1p-2", 0.25),
            (".5", 0.5),
            ("+5", 5.0),
            ("1e-3", 0.001),
            ("5.", 5.0),
        ] {
            assert_eq!(parse(text), Ok(want), "{text}");
        }
        assert!(parse("nAn").is_ok_and(f64::is_nan));
        assert_eq!(parse("-Infinity"), Ok(f64::NEG_INFINITY));
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in [
            "", "5 ", "0x10", "1,5", "--1", "_1", "1__0", "1_", "+nan", "infin", "e5", "1e",
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.ends_with("invalid syntax"), "{text}: {error}");
        }
        assert!(parse("1e309").is_err_and(|e| e.ends_with("value out of range")));
    }
}
