//! Reads the text form of label selectors.

use std::collections::{BTreeMap, BTreeSet};

use super::lexer::{Kind, Token, tokens};
use super::{Operator, Requirement, SelectorError, label_key_problems, label_value_problems};

/// A signed 64-bit number as Go's `strconv.ParseInt` reads it.
pub(super) fn go_int(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// Quotes as Go's `%q` does, for the characters that occur in selectors.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                out.push_str(&format!("\\x{:02x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn invalid(path: &str, value: &str, detail: &str) -> String {
    let path = if path.is_empty() { "<nil>" } else { path };
    format!("{path}: Invalid value: {value}: {detail}")
}

fn check_key(key: &str, path: &str) -> Result<(), String> {
    match label_key_problems(key) {
        problems if problems.is_empty() => Ok(()),
        problems => Err(invalid(path, &quoted(key), &problems.join("; "))),
    }
}

fn check_value(key: &str, value: &str, path: &str) -> Result<(), String> {
    match label_value_problems(value) {
        problems if problems.is_empty() => Ok(()),
        problems => Err(invalid(
            &format!("{path}[{key}]"),
            &quoted(value),
            &problems.join("; "),
        )),
    }
}

/// Checks and builds one requirement; all faults are named together.
pub(super) fn requirement(
    key: &str,
    operator: Operator,
    values: Vec<String>,
) -> Result<Requirement, SelectorError> {
    let mut faults = Vec::new();
    faults.extend(check_key(key, "key").err());
    let list = || match values.is_empty() {
        true => "null".to_owned(),
        false => serde_json::to_string(&values).unwrap_or_default(),
    };
    let mut bad = |detail: &str| faults.push(invalid("values", &list(), detail));
    match operator {
        Operator::In | Operator::NotIn if values.is_empty() => {
            bad("for 'in', 'notin' operators, values set can't be empty");
        }
        Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
            bad("exact-match compatibility requires one single value");
        }
        Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
            bad("values set must be empty for exists and does not exist");
        }
        Operator::GreaterThan | Operator::LessThan => {
            if values.len() != 1 {
                bad("for 'Gt', 'Lt' operators, exactly one value is required");
            }
            for (at, value) in values
                .iter()
                .enumerate()
                .filter(|(_, v)| go_int(v).is_none())
            {
                faults.push(invalid(
                    &format!("values[{at}]"),
                    &quoted(value),
                    "for 'Gt', 'Lt' operators, the value must be an integer",
                ));
            }
        }
        _ => {}
    }
    for (at, value) in values.iter().enumerate() {
        faults.extend(check_value(key, value, &format!("values[{at}]")).err());
    }
    let mut seen = BTreeSet::new();
    faults.retain(|fault| seen.insert(fault.clone()));
    match faults.as_slice() {
        [] => {
            let values: BTreeSet<String> = values.into_iter().collect();
            Ok(Requirement {
                key: key.to_owned(),
                operator,
                values: values.into_iter().collect(),
            })
        }
        [one] => Err(SelectorError(one.clone())),
        many => Err(SelectorError(format!("[{}]", many.join(", ")))),
    }
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Parser<'a> {
    /// The next token. `in` and `notin` are words like any other except where
    /// an operator may stand.
    fn peek(&self) -> Token<'a> {
        let mut token = self.raw();
        if matches!(token.kind, Kind::In | Kind::NotIn) {
            token.kind = Kind::Identifier;
        }
        token
    }

    fn raw(&self) -> Token<'a> {
        let last = self.tokens.len() - 1;
        self.tokens[self.at.min(last)].clone()
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let mut token = self.next();
        let negated = token.kind == Kind::Not;
        if negated {
            token = self.next();
        }
        if token.kind != Kind::Identifier {
            return Err(format!("found '{}', expected: identifier", token.text));
        }
        let key = token.text;
        check_key(key, "")?;
        let build = |operator, values| requirement(key, operator, values).map_err(|e| e.0);
        if negated {
            return build(Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek().kind, Kind::End | Kind::Comma) {
            return build(Operator::Exists, Vec::new());
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.list()?,
            _ => BTreeSet::from([self.value()?]),
        };
        build(operator, values.into_iter().collect())
    }

    fn operator(&mut self) -> Result<Operator, String> {
        let token = self.raw();
        self.at += 1;
        Ok(match token.kind {
            Kind::In => Operator::In,
            Kind::NotIn => Operator::NotIn,
            Kind::Equals => Operator::Equals,
            Kind::DoubleEquals => Operator::DoubleEquals,
            Kind::NotEquals => Operator::NotEquals,
            Kind::Greater => Operator::GreaterThan,
            Kind::Less => Operator::LessThan,
            _ => {
                return Err(format!(
                    "found '{}', expected: in, notin, =, ==, !=, gt, lt",
                    token.text
                ));
            }
        })
    }

    fn value(&mut self) -> Result<String, String> {
        if matches!(self.peek().kind, Kind::End | Kind::Comma) {
            return Ok(String::new());
        }
        let token = self.next();
        match token.kind {
            Kind::Identifier => Ok(token.text.to_owned()),
            _ => Err(format!("found '{}', expected: identifier", token.text)),
        }
    }

    fn list(&mut self) -> Result<BTreeSet<String>, String> {
        let open = self.next();
        if open.kind != Kind::Open {
            return Err(format!("found '{}' expected: '('", open.text));
        }
        let first = self.peek();
        match first.kind {
            Kind::Close => {
                self.at += 1;
                Ok(BTreeSet::from([String::new()]))
            }
            Kind::Identifier | Kind::Comma => {
                let values = self.identifiers()?;
                if self.next().kind != Kind::Close {
                    return Err(format!("found '{}', expected: ')'", first.text));
                }
                Ok(values)
            }
            _ => Err(format!(
                "found '{}', expected: ',', ')' or identifier",
                first.text
            )),
        }
    }

    fn identifiers(&mut self) -> Result<BTreeSet<String>, String> {
        let mut values = BTreeSet::new();
        loop {
            let token = self.next();
            let after = self.peek();
            match token.kind {
                Kind::Identifier => {
                    values.insert(token.text.to_owned());
                    match after.kind {
                        Kind::Comma => {}
                        Kind::Close => return Ok(values),
                        _ => {
                            return Err(format!("found '{}', expected: ',' or ')'", after.text));
                        }
                    }
                }
                Kind::Comma => {
                    if values.is_empty() {
                        values.insert(String::new());
                    }
                    if after.kind == Kind::Close {
                        values.insert(String::new());
                        return Ok(values);
                    }
                    if after.kind == Kind::Comma {
                        self.at += 1;
                        values.insert(String::new());
                    }
                }
                _ => {
                    return Err(format!(
                        "found '{}', expected: ',', or identifier",
                        token.text
                    ));
                }
            }
        }
    }
}

/// The requirements in the order in which they were written.
pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    let mut parser = Parser {
        tokens: tokens(text),
        at: 0,
    };
    let mut out = Vec::new();
    loop {
        let token = parser.peek();
        match token.kind {
            Kind::End => return Ok(out),
            Kind::Identifier | Kind::Not => {}
            _ => {
                return Err(SelectorError(format!(
                    "found '{}', expected: !, identifier, or 'end of string'",
                    token.text
                )));
            }
        }
        let requirement = parser
            .requirement()
            .map_err(|e| SelectorError(format!("unable to parse requirement: {e}")))?;
        out.push(requirement);
        let token = parser.next();
        match token.kind {
            Kind::End => return Ok(out),
            Kind::Comma => {
                let after = parser.peek();
                if !matches!(after.kind, Kind::Identifier | Kind::Not) {
                    return Err(SelectorError(format!(
                        "found '{}', expected: identifier after ','",
                        after.text
                    )));
                }
            }
            _ => {
                return Err(SelectorError(format!(
                    "found '{}', expected: ',' or 'end of string'",
                    token.text
                )));
            }
        }
    }
}

/// Reads `a=b,c=d` as a map, the plain form that some Kubernetes fields use.
pub fn labels_map(text: &str) -> Result<BTreeMap<String, String>, SelectorError> {
    let mut map = BTreeMap::new();
    if text.is_empty() {
        return Ok(map);
    }
    for pair in text.split(',') {
        let parts: Vec<&str> = pair.split('=').collect();
        let [key, value] = parts.as_slice() else {
            return Err(SelectorError(format!(
                "invalid selector: [{}]",
                parts.join(" ")
            )));
        };
        let (key, value) = (go_trim(key), go_trim(value));
        check_key(key, "").map_err(SelectorError)?;
        check_value(key, value, "").map_err(SelectorError)?;
        map.insert(key.to_owned(), value.to_owned());
    }
    Ok(map)
}

fn go_trim(text: &str) -> &str {
    text.trim_matches(char::is_whitespace)
}
