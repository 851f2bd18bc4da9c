//! What keeps a little used node, and how its owner gets to know.

use super::*;
use crate::budget::Budget;
use std::collections::BTreeMap;

/// Two nodes of eight GPUs, of which the one with `pod` is to be emptied: the
/// other one is used just enough to be needed.
fn with(pod: Value) -> Lab {
    let mut lab = Lab::new(vec![pool(GPUS, 8, 3, 98.32)]);
    lab.run(&["fill-a", "fill-b"], 8);
    lab.plan();
    lab.arrive(8);
    lab.plan();
    lab.stop("fill-a");
    lab.stop("fill-b");
    let mut other = super::pod("other", 5);
    other["spec"]["nodeName"] = lab.nodes[1]["metadata"]["name"].clone();
    let mut pod = pod;
    pod["spec"]["nodeName"] = lab.nodes[0]["metadata"]["name"].clone();
    lab.pods = vec![pod, other];
    lab
}

/// What becomes of the first node.
fn outcome(lab: &mut Lab) -> NodeOutcome {
    let name = lab.nodes[0]["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    lab.plan().explanation.nodes[&name].clone()
}

fn kept(lab: &mut Lab) -> (&'static str, String) {
    match outcome(lab) {
        NodeOutcome::Kept { reason, detail } => (reason, detail),
        other => panic!("{other:?}"),
    }
}

fn goes(lab: &mut Lab) -> bool {
    matches!(outcome(lab), NodeOutcome::Unneeded { .. })
}

fn annotated(key: &str, value: &str) -> Value {
    let mut pod = pod("w", 1);
    let key = format!("cluster-autoscaler.kubernetes.io/{key}");
    pod["metadata"]["annotations"] = json!({ key: value });
    pod
}

fn with_volume(volume: Value) -> Value {
    let mut pod = pod("w", 1);
    pod["spec"]["volumes"] = json!([volume]);
    pod
}

#[test]
fn a_pod_that_must_not_be_evicted_keeps_its_node() {
    assert!(goes(&mut with(pod("w", 1))));
    let (reason, detail) = kept(&mut with(annotated("safe-to-evict", "false")));
    assert_eq!(reason, "BlockedByPod");
    assert_eq!(
        detail,
        "pod default/w is not safe to evict (safe-to-evict=false)"
    );
    let (reason, detail) = kept(&mut with(annotated("safe-to-evict", "on-completion")));
    assert_eq!(reason, "BlockedByOnCompletionPod");
    assert!(detail.contains("is to complete first"));
}

#[test]
fn a_pod_that_nobody_would_make_again_keeps_its_node() {
    let mut alone = pod("w", 1);
    alone["metadata"]["ownerReferences"] = json!([]);
    let (_, detail) = kept(&mut with(alone.clone()));
    assert_eq!(
        detail,
        "pod default/w has no controller that would replace it"
    );
    alone["metadata"]["annotations"] =
        json!({"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"});
    assert!(
        goes(&mut with(alone)),
        "unless its owner says that it may go"
    );
}

#[test]
fn data_on_the_nodes_disk_keeps_it_and_shared_memory_does_not() {
    let scratch = json!({"name": "scratch", "emptyDir": {}});
    let (_, detail) = kept(&mut with(with_volume(scratch.clone())));
    assert_eq!(
        detail,
        "pod default/w keeps data on the node (volume scratch)"
    );
    let host = json!({"name": "models", "hostPath": {"path": "/models"}});
    assert_eq!(kept(&mut with(with_volume(host))).0, "BlockedByPod");
    let shm = json!({"name": "dshm", "emptyDir": {"medium": "Memory"}});
    assert!(goes(&mut with(with_volume(shm))));
    let mut listed = annotated("safe-to-evict-local-volumes", "cache,scratch");
    listed["spec"]["volumes"] = json!([scratch]);
    assert!(goes(&mut with(listed)));
    let mut as_on_aks = with(with_volume(scratch));
    as_on_aks.settings.local_storage = false;
    assert!(goes(&mut as_on_aks));
}

#[test]
fn a_system_pod_keeps_its_node_unless_a_budget_speaks_for_it() {
    let mut system = pod("dns", 1);
    system["metadata"]["namespace"] = json!("kube-system");
    system["metadata"]["labels"] = json!({"k8s-app": "dns"});
    let mut lab = with(system);
    let (_, detail) = kept(&mut lab);
    assert_eq!(
        detail,
        "pod kube-system/dns is in kube-system and has no PodDisruptionBudget"
    );
    lab.seen.budgets = vec![budget("kube-system", json!({"k8s-app": "dns"}), 1)];
    assert!(goes(&mut lab));
}

fn budget(namespace: &str, labels: Value, allowed: i64) -> Budget {
    Budget::parse(&json!({
        "metadata": {"name": "least", "namespace": namespace},
        "spec": {"selector": {"matchLabels": labels}},
        "status": {"observedGeneration": 1, "disruptionsAllowed": allowed},
    }))
}

fn labelled() -> Value {
    let mut pod = pod("w", 1);
    pod["metadata"]["labels"] = json!({"app": "w"});
    pod
}

#[test]
fn a_budget_without_room_keeps_the_node_until_it_has_some() {
    let mut lab = with(labelled());
    lab.seen.budgets = vec![budget("default", json!({"app": "w"}), 0)];
    let (reason, detail) = kept(&mut lab);
    assert_eq!(reason, "BlockedByPod");
    assert_eq!(
        detail,
        "PodDisruptionBudget least allows no eviction of pod default/w"
    );
    lab.wait(3600);
    lab.plan();
    assert_eq!(
        (lab.tainted(LEAVING_TAINT), lab.asked),
        (0, 0),
        "nobody is disturbed"
    );
    // It has been unneeded for an hour: nothing is left to wait for.
    lab.seen.budgets = vec![budget("default", json!({"app": "w"}), 1)];
    lab.plan();
    assert_eq!((lab.tainted(LEAVING_TAINT), lab.asked), (1, 1));
}

#[test]
fn two_budgets_on_one_pod_can_never_be_met() {
    let mut lab = with(labelled());
    let one = budget("default", json!({"app": "w"}), 5);
    lab.seen.budgets = vec![one.clone(), one];
    let (_, detail) = kept(&mut lab);
    assert_eq!(
        detail,
        "pod default/w has more than one PodDisruptionBudget"
    );
    let elsewhere = budget("other", json!({"app": "w"}), 0);
    let unjudged = Budget::parse(&json!({
        "metadata": {"name": "new", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "w"}}},
    }));
    lab.seen.budgets = vec![elsewhere, unjudged];
    assert!(
        goes(&mut lab),
        "one speaks for its own namespace, and for nobody before it is judged"
    );
}

#[test]
fn one_allowed_eviction_empties_one_node_at_a_time() {
    let mut lab = Lab::new(vec![pool(GPUS, 8, 4, 98.32)]);
    lab.run(&["a", "b", "c", "d"], 8);
    lab.plan();
    lab.arrive(8);
    lab.plan();
    lab.pods.clear();
    for n in 0..4 {
        let mut pod = pod(&format!("w{n}"), if n < 2 { 1 } else { 4 });
        pod["metadata"]["labels"] = json!({"app": "w"});
        pod["spec"]["nodeName"] = lab.nodes[n]["metadata"]["name"].clone();
        lab.pods.push(pod);
    }
    lab.seen.budgets = vec![budget("default", json!({"app": "w"}), 1)];
    lab.plan();
    lab.wait(600);
    lab.observe();
    let plan = plan(&lab.settings, &lab.seen, &lab.state, lab.now);
    let leaving = plan.taints.iter().filter(|t| t.key == LEAVING_TAINT);
    assert_eq!((leaving.count(), plan.evictions.len()), (1, 1));
}

#[test]
fn the_owner_of_a_node_keeps_it_by_annotation_and_is_told_so() {
    let mut lab = with(pod("w", 1));
    lab.nodes[0]["metadata"]["annotations"] =
        json!({"cluster-autoscaler.kubernetes.io/scale-down-disabled": "true"});
    assert_eq!(kept(&mut lab).0, "ScaleDownDisabledAnnotation");
    assert_eq!(
        lab.count("ScaleDownBlocked"),
        0,
        "not before it would have gone"
    );
    lab.follow(601);
    let line = format!(
        "node {GPUS}000000: ScaleDownBlocked node is little used and stays: annotation \
         cluster-autoscaler.kubernetes.io/scale-down-disabled is true"
    );
    assert!(lab.has(&line), "{:#?}", lab.log);
    lab.follow(24 * 3600);
    // After 10, 30 and 70 minutes, then every hour.
    assert_eq!(lab.count("ScaleDownBlocked"), 26);
    lab.nodes[0]["metadata"]["annotations"] = json!({});
    lab.plan();
    assert!(lab.state.kept.is_empty());
}

#[test]
fn a_node_that_does_not_become_usable_is_removed_and_replaced() {
    let mut lab = Lab::article();
    lab.run(&["a"], 1);
    lab.plan();
    // Its GPUs never show.
    lab.arrive(0);
    lab.follow(15 * 60);
    lab.plan();
    assert_eq!(
        lab.target(),
        2,
        "after the time for coming up it counts no more"
    );
    lab.arrive(1);
    lab.plan();
    lab.follow(20 * 60 + 20);
    assert_eq!(lab.target(), 1);
    assert!(lab.has(&format!(
        "status: ScaleDownEmpty Scale-down: empty node {GPUS}000000 removed"
    )));
}

#[test]
fn a_startup_taint_means_that_the_node_is_still_coming() {
    let mut lab = Lab::article();
    lab.run(&["a"], 1);
    lab.plan();
    lab.arrive(1);
    let taints = lab.nodes[0]["spec"]["taints"].as_array_mut().unwrap();
    taints.push(json!({
        "key": "startup-taint.cluster-autoscaler.kubernetes.io/driver", "effect": "NoSchedule",
    }));
    lab.wait(60);
    let plan = lab.plan();
    assert!(
        plan.orders.is_empty(),
        "the node on its way will take the pod"
    );
    assert!(matches!(
        plan.explanation.nodes.values().next(),
        Some(NodeOutcome::Upcoming { .. })
    ));
}

#[test]
fn a_reason_is_given_for_every_node_that_stays() {
    let mut lab = with(pod("w", 1));
    lab.seen.pools[0].min = 2;
    let least = format!("group {GPUS} has 2 nodes at the least");
    assert_eq!(kept(&mut lab), ("NodeGroupMinSizeReached", least));
    let mut lab = with(pod("w", 4));
    lab.pods[1]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = json!(5);
    let (reason, detail) = kept(&mut lab);
    assert_eq!(
        (reason, &*detail),
        ("NoPlaceToMovePods", "its pods fit on no other node")
    );
    let all: BTreeMap<_, _> = lab.plan().explanation.nodes;
    assert!(
        matches!(all.values().last(), Some(NodeOutcome::Needed { utilization }) if *utilization == 0.625)
    );
}
