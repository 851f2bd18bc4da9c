//! What a person reads, and what they are told when there is nothing to read.

#![allow(clippy::unwrap_used)]

use api::quantity::{Format, Quantity};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::*;
use crate::hpa::{HpaInput, HpaMemory, HpaSpec, MetricObservation, ScaleObservation, decide};
use crate::nodes::PodOutcome;

fn noon() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn later(seconds: i64) -> Timestamp {
    noon() + SignedDuration::from_secs(seconds)
}

fn target() -> Workload {
    Workload {
        kind: "Deployment".to_owned(),
        name: "web".to_owned(),
    }
}

fn object(kind: &str, name: &str) -> Object {
    Object {
        kind: kind.to_owned(),
        namespace: "default".to_owned(),
        name: name.to_owned(),
    }
}

fn input(value: i64, current: i32, behavior: serde_json::Value) -> HpaInput {
    let spec = json!({"minReplicas": 1, "maxReplicas": 20, "behavior": behavior,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "metrics": [{"type": "External", "external": {"metric": {"name": "s0-prometheus"},
            "target": {"type": "AverageValue", "averageValue": "5"}}}]});
    let value = Quantity::from_milli(value * 1000, Format::DecimalSI);
    HpaInput {
        namespace: "default".to_owned(),
        name: "keda-hpa-web".to_owned(),
        spec: HpaSpec::from_json(&spec).unwrap(),
        scale: ScaleObservation::Found {
            spec_replicas: current,
            status_replicas: current,
            selector: "app=web".to_owned(),
        },
        metrics: [(0, MetricObservation::External(Ok(vec![value])))].into(),
        ..HpaInput::default()
    }
}

fn record(time: Timestamp, explanation: crate::hpa::Explanation) -> Record {
    Record {
        time,
        object: object("HorizontalPodAutoscaler", "keda-hpa-web"),
        target: target(),
        explanation: Explanation::Hpa(explanation),
    }
}

fn question(kind: Kind, name: &str, at: Option<Timestamp>) -> Question {
    Question {
        kind,
        namespace: "default".to_owned(),
        name: name.to_owned(),
        at,
    }
}

/// A target at ten replicas whose load falls away.
fn falling() -> Vec<Record> {
    let mut memory = HpaMemory::default();
    let mut records = Vec::new();
    for (round, value) in [50, 50, 28, 28].into_iter().enumerate() {
        let now = later(15 * round as i64);
        let decision = decide(&input(value, 10, json!(null)), &mut memory, now);
        records.push(record(now, decision));
    }
    records
}

#[test]
fn three_lines_say_what_why_and_what_else() {
    let records = falling();
    let asked = question(Kind::Deployment, "web", None);
    let account = account(records.iter(), &asked, later(50)).unwrap();
    assert_eq!(
        render(&account, false),
        "deployment/web in default stays at 10 replicas (2026-01-01 12:00:45, 5 s before)\n  \
         s0-prometheus is 28 for a target of 5 a replica: asks for 6\n  \
         6 becomes 10 by scale-down stabilization (5 min): 10 was recommended 30 s before and \
         holds until 12:05:15; would be 6 without stabilization\n"
    );
    assert!(render(&account, true).contains("ratio 0.560 gives 6; tolerance +0.1 -0.1 exceeded"));
}

#[test]
fn each_rule_names_itself_with_what_would_be_without_it() {
    let text = |value, current, behavior| {
        let mut memory = HpaMemory {
            recommendations: Some(Vec::new()),
            ..HpaMemory::default()
        };
        let explanation = decide(&input(value, current, behavior), &mut memory, noon());
        let records = [record(noon(), explanation)];
        let asked = question(Kind::Hpa, "keda-hpa-web", None);
        let text = render(&account(records.iter(), &asked, noon()).unwrap(), false);
        text.lines().last().unwrap().trim().to_owned()
    };
    let none = || json!(null);
    assert_eq!(
        text(1000, 1, none()),
        "20 becomes 4: at most twice as many at a time, or 4; would be 20 without the rate limit"
            .replace("20 becomes", "200 becomes")
    );
    assert_eq!(
        text(1000, 15, none()),
        "200 becomes 20, the maximum; would be 30 without the maximum"
    );
    assert_eq!(
        text(0, 3, none()),
        "0 becomes 1, the minimum; would be 0 without the minimum"
    );
    assert_eq!(
        text(11, 2, none()),
        "no rule changed that (bounds 1 to 20); would be 3 without the tolerance"
    );
    let slow = json!({"scaleUp": {"policies": [
        {"type": "Pods", "value": 2, "periodSeconds": 60}]}});
    assert_eq!(
        text(100, 4, slow),
        "20 becomes 6 by the scaleUp policy of 2 pods in 1 min (4 at its start); would be 20 \
         without the rate limit"
    );
    let frozen = json!({"scaleDown": {"selectPolicy": "Disabled",
        "stabilizationWindowSeconds": 0}});
    assert_eq!(
        text(5, 4, frozen),
        "1 becomes 4: scaleDown is disabled by its selectPolicy; would be 1 without the rate limit"
    );
}

#[test]
fn a_log_reads_back_as_it_was_written() {
    let mut records = falling();
    let mut waiting = WaitingPods::default();
    let reasons = [(
        "gpunp".to_owned(),
        vec!["max node group size reached".to_owned()],
    )];
    let refused = PodOutcome::Refused {
        reasons: reasons.into(),
    };
    waiting.pods.insert("web-1".to_owned(), refused);
    records.push(Record {
        time: later(46),
        object: object("Deployment", "web"),
        target: target(),
        explanation: Explanation::Nodes(waiting),
    });
    records.push(Record {
        time: later(47),
        object: object("ScaledObject", "gpu"),
        target: target(),
        explanation: Explanation::ScaledObject(crate::scale::Explanation {
            rule: crate::scale::Rule::Cooldown,
            metrics: Vec::new(),
            forced: false,
            cooldown_until: Some("2026-01-01T12:05:00Z".to_owned()),
            from: Some(10),
            to: None,
        }),
    });
    for record in &records {
        let line = serde_json::to_string(record).unwrap();
        assert_eq!(
            &serde_json::from_str::<Record>(&line).unwrap(),
            record,
            "{line}"
        );
    }
    let asked = question(Kind::ScaledObject, "gpu", None);
    let text = render(&account(records.iter(), &asked, later(60)).unwrap(), false);
    assert!(
        text.contains(
            "1 pod waits for a node: no pool can help (gpunp: max node group size reached)"
        ) && text.contains("cooling down until 2026-01-01T12:05:00Z")
            && text.contains("would be 6 without stabilization"),
        "{text}"
    );
}

#[test]
fn what_is_missing_is_named_with_a_way_out() {
    let records = falling();
    let why = |kind, name: &str, at| {
        let asked = question(kind, name, at);
        account(records.iter(), &asked, later(50))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        why(Kind::Deployment, "wbe", None),
        "no decision about deployment/wbe in namespace default (did you mean deployment/web?)"
    );
    assert_eq!(
        why(Kind::ScaledObject, "web", None),
        "no decision about scaledobject/web in namespace default (did you mean deployment/web?)"
    );
    assert_eq!(
        why(Kind::Deployment, "payments-frontend", None),
        "no decision about deployment/payments-frontend in namespace default (there are decisions \
         about deployment/web, hpa/keda-hpa-web)"
    );
    assert_eq!(
        why(Kind::Deployment, "web", Some(later(-60))),
        "2026-01-01T11:59:00Z is outside of what is kept: --at takes a time from \
         2026-01-01T12:00:00Z to 2026-01-01T12:00:50Z (in UTC, as here)"
    );
    let past = question(Kind::Deployment, "web", Some(later(20)));
    let past = account(records.iter(), &past, later(50)).unwrap();
    assert_eq!(past.hpa.unwrap().time, later(15));
}

#[test]
fn moments_are_read_as_people_write_them() {
    let read = |text: &str| moment(text, noon()).unwrap().to_string();
    assert_eq!(read("2026-01-01T11:00:00Z"), "2026-01-01T11:00:00Z");
    assert_eq!(read("2026-01-01 11:00:00"), "2026-01-01T11:00:00Z");
    assert_eq!(read("08:12:30"), "2026-01-01T08:12:30Z");
    assert_eq!(read("13:00"), "2025-12-31T13:00:00Z");
    assert_eq!(read("-5m"), "2026-01-01T11:55:00Z");
    assert_eq!(read("1h30m"), "2026-01-01T10:30:00Z");
    assert!(
        moment("yesterday", noon())
            .unwrap_err()
            .contains("how long ago, such as 5m")
    );
}

#[test]
fn a_history_forgets_the_oldest_and_keeps_no_news_out() {
    let mut history = History::new(Limits { records: 2 });
    for record in falling() {
        history.add(record);
    }
    assert_eq!(history.records().count(), 2);
    assert_eq!(history.records().next().unwrap().time, later(30));
    // Nothing waits: no news.
    history.add(Record {
        time: later(60),
        object: object("Deployment", "web"),
        target: target(),
        explanation: Explanation::Nodes(WaitingPods::default()),
    });
    assert_eq!(history.records().last().unwrap().time, later(45));
}

#[test]
fn a_wait_that_was_forgotten_is_told_again() {
    let waits = |seconds| Record {
        time: later(seconds),
        object: object("Deployment", "web"),
        target: target(),
        explanation: Explanation::Nodes(WaitingPods {
            pods: [("web-1".to_owned(), PodOutcome::Expendable)].into(),
        }),
    };
    let mut history = History::new(Limits { records: 2 });
    history.add(waits(0));
    history.add(waits(1));
    assert_eq!(history.records().count(), 1, "the same is no news");
    for record in falling() {
        history.add(record);
    }
    history.add(waits(60));
    assert_eq!(history.records().last().unwrap().time, later(60));
}

#[test]
fn a_paused_scaled_object_is_told_with_the_replicas_it_holds() {
    let told = |from, held| {
        let record = Record {
            time: noon(),
            object: object("ScaledObject", "web"),
            target: target(),
            explanation: Explanation::ScaledObject(crate::scale::Explanation::paused(from, held)),
        };
        let question = question(Kind::ScaledObject, "web", None);
        let account = account([&record].into_iter(), &question, later(5)).unwrap();
        render(&account, false)
    };
    assert!(
        told(Some(3), Some(2)).contains("goes from 3 to 2"),
        "{}",
        told(Some(3), Some(2))
    );
    assert!(told(Some(2), Some(2)).contains("stays at 2"));
    let kept = told(None, None);
    assert!(
        kept.contains("keeps the replicas it has") && kept.contains("paused"),
        "{kept}"
    );
}
