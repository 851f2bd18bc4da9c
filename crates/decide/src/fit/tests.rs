//! Rules that the recorded scenarios do not reach.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

fn node(name: &str, gpus: u32, labels: Value) -> Value {
    json!({
        "metadata": {"name": name, "labels": labels},
        "status": {
            "allocatable": {"cpu": "8", "memory": "32Gi", "pods": "110", "nvidia.com/gpu": gpus},
        },
    })
}

fn pod(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": "w"}}, "spec": spec})
}

fn wants(gpus: u32) -> Value {
    json!([{"resources": {"limits": {"nvidia.com/gpu": gpus}}}])
}

fn on(node: &str, name: &str, gpus: u32, priority: i64) -> Value {
    pod(
        name,
        json!({"containers": wants(gpus), "nodeName": node, "priority": priority}),
    )
}

fn waits(pod: &Value, cluster: &Snapshot) -> Refusal {
    match schedule(&PodInfo::parse(pod), cluster) {
        Verdict::Waits(refusal) => refusal,
        Verdict::Fits(nodes) => panic!("fits {nodes:?}"),
    }
}

#[test]
fn a_request_counts_init_containers_sidecars_and_overhead() {
    let cpu = |n: &str| json!({"requests": {"cpu": n}});
    let spec = json!({
        "containers": [{"resources": cpu("1")}, {"resources": cpu("500m")}],
        "initContainers": [
            {"resources": cpu("250m"), "restartPolicy": "Always"},
            {"resources": cpu("4")},
        ],
        "overhead": {"cpu": "100m"},
    });
    // The second init container runs beside the sidecar: 4.25 is more than 1.75.
    assert_eq!(of_pod(&spec).0.cpu, 4350);
    let (asked, compared) = of_pod(&json!({"containers": [{}, {"resources": cpu("1")}]}));
    assert_eq!((asked.cpu, asked.memory, asked.pods), (1000, 0, 1));
    assert_eq!(
        compared,
        (1100, 2 * 200 * 1024 * 1024),
        "unstated amounts count when comparing"
    );
    let whole = json!({"containers": [{"resources": cpu("1")}], "resources": cpu("3")});
    assert_eq!(of_pod(&whole).0.cpu, 3000);
}

#[test]
fn the_cheapest_victims_are_chosen_and_the_rest_spared() {
    let nodes = [node("a", 2, json!({})), node("b", 2, json!({}))];
    let pods = [
        on("a", "a1", 1, 5),
        on("a", "a2", 1, 7),
        on("b", "b1", 1, 6),
        on("b", "b2", 1, 9),
    ];
    let cluster = Snapshot::new(&nodes, &pods);
    let refusal = waits(
        &pod("p", json!({"containers": wants(1), "priority": 10})),
        &cluster,
    );
    assert!(
        refusal.sentence.ends_with(
            "preemption: found a potential placement for pod on node a, preempting 1 victims"
        ),
        "{}",
        refusal.sentence
    );
    let victims = refusal.preemption.unwrap().victims;
    assert_eq!(victims.iter().map(|v| &*v.name).collect::<Vec<_>>(), ["a1"]);
    // With policy Never nobody goes.
    let never = json!({"containers": wants(1), "priority": 10, "preemptionPolicy": "Never"});
    let refusal = waits(&pod("p", never), &cluster);
    assert_eq!(refusal.preemption, None);
    assert!(
        refusal
            .sentence
            .ends_with("preemption: not eligible due to preemptionPolicy=Never.")
    );
}

#[test]
fn anti_affinity_works_in_both_directions() {
    let keep_away = json!({"podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [{
            "topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "w"}},
        }],
    }});
    let nodes = [
        node("a", 2, json!({"zone": "1"})),
        node("b", 2, json!({"zone": "1"})),
    ];
    let alone = pod(
        "alone",
        json!({"containers": wants(1), "nodeName": "a", "affinity": keep_away}),
    );
    let cluster = Snapshot::new(&nodes, [&alone]);
    let refusal = waits(&pod("p", json!({"containers": wants(1)})), &cluster);
    assert!(
        refusal
            .sentence
            .starts_with("0/2 nodes are available: 2 node(s) didn't satisfy existing pods")
    );
    let plain = on("a", "plain", 1, 0);
    let cluster = Snapshot::new(&nodes, [&plain]);
    let shy = pod("p", json!({"containers": wants(1), "affinity": keep_away}));
    let refusal = waits(&shy, &cluster);
    assert!(
        refusal
            .sentence
            .contains("2 node(s) didn't match pod anti-affinity rules")
    );
}

#[test]
fn replicas_are_spread_and_fewer_domains_than_asked_count_as_empty() {
    let nodes = [node("a", 8, json!({"zone": "1"})), node("b", 8, json!({}))];
    let constraint = json!([{
        "maxSkew": 1, "topologyKey": "zone", "minDomains": 2,
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "w"}},
    }]);
    let spec = json!({"containers": wants(1), "topologySpreadConstraints": constraint});
    let cluster = Snapshot::new(&nodes, [&on("a", "first", 1, 0)]);
    let refusal = waits(&pod("p", spec), &cluster);
    assert!(
        refusal.sentence.starts_with(
            "0/2 nodes are available: 1 node(s) didn't match pod topology spread constraints, \
             1 node(s) didn't match pod topology spread constraints (missing required label)."
        ),
        "{}",
        refusal.sentence
    );
}

#[test]
fn a_snapshot_follows_changes_without_starting_over() {
    let mut cluster = Snapshot::new(&[node("a", 2, json!({}))], []);
    assert!(
        !cluster.set_node(&node("a", 2, json!({}))),
        "the same again is no change"
    );
    assert!(cluster.set_node(&node("a", 4, json!({}))));
    cluster.set_pod(Arc::new(PodInfo::parse(&on("a", "p", 3, 0))));
    assert_eq!(cluster.node("a").unwrap().used.gpus(), 3);
    let mut done = on("a", "p", 3, 0);
    done["status"]["phase"] = json!("Succeeded");
    cluster.set_pod(Arc::new(PodInfo::parse(&done)));
    assert_eq!(cluster.node("a").unwrap().used.gpus(), 0);
    cluster.set_pod(Arc::new(PodInfo::parse(&on("a", "q", 1, 0))));
    cluster.remove_node("a");
    assert!(cluster.is_empty() && cluster.stranded("a").len() == 1);
    cluster.remove_pod(&PodInfo::parse(&on("a", "q", 1, 0)).key);
    assert!(cluster.stranded("a").is_empty());
}

#[test]
fn hostile_amounts_do_not_overflow() {
    let huge = json!([{"resources": {"limits": {
        "cpu": "9223372036854775807", "nvidia.com/gpu": "9223372036854775807",
        "memory": "99999999999Ei", "pods": "nonsense",
    }}}]);
    let cluster = Snapshot::new(&[node("a", 8, json!({}))], []);
    let spec = json!({"containers": [huge[0], huge[0]]});
    assert!(
        waits(&pod("p", spec), &cluster)
            .sentence
            .contains("Insufficient cpu")
    );
}
