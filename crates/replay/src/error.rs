//! Input that cannot be used: the place, what is wrong, and what would help.

/// One problem with an input. A replay never goes on with half of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct InputError {
    /// File and line, or the flag.
    pub place: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl InputError {
    /// A problem at a place.
    pub fn new(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            problem: problem.into(),
        }
    }
}

/// Result of reading an input.
pub type Read<T> = Result<T, InputError>;
