//! Recorded formulas are judged beside their recordings; here is what must
//! hold for any text.

use proptest::prelude::*;

use super::*;

fn names() -> Vec<String> {
    ["a", "b", "c"].map(str::to_owned).to_vec()
}

fn run(text: &str) -> Result<Option<f64>, FormulaError> {
    let values = names().into_iter().zip([Some(2.0), Some(3.0), None]);
    Formula::parse(text, &names())?.run(&values.collect(), TRIAL)
}

#[test]
fn usual_formulas() {
    for (text, wanted) in [
        ("a + b", Some(5.0)),
        ("max(a, b) * 2", Some(6.0)),
        ("c ?? a", Some(2.0)),
        ("c ?? nil", None),
        ("count([a, b], {# > 2}) > 0 ? 10 : 1", Some(10.0)),
        ("let x = a; if x > 1 { x } else { 0 }", Some(2.0)),
    ] {
        assert_eq!(run(text), Ok(wanted), "{text}");
    }
}

#[test]
fn nothing_grows_without_end() {
    for text in [
        "len(map(1..1000, map(1..1000, map(1..1000, #))))",
        "len(reduce(1..100, #acc + #acc, \"xx\"))",
        "len(flatten(reduce(1..60, [#acc, #acc], [1])))",
        "len(reduce(1..1000000, [#acc], [1]))",
        "len(uniq(1..900000))",
        "len(repeat(\"x\", 999999999))",
        "len(replace(repeat(\"x\", 900000), \"\", repeat(\"y\", 900000)))",
        "len(1..9223372036854775807)",
        "len(-9223372036854775807..9223372036854775807)",
        "len(map(1..100, 1..1000000))",
        "\"aaaa\" matches \"((a{1,100}){1,100}){1,100}\" ? 1 : 0",
    ] {
        assert!(run(text).is_err(), "{text}: {:?}", run(text));
    }
    let deep = "(".repeat(5_000) + "1" + &")".repeat(5_000);
    assert!(run(&deep).is_err());
    let long = vec!["1"; 5_000].join(" + ");
    assert!(run(&long).is_err());
    let doubled = (0..40).fold("1".to_owned(), |inner, _| {
        format!("(1 < {inner} < 1 ? 1 : 0)")
    });
    assert!(run(&doubled).is_err());
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "\\PC{0,60}") {
        let _ = run(&text);
    }

    #[test]
    fn any_likely_text_is_answered(parts in prop::collection::vec(
        prop::sample::select(vec![
            "a", "b", "c", "1", "0", "-1", "2.5", "1e308", "\"x\"", "nil", "true", "[", "]", "(",
            ")", "{", "}", ",", ";", ":", "?", "??", "?.", ".", "..", "+", "-", "*", "/", "%",
            "**", "<", ">=", "==", "and", "not", "in", "matches", "let x =", "x", "if", "else",
            "#", "#acc", "|", "max", "min", "sum", "map", "filter", "reduce", "sortBy", "groupBy",
            "take", "uniq", "flatten", "concat", "float", "int", "string", "split", "fromJSON",
            "toJSON", "date", "now()", "duration(\"1h\")", "bitshl", "repeat", "$env", "get",
        ]),
        0..25,
    )) {
        let _ = run(&parts.join(" "));
        let _ = run(&parts.concat());
    }
}
