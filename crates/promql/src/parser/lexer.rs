//! Text to tokens.

use super::SyntaxError;
use crate::number::parse_float;

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tok {
    /// A name, which may be a keyword or contain colons.
    Ident(String),
    Number(f64),
    /// A duration literal in seconds.
    Duration(f64),
    Text(String),
    /// Operators and punctuation.
    Op(&'static str),
    End,
}

#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) tok: Tok,
    pub(super) start: usize,
    pub(super) end: usize,
}

const OPERATORS: [&str; 27] = [
    "=~", "!~", "==", "!=", "<=", ">=", "</", ">/", "<", ">", "=", "+", "-", "*", "/", "%", "^",
    "(", ")", "{", "}", "[", "]", ",", "@", ":", ";",
];

/// Splits a query into tokens; the last one is always [`Tok::End`].
pub(super) fn lex(src: &str) -> Result<Vec<Token>, SyntaxError> {
    let bytes = src.as_bytes();
    let mut out: Vec<Token> = Vec::new();
    let mut i = 0;
    let mut brackets = 0usize;
    let mut braces = 0usize;
    while i < bytes.len() {
        let start = i;
        let c = bytes[i];
        let tok = match c {
            b' ' | b'\t' | b'\n' | b'\r' => {
                i += 1;
                continue;
            }
            b'#' => {
                while i < bytes.len() && bytes[i] != b'\n' {
                    i += 1;
                }
                continue;
            }
            b'"' | b'\'' | b'`' => {
                let (text, end) = string(src, i)?;
                i = end;
                Tok::Text(text)
            }
            b'0'..=b'9' => number(src, &mut i)?,
            b'.' if bytes.get(i + 1).is_some_and(u8::is_ascii_digit) => number(src, &mut i)?,
            _ if c.is_ascii_alphabetic() || c == b'_' || (c == b':' && brackets + braces == 0) => {
                let in_word = |b: u8| {
                    b.is_ascii_alphanumeric() || b == b'_' || (b == b':' && brackets + braces == 0)
                };
                while i < bytes.len() && in_word(bytes[i]) {
                    i += 1;
                }
                Tok::Ident(src[start..i].to_owned())
            }
            _ => {
                let Some(op) = OPERATORS.iter().find(|op| src[i..].starts_with(**op)) else {
                    let ch = src[i..].chars().next().unwrap_or('?');
                    return Err(SyntaxError::at(i, format!("unexpected character: {ch:?}")));
                };
                i += op.len();
                match *op {
                    "[" => brackets += 1,
                    "]" => brackets = brackets.saturating_sub(1),
                    "{" => braces += 1,
                    "}" => braces = braces.saturating_sub(1),
                    _ => {}
                }
                Tok::Op(op)
            }
        };
        out.push(Token { tok, start, end: i });
    }
    out.push(Token {
        tok: Tok::End,
        start: bytes.len(),
        end: bytes.len(),
    });
    Ok(out)
}

/// Milliseconds of a duration unit.
fn unit_ms(unit: &str) -> Option<f64> {
    Some(match unit {
        "ms" => 1.0,
        "s" => 1e3,
        "m" => 60e3,
        "h" => 3_600e3,
        "d" => 86_400e3,
        "w" => 604_800e3,
        "y" => 365.0 * 86_400e3,
        _ => return None,
    })
}

/// Parses a duration literal such as `1h30m` into seconds: whole numbers, units from long to
/// short, each at most once.
pub fn parse_duration(s: &str) -> Option<f64> {
    let mut rest = s;
    let mut ms = 0.0;
    let mut last = f64::INFINITY;
    if s.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..]
            .bytes()
            .take_while(u8::is_ascii_alphabetic)
            .count();
        let n: f64 = rest.get(..digits).filter(|d| !d.is_empty())?.parse().ok()?;
        let unit = unit_ms(&rest[digits..digits + letters])?;
        if unit >= last {
            return None;
        }
        last = unit;
        ms += n * unit;
        rest = &rest[digits + letters..];
    }
    Some(ms / 1e3)
}

fn number(src: &str, i: &mut usize) -> Result<Tok, SyntaxError> {
    let bytes = src.as_bytes();
    let start = *i;
    let mut j = start;
    let hex = bytes[j] == b'0' && matches!(bytes.get(j + 1), Some(b'x' | b'X'));
    if hex {
        j += 2;
        while j < bytes.len() && (bytes[j].is_ascii_hexdigit() || bytes[j] == b'_') {
            j += 1;
        }
    } else {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
        while j < bytes.len() && word(bytes[j]) {
            let e = matches!(bytes[j], b'e' | b'E');
            j += 1;
            if e && matches!(bytes.get(j), Some(b'+' | b'-')) {
                j += 1;
            }
        }
    }
    let text = &src[start..j];
    *i = j;
    let underscores_ok = !text.starts_with('_') && !text.ends_with('_') && !text.contains("__");
    let plain = text.replace('_', "");
    if underscores_ok && let Some(v) = parse_float(&plain) {
        return Ok(Tok::Number(v));
    }
    if let Some(s) = parse_duration(text) {
        return Ok(Tok::Duration(s));
    }
    Err(SyntaxError::at(
        start,
        format!("bad number or duration syntax: {text:?}"),
    ))
}

fn string(src: &str, start: usize) -> Result<(String, usize), SyntaxError> {
    let quote = src.as_bytes()[start] as char;
    let body = &src[start + 1..];
    let mut out: Vec<u8> = Vec::new();
    let mut chars = body.char_indices();
    let fail = |what: &str| SyntaxError::at(start, what.to_owned());
    while let Some((i, c)) = chars.next() {
        if c == quote {
            let text = String::from_utf8(out)
                .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
            return Ok((text, start + 1 + i + 1));
        }
        if c == '\n' && quote != '`' {
            break;
        }
        if c != '\\' || quote == '`' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let Some((_, esc)) = chars.next() else { break };
        let digits = |n: usize| body.get(i + 2..i + 2 + n);
        match esc {
            'a' => out.push(7),
            'b' => out.push(8),
            'f' => out.push(12),
            'n' => out.push(b'\n'),
            'r' => out.push(b'\r'),
            't' => out.push(b'\t'),
            'v' => out.push(11),
            '\\' | '"' | '\'' => out.push(esc as u8),
            '0'..='7' => {
                let code = body
                    .get(i + 1..i + 4)
                    .and_then(|d| u8::from_str_radix(d, 8).ok());
                out.push(code.ok_or_else(|| fail("bad octal escape in string"))?);
                chars.nth(1);
            }
            'x' => {
                let code = digits(2).and_then(|d| u8::from_str_radix(d, 16).ok());
                out.push(code.ok_or_else(|| fail("bad hex escape in string"))?);
                chars.nth(1);
            }
            'u' | 'U' => {
                let n = if esc == 'u' { 4 } else { 8 };
                let code = digits(n).and_then(|d| u32::from_str_radix(d, 16).ok());
                let ch = code
                    .and_then(char::from_u32)
                    .ok_or_else(|| fail("bad unicode escape in string"))?;
                out.extend_from_slice(ch.encode_utf8(&mut [0; 4]).as_bytes());
                chars.nth(n - 1);
            }
            c => {
                return Err(fail(&format!(
                    "unknown escape sequence U+{:04X} {c:?}",
                    c as u32
                )));
            }
        }
    }
    Err(fail("unterminated quoted string"))
}
