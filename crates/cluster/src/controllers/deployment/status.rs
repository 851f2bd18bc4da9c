//! A deployment's status and conditions.

use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};

use super::super::object::{int, name, rfc3339, time_at};
use super::plan::Bounds;
use crate::value::{at, condition, list};

/// A condition to be set.
pub(crate) struct Condition<'a> {
    pub(crate) kind: &'a str,
    pub(crate) status: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) message: String,
}

/// Sets a condition: nothing happens if status and reason stay; otherwise it goes to the end of
/// the list, with its old transition time if the status stays.
pub(crate) fn set(conditions: &mut Vec<Value>, c: Condition<'_>, now: Timestamp) {
    let old = conditions.iter().find(|o| o["type"] == c.kind).cloned();
    let mut since = rfc3339(now);
    if let Some(old) = &old
        && old["status"] == c.status
    {
        if old["reason"] == c.reason {
            return;
        }
        since = old["lastTransitionTime"]
            .as_str()
            .unwrap_or(&since)
            .to_owned();
    }
    remove(conditions, c.kind);
    conditions.push(json!({
        "type": c.kind, "status": c.status, "reason": c.reason, "message": c.message,
        "lastUpdateTime": rfc3339(now), "lastTransitionTime": since,
    }));
}

/// Takes a condition off the list.
pub(crate) fn remove(conditions: &mut Vec<Value>, kind: &str) {
    conditions.retain(|c| c["type"] != kind);
}

/// `spec.progressDeadlineSeconds`, if the deployment has one.
pub(crate) fn deadline(d: &Value) -> Option<i64> {
    at(d, &["spec", "progressDeadlineSeconds"])
        .and_then(Value::as_i64)
        .filter(|s| *s != i64::from(i32::MAX))
}

/// The status that follows from the replica sets alone, Available condition included.
pub(crate) fn calculate(
    d: &Value,
    sets: &[&Value],
    new: Option<&Value>,
    b: &Bounds,
    now: Timestamp,
) -> Value {
    let sum = |field: &str| {
        sets.iter()
            .map(|rs| int(rs, &["status", field]))
            .sum::<i64>()
    };
    let available = sum("availableReplicas");
    let wanted: i64 = sets.iter().map(|rs| int(rs, &["spec", "replicas"])).sum();
    let mut conditions = list(d, &["status", "conditions"]).to_vec();
    let enough = available >= b.desired - b.unavailable;
    let c = if enough {
        Condition {
            kind: "Available",
            status: "True",
            reason: "MinimumReplicasAvailable",
            message: "Deployment has minimum availability.".to_owned(),
        }
    } else {
        Condition {
            kind: "Available",
            status: "False",
            reason: "MinimumReplicasUnavailable",
            message: "Deployment does not have minimum availability.".to_owned(),
        }
    };
    set(&mut conditions, c, now);
    let mut status = json!({
        "observedGeneration": int(d, &["metadata", "generation"]),
        "conditions": conditions,
        "terminatingReplicas": sum("terminatingReplicas"),
    });
    if let Some(n) = at(d, &["status", "collisionCount"]) {
        status["collisionCount"] = n.clone();
    }
    for (field, n) in [
        ("replicas", sum("replicas")),
        (
            "updatedReplicas",
            new.map_or(0, |rs| int(rs, &["status", "replicas"])),
        ),
        ("readyReplicas", sum("readyReplicas")),
        ("availableReplicas", available),
        ("unavailableReplicas", (wanted - available).max(0)),
    ] {
        if n != 0 {
            status[field] = json!(n);
        }
    }
    status
}

/// Whether the rollout has ended: every replica is of the new set and available.
pub(crate) fn complete(d: &Value, status: &Value) -> bool {
    let desired = int(d, &["spec", "replicas"]);
    ["updatedReplicas", "replicas", "availableReplicas"]
        .iter()
        .all(|f| int(status, &[f]) == desired)
        && int(status, &["observedGeneration"]) >= int(d, &["metadata", "generation"])
}

/// Updates the Progressing condition in `status`, which is about to replace `d`'s.
pub(crate) fn progress(d: &Value, status: &mut Value, new: Option<&Value>, now: Timestamp) {
    let current = condition(d, "Progressing");
    let mut conditions = list(status, &["conditions"]).to_vec();
    if deadline(d).is_none() {
        remove(&mut conditions, "Progressing");
        status["conditions"] = json!(conditions);
        return;
    }
    let done = int(status, &["replicas"]) == int(status, &["updatedReplicas"])
        && current.is_some_and(|c| c["reason"] == "NewReplicaSetAvailable");
    if done {
        return;
    }
    let who = new.map_or_else(
        || format!("Deployment \"{}\"", name(d)),
        |rs| format!("ReplicaSet \"{}\"", name(rs)),
    );
    if complete(d, status) {
        let message = format!("{who} has successfully progressed.");
        let (kind, reason) = ("Progressing", "NewReplicaSetAvailable");
        set(
            &mut conditions,
            Condition {
                kind,
                status: "True",
                reason,
                message,
            },
            now,
        );
    } else if progressing(d, status) {
        let message = format!("{who} is progressing.");
        let (kind, reason) = ("Progressing", "ReplicaSetUpdated");
        let since = current
            .filter(|c| c["status"] == "True")
            .map(|c| c["lastTransitionTime"].clone());
        // Each step forward renews the condition, and with it the deadline.
        remove(&mut conditions, kind);
        set(
            &mut conditions,
            Condition {
                kind,
                status: "True",
                reason,
                message,
            },
            now,
        );
        if let (Some(since), Some(c)) = (since, conditions.last_mut()) {
            c["lastTransitionTime"] = since;
        }
    } else if timed_out(d, now) {
        let message = format!("{who} has timed out progressing.");
        let (kind, reason) = ("Progressing", "ProgressDeadlineExceeded");
        set(
            &mut conditions,
            Condition {
                kind,
                status: "False",
                reason,
                message,
            },
            now,
        );
    }
    status["conditions"] = json!(conditions);
}

fn progressing(d: &Value, status: &Value) -> bool {
    let old = |f: &str| int(d, &["status", f]);
    let new = |f: &str| int(status, &[f]);
    new("updatedReplicas") > old("updatedReplicas")
        || new("replicas") - new("updatedReplicas") < old("replicas") - old("updatedReplicas")
        || new("readyReplicas") > old("readyReplicas")
        || new("availableReplicas") > old("availableReplicas")
}

fn timed_out(d: &Value, now: Timestamp) -> bool {
    match expires(d) {
        Some(at) => now > at,
        None => {
            condition(d, "Progressing").is_some_and(|c| c["reason"] == "ProgressDeadlineExceeded")
        }
    }
}

/// When the rollout runs out of time, unless it has ended either way.
pub(crate) fn expires(d: &Value) -> Option<Timestamp> {
    let c = condition(d, "Progressing")?;
    if c["reason"] == "NewReplicaSetAvailable" || c["reason"] == "ProgressDeadlineExceeded" {
        return None;
    }
    time_at(c, &["lastUpdateTime"])?
        .checked_add(deadline(d)?.seconds())
        .ok()
}

/// Copies a failure to create or delete pods from the replica sets.
pub(crate) fn failure(status: &mut Value, sets: &[&Value], new: Option<&Value>, now: Timestamp) {
    let failed = new
        .and_then(|rs| condition(rs, "ReplicaFailure"))
        .or_else(|| sets.iter().find_map(|rs| condition(rs, "ReplicaFailure")));
    let mut conditions = list(status, &["conditions"]).to_vec();
    match failed {
        Some(c) => set(
            &mut conditions,
            Condition {
                kind: "ReplicaFailure",
                status: c["status"].as_str().unwrap_or("True"),
                reason: c["reason"].as_str().unwrap_or(""),
                message: c["message"].as_str().unwrap_or("").to_owned(),
            },
            now,
        ),
        None => remove(&mut conditions, "ReplicaFailure"),
    }
    status["conditions"] = json!(conditions);
}
