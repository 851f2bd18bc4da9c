//! Functions of the language: which there are, what they take and return.
//! [`super::library`] runs them.

use super::types::Type;

/// Every function, sorted.
#[rustfmt::skip]
const NAMES: &[&str] = &[
    "abs", "all", "any", "bitand", "bitnand", "bitnot", "bitor", "bitshl", "bitshr", "bitushr",
    "bitxor", "ceil", "concat", "count", "date", "duration", "filter", "find", "findIndex",
    "findLast", "findLastIndex", "first", "flatten", "float", "floor", "fromBase64", "fromJSON",
    "fromPairs", "get", "groupBy", "hasPrefix", "hasSuffix", "indexOf", "int", "join", "keys",
    "last", "lastIndexOf", "len", "lower", "map", "max", "mean", "median", "min", "none", "now",
    "one", "reduce", "repeat", "replace", "reverse", "round", "sort", "sortBy", "split",
    "splitAfter", "string", "sum", "take", "timezone", "toBase64", "toJSON", "toPairs", "trim",
    "trimPrefix", "trimSuffix", "type", "uniq", "upper", "values",
];

pub(super) fn is_builtin(name: &str) -> bool {
    NAMES.binary_search(&name).is_ok()
}

/// One argument of a builtin with a predicate.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Argument {
    Expression,
    Predicate,
    OptionalExpression,
    OptionalPredicate,
}

/// What a builtin that looks at the elements of a collection one by one takes;
/// nothing of the others.
pub(super) fn predicate_arguments(name: &str) -> Option<&'static [Argument]> {
    use Argument::{Expression, OptionalExpression, OptionalPredicate, Predicate};
    Some(match name {
        "all" | "none" | "any" | "one" | "filter" | "map" | "find" | "findIndex" | "findLast"
        | "findLastIndex" | "groupBy" => &[Expression, Predicate],
        "count" | "sum" => &[Expression, OptionalPredicate],
        "sortBy" | "reduce" => &[Expression, Predicate, OptionalExpression],
        _ => return None,
    })
}

/// Whether it looks at the elements of a collection one by one.
pub(super) fn takes_predicate(name: &str) -> bool {
    predicate_arguments(name).is_some()
}

/// A mistake in a call: the argument it is about, where it is about one.
type Wrong = (Option<usize>, String);

/// Lists of parameters that a function accepts, and what it returns.
fn signatures(name: &str) -> (&'static [&'static [Type]], Type) {
    use Type::{Any, Int, Text};
    match name {
        "type" | "string" | "toJSON" => (&[&[Any]], Text),
        "fromJSON" => (&[&[Text]], Any),
        "upper" | "lower" | "toBase64" | "fromBase64" => (&[&[Text]], Text),
        "trim" | "trimPrefix" | "trimSuffix" => (&[&[Text], &[Text, Text]], Text),
        "split" | "splitAfter" => (&[&[Text, Text], &[Text, Text, Int]], Type::Any),
        "replace" => (&[&[Text, Text, Text], &[Text, Text, Text, Int]], Text),
        "repeat" => (&[&[Text, Int]], Text),
        "join" => (&[&[Any, Text], &[Any]], Text),
        "indexOf" | "lastIndexOf" => (&[&[Text, Text]], Int),
        "hasPrefix" | "hasSuffix" => (&[&[Text, Text]], Type::Bool),
        "now" => (&[&[]], Type::Time),
        "duration" => (&[&[Text]], Type::Duration),
        "date" => (&[&[Text], &[Text, Text], &[Text, Text, Text]], Type::Time),
        "timezone" => (&[&[Text]], Type::Zone),
        "bitnot" => (&[&[Int]], Int),
        _ => (&[&[Int, Int]], Int),
    }
}

/// What a function returns for arguments of these types.
pub(super) fn returns(name: &str, given: &[Type]) -> Result<Type, Wrong> {
    let plain = |text: String| Err((None, text));
    let count = |wanted: usize| {
        if given.len() == wanted {
            return Ok(());
        }
        let text = format!(
            "invalid number of arguments (expected {wanted}, got {})",
            given.len()
        );
        Err((None, text))
    };
    // Go prints a nil type as a formatting mistake.
    let shown = |kind: &Type| match kind {
        Type::Nil => "%!s(<nil>)".to_owned(),
        kind => kind.to_string(),
    };
    let invalid = |kind: &Type| {
        plain(format!(
            "invalid argument for {name} (type {})",
            shown(kind)
        ))
    };
    let open = |kind: &Type| *kind == Type::Any;
    match name {
        "len" => {
            count(1)?;
            match &given[0] {
                Type::Any | Type::Array(_) | Type::Map | Type::Table | Type::Env | Type::Text => {
                    Ok(Type::Int)
                }
                other => invalid(other),
            }
        }
        "abs" | "ceil" | "floor" | "round" => {
            count(1)?;
            match &given[0] {
                kind if kind.is_number() || open(kind) => Ok(if name == "abs" {
                    kind.clone()
                } else {
                    Type::Float
                }),
                other => invalid(other),
            }
        }
        "int" | "float" => {
            count(1)?;
            match &given[0] {
                Type::Any | Type::Int | Type::Float | Type::Text | Type::Env => {
                    Ok(if name == "int" {
                        Type::Int
                    } else {
                        Type::Float
                    })
                }
                other => invalid(other),
            }
        }
        "max" | "min" | "mean" | "median" => {
            if given.is_empty() {
                return plain(format!("not enough arguments to call {name}"));
            }
            for kind in given {
                match kind {
                    Type::Any | Type::Array(_) => return Ok(Type::Any),
                    kind if kind.is_number() => {}
                    other => return invalid(other),
                }
            }
            Ok(given[0].clone())
        }
        "first" | "last" => {
            count(1)?;
            match &given[0] {
                Type::Any | Type::Array(_) => Ok(Type::Any),
                other => plain(format!("cannot get {name} element from {}", shown(other))),
            }
        }
        "get" => {
            count(2)?;
            match (&given[0], &given[1]) {
                (Type::Any, _) => Ok(Type::Any),
                (Type::Array(element), Type::Int | Type::Any) => Ok((**element).clone()),
                (Type::Array(_), other) => {
                    Err((Some(1), format!("non-integer slice index {other}")))
                }
                (Type::Map | Type::Table, _) => Ok(Type::Any),
                (Type::Env, Type::Text | Type::Any) => Ok(Type::Float),
                (base @ Type::Env, other) => Err((
                    Some(1),
                    format!("cannot use {other} to get an element from {base}"),
                )),
                (other, _) => Err((Some(0), format!("type {other} does not support indexing"))),
            }
        }
        "take" => {
            count(2)?;
            match (&given[0], &given[1]) {
                (Type::Any | Type::Array(_), Type::Int | Type::Any) => Ok(Type::array(Type::Any)),
                (Type::Any | Type::Array(_), other) => {
                    plain(format!("cannot take {} elements", shown(other)))
                }
                (other, _) => plain(format!("cannot take from {}", shown(other))),
            }
        }
        "keys" | "values" | "toPairs" => {
            count(1)?;
            match &given[0] {
                Type::Any | Type::Map | Type::Table | Type::Env => Ok(Type::array(Type::Any)),
                other => plain(format!("cannot get {name} from {}", shown(other))),
            }
        }
        "fromPairs" => {
            count(1)?;
            match &given[0] {
                Type::Any | Type::Array(_) => Ok(Type::Map),
                other => plain(format!("invalid argument type {}", shown(other))),
            }
        }
        "reverse" | "uniq" | "flatten" => {
            count(1)?;
            match &given[0] {
                Type::Any | Type::Array(_) => Ok(Type::array(Type::Any)),
                other => plain(format!("cannot {name} {}", shown(other))),
            }
        }
        "concat" => {
            if given.is_empty() {
                return plain(
                    "invalid number of arguments (expected at least 1, got 0)".to_owned(),
                );
            }
            let bad = given
                .iter()
                .find(|kind| !matches!(kind, Type::Any | Type::Array(_)));
            match bad {
                None => Ok(Type::array(Type::Any)),
                Some(other) => plain(format!("cannot concat {}", shown(other))),
            }
        }
        "sort" => {
            if given.is_empty() || given.len() > 2 {
                return plain(format!(
                    "invalid number of arguments (expected 1 or 2, got {})",
                    given.len()
                ));
            }
            match &given[0] {
                Type::Any | Type::Array(_) => Ok(Type::array(Type::Any)),
                other => plain(format!("cannot sort {}", shown(other))),
            }
        }
        _ => by_signature(name, given),
    }
}

fn by_signature(name: &str, given: &[Type]) -> Result<Type, Wrong> {
    let (accepted, result) = signatures(name);
    let mut last = Err((None, format!("no matching overload for {name}")));
    for wanted in accepted {
        if given.len() != wanted.len() {
            let what = if given.len() > wanted.len() {
                "too many arguments"
            } else {
                "not enough arguments"
            };
            last = Err((None, format!("{what} to call {name}")));
            continue;
        }
        let wrong = given.iter().zip(*wanted).position(|(given, wanted)| {
            *wanted != Type::Any && *given != Type::Any && given != wanted
        });
        let Some(at) = wrong else {
            return Ok(match name {
                "split" | "splitAfter" => Type::array(Type::Text),
                _ => result,
            });
        };
        let (kind, wanted) = (&given[at], &wanted[at]);
        let text = if *kind == Type::Nil {
            format!("cannot use nil as argument (type {wanted}) to call {name}")
        } else {
            format!("cannot use {kind} as argument (type {wanted}) to call {name} ")
        };
        last = Err((Some(at), text));
    }
    last
}
