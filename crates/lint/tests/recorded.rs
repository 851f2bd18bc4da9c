//! Errors and warnings on the objects that were recorded with the real KEDA.
//! Each error must be something that the recording shows refused or failing.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use lint::{Assumptions, Severity, Source};
use serde_json::Value;

fn data(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn cases() -> Vec<Value> {
    let text = std::fs::read_to_string(data("keda_cases.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn webhook() -> Vec<Value> {
    let text = std::fs::read_to_string(data("keda_webhook.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What a recorded creation was refused with.
fn refusal(row: &Value) -> Option<String> {
    let text = row["message"].as_str()?;
    let denied = text.split_once("denied the request: ");
    Some(denied.map_or(text, |(_, words)| words).to_owned())
}

fn found(case: &Value) -> lint::Report {
    let documents: Vec<String> = case["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(api::yaml::to_string)
        .collect();
    let source = Source {
        name: case["name"].as_str().unwrap().to_owned(),
        text: documents.join("---\n"),
    };
    lint::lint(&[source], &Assumptions::default()).unwrap()
}

/// What the recording says against the objects: refusals, and conditions that
/// name a failure.
fn evidence(case: &Value) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for error in case["create_errors"].as_array().into_iter().flatten() {
        out.extend(error.as_str().map(|text| format!("refused: {text}")));
    }
    for step in case["steps"].as_array().into_iter().flatten() {
        for object in step["scaledobjects"].as_object().into_iter().flatten() {
            for condition in object.1["conditions"].as_array().into_iter().flatten() {
                let kind = condition["type"].as_str().unwrap_or("");
                let bad = matches!(kind, "Ready" | "HPAActive") && condition["status"] != "True";
                if bad && !condition["reason"].is_null() {
                    out.insert(format!("{}: {}", condition["reason"], condition["message"]));
                }
            }
        }
        for hpa in step["hpas"].as_object().into_iter().flatten() {
            for condition in hpa.1["conditions"].as_array().into_iter().flatten() {
                if condition["reason"] == "AmbiguousSelector" {
                    out.insert("AmbiguousSelector".to_owned());
                }
            }
        }
    }
    out
}

#[test]
fn findings_on_recorded_objects_are_the_reviewed_ones() {
    let mut now = String::new();
    for case in cases() {
        let report = found(&case);
        let bad: Vec<String> = support::bad(&report);
        writeln!(
            now,
            "{}: {}",
            case["name"].as_str().unwrap(),
            bad.join(", ")
        )
        .unwrap();
    }
    let path = data("keda_cases.findings");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let reviewed = std::fs::read_to_string(&path).unwrap_or_default();
    for (now, reviewed) in now.lines().zip(reviewed.lines()) {
        assert_eq!(now, reviewed, "review, then UPDATE_SNAPSHOTS=1");
    }
    assert_eq!(now.lines().count(), reviewed.lines().count());
}

#[test]
fn each_error_is_shown_refused_or_failing_by_the_recording() {
    let mut errors = 0;
    let webhook: Vec<String> = webhook().iter().filter_map(refusal).collect();
    for case in cases() {
        let report = found(&case);
        let evidence = evidence(&case);
        for error in report
            .findings
            .iter()
            .filter(|f| f.severity == Severity::Error)
        {
            errors += 1;
            assert!(
                !evidence.is_empty(),
                "{}: {} {} but the recording shows no failure",
                case["name"],
                error.id,
                error.message
            );
            // KEDA's own words, where the rule repeats them.
            if let Some((_, words)) = error.message.split_once("refuses this: ") {
                // Lint may know a cause further down than the program that stopped first.
                let words = words.split(';').next().unwrap().lines().next().unwrap();
                let plain = |text: &str| text.replace('\\', "").replace("%!w(<nil>)", "");
                // The cases were recorded without the webhook, which has a
                // recording of its own.
                let said = evidence
                    .iter()
                    .chain(&webhook)
                    .any(|e| plain(e).contains(&plain(words)));
                assert!(said, "{}: {words}\nnot in {evidence:#?}", case["name"]);
            }
        }
    }
    assert!(errors >= 10, "only {errors} errors");
}

/// Recorded refusals that lint does not see, and why.
const NOT_SEEN: &[(&str, &str)] = &[
    ("other-hpa", "the HPA is in the cluster only"),
    ("memory-no-request", "the workload is in the cluster only"),
];

/// What the webhook lets pass and the operator or the API server refuses later.
const REFUSED_LATER: &[&str] = &[
    "metric-type-utilization",
    "unknown-trigger-type",
    "hpa-name-upper",
    "behavior-bad-policy",
];

#[test]
fn what_the_webhook_refused_is_refused_and_nothing_else() {
    for row in webhook() {
        let name = row["name"].as_str().unwrap();
        let mut objects = row["before"].as_array().cloned().unwrap_or_default();
        objects.push(row["object"].clone());
        let case = serde_json::json!({"name": name, "objects": objects});
        let report = found(&case);
        let refused: Vec<&str> = report
            .findings
            .iter()
            .filter(|f| matches!(f.id, "spec-value" | "two-writers"))
            .map(|f| f.message.as_str())
            .collect();
        let known = NOT_SEEN.iter().any(|(case, _)| *case == name);
        match refusal(&row) {
            Some(_) if known => assert!(
                refused.is_empty(),
                "{name} is seen now, take it off the list: {refused:?}"
            ),
            Some(words) => {
                // The API server lists several errors in brackets.
                let plain = |text: &str| text.replace('\\', "");
                let said = refused.iter().any(|message| {
                    let own = message.split("refuses this: ").last().unwrap_or(message);
                    let own = own.split(" (line").next().unwrap_or(own);
                    plain(&words).contains(&plain(own)) || plain(message).contains(&plain(&words))
                });
                assert!(said, "{name}: {words}\nfound {refused:?}");
            }
            None if REFUSED_LATER.contains(&name) => {
                assert!(!refused.is_empty(), "{name} is refused after the webhook");
            }
            None => assert!(refused.is_empty(), "{name} was accepted: {refused:?}"),
        }
    }
}
