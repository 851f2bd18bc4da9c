//! Type rules of the language.

use super::SyntaxError;
use super::ast::{AggOp, BinOp, Cardinality, Edges, Expr, Kind, Matching, ValueType};

const ANCHORED: [&str; 5] = ["changes", "delta", "increase", "rate", "resets"];
const SMOOTHED: [&str; 3] = ["delta", "increase", "rate"];

/// Fills in what follows from the operator.
pub(super) fn complete(op: BinOp, mut m: Matching) -> Matching {
    if op.is_set() && m.card == Cardinality::OneToOne {
        m.card = Cardinality::ManyToMany;
    }
    m
}

fn expect(e: &Expr, want: ValueType, context: &str) -> Result<(), SyntaxError> {
    if e.value_type() == want {
        return Ok(());
    }
    let got = e.value_type().describe();
    let message = format!("expected type {} in {context}, got {got}", want.describe());
    Err(SyntaxError::at(e.start, message))
}

/// Checks one node whose children have been checked.
pub(super) fn check(e: &Expr, any_selector: bool) -> Result<(), SyntaxError> {
    let fail = |message: String| Err(SyntaxError::at(e.start, message));
    match &e.kind {
        Kind::Number(_) | Kind::Text(_) | Kind::Paren(_) => Ok(()),
        Kind::Selector(s) => {
            if !any_selector && s.matchers.iter().all(|m| m.matches("")) {
                return fail("vector selector must contain at least one non-empty matcher".into());
            }
            Ok(())
        }
        Kind::Subquery { expr, .. } => match expr.value_type() {
            ValueType::Vector => Ok(()),
            other => fail(format!(
                "subquery is only allowed on instant vector, got {} instead",
                other.describe()
            )),
        },
        Kind::Unary { expr, .. } => match expr.value_type() {
            ValueType::Scalar | ValueType::Vector => Ok(()),
            other => fail(format!(
                "unary expression only allowed on expressions of type scalar or instant vector, \
                 got {:?}",
                other.describe()
            )),
        },
        Kind::Call { func, args } => {
            let n = args.len();
            if n < func.min || n > func.max {
                let (word, want) = if func.min == func.max {
                    ("", func.min)
                } else if n < func.min {
                    ("at least ", func.min)
                } else {
                    ("at most ", func.max)
                };
                return fail(format!(
                    "expected {word}{want} argument(s) in call to {:?}, got {n}",
                    func.name
                ));
            }
            for (i, a) in args.iter().enumerate() {
                let Some(want) = func.args.get(i).or(func.args.last()) else {
                    continue;
                };
                if func.name == "info" && i == 1 {
                    let plain = matches!(&a.kind, Kind::Selector(s) if s.range.is_none());
                    if !plain {
                        return fail(
                            "expected label selectors only in second argument of info".into(),
                        );
                    }
                    continue;
                }
                expect(a, *want, &format!("call to function {:?}", func.name))?;
                check_edges(func.name, a)?;
            }
            Ok(())
        }
        Kind::Aggregate {
            op, param, expr, ..
        } => {
            expect(expr, ValueType::Vector, "aggregation expression")?;
            if let Some(p) = param {
                let want = if *op == AggOp::CountValues {
                    ValueType::String
                } else {
                    ValueType::Scalar
                };
                expect(p, want, "aggregation parameter")?;
            }
            Ok(())
        }
        Kind::Binary {
            op,
            return_bool,
            matching,
            lhs,
            rhs,
        } => check_binary(e, *op, *return_bool, matching, lhs, rhs),
    }
}

fn check_edges(func: &str, arg: &Expr) -> Result<(), SyntaxError> {
    let Kind::Selector(s) = &arg.inner().kind else {
        return Ok(());
    };
    let (word, allowed): (&str, &[&str]) = match s.edges {
        Edges::Anchored => ("anchored", &ANCHORED),
        Edges::Smoothed if s.range.is_some() => ("smoothed", &SMOOTHED),
        _ => return Ok(()),
    };
    if allowed.contains(&func) {
        return Ok(());
    }
    let message = format!(
        "{word} modifier can only be used with: {} - not with {func}",
        allowed.join(", ")
    );
    Err(SyntaxError::at(arg.start, message))
}

fn check_binary(
    e: &Expr,
    op: BinOp,
    return_bool: bool,
    m: &Matching,
    lhs: &Expr,
    rhs: &Expr,
) -> Result<(), SyntaxError> {
    let fail = |message: String| Err(SyntaxError::at(e.start, message));
    let (l, r) = (lhs.value_type(), rhs.value_type());
    for side in [lhs, rhs] {
        if !matches!(side.value_type(), ValueType::Scalar | ValueType::Vector) {
            return Err(SyntaxError::at(
                side.start,
                "binary expression must contain only scalar and instant vector types".into(),
            ));
        }
    }
    let scalars = l == ValueType::Scalar && r == ValueType::Scalar;
    if op.is_comparison() && !return_bool && scalars {
        return fail("comparisons between scalars must use BOOL modifier".into());
    }
    if op.is_set() && m.card != Cardinality::ManyToMany {
        return fail(format!("no grouping allowed for {:?} operation", op.text()));
    }
    if op.is_set() && (m.fill_left.is_some() || m.fill_right.is_some()) {
        return fail(format!("filling not allowed for {:?} operation", op.text()));
    }
    if m.on
        && let Some(l) = m.labels.iter().find(|l| m.include.contains(l))
    {
        return fail(format!(
            "label {l:?} must not occur in ON and GROUP clause at once"
        ));
    }
    if l != ValueType::Vector || r != ValueType::Vector {
        if op.is_set() {
            return fail(format!(
                "set operator {:?} not allowed in binary scalar expression",
                op.text()
            ));
        }
        if m.explicit {
            return fail("vector matching only allowed between instant vectors".into());
        }
        if m.fill_left.is_some() || m.fill_right.is_some() {
            return fail("filling in missing series only allowed between instant vectors".into());
        }
    }
    Ok(())
}
