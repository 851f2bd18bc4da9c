//! CEL, as the validation rules of custom resources use it: fields, indices,
//! literals, operators, the macros `has`, `all`, `exists`, `exists_one`, `map`
//! and `filter`, and the functions of strings and lists in [`functions`]. A rule
//! with anything else is not judged.

mod eval;
mod functions;
mod parse;

use serde_json::Value;

/// What became of a rule.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// It is kept.
    Holds,
    /// It is broken.
    Broken,
    /// It asks for what is not there, or counts too long.
    Error(String),
    /// It is beyond this evaluator.
    NotJudged,
}

/// Whether a rule compares with the object as it was.
pub(crate) fn is_transition(rule: &str) -> bool {
    parse::names(rule).any(|name| name == "oldSelf")
}

/// Judges a rule about a value, and about what it was before.
pub(crate) fn judge(rule: &str, this: &Value, old: Option<&Value>) -> Verdict {
    match compute(rule, this, old) {
        Ok(Value::Bool(true)) => Verdict::Holds,
        Ok(Value::Bool(false)) => Verdict::Broken,
        Err(eval::Fault::Error(text)) => Verdict::Error(text),
        Ok(_) | Err(eval::Fault::Beyond) => Verdict::NotJudged,
    }
}

/// A text that an expression computes.
pub(crate) fn text(expression: &str, this: &Value, old: Option<&Value>) -> Option<String> {
    match compute(expression, this, old) {
        Ok(Value::String(text)) => Some(text),
        _ => None,
    }
}

fn compute(text: &str, this: &Value, old: Option<&Value>) -> Result<Value, eval::Fault> {
    let expression = parse::parse(text).ok_or(eval::Fault::Beyond)?;
    eval::evaluate(&expression, this, old)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn holds(rule: &str, this: &Value) -> Option<bool> {
        match judge(rule, this, None) {
            Verdict::Holds => Some(true),
            Verdict::Broken => Some(false),
            Verdict::Error(text) => panic!("{rule}: {text}"),
            Verdict::NotJudged => None,
        }
    }

    #[test]
    fn rules_of_one_object_are_judged() {
        let rule = "!has(self.min) || self.min <= (has(self.max) ? self.max : 100)";
        assert_eq!(holds(rule, &json!({})), Some(true));
        assert_eq!(holds(rule, &json!({"min": 101})), Some(false));
        assert_eq!(holds(rule, &json!({"min": 9, "max": 5})), Some(false));
        assert_eq!(holds(rule, &json!({"min": 5, "max": 5})), Some(true));
        let this = json!({"a": [1, 2], "b": "x", "name-with.dots": 3, "m": {"k": 1}});
        for rule in [
            "size(self.a) > 1 && self.b == 'x'",
            "self.a.size() == 2 && self.a[1] + 1 == 3 && self.a[0] in self.a",
            "self.name__dash__with__dot__dots == 3",
            "self.a.all(i, i > 0) && self.a.exists(i, i == 2) && self.a.exists_one(i, i == 2)",
            "self.a.map(i, i * 2) == [2, 4] && self.a.filter(i, i > 1) == [2]",
            "self.m.all(k, k.startsWith('k') && self.m[k] == 1) && 'k' in self.m",
            "self.b.matches('^[a-z]$') && self.b.upperAscii() == \"X\" && !self.b.contains('y')",
            "['b', 'a'].isSorted() == false && 'a,b'.split(',').join('-') == 'a-b'",
            "string(7 % 4) + r'\\d' == '3\\\\d' && int('4') / 3 == 1 && 1.5 + 1.5 == 3.0",
            "{'a': 1}.a == 1 && {'a': 1} == {'a': 1}",
            "self.missing.deeper == 1 || true",
            "!(false && self.missing == 1)",
        ] {
            assert_eq!(holds(rule, &this), Some(true), "{rule}");
        }
    }

    #[test]
    fn a_rule_that_asks_for_what_is_not_there_says_so() {
        for (rule, error) in [
            ("self.a == 1", "no such key: a"),
            ("self.b[5] == 1", "index out of bounds: 5"),
            ("1 / self.zero == 1", "division by zero"),
            ("self.b.all(x, x.y == 1)", "no such overload"),
            ("self.text < 5", "no such overload"),
        ] {
            let this = json!({"b": [1], "zero": 0, "text": "t"});
            let verdict = judge(rule, &this, None);
            assert_eq!(verdict, Verdict::Error(error.to_owned()), "{rule}");
        }
        let many = json!((0..2000).collect::<Vec<_>>());
        let slow = "self.all(a, self.all(b, self.all(c, a + b + c >= 0)))";
        let Verdict::Error(text) = judge(slow, &many, None) else {
            panic!("it ends");
        };
        assert!(text.contains("cost limit"), "{text}");
    }

    #[test]
    fn rules_see_what_was_before() {
        let rule = "self.a == oldSelf.a";
        assert!(is_transition(rule));
        assert!(!is_transition("self.oldSelfish == 'oldSelf'"));
        let (a, b) = (json!({"a": 1}), json!({"a": 2}));
        assert_eq!(judge(rule, &a, Some(&a)), Verdict::Holds);
        assert_eq!(judge(rule, &a, Some(&b)), Verdict::Broken);
        assert_eq!(
            text("'was ' + string(oldSelf.a)", &a, Some(&b)).as_deref(),
            Some("was 2")
        );
    }

    #[test]
    fn what_is_beyond_it_is_not_judged() {
        for rule in [
            "self.name.nonsense()",
            "quantity(self.name).isGreaterThan(quantity('1'))",
            "self.?name.orValue('x') == 'x'",
            "((((",
            "'a",
            "self.all(x + 1, true)",
            "1 +",
        ] {
            assert_eq!(holds(rule, &json!({"name": "b"})), None, "{rule}");
        }
        let deep = "(".repeat(100_000);
        assert_eq!(holds(&deep, &json!({})), None);
        let deep = format!("self.b{}", ".c".repeat(100_000));
        assert_eq!(holds(&deep, &json!({})), None);
    }
}
