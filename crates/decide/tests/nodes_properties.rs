//! What must hold for every node plan, whatever the cluster.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use decide::budget::Budget;
use decide::fit::{NodeInfo, PodInfo, Snapshot, Verdict, schedule};
use decide::nodes::*;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A pool: GPUs of a node, fewest and most nodes, price, zone.
type PoolShape = (u32, u32, u32, u32, u8);
/// A pod: GPUs, CPUs, priority, what is special about it, the node it runs on.
type PodShape = (u32, u32, i64, u8, Option<u8>);

fn pools() -> impl Strategy<Value = Vec<PoolShape>> {
    proptest::collection::vec((0..5u32, 0..3u32, 0..5u32, 0..10u32, 0..3u8), 1..4)
}

fn pods() -> impl Strategy<Value = Vec<PodShape>> {
    let node = proptest::option::weighted(0.4, any::<u8>());
    proptest::collection::vec((0..6u32, 0..9u32, -11..3i64, 0..24u8, node), 0..14)
}

/// A small world that does what a plan says.
struct World {
    now: Timestamp,
    pools: Vec<PoolView>,
    nodes: Vec<Value>,
    pods: Vec<Value>,
    budgets: Vec<Budget>,
    state: State,
    settings: Settings,
    made: u32,
}

fn node(name: &str, gpus: u32, zone: u8, ready: bool) -> Value {
    json!({
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "zone": format!("z{zone}"),
        }},
        "spec": {"taints": []},
        "status": {
            "allocatable": {"cpu": "8", "memory": "32Gi", "pods": "8", "nvidia.com/gpu": gpus},
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
        },
    })
}

fn pod(at: usize, shape: PodShape, nodes: &[Value]) -> Value {
    let (gpus, cpus, priority, special, place) = shape;
    let mut pod = json!({
        "metadata": {
            "name": format!("p{at:02}"), "namespace": "default", "uid": format!("u{at}"),
            "labels": {"app": format!("a{}", special % 2)},
            "ownerReferences": [{"kind": "ReplicaSet", "uid": "rs", "controller": true}],
        },
        "spec": {
            "priority": priority,
            "containers": [{"resources": {
                "requests": {"cpu": cpus}, "limits": {"nvidia.com/gpu": gpus},
            }}],
        },
    });
    let spec = |pod: &mut Value, key: &str, value: Value| pod["spec"][key] = value;
    match special {
        2 => pod["metadata"]["ownerReferences"] = json!([]),
        3 => pod["metadata"]["ownerReferences"][0]["kind"] = json!("DaemonSet"),
        4 => spec(&mut pod, "nodeSelector", json!({"zone": "z1"})),
        5 | 6 => spec(
            &mut pod,
            "topologySpreadConstraints",
            json!([{
                "maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app": format!("a{}", special % 2)}},
            }]),
        ),
        7 | 8 => spec(
            &mut pod,
            "affinity",
            json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
                "topologyKey": "kubernetes.io/hostname",
                "labelSelector": {"matchLabels": {"app": "a0"}},
            }]}}),
        ),
        9 => {
            pod["metadata"]["annotations"] =
                json!({"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"});
        }
        10 => spec(&mut pod, "volumes", json!([{"name": "v", "emptyDir": {}}])),
        11 => pod["metadata"]["namespace"] = json!("kube-system"),
        12 => pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"),
        _ => {}
    }
    if let (Some(place), false) = (place, nodes.is_empty()) {
        let at = usize::from(place) % nodes.len();
        pod["spec"]["nodeName"] = nodes[at]["metadata"]["name"].clone();
    }
    pod
}

impl World {
    fn new(shapes: &[PoolShape], pods: &[PodShape], there: u32, allowed: i64) -> Self {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut world = Self {
            now,
            pools: Vec::new(),
            nodes: Vec::new(),
            pods: Vec::new(),
            budgets: vec![Budget::parse(&json!({
                "metadata": {"name": "b", "namespace": "default"},
                "spec": {"selector": {"matchLabels": {"app": "a1"}}},
                "status": {"observedGeneration": 1, "disruptionsAllowed": allowed},
            }))],
            state: State::default(),
            settings: Settings::default(),
            made: 0,
        };
        for (at, (gpus, min, span, price, zone)) in shapes.iter().enumerate() {
            let group = format!("pool{at}");
            let mut template = node("template", *gpus, *zone, true);
            template["metadata"]["labels"]["pool"] = json!(group);
            world.pools.push(PoolView {
                group,
                min: *min,
                max: min + span,
                target: 0,
                price: f64::from(*price),
                priority: (price % 3 == 0).then_some(i64::from(*price)),
                template: NodeInfo::parse(&template),
                instances: Vec::new(),
            });
            for _ in 0..there.min(min + span) {
                world.order(at);
            }
        }
        world.arrive();
        let there = world.nodes.clone();
        // Only what fits runs.
        let mut cluster = Snapshot::new(&there, []);
        for (at, shape) in pods.iter().enumerate() {
            let mut object = pod(at, *shape, &there);
            let wish = object["spec"].as_object_mut().unwrap().remove("nodeName");
            if let Some(wish) = wish
                && let Verdict::Fits(fits) = schedule(&PodInfo::parse(&object), &cluster)
                && fits.iter().any(|n| wish == **n)
            {
                object["spec"]["nodeName"] = wish;
                cluster.set_pod(Arc::new(PodInfo::parse(&object)));
            }
            world.pods.push(object);
        }
        world
    }

    fn order(&mut self, at: usize) {
        let pool = &mut self.pools[at];
        pool.target += 1;
        pool.instances.push(Instance {
            name: format!("{}-{:04}", pool.group, self.made),
            ordered: self.now,
            state: InstanceState::Creating,
        });
        self.made += 1;
    }

    fn arrive(&mut self) {
        for pool in &mut self.pools {
            for instance in &mut pool.instances {
                if instance.state != InstanceState::Creating {
                    continue;
                }
                instance.state = InstanceState::Running;
                let zone = pool.template.labels["zone"][1..].parse().unwrap();
                let gpus = u32::try_from(pool.template.allocatable.gpus()).unwrap();
                self.nodes.push(node(&instance.name, gpus, zone, true));
            }
        }
    }

    fn observe(&mut self) -> Observed {
        let mut cluster = Snapshot::new(&self.nodes, &self.pods);
        let mut pending = Vec::new();
        for object in &mut self.pods {
            let info = Arc::new(PodInfo::parse(object));
            if info.node.is_some() || info.terminating {
                continue;
            }
            match schedule(&info, &cluster) {
                Verdict::Fits(nodes) => {
                    object["spec"]["nodeName"] = json!(*nodes[0]);
                    cluster.set_pod(Arc::new(PodInfo::parse(object)));
                }
                Verdict::Waits(_) => pending.push(info),
            }
        }
        Observed {
            pools: self.pools.clone(),
            cluster,
            pending,
            budgets: self.budgets.clone(),
            ..Observed::default()
        }
    }

    fn plan(&self, seen: &Observed) -> Plan {
        plan(&self.settings, seen, &self.state, self.now)
    }

    fn execute(&mut self, plan: &Plan) {
        self.state = plan.state.clone();
        for order in &plan.orders {
            let at = self
                .pools
                .iter()
                .position(|p| p.group == order.group)
                .unwrap();
            for _ in order.from..order.to {
                self.order(at);
            }
        }
        for change in &plan.taints {
            let node = self
                .nodes
                .iter_mut()
                .find(|n| n["metadata"]["name"] == change.node);
            let taints = node.unwrap()["spec"]["taints"].as_array_mut().unwrap();
            taints.retain(|t| t["key"] != change.key);
            if let Some(value) = &change.value {
                taints.push(json!({"key": change.key, "value": value, "effect": change.effect}));
            }
        }
        for key in &plan.evictions {
            let evicted = |p: &&mut Value| {
                let meta = &p["metadata"];
                meta["name"] == *key.name && meta["namespace"] == *key.namespace
            };
            let pod = self.pods.iter_mut().find(evicted).unwrap();
            pod["spec"].as_object_mut().unwrap().remove("nodeName");
        }
        for removal in &plan.removals {
            let pool = self
                .pools
                .iter_mut()
                .find(|p| p.group == removal.group)
                .unwrap();
            pool.instances.retain(|i| i.name != removal.node);
            pool.target -= 1;
            self.nodes.retain(|n| n["metadata"]["name"] != removal.node);
            self.pods.retain(|p| p["spec"]["nodeName"] != removal.node);
        }
    }

    /// Pods that are neither a DaemonSet's nor on their way out, by node.
    fn busy(seen: &Observed, node: &str) -> usize {
        let node = seen.cluster.node(node);
        let pods = node.into_iter().flat_map(|n| n.pods.values());
        pods.filter(|p| !p.is_daemon() && !p.terminating).count()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn plans_keep_to_the_pools_bounds_and_come_to_rest(
        shapes in pools(), pods in pods(), there in 0..4u32, allowed in 0..3i64,
        gaps in proptest::collection::vec(1..700i64, 1..6),
    ) {
        let mut world = World::new(&shapes, &pods, there, allowed);
        for gap in gaps {
            let mut rounds = 0;
            loop {
                let seen = world.observe();
                let plan = world.plan(&seen);
                prop_assert_eq!(&plan, &world.plan(&seen), "the same twice");
                for order in &plan.orders {
                    let pool = seen.pools.iter().find(|p| p.group == order.group).unwrap();
                    prop_assert!(order.from == pool.target && order.from < order.to);
                    prop_assert!(order.to <= pool.max);
                }
                for pool in &seen.pools {
                    let going = plan.taints.iter().filter(|t| {
                        t.key == LEAVING_TAINT && t.value.is_some()
                            && pool.instances.iter().any(|i| i.name == t.node)
                    });
                    prop_assert!(pool.target as usize >= pool.min as usize + going.count()
                        || pool.target < pool.min, "no pool shrinks below its minimum");
                    let fixed = !pool.scales();
                    prop_assert!(!fixed || plan.removals.iter().all(|r| r.group != pool.group));
                }
                for removal in &plan.removals {
                    prop_assert_eq!(World::busy(&seen, &removal.node), 0);
                }
                // What is evicted must have another place at once.
                let moving: BTreeSet<_> = plan.taints.iter()
                    .filter(|t| t.key == LEAVING_TAINT && t.value.is_some())
                    .map(|t| t.node.clone()).collect();
                let waiting = seen.pending.len();
                let idle = plan.is_idle();
                world.execute(&plan);
                if !plan.evictions.is_empty() && !moving.is_empty() && waiting == 0 {
                    let after = world.observe();
                    prop_assert!(after.pending.is_empty(),
                        "evicted without a place: {:?}", after.pending.iter()
                            .map(|p| p.key.to_string()).collect::<Vec<_>>());
                }
                if idle {
                    break;
                }
                rounds += 1;
                prop_assert!(rounds < 8, "does not come to rest: {plan:#?}");
            }
            world.arrive();
            world.now += SignedDuration::from_secs(gap);
        }
    }

    #[test]
    fn a_pod_has_an_outcome_and_a_refused_one_a_reason(
        shapes in pools(), pods in pods(), there in 0..4u32,
    ) {
        let mut world = World::new(&shapes, &pods, there, 1);
        let seen = world.observe();
        let plan = world.plan(&seen);
        let scales = seen.pools.iter().any(PoolView::scales);
        for pod in seen.pending.iter().filter(|p| !p.is_daemon()) {
            let outcome = plan.explanation.pods.get(&pod.key.to_string());
            prop_assert!(outcome.is_some(), "{}", pod.key);
            if let Some(PodOutcome::Refused { reasons }) = outcome {
                prop_assert!(!scales || reasons.values().all(|r| !r.is_empty()));
                let told = plan.events.iter().any(|e| {
                    e.reason == "NotTriggerScaleUp"
                        && e.target == Target::Pod(pod.key.clone(), pod.uid.clone())
                });
                prop_assert!(told || !scales);
            }
        }
    }

    #[test]
    fn a_replica_plan_asks_for_what_its_pods_would(
        shapes in pools(), gpus in 0..4u32, cpus in 0..9u32, special in 0..9u8, count in 1..8u32,
    ) {
        let one = (gpus, cpus, 0, special, None);
        let many: Vec<PodShape> = (0..count).map(|_| one).collect();
        let mut real = World::new(&shapes, &many, 0, 1);
        let mut planned = World::new(&shapes, &[], 0, 1);
        let seen = real.observe();
        let mut ahead = planned.observe();
        if let Some(pod) = seen.pending.first() {
            ahead.plans = vec![ReplicaPlan { pod: pod.clone(), missing: count }];
        }
        let of = |plan: Plan| plan.orders.into_iter().map(|o| (o.group, o.to)).collect::<Vec<_>>();
        if special != 3 && seen.pending.len() == count as usize {
            prop_assert_eq!(of(real.plan(&seen)), of(planned.plan(&ahead)));
        }
    }

    #[test]
    fn nothing_observed_makes_it_panic(
        target in any::<u32>(), min in any::<u32>(), max in any::<u32>(), price in any::<f64>(),
        amount in "[-+]?[0-9]{0,22}(\\.[0-9]{1,3})?(n|u|m|k|Ki|Ei|e[0-9]{1,3})?",
        seconds in any::<i32>(), missing in 0..40u32, class in 0..4u8, skew in any::<i64>(),
    ) {
        let mut template = node("t", 1, 0, class == 0);
        template["status"]["allocatable"]["nvidia.com/gpu"] = json!(amount);
        template["status"]["allocatable"]["cpu"] = json!(amount);
        let ordered = Timestamp::from_second(i64::from(seconds)).unwrap();
        let instance = |n: u32, state| Instance { name: format!("i{n}"), ordered, state };
        let state = match class {
            0 => InstanceState::Running,
            1 => InstanceState::Creating,
            2 => InstanceState::Deleting,
            _ => InstanceState::Failed { class: String::new(), code: amount.clone(),
                message: String::new() },
        };
        let pool = PoolView { group: String::new(), min, max, target, price, priority: None,
            template: NodeInfo::parse(&template),
            instances: vec![instance(0, state), instance(1, InstanceState::Running)] };
        let mut odd = pod(0, (1, 1, 0, 0, None), &[]);
        odd["spec"]["containers"][0]["resources"]["limits"]["cpu"] = json!(amount);
        odd["spec"]["topologySpreadConstraints"] = json!([{"maxSkew": skew, "topologyKey": "zone",
            "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}]);
        let odd = Arc::new(PodInfo::parse(&odd));
        let mut cluster = Snapshot::default();
        cluster.set_node(&node("i1", 1, 0, true));
        cluster.set_pod(Arc::new(PodInfo { node: Some("i1".into()), ..PodInfo::clone(&odd) }));
        let settings = Settings { unneeded: std::time::Duration::MAX, ..Settings::default() };
        let mut state = State::default();
        for now in [Timestamp::MIN, ordered, Timestamp::MAX] {
            let seen = Observed { pools: vec![pool.clone(), pool.clone()], cluster: cluster.clone(),
                pending: vec![odd.clone(), odd.clone()],
                plans: vec![ReplicaPlan { pod: odd.clone(), missing }],
                daemons: vec![odd.clone()], ..Observed::default() };
            state = plan(&settings, &seen, &state, now).state;
        }
    }
}
