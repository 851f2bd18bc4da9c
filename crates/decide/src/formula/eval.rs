//! Runs a checked tree.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::tree::{Node, What};
use super::value::{Budget, Value, binary, fetch, slice};
use super::{Fault, builtins, library, methods, regex};

/// The values of the environment, by name; `None` is nil.
pub(super) type Values = BTreeMap<String, Option<f64>>;

/// Runs a tree. Time and memory are bounded.
pub(super) fn run(root: &Node, values: &Values, now: Timestamp) -> Result<Value, Fault> {
    Run {
        values,
        now,
        budget: Budget::default(),
        variables: Vec::new(),
        scopes: Vec::new(),
        chains: 0,
        cut: false,
    }
    .eval(root)
}

/// What a predicate sees.
struct Scope {
    element: Value,
    index: usize,
    sum: Value,
}

struct Run<'a> {
    values: &'a Values,
    now: Timestamp,
    budget: Budget,
    variables: Vec<(String, Value)>,
    scopes: Vec<Scope>,
    /// Chains around the present place.
    chains: usize,
    /// An optional member of nil was met: the chain around it is nil.
    cut: bool,
}

type Made = Result<Value, Fault>;

fn at<T>(node: &Node, made: Result<T, String>) -> Result<T, Fault> {
    made.map_err(|text| Fault {
        text,
        at: Some(node.at),
    })
}

impl Run<'_> {
    fn eval(&mut self, node: &Node) -> Made {
        at(node, self.budget.spend(1))?;
        match &node.what {
            What::Nil => Ok(Value::Nil),
            What::Bool(b) => Ok(Value::Bool(*b)),
            What::Int(n) => Ok(Value::Int(*n)),
            What::Float(n) => Ok(Value::Float(*n)),
            What::Text(text) => at(node, self.budget.text(text.clone())),
            What::Name(name) => Ok(self.named(name)),
            What::Pointer(name) => Ok(self.pointer(name)),
            What::Unary(operator, inner) => self.unary(node, operator, inner),
            What::Binary(operator, left, right) => self.binary(node, operator, left, right),
            What::Choice(condition, yes, no) => {
                let holds = self.eval(condition)?;
                let holds = at(node, holds.truth())?;
                self.eval(if holds { yes } else { no })
            }
            What::Member {
                of, key, optional, ..
            } => self.member(node, of, key, *optional),
            What::Slice(of, from, to) => self.slice(node, of, from.as_deref(), to.as_deref()),
            What::Chain(inner) => {
                self.chains += 1;
                let made = self.eval(inner);
                self.chains -= 1;
                if std::mem::take(&mut self.cut) {
                    return Ok(Value::Nil);
                }
                made
            }
            What::Call(callee, _) => self.method(node, callee),
            What::Builtin(name, arguments) => self.builtin(node, name, arguments),
            What::Predicate(inner) => self.eval(inner),
            What::Array(nodes) => {
                let items = self.all(nodes)?;
                at(node, self.budget.count(items.len()))?;
                at(node, self.budget.array(items))
            }
            What::Map(pairs) => self.map(node, pairs),
            What::Let(name, value, rest) => {
                let value = self.eval(value)?;
                self.variables.push((name.clone(), value));
                let made = self.eval(rest);
                self.variables.pop();
                made
            }
            What::Sequence(nodes) => {
                let mut last = Value::Nil;
                for node in nodes {
                    last = self.eval(node)?;
                }
                Ok(last)
            }
        }
    }

    fn all(&mut self, nodes: &[Node]) -> Result<Vec<Value>, Fault> {
        nodes.iter().map(|node| self.eval(node)).collect()
    }

    fn named(&self, name: &str) -> Value {
        let variable = self.variables.iter().rev().find(|(known, _)| known == name);
        match variable {
            Some((_, value)) => value.clone(),
            None if name == "$env" => Value::Env,
            None => self.value(name),
        }
    }

    fn value(&self, name: &str) -> Value {
        let value = self.values.get(name).copied().flatten();
        value.map_or(Value::Nil, Value::Float)
    }

    fn pointer(&self, name: &str) -> Value {
        let Some(scope) = self.scopes.last() else {
            return Value::Nil;
        };
        match name {
            "acc" => scope.sum.clone(),
            "index" => Value::Int(scope.index as i64),
            _ => scope.element.clone(),
        }
    }

    fn unary(&mut self, node: &Node, operator: &str, inner: &Node) -> Made {
        let value = self.eval(inner)?;
        let made = match (operator, &value) {
            ("-", Value::Int(n)) => Ok(Value::Int(n.wrapping_neg())),
            ("-", Value::Float(n)) => Ok(Value::Float(-n)),
            ("-", other) => Err(format!("invalid operation: - {}", other.type_name())),
            ("+", _) => Ok(value),
            (_, value) => value.truth().map(|b| Value::Bool(!b)),
        };
        at(node, made)
    }

    fn binary(&mut self, node: &Node, operator: &str, left: &Node, right: &Node) -> Made {
        let a = self.eval(left)?;
        match operator {
            "and" | "&&" | "or" | "||" => {
                let first = at(node, a.truth())?;
                let decided = matches!(operator, "or" | "||");
                if first == decided {
                    return Ok(a);
                }
                return self.eval(right);
            }
            "??" => {
                return if matches!(a, Value::Nil) {
                    self.eval(right)
                } else {
                    Ok(a)
                };
            }
            _ => {}
        }
        let b = self.eval(right)?;
        let made = match operator {
            ".." => {
                // Between literals the range is made before the run.
                let free = matches!((&left.what, &right.what), (What::Int(_), What::Int(_)));
                let ends = a.index().and_then(|a| Ok((a, b.index()?)));
                ends.and_then(|(a, b)| self.budget.range(a, b, free))
            }
            "matches" => self.matches(&a, &b),
            _ => binary(operator, &a, &b, &mut self.budget),
        };
        at(node, made)
    }

    fn matches(&mut self, text: &Value, pattern: &Value) -> Result<Value, String> {
        if matches!(text, Value::Nil) || matches!(pattern, Value::Nil) {
            return Ok(Value::Bool(false));
        }
        let (text, pattern) = (text.text()?, pattern.text()?);
        regex::found(pattern, text, &mut self.budget).map(Value::Bool)
    }

    fn member(&mut self, node: &Node, of: &Node, key: &Node, optional: bool) -> Made {
        let base = self.eval(of)?;
        if self.cut {
            return Ok(Value::Nil);
        }
        if optional && matches!(base, Value::Nil) {
            self.cut = self.chains > 0;
            return Ok(Value::Nil);
        }
        // An element of what a filter leaves is searched for, and told so.
        if let (What::Builtin(name, _), What::Int(0 | -1), Value::Array(list)) =
            (&of.what, &key.what, &base)
            && name == "filter"
            && list.items.is_empty()
        {
            let text = "reflect: slice index out of range".to_owned();
            return at(node, Err(text));
        }
        let key = self.eval(key)?;
        if let (Value::Env, Value::Text(name)) = (&base, &key) {
            return Ok(self.value(name));
        }
        at(node, fetch(&base, &key, &mut self.budget))
    }

    fn slice(&mut self, node: &Node, of: &Node, from: Option<&Node>, to: Option<&Node>) -> Made {
        let base = self.eval(of)?;
        let mut end = |side: Option<&Node>| match side {
            Some(side) => {
                let value = self.eval(side)?;
                at(node, value.index()).map(Some)
            }
            None => Ok(None),
        };
        let (from, to) = (end(from)?, end(to)?);
        at(node, slice(&base, from, to, &mut self.budget))
    }

    fn map(&mut self, node: &Node, pairs: &[(Node, Node)]) -> Made {
        let mut entries = BTreeMap::new();
        for (key, value) in pairs {
            let key = self.eval(key)?;
            let value = self.eval(value)?;
            let key = match &key {
                Value::Text(_) => key.key(),
                other => return at(node, Err(other.not_a("string"))),
            };
            if let Some(key) = key {
                entries.insert(key, value);
            }
        }
        at(node, self.budget.count(pairs.len()))?;
        at(node, self.budget.map(entries, true))
    }

    fn method(&mut self, node: &Node, callee: &Node) -> Made {
        let What::Member { of, key, .. } = &callee.what else {
            return at(node, Err("not callable".to_owned()));
        };
        let base = self.eval(of)?;
        if self.cut {
            return Ok(Value::Nil);
        }
        let name = self.eval(key)?;
        let made = name.text().and_then(|name| methods::call(&base, name));
        at(node, made)
    }

    fn builtin(&mut self, node: &Node, name: &str, arguments: &[Node]) -> Made {
        if builtins::takes_predicate(name) {
            return self.each(node, name, arguments);
        }
        let given = self.all(arguments)?;
        at(
            node,
            library::call(name, &given, self.now, &mut self.budget),
        )
    }

    /// A function that looks at the elements one by one.
    fn each(&mut self, node: &Node, name: &str, arguments: &[Node]) -> Made {
        let [first, rest @ ..] = arguments else {
            return at(node, Err(format!("not enough arguments to call {name}")));
        };
        let items = match self.eval(first)? {
            Value::Array(list) => list,
            other => {
                let text = format!(
                    "builtin {name} takes only array (got {})",
                    other.type_name()
                );
                return at(node, Err(text));
            }
        };
        let predicate = rest.first();
        let third = match rest.get(1) {
            Some(third) => Some(self.eval(third)?),
            None => None,
        };
        let mut each = Each {
            name,
            sum: match name {
                "sum" => Value::Int(0),
                _ => third.clone().unwrap_or(Value::Nil),
            },
            kept: Vec::new(),
            keyed: Vec::new(),
            count: 0,
            found: None,
        };
        let size = items.items.len();
        let backwards = matches!(name, "findLast" | "findLastIndex");
        let mut skipped = 0;
        if name == "reduce" && third.is_none() {
            let Some(start) = items.items.first() else {
                let text = "reduce of empty array with no initial value".to_owned();
                return at(node, Err(text));
            };
            each.sum = start.clone();
            skipped = 1;
        }
        for n in skipped..size {
            let index = if backwards { size - 1 - n } else { n };
            let element = items.items[index].clone();
            let made = match predicate {
                Some(predicate) => {
                    self.scopes.push(Scope {
                        element: element.clone(),
                        index,
                        sum: each.sum.clone(),
                    });
                    let made = self.eval(predicate);
                    self.scopes.pop();
                    made?
                }
                None => element.clone(),
            };
            let more = each.take(index, element, made, &mut self.budget);
            if !at(node, more)? {
                break;
            }
        }
        at(node, each.end(size, third, &mut self.budget))
    }
}

/// What a function over elements has gathered.
struct Each<'a> {
    name: &'a str,
    sum: Value,
    kept: Vec<Value>,
    keyed: Vec<(Value, Value)>,
    count: usize,
    found: Option<(usize, Value)>,
}

impl Each<'_> {
    /// Takes the predicate's answer for one element; whether to go on.
    fn take(
        &mut self,
        index: usize,
        element: Value,
        made: Value,
        budget: &mut Budget,
    ) -> Result<bool, String> {
        budget.spend(1)?;
        match self.name {
            "map" => self.kept.push(made),
            "sum" => self.sum = binary("+", &self.sum, &made, budget)?,
            "reduce" => self.sum = made,
            "groupBy" | "sortBy" => self.keyed.push((made, element)),
            name => {
                let holds = made.truth()?;
                self.count += usize::from(holds);
                match name {
                    "filter" if holds => self.kept.push(element),
                    "all" => return Ok(holds),
                    "any" | "none" => return Ok(!holds),
                    "find" | "findLast" | "findIndex" | "findLastIndex" if holds => {
                        self.found = Some((index, element));
                        return Ok(false);
                    }
                    _ => {}
                }
            }
        }
        Ok(true)
    }

    fn end(self, size: usize, third: Option<Value>, budget: &mut Budget) -> Result<Value, String> {
        Ok(match self.name {
            "all" => Value::Bool(self.count == size),
            "any" => Value::Bool(self.count > 0),
            "none" => Value::Bool(self.count == 0),
            "one" => Value::Bool(self.count == 1),
            "count" => Value::Int(self.count as i64),
            "sum" | "reduce" => self.sum,
            "find" | "findLast" => self.found.map_or(Value::Nil, |(_, value)| value),
            "findIndex" | "findLastIndex" => self
                .found
                .map_or(Value::Nil, |(at, _)| Value::Int(at as i64)),
            "sortBy" => {
                let down = library::descends(&third.unwrap_or(Value::Nil))?;
                return library::sorted(self.keyed, down, budget);
            }
            "groupBy" => {
                let mut groups: BTreeMap<_, Vec<Value>> = BTreeMap::new();
                for (key, value) in self.keyed {
                    let name = key.type_name();
                    let key = key.key();
                    let key = key
                        .ok_or_else(|| format!("runtime error: hash of unhashable type {name}"))?;
                    budget.spend(key.weight())?;
                    groups.entry(key).or_default().push(value);
                }
                let mut entries = BTreeMap::new();
                for (key, group) in groups {
                    entries.insert(key, budget.array(group)?);
                }
                return budget.map(entries, false);
            }
            _ => {
                budget.count(self.kept.len())?;
                return budget.array(self.kept);
            }
        })
    }
}
