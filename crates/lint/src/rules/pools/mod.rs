//! Rules over pods and the nodes that could take them. Fit is asked of the
//! scheduler's filters, on the node that a pool would make.

mod ask;
mod beyond;
mod gang;
mod zero;

use api::pointer::token;
use api::pool::Pool;
use decide::fit::{NodeInfo, Reason, is_gpu};

pub(super) use ask::{Answer, ask_all};

use super::{Context, Trigger, own, plural};
use crate::finding::Severity;
use crate::model::Workload;

pub(super) fn check(cx: &mut Context<'_>, triggers: &[Trigger<'_>]) {
    let model = cx.model;
    for workload in &model.workloads {
        if !cx.assume.pools.is_empty() {
            fit(cx, workload);
        }
    }
    for scaled in &model.scaled {
        let Some(workload) = cx.workload(scaled) else {
            continue;
        };
        let severity = match scaled.is_job {
            // More Jobs than nodes is a queue.
            true => Severity::Warning,
            false => Severity::Error,
        };
        let max = scaled.spec.spec.max();
        beyond::check(
            cx,
            &scaled.object,
            "maxReplicaCount",
            max,
            severity,
            workload,
        );
        if !scaled.is_job {
            let own = own(triggers, scaled);
            gang::check(cx, &scaled.object, max, workload, own);
        }
    }
    for hpa in &model.hpas {
        let max = hpa.object.get("/spec/maxReplicas").as_i64().unwrap_or(0);
        let max = i32::try_from(max).unwrap_or(i32::MAX);
        if let Some(workload) = model.workload(hpa.workload) {
            beyond::check(
                cx,
                &hpa.object,
                "maxReplicas",
                max,
                Severity::Error,
                workload,
            );
            gang::check(cx, &hpa.object, max, workload, &[]);
        }
    }
}

/// A pool whose size may change and which takes the pods of a workload.
pub(super) fn growing<'a>(cx: &Context<'a>, workload: Option<usize>) -> Option<&'a Pool> {
    let answers = cx.pools.get(workload?)?.iter();
    let mut taking = answers.filter(|a| a.refused.is_none() && a.pool.scales());
    taking.next().map(|answer| answer.pool)
}

/// Devices that a pod asks for: `nvidia.com/gpu`, MIG slices, anything with a
/// vendor's name.
fn devices<'w>(workload: &'w Workload<'_>) -> Vec<(&'w str, i64)> {
    let extended = workload.pod.requests.extended.iter();
    extended
        .filter(|(name, amount)| name.contains('/') && **amount > 0)
        .map(|(name, amount)| (&**name, *amount))
        .collect()
}

fn fit(cx: &mut Context<'_>, workload: &Workload<'_>) {
    if devices(workload).is_empty() {
        return;
    }
    let answers = cx.pools[workload.index].clone();
    let usable = |a: &&Answer<'_>| a.refused.is_none() && a.pool.max > 0;
    if answers.iter().any(|a| usable(&a)) {
        let taking: Vec<&Pool> = answers.iter().filter(usable).map(|a| a.pool).collect();
        zero::check(cx, workload, &taking);
        return;
    }
    if let Some(answer) = answers.iter().find(|a| a.unknown_gpus()) {
        let object = &workload.object;
        let device = devices(workload)[0].0;
        cx.report(
            ("pool-from-zero", Severity::Warning),
            object,
            object.key(&device_pointer(workload, device)),
            format!(
                "pool {} starts from 0 nodes and nothing says that its nodes have GPUs: an \
                 autoscaler cannot see that one would help",
                answer.pool.name
            ),
            "Give the pool's size (sku=…) or gpus=….",
        );
        return;
    }
    nowhere(cx, workload, &answers);
}

/// How far a pod got: later filters come after earlier ones were passed.
fn rank(reason: &Reason) -> u8 {
    match reason {
        Reason::Taint => 1,
        Reason::Affinity => 2,
        Reason::Insufficient(_) => 4,
        _ => 3,
    }
}

fn nowhere(cx: &mut Context<'_>, workload: &Workload<'_>, answers: &[Answer<'_>]) {
    let mut parts = Vec::new();
    let mut best: Option<(u8, &Reason)> = None;
    for answer in answers {
        let reasons = match &answer.refused {
            Some(reasons) => reasons.as_slice(),
            None => &[],
        };
        let texts: Vec<String> = match reasons {
            [] => vec!["has no nodes (max=0)".to_owned()],
            some => some
                .iter()
                .map(|r| explain(r, answer.pool, workload))
                .collect(),
        };
        parts.push(format!("{}: {}", answer.pool.name, texts.join(", ")));
        for reason in reasons {
            // A CPU pool lacks GPUs by nature; what a GPU pool says counts.
            let rank = match reason {
                Reason::Insufficient(name) if is_gpu(name) && answer.pool.gpus == 0 => 0,
                other => rank(other),
            };
            if best.is_none_or(|(so_far, _)| rank > so_far) {
                best = Some((rank, reason));
            }
        }
    }
    let object = &workload.object;
    let (span, fix) = match best.map(|(_, reason)| reason) {
        Some(Reason::Taint) => {
            let tolerations = workload.under("/spec/tolerations");
            let span = match object.has(&tolerations) {
                true => object.key(&tolerations),
                false => object.key(&workload.under("/spec")),
            };
            (span, "Add a toleration for the pool's taint.")
        }
        Some(Reason::Affinity) => {
            let selector = workload.under("/spec/nodeSelector");
            let span = match object.has(&selector) {
                true => object.key(&selector),
                false => object.key(&workload.under("/spec/affinity")),
            };
            (span, "Select labels that the pool's nodes carry.")
        }
        Some(Reason::Insufficient(name)) => (
            object.key(&device_pointer(workload, name)),
            "Ask for what a node of a pool has, or add a pool with larger nodes.",
        ),
        _ => (
            object.key(&workload.under("/spec")),
            "Change the pod or the pools so that they fit.",
        ),
    };
    let pools = plural(answers.len() as i64, "pool");
    cx.report(
        ("no-pool-fits", Severity::Error),
        object,
        span,
        format!(
            "no node of the {pools} can take this pod: {}",
            parts.join("; ")
        ),
        fix,
    );
}

fn explain(reason: &Reason, pool: &Pool, workload: &Workload<'_>) -> String {
    match reason {
        Reason::Taint => {
            let taints: Vec<String> = pool.taints.iter().map(ToString::to_string).collect();
            format!("{reason} {{{}}}", taints.join(", "))
        }
        Reason::Insufficient(name) => {
            let asked = workload.pod.requests.get(name);
            let node = NodeInfo::parse(&ask::template(pool));
            let has = node.allocatable.get(name);
            match (&**name, has) {
                ("cpu", _) => format!("{reason} (asks {asked}m, a node has {has}m)"),
                ("memory", _) => format!(
                    "{reason} (asks {} Gi, a node has {} Gi)",
                    asked >> 30,
                    has >> 30
                ),
                (_, 0) => format!("{reason} (its nodes have none)"),
                _ => format!("{reason} (asks {asked}, a node has {has})"),
            }
        }
        other => other.to_string(),
    }
}

/// Where the pod asks for a resource.
fn device_pointer(workload: &Workload<'_>, name: &str) -> String {
    let token = token(name);
    for (pointer, container) in workload.containers() {
        for list in ["limits", "requests"] {
            if !container["resources"][list][name].is_null() {
                return format!("{pointer}/resources/{list}/{token}");
            }
        }
    }
    workload.under("/spec/containers")
}
