//! The value of an [`Expr`].

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::functions;
use super::parse::{Expr, Macro, Op};

/// Steps of one rule.
const BUDGET: u32 = 200_000;

/// Why there is no value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fault {
    /// CEL says that it is an error.
    Error(String),
    /// This evaluator does not know what CEL says.
    Beyond,
}

impl Fault {
    pub(super) fn overload() -> Self {
        Self::Error("no such overload".to_owned())
    }
}

pub(super) type Result<'a> = std::result::Result<Cow<'a, Value>, Fault>;

pub(super) fn evaluate(
    expression: &Expr,
    this: &Value,
    old: Option<&Value>,
) -> std::result::Result<Value, Fault> {
    let mut names = vec![("self", Cow::Borrowed(this))];
    names.extend(old.map(|old| ("oldSelf", Cow::Borrowed(old))));
    let mut scope = Scope {
        names,
        left: BUDGET,
    };
    scope.value(expression).map(Cow::into_owned)
}

struct Scope<'a> {
    names: Vec<(&'a str, Cow<'a, Value>)>,
    left: u32,
}

impl<'a> Scope<'a> {
    fn value(&mut self, expression: &'a Expr) -> Result<'a> {
        self.left = self.left.checked_sub(1).ok_or_else(|| {
            Fault::Error("operation cancelled: actual cost limit exceeded".into())
        })?;
        Ok(match expression {
            Expr::Literal(value) => Cow::Borrowed(value),
            Expr::Name(name) => {
                let found = self.names.iter().rev().find(|(n, _)| n == name);
                found.map(|(_, value)| value.clone()).ok_or(Fault::Beyond)?
            }
            Expr::Field(of, name) => {
                let of = self.value(of)?;
                if !of.is_object() {
                    return Err(Fault::overload());
                }
                let missing = || Fault::Error(format!("no such key: {name}"));
                inside(of, |v| v.get(name)).ok_or_else(missing)?
            }
            Expr::Has(of, name) => {
                let of = self.value(of)?;
                let map = of.as_object().ok_or_else(Fault::overload)?;
                owned(map.contains_key(name))
            }
            Expr::Index(of, index) => {
                let (of, index) = (self.value(of)?, self.value(index)?);
                self.index(of, &index)?
            }
            Expr::Call(name, arguments) => {
                let arguments: Vec<Cow<'a, Value>> = arguments
                    .iter()
                    .map(|a| self.value(a))
                    .collect::<std::result::Result<_, _>>()?;
                let plain: Vec<&Value> = arguments.iter().map(|a| &**a).collect();
                Cow::Owned(functions::call(name, &plain)?)
            }
            Expr::List(items) => {
                let items: Vec<Value> = items
                    .iter()
                    .map(|i| self.value(i).map(Cow::into_owned))
                    .collect::<std::result::Result<_, _>>()?;
                Cow::Owned(items.into())
            }
            Expr::Map(entries) => {
                let mut map = Map::new();
                for (key, value) in entries {
                    // Keys of other types are rare and have no place in JSON.
                    let key = self.value(key)?;
                    let key = key.as_str().ok_or(Fault::Beyond)?.to_owned();
                    map.insert(key, self.value(value)?.into_owned());
                }
                Cow::Owned(Value::Object(map))
            }
            Expr::Each(each, over, name, body) => self.each(*each, over, name, body)?,
            Expr::Not(inner) => owned(!self.truth(inner)?),
            Expr::Negate(inner) => match &*self.value(inner)? {
                Value::Number(n) => match (n.as_i64(), n.as_f64()) {
                    (Some(n), _) => owned(n.checked_neg().ok_or_else(overflow)?),
                    (None, Some(n)) => owned(-n),
                    (None, None) => return Err(Fault::overload()),
                },
                _ => return Err(Fault::overload()),
            },
            Expr::And(left, right) => owned(self.both(left, right, false)?),
            Expr::Or(left, right) => owned(self.both(left, right, true)?),
            Expr::Binary(op, left, right) => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                binary(*op, &left, &right)?
            }
            Expr::If(condition, then, other) => {
                let chosen = if self.truth(condition)? { then } else { other };
                self.value(chosen)?
            }
        })
    }

    fn truth(&mut self, expression: &'a Expr) -> std::result::Result<bool, Fault> {
        self.value(expression)?
            .as_bool()
            .ok_or_else(Fault::overload)
    }

    /// And, or: one side that decides makes the other's error not matter,
    /// whichever side it is.
    fn both(
        &mut self,
        left: &'a Expr,
        right: &'a Expr,
        decides: bool,
    ) -> std::result::Result<bool, Fault> {
        let left = self.truth(left);
        if left == Ok(decides) || left == Err(Fault::Beyond) {
            return left;
        }
        match self.truth(right) {
            Ok(right) if right == decides => Ok(decides),
            Err(Fault::Beyond) => Err(Fault::Beyond),
            right => left.and(right),
        }
    }

    fn index(&self, of: Cow<'a, Value>, index: &Value) -> Result<'a> {
        match (&*of, index) {
            (Value::Array(items), Value::Number(n)) => {
                let at = n.as_u64().map(|n| n as usize).filter(|n| *n < items.len());
                let out = || Fault::Error(format!("index out of bounds: {n}"));
                let at = at.ok_or_else(out)?;
                inside(of, |v| v.get(at)).ok_or(Fault::Beyond)
            }
            (Value::Object(_), Value::String(key)) => {
                let missing = || Fault::Error(format!("no such key: {key}"));
                inside(of, |v| v.get(key)).ok_or_else(missing)
            }
            _ => Err(Fault::overload()),
        }
    }

    fn each(&mut self, each: Macro, over: &'a Expr, name: &'a str, body: &'a Expr) -> Result<'a> {
        let over = self.value(over)?.into_owned();
        let items: Vec<Value> = match over {
            Value::Array(items) => items,
            Value::Object(map) => map.into_iter().map(|(key, _)| key.into()).collect(),
            _ => return Err(Fault::overload()),
        };
        let mut kept = Vec::new();
        let mut fault = None;
        for item in items {
            self.names.push((name, Cow::Owned(item)));
            let result = self.value(body).map(Cow::into_owned);
            let item = self.names.pop().map(|(_, item)| item.into_owned());
            match (each, result) {
                (Macro::Map, Ok(value)) => kept.push(value),
                (Macro::All, Ok(Value::Bool(false))) => return Ok(owned(false)),
                (Macro::Exists, Ok(Value::Bool(true))) => return Ok(owned(true)),
                (Macro::Filter | Macro::ExistsOne, Ok(Value::Bool(true))) => kept.extend(item),
                (_, Ok(Value::Bool(_))) => {}
                (_, Ok(_)) => return Err(Fault::overload()),
                // As with and, or: an item that decides makes up for it.
                (Macro::All | Macro::Exists, Err(Fault::Error(text))) if self.left > 0 => {
                    fault.get_or_insert(Fault::Error(text));
                }
                (_, Err(other)) => return Err(other),
            }
        }
        match (each, fault) {
            (_, Some(fault)) => Err(fault),
            (Macro::All, None) => Ok(owned(true)),
            (Macro::Exists, None) => Ok(owned(false)),
            (Macro::ExistsOne, None) => Ok(owned(kept.len() == 1)),
            (Macro::Map | Macro::Filter, None) => Ok(Cow::Owned(kept.into())),
        }
    }
}

fn owned<'a>(value: impl Into<Value>) -> Cow<'a, Value> {
    Cow::Owned(value.into())
}

/// A part of a value, without copying the rest.
fn inside<'a>(
    of: Cow<'a, Value>,
    part: impl Fn(&Value) -> Option<&Value>,
) -> Option<Cow<'a, Value>> {
    match of {
        Cow::Borrowed(of) => part(of).map(Cow::Borrowed),
        Cow::Owned(of) => part(&of).cloned().map(Cow::Owned),
    }
}

fn overflow() -> Fault {
    Fault::Error("integer overflow".to_owned())
}

fn binary<'a>(op: Op, left: &Value, right: &Value) -> Result<'a> {
    Ok(match op {
        Op::Equal => owned(equal(left, right)),
        Op::NotEqual => owned(!equal(left, right)),
        Op::In => match right {
            Value::Array(items) => owned(items.iter().any(|i| equal(i, left))),
            Value::Object(map) => owned(left.as_str().is_some_and(|key| map.contains_key(key))),
            _ => return Err(Fault::overload()),
        },
        Op::Less | Op::LessEqual | Op::Greater | Op::GreaterEqual => {
            let order = compare(left, right)?;
            owned(match op {
                Op::Less => order == Ordering::Less,
                Op::LessEqual => order != Ordering::Greater,
                Op::Greater => order == Ordering::Greater,
                _ => order != Ordering::Less,
            })
        }
        Op::Add | Op::Subtract | Op::Multiply | Op::Divide | Op::Remainder => {
            Cow::Owned(arithmetic(op, left, right)?)
        }
    })
}

fn arithmetic(op: Op, left: &Value, right: &Value) -> std::result::Result<Value, Fault> {
    match (op, left, right) {
        (Op::Add, Value::String(a), Value::String(b)) => return Ok(format!("{a}{b}").into()),
        (Op::Add, Value::Array(a), Value::Array(b)) => {
            return Ok([a.clone(), b.clone()].concat().into());
        }
        _ => {}
    }
    if let (Some(a), Some(b)) = (left.as_i64(), right.as_i64()) {
        let zero = |text: &str| Fault::Error(text.to_owned());
        return match op {
            Op::Add => a.checked_add(b),
            Op::Subtract => a.checked_sub(b),
            Op::Multiply => a.checked_mul(b),
            Op::Divide if b == 0 => return Err(zero("division by zero")),
            Op::Divide => a.checked_div(b),
            _ if b == 0 => return Err(zero("modulus by zero")),
            _ => a.checked_rem(b),
        }
        .map(Value::from)
        .ok_or_else(overflow);
    }
    let (Some(a), Some(b)) = (left.as_f64(), right.as_f64()) else {
        return Err(Fault::overload());
    };
    match op {
        Op::Add => Ok((a + b).into()),
        Op::Subtract => Ok((a - b).into()),
        Op::Multiply => Ok((a * b).into()),
        Op::Divide => Ok((a / b).into()),
        _ => Err(Fault::overload()),
    }
}

/// Numbers are equal by value, whatever their type; so are those in lists.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        (Value::Array(x), Value::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(a, b)| equal(a, b))
        }
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len()
                && x.iter()
                    .all(|(key, a)| y.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}

pub(super) fn compare(a: &Value, b: &Value) -> std::result::Result<Ordering, Fault> {
    let order = match (a, b) {
        (Value::String(x), Value::String(y)) => Some(x.cmp(y)),
        (Value::Bool(x), Value::Bool(y)) => Some(x.cmp(y)),
        (Value::Number(x), Value::Number(y)) => match (x.as_i64(), y.as_i64()) {
            (Some(x), Some(y)) => Some(x.cmp(&y)),
            _ => x
                .as_f64()
                .zip(y.as_f64())
                .and_then(|(x, y)| x.partial_cmp(&y)),
        },
        _ => None,
    };
    order.ok_or_else(Fault::overload)
}
