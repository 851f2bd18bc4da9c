//! The statuses that a kubelet writes.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// A time as Kubernetes prints it: whole seconds.
pub(super) fn time(t: Timestamp) -> String {
    Timestamp::from_second(t.as_second())
        .unwrap_or(t)
        .to_string()
}

/// A time with microseconds, as leases have it.
pub(super) fn micro(t: Timestamp) -> String {
    format!("{t:.6}")
}

/// What a pod's containers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// Images are pulled.
    Creating,
    /// All run.
    Running,
    /// All ended, with this exit code.
    Ended(i64),
}

/// The addresses of a pod and what is known of its run.
#[derive(Clone, Debug, Default)]
pub(super) struct Run {
    pub(super) host_ip: String,
    pub(super) pod_ip: String,
    /// When the kubelet took the pod on.
    pub(super) accepted: Option<Timestamp>,
    /// When the containers started.
    pub(super) started: Option<Timestamp>,
    pub(super) restarts: i64,
    /// When the containers started and ended last and how, if they were restarted.
    pub(super) last: Option<(Timestamp, Timestamp, i64)>,
}

fn names(pod: &Value, field: &str) -> Vec<(String, String, bool)> {
    pod["spec"][field]
        .as_array()
        .into_iter()
        .flatten()
        .map(|c| {
            let text = |key: &str| c[key].as_str().unwrap_or("").to_owned();
            (text("name"), text("image"), c["restartPolicy"] == "Always")
        })
        .collect()
}

/// A made-up digest of an image: the same for the same name.
fn digest(image: &str) -> String {
    let mut h: u64 = 0xcbf2_9ce4_8422_2325;
    for b in image.bytes() {
        h = (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
    }
    (0..4)
        .map(|i| {
            format!(
                "{:016x}",
                h.rotate_left(i * 16).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            )
        })
        .collect()
}

/// The made-up size of an image in bytes.
pub(super) fn image_size(image: &str) -> u64 {
    let head = u64::from_str_radix(&digest(image)[..8], 16).unwrap_or(0);
    150_000_000 + head % 5_000_000_000
}

fn ended(started: Timestamp, at: Timestamp, code: i64) -> Value {
    json!({"terminated": {
        "exitCode": code,
        "reason": if code == 0 { "Completed" } else { "Error" },
        "startedAt": time(started),
        "finishedAt": time(at),
    }})
}

/// The whole status of a pod. `uid` makes container ids unique.
pub(super) fn pod(pod: &Value, uid: &str, run: &Run, doing: Doing, now: Timestamp) -> Value {
    let since = time(now);
    let all = names(pod, "containers");
    let list: Vec<&str> = all.iter().map(|(name, ..)| name.as_str()).collect();
    let unready = format!("containers with unready status: [{}]", list.join(" "));
    let ready = doing == Doing::Running;
    let done = matches!(doing, Doing::Ended(_));
    let old = pod["status"]["conditions"].as_array();
    let mut conditions = Vec::new();
    let mut set = |kind: &str, holds: bool, why: Option<(&str, &str)>| {
        let status = if holds { "True" } else { "False" };
        let before = old
            .into_iter()
            .flatten()
            .find(|c| c["type"] == kind && c["status"] == status);
        let at = before.map_or_else(|| json!(since), |c| c["lastTransitionTime"].clone());
        let mut c = json!({"type": kind, "status": status, "lastProbeTime": null,
                           "lastTransitionTime": at});
        if let Some((reason, message)) = why {
            c["reason"] = json!(reason);
            if !message.is_empty() {
                c["message"] = json!(message);
            }
        }
        conditions.push(c);
    };
    let completed = Some(("PodCompleted", ""));
    let not_ready = Some(("ContainersNotReady", unready.as_str()));
    let why_not = if done { completed } else { not_ready };
    set("PodReadyToStartContainers", ready, None);
    set("Initialized", true, if done { completed } else { None });
    set("Ready", ready, why_not.filter(|_| !ready));
    set("ContainersReady", ready, why_not.filter(|_| !ready));
    set("PodScheduled", true, None);

    let began = run.started.unwrap_or(now);
    let container = |kind: &str, (name, image, sidecar): &(String, String, bool)| {
        let init = kind == "init";
        let state = match doing {
            Doing::Creating if init => json!({"waiting": {"reason": "PodInitializing"}}),
            Doing::Creating => json!({"waiting": {"reason": "ContainerCreating"}}),
            _ if init && !sidecar => ended(began, began, 0),
            Doing::Running => json!({"running": {"startedAt": time(began)}}),
            Doing::Ended(code) => ended(began, now, code),
        };
        let runs = ready && (!init || *sidecar);
        let mut out = json!({
            "name": name, "image": image, "imageID": "", "lastState": {}, "state": state,
            "ready": runs || (init && doing != Doing::Creating), "started": runs,
            "restartCount": run.restarts,
        });
        if doing != Doing::Creating {
            out["imageID"] = json!(format!("{image}@sha256:{}", digest(image)));
            let id = format!("{uid}/{name}/{}", run.restarts);
            out["containerID"] = json!(format!("containerd://{}", digest(&id)));
        }
        if let Some((started, at, code)) = run.last
            && !init
        {
            out["lastState"] = ended(started, at, code);
        }
        out
    };
    let mut status = Map::new();
    let phase = match doing {
        Doing::Creating => "Pending",
        Doing::Running => "Running",
        Doing::Ended(0) => "Succeeded",
        Doing::Ended(_) => "Failed",
    };
    status.insert("phase".into(), json!(phase));
    status.insert("conditions".into(), json!(conditions));
    status.insert("hostIP".into(), json!(run.host_ip));
    status.insert("hostIPs".into(), json!([{"ip": run.host_ip}]));
    if doing != Doing::Creating {
        status.insert("podIP".into(), json!(run.pod_ip));
        status.insert("podIPs".into(), json!([{"ip": run.pod_ip}]));
    }
    status.insert("startTime".into(), json!(time(run.accepted.unwrap_or(now))));
    let init: Vec<Value> = names(pod, "initContainers")
        .iter()
        .map(|c| container("init", c))
        .collect();
    if !init.is_empty() {
        status.insert("initContainerStatuses".into(), json!(init));
    }
    let main: Vec<Value> = all.iter().map(|c| container("main", c)).collect();
    status.insert("containerStatuses".into(), json!(main));
    if pod["status"]["qosClass"].is_null() {
        status.insert("qosClass".into(), json!(qos(pod)));
    }
    Value::Object(status)
}

/// The quality of service that a pod's requests and limits of CPU and memory buy.
fn qos(pod: &Value) -> &'static str {
    let (mut any, mut guaranteed) = (false, true);
    for c in pod["spec"]["containers"].as_array().into_iter().flatten() {
        for resource in ["cpu", "memory"] {
            let limit = &c["resources"]["limits"][resource];
            let request = &c["resources"]["requests"][resource];
            any |= !limit.is_null() || !request.is_null();
            guaranteed &= !limit.is_null() && (request.is_null() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// The status of a pod that its node cannot take.
pub(super) fn refused(wanted: u32, free: u32, now: Timestamp) -> Value {
    json!({
        "phase": "Failed",
        "reason": "UnexpectedAdmissionError",
        "message": format!("Pod was rejected: Allocate failed due to requested number of devices \
            unavailable for nvidia.com/gpu. Requested: {wanted}, Available: {free}, which is \
            unexpected"),
        "startTime": time(now),
    })
}

/// The pressure conditions that a node's status lacks.
pub(super) fn missing_conditions(node: &Value, now: Timestamp) -> Vec<Value> {
    let have = |kind: &str| {
        node["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|c| c["type"] == kind)
    };
    [
        (
            "MemoryPressure",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        ),
        (
            "DiskPressure",
            "KubeletHasNoDiskPressure",
            "kubelet has no disk pressure",
        ),
        (
            "PIDPressure",
            "KubeletHasSufficientPID",
            "kubelet has sufficient PID available",
        ),
    ]
    .into_iter()
    .filter(|(kind, ..)| !have(kind))
    .map(|(kind, reason, message)| {
        json!({"type": kind, "status": "False", "reason": reason, "message": message,
               "lastHeartbeatTime": time(now), "lastTransitionTime": time(now)})
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_pod_keeps_its_old_transitions_and_shows_its_containers() {
        let t0: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let t5: Timestamp = "2026-01-01T00:00:05Z".parse().unwrap();
        let p = json!({
            "spec": {"containers": [{"name": "c", "image": "i"}]},
            "status": {"qosClass": "BestEffort", "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": time(t0)}]},
        });
        let run = Run {
            accepted: Some(t0),
            started: Some(t5),
            ..Run::default()
        };
        let s = pod(&p, "u", &run, Doing::Running, t5);
        assert_eq!(s["phase"], "Running");
        assert_eq!(s["startTime"], "2026-01-01T00:00:00Z");
        let c = &s["containerStatuses"][0];
        assert_eq!(c["state"]["running"]["startedAt"], "2026-01-01T00:00:05Z");
        assert_eq!((&c["ready"], &c["restartCount"]), (&json!(true), &json!(0)));
        let kinds: Vec<&str> = s["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["type"].as_str().unwrap())
            .collect();
        assert_eq!(
            kinds,
            [
                "PodReadyToStartContainers",
                "Initialized",
                "Ready",
                "ContainersReady",
                "PodScheduled"
            ]
        );
        assert_eq!(
            s["conditions"][4]["lastTransitionTime"],
            "2026-01-01T00:00:00Z"
        );
        assert_eq!(
            s["conditions"][2]["lastTransitionTime"],
            "2026-01-01T00:00:05Z"
        );
        let creating = pod(&p, "u", &run, Doing::Creating, t0);
        assert_eq!(
            creating["containerStatuses"][0]["state"]["waiting"]["reason"],
            "ContainerCreating"
        );
        assert_eq!(
            creating["conditions"][2]["message"],
            "containers with unready status: [c]"
        );
    }

    #[test]
    fn quality_of_service_follows_requests_and_limits() {
        let with = |r: Value| json!({"spec": {"containers": [{"resources": r}]}});
        assert_eq!(
            qos(&with(json!({"limits": {"nvidia.com/gpu": "1"}}))),
            "BestEffort"
        );
        assert_eq!(qos(&with(json!({"requests": {"cpu": "1"}}))), "Burstable");
        assert_eq!(
            qos(&with(json!({"limits": {"cpu": "1", "memory": "1Gi"}}))),
            "Guaranteed"
        );
    }
}
