//! The decision table, line by line, in the situations users meet.

use api::keda::{
    Advanced, FORCE_ACTIVATION, Fallback, PAUSED_SCALE_IN, PAUSED_SCALE_OUT, ScaleTrigger,
    ScaledObject, ScalingModifiers,
};

use super::super::fallback::{MetricRead, Read, Target};
use super::*;

const NOW: &str = "2026-01-01T01:00:00Z";

fn object(min: Option<i32>) -> ScaledObject {
    let mut object = ScaledObject::default();
    object.metadata.namespace = "ns".to_owned();
    object.metadata.name = "so".to_owned();
    object.metadata.creation_timestamp = Some("2026-01-01T00:59:50Z".to_owned());
    object.spec.scale_target_ref.name = "w".to_owned();
    object.spec.min_replica_count = min;
    object.status.conditions = conditions::initial();
    object.status.scale_target_kind = "apps/v1.Deployment".to_owned();
    object
}

fn seen(replicas: i32, read: Read) -> Observation {
    let target = Target::Average(5.0);
    Observation {
        metrics: vec![MetricRead {
            metric: "s0-prometheus".to_owned(),
            target,
            read,
        }],
        resource_triggers: 0,
        replicas: Ok(replicas),
        ready_pods: None,
        hpa: None,
        now: NOW.parse().unwrap(),
    }
}

fn value(value: f64, active: bool) -> Read {
    Read::Value { value, active }
}

fn down() -> Read {
    Read::Failed("connection refused".to_owned())
}

fn named(name: &str) -> ScaleTrigger {
    ScaleTrigger {
        trigger_type: "prometheus".to_owned(),
        name: name.to_owned(),
        ..ScaleTrigger::default()
    }
}

fn decide(object: &ScaledObject, seen: &Observation) -> Decision {
    step(object, Composite::of(object).as_ref(), seen)
}

fn condition(decision: &Decision, kind: &str) -> String {
    let found = decision
        .status
        .conditions
        .iter()
        .find(|c| c.condition_type == kind)
        .unwrap();
    format!("{} {}", found.status, found.reason)
}

#[test]
fn an_active_trigger_wakes_a_sleeping_workload() {
    let decision = decide(&object(None), &seen(0, value(12.0, true)));
    let scale = decision.scale.clone().unwrap();
    assert_eq!((scale.from, scale.to), (0, 1));
    assert_eq!(
        scale.done.unwrap().note,
        "Scaled apps/v1.Deployment ns/w from 0 to 1, triggered by s0-prometheus"
    );
    assert_eq!(decision.status.last_active_time.as_deref(), Some(NOW));
    assert_eq!(decision.status_if_failed.last_active_time, None);
    assert_eq!(condition(&decision, "Active"), "True ScalerActive");
}

#[test]
fn with_a_minimum_activation_only_shows_in_the_condition() {
    let awake = decide(&object(Some(1)), &seen(1, value(50.0, true)));
    assert_eq!(awake.scale, None);
    assert_eq!(awake.explanation.rule, Rule::Active);
    let quiet = decide(&object(Some(1)), &seen(1, value(0.0, false)));
    assert_eq!(quiet.scale, None);
    assert_eq!(condition(&quiet, "Active"), "False ScalerNotActive");
}

#[test]
fn the_cooldown_counts_from_the_last_activity() {
    let mut so = object(Some(0));
    so.spec.cooldown_period = Some(60);
    so.status.last_active_time = Some("2026-01-01T00:59:30Z".to_owned());
    let waiting = decide(&so, &seen(3, value(0.0, false)));
    assert_eq!(condition(&waiting, "Active"), "False ScalerCooldown");
    assert_eq!(waiting.scale, None);
    assert_eq!(
        waiting.explanation.cooldown_until.as_deref(),
        Some("2026-01-01T01:00:30Z")
    );
    so.status.last_active_time = Some("2026-01-01T00:58:59Z".to_owned());
    let over = decide(&so, &seen(3, value(0.0, false)));
    let scale = over.scale.unwrap();
    assert_eq!((scale.from, scale.to), (3, 0));
    assert_eq!(
        scale.done.unwrap().note,
        "Deactivated apps/v1.Deployment ns/w from 3 to 0"
    );
}

#[test]
fn a_never_active_object_waits_for_its_initial_cooldown() {
    let mut so = object(None);
    so.spec.initial_cooldown_period = Some(30);
    assert_eq!(
        decide(&so, &seen(2, value(0.0, false))).explanation.rule,
        Rule::Cooldown
    );
    so.spec.initial_cooldown_period = None;
    assert_eq!(
        decide(&so, &seen(2, value(0.0, false))).explanation.rule,
        Rule::Deactivate
    );
}

#[test]
fn idle_replicas_are_left_for_the_minimum() {
    let mut so = object(Some(2));
    so.spec.idle_replica_count = Some(0);
    so.spec.cooldown_period = Some(0);
    assert_eq!(decide(&so, &seen(0, value(9.0, true))).scale.unwrap().to, 2);
    assert_eq!(
        decide(&so, &seen(3, value(0.0, false))).scale.unwrap().to,
        0
    );
    assert_eq!(decide(&so, &seen(0, value(0.0, false))).scale, None);
}

#[test]
fn a_failing_trigger_without_fallback_touches_nothing() {
    let decision = decide(&object(Some(1)), &seen(1, down()));
    assert_eq!(decision.scale, None);
    assert_eq!(condition(&decision, "Ready"), "False TriggerError");
    assert_eq!(condition(&decision, "Active"), "False ScalerNotActive");
    assert_eq!(decision.events[0].reason, "KEDAScalerFailed");
    assert!(decision.failed);
}

#[test]
fn one_failing_trigger_of_two_is_a_partial_error() {
    let mut both = seen(2, value(20.0, true));
    both.metrics.extend(seen(2, down()).metrics);
    both.metrics[1].metric = "s1-prometheus".to_owned();
    let decision = decide(&object(Some(1)), &both);
    assert_eq!(condition(&decision, "Ready"), "Unknown PartialTriggerError");
    assert_eq!(decision.status.last_active_time, None);
    assert!(!decision.status.triggers_activity["s1-prometheus"].is_active);
}

#[test]
fn a_fallback_wakes_the_workload_once_the_failures_exceed_the_threshold() {
    let mut so = object(Some(0));
    so.spec.fallback = Some(Fallback {
        failure_threshold: 1,
        replicas: 3,
        ..Fallback::default()
    });
    let first = decide(&so, &seen(0, down()));
    assert_eq!(first.explanation.rule, Rule::AwaitFallback);
    assert_eq!(condition(&first, "Ready"), "True ScaledObjectReady");
    so.status = first.status;
    let second = decide(&so, &seen(0, down()));
    assert_eq!(second.scale.as_ref().unwrap().to, 1);
    assert_eq!(condition(&second, "Fallback"), "True FallbackExists");
    assert!(
        second
            .events
            .iter()
            .any(|e| e.reason == "ScaledObjectFallbackActivated")
    );
    so.status = second.status;
    let back = decide(&so, &seen(1, value(1.0, true)));
    assert!(
        back.events
            .iter()
            .any(|e| e.reason == "ScaledObjectFallbackDeactivated")
    );
    assert_eq!(back.status.health["s0-prometheus"].number_of_failures, 0);
}

#[test]
fn paused_directions_block_their_side_only() {
    let mut so = object(None);
    so.metadata
        .annotations
        .insert(PAUSED_SCALE_IN.to_owned(), "true".to_owned());
    assert_eq!(
        decide(&so, &seen(2, value(0.0, false))).explanation.rule,
        Rule::DeactivationPaused
    );
    assert_eq!(
        decide(&so, &seen(0, value(9.0, true))).explanation.rule,
        Rule::Activate
    );
    let mut so = object(None);
    so.metadata
        .annotations
        .insert(PAUSED_SCALE_OUT.to_owned(), "true".to_owned());
    assert_eq!(
        decide(&so, &seen(0, value(9.0, true))).explanation.rule,
        Rule::ActivationPaused
    );
}

#[test]
fn forced_activation_names_the_annotation() {
    let mut so = object(None);
    so.metadata
        .annotations
        .insert(FORCE_ACTIVATION.to_owned(), "true".to_owned());
    let decision = decide(&so, &seen(0, value(0.0, false)));
    let note = decision.scale.unwrap().done.unwrap().note;
    assert!(
        note.ends_with("from 0 to 1, caused by forced activation annotation"),
        "{note}"
    );
}

#[test]
fn a_missing_target_keeps_the_other_conditions() {
    let mut gone = seen(0, value(9.0, true));
    gone.replicas = Err("Deployment.apps \"w\" not found".to_owned());
    gone.hpa = Some(HpaCondition {
        active: true,
        reason: String::new(),
        message: String::new(),
    });
    let decision = decide(&object(Some(1)), &gone);
    let ready = &decision.status.conditions[0];
    assert_eq!(
        ready.message,
        "Error getting current replicas count for ScaleTarget: Deployment.apps \"w\" not found"
    );
    assert_eq!(condition(&decision, "Active"), "Unknown ");
    assert!(
        !decision
            .status
            .conditions
            .iter()
            .any(|c| c.condition_type == "HPAActive")
    );
}

#[test]
fn the_hpas_trouble_is_repeated() {
    let mut troubled = seen(1, value(0.0, false));
    let hpa = |active, reason: &str| HpaCondition {
        active,
        reason: reason.to_owned(),
        message: "no".to_owned(),
    };
    troubled.hpa = Some(hpa(false, "FailedGetExternalMetric"));
    let decision = decide(&object(Some(1)), &troubled);
    assert_eq!(
        condition(&decision, "HPAActive"),
        "False FailedGetExternalMetric"
    );
    assert_eq!(
        decision.status.conditions[4].message,
        "HPA is not actively scaling: no"
    );
    troubled.hpa = Some(hpa(false, "ScalingDisabled"));
    let decision = decide(&object(Some(1)), &troubled);
    assert_eq!(condition(&decision, "HPAActive"), "True ScalingDisabled");
}

#[test]
fn an_activation_target_that_is_no_number_is_told_and_wakes_nothing() {
    let mut so = object(None);
    so.spec.triggers.push(named("a"));
    let modifiers = ScalingModifiers {
        formula: "a * 2".to_owned(),
        target: "5".to_owned(),
        activation_target: "ten".to_owned(),
        ..ScalingModifiers::default()
    };
    so.spec.advanced = Some(Advanced {
        scaling_modifiers: Some(modifiers),
        ..Advanced::default()
    });
    let decision = decide(&so, &seen(0, value(9.0, true)));
    assert_eq!(decision.scale, None);
    assert_eq!(condition(&decision, "Ready"), "False TriggerError");
    let error = "scalingModifiers.ActivationTarget parsing error strconv.ParseFloat: parsing \
                 \"ten\": invalid syntax";
    assert_eq!(decision.events[0].note, error);
    // The HPA's answer does not depend on it.
    let composite = Composite::of(&so).unwrap();
    let read = Settled::Value {
        value: 9.0,
        active: true,
        fallback: false,
    };
    let told = composite.value(None, &[("s0-prometheus", &read)], seen(0, down()).now);
    let wanted = Settled::Value {
        value: 18.0,
        active: false,
        fallback: false,
    };
    assert_eq!(told, wanted);
}

#[test]
fn a_formula_without_a_value_needs_a_target_to_fall_back_by() {
    let mut so = object(None);
    so.spec.fallback = Some(Fallback {
        failure_threshold: 1,
        replicas: 3,
        behavior: "scalingModifiers".to_owned(),
    });
    so.spec.triggers.push(named("a"));
    let told = |target: &str| {
        let mut so = so.clone();
        let modifiers = ScalingModifiers {
            formula: "a ?? nil".to_owned(),
            target: target.to_owned(),
            ..ScalingModifiers::default()
        };
        so.spec.advanced = Some(Advanced {
            scaling_modifiers: Some(modifiers),
            ..Advanced::default()
        });
        let composite = Composite::of(&so).unwrap();
        composite.value(
            so.spec.fallback.as_ref(),
            &[("s0-prometheus", &Settled::Nil)],
            seen(0, down()).now,
        )
    };
    let wanted = Settled::Value {
        value: 15.0,
        active: true,
        fallback: true,
    };
    assert_eq!(told("5"), wanted);
    let error = "error validating target in ScalingModifiers\nerror converting target for \
                 scalingModifiers (string->float) to valid target: strconv.ParseFloat: parsing \
                 \"many\": invalid syntax";
    assert_eq!(told("many"), Settled::Error(error.to_owned()));
}
