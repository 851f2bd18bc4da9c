//! Types of a formula before it runs: what can never work is refused when the
//! object is written, not when the load comes.

use super::builtins;
use super::regex;
use super::tree::{Node, What};
use super::types::{Type, number_of};
use super::value::Budget;
use super::{Fault, methods};

/// Checks a tree in an environment of floats with these names.
pub(super) fn check(root: &Node, names: &[String]) -> Result<Type, Fault> {
    let mut checker = Checker {
        names,
        variables: Vec::new(),
        collections: Vec::new(),
        budget: Budget::default(),
        first: None,
    };
    let found = checker.visit(root);
    match checker.first {
        Some(fault) => Err(fault),
        None => match folded(root) {
            Err(fault) => Err(fault),
            Ok(_) => Ok(found),
        },
    }
}

struct Checker<'a> {
    names: &'a [String],
    variables: Vec<(String, Type)>,
    /// Collections that predicates around the present place look at, and
    /// whether `#acc` and `#index` are there.
    collections: Vec<(Type, bool)>,
    /// For what is compiled here.
    budget: Budget,
    /// The first mistake, which is the one that is told.
    first: Option<Fault>,
}

impl Checker<'_> {
    fn fail(&mut self, at: usize, text: String) -> Type {
        self.first.get_or_insert(Fault { text, at: Some(at) });
        Type::Any
    }

    fn name(&mut self, at: usize, name: &str, builtins_too: bool) -> Type {
        if self.names.iter().any(|known| known == name) {
            return Type::Float;
        }
        if builtins_too && builtins::is_builtin(name) {
            return Type::Function(None);
        }
        self.fail(at, format!("unknown name {name}"))
    }

    fn visit(&mut self, node: &Node) -> Type {
        match &node.what {
            What::Nil => Type::Nil,
            What::Bool(_) => Type::Bool,
            What::Int(_) => Type::Int,
            What::Float(_) => Type::Float,
            What::Text(_) => Type::Text,
            What::Name(name) => {
                let variable = self.variables.iter().rev().find(|(known, _)| known == name);
                match variable {
                    Some((_, found)) => found.clone(),
                    None if name == "$env" => Type::Env,
                    None => self.name(node.at, name, true),
                }
            }
            What::Pointer(name) => self.pointer(node.at, name),
            What::Unary(operator, inner) => self.unary(node.at, operator, inner),
            What::Binary(operator, left, right) => self.binary(node.at, operator, left, right),
            What::Choice(condition, yes, no) => {
                let found = self.visit(condition);
                if !matches!(found, Type::Bool | Type::Any) {
                    let text = format!("non-bool expression (type {found}) used as condition");
                    self.fail(condition.at, text);
                }
                match (self.visit(yes), self.visit(no)) {
                    (Type::Nil, Type::Nil) => Type::Nil,
                    (Type::Nil, other) | (other, Type::Nil) => other,
                    (yes, no) if yes.fits(&no) => yes,
                    _ => Type::Any,
                }
            }
            What::Member {
                of,
                key,
                optional,
                method,
            } => self.member(node.at, of, key, *optional, *method),
            What::Slice(of, from, to) => {
                let found = self.visit(of);
                if !matches!(found, Type::Any | Type::Text | Type::Array(_)) {
                    return self.fail(node.at, format!("cannot slice {found}"));
                }
                for end in [from, to].into_iter().flatten() {
                    let kind = self.visit(end);
                    if !matches!(kind, Type::Any | Type::Int) {
                        self.fail(end.at, format!("non-integer slice index {kind}"));
                    }
                }
                found
            }
            What::Chain(inner) | What::Predicate(inner) => self.visit(inner),
            What::Call(callee, arguments) => self.call(node.at, callee, arguments),
            What::Builtin(name, arguments) => self.builtin(node.at, name, arguments),
            What::Array(nodes) => {
                let found: Vec<Type> = nodes.iter().map(|node| self.visit(node)).collect();
                match found.first() {
                    Some(first) if found.iter().all(|other| other.same_kind(first)) => {
                        Type::array(found.last().cloned().unwrap_or(Type::Any))
                    }
                    _ => Type::array(Type::Any),
                }
            }
            What::Map(pairs) => {
                for (key, value) in pairs {
                    self.visit(key);
                    self.visit(value);
                }
                Type::Map
            }
            What::Let(name, value, rest) => {
                let known = |list: &[String]| list.iter().any(|known| known == name);
                let declared = self.variables.iter().any(|(known, _)| known == name);
                let what = if known(self.names) {
                    ""
                } else if builtins::is_builtin(name) {
                    "builtin "
                } else if declared {
                    "variable "
                } else {
                    let found = self.visit(value);
                    self.variables.push((name.clone(), found));
                    let found = self.visit(rest);
                    self.variables.pop();
                    return found;
                };
                self.fail(node.at, format!("cannot redeclare {what}{name}"))
            }
            What::Sequence(nodes) => nodes
                .iter()
                .map(|node| self.visit(node))
                .last()
                .unwrap_or(Type::Any),
        }
    }

    fn pointer(&mut self, at: usize, name: &str) -> Type {
        let Some((collection, folding)) = self.collections.last().cloned() else {
            return self.fail(
                at,
                "cannot use pointer accessor outside predicate".to_owned(),
            );
        };
        match name {
            "" => match collection {
                Type::Any => Type::Any,
                Type::Array(element) => *element,
                other => self.fail(at, format!("cannot use {other} as array")),
            },
            "acc" if folding => Type::Any,
            "index" if folding => Type::Int,
            _ => self.fail(at, format!("unknown pointer #{name}")),
        }
    }

    fn unary(&mut self, at: usize, operator: &str, inner: &Node) -> Type {
        let found = self.visit(inner);
        let fits = match operator {
            "!" | "not" => matches!(found, Type::Bool | Type::Any),
            _ => matches!(found, Type::Int | Type::Float | Type::Any),
        };
        if fits {
            return found;
        }
        let text = format!("invalid operation: {operator} (mismatched type {found})");
        self.fail(at, text)
    }

    fn binary(&mut self, at: usize, operator: &str, left: &Node, right: &Node) -> Type {
        use Type::{Any, Bool, Duration, Float, Int, Nil, Text, Time};
        let l = self.visit(left);
        let r = self.visit(right);
        // One side of unknown type, and the other, if known, one of these.
        let or = |kinds: &[Type]| match (&l, &r) {
            (Any, Any) => true,
            (Any, other) | (other, Any) => kinds.contains(other),
            _ => false,
        };
        let numbers = number_of(&l, &r);
        let found = match operator {
            "==" | "!=" if l.comparable(&r) => Some(Bool),
            "or" | "||" | "and" | "&&" if (l == Bool && r == Bool) || or(&[Bool]) => Some(Bool),
            "<" | ">" | ">=" | "<=" => {
                let same = l == r && matches!(l, Text | Time | Duration);
                let known = numbers.is_some() || same;
                (known || or(&[Int, Float, Text, Time, Duration])).then_some(Bool)
            }
            "-" => match (&l, &r) {
                (Time, Time) | (Duration, Duration) => Some(Duration),
                (Time, Duration) => Some(Time),
                _ => numbers.or_else(|| or(&[Int, Float, Time, Duration]).then_some(Any)),
            },
            "+" => match (&l, &r) {
                (Text, Text) => Some(Text),
                (Time, Duration) | (Duration, Time) => Some(Time),
                (Duration, Duration) => Some(Duration),
                _ => numbers.or_else(|| or(&[Int, Float, Text, Time, Duration]).then_some(Any)),
            },
            "*" => numbers.or_else(|| or(&[Int, Float, Duration]).then_some(Any)),
            "/" | "**" | "^" => (numbers.is_some() || or(&[Int, Float])).then_some(Float),
            "%" => ((l == Int && r == Int) || or(&[Int])).then_some(Int),
            "in" => match (&l, &r) {
                (l, Type::Array(element)) => {
                    if !l.comparable(element) {
                        let text = format!("cannot use {l} as type {element} in array");
                        return self.fail(at, text);
                    }
                    Some(Bool)
                }
                (Any | Text, Type::Map | Type::Env) | (_, Type::Table) | (_, Any) | (Any, Text) => {
                    Some(Bool)
                }
                (l, Type::Map | Type::Env) => {
                    let text = format!("cannot use {l} as type string in map key");
                    return self.fail(at, text);
                }
                _ => None,
            },
            "matches" => {
                if let What::Text(text) = &right.what
                    && let Err(error) = regex::compiled(text, &mut self.budget)
                {
                    return self.fail(at, error);
                }
                ((l == Text && r == Text) || or(&[Text])).then_some(Bool)
            }
            "contains" | "startsWith" | "endsWith" => {
                ((l == Text && r == Text) || or(&[Text])).then_some(Bool)
            }
            ".." => ((l == Int && r == Int) || or(&[Int])).then(|| Type::array(Int)),
            "??" => Some(match (&l, &r) {
                (Nil, other) | (other, Nil) => other.clone(),
                (l, r) if r.fits(l) => r.clone(),
                _ => Any,
            }),
            _ => None,
        };
        found.unwrap_or_else(|| {
            let text = format!("invalid operation: {operator} (mismatched types {l} and {r})");
            self.fail(at, text)
        })
    }

    fn member(&mut self, at: usize, of: &Node, key: &Node, optional: bool, method: bool) -> Type {
        if let (What::Name(name), What::Text(field)) = (&of.what, &key.what)
            && name == "$env"
            && !self.variables.iter().any(|(known, _)| known == name)
        {
            if optional && !self.names.contains(field) {
                return Type::Any;
            }
            return self.name(at, field, false);
        }
        let base = self.visit(of);
        let kind = self.visit(key);
        let field = match &key.what {
            What::Text(text) => Some(text),
            _ => None,
        };
        if let (Type::Time | Type::Duration, Some(field)) = (&base, field)
            && let Some(result) = methods::returns(&base, field)
        {
            return Type::Function(Some(Box::new(result)));
        }
        match (&base, field) {
            (Type::Any, _) => Type::Any,
            (Type::Nil, Some(field)) => self.fail(at, format!("type nil has no field {field}")),
            (Type::Map | Type::Env, _) => {
                if !matches!(kind, Type::Text | Type::Any) {
                    let text = format!("cannot use {kind} to get an element from {base}");
                    return self.fail(key.at, text);
                }
                if base == Type::Env {
                    Type::Float
                } else {
                    Type::Any
                }
            }
            (Type::Table, _) => Type::array(Type::Any),
            (Type::Array(element), _) => {
                if !matches!(kind, Type::Int | Type::Any) {
                    let text = format!(
                        "array elements can only be selected using an integer (got {kind})"
                    );
                    return self.fail(key.at, text);
                }
                (**element).clone()
            }
            (_, Some(field)) if method => {
                self.fail(at, format!("type {base} has no method {field}"))
            }
            (_, Some(field)) => self.fail(at, format!("type {base} has no field {field}")),
            (_, None) => self.fail(at, format!("type {base}[{kind}] is undefined")),
        }
    }

    fn call(&mut self, at: usize, callee: &Node, arguments: &[Node]) -> Type {
        let found = self.visit(callee);
        for argument in arguments {
            self.visit(argument);
        }
        let name = match &callee.what {
            What::Member { key, .. } => match &key.what {
                What::Text(name) => name,
                _ => "",
            },
            _ => "",
        };
        match found {
            Type::Any => Type::Any,
            Type::Function(Some(_)) if !name.is_empty() && !arguments.is_empty() => {
                self.fail(at, format!("too many arguments to call {name}"))
            }
            Type::Function(Some(result)) if !name.is_empty() => *result,
            found => self.fail(at, format!("{found} is not callable")),
        }
    }

    fn builtin(&mut self, at: usize, name: &str, arguments: &[Node]) -> Type {
        if !builtins::takes_predicate(name) {
            let kinds: Vec<Type> = arguments.iter().map(|node| self.visit(node)).collect();
            return match builtins::returns(name, &kinds) {
                Ok(found) => found,
                Err((argument, text)) => {
                    let at = argument
                        .and_then(|n| arguments.get(n))
                        .map_or(at, |node| node.at);
                    self.fail(at, text)
                }
            };
        }
        let Some(first) = arguments.first() else {
            return self.fail(at, format!("not enough arguments to call {name}"));
        };
        let collection = self.visit(first);
        if !matches!(collection, Type::Array(_) | Type::Any) {
            let text = format!("builtin {name} takes only array (got {collection})");
            return self.fail(first.at, text);
        }
        let element = match &collection {
            Type::Array(element) => (**element).clone(),
            _ => Type::Any,
        };
        let predicate = arguments.get(1).map(|node| {
            self.collections
                .push((collection.clone(), name == "reduce"));
            let found = self.visit(node);
            self.collections.pop();
            (node.at, found)
        });
        if let Some(third) = arguments.get(2) {
            self.visit(third);
        }
        let tests = !matches!(name, "map" | "sum" | "groupBy" | "sortBy" | "reduce");
        if tests
            && let Some((at, found)) = &predicate
            && !matches!(found, Type::Bool | Type::Any)
        {
            let text = format!("predicate should return boolean (got {found})");
            return self.fail(*at, text);
        }
        let result = predicate.map_or(Type::Any, |(_, found)| match found {
            Type::Nil => Type::Any,
            found => found,
        });
        match name {
            "all" | "none" | "any" | "one" => Type::Bool,
            "count" | "findIndex" | "findLastIndex" => Type::Int,
            "filter" => Type::array(element),
            "map" => Type::array(result),
            "sum" if arguments.len() == 2 => result,
            "reduce" => result,
            "groupBy" => Type::Table,
            "sortBy" => collection,
            _ => element,
        }
    }
}

/// The whole number a tree of literals comes to. A remainder by zero among
/// literals is found before the formula runs.
fn folded(node: &Node) -> Result<Option<i64>, Fault> {
    Ok(match &node.what {
        What::Int(n) => Some(*n),
        What::Unary(operator, inner) => {
            let inner = folded(inner)?;
            match operator.as_str() {
                "-" => inner.map(i64::wrapping_neg),
                "+" => inner,
                _ => None,
            }
        }
        What::Binary(operator, left, right) => {
            let both = (folded(left)?, folded(right)?);
            let (Some(left), Some(right)) = both else {
                return Ok(None);
            };
            match operator.as_str() {
                "+" => Some(left.wrapping_add(right)),
                "-" => Some(left.wrapping_sub(right)),
                "*" => Some(left.wrapping_mul(right)),
                "%" if right == 0 => {
                    return Err(Fault {
                        text: "integer divide by zero".to_owned(),
                        at: Some(node.at),
                    });
                }
                "%" => Some(left.wrapping_rem(right)),
                _ => None,
            }
        }
        _ => {
            for child in node.children() {
                folded(child)?;
            }
            None
        }
    })
}
