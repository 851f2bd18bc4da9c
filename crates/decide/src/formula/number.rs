//! Number literals.

use api::go::{float, quote};

use super::tree::What;

/// The value of a number token.
pub(super) fn literal(text: &str) -> Result<What, String> {
    let plain = text.replace('_', "").to_ascii_lowercase();
    for (prefix, radix, name) in [("0x", 16, "hex"), ("0b", 2, "binary"), ("0o", 8, "octal")] {
        if let Some(digits) = plain.strip_prefix(prefix) {
            return integer(&plain, digits, radix)
                .map_err(|cause| format!("invalid {name} literal: {cause}"));
        }
    }
    if plain.contains(['.', 'e']) {
        return float::parse(&plain)
            .map(What::Float)
            .map_err(|cause| format!("invalid float literal: {cause}"));
    }
    integer(&plain, &plain, 10).map_err(|cause| format!("invalid integer literal: {cause}"))
}

fn integer(text: &str, digits: &str, radix: u32) -> Result<What, String> {
    let cause = if !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix)) {
        "value out of range"
    } else {
        "invalid syntax"
    };
    i64::from_str_radix(digits, radix)
        .map(What::Int)
        .map_err(|_| format!("strconv.ParseInt: parsing {}: {cause}", quote(text)))
}
