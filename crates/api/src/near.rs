//! The word that was meant.

/// The candidate that takes the fewest edits to reach, capitals apart and the
/// first of equal ones, and how many edits; `None` without candidates.
pub fn nearest<T: AsRef<str>>(
    word: &str,
    candidates: impl IntoIterator<Item = T>,
) -> Option<(T, usize)> {
    let candidates = candidates.into_iter();
    let all = candidates.map(|c| {
        let edits = edits(word, c.as_ref());
        (c, edits)
    });
    all.min_by_key(|(_, edits)| *edits)
}

/// How many letters have to be added, removed or replaced (Levenshtein),
/// capitals apart. Of a longer word the first 64 letters count.
pub fn edits(word: &str, other: &str) -> usize {
    let plain = |text: &str| -> String { text.chars().take(64).collect::<String>().to_lowercase() };
    strsim::levenshtein(&plain(word), &plain(other))
}

/// The nearest candidate where it is near enough to be what was meant: at most
/// a third of the letters differ.
pub fn meant<T: AsRef<str>>(word: &str, candidates: impl IntoIterator<Item = T>) -> Option<T> {
    let (near, edits) = nearest(word, candidates)?;
    let longer = word.chars().count().max(near.as_ref().chars().count());
    (edits * 3 <= longer.max(3)).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_the_first_with_the_fewest_edits() {
        let words = ["min", "max", "MAX"];
        assert_eq!(nearest("Max", words), Some(("max", 0)));
        assert_eq!(nearest("maxi", words), Some(("max", 1)));
        assert_eq!(nearest("x", [""; 0]), None);
    }

    #[test]
    fn what_is_too_far_was_not_meant() {
        assert_eq!(
            meant("deploymnet", ["deployment", "pod"]),
            Some("deployment")
        );
        assert_eq!(meant("queue", ["pod", "namespace"]), None);
    }
}
