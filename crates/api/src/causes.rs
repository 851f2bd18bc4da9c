//! What an error says with all its causes.

use std::error::Error;

/// The text of an error and of its causes: a client's outermost text alone says
/// little. What a cause repeats is said once.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let part = next.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        cause = next.source();
    }
    let outer = "client error (Connect): ";
    text.strip_prefix(outer).map_or(text.clone(), str::to_owned)
}
