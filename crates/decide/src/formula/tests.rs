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
        (
            "last(9223372036854775806..9223372036854775807) - 9223372036854775807",
            Some(0.0),
        ),
        ("len(3..1)", Some(0.0)),
        (r#"len("\x41\u00e9\101")"#, Some(3.0)),
        ("let x = a; if x > 1 { x } else { 0 }", Some(2.0)),
    ] {
        assert_eq!(run(text), Ok(wanted), "{text}");
    }
}

#[test]
fn escapes_are_digits_alone() {
    for text in [
        r#"len("\x+1")"#,
        r#"len("\u-001")"#,
        r#"len("\7")"#,
        r#"len("\ud800")"#,
    ] {
        assert!(run(text).is_err(), "{text}");
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
        // A large text that stands in many places, printed or taken as a key.
        "let x = repeat(\"a\", 1000000); len(string(map(1..500000, x)))",
        "let x = repeat(\"a\", 1000000); len(toJSON(map(1..500000, x)))",
        "let x = repeat(\"a\", 900000); len(map(1..500000, string({\"k\": x})))",
        "let x = repeat(\"\\u0001\", 900000); len(toJSON(x))",
        "let x = [repeat(\"a\", 1000000)]; len(map(1..500000, fromPairs([[x[0], 1]])))",
        "let x = repeat(\"a\", 1000000); len(map(1..500000, groupBy([x], #)))",
        "let x = 1..400000; len(map(1..400000, get(1, x)))",
        "let x = repeat(\"ab\", 60000); x matches \"(a|b)*a(a|b){1500}c\" ? 1 : 0",
        "count(1..1000, \"a\" matches string(#)) > 0 ? 1 : 0",
        "\"aaaa\" matches \"((a{1,100}){1,100}){1,100}\" ? 1 : 0",
    ] {
        assert!(run(text).is_err(), "{text}: {:?}", run(text));
    }
    // What grows only in time: long texts and arrays looked through again and again.
    for looks in [
        "x == y",
        "x < y",
        "x in [y]",
        "x in {\"k\": 1}",
        "nil == {\"k\": 1}[x]",
        "x contains \"b\"",
        "x startsWith y",
        "hasSuffix(x, y)",
        "indexOf(x, \"b\") > 0",
        "len(x) > 0",
        "len(trim(x, \"ba\")) > 0",
        "len(trim(x, y)) > 0",
        "len(split(x, \"b\")) > 0",
        "len(uniq([x, y])) > 0",
        "len(sort([x, y])) > 0",
        "x matches \"b\"",
        "len(join(z)) > 0",
        "len(fromPairs(w)) > 0",
    ] {
        let text = format!(
            "let x = repeat(\"a\", 999999); let y = repeat(\"a\", 999999); \
             let z = split(repeat(\",\", 199999), \",\"); let w = map(1..100000, [1, 1]); \
             count(1..200000, {looks})"
        );
        let error = run(&text).expect_err(looks).to_string();
        assert!(error.contains("takes too long"), "{looks}: {error}");
    }
    // The first of many is found without a look at the others.
    let first = "let z = 1..500000; count(1..300000, find(z, true) == 1)";
    assert_eq!(run(first), Ok(Some(300_000.0)));
    let patterns: Vec<_> = (0..1000)
        .map(|n| format!("(\"a\" matches \"{n}\")"))
        .collect();
    assert!(run(&format!("[{}] == [] ? 1 : 0", patterns.join(","))).is_err());
    let deep = "(".repeat(5_000) + "1" + &")".repeat(5_000);
    assert!(run(&deep).is_err());
    let long = vec!["1"; 5_000].join(" + ");
    assert!(run(&long).is_err());
    let doubled = (0..40).fold("1".to_owned(), |inner, _| {
        format!("(1 < {inner} < 1 ? 1 : 0)")
    });
    assert!(run(&doubled).is_err());
    let long = "x".repeat(100_000);
    let doubled = (0..9).fold(format!("\"{long}\""), |inner, _| {
        format!("(\"\" < {inner} < \"\" ? \"\" : \"\")")
    });
    assert!(run(&format!("len({doubled})")).is_err());
    assert!(run(&"1 ".repeat(1_000_000)).is_err());
}

#[test]
fn the_deepest_tree_fits_on_the_stack() {
    let links = format!("now(){}.Unix() > 0 ? 1 : 0", ".UTC()".repeat(200));
    assert_eq!(run(&links), Ok(Some(1.0)));
    // Each shape as deep as it may be, and what is deeper is refused.
    let shapes: [(&str, &str, &str); 12] = [
        ("(", "1", ")"),
        ("-", "1", ""),
        ("not ", "true", ""),
        ("[", "1", "][0]"),
        ("{\"k\": ", "1", "}.k"),
        ("{\"k\": ", "1", "}?.k"),
        ("first(map([1], ", "1", "))"),
        ("sum([1], {let x", "1", "})"),
        ("true ? ", "1", " : 0"),
        ("if true { ", "1", " } else { 0 }"),
        ("if false { 0 } else ", "{ 1 }", ""),
        ("1 + ", "1", ""),
    ];
    for (open, inner, close) in shapes {
        let mut deepest = 0;
        for depth in 1..400 {
            let opens = (0..depth).map(|n| match open {
                "sum([1], {let x" => format!("{open}{n} = 1; "),
                open => open.to_owned(),
            });
            let text = opens.collect::<String>() + inner + &close.repeat(depth);
            match run(&text) {
                Err(FormulaError::Invalid(error)) if error.contains("nested too deeply") => break,
                _ => deepest = depth,
            }
        }
        assert!((50..399).contains(&deepest), "{open}: {deepest}");
    }
    // A chain whose left end is a group that is a chain whose left end …
    for (inner, link) in [("1", "+1"), ("now()", ".UTC()"), ("{}", "?.k")] {
        let groups = |n: usize| {
            let chains = format!("{})", link.repeat(200)).repeat(n);
            run(&format!("{}{inner}{chains}", "(".repeat(n)))
        };
        let refused = |n| matches!(groups(n), Err(FormulaError::Invalid(e)) if e.contains("nested too deeply"));
        // As high as it may be, it runs in the stack of a thread.
        assert!((1..5).any(|n| !refused(n)), "{link}");
        assert!((5..12).all(refused), "{link}");
    }
}

#[test]
fn texts_of_values_are_those_of_go() {
    for (text, wanted) in [
        ("string([1, 2.5, \"a\", nil, true])", "[1 2.5 a <nil> true]"),
        ("string({\"b\": [1], \"a\": 1e21})", "map[a:1e+21 b:[1]]"),
        (
            "toJSON([1, {\"a\": \"\\n\"}])",
            "[\n  1,\n  {\n    \"a\": \"\\n\"\n  }\n]",
        ),
        ("join(split(\"abc\", \"\", 2), \"|\")", "a|bc"),
        ("join(split(\"a,b,c\", \",\", 2), \"|\")", "a|b,c"),
        ("join(splitAfter(\"a,b,c\", \",\"), \"|\")", "a,|b,|c"),
        ("string(split(\"\", \"\"))", "[]"),
        ("string(keys(groupBy([\"x\", \"x\"], #)))", "[x]"),
        (
            "string([findLast(1..5, # < 4), find(1..5, # > 2), reduce(1..3, #acc + #)])",
            "[3 3 6]",
        ),
    ] {
        let same = format!("{text} == {} ? 1 : 0", serde_json::Value::from(wanted));
        assert_eq!(
            run(&same),
            Ok(Some(1.0)),
            "{text}: {:?}",
            run(&format!("int({text})"))
        );
    }
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
