//! Rules over fields that are there and do nothing.

use api::near::nearest;

use super::{Context, Trigger};
use crate::finding::Severity;
use crate::model::{Object, Scaled};

/// What KEDA's prometheus trigger reads, all sources together.
const PROMETHEUS: &[&str] = &[
    "serverAddress",
    "query",
    "threshold",
    "activationThreshold",
    "namespace",
    "queryParameters",
    "customHeaders",
    "ignoreNullValues",
    "unsafeSsl",
    "timeout",
    "authModes",
    "authMode",
    "cloud",
    "azureManagedPrometheusResourceURL",
    "activeDirectoryEndpoint",
    "awsRegion",
    "awsEndpoint",
    "identityOwner",
    "credentialsFromEnv",
    "credentialsFromEnvFile",
];

pub(super) fn check(cx: &mut Context<'_>, triggers: &[Trigger<'_>]) {
    for trigger in triggers {
        of_trigger(cx, trigger);
        activation(cx, trigger);
    }
    let model = cx.model;
    for scaled in model.scaled.iter().filter(|scaled| !scaled.is_job) {
        of_spec(cx, scaled);
    }
    unknown(cx);
}

fn of_trigger(cx: &mut Context<'_>, trigger: &Trigger<'_>) {
    if trigger.trigger.trigger_type != "prometheus" {
        return;
    }
    let object = &trigger.scaled.object;
    for key in trigger.trigger.metadata.keys() {
        let span = object.key(&trigger.meta(key));
        if key == "metricName" {
            cx.report(
                ("ignored-field", Severity::Warning),
                object,
                span,
                "KEDA no longer reads metricName: the metric is called s<index>-prometheus, and \
                 only `query` says what is read"
                    .to_owned(),
                "Remove metricName.",
            )
            .patch = Some(format!(
                "- op: remove\n  path: {}\n",
                trigger.meta("metricName")
            ));
        } else if !PROMETHEUS.contains(&key.as_str()) && !key.ends_with("FromEnv") {
            let (near, edits) =
                nearest(key, PROMETHEUS.iter().copied()).unwrap_or(("", usize::MAX));
            let (message, fix) = match key.as_str() {
                "metricType" => (
                    "metricType inside metadata is not read: the trigger stays AverageValue"
                        .to_owned(),
                    "Move metricType one level up, beside `type`.".to_owned(),
                ),
                _ if edits <= 3 => (
                    format!("KEDA's prometheus trigger does not read {key}"),
                    format!("Write `{near}`, or remove it."),
                ),
                _ => (
                    format!("KEDA's prometheus trigger does not read {key}"),
                    "Remove it.".to_owned(),
                ),
            };
            cx.report(
                ("ignored-field", Severity::Warning),
                object,
                span,
                message,
                fix,
            );
        }
    }
}

fn activation(cx: &mut Context<'_>, trigger: &Trigger<'_>) {
    let scaled = trigger.scaled;
    if !scaled.always_on() {
        return;
    }
    for (key, value) in &trigger.trigger.metadata {
        let zero = trigger.input.number(key) == Some(0.0);
        if key.starts_with("activation") && !zero {
            let pointer = trigger.meta(key);
            without_effect(cx, scaled, &pointer, key, value);
        }
    }
}

fn without_effect(
    cx: &mut Context<'_>,
    scaled: &Scaled<'_>,
    pointer: &str,
    key: &str,
    value: &str,
) {
    let min = scaled.spec.spec.min();
    let object = &scaled.object;
    cx.report(
        ("activation-without-effect", Severity::Warning),
        object,
        object.key(pointer),
        format!(
            "{key} {value} decides between 0 and 1 replica only, and minReplicaCount is {min}: \
             below it the HPA scales all the same"
        ),
        format!("Remove {key}, or set minReplicaCount to 0 (or idleReplicaCount)."),
    )
    .patch = Some(format!("- op: remove\n  path: {pointer}\n"));
}

fn of_spec(cx: &mut Context<'_>, scaled: &Scaled<'_>) {
    if !scaled.always_on() {
        return;
    }
    let spec = &scaled.spec.spec;
    let object = &scaled.object;
    let min = spec.min();
    if let Some(modifiers) = spec.modifiers() {
        let value = modifiers.activation_target.as_str();
        if !matches!(value, "" | "0") {
            let pointer = "/spec/advanced/scalingModifiers/activationTarget";
            without_effect(cx, scaled, pointer, "activationTarget", value);
        }
    }
    let cached = spec.triggers.iter().any(|t| t.use_cached_metrics);
    let idle_poll = spec.fallback.is_none() && !cached;
    let rows = [
        (
            "pollingInterval",
            idle_poll,
            "with a fallback, useCachedMetrics or scaling to 0",
        ),
        (
            "cooldownPeriod",
            true,
            "when scaling to 0 or idleReplicaCount",
        ),
        (
            "initialCooldownPeriod",
            true,
            "when scaling to 0 or idleReplicaCount",
        ),
    ];
    for (field, applies, matters) in rows {
        let pointer = format!("/spec/{field}");
        if applies && object.has(&pointer) {
            cx.report(
                ("ignored-field", Severity::Note),
                object,
                object.key(&pointer),
                format!(
                    "{field} has no effect on the replicas here: it counts {matters}, and \
                     minReplicaCount is {min}. The HPA asks every 15 s"
                ),
                format!("Remove {field}, or set advanced.horizontalPodAutoscalerConfig.behavior."),
            );
        }
    }
}

/// Fields that KEDA's resources do not have; the API server drops them.
fn unknown(cx: &mut Context<'_>) {
    let model = cx.model;
    for object in model.objects.iter().filter(|o| o.group == "keda.sh") {
        let Some(schema) = cx.schema(object.kind) else {
            continue;
        };
        let mut copy = object.value.clone();
        // Metadata that cannot be read is the business of `spec-value`.
        for path in schema.unknown(&mut copy).unwrap_or_default() {
            dropped(cx, object, &path);
        }
    }
}

fn dropped(cx: &mut Context<'_>, object: &Object<'_>, path: &str) {
    let pointer = pointer_of(path);
    let field = pointer.rsplit('/').next().unwrap_or(path).to_owned();
    let known: &[&str] = match pointer.trim_end_matches(field.as_str()) {
        "/spec/" => &[
            "scaleTargetRef",
            "pollingInterval",
            "cooldownPeriod",
            "initialCooldownPeriod",
            "idleReplicaCount",
            "minReplicaCount",
            "maxReplicaCount",
            "advanced",
            "fallback",
            "triggers",
        ],
        p if p.starts_with("/spec/triggers/") => &[
            "type",
            "name",
            "metadata",
            "metricType",
            "useCachedMetrics",
            "authenticationRef",
        ],
        _ => &[],
    };
    let fix = match (field.as_str(), known) {
        ("minReplicas", _) => "Write `minReplicaCount`.".to_owned(),
        ("maxReplicas", _) => "Write `maxReplicaCount`.".to_owned(),
        (_, []) => "Remove it.".to_owned(),
        _ => match nearest(&field, known.iter().copied()) {
            Some((near, 0..=4)) => format!("Write `{near}`, or remove it."),
            _ => "Remove it, or move it to where it belongs.".to_owned(),
        },
    };
    cx.report(
        ("ignored-field", Severity::Warning),
        object,
        object.key(&pointer),
        format!(
            "{} has no field {path}: the API server drops it (kubectl refuses it when it \
             validates)",
            object.kind
        ),
        fix,
    );
}

/// `spec.triggers[0].metadata` as a JSON pointer.
pub(super) fn pointer_of(path: &str) -> String {
    let mut pointer = String::new();
    for part in path.split(['.', '[']) {
        let part = part.trim_end_matches(']').trim_matches('"');
        if !part.is_empty() {
            pointer.push('/');
            pointer.push_str(&part.replace('~', "~0").replace('/', "~1"));
        }
    }
    pointer
}
