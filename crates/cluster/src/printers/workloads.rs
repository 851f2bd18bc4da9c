//! Deployments and their relatives.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::age::human;
use super::{Printer, age, number, or_none, pairs, since};
use crate::rest::scale::selector_text;
use crate::value::{at, integer, list, name, text};

/// Names and images of a template's containers, joined by commas.
fn containers(spec: &Value) -> [Value; 2] {
    let all = list(spec, &["containers"]);
    let join = |key: &str| {
        json!(
            all.iter()
                .map(|c| text(c, &[key]))
                .collect::<Vec<_>>()
                .join(",")
        )
    };
    [join("name"), join("image")]
}

fn template(object: &Value) -> &Value {
    &object["spec"]["template"]["spec"]
}

fn selector(object: &Value) -> Value {
    or_none(&selector_text(&object["spec"]["selector"]))
}

pub(super) const DEPLOYMENTS: Printer = (
    &[
        ("Name", "string", 0),
        ("Ready", "string", 0),
        ("Up-to-date", "string", 0),
        ("Available", "string", 0),
        ("Age", "string", 0),
        ("Containers", "string", 1),
        ("Images", "string", 1),
        ("Selector", "string", 1),
    ],
    |d, now| {
        let ready = integer(d, &["status", "readyReplicas"]).unwrap_or(0);
        let wanted = integer(d, &["spec", "replicas"]).unwrap_or(0);
        let [names, images] = containers(template(d));
        vec![
            json!(name(d)),
            json!(format!("{ready}/{wanted}")),
            number(d, &["status", "updatedReplicas"]),
            number(d, &["status", "availableReplicas"]),
            json!(age(d, now)),
            names,
            images,
            selector(d),
        ]
    },
);

pub(super) const REPLICA_SETS: Printer = (
    &[
        ("Name", "string", 0),
        ("Desired", "integer", 0),
        ("Current", "integer", 0),
        ("Ready", "integer", 0),
        ("Age", "string", 0),
        ("Containers", "string", 1),
        ("Images", "string", 1),
        ("Selector", "string", 1),
    ],
    |r, now| {
        let [names, images] = containers(template(r));
        vec![
            json!(name(r)),
            number(r, &["spec", "replicas"]),
            number(r, &["status", "replicas"]),
            number(r, &["status", "readyReplicas"]),
            json!(age(r, now)),
            names,
            images,
            selector(r),
        ]
    },
);

pub(super) const STATEFUL_SETS: Printer = (
    &[
        ("Name", "string", 0),
        ("Ready", "string", 0),
        ("Age", "string", 0),
        ("Containers", "string", 1),
        ("Images", "string", 1),
    ],
    |s, now| {
        let ready = integer(s, &["status", "readyReplicas"]).unwrap_or(0);
        let wanted = integer(s, &["spec", "replicas"]).unwrap_or(0);
        let [names, images] = containers(template(s));
        vec![
            json!(name(s)),
            json!(format!("{ready}/{wanted}")),
            json!(age(s, now)),
            names,
            images,
        ]
    },
);

pub(super) const DAEMON_SETS: Printer = (
    &[
        ("Name", "string", 0),
        ("Desired", "integer", 0),
        ("Current", "integer", 0),
        ("Ready", "integer", 0),
        ("Up-to-date", "integer", 0),
        ("Available", "integer", 0),
        ("Node Selector", "string", 0),
        ("Age", "string", 0),
        ("Containers", "string", 1),
        ("Images", "string", 1),
        ("Selector", "string", 1),
    ],
    |d, now| {
        let [names, images] = containers(template(d));
        vec![
            json!(name(d)),
            number(d, &["status", "desiredNumberScheduled"]),
            number(d, &["status", "currentNumberScheduled"]),
            number(d, &["status", "numberReady"]),
            number(d, &["status", "updatedNumberScheduled"]),
            number(d, &["status", "numberAvailable"]),
            json!(pairs(&template(d)["nodeSelector"])),
            json!(age(d, now)),
            names,
            images,
            selector(d),
        ]
    },
);

pub(super) const JOBS: Printer = (
    &[
        ("Name", "string", 0),
        ("Status", "string", 0),
        ("Completions", "string", 0),
        ("Duration", "string", 0),
        ("Age", "string", 0),
        ("Containers", "string", 1),
        ("Images", "string", 1),
        ("Selector", "string", 1),
    ],
    job,
);

fn job(j: &Value, now: Timestamp) -> Vec<Value> {
    let done = integer(j, &["status", "succeeded"]).unwrap_or(0);
    let completions = match integer(j, &["spec", "completions"]) {
        Some(wanted) => format!("{done}/{wanted}"),
        None => match integer(j, &["spec", "parallelism"]) {
            Some(p) if p > 1 => format!("{done}/1 of {p}"),
            _ => format!("{done}/1"),
        },
    };
    let holds = |kind: &str| {
        list(j, &["status", "conditions"])
            .iter()
            .any(|c| c["type"] == kind && c["status"] == "True")
    };
    let status = if holds("Complete") {
        "Complete"
    } else if holds("Failed") {
        "Failed"
    } else if at(j, &["metadata", "deletionTimestamp"]).is_some() {
        "Terminating"
    } else if holds("Suspended") {
        "Suspended"
    } else if holds("FailureTarget") {
        "FailureTarget"
    } else if holds("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    };
    let start = text(j, &["status", "startTime"]);
    let end = text(j, &["status", "completionTime"]);
    let duration = match (start.parse::<Timestamp>(), end.parse::<Timestamp>()) {
        (Err(_), _) => String::new(),
        (Ok(_), Err(_)) => since(start, now),
        (Ok(a), Ok(b)) => human(b.duration_since(a).as_millis()),
    };
    let [names, images] = containers(template(j));
    vec![
        json!(name(j)),
        json!(status),
        json!(completions),
        json!(duration),
        json!(age(j, now)),
        names,
        images,
        selector(j),
    ]
}

pub(super) const CRON_JOBS: Printer = (
    &[
        ("Name", "string", 0),
        ("Schedule", "string", 0),
        ("Timezone", "string", 0),
        ("Suspend", "string", 0),
        ("Active", "integer", 0),
        ("Last Schedule", "string", 0),
        ("Age", "string", 0),
        ("Containers", "string", 1),
        ("Images", "string", 1),
        ("Selector", "string", 1),
    ],
    |c, now| {
        let last = match text(c, &["status", "lastScheduleTime"]) {
            "" => "<none>".to_owned(),
            time => since(time, now),
        };
        let suspended = if c["spec"]["suspend"] == true {
            "True"
        } else {
            "False"
        };
        let [names, images] = containers(&c["spec"]["jobTemplate"]["spec"]["template"]["spec"]);
        vec![
            json!(name(c)),
            json!(text(c, &["spec", "schedule"])),
            or_none(text(c, &["spec", "timeZone"])),
            json!(suspended),
            json!(list(c, &["status", "active"]).len()),
            json!(last),
            json!(age(c, now)),
            names,
            images,
            or_none(&selector_text(
                &c["spec"]["jobTemplate"]["spec"]["selector"],
            )),
        ]
    },
);
