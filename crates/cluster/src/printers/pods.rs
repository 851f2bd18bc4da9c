//! Pods.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Printer, age, or_none, since};
use crate::value::{at, deleting, integer, list, name, text};

pub(super) const PODS: Printer = (
    &[
        ("Name", "string", 0),
        ("Ready", "string", 0),
        ("Status", "string", 0),
        ("Restarts", "string", 0),
        ("Age", "string", 0),
        ("IP", "string", 1),
        ("Node", "string", 1),
        ("Nominated Node", "string", 1),
        ("Readiness Gates", "string", 1),
    ],
    cells,
);

/// What a container's state says beyond running.
fn reason_of(status: &Value) -> Option<String> {
    let waiting = text(status, &["state", "waiting", "reason"]);
    if !waiting.is_empty() {
        return Some(waiting.to_owned());
    }
    let ended = at(status, &["state", "terminated"])?;
    let reason = text(ended, &["reason"]);
    if !reason.is_empty() {
        return Some(reason.to_owned());
    }
    Some(match integer(ended, &["signal"]) {
        Some(signal) if signal != 0 => format!("Signal:{signal}"),
        _ => format!("ExitCode:{}", integer(ended, &["exitCode"]).unwrap_or(0)),
    })
}

fn condition(pod: &Value, kind: &str) -> bool {
    list(pod, &["status", "conditions"])
        .iter()
        .any(|c| c["type"] == kind && c["status"] == "True")
}

#[derive(Default)]
struct Tally {
    ready: usize,
    restarts: i64,
    last_restart: String,
}

impl Tally {
    fn restarted(&mut self, status: &Value) {
        self.restarts += integer(status, &["restartCount"]).unwrap_or(0);
        let end = text(status, &["lastState", "terminated", "finishedAt"]);
        if end > self.last_restart.as_str() {
            self.last_restart = end.to_owned();
        }
    }
}

fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let phase = text(pod, &["status", "phase"]);
    let own = text(pod, &["status", "reason"]);
    let mut reason = if own.is_empty() { phase } else { own }.to_owned();
    if list(pod, &["status", "conditions"])
        .iter()
        .any(|c| c["type"] == "PodScheduled" && c["reason"] == "SchedulingGated")
    {
        reason = "SchedulingGated".to_owned();
    }
    let containers = list(pod, &["spec", "containers"]);
    let inits = list(pod, &["spec", "initContainers"]);
    let sidecar = |name: &str| {
        inits
            .iter()
            .any(|c| text(c, &["name"]) == name && c["restartPolicy"] == "Always")
    };
    let total = containers.len()
        + inits
            .iter()
            .filter(|c| c["restartPolicy"] == "Always")
            .count();
    let mut tally = Tally::default();
    let mut sidecars = Tally::default();
    let mut initializing = false;
    for (i, status) in list(pod, &["status", "initContainerStatuses"])
        .iter()
        .enumerate()
    {
        tally.restarted(status);
        let is_sidecar = sidecar(text(status, &["name"]));
        if is_sidecar {
            sidecars.restarted(status);
        }
        let ended = at(status, &["state", "terminated"]);
        if ended.is_some_and(|e| integer(e, &["exitCode"]).unwrap_or(0) == 0) {
            continue;
        }
        if is_sidecar && status["started"] == true {
            if status["ready"] == true {
                tally.ready += 1;
                sidecars.ready += 1;
            }
            continue;
        }
        reason = match reason_of(status) {
            Some(r) if ended.is_some() || r != "PodInitializing" => format!("Init:{r}"),
            _ => format!("Init:{i}/{}", inits.len()),
        };
        initializing = true;
        break;
    }
    if !initializing || condition(pod, "Initialized") {
        tally = sidecars;
        let mut running = false;
        for status in list(pod, &["status", "containerStatuses"]).iter().rev() {
            tally.restarted(status);
            if let Some(r) = reason_of(status) {
                reason = r;
            } else if status["ready"] == true && at(status, &["state", "running"]).is_some() {
                running = true;
                tally.ready += 1;
            }
        }
        if reason == "Completed" && running {
            reason = if condition(pod, "Ready") {
                "Running"
            } else {
                "NotReady"
            }
            .to_owned();
        }
    }
    if deleting(pod) {
        if own == "NodeLost" {
            reason = "Unknown".to_owned();
        } else if phase != "Succeeded" && phase != "Failed" {
            reason = "Terminating".to_owned();
        }
    }
    let restarts = if tally.restarts > 0 && !tally.last_restart.is_empty() {
        format!(
            "{} ({} ago)",
            tally.restarts,
            since(&tally.last_restart, now)
        )
    } else {
        tally.restarts.to_string()
    };
    let gates = list(pod, &["spec", "readinessGates"]);
    let gates = if gates.is_empty() {
        "<none>".to_owned()
    } else {
        let met = gates
            .iter()
            .filter(|g| condition(pod, text(g, &["conditionType"])))
            .count();
        format!("{met}/{}", gates.len())
    };
    let ip = match list(pod, &["status", "podIPs"]).first() {
        Some(first) => text(first, &["ip"]),
        None => text(pod, &["status", "podIP"]),
    };
    vec![
        json!(name(pod)),
        json!(format!("{}/{total}", tally.ready)),
        json!(reason),
        json!(restarts),
        json!(age(pod, now)),
        or_none(ip),
        or_none(text(pod, &["spec", "nodeName"])),
        or_none(text(pod, &["status", "nominatedNodeName"])),
        json!(gates),
    ]
}
