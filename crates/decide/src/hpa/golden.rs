//! Judges the algorithm by recordings of the original (format
//! `hpa_reconcile/1`): one JSON case a line after a header.

use std::collections::BTreeMap;
use std::time::Duration;

use api::golden::Report;
use api::quantity::Quantity;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::*;

/// Runs every case of a file.
pub fn run(text: &str) -> Report {
    api::golden::run(text, run_case)
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or("").to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn int(value: &Value) -> i32 {
    value.as_i64().unwrap_or(0) as i32
}

/// The instant at which every case plays: 2026-01-01T12:00:00Z.
fn noon() -> Timestamp {
    Timestamp::from_second(1_767_268_800).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn aged(ms: &Value) -> Timestamp {
    let ms = SignedDuration::from_millis(ms.as_i64().unwrap_or(0));
    noon().saturating_sub(ms).unwrap_or(Timestamp::MIN)
}

fn age_ms(at: Timestamp) -> i64 {
    noon().duration_since(at).as_millis() as i64
}

fn quantity(value: &Value) -> Quantity {
    Quantity::from_json(value).unwrap_or_default()
}

fn quantities(value: &Value) -> BTreeMap<String, Quantity> {
    value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| (k.clone(), quantity(v)))
        .collect()
}

fn metric_json(metric: &Value) -> Value {
    let kind = text_of(&metric["type"]);
    let mut identifier = json!({"name": metric["name"]});
    if let Some(selector) = metric.get("selector") {
        identifier["selector"] = selector.clone();
    }
    let target = &metric["target"];
    let mut out = json!({"type": kind});
    match kind.as_str() {
        "External" => out["external"] = json!({"metric": identifier, "target": target}),
        "Pods" => out["pods"] = json!({"metric": identifier, "target": target}),
        "Object" => {
            out["object"] = json!({"metric": identifier, "target": target,
                "describedObject": metric["object"]});
        }
        "Resource" => out["resource"] = json!({"name": metric["resource"], "target": target}),
        "ContainerResource" => {
            out["containerResource"] = json!({"name": metric["resource"],
                "container": metric["container"], "target": target});
        }
        _ => {}
    }
    out
}

struct Pods {
    observed: Vec<PodObservation>,
    /// Container names of each pod: containers, init containers, sidecars.
    names: Vec<Vec<String>>,
}

fn pods_of(groups: &Value) -> Pods {
    let mut pods = Pods {
        observed: Vec::new(),
        names: Vec::new(),
    };
    let plain = json!([{"name": "c0"}]);
    for group in list(groups) {
        let containers = group.get("containers").unwrap_or(&plain);
        let all = [containers, &group["initContainers"], &group["sidecars"]];
        let names: Vec<String> = all
            .iter()
            .flat_map(|l| list(l))
            .map(|c| text_of(&c["name"]))
            .collect();
        let requests = [containers, &group["sidecars"]]
            .iter()
            .flat_map(|l| list(l))
            .map(|c| (text_of(&c["name"]), quantities(&c["requests"])))
            .collect::<Vec<_>>();
        let or = |key: &str, value: Value| group.get(key).cloned().unwrap_or(value);
        let ready = text_of(&or("ready", json!("True")));
        let pod_level = group.get("podRequests").is_some() || group.get("podLimits").is_some();
        for _ in 0..group.get("n").map_or(1, int) {
            pods.observed.push(PodObservation {
                name: format!("p{}", pods.observed.len()),
                labels: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
                deleting: group["deleting"] == true,
                phase: text_of(&or("phase", json!("Running"))),
                start_time: (group["noStartTime"] != true)
                    .then(|| aged(&or("startAgeMs", json!(3_600_000)))),
                ready: (ready != "none").then(|| {
                    (
                        ready.clone(),
                        Some(aged(&or("readyAgeMs", json!(3_590_000)))),
                    )
                }),
                containers: requests.clone(),
                pod_requests: pod_level.then(|| quantities(&group["podRequests"])),
            });
            pods.names.push(names.clone());
        }
    }
    pods
}

fn reading_of(metric: &Value, pods: &Pods) -> MetricObservation {
    let error = metric["fetchError"].as_str().map(str::to_owned);
    let timestamp = aged(&metric["metricAgeMs"]);
    let window = Duration::from_secs(metric["windowS"].as_u64().unwrap_or(60));
    let usage = list(&metric["usage"]);
    let named = usage
        .iter()
        .enumerate()
        .map(|(at, u)| (format!("p{at}"), u));
    let extra = metric["extraPods"].as_object().into_iter().flatten();
    let empty = metric["emptyList"] == true;
    let entries: Vec<(String, &Value)> = named
        .chain(extra.map(|(k, v)| (k.clone(), v)))
        .filter(|(_, u)| !u.is_null() && !empty)
        .collect();
    match metric["type"].as_str().unwrap_or("") {
        "Object" if empty => MetricObservation::Object(Err(error.unwrap_or(NO_ITEM.to_owned()))),
        "Object" => MetricObservation::Object(error.map_or(Ok(quantity(&metric["value"])), Err)),
        "Pods" => {
            let items = entries
                .iter()
                .map(|(pod, u)| PodValue {
                    pod: pod.clone(),
                    timestamp,
                    window,
                    value: quantity(u),
                })
                .collect();
            MetricObservation::Pods(error.map_or(Ok(items), Err))
        }
        "Resource" | "ContainerResource" => {
            let resource = text_of(&metric["resource"]);
            let fallback = vec!["c0".to_owned()];
            let items = entries
                .iter()
                .map(|(pod, usage)| {
                    let at: Option<usize> = pod.strip_prefix('p').and_then(|n| n.parse().ok());
                    let names = at.and_then(|at| pods.names.get(at)).unwrap_or(&fallback);
                    let values = match usage {
                        Value::Array(values) => values.clone(),
                        one => vec![(*one).clone()],
                    };
                    let containers = names
                        .iter()
                        .zip(values)
                        .map(|(name, value)| {
                            let usage = match value.is_null() {
                                true => BTreeMap::new(),
                                false => BTreeMap::from([(resource.clone(), quantity(&value))]),
                            };
                            (name.clone(), usage)
                        })
                        .collect();
                    PodUsage {
                        pod: pod.clone(),
                        timestamp,
                        window,
                        containers,
                    }
                })
                .collect();
            MetricObservation::Resource(error.map_or(Ok(items), Err))
        }
        _ => {
            let items = list(&metric["series"]).iter().map(quantity).collect();
            MetricObservation::External(error.map_or(Ok(items), Err))
        }
    }
}

fn status_of(previous: &Value, standard: &Value) -> HpaStatus {
    let conditions = list(&previous["conditions"])
        .iter()
        .map(|c| Condition {
            kind: text_of(&c[0]),
            status: text_of(&c[1]),
            reason: text_of(&c[2]),
            message: c[4]
                .as_str()
                .or(standard[c[2].as_str().unwrap_or("")].as_str())
                .unwrap_or("")
                .to_owned(),
            last_transition_time: Some(aged(&c[3])),
        })
        .collect();
    HpaStatus {
        observed_generation: None,
        last_scale_time: previous.get("lastScaleAgeMs").map(aged),
        current_replicas: int(&previous["currentReplicas"]),
        desired_replicas: int(&previous["desiredReplicas"]),
        current_metrics: previous["currentMetrics"].clone(),
        conditions,
    }
}

fn events_of(list_: &Value) -> Vec<ScaleEvent> {
    list(list_)
        .iter()
        .map(|e| ScaleEvent {
            change: int(&e[0]),
            at: aged(&e[1]),
            outdated: e[2] == 1,
        })
        .collect()
}

/// The input and the memory of a case.
pub fn input_of(case: &Value, header: &Value) -> Result<(HpaInput, HpaMemory), serde_json::Error> {
    let given = &case["in"];
    let target = given.get("scaleTargetRef").cloned();
    let target =
        target.unwrap_or(json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}));
    let metrics = list(&given["metrics"]);
    let mut spec = json!({
        "scaleTargetRef": target,
        "minReplicas": given["min"],
        "maxReplicas": given["max"],
        "metrics": metrics.iter().map(metric_json).collect::<Vec<_>>(),
        "behavior": given["behavior"],
    });
    api::hpa::default_spec(&mut spec);
    let spec = HpaSpec::from_json(&spec)?;
    let pods = pods_of(&given["pods"]);
    let mut readings: BTreeMap<usize, MetricObservation> = metrics
        .iter()
        .enumerate()
        .map(|(at, m)| (at, reading_of(m, &pods)))
        .collect();
    if metrics.is_empty() {
        readings.insert(0, MetricObservation::Resource(Ok(Vec::new())));
    }
    let target = &spec.scale_target_ref;
    let served = target.api_version.starts_with("apps/") && target.kind != "Foo";
    let scale = match given["scaleGetError"].as_str() {
        _ if !served => ScaleObservation::UnknownKind,
        Some("notfound") => {
            ScaleObservation::Failed("deployments.apps \"web\" not found".to_owned())
        }
        Some(error) => ScaleObservation::Failed(error.to_owned()),
        None => ScaleObservation::Found {
            spec_replicas: int(&given["specReplicas"]),
            status_replicas: int(&given["statusReplicas"]),
            selector: given["scaleSelector"]
                .as_str()
                .unwrap_or("app=web")
                .to_owned(),
        },
    };
    let mut config = HpaConfig::of(KubernetesVersion::V1_36);
    let gate = |name: &str, default: bool| given["gates"][name].as_bool().unwrap_or(default);
    config.scale_to_zero = gate("HPAScaleToZero", config.scale_to_zero);
    config.configurable_tolerance = gate("HPAConfigurableTolerance", true);
    config.pod_level_resources = gate("PodLevelResources", true);
    let others = given["otherHpaSelector"].as_str().map(|s| OtherHpa {
        name: "zother".to_owned(),
        selector: s.to_owned(),
    });
    let input = HpaInput {
        namespace: "ns1".to_owned(),
        name: "web".to_owned(),
        generation: None,
        spec,
        status: status_of(&given["prevStatus"], &header["standardMessages"]),
        scale,
        metrics: readings,
        pods: pods.observed,
        others: others.into_iter().collect(),
        config,
        ..HpaInput::default()
    };
    let recommendations = given["recommendations"].as_array().map(|list| {
        list.iter()
            .map(|r| Recommendation {
                replicas: int(&r[0]),
                at: aged(&r[1]),
            })
            .collect()
    });
    let memory = HpaMemory {
        recommendations,
        up_events: events_of(&given["upEvents"]),
        down_events: events_of(&given["downEvents"]),
    };
    Ok((input, memory))
}

const NO_ITEM: &str =
    "the custom metrics API server returned 0 results when we asked for exactly one";
const CONFLICT: &str = "Operation cannot be fulfilled on deployments.apps \"web\": the object has \
                        been modified; please apply your changes to the latest version and try \
                        again";

/// Plays the edge's part: scale writes as the case dictates them.
fn write_scale(errors: &[Value], to: i32, writes: &mut Vec<i32>) -> ScaleWrite {
    for attempt in 0..SCALE_WRITE_TRIES {
        writes.push(to);
        match errors.get(attempt).and_then(Value::as_str) {
            None => return ScaleWrite::Done,
            Some("conflict") => {}
            Some(other) => return ScaleWrite::Failed(other.to_owned()),
        }
    }
    ScaleWrite::Failed(CONFLICT.to_owned())
}

/// What differs in one case; empty if nothing does.
pub fn run_case(case: &Value, header: &Value) -> Vec<String> {
    let (input, memory) = match input_of(case, header) {
        Ok(read) => read,
        Err(error) => return vec![format!("unreadable: {error}")],
    };
    let (given, want) = (&case["in"], &case["out"]);
    let evaluation = evaluate(&input, &memory, noon());
    let mut writes = Vec::new();
    let write = evaluation
        .scale_to
        .map(|to| write_scale(list(&given["scaleUpdateErrors"]), to, &mut writes));
    let scaled = write == Some(ScaleWrite::Done);
    let decision = evaluation.finish(write, noon());
    let mut events: Vec<Value> = decision
        .events
        .iter()
        .map(|e| json!([e.kind(), e.reason, e.message]))
        .collect();
    let mut error = decision.error.clone();
    let mut written = decision.write_status;
    if let Some(text) = given["statusUpdateError"]
        .as_str()
        .filter(|_| decision.write_status)
    {
        let (event, failed) = status_write_failed(&input.name, text);
        events.push(json!([event.kind(), event.reason, event.message]));
        error.get_or_insert(failed);
        written = false;
    }
    let status = match decision.write_status {
        true => decision.status.clone(),
        false => input.status.normalized(),
    };
    let got = out_of(
        &status,
        &decision,
        &input,
        OutParts {
            events,
            error,
            written,
            scaled,
            writes,
        },
    );
    differences(got, want, header)
}

struct OutParts {
    events: Vec<Value>,
    error: Option<String>,
    written: bool,
    scaled: bool,
    writes: Vec<i32>,
}

fn out_of(status: &Value, decision: &HpaDecision, input: &HpaInput, parts: OutParts) -> Value {
    let steps = |list: &[ScaleEvent]| -> Value {
        list.iter()
            .map(|e| json!([e.change, age_ms(e.at), i32::from(e.outdated)]))
            .collect()
    };
    let before = &input.status.conditions;
    let conditions: Vec<Value> = list(&decision.status["conditions"])
        .iter()
        .map(|c| {
            let old = before.iter().find(|o| json!(o.kind) == c["type"]);
            let moved = old.is_none_or(|o| json!(o.status) != c["status"]);
            json!([
                c["type"],
                c["status"],
                c["reason"],
                i32::from(moved),
                c["message"]
            ])
        })
        .collect();
    let last = match (&status["lastScaleTime"], &input.status.last_scale_time) {
        (Value::Null, _) => Value::Null,
        (_, _) if parts.scaled && parts.written => json!("now"),
        (_, None) => json!("now"),
        _ if parts.scaled => json!("now"),
        _ => json!("kept"),
    };
    json!({
        "currentReplicas": status["currentReplicas"].as_i64().unwrap_or(0),
        "desiredReplicas": status["desiredReplicas"],
        "currentMetrics": status["currentMetrics"],
        "scaled": parts.scaled,
        "scaleWrites": parts.writes,
        "conditions": conditions,
        "events": parts.events,
        "error": parts.error,
        "statusWritten": parts.written,
        "lastScaleTime": last,
        "recommendationsAfter": decision.memory.recommendations.iter().flatten()
            .map(|r| json!([r.replicas, age_ms(r.at)])).collect::<Vec<_>>(),
        "upEventsAfter": steps(&decision.memory.up_events),
        "downEventsAfter": steps(&decision.memory.down_events),
    })
}

fn differences(got: Value, want: &Value, header: &Value) -> Vec<String> {
    let mut want: Map<String, Value> = want.as_object().cloned().unwrap_or_default();
    for condition in want
        .get_mut("conditions")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let Value::Array(parts) = condition else {
            continue;
        };
        if parts.len() == 4 {
            parts.push(header["standardMessages"][parts[2].as_str().unwrap_or("")].clone());
        }
    }
    let desired = want
        .get("desiredReplicas")
        .map(Value::to_string)
        .unwrap_or_default();
    let metric = want.get("metric").map(text_of).unwrap_or_default();
    for condition in want
        .get_mut("conditions")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(message) = condition[4].as_str() {
            let message = message
                .replace("{desiredReplicas}", &desired)
                .replace("{metric}", &metric);
            condition[4] = json!(message);
        }
    }
    let mut got = got;
    for condition in got
        .get_mut("conditions")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        // A kept message is recorded with its placeholder in it.
        if let Some(message) = condition[4].as_str().filter(|m| m.contains("{metric}")) {
            let message = message.replace("{metric}", &metric);
            condition[4] = json!(message);
        }
    }
    let empty =
        |v: &Value| v.is_null() || v.as_array().is_some_and(Vec::is_empty) || v == &json!(false);
    got.as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, got)| {
            let want = want.get(key).unwrap_or(&Value::Null);
            let same = got == want || (empty(got) && empty(want));
            (!same).then(|| format!("{key}: got {got}, want {want}"))
        })
        .collect()
}
