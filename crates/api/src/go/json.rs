//! JSON as Go's `encoding/json` reads it: its syntax errors, then a value.

use serde_json::Value;

use super::quote;

/// Go's nesting limit is 10,000; ours is serde_json's, well above any answer.
const MAX_DEPTH: usize = 120;

/// Parses a whole document. The error text of a syntax error is Go's.
pub fn parse(body: &[u8]) -> Result<Value, String> {
    Scanner { body, at: 0 }.document()?;
    // Go replaces invalid UTF-8 inside strings.
    serde_json::from_str(&String::from_utf8_lossy(body)).map_err(|e| e.to_string())
}

/// Parses a number into a float; the error text is Go's.
pub fn number(text: &str) -> Result<f64, String> {
    Scanner {
        body: text.as_bytes(),
        at: 0,
    }
    .document()?;
    // What scans as JSON and starts so is a number in Rust's syntax too.
    if text
        .trim_start()
        .starts_with(|c: char| c == '-' || c.is_ascii_digit())
    {
        let value = text
            .trim()
            .parse::<f64>()
            .ok()
            .filter(|value| value.is_finite());
        return value.ok_or_else(|| mismatch(&format!("number {}", text.trim()), "float64"));
    }
    // Go's reader panics on null here; an error is what it should be.
    Err(mismatch(kind(&parse(text.as_bytes())?), "float64"))
}

/// Go's text for a value of the wrong type.
pub fn mismatch(kind: &str, target: &str) -> String {
    format!("json: cannot unmarshal {kind} into Go value of type {target}")
}

/// Go's name of a value's type.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

struct Scanner<'a> {
    body: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn document(&mut self) -> Result<(), String> {
        self.value(0)?;
        self.space();
        match self.body.get(self.at) {
            None => Ok(()),
            Some(_) => Err(self.invalid("after top-level value")),
        }
    }

    fn space(&mut self) {
        while matches!(self.body.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn invalid(&self, context: &str) -> String {
        match self.body.get(self.at) {
            None => "unexpected end of JSON input".to_owned(),
            Some(b'\'') => format!("invalid character '\\'' {context}"),
            Some(b'"') => format!("invalid character '\"' {context}"),
            Some(byte) => {
                let text = quote(&char::from(*byte).to_string());
                format!("invalid character '{}' {context}", &text[1..text.len() - 1])
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err("exceeded max depth".to_owned());
        }
        self.space();
        match self.body.get(self.at) {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string(),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.invalid("looking for beginning of value")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), String> {
        self.at += 1;
        self.space();
        if self.body.get(self.at) == Some(&b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            if self.body.get(self.at) != Some(&b'"') {
                return Err(self.invalid("looking for beginning of object key string"));
            }
            self.string()?;
            self.space();
            if self.body.get(self.at) != Some(&b':') {
                return Err(self.invalid("after object key"));
            }
            self.at += 1;
            self.value(depth + 1)?;
            self.space();
            match self.body.get(self.at) {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.invalid("after object key:value pair")),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), String> {
        self.at += 1;
        self.space();
        if self.body.get(self.at) == Some(&b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            self.space();
            match self.body.get(self.at) {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.invalid("after array element")),
            }
        }
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        loop {
            match self.body.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.body.get(self.at) {
                        Some(b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => {
                            self.at += 1
                        }
                        Some(b'u') => {
                            self.at += 1;
                            for _ in 0..4 {
                                if !self.body.get(self.at).is_some_and(u8::is_ascii_hexdigit) {
                                    return Err(self.invalid("in \\u hexadecimal character escape"));
                                }
                                self.at += 1;
                            }
                        }
                        _ => return Err(self.invalid("in string escape code")),
                    }
                }
                Some(0..0x20) | None => return Err(self.invalid("in string literal")),
                Some(_) => self.at += 1,
            }
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), String> {
        for (i, want) in word.bytes().enumerate() {
            if self.body.get(self.at) != Some(&want) {
                let context = format!("in literal {word} (expecting '{}')", &word[i..=i]);
                return Err(self.invalid(&context));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn digits(&mut self, context: &str) -> Result<(), String> {
        if !self.body.get(self.at).is_some_and(u8::is_ascii_digit) {
            return Err(self.invalid(context));
        }
        while self.body.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), String> {
        if self.body[self.at] == b'-' {
            self.at += 1;
        }
        if self.body.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits("in numeric literal")?;
        }
        if self.body.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.body.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.body.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntax_errors_read_as_in_go() {
        for (text, want) in [
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            (
                "<html>",
                "invalid character '<' looking for beginning of value",
            ),
            (
                "[1,]",
                "invalid character ']' looking for beginning of value",
            ),
            ("{} x", "invalid character 'x' after top-level value"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            (
                "nul1",
                "invalid character '1' in literal null (expecting 'l')",
            ),
        ] {
            assert_eq!(parse(text.as_bytes()).expect_err(text), want, "{text}");
        }
    }

    #[test]
    fn a_number_is_a_json_number_that_fits() {
        assert_eq!(number("1e-4"), Ok(1e-4));
        let error = "json: cannot unmarshal number 1e400 into Go value of type float64";
        assert_eq!(number("1e400"), Err(error.to_owned()));
        let error = "json: cannot unmarshal string into Go value of type float64";
        assert_eq!(number("\"5\""), Err(error.to_owned()));
    }

    #[test]
    fn deep_nesting_is_refused_without_a_crash() {
        let text = "[".repeat(1_000_000);
        assert_eq!(parse(text.as_bytes()), Err("exceeded max depth".to_owned()));
    }
}
