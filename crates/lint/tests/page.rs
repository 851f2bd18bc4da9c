//! The documentation page is the rules' own text, and every rule is explained.

#![allow(clippy::unwrap_used)]

use std::path::Path;

#[test]
fn the_page_has_the_rules_as_they_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/lint.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, _) = text.split_once("## Rules\n\n").unwrap();
    let wanted = format!("{head}## Rules\n\n{}", lint::page());
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    } else {
        assert_eq!(text, wanted, "UPDATE_SNAPSHOTS=1 writes the page");
    }
}

#[test]
fn an_unknown_rule_has_a_near_one() {
    assert!(
        lint::explain("many-elements")
            .unwrap()
            .starts_with("many-elements (error)")
    );
    assert_eq!(lint::explain("many-element").unwrap_err(), "many-elements");
    for rule in lint::RULES {
        assert!(lint::explain(rule.id).is_ok());
    }
}
