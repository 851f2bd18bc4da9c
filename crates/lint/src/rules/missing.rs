//! Rules over what happens without data and without replicas.

use decide::scale::{fallback, resource};
use serde_json::{Value, json};

use super::{Context, Trigger, own, plural};
use crate::finding::{Severity, Step};
use crate::model::Scaled;
use crate::query::Query;

pub(super) fn check(cx: &mut Context<'_>, triggers: &[Trigger<'_>]) {
    for trigger in triggers {
        empty(cx, trigger);
    }
    let model = cx.model;
    for scaled in &model.scaled {
        wake(cx, scaled, own(triggers, scaled));
    }
    for scaled in model.scaled.iter().filter(|scaled| !scaled.is_job) {
        too_small(cx, scaled);
        jump(cx, scaled);
    }
}

fn empty(cx: &mut Context<'_>, trigger: &Trigger<'_>) {
    let scaled = trigger.scaled;
    let kind = trigger.trigger.trigger_type.as_str();
    if scaled.is_job || !matches!(kind, "prometheus" | "loki") || !trigger.empty_is_zero() {
        return;
    }
    let query = trigger.read();
    if kind == "prometheus" && query.is_none() {
        return;
    }
    // `or vector(…)` and `absent(…)` say themselves what nothing means.
    if query.is_some_and(|query| query.without_series().is_some()) {
        return;
    }
    let spec = &scaled.spec.spec;
    let known = query.is_none_or(|q| q.uses().iter().any(|u| u.metric.surely_many()));
    let severity = match scaled.to_zero() && known {
        true => Severity::Error,
        false => Severity::Warning,
    };
    let cooldown = spec.cooldown_seconds();
    let down = match (scaled.to_zero(), spec.idle_replica_count) {
        (true, _) => {
            format!("after cooldownPeriod ({cooldown} s) all replicas are stopped at once")
        }
        (false, Some(idle)) => format!(
            "after cooldownPeriod ({cooldown} s) KEDA sets idleReplicaCount, {}",
            plural(idle.into(), "replica")
        ),
        (false, None) => format!(
            "the HPA scales down to {}",
            plural(spec.min().into(), "replica")
        ),
    };
    let fallback = match &spec.fallback {
        Some(fallback) => format!(
            "; the fallback to {} does not start, since nothing failed",
            plural(fallback.replicas.into(), "replica")
        ),
        None => String::new(),
    };
    let object = &scaled.object;
    let pointer = trigger.meta("ignoreNullValues");
    let span = match object.has(&pointer) {
        true => object.at(&pointer),
        false => object.key(&trigger.meta("query")),
    };
    let replicas = spec.min().max(1);
    let given = object.has(&pointer);
    cx.report(
        ("missing-is-zero", severity),
        object,
        span,
        format!(
            "an empty answer counts as a load of 0 (ignoreNullValues is true{}): when the exporter, \
             the scrape or a label goes missing, {down}{fallback}",
            if given { "" } else { " unless set" }
        ),
        "Set `ignoreNullValues: 'false'`, so that an empty answer is a failure, and a `fallback` \
         for it.",
    )
    .patched(
        [Step::Set(pointer, Value::from("false"))]
            .into_iter()
            .chain(spec.fallback.is_none().then(|| {
                let fallback = json!({"failureThreshold": 3, "replicas": replicas});
                Step::Set("/spec/fallback".to_owned(), fallback)
            })),
    );
}

fn too_small(cx: &mut Context<'_>, scaled: &Scaled<'_>) {
    let spec = &scaled.spec.spec;
    let Some(settings) = &spec.fallback else {
        return;
    };
    let object = &scaled.object;
    let id = ("fallback-too-small", Severity::Warning);
    let counts = matches!(
        settings.behavior.as_str(),
        "" | "static" | "currentReplicasIfLower"
    );
    if counts && settings.replicas >= 0 && settings.replicas < spec.min() {
        let min = spec.min();
        cx.report(
            id,
            object,
            object.at("/spec/fallback/replicas"),
            format!(
                "the fallback asks for {}, minReplicaCount is {min}: a failing trigger scales down \
                 to the minimum",
                plural(settings.replicas.into(), "replica")
            ),
            "Set fallback.replicas to what the usual load needs, at least minReplicaCount.",
        );
    }
    let dead = |kind: &str| matches!(kind, "cpu" | "memory" | "cron");
    let triggers = &spec.triggers;
    let all_dead = !triggers.is_empty() && triggers.iter().all(|t| dead(&t.trigger_type));
    let off =
        settings.failure_threshold >= 0 && settings.replicas >= 0 && !fallback::is_enabled(spec);
    let (why, fix) = if off {
        (
            "the target of scalingModifiers is no whole number above 0, which switches the \
             fallback off",
            "Write the target as a whole number.",
        )
    } else if all_dead && !triggers.iter().all(resource::is_resource) {
        (
            "no trigger can use the fallback: cpu and memory are read by the HPA, and cron does \
             not fail",
            "Remove the fallback, or add a trigger that reads a metric.",
        )
    } else {
        return;
    };
    cx.report(
        id,
        object,
        object.key("/spec/fallback"),
        why.to_owned(),
        fix,
    );
}

fn wake(cx: &mut Context<'_>, scaled: &Scaled<'_>, own: &[Trigger<'_>]) {
    if !scaled.to_zero() || own.is_empty() || scaled.spec.spec.modifiers().is_some() {
        return;
    }
    let mut names: Vec<String> = Vec::new();
    let mut sure = true;
    for trigger in own {
        match trigger.trigger.trigger_type.as_str() {
            // Read by the HPA, which rests at 0 replicas.
            "cpu" | "memory" => names.push(trigger.trigger.trigger_type.clone()),
            "prometheus" => {
                let Some(query) = trigger.read() else { return };
                let Some(certain) = sleeps(trigger, query) else {
                    return;
                };
                sure &= certain;
                names.extend(query.uses().iter().map(|u| u.name.to_owned()));
            }
            _ => return,
        }
    }
    // Only cpu and memory with minReplicaCount 0 is refused by KEDA as it is.
    if own.iter().all(|t| resource::is_resource(t.trigger)) {
        return;
    }
    names.dedup();
    let (field, count) = match scaled.spec.spec.min() {
        0 => ("/spec/minReplicaCount", "minReplicaCount 0"),
        _ => ("/spec/idleReplicaCount", "idleReplicaCount 0"),
    };
    let object = &scaled.object;
    let span = match object.has(field) {
        true => object.at(field),
        false => object.key("/spec"),
    };
    let severity = match sure {
        true => Severity::Error,
        false => Severity::Warning,
    };
    let (pods, wakes) = match scaled.is_job {
        true => ("Jobs", "starts the first"),
        false => ("replicas", "wakes the workload"),
    };
    let scope = match sure {
        true => "",
        false => " (or other workloads on the same GPUs)",
    };
    cx.report(
        ("no-wake-signal", severity),
        object,
        span,
        format!(
            "{count}, and every trigger reads what only running {pods}{scope} show ({}): at 0 \
             {pods} the value stays 0 and nothing {wakes}",
            names.join(", ")
        ),
        "Add a trigger on something that exists without replicas (the queue or the gateway in \
         front, `external-push`, `cron`), or set minReplicaCount to 1.",
    );
}

/// Whether the query can say nothing above the activation value at 0 replicas:
/// `Some(true)` for sure, `Some(false)` unless other workloads show up in it.
fn sleeps(trigger: &Trigger<'_>, query: &Query) -> Option<bool> {
    let activation = trigger.input.number("activationThreshold").unwrap_or(0.0);
    if query
        .without_series()
        .is_some_and(|value| value > activation)
    {
        return None;
    }
    let uses = query.uses();
    if uses.is_empty() || !uses.iter().all(|u| u.metric.needs_replicas()) {
        return None;
    }
    const OWN: &[&str] = &[
        "pod",
        "exported_pod",
        "container",
        "exported_container",
        "namespace",
        "exported_namespace",
        "deployment",
        "statefulset",
        "workload_name",
        "job",
        "service",
        "app",
        "model_name",
    ];
    let pinned = |u: &crate::query::Use<'_>| {
        u.metric.origin == crate::metrics::Origin::Engine
            || u.matchers
                .iter()
                .any(|m| OWN.contains(&m.name.as_str()) && !m.matches(""))
    };
    Some(uses.iter().all(pinned))
}

fn jump(cx: &mut Context<'_>, scaled: &Scaled<'_>) {
    let spec = &scaled.spec.spec;
    let kept = [
        api::keda::PAUSED_SCALE_IN,
        api::keda::PAUSED,
        api::keda::PAUSED_REPLICAS,
    ];
    let paused = kept
        .iter()
        .any(|key| scaled.spec.metadata.annotations.contains_key(*key));
    // cpu and memory alone are always active (and refused with 0).
    let never = spec.triggers.iter().all(resource::is_resource);
    if !scaled.to_zero() || spec.max() <= 1 || paused || never {
        return;
    }
    let object = &scaled.object;
    const DOWN: &str = "/spec/advanced/horizontalPodAutoscalerConfig/behavior/scaleDown";
    let (span, what) = match object.has(DOWN) {
        true => (object.key(DOWN), "the scaleDown policies here do not apply"),
        false => {
            let field = ["/spec/minReplicaCount", "/spec/idleReplicaCount"]
                .into_iter()
                .find(|f| object.has(f));
            (
                object.key(field.unwrap_or("/spec")),
                "no scaleDown policy or stabilization applies",
            )
        }
    };
    cx.report(
        ("jump-to-zero", Severity::Warning),
        object,
        span,
        format!(
            "{} s after the last activity KEDA sets the replicas to 0 in one write, from up to {}: \
             {what}",
            spec.cooldown_seconds(),
            spec.max()
        ),
        "Make cooldownPeriod longer than a lull that must not stop everything, let pods drain \
         (preStop, terminationGracePeriodSeconds), or set minReplicaCount to 1.",
    );
}
