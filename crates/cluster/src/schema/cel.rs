//! The part of CEL that validation rules of scaling resources use: fields of `self`,
//! `has`, `size`, literals, arithmetic, comparison, boolean operators and the conditional.
//! A rule with anything else is not judged.

use serde_json::Value;
use std::cmp::Ordering;

/// Whether the rule holds; nothing if it cannot be judged here.
pub(crate) fn holds(rule: &str, this: &Value) -> Option<bool> {
    let tokens = tokens(rule)?;
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        this,
        depth: 0,
    };
    let value = parser.conditional(true)?;
    if parser.at < tokens.len() {
        return None;
    }
    value.as_bool()
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    Literal(Value),
    Op(&'static str),
}

const OPERATORS: &[&str] = &[
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "?", ":", "(", ")", ".", ",", "+", "-", "*",
];

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if first.is_ascii_alphabetic() || first == '_' {
            let end = rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            out.push(match &rest[..end] {
                "true" => Token::Literal(true.into()),
                "false" => Token::Literal(false.into()),
                "null" => Token::Literal(Value::Null),
                name => Token::Name(name.to_owned()),
            });
            rest = &rest[end..];
        } else if first.is_ascii_digit() {
            let end = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .unwrap_or(rest.len());
            out.push(Token::Literal(serde_json::from_str(&rest[..end]).ok()?));
            rest = &rest[end..];
        } else if first == '\'' || first == '"' {
            let body = &rest[1..];
            let end = body.find(first)?;
            if body[..end].contains('\\') {
                return None;
            }
            out.push(Token::Literal(body[..end].into()));
            rest = &body[end + 1..];
        } else {
            let op = OPERATORS.iter().find(|op| rest.starts_with(**op))?;
            out.push(Token::Op(op));
            rest = &rest[op.len()..];
        }
        rest = rest.trim_start();
    }
    Some(out)
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    this: &'a Value,
    depth: usize,
}

/// Each level parses always and computes only if `live`: the side of a boolean operator
/// that does not count may well ask for absent fields.
impl Parser<'_> {
    fn eat(&mut self, op: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some(Token::Op(o)) if *o == op);
        self.at += usize::from(found);
        found
    }

    fn conditional(&mut self, live: bool) -> Option<Value> {
        self.depth += 1;
        if self.depth > 50 {
            return None;
        }
        let condition = self.or(live)?;
        let out = if self.eat("?") {
            let yes = condition == true;
            let then = self.conditional(live && yes)?;
            if !self.eat(":") {
                return None;
            }
            let other = self.conditional(live && !yes)?;
            if yes { then } else { other }
        } else {
            condition
        };
        self.depth -= 1;
        Some(out)
    }

    fn or(&mut self, live: bool) -> Option<Value> {
        let mut left = self.and(live)?;
        while self.eat("||") {
            let right = self.and(live && left != true)?;
            if left != true {
                left = right;
            }
        }
        Some(left)
    }

    fn and(&mut self, live: bool) -> Option<Value> {
        let mut left = self.comparison(live)?;
        while self.eat("&&") {
            let right = self.comparison(live && left == true)?;
            if left == true {
                left = right;
            }
        }
        Some(left)
    }

    fn comparison(&mut self, live: bool) -> Option<Value> {
        let left = self.sum(live)?;
        for op in ["==", "!=", "<=", ">=", "<", ">"] {
            if !self.eat(op) {
                continue;
            }
            let right = self.sum(live)?;
            if !live {
                return Some(Value::Null);
            }
            let equal = match (left.as_f64(), right.as_f64()) {
                (Some(a), Some(b)) => a == b,
                _ => left == right,
            };
            return Some(match op {
                "==" => equal.into(),
                "!=" => (!equal).into(),
                _ => {
                    let order = compare(&left, &right)?;
                    match op {
                        "<=" => order != Ordering::Greater,
                        ">=" => order != Ordering::Less,
                        "<" => order == Ordering::Less,
                        _ => order == Ordering::Greater,
                    }
                    .into()
                }
            });
        }
        Some(left)
    }

    fn sum(&mut self, live: bool) -> Option<Value> {
        let mut left = self.product(live)?;
        loop {
            let plus = self.eat("+");
            if !plus && !self.eat("-") {
                return Some(left);
            }
            let right = self.product(live)?;
            if live {
                let (a, b) = (left.as_i64()?, right.as_i64()?);
                left = if plus {
                    a.checked_add(b)?
                } else {
                    a.checked_sub(b)?
                }
                .into();
            }
        }
    }

    fn product(&mut self, live: bool) -> Option<Value> {
        let mut left = self.unary(live)?;
        while self.eat("*") {
            let right = self.unary(live)?;
            if live {
                left = left.as_i64()?.checked_mul(right.as_i64()?)?.into();
            }
        }
        Some(left)
    }

    fn unary(&mut self, live: bool) -> Option<Value> {
        let mut negations = 0;
        while self.eat("!") {
            negations += 1;
        }
        let minus = self.eat("-");
        let value = self.primary(live)?;
        if !live {
            return Some(Value::Null);
        }
        if minus {
            return Some(value.as_i64()?.checked_neg()?.into());
        }
        if negations > 0 {
            return Some((value.as_bool()? == (negations % 2 == 0)).into());
        }
        Some(value)
    }

    fn primary(&mut self, live: bool) -> Option<Value> {
        if self.eat("(") {
            let value = self.conditional(live)?;
            return self.eat(")").then_some(value);
        }
        let token = self.tokens.get(self.at)?.clone();
        self.at += 1;
        match token {
            Token::Literal(v) => Some(v),
            Token::Name(name) if name == "has" && self.eat("(") => {
                let found = self.field()?;
                self.eat(")").then_some(found.is_some().into())
            }
            Token::Name(name) if name == "size" && self.eat("(") => {
                let value = self.conditional(live)?;
                if !self.eat(")") {
                    return None;
                }
                if !live {
                    return Some(Value::Null);
                }
                let n = match &value {
                    Value::String(s) => s.chars().count(),
                    Value::Array(a) => a.len(),
                    Value::Object(o) => o.len(),
                    _ => return None,
                };
                Some(n.into())
            }
            Token::Name(name) if name == "self" => {
                self.at -= 1;
                match self.field()? {
                    Some(v) => Some(v),
                    None if live => None,
                    None => Some(Value::Null),
                }
            }
            _ => None,
        }
    }

    /// `self.a.b`: the value, or nothing where it is absent.
    fn field(&mut self) -> Option<Option<Value>> {
        if self.tokens.get(self.at) != Some(&Token::Name("self".into())) {
            return None;
        }
        self.at += 1;
        let mut value = Some(self.this);
        while self.eat(".") {
            let Some(Token::Name(name)) = self.tokens.get(self.at) else {
                return None;
            };
            self.at += 1;
            value = value.and_then(|v| v.get(name));
        }
        // A method call is beyond this evaluator.
        if self.eat("(") {
            None
        } else {
            Some(value.cloned())
        }
    }
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::String(x), Value::String(y)) => Some(x.cmp(y)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_of_one_object_are_judged() {
        let rule = "!has(self.min) || self.min <= (has(self.max) ? self.max : 100)";
        assert_eq!(holds(rule, &json!({})), Some(true));
        assert_eq!(holds(rule, &json!({"min": 101})), Some(false));
        assert_eq!(holds(rule, &json!({"min": 9, "max": 5})), Some(false));
        assert_eq!(holds(rule, &json!({"min": 5, "max": 5})), Some(true));
        assert_eq!(
            holds(
                "size(self.a) > 1 && self.b == 'x'",
                &json!({"a": [1, 2], "b": "x"})
            ),
            Some(true)
        );
        assert_eq!(holds("self.a + 1 == 2", &json!({"a": 1})), Some(true));
    }

    #[test]
    fn what_is_beyond_it_is_not_judged() {
        for rule in [
            "self.all(x, x > 1)",
            "oldSelf == self",
            "self.name.startsWith('a')",
            "((((",
            "'a",
        ] {
            assert_eq!(holds(rule, &json!({"name": "b"})), None, "{rule}");
        }
        let deep = "(".repeat(100_000);
        assert_eq!(holds(&deep, &json!({})), None);
    }
}
