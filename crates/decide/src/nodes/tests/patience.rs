//! What the planner does when things do not go as planned, and how often it tells.

use super::*;

#[test]
fn a_refused_eviction_is_tried_again_until_the_budget_allows_it() {
    let mut lab = Lab::draining();
    lab.follow(60);
    assert_eq!(lab.asked, 7, "every ten seconds");
    assert_eq!(lab.count("deleting pod for node scale down"), 1);
    lab.guarded = false;
    lab.follow(20);
    assert_eq!((lab.target(), lab.tainted(LEAVING_TAINT)), (1, 0));
    assert!(lab.seen.pending.is_empty());
}

#[test]
fn a_node_that_cannot_be_emptied_is_given_back_and_told_about() {
    let mut lab = Lab::draining();
    lab.follow(719);
    assert_eq!(lab.tainted(LEAVING_TAINT), 1);
    lab.follow(1);
    assert_eq!((lab.target(), lab.tainted(LEAVING_TAINT)), (2, 0));
    assert!(lab.has(&format!(
        "node {GPUS}000000: ScaleDownFailed failed to drain and delete node: pods still there \
         after 12m0s: default/c"
    )));
    assert!(lab.has("pod c: ScaleDownFailed failed to delete pod for ScaleDown"));
    assert_eq!(lab.count("ScaleDownFailed"), 2);
}

#[test]
fn a_protected_pod_that_comes_while_its_node_empties_is_not_asked_to_go() {
    let mut scratch = pod("scratch", 1);
    scratch["spec"]["volumes"] = json!([{"name": "scratch", "emptyDir": {}}]);
    let mut system = pod("dns", 1);
    system["metadata"]["namespace"] = json!("kube-system");
    let mut unsafe_ = pod("unsafe", 1);
    unsafe_["metadata"]["annotations"] =
        json!({"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"});
    for mut late in [scratch, system, unsafe_] {
        let mut lab = Lab::draining();
        late["spec"]["nodeName"] = lab.nodes[0]["metadata"]["name"].clone();
        lab.pods.push(late.clone());
        lab.guarded = false;
        lab.follow(60);
        assert_eq!(lab.asked, 2, "only the pod that was there: {late}");
        lab.follow(660);
        assert_eq!((lab.target(), lab.tainted(LEAVING_TAINT)), (2, 0));
    }
}

#[test]
fn a_node_whose_taint_was_refused_is_marked_at_the_next_look() {
    let mut lab = Lab::article();
    lab.run(&["a"], 1);
    lab.plan();
    lab.arrive(1);
    lab.plan();
    lab.stop("a");
    lab.plan();
    lab.wait(600);
    lab.observe();
    let refused = plan(&lab.settings, &lab.seen, &lab.state, lab.now);
    lab.state = refused.state;
    lab.state.not_marked(&lab.settings, &refused.taints[0].node);
    lab.wait(10);
    assert_eq!(lab.plan().taints.len(), 1);
    assert_eq!(lab.tainted(LEAVING_TAINT), 1);
}

#[test]
fn a_deleted_node_object_is_replaced_and_its_pool_has_not_failed() {
    let mut lab = Lab::article();
    lab.run(&["a"], 1);
    lab.plan();
    lab.arrive(1);
    lab.plan();
    lab.wait(86_400);
    lab.plan();
    lab.nodes.clear();
    lab.pods.clear();
    lab.run(&["b"], 1);
    lab.follow(119);
    assert_eq!(lab.seen.pools[0].instances[0].name, format!("{GPUS}000000"));
    lab.follow(1);
    assert_eq!(lab.count("ScaleUpTimedOut"), 0);
    assert!(lab.state.backoffs.is_empty());
    assert!(lab.has(&format!(
        "status: DeleteUnregistered Removed unregistered node {GPUS}000000: its Node object has \
         been gone for 2m0s"
    )));
    lab.plan();
    assert_eq!(lab.target(), 1);
    assert_eq!(lab.seen.pools[0].instances[0].name, format!("{GPUS}000001"));
}

#[test]
fn a_node_object_that_comes_back_keeps_its_machine() {
    let mut lab = Lab::article();
    lab.run(&["a"], 1);
    lab.plan();
    lab.arrive(1);
    lab.plan();
    lab.wait(86_400);
    lab.plan();
    let nodes = std::mem::take(&mut lab.nodes);
    lab.follow(60);
    lab.nodes = nodes;
    lab.follow(300);
    assert_eq!(lab.count("DeleteUnregistered"), 0);
    assert_eq!(lab.target(), 1);
}

#[test]
fn an_old_machine_without_a_node_is_no_timeout_for_a_planner_that_just_started() {
    let mut lab = Lab::article();
    lab.run(&["a"], 1);
    lab.plan();
    lab.wait(86_400);
    lab.state = State::default();
    lab.follow(130);
    assert_eq!(lab.count("ScaleUpTimedOut"), 0);
    assert_eq!(lab.count("DeleteUnregistered"), 1);
}

#[test]
fn a_refusal_is_told_again_more_and_more_rarely_and_at_once_when_it_changes() {
    let mut lab = Lab::article();
    lab.run(&["a"], 8);
    let told = |lab: &Lab| lab.count("NotTriggerScaleUp");
    lab.follow(48 * 3600);
    // After 0, 5, 15, 35, 75 and 135 minutes, then every hour.
    assert_eq!(told(&lab), 51);
    lab.pods[0]["spec"]["tolerations"] = json!([]);
    lab.plan();
    assert_eq!(told(&lab), 52);
    lab.follow(301);
    assert_eq!(
        told(&lab),
        53,
        "a new reason is told as often as the first was"
    );
    // The same name, but another pod.
    lab.pods[0]["metadata"]["uid"] = json!("other");
    lab.plan();
    assert_eq!(told(&lab), 54);
    lab.stop("a");
    lab.plan();
    assert!(lab.state.told.is_empty());
}
