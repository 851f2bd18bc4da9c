//! Rules over time: windows, drains, the length of the chain.

use std::time::Duration;

use serde_json::Value;

use super::{Context, Trigger, behavior, own};
use crate::arithmetic::show;
use crate::finding::Severity;
use crate::metrics::Origin;
use crate::model::{Object, Workload, endpoints};

pub(super) fn check(cx: &mut Context<'_>, triggers: &[Trigger<'_>]) {
    let model = cx.model;
    let keda = model.scaled.iter().filter(|s| !s.is_job);
    let scalers = keda
        .map(|s| (s.object, s.workload))
        .chain(model.hpas.iter().map(|h| (h.object, h.workload)));
    for (object, workload) in scalers {
        windows(cx, &object);
        if let Some(workload) = model.workload(workload) {
            drain(cx, &object, workload);
        }
    }
    for trigger in triggers.iter().filter(|t| !t.scaled.is_job) {
        look_back(cx, trigger);
    }
    for scaled in model.scaled.iter().filter(|s| !s.is_job) {
        let mut own = own(triggers, scaled).iter();
        if let Some(first) = own.find(|t| t.read().is_some()) {
            chain(cx, first);
        }
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

/// Rates and windows against the time that a replica takes to help.
fn windows(cx: &mut Context<'_>, object: &Object<'_>) {
    let Some(lag) = cx.assume.ready_lag.map(seconds) else {
        return;
    };
    let (base, given) = behavior(object);
    let mut spec = serde_json::json!({"behavior": given});
    if !given.is_object() {
        spec["behavior"] = serde_json::json!({});
    }
    api::hpa::default_spec(&mut spec);
    for (side, what) in [
        (
            "scaleUp",
            "the replicas ordered last do not serve yet, so the next evaluations order them again",
        ),
        (
            "scaleDown",
            "a replica taken away in a short lull takes longer to come back than the lull",
        ),
    ] {
        let rules = &spec["behavior"][side];
        if rules["selectPolicy"] == "Disabled" {
            continue;
        }
        let policies = rules["policies"].as_array().into_iter().flatten();
        let period = policies
            .filter_map(|p| p["periodSeconds"].as_f64())
            .fold(f64::INFINITY, f64::min);
        // The controller's own window applies where scaleDown names none.
        let default = if side == "scaleDown" { 300.0 } else { 0.0 };
        let window = rules["stabilizationWindowSeconds"]
            .as_f64()
            .unwrap_or(default);
        let longest = match period.is_finite() {
            true => window.max(period),
            false => window,
        };
        if longest >= lag {
            continue;
        }
        let pointer = format!("{base}/{side}");
        let span = match object.has(&pointer) {
            true => object.key(&pointer),
            false => object.key("/spec"),
        };
        cx.report(
            ("shorter-than-ready", Severity::Warning),
            object,
            span,
            format!(
                "{side} acts every {} s (stabilization {} s) and a replica takes {} s to serve: \
                 {what}",
                show(period.min(longest.max(15.0))),
                show(window),
                show(lag)
            ),
            format!(
                "Set behavior.{side}.stabilizationWindowSeconds or a policy's periodSeconds to at \
                 least {}.",
                show(lag)
            ),
        );
    }
}

/// A scale-down window that ends before the query has forgotten the load.
fn look_back(cx: &mut Context<'_>, trigger: &Trigger<'_>) {
    let Some(query) = trigger.read() else { return };
    let object = &trigger.scaled.object;
    let (base, _) = behavior(object);
    let pointer = format!("{base}/scaleDown/stabilizationWindowSeconds");
    let Some(window) = object.get(&pointer).as_f64() else {
        return;
    };
    let range = query.look_back();
    if range <= window {
        return;
    }
    cx.report(
        ("shorter-than-ready", Severity::Warning),
        object,
        object.at(&pointer),
        format!(
            "the query looks back {} s and the scale-down window is {} s: replicas are taken away \
             and ordered again while the query still shows the past",
            show(range),
            show(window)
        ),
        format!(
            "Set stabilizationWindowSeconds to at least {}.",
            show(range)
        ),
    );
}

fn drain(cx: &mut Context<'_>, object: &Object<'_>, workload: &Workload<'_>) {
    let (_, given) = behavior(object);
    let containers = workload.containers();
    let stops = |c: &Value| !c["lifecycle"]["preStop"].is_null();
    if given["scaleDown"].is_object() || containers.iter().any(|(_, c)| stops(c)) {
        return;
    }
    let field = workload.under("/spec/terminationGracePeriodSeconds");
    let grace = workload.object.get(&field).as_f64();
    let lag = cx.assume.ready_lag.map_or(30.0, seconds);
    let enough = match grace {
        Some(grace) => grace > 30.0 && grace >= lag,
        None => false,
    };
    if enough {
        return;
    }
    let service = cx.model.service_of(workload).map(|s| s.name.to_owned());
    let severity = match service {
        Some(_) => Severity::Warning,
        None => Severity::Note,
    };
    let serves = match &service {
        Some(name) => format!("Service {name} sends it requests, and "),
        None => String::new(),
    };
    cx.report(
        ("scale-down-without-drain", severity),
        &workload.object,
        workload.object.key(&workload.under("/spec")),
        format!(
            "{serves}{} takes replicas away with no scaleDown behavior, no preStop hook and {} s \
             of grace: work in progress is cut off",
            object.title(),
            show(grace.unwrap_or(30.0))
        ),
        "Set behavior.scaleDown (stabilizationWindowSeconds, policies), a preStop hook that waits \
         until the server is idle, and terminationGracePeriodSeconds above the longest request.",
    );
}

/// The time from a change in load to a replica that serves, added up.
fn chain(cx: &mut Context<'_>, trigger: &Trigger<'_>) {
    let scaled = trigger.scaled;
    let spec = &scaled.spec.spec;
    let dcgm = trigger
        .read()
        .is_some_and(|q| q.uses().iter().any(|u| u.metric.origin == Origin::Dcgm));
    let mut stages: Vec<(String, f64)> = Vec::new();
    if dcgm {
        let interval = match cx.exporter() {
            crate::Exporter::Rheostat => 1.0,
            _ => 30.0,
        };
        stages.push(("exporter interval".to_owned(), interval));
    }
    let given = cx
        .model
        .gpu_monitors
        .iter()
        .flat_map(endpoints)
        .find_map(|(_, e)| {
            let text = e["interval"].as_str()?;
            promql::parser::parse_duration(text)
        });
    stages.push(("scrape".to_owned(), given.filter(|_| dcgm).unwrap_or(30.0)));
    let range = trigger.read().map_or(0.0, crate::query::Query::look_back);
    if range > 0.0 {
        stages.push(("half of the query's range".to_owned(), range / 2.0));
    }
    let cached = spec.triggers.iter().any(|t| t.use_cached_metrics);
    if !scaled.always_on() || cached {
        stages.push(("poll".to_owned(), spec.polling_seconds() as f64));
    }
    stages.push(("HPA period".to_owned(), 15.0));
    stages.push(("scheduler".to_owned(), 1.0));
    let pool = super::pools::growing(cx, scaled.workload);
    if let Some(pool) = pool {
        let name = format!("node of pool {}", pool.name);
        stages.push((name, seconds(pool.provision)));
    }
    if let Some(lag) = cx.assume.ready_lag {
        stages.push(("readiness".to_owned(), seconds(lag)));
    }
    let total: f64 = stages.iter().map(|(_, s)| s).sum();
    let parts: Vec<String> = stages
        .iter()
        .map(|(name, s)| format!("{name} {}", show(*s)))
        .collect();
    let against = match cx.assume.objective.map(seconds) {
        Some(goal) if total > goal => format!(", {} s more than the objective", show(total - goal)),
        Some(_) => ", within the objective".to_owned(),
        None => String::new(),
    };
    let object = &scaled.object;
    let span = object.key(&trigger.pointer);
    let mut unknown = Vec::new();
    if cx.assume.ready_lag.is_none() {
        unknown.push("readiness is not counted (--ready-lag)");
    }
    if pool.is_none() {
        unknown.push("no node has to be ordered (--pool)");
    }
    let finding = cx.report(
        ("slow-chain", Severity::Note),
        object,
        span,
        format!(
            "a rise in load is answered after up to {} s: {}{against}",
            show(total),
            parts.join(" + ")
        ),
        "Shorten the longest stage: a faster exporter and scrape, a signal that comes before the \
         load (a queue), spare nodes (pool minimum), smaller images and models.",
    );
    if !unknown.is_empty() {
        finding.assumptions.push(unknown.join("; "));
    }
}
