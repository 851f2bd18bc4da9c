//! What was probably meant by a name that does not exist: Levenshtein's
//! distance, and the candidate with the smallest.

/// Longer names are compared by this many characters, so that a hostile one
/// costs no time.
const COMPARED: usize = 256;

/// How many characters must be put in, taken out or replaced to make `b` of `a`.
pub fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(COMPARED).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(COMPARED).enumerate() {
        let mut corner = i;
        let mut left = i + 1;
        row[0] = left;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            let best = (corner + usize::from(x != *y)).min(left + 1).min(above + 1);
            corner = above;
            row[j + 1] = best;
            left = best;
        }
    }
    row[b.len()]
}

/// The candidate that takes the fewest edits to reach without regard to case,
/// the first of equal ones, and how many; nothing without candidates.
pub fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<(&'c str, usize)> {
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (candidate, edits(&word, &candidate.to_lowercase())))
        .min_by_key(|(_, n)| *n)
}

/// The same, where it is near enough to be what was meant: at most a third of
/// the characters differ.
pub fn meant<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let (near, n) = nearest(word, candidates)?;
    let longer = word.chars().count().max(near.chars().count());
    (n * 3 <= longer.max(3)).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshteins() {
        for (a, b, n) in [
            ("", "", 0),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("namespace", "exported_namespace", 9),
            ("grün", "grun", 1),
        ] {
            assert_eq!((edits(a, b), edits(b, a)), (n, n), "{a} {b}");
        }
        assert_eq!(edits(&"x".repeat(9_000), ""), COMPARED);
    }

    #[test]
    fn the_first_of_the_nearest_is_meant() {
        assert_eq!(
            nearest("HostName", ["host", "hostname"]),
            Some(("hostname", 0))
        );
        assert_eq!(nearest("a", ["b", "c"]), Some(("b", 1)));
        assert_eq!(nearest("a", []), None);
        assert_eq!(
            meant("deploymnet", ["deployment", "pod"]),
            Some("deployment")
        );
        assert_eq!(meant("queue", ["pod", "namespace"]), None);
    }
}
