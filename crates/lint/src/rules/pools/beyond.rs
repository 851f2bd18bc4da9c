//! `max-beyond-pool`: more replicas than the pools can hold.

use super::super::{Context, plural};
use super::ask::Answer;
use crate::finding::{Severity, Step};
use crate::model::{Object, Workload};

/// What a scaler may ask for against what the pools hold.
pub(super) fn check(
    cx: &mut Context<'_>,
    scaler: &Object<'_>,
    field: &str,
    max: i32,
    severity: Severity,
    workload: &Workload<'_>,
) {
    let gpus = workload.gpus();
    if gpus == 0 || cx.assume.pools.is_empty() {
        return;
    }
    let answers = cx.pools[workload.index].clone();
    if answers.iter().any(Answer::unknown_gpus) {
        return;
    }
    let taking: Vec<&Answer<'_>> = answers.iter().filter(|a| a.per_node > 0).collect();
    let pods: i64 = taking
        .iter()
        .map(|a| i64::from(a.pool.max) * a.per_node as i64)
        .sum();
    let replicas = pods / workload.pods_per_replica;
    if taking.is_empty() || i64::from(max) <= replicas {
        return;
    }
    let parts: Vec<String> = taking
        .iter()
        .map(|a| {
            format!(
                "{}: {} × {}",
                a.pool.name,
                plural(a.pool.max.into(), "node"),
                plural(a.per_node as i64, "pod")
            )
        })
        .collect();
    let pointer = format!("/spec/{field}");
    let least = pointer.replace("/max", "/min");
    let min = scaler.get(&least).as_i64().unwrap_or(0).max(1);
    let (span, said) = match scaler.has(&pointer) {
        true => (scaler.at(&pointer), format!("{field} {max}")),
        false => (
            scaler.key("/spec"),
            format!("{field} {max} (the default, none is given)"),
        ),
    };
    let total = i64::from(max).saturating_mul(gpus);
    let held = replicas.saturating_mul(gpus);
    let whole = match workload.pods_per_replica {
        1 => "",
        _ => " in whole replicas",
    };
    let finding = cx.report(
        ("max-beyond-pool", severity),
        scaler,
        span,
        format!(
            "{said} × {} = {total}, and the pools that take the pod hold {}{whole} ({}), {total} > {held}: \
             {} wait for ever at full load",
            plural(gpus, "GPU"),
            plural(held, "GPU"),
            parts.join(", "),
            plural(i64::from(max) - replicas, "replica")
        ),
        format!("Set {field} to {replicas}, or raise the pool's max."),
    );
    // Fewer than the minimum would be refused.
    if replicas >= min {
        finding.patched([Step::Set(pointer, replicas.into())]);
    }
}
