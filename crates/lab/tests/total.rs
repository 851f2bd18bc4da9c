//! No text may make the reader of stories panic.

use lab::story::{Check, Story};
use proptest::prelude::*;

/// Pieces of stories.
const WORDS: &[&str] = &[
    "title: t\n",
    "steps:\n",
    "- ",
    "  ",
    "say: x\n",
    "apply: a.yaml\n",
    "wait: 5s\n",
    "wait: -1\n",
    "until: ",
    "within: 1h\n",
    "expect: ",
    "deployment/w ",
    "ready",
    "replicas",
    " == 3\n",
    ">=",
    "\n",
    "annotate: {a/b: {c: null}}\n",
    "scale: {deployment/w: 99999999999}\n",
    "delete: [a/b]\n",
    "event ",
    "\"",
    ":",
    "[",
    "pods(",
    ")",
    "9e99",
];

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
        let _ = Story::parse(&text, "any".as_ref(), ".".into());
        let _ = text.parse::<Check>();
    }

    #[test]
    fn text_like_a_story_is_read_or_refused(picks in proptest::collection::vec(0..WORDS.len(), 0..24)) {
        let text: String = picks.into_iter().map(|at| WORDS[at]).collect();
        let _ = Story::parse(&text, "like".as_ref(), ".".into());
        let _ = text.parse::<Check>();
    }
}
