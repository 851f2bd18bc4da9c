//! The part of kubectl's JSONPath that printer columns use: fields, indexes, `[*]` and filters
//! that compare a field with a literal.

use serde_json::Value;

/// The values that a path leads to; none where it is not understood.
pub(crate) fn find<'a>(path: &str, root: &'a Value) -> Vec<&'a Value> {
    let path = path.trim().trim_start_matches('{').trim_end_matches('}');
    let Some(steps) = parse(path) else {
        return Vec::new();
    };
    let mut here = vec![root];
    for step in &steps {
        here = here
            .into_iter()
            .flat_map(|value| follow(step, value))
            .collect();
    }
    here
}

#[derive(Debug, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    /// Path below the element, operator, literal.
    Filter(Vec<Step>, String, Option<Value>),
}

fn follow<'a>(step: &Step, value: &'a Value) -> Vec<&'a Value> {
    match step {
        Step::Field(name) => value.get(name).into_iter().collect(),
        Step::Index(i) => {
            let Some(list) = value.as_array() else {
                return Vec::new();
            };
            let at = if *i < 0 { list.len() as i64 + i } else { *i };
            usize::try_from(at)
                .ok()
                .and_then(|at| list.get(at))
                .into_iter()
                .collect()
        }
        Step::All => match value {
            Value::Array(list) => list.iter().collect(),
            Value::Object(map) => map.values().collect(),
            _ => Vec::new(),
        },
        Step::Filter(path, operator, literal) => {
            let Some(list) = value.as_array() else {
                return Vec::new();
            };
            list.iter()
                .filter(|element| holds(element, path, operator, literal.as_ref()))
                .collect()
        }
    }
}

fn holds(element: &Value, path: &[Step], operator: &str, literal: Option<&Value>) -> bool {
    let mut here = vec![element];
    for step in path {
        here = here
            .into_iter()
            .flat_map(|value| follow(step, value))
            .collect();
    }
    let Some(found) = here.first() else {
        return false;
    };
    let Some(literal) = literal else { return true };
    let numbers = found.as_f64().zip(literal.as_f64());
    match operator {
        "==" => *found == literal || numbers.is_some_and(|(a, b)| a == b),
        "!=" => *found != literal && numbers.is_none_or(|(a, b)| a != b),
        "<" => numbers.is_some_and(|(a, b)| a < b),
        "<=" => numbers.is_some_and(|(a, b)| a <= b),
        ">" => numbers.is_some_and(|(a, b)| a > b),
        ">=" => numbers.is_some_and(|(a, b)| a >= b),
        _ => false,
    }
}

fn parse(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = path.strip_prefix('$').unwrap_or(path);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let (name, tail) = field(after);
            if !name.is_empty() {
                steps.push(if name == "*" {
                    Step::All
                } else {
                    Step::Field(name)
                });
            }
            rest = tail;
        } else if let Some(after) = rest.strip_prefix('[') {
            let end = closing(after)?;
            steps.push(bracket(after[..end].trim())?);
            rest = &after[end + 1..];
        } else {
            let (name, tail) = field(rest);
            if name.is_empty() {
                return None;
            }
            steps.push(Step::Field(name));
            rest = tail;
        }
    }
    Some(steps)
}

/// A field's name (a backslash takes the next character as it is) and what follows it.
fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => {
                if let Some((_, next)) = letters.next() {
                    name.push(next);
                }
            }
            '.' | '[' => return (name, &text[at..]),
            other => name.push(other),
        }
    }
    (name, "")
}

/// Where the bracket that was opened closes, outside quotes.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut depth = 0;
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (Some(q), l) if l == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(letter),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn unquoted(text: &str) -> Option<&str> {
    ['"', '\'']
        .iter()
        .find_map(|q| text.strip_prefix(*q)?.strip_suffix(*q))
}

fn bracket(text: &str) -> Option<Step> {
    if text == "*" {
        return Some(Step::All);
    }
    if let Ok(index) = text.parse() {
        return Some(Step::Index(index));
    }
    if let Some(name) = unquoted(text) {
        return Some(Step::Field(name.to_owned()));
    }
    let inner = text.strip_prefix("?(")?.strip_suffix(')')?.trim();
    for operator in ["==", "!=", "<=", ">=", "<", ">"] {
        if let Some((left, right)) = inner.split_once(operator) {
            let right = right.trim();
            let literal = match unquoted(right) {
                Some(text) => Value::String(text.to_owned()),
                None => serde_json::from_str(right).ok()?,
            };
            let path = parse(left.trim().strip_prefix('@')?)?;
            return Some(Step::Filter(path, operator.to_owned(), Some(literal)));
        }
    }
    Some(Step::Filter(
        parse(inner.strip_prefix('@')?)?,
        String::new(),
        None,
    ))
}

#[cfg(test)]
mod tests {
    use super::find;
    use serde_json::json;

    #[test]
    fn the_paths_of_kedas_columns_are_understood() {
        let object = json!({
            "metadata": {"annotations": {"a.b/c": "d"}},
            "spec": {"list": [{"name": "x", "n": 1}, {"name": "y", "n": 2}]},
            "status": {"conditions": [
                {"type": "Ready", "status": "True"}, {"type": "Active", "status": "False"},
            ]},
        });
        let one = |path: &str| find(path, &object).into_iter().next().cloned();
        assert_eq!(
            one(".status.conditions[?(@.type==\"Ready\")].status"),
            Some(json!("True"))
        );
        assert_eq!(
            one(".status.conditions[?(@.type=='Active')].status"),
            Some(json!("False"))
        );
        assert_eq!(
            one(".status.conditions[?(@.type==\"Paused\")].status"),
            None
        );
        assert_eq!(one(".spec.list[1].name"), Some(json!("y")));
        assert_eq!(one(".spec.list[-1].name"), Some(json!("y")));
        assert_eq!(one(".metadata.annotations.a\\.b/c"), Some(json!("d")));
        assert_eq!(one(".metadata.annotations['a.b/c']"), Some(json!("d")));
        assert_eq!(find(".spec.list[*].name", &object).len(), 2);
        assert_eq!(one(".spec.list[?(@.n>1)].name"), Some(json!("y")));
        assert_eq!(one(".spec[?(broken"), None);
    }
}
