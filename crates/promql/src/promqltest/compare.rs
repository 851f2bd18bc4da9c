//! Whether a result is the expected one.

use super::command::{Eval, Kind};
use crate::eval::{QueryValue, Span};
use crate::labels::Labels;
use crate::number::{SAME_RESULT, almost_equal, format_sample};

fn same(want: f64, got: f64) -> bool {
    almost_equal(want, got, SAME_RESULT)
}

fn differ(labels: &Labels, want: f64, got: f64) -> String {
    format!(
        "{labels}: expected {}, got {}",
        format_sample(want),
        format_sample(got)
    )
}

pub(super) fn is_vector_or_scalar(v: &QueryValue) -> bool {
    matches!(v, QueryValue::Scalar(_) | QueryValue::Vector(_))
}

pub(super) fn check(case: &Eval, got: &QueryValue) -> Result<(), String> {
    match (got, case.kind) {
        (QueryValue::Text(t), _) => match &case.text {
            Some(want) if want == t => Ok(()),
            want => Err(format!("expected {want:?}, got {t:?}")),
        },
        (QueryValue::Scalar(v), _) => match case.scalar {
            Some(want) if same(want, *v) => Ok(()),
            want => Err(format!("expected {want:?}, got {v}")),
        },
        (QueryValue::Vector(v), _) => check_vector(case, v, case.ordered),
        (QueryValue::Matrix(m), Kind::Range(span)) => check_matrix(case, m, span),
        (QueryValue::Matrix(m), Kind::Instant(_)) => match case.times {
            Some(span) => check_matrix(case, m, span),
            None => Err("a range vector was not expected".into()),
        },
    }
}

/// Compares one step of a range query with what an instant case expects.
pub(super) fn check_step(case: &Eval, got: &QueryValue, t: i64) -> Result<(), String> {
    let QueryValue::Matrix(m) = got else {
        return Err("not a matrix".into());
    };
    let at_t: Vec<(Labels, f64)> = m
        .iter()
        .filter_map(|(l, points)| {
            let i = points.binary_search_by_key(&t, |p| p.0).ok()?;
            Some((l.clone(), points[i].1))
        })
        .collect();
    match case.scalar {
        Some(want) => match at_t.as_slice() {
            [(_, v)] if same(want, *v) => Ok(()),
            other => Err(format!("expected {want}, got {other:?}")),
        },
        None => check_vector(case, &at_t, false),
    }
}

fn check_vector(case: &Eval, got: &[(Labels, f64)], ordered: bool) -> Result<(), String> {
    if case.scalar.is_some() || case.text.is_some() {
        return Err("a vector was not expected".into());
    }
    if got.len() != case.series.len() {
        let found: Vec<String> = got
            .iter()
            .map(|(l, v)| format!("{l} {}", format_sample(*v)))
            .collect();
        return Err(format!(
            "expected {} series, got {found:?}",
            case.series.len()
        ));
    }
    for (i, (labels, v)) in got.iter().enumerate() {
        let found = case.series.iter().position(|(l, _)| l == labels);
        let Some(place) = found else {
            return Err(format!("unexpected series {labels}"));
        };
        if ordered && place != i {
            return Err(format!(
                "{labels} is in place {i}, expected in place {place}"
            ));
        }
        match case.series[place].1.as_slice() {
            [Some(want)] if same(*want, *v) => {}
            [Some(want)] => return Err(differ(labels, *want, *v)),
            other => return Err(format!("{labels}: {} values expected", other.len())),
        }
    }
    Ok(())
}

fn check_matrix(case: &Eval, got: &[(Labels, Vec<(i64, f64)>)], span: Span) -> Result<(), String> {
    for (labels, points) in got {
        let Some((_, values)) = case.series.iter().find(|(l, _)| l == labels) else {
            return Err(format!("unexpected series {labels}"));
        };
        let want: Vec<(i64, f64)> = values
            .iter()
            .enumerate()
            .filter_map(|(i, v)| Some((span.start + i as i64 * span.step, (*v)?)))
            .collect();
        if want.iter().map(|p| p.0).ne(points.iter().map(|p| p.0)) {
            return Err(format!(
                "{labels}: expected points {want:?}, got {points:?}"
            ));
        }
        for (w, p) in want.iter().zip(points) {
            if !same(w.1, p.1) {
                return Err(format!("at {}: {}", w.0, differ(labels, w.1, p.1)));
            }
        }
    }
    for (labels, values) in &case.series {
        let any = values.iter().any(Option::is_some);
        if any && !got.iter().any(|(l, _)| l == labels) {
            return Err(format!("{labels} is missing"));
        }
    }
    Ok(())
}
