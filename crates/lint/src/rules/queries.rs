//! Rules over the shape of a query.

use promql::parser::ast::ValueType;

use super::{Context, Trigger};
use crate::finding::Severity;
use crate::query::Elements;

pub(super) fn check(cx: &mut Context<'_>, triggers: &[Trigger<'_>]) {
    for trigger in triggers {
        match &trigger.query {
            None => {}
            Some(Err(error)) => syntax(
                cx,
                trigger,
                &error.render(trigger.input.text("query").unwrap_or("")),
            ),
            Some(Ok(query)) => {
                let kind = query.expr.value_type();
                if kind == ValueType::Vector {
                    many(cx, trigger, &query.elements());
                } else {
                    result_type(cx, trigger, kind);
                }
            }
        }
    }
}

fn syntax(cx: &mut Context<'_>, trigger: &Trigger<'_>, error: &str) {
    let address = trigger.input.text("serverAddress");
    let address = address.unwrap_or("").to_ascii_lowercase();
    // VictoriaMetrics reads a larger language.
    let other = ["victoria", "vmselect", "vmsingle"];
    let severity = match other.iter().any(|word| address.contains(word)) {
        true => Severity::Warning,
        false => Severity::Error,
    };
    let object = &trigger.scaled.object;
    cx.report(
        ("query-syntax", severity),
        object,
        object.at(&trigger.meta("query")),
        format!("Prometheus refuses this query: {error}"),
        "Correct the query; KEDA reports every read as failed until then.",
    );
}

fn result_type(cx: &mut Context<'_>, trigger: &Trigger<'_>, kind: ValueType) {
    let object = &trigger.scaled.object;
    let (what, fix) = match kind {
        ValueType::Matrix => (
            "KEDA finds no `value` in it and takes it as empty: 0, or an error with \
             ignoreNullValues false",
            "Put a function over the range, for example `rate(…)` or `avg_over_time(…)`.",
        ),
        _ => (
            "KEDA wants a list of elements and fails on every read",
            "Write `vector(…)` around it.",
        ),
    };
    cx.report(
        ("query-result", Severity::Error),
        object,
        object.at(&trigger.meta("query")),
        format!("the query gives a {}: {what}", kind.describe()),
        fix,
    );
}

fn many(cx: &mut Context<'_>, trigger: &Trigger<'_>, elements: &Elements) {
    let Elements::Many { range, why, sure } = elements else {
        return;
    };
    let object = &trigger.scaled.object;
    let at = cx.part(trigger, *range);
    let (severity, end) = match sure {
        true => (
            Severity::Error,
            "with two of them KEDA only reports `returned multiple elements`, so it scales once \
             and then stands still",
        ),
        false => (
            Severity::Warning,
            "if it is more than one, KEDA only reports `returned multiple elements`",
        ),
    };
    cx.report(
        ("many-elements", severity),
        object,
        at,
        format!("the query can give more than one element: {why}; {end}"),
        "Aggregate to one element without `by`: `sum(…)` for work to be shared out (with the \
         default AverageValue), `avg(…)` or `max(…)` with metricType Value.",
    );
}
