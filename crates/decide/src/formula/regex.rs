//! Patterns of the `matches` operator. The engine takes time linear in the
//! text, as Go's does.

use regex::{Regex, RegexBuilder};

use super::value::Budget;

/// Largest compiled pattern, in bytes. The crate's own default is 40 times
/// that, and a pattern of ten characters may ask for all of it.
const MAX_COMPILED: usize = 256 << 10;
/// Steps of compiling, beside those for the length of the pattern: 2 ms.
const COMPILING: usize = 10_000;
/// Steps for each byte looked at. The worst pattern of the size allowed takes
/// 30 µs for one, so a run has 100 kB.
const LOOKING: usize = 50;

/// Whether a pattern is found in a text.
pub(super) fn found(pattern: &str, text: &str, budget: &mut Budget) -> Result<bool, String> {
    let compiled = compiled(pattern, budget)?;
    budget.spend(LOOKING.saturating_mul(text.len()))?;
    Ok(compiled.is_match(text))
}

/// Compiles a pattern; the commonest mistakes are told in Go's words.
pub(super) fn compiled(text: &str, budget: &mut Budget) -> Result<Regex, String> {
    budget.spend(COMPILING + 100 * text.len())?;
    let built = RegexBuilder::new(text)
        .size_limit(MAX_COMPILED)
        .dfa_size_limit(MAX_COMPILED)
        .build();
    built.map_err(|error| {
        if matches!(error, regex::Error::CompiledTooBig(_)) {
            return format!("error parsing regexp: expression too large: `{text}`");
        }
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
