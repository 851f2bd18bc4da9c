//! Which pool grows, by how much, and for whom.

use super::*;

fn groups(plan: &Plan) -> Vec<(&str, u32)> {
    let order = |o: &Order| o.to - o.from;
    plan.orders
        .iter()
        .map(|o| (o.group.as_str(), order(o)))
        .collect()
}

#[test]
fn a_higher_priority_beats_a_lower_price_and_a_pool_without_one_comes_last() {
    let text = "10: [cheap]\n20: [dear]\n";
    let priorities = Priorities::parse(text).unwrap();
    let mut pools = vec![
        pool("other", 1, 3, 0.1),
        pool("cheap", 1, 1, 1.0),
        pool("dear", 1, 1, 9.0),
    ];
    for pool in &mut pools {
        pool.priority = priorities.of(&pool.group);
    }
    let mut lab = Lab::new(pools);
    lab.run(&["a", "b", "c"], 1);
    let plan = lab.plan();
    assert_eq!(groups(&plan), [("other", 1), ("cheap", 1), ("dear", 1)]);
    let first = plan.orders.iter().find(|o| o.group == "dear").unwrap();
    assert_eq!(first.pods, ["default/a"]);
}

#[test]
fn several_pools_grow_in_one_plan() {
    let mut h100 = pool("h100", 1, 5, 7.0);
    let mut a10 = pool("a10", 1, 5, 3.0);
    for (pool, sku) in [(&mut h100, "h100"), (&mut a10, "a10")] {
        let mut node = template(1);
        node["metadata"]["labels"]["sku"] = json!(sku);
        pool.template = NodeInfo::parse(&node);
    }
    let mut lab = Lab::new(vec![h100, a10]);
    lab.run(&["a", "b", "c"], 1);
    lab.pods[0]["spec"]["nodeSelector"] = json!({"sku": "h100"});
    let affinity = |op: &str| {
        json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [
                {"key": "sku", "operator": op, "values": ["h100"]},
            ]}],
        }}})
    };
    lab.pods[1]["spec"]["affinity"] = affinity("In");
    lab.pods[2]["spec"]["affinity"] = affinity("NotIn");
    assert_eq!(groups(&lab.plan()), [("h100", 2), ("a10", 1)]);
}

#[test]
fn slices_of_a_gpu_are_packed_under_their_own_name() {
    let mut mig = pool("mig", 0, 5, 7.0);
    let mut node = template(0);
    node["status"]["allocatable"]["nvidia.com/mig-1g.10gb"] = json!("7");
    mig.template = NodeInfo::parse(&node);
    let mut lab = Lab::new(vec![mig, pool("whole", 1, 5, 1.0)]);
    for n in 0..8 {
        let mut pod = pod(&format!("s{n}"), 0);
        pod["spec"]["containers"][0]["resources"]["limits"] = json!({"nvidia.com/mig-1g.10gb": 1});
        lab.pods.push(pod);
    }
    assert_eq!(
        groups(&lab.plan()),
        [("mig", 2)],
        "seven on one node, one on another"
    );
    // A node counts as up once it shows its slices.
    lab.arrive(0);
    assert!(lab.plan().is_idle());
    lab.nodes.clear();
    lab.arrive(0);
    for node in &mut lab.nodes {
        node["status"]["allocatable"]["nvidia.com/mig-1g.10gb"] = json!("7");
    }
    lab.observe();
    assert!(lab.seen.pending.is_empty());
}

#[test]
fn replicas_that_must_not_share_a_host_get_a_node_each() {
    let mut lab = Lab::new(vec![pool("big", 8, 10, 98.32)]);
    lab.run(&["a", "b", "c", "d"], 1);
    for pod in &mut lab.pods {
        pod["metadata"]["labels"] = json!({"app": "w"});
        pod["spec"]["topologySpreadConstraints"] = json!([{
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "minDomains": 4,
            "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "w"}},
        }]);
    }
    assert_eq!(groups(&lab.plan()), [("big", 4)]);
    lab.arrive(8);
    assert!(lab.plan().is_idle());
    assert!(lab.seen.pending.is_empty());
    // The same by anti-affinity.
    let mut lab = Lab::new(vec![pool("big", 8, 10, 98.32)]);
    lab.run(&["a", "b", "c"], 1);
    for pod in &mut lab.pods {
        pod["metadata"]["labels"] = json!({"app": "w"});
        pod["spec"]["affinity"] = json!({"podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [{
                "topologyKey": "kubernetes.io/hostname",
                "labelSelector": {"matchLabels": {"app": "w"}},
            }],
        }});
    }
    assert_eq!(groups(&lab.plan()), [("big", 3)]);
}

#[test]
fn what_daemon_sets_take_of_every_node_is_counted() {
    let mut lab = Lab::new(vec![pool("big", 8, 10, 98.32)]);
    lab.run(&["a", "b"], 1);
    for pod in &mut lab.pods {
        pod["spec"]["containers"][0]["resources"]["requests"] = json!({"cpu": "20"});
    }
    assert_eq!(groups(&lab.plan()), [("big", 1)], "40 cores hold both");
    let daemon = json!({
        "metadata": {
            "name": "agent", "namespace": "kube-system",
            "ownerReferences": [{"kind": "DaemonSet", "uid": "ds", "controller": true}],
        },
        "spec": {
            "containers": [{"resources": {"requests": {"cpu": "500m"}}}],
            "tolerations": [{"operator": "Exists"}],
        },
    });
    let mut again = Lab::new(vec![pool("big", 8, 10, 98.32)]);
    again.pods = lab.pods.clone();
    again.seen.daemons = vec![Arc::new(PodInfo::parse(&daemon))];
    assert_eq!(
        groups(&again.plan()),
        [("big", 2)],
        "with the agent there is no room for two"
    );
}

#[test]
fn a_replica_plan_orders_its_nodes_before_its_pods_exist() {
    let mut lab = Lab::article();
    let planned = Arc::new(PodInfo::parse(&pod("w", 1)));
    lab.seen.plans = vec![ReplicaPlan {
        pod: planned,
        missing: 5,
    }];
    let plan = lab.plan();
    assert_eq!(groups(&plan), [(GPUS, 3)]);
    let told = &plan.explanation.replicas[0];
    assert_eq!(
        (
            told.workload.as_str(),
            told.ordered,
            told.refused,
            told.obtainable()
        ),
        ("default/w", 3, 2, 3),
        "the pool caps the replicas at what can be had"
    );
    assert_eq!(told.reasons[GPUS], ["max node group size reached"]);
    // The pods come: their nodes are on the way already.
    lab.seen.plans.clear();
    lab.run(&["w-1", "w-2", "w-3"], 1);
    let plan = lab.plan();
    assert!(plan.orders.is_empty());
    assert_eq!(
        lab.count("TriggeredScaleUp"),
        3,
        "each pod is told about the node that was ordered before it existed"
    );
    lab.wait(60);
    assert!(lab.plan().is_idle());
    assert!(
        plan.explanation
            .pods
            .values()
            .all(|o| matches!(o, PodOutcome::WaitsFor { .. }))
    );
}

#[test]
fn pods_of_an_earlier_order_are_told_about_it_although_another_one_followed() {
    let mut lab = Lab::article();
    let planned = |name: &str| ReplicaPlan {
        pod: Arc::new(PodInfo::parse(&pod(name, 1))),
        missing: 1,
    };
    lab.seen.plans = vec![planned("v")];
    lab.plan();
    lab.wait(1);
    lab.seen.plans.push(planned("w"));
    assert_eq!(groups(&lab.plan()), [(GPUS, 1)]);
    lab.seen.plans.clear();
    lab.run(&["v-1", "w-1"], 1);
    lab.plan();
    for (pod, sizes) in [("v-1", "0->1"), ("w-1", "1->2")] {
        assert!(lab.has(&format!(
            "pod {pod}: TriggeredScaleUp pod triggered scale-up: [{{{GPUS} {sizes} (max: 3)}}]"
        )));
    }
    assert!(lab.state.owed.is_empty());
}

#[test]
fn a_stockout_caps_a_replica_plan_until_it_is_over() {
    let mut lab = Lab::article();
    lab.state.failed(&lab.settings, GPUS, lab.now);
    lab.seen.plans = vec![ReplicaPlan {
        pod: Arc::new(PodInfo::parse(&pod("w", 1))),
        missing: 2,
    }];
    let told = lab.plan().explanation.replicas[0].clone();
    assert_eq!((told.obtainable(), told.refused), (0, 2));
    assert_eq!(told.reasons[GPUS], ["in backoff after failed scale-up"]);
    lab.wait(300);
    assert_eq!(lab.plan().explanation.replicas[0].obtainable(), 2);
}

#[test]
fn existing_pods_come_before_planned_ones_and_important_ones_before_both() {
    let mut lab = Lab::article();
    lab.run(&["real", "vital"], 1);
    lab.pods[1]["spec"]["priority"] = json!(100);
    lab.seen.pools[0].max = 2;
    lab.seen.plans = vec![ReplicaPlan {
        pod: Arc::new(PodInfo::parse(&pod("w", 1))),
        missing: 1,
    }];
    let plan = lab.plan();
    assert_eq!(plan.orders[0].pods, ["default/vital", "default/real"]);
    assert_eq!(plan.explanation.replicas[0].refused, 1);
}
