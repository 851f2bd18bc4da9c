//! KEDA's decision table for one poll of a ScaledObject, a row a case.
//!
//! Left of the first bar is the situation, then the rule and what becomes of
//! the replicas, then the conditions Active, Ready and Fallback. In a
//! situation, what is not named is absent.
//!
//! | word | means |
//! |---|---|
//! | `on`, `off`, `err` | a trigger that is active, is not, cannot be read |
//! | `err*4` | the same, after four failures before |
//! | `cpu` | a trigger that the HPA reads itself |
//! | `cur=`, `min=`, `max=`, `idle=` | replicas now (`?`: not known) and bounds |
//! | `last=` | seconds since the last activity; the cooldown is 60 |
//! | `age=` | seconds since creation; the initial cooldown is 20 |
//! | `fb=3/5` | fallback to 5 replicas after 3 failures; a behavior may follow |
//! | `formula=` | scalingModifiers over t0, t1 and so on, target 10, activation above 4 |
//! | `paused=`, `replicas=`, `in=`, `out=`, `force=` | the annotations |

#![allow(clippy::unwrap_used)]

use api::keda::{
    Advanced, FORCE_ACTIVATION, Fallback, Health, PAUSED, PAUSED_REPLICAS, PAUSED_SCALE_IN,
    PAUSED_SCALE_OUT, ScaleTrigger, ScaledObject, ScalingModifiers,
};
use decide::scale::fallback::{MetricRead, Read, Target};
use decide::scale::modifiers::Composite;
use decide::scale::{Decision, Observation, conditions, step};
use jiff::{SignedDuration, Timestamp};

/// Value of a trigger that is active, and of one that is not.
const VALUES: (f64, f64) = (12.0, 1.0);

const TABLE: &str = "
on cur=?                            | replicasUnknown          | Unknown                False ErrorGettingCurrentReplicas  False
on cur=1 paused=true                | paused                   | Unknown                True  ScaledObjectReady            False
on cur=1 paused=whatever            | paused                   | Unknown                True  ScaledObjectReady            False
off cur=1 replicas=4                | paused                   | Unknown                True  ScaledObjectReady            False
off cur=0 paused=false              | idle                     | False ScalerNotActive  True  ScaledObjectReady            False

on cur=0                            | activate 0 1             | True  ScalerActive     True  ScaledObjectReady            False
on cur=0 min=3                      | activate 0 3             | True  ScalerActive     True  ScaledObjectReady            False
on cur=2 min=3 idle=1               | activate 2 3             | True  ScalerActive     True  ScaledObjectReady            False
on err cur=0                        | activate 0 1             | True  ScalerActive     True  ScaledObjectReady            False
on cur=0 out=true                   | activationPaused         | True  ScalerActive     True  ScaledObjectReady            False
off cur=0 force=true                | activate 0 1             | True  ScalerActive     True  ScaledObjectReady            False
err cur=0 force=true                | activate 0 1             | True  ScalerActive     True  ScaledObjectReady            False
off cur=0 force=false               | idle                     | False ScalerNotActive  True  ScaledObjectReady            False
on err cur=2                        | partlyFailing            | True  ScalerActive     Unknown PartialTriggerError        False
err cur=2 force=true                | partlyFailing            | True  ScalerActive     Unknown PartialTriggerError        False
on cur=2                            | active                   | True  ScalerActive     True  ScaledObjectReady            False
on cur=2 out=true                   | active                   | True  ScalerActive     True  ScaledObjectReady            False
cpu cur=1 min=1                     | active                   | True  ScalerActive     True  ScaledObjectReady            False
cpu off cur=1 last=90               | deactivate 1 0           | False ScalerNotActive  True  ScaledObjectReady            False

err cur=2                           | failing                  | False ScalerNotActive  False TriggerError                 False
err cur=0                           | failing                  | False ScalerNotActive  False TriggerError                 False
err off cur=2 last=90               | failing                  | False ScalerNotActive  False TriggerError                 False
err cur=2 fb=3/5                    | awaitFallback            | False ScalerNotActive  True  ScaledObjectReady            False
err cur=2 last=90 fb=3/0            | deactivate 2 0           | False ScalerNotActive  True  ScaledObjectReady            False
err*3 cur=2 fb=3/5                  | active                   | True  ScalerActive     True  ScaledObjectReady            True
err*3 cur=0 fb=3/5                  | activate 0 1             | True  ScalerActive     True  ScaledObjectReady            True
err*3 cur=? fb=3/5/currentReplicas  | replicasUnknown          | Unknown                False ErrorGettingCurrentReplicas  True
off cur=2 fb=3/5                    | cooldown                 | False ScalerCooldown   True  ScaledObjectReady            False

off cur=3 last=30                   | cooldown                 | False ScalerCooldown   True  ScaledObjectReady            False
off cur=3 last=60                   | cooldown                 | False ScalerCooldown   True  ScaledObjectReady            False
off cur=3 last=61                   | deactivate 3 0           | False ScalerNotActive  True  ScaledObjectReady            False
off cur=3 age=19                    | cooldown                 | False ScalerCooldown   True  ScaledObjectReady            False
off cur=3 age=21                    | deactivate 3 0           | False ScalerNotActive  True  ScaledObjectReady            False
off cur=3 last=90 in=true           | deactivationPaused       | False ScalerNotActive  True  ScaledObjectReady            False
off cur=3 min=2 idle=0 last=90      | deactivate 3 0           | False ScalerNotActive  True  ScaledObjectReady            False
off cur=3 min=2 idle=1 last=90      | deactivate 3 1           | False ScalerNotActive  True  ScaledObjectReady            False
off cur=1 min=2 idle=1              | idle                     | False ScalerNotActive  True  ScaledObjectReady            False
off cur=0 min=2                     | raiseToMinimum 0 2       | False ScalerNotActive  True  ScaledObjectReady            False
off cur=1 min=2 out=true            | raiseToMinimum 1 2       | False ScalerNotActive  True  ScaledObjectReady            False
off cur=5 min=2 last=90             | idle                     | False ScalerNotActive  True  ScaledObjectReady            False
off cur=0                           | idle                     | False ScalerNotActive  True  ScaledObjectReady            False

off off cur=0 formula=t0+t1+3       | activate 0 1             | True  ScalerActive     True  ScaledObjectReady            False
on on cur=2 last=90 formula=t0/t1   | deactivate 2 0           | False ScalerNotActive  True  ScaledObjectReady            False
on err cur=2 formula=t0+t1          | failing                  | False ScalerNotActive  False TriggerError                 False
on err*3 cur=2 fb=3/2/scalingModifiers formula=t0??t1 | active | True  ScalerActive     True  ScaledObjectReady            True
err*3 err*3 cur=0 fb=3/2/scalingModifiers formula=t0??t1 | activate 0 1 | True ScalerActive True ScaledObjectReady         True
off err*3 cur=2 fb=3/2 formula=t0   | active                   | True  ScalerActive     True  ScaledObjectReady            True
off err*3 cur=2 fb=3/2/scalingModifiers formula=t0+t1 | awaitFallback | False ScalerNotActive True ScaledObjectReady       True
";

/// The situation of a row.
fn situation(row: &str) -> (ScaledObject, Observation) {
    let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
    let ago = |seconds: &str| {
        let seconds = SignedDuration::from_secs(seconds.parse().unwrap());
        decide::scale::seconds(now.checked_sub(seconds).unwrap())
    };
    let mut object = ScaledObject::default();
    object.metadata.namespace = "ns".to_owned();
    object.metadata.name = "so".to_owned();
    object.metadata.creation_timestamp = Some(ago("10"));
    object.spec.scale_target_ref.name = "w".to_owned();
    object.spec.cooldown_period = Some(60);
    object.spec.initial_cooldown_period = Some(20);
    object.status.conditions = conditions::initial();
    let mut seen = Observation {
        metrics: Vec::new(),
        resource_triggers: 0,
        replicas: Ok(0),
        ready_pods: Some(1),
        hpa: None,
        now,
    };
    for word in row.split_whitespace() {
        let Some((key, value)) = word.split_once('=') else {
            trigger(word, &mut object, &mut seen);
            continue;
        };
        let number = || Some(value.parse().unwrap());
        let mut annotate = |name: &str| {
            let annotations = &mut object.metadata.annotations;
            annotations.insert(name.to_owned(), value.to_owned());
        };
        match key {
            "cur" => seen.replicas = value.parse().map_err(|_| "not found".to_owned()),
            "min" => object.spec.min_replica_count = number(),
            "max" => object.spec.max_replica_count = number(),
            "idle" => object.spec.idle_replica_count = number(),
            "last" => object.status.last_active_time = Some(ago(value)),
            "age" => object.metadata.creation_timestamp = Some(ago(value)),
            "paused" => annotate(PAUSED),
            "replicas" => annotate(PAUSED_REPLICAS),
            "in" => annotate(PAUSED_SCALE_IN),
            "out" => annotate(PAUSED_SCALE_OUT),
            "force" => annotate(FORCE_ACTIVATION),
            "fb" => {
                let parts: Vec<&str> = value.split('/').collect();
                object.spec.fallback = Some(Fallback {
                    failure_threshold: parts[0].parse().unwrap(),
                    replicas: parts[1].parse().unwrap(),
                    behavior: parts.get(2).copied().unwrap_or("static").to_owned(),
                });
            }
            "formula" => {
                object.spec.advanced = Some(Advanced {
                    scaling_modifiers: Some(ScalingModifiers {
                        formula: value.to_owned(),
                        target: "10".to_owned(),
                        activation_target: "4".to_owned(),
                        ..ScalingModifiers::default()
                    }),
                    ..Advanced::default()
                });
            }
            other => panic!("no key {other} in {row}"),
        }
    }
    (object, seen)
}

fn trigger(word: &str, object: &mut ScaledObject, seen: &mut Observation) {
    let index = object.spec.triggers.len();
    object.spec.triggers.push(ScaleTrigger {
        trigger_type: if word == "cpu" { "cpu" } else { "prometheus" }.to_owned(),
        name: format!("t{index}"),
        ..ScaleTrigger::default()
    });
    if word == "cpu" {
        seen.resource_triggers += 1;
        return;
    }
    let metric = format!("s{index}-prometheus");
    let (word, failures) = word.split_once('*').unwrap_or((word, "0"));
    if failures != "0" {
        let health = Health {
            number_of_failures: failures.parse().unwrap(),
            status: "Failing".to_owned(),
        };
        object.status.health.insert(metric.clone(), health);
    }
    let read = match word {
        "on" => Read::Value {
            value: VALUES.0,
            active: true,
        },
        "off" => Read::Value {
            value: VALUES.1,
            active: false,
        },
        "err" => Read::Failed("connection refused".to_owned()),
        other => panic!("no trigger {other}"),
    };
    seen.metrics.push(MetricRead {
        metric,
        target: Target::Average(5.0),
        read,
    });
}

/// What a decision comes to, in the words of the table.
fn told(decision: &Decision) -> (String, String) {
    let rule = serde_json::to_value(decision.explanation.rule).unwrap();
    let mut rule = rule.as_str().unwrap().to_owned();
    if let Some(scale) = &decision.scale {
        rule += &format!(" {} {}", scale.from, scale.to);
    }
    let condition = |kind: &str| {
        let found = decision.status.conditions.iter();
        let found = found.into_iter().find(|c| c.condition_type == kind);
        found.map_or(String::new(), |c| format!("{} {}", c.status, c.reason))
    };
    let fallback = conditions::status_of(&decision.status.conditions, "Fallback");
    let text = format!("{} {} {fallback}", condition("Active"), condition("Ready"));
    (rule, text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn decide(object: &ScaledObject, seen: &Observation) -> Decision {
    step(object, Composite::of(object).as_ref(), seen)
}

#[test]
fn every_row_holds() {
    let mut wrong = Vec::new();
    for row in TABLE.lines().filter(|row| !row.trim().is_empty()) {
        let mut cells = row.split('|').map(|cell| {
            let words: Vec<&str> = cell.split_whitespace().collect();
            words.join(" ")
        });
        let mut cell = || cells.next().unwrap();
        let (object, seen) = situation(&cell());
        let want = (cell(), cell());
        let have = told(&decide(&object, &seen));
        if have != want {
            wrong.push(format!("{row}\n    want {want:?}\n    have {have:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn deciding_again_with_nothing_changed_changes_nothing_but_the_time() {
    for row in TABLE.lines().filter(|row| !row.trim().is_empty()) {
        let (mut object, mut seen) = situation(row.split('|').next().unwrap());
        // Failures are counted at each poll, which is a change.
        if row.contains("err") {
            continue;
        }
        let first = decide(&object, &seen);
        object.status = first.status.clone();
        if let Some(scale) = &first.scale {
            seen.replicas = Ok(scale.to);
        }
        let second = decide(&object, &seen);
        assert_eq!(second.scale, None, "{row}");
        assert_eq!(
            second.status.triggers_activity, first.status.triggers_activity,
            "{row}"
        );
    }
}
