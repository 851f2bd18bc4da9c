//! Each link by what was seen of it: its state, the finding and the cure.

use doctor::seen::{
    Answer, AuthSeen, ClusterSeen, Diagnosis, Look, ObjectSeen, Page, SelectorSeen, TriggerSeen,
};
use doctor::{Link, State, cluster, object};
use serde_json::{Value, json};

const QUERY: &str = "avg(DCGM_FI_DEV_GPU_UTIL{deployment=\"w\"})";

fn node(name: &str, gpus: Option<&str>, ready: &str) -> Value {
    let mut allocatable = json!({"cpu": "40"});
    if let Some(gpus) = gpus {
        allocatable["nvidia.com/gpu"] = json!(gpus);
    }
    json!({
        "metadata": {"name": name, "labels": {"nvidia.com/gpu.present": "true"}},
        "spec": {"taints": [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}]},
        "status": {"allocatable": allocatable, "conditions":
            [{"type": "Ready", "status": ready, "message": "container runtime is down"}]},
    })
}

fn daemon_set(name: &str, (desired, ready): (i64, i64)) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "gpu-operator"},
        "status": {"desiredNumberScheduled": desired, "numberReady": ready},
    })
}

fn whole() -> ClusterSeen {
    ClusterSeen {
        server: "https://c".to_owned(),
        version: Look::Got("v1.37.2".to_owned()),
        keda: Look::Got(vec![
            "scaledobjects".to_owned(),
            "triggerauthentications".to_owned(),
        ]),
        nodes: Look::Got(vec![node("g0", Some("1"), "True")]),
        daemon_sets: Look::Got(vec![daemon_set("nvidia-dcgm-exporter", (1, 1))]),
        pages: vec![Page {
            pod: "gpu-operator/e".to_owned(),
            text: Look::Got("# HELP\nDCGM_FI_DEV_GPU_UTIL{gpu=\"0\"} 3\n".to_owned()),
        }],
        metrics_service: Look::Got(json!({
            "spec": {"service": {"namespace": "keda", "name": "keda-metrics-apiserver"}},
            "status": {"conditions": [{"type": "Available", "status": "True"}]},
        })),
        ..ClusterSeen::default()
    }
}

fn working() -> ObjectSeen {
    let ready = json!([{"type": "Ready", "status": "True", "reason": "ScaledObjectReady"}]);
    let pod = json!({"metadata": {"name": "p"}, "status": {"conditions":
        [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}]}});
    ObjectSeen {
        namespace: "ml".to_owned(),
        asked: "scaledobject/w".to_owned(),
        scaled: Some(Look::Got(json!({
            "metadata": {"name": "w", "namespace": "ml"},
            "spec": {"scaleTargetRef": {"name": "w"}, "minReplicaCount": 1, "triggers": [
                {"type": "prometheus", "metadata": {"query": QUERY}}]},
            "status": {"conditions": ready},
        }))),
        target: Look::Got(json!({"spec": {"replicas": 1}, "status": {"readyReplicas": 1}})),
        diagnosis: Look::Got(Diagnosis {
            asked_by: "the operator".to_owned(),
            triggers: vec![TriggerSeen {
                kind: "prometheus".to_owned(),
                metric: "s0-prometheus".to_owned(),
                server: "http://p".to_owned(),
                value: Some(3.0),
                active: true,
                elements: Some(1),
                activation: Some(2.0),
                selectors: vec![selector()],
                ..TriggerSeen::default()
            }],
        }),
        hpa: Look::Got(json!({
            "metadata": {"name": "keda-hpa-w"},
            "spec": {"maxReplicas": 20, "metrics": [{"type": "External"}]},
            "status": {"conditions": [{"type": "ScalingActive", "status": "True",
                "reason": "ValidMetricFound"}]},
        })),
        answers: vec![Answer {
            metric: "s0-prometheus".to_owned(),
            value: Look::Got("3".to_owned()),
        }],
        pods: Look::Got(vec![pod]),
        events: Look::Got(Vec::new()),
        ..ObjectSeen::default()
    }
}

fn selector() -> SelectorSeen {
    SelectorSeen {
        text: "DCGM_FI_DEV_GPU_UTIL{deployment=\"w\"}".to_owned(),
        name: "DCGM_FI_DEV_GPU_UTIL".to_owned(),
        matching: 1,
        named: 1,
        age: Some(4.0),
        ..SelectorSeen::default()
    }
}

fn first_broken(links: &[Link]) -> Option<&Link> {
    links.iter().find(|link| link.state == State::Broken)
}

#[test]
fn a_whole_chain_has_no_broken_link_and_no_unknown_one() {
    let mut links = cluster(&whole());
    links.extend(object(&whole(), &working()));
    for link in &links {
        assert_eq!(link.state, State::Ok, "{link:?}");
    }
    let names: Vec<&str> = links.iter().map(|l| l.name.as_str()).collect();
    let expected = [
        "API server",
        "KEDA resources",
        "GPU nodes",
        "device plugin",
        "exporter",
        "exporter's page",
        "ScaledObject",
        "scale target",
        "authentication",
        "scrape",
        "labels",
        "trigger's answer",
        "activation",
        "external metrics API",
        "the HPA's question",
        "HPA",
        "pods",
        "pool room",
    ];
    assert_eq!(names, expected);
}

#[test]
fn each_link_of_the_cluster_breaks_by_itself() {
    type Change = fn(&mut ClusterSeen);
    let table: &[(Change, &str, &str, &str)] = &[
        (
            |c| c.version = Look::Failed("connection refused".to_owned()),
            "API server",
            "cannot be reached: connection refused",
            "VPN",
        ),
        (
            |c| c.version = Look::Failed("401 Unauthorized".to_owned()),
            "API server",
            "refuses this user",
            "kubectl auth whoami",
        ),
        (
            |c| c.keda = Look::Missing,
            "KEDA resources",
            "knows no scaledobjects",
            "rheostat crds",
        ),
        (
            |c| c.nodes = Look::Got(vec![node("g0", Some("1"), "False")]),
            "GPU nodes",
            "g0 (container runtime is down)",
            "kubectl describe node",
        ),
        (
            |c| {
                c.nodes = Look::Got(vec![
                    node("g0", None, "True"),
                    node("g1", Some("1"), "True"),
                ]);
                let sets = vec![daemon_set("nvidia-device-plugin-daemonset", (1, 0))];
                c.daemon_sets = Look::Got(sets);
            },
            "device plugin",
            "g0 ready and shows no nvidia.com/gpu",
            "0 of 1 pods ready. Its pods must tolerate the node's taint sku=gpu:NoSchedule",
        ),
        (
            |c| c.daemon_sets = Look::Got(vec![daemon_set("dcgm-exporter", (1, 0))]),
            "exporter",
            "0 of 1 pods ready",
            "read their log",
        ),
        (
            |c| c.daemon_sets = Look::Got(vec![daemon_set("dcgm-exporter", (0, 0))]),
            "exporter",
            "wants 0 pods for 1 nodes with GPUs",
            "their taint is sku=gpu:NoSchedule",
        ),
        (
            |c| c.pages[0].text = Look::Failed("503 no endpoints".to_owned()),
            "exporter's page",
            "503 no endpoints",
            "log",
        ),
        (
            |c| c.pages[0].text = Look::Got("up 1\n".to_owned()),
            "exporter's page",
            "has no GPU series",
            "driver",
        ),
    ];
    for (change, name, finding, cure) in table {
        let mut seen = whole();
        change(&mut seen);
        let links = cluster(&seen);
        let link = first_broken(&links).unwrap_or_else(|| panic!("{name} holds: {links:?}"));
        check(link, name, finding, cure);
    }
}

#[test]
fn a_pool_at_zero_is_not_broken() {
    let mut seen = whole();
    seen.nodes = Look::Got(vec![json!({"metadata": {"name": "cpu"}})]);
    let links = cluster(&seen);
    assert_eq!(first_broken(&links), None);
    assert_eq!(links.last().unwrap().state, State::Skipped);
    // Nor is a metric that comes from its nodes.
    let mut idle = working();
    idle.target = Look::Got(json!({"spec": {"replicas": 1}, "status": {}}));
    let missing = SelectorSeen {
        matching: 0,
        named: 0,
        age: None,
        ..selector()
    };
    of_trigger(&mut idle, |t| {
        t.selectors = vec![missing.clone()];
        t.elements = Some(0);
        t.value = Some(0.0);
        t.active = false;
    });
    assert_eq!(first_broken(&object(&seen, &idle)), None);
    // But from zero nothing wakes it.
    idle.target = Look::Got(json!({"spec": {"replicas": 0}, "status": {}}));
    if let Some(Look::Got(scaled)) = &mut idle.scaled {
        scaled["spec"]["minReplicaCount"] = json!(0);
    }
    let links = object(&seen, &idle);
    let link = first_broken(&links).unwrap();
    check(
        link,
        "activation",
        "at zero replicas nothing can wake it",
        "minReplicaCount to 1",
    );
}

fn of_trigger(seen: &mut ObjectSeen, change: impl FnOnce(&mut TriggerSeen)) {
    if let Look::Got(diagnosis) = &mut seen.diagnosis {
        change(&mut diagnosis.triggers[0]);
    }
}

fn of_selector(seen: &mut ObjectSeen, change: impl FnOnce(&mut SelectorSeen)) {
    of_trigger(seen, |trigger| change(&mut trigger.selectors[0]));
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"conditions": [{"type": kind, "status": status, "reason": reason, "message": message}]})
}

fn waiting_pod(seen: &mut ObjectSeen) {
    let message = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu.";
    let status = condition("PodScheduled", "False", "Unschedulable", message);
    seen.pods = Look::Got(vec![json!({"metadata": {"name": "p"}, "status": status})]);
}

fn event(reason: &str, message: &str, at: &str) -> Value {
    json!({"reason": reason, "message": message, "involvedObject": {"name": "p"},
        "lastTimestamp": format!("2026-01-01T00:{at}:00Z")})
}

#[test]
fn each_link_of_an_object_breaks_by_itself() {
    type Change = fn(&mut ObjectSeen);
    let table: &[(Change, &str, &str, &str)] = &[
        (
            |o| {
                o.scaled = Some(Look::Missing);
                o.names = vec!["ww".to_owned()];
            },
            "ScaledObject",
            "does not exist in namespace ml",
            "ww",
        ),
        (
            |o| {
                if let Some(Look::Got(scaled)) = &mut o.scaled {
                    scaled["status"] = json!({});
                }
            },
            "ScaledObject",
            "no operator has looked at it",
            "WATCH_NAMESPACE",
        ),
        (
            |o| {
                if let Some(Look::Got(scaled)) = &mut o.scaled {
                    let reason = "ScaledObjectCheckFailed";
                    scaled["status"] = condition("Ready", "False", reason, "counts are wrong");
                }
            },
            "ScaledObject",
            "counts are wrong",
            "rheostat lint",
        ),
        (
            |o| o.target = Look::Missing,
            "scale target",
            "Deployment w does not exist",
            "Create it",
        ),
        (
            |o| {
                o.auths.push(AuthSeen {
                    kind: "TriggerAuthentication".to_owned(),
                    name: "a".to_owned(),
                    object: Look::Missing,
                });
            },
            "authentication",
            "TriggerAuthentication a does not exist",
            "own namespace",
        ),
        (
            |o| of_trigger(o, |t| t.empty_credentials = vec!["bearerToken".to_owned()]),
            "authentication",
            "came out empty: bearerToken",
            "have the key",
        ),
        (
            |o| {
                of_trigger(o, |t| {
                    let why = "https://login refused the token request: status 401: AADSTS70021";
                    t.no_credential = Some(why.to_owned());
                });
            },
            "authentication",
            "AADSTS70021",
            "federated credential",
        ),
        (
            |o| {
                of_trigger(o, |t| {
                    t.failed = Some("prometheus query api returned error. status: 403".to_owned());
                    t.server = "https://x.eastus.prometheus.monitor.azure.com".to_owned();
                });
            },
            "authentication",
            "status: 403",
            "Monitoring Data Reader",
        ),
        (
            |o| of_trigger(o, |t| t.not_built = Some("threshold is missing".to_owned())),
            "trigger",
            "threshold is missing",
            "metadata",
        ),
        (
            |o| {
                of_trigger(o, |t| {
                    t.elements = None;
                    t.failed = Some("Get \"http://p\": connection refused".to_owned());
                });
            },
            "metric store",
            "connection refused",
            "NetworkPolicy",
        ),
        (
            |o| of_selector(o, |s| s.age = Some(400.0)),
            "scrape",
            "is 7 min old",
            "scrape has stopped",
        ),
        (
            |o| {
                of_selector(o, |s| {
                    (s.matching, s.named, s.age) = (0, 0, None);
                    s.down = vec!["dcgm 10.0.0.1:9401".to_owned()];
                });
            },
            "scrape",
            "cannot scrape dcgm 10.0.0.1:9401",
            "9400",
        ),
        (
            |o| of_selector(o, |s| (s.matching, s.named, s.age) = (0, 0, None)),
            "scrape",
            "though the page of gpu-operator/e has it",
            "ServiceMonitor",
        ),
        (
            |o| {
                of_trigger(o, |t| {
                    t.value = None;
                    t.failed = Some("prometheus query q returned multiple elements".to_owned());
                });
            },
            "trigger's answer",
            "multiple elements",
            "sum(…)",
        ),
        (
            |o| of_trigger(o, |t| (t.elements, t.value) = (Some(0), Some(0.0))),
            "trigger's answer",
            "KEDA reads as 0",
            "ignoreNullValues",
        ),
        (
            |o| o.answers[0].value = Look::Failed("500 metric:s0 encountered error".to_owned()),
            "the HPA's question",
            "encountered error",
            "Mend the trigger",
        ),
        (
            |o| o.hpa = Look::Missing,
            "HPA",
            "keda-hpa-w does not exist",
            "events",
        ),
        (
            |o| {
                if let Look::Got(hpa) = &mut o.hpa {
                    let reason = "FailedGetScale";
                    hpa["status"] = condition("AbleToScale", "False", reason, "not found");
                }
            },
            "HPA",
            "AbleToScale False, FailedGetScale: not found",
            "scale subresource",
        ),
        (
            |o| {
                o.target = Look::Got(json!({"spec": {"replicas": 1}, "status":
                    condition("ReplicaFailure", "True", "FailedCreate", "exceeded quota: gpus")}));
            },
            "pods",
            "exceeded quota: gpus",
            "ResourceQuota",
        ),
        (
            |o| {
                let waiting = json!({"reason": "ImagePullBackOff", "message": "no such image"});
                o.pods = Look::Got(vec![json!({"metadata": {"name": "p"}, "status":
                    {"containerStatuses": [{"state": {"waiting": waiting}}]}})]);
            },
            "pods",
            "p: ImagePullBackOff: no such image",
            "imagePullSecrets",
        ),
        (
            waiting_pod,
            "pool room",
            "no autoscaler has said anything: 0/2 nodes",
            "--enable-cluster-autoscaler",
        ),
        (
            |o| {
                waiting_pod(o);
                o.events = Look::Got(vec![
                    event("NotTriggerScaleUp", "2 Insufficient nvidia.com/gpu", "03"),
                    event("TriggeredScaleUp", "[{g 0->1 (max: 2)}]", "01"),
                ]);
            },
            "pool room",
            "2 Insufficient nvidia.com/gpu",
            "scales from zero",
        ),
    ];
    for (change, name, finding, cure) in table {
        let mut seen = working();
        change(&mut seen);
        let links = object(&whole(), &seen);
        let link = first_broken(&links).unwrap_or_else(|| panic!("{name} holds: {links:?}"));
        check(link, name, finding, cure);
    }
}

#[test]
fn a_node_that_is_ordered_is_no_break_and_a_back_off_is() {
    let mut seen = working();
    waiting_pod(&mut seen);
    seen.events = Look::Got(vec![
        event("NotTriggerScaleUp", "1 max node group size reached", "01"),
        event(
            "TriggeredScaleUp",
            "pod triggered scale-up: [{g 0->1 (max: 2)}]",
            "02",
        ),
    ]);
    assert_eq!(first_broken(&object(&whole(), &seen)), None);
    let mut around = whole();
    let status = "nodeGroups:\n- name: g\n  scaleUp:\n    status: Backoff\n    backoffInfo:\n      \
                  errorCode: OutOfStock\n      errorMessage: SkuNotAvailable in eastus\n";
    around.autoscaler = Look::Got(status.to_owned());
    let links = object(&around, &seen);
    let link = first_broken(&links).unwrap();
    check(
        link,
        "pool room",
        "SkuNotAvailable in eastus",
        "another size, zone or region",
    );
    // Another group's back-off does not concern the node that was ordered.
    around.autoscaler = Look::Got(status.replace("name: g", "name: cpu"));
    assert_eq!(first_broken(&object(&around, &seen)), None);
}

#[test]
fn another_server_of_external_metrics_is_named() {
    let mut around = whole();
    if let Look::Got(service) = &mut around.metrics_service {
        let other = json!({"namespace": "datadog", "name": "datadog-cluster-agent"});
        service["spec"]["service"] = other;
    }
    let mut seen = working();
    seen.answers[0].value = Look::Missing;
    let links = object(&around, &seen);
    let link = first_broken(&links).unwrap();
    check(
        link,
        "the HPA's question",
        "not known there",
        "datadog/datadog-cluster-agent serves",
    );
    around.metrics_service = Look::Missing;
    let links = object(&around, &seen);
    let link = first_broken(&links).unwrap();
    check(link, "external metrics API", "does not exist", "Install");
}

fn check(link: &Link, name: &str, finding: &str, cure: &str) {
    assert_eq!(link.name, name, "{link:?}");
    assert!(link.finding.contains(finding), "{finding:?} in {link:?}");
    let said = link.cure.as_deref().unwrap_or_default();
    assert!(said.contains(cure), "{cure:?} in {link:?}");
}
