//! Makes a case that differs small enough to read.

use promql::parser::ast::{Expr, Kind};

use super::queries::Query;
use super::series::Data;

/// A query over series.
#[derive(Clone)]
pub struct Case {
    pub data: Data,
    pub query: Query,
}

/// Most tries: each asks both engines.
const TRIES: usize = 600;

/// The smallest case found for which `differs` still holds.
pub fn shrink(mut case: Case, differs: &mut dyn FnMut(&Case) -> bool) -> Case {
    let mut left = TRIES;
    let mut found = true;
    while found && left > 0 {
        found = false;
        for smaller in smaller(&case) {
            left = left.saturating_sub(1);
            if left == 0 {
                break;
            }
            if differs(&smaller) {
                case = smaller;
                found = true;
                break;
            }
        }
    }
    case
}

/// Cases one cut smaller, the deepest cuts first.
fn smaller(case: &Case) -> Vec<Case> {
    let mut out = Vec::new();
    let q = &case.query;
    for text in shorter(&q.text) {
        out.push(Case {
            data: case.data.clone(),
            query: Query { text, ..q.clone() },
        });
    }
    if q.step > 0 {
        let mut t = q.start;
        while t <= q.end {
            let query = Query {
                start: t,
                end: t,
                step: 0,
                ..q.clone()
            };
            out.push(Case {
                data: case.data.clone(),
                query,
            });
            t += q.step;
        }
        if q.start + q.step <= q.end {
            for (start, end) in [(q.start + q.step, q.end), (q.start, q.end - q.step)] {
                let query = Query {
                    start,
                    end,
                    ..q.clone()
                };
                out.push(Case {
                    data: case.data.clone(),
                    query,
                });
            }
        }
    }
    for i in 0..case.data.len() {
        let mut data = case.data.clone();
        data.remove(i);
        out.push(Case {
            data,
            query: q.clone(),
        });
    }
    for (i, (_, samples)) in case.data.iter().enumerate() {
        let n = samples.len();
        let mut cut = n / 2;
        while cut > 0 {
            for at in (0..n).step_by(cut) {
                let mut data = case.data.clone();
                data[i].1.drain(at..(at + cut).min(n));
                if !data[i].1.is_empty() {
                    out.push(Case {
                        data,
                        query: q.clone(),
                    });
                }
            }
            // Single samples only where few are left: the rest is seen anyway.
            cut = if n <= 24 || cut > 8 { cut / 2 } else { 0 };
        }
    }
    out
}

/// Texts in which one expression is replaced by one of its parts.
fn shorter(text: &str) -> Vec<String> {
    let Ok(tree) = promql::parser::parse(text) else {
        return Vec::new();
    };
    let mut out = Vec::new();
    walk(&tree, &mut |e| {
        for part in parts(e) {
            let (head, tail) = (&text[..e.start], &text[e.end..]);
            out.push(format!("{head}{}{tail}", &text[part.start..part.end]));
        }
    });
    out.sort_by_key(String::len);
    out
}

fn walk(e: &Expr, see: &mut dyn FnMut(&Expr)) {
    see(e);
    for part in parts(e) {
        walk(part, see);
    }
}

fn parts(e: &Expr) -> Vec<&Expr> {
    match &e.kind {
        Kind::Number(_) | Kind::Text(_) | Kind::Selector(_) => Vec::new(),
        Kind::Subquery { expr, .. } | Kind::Unary { expr, .. } | Kind::Paren(expr) => vec![expr],
        Kind::Binary { lhs, rhs, .. } => vec![lhs, rhs],
        Kind::Call { args, .. } => args.iter().collect(),
        Kind::Aggregate { param, expr, .. } => {
            param.iter().map(|p| &**p).chain([&**expr]).collect()
        }
    }
}
