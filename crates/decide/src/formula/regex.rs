//! Patterns of the `matches` operator. The engine takes time linear in the
//! text, as Go's does.

use regex::Regex;

/// Compiles a pattern; the commonest mistakes are told in Go's words.
pub(super) fn pattern(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| {
        let full = error.to_string();
        let cause = full.lines().last().unwrap_or_default();
        let cause = cause.strip_prefix("error: ").unwrap_or(cause);
        let (what, part) = match cause {
            "unclosed character class" => (
                "missing closing ]",
                text.rfind('[').map_or(text, |at| &text[at..]),
            ),
            "unclosed group" => ("missing closing )", text),
            "unopened group" => ("unexpected )", text),
            "repetition operator missing expression" => {
                ("missing argument to repetition operator", text)
            }
            other => (other, text),
        };
        format!("error parsing regexp: {what}: `{part}`")
    })
}
