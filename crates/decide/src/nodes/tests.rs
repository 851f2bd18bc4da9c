//! The planner's behaviour as stories: a small world in which orders arrive
//! after a while, pods are placed by the scheduler's rules, and time passes.

use std::sync::Arc;
use std::time::Duration;

use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};

use super::*;
use crate::fit::{NodeInfo, PodInfo, Snapshot, Verdict, schedule};

mod growing;
mod keeping;
mod patience;

const GPUS: &str = "aks-gpunp-36854149-vmss";

struct Lab {
    now: Timestamp,
    seen: Observed,
    state: State,
    settings: Settings,
    nodes: Vec<Value>,
    pods: Vec<Value>,
    next: u32,
    log: Vec<String>,
    /// A disruption budget refuses every eviction.
    guarded: bool,
    /// How often pods were asked to go.
    asked: usize,
}

fn template(gpus: u32) -> Value {
    json!({
        "metadata": {"name": "template", "labels": {"agentpool": "gpunp"}},
        "spec": {"taints": [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}]},
        "status": {
            "allocatable": {"cpu": "40", "memory": "300Gi", "pods": "110", "nvidia.com/gpu": gpus},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}

fn pool(group: &str, gpus: u32, max: u32, price: f64) -> PoolView {
    PoolView {
        group: group.to_owned(),
        min: 0,
        max,
        target: 0,
        price,
        priority: None,
        template: NodeInfo::parse(&template(gpus)),
        instances: Vec::new(),
    }
}

fn pod(name: &str, gpus: u32) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": "default", "uid": name,
            "ownerReferences": [{"kind": "ReplicaSet", "uid": "rs", "controller": true}],
        },
        "spec": {
            "containers": [{"resources": {"limits": {"nvidia.com/gpu": gpus}}}],
            "tolerations": [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}],
        },
    })
}

impl Lab {
    fn new(pools: Vec<PoolView>) -> Self {
        Self {
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            seen: Observed {
                pools,
                ..Observed::default()
            },
            state: State::default(),
            settings: Settings::default(),
            nodes: Vec::new(),
            pods: Vec::new(),
            next: 0,
            log: Vec::new(),
            guarded: false,
            asked: 0,
        }
    }

    fn article() -> Self {
        Self::new(vec![pool(GPUS, 1, 3, 6.98)])
    }

    fn wait(&mut self, seconds: i64) {
        self.now = self.now.checked_add(seconds.seconds()).unwrap();
    }

    fn run(&mut self, names: &[&str], gpus: u32) {
        self.pods.extend(names.iter().map(|n| pod(n, gpus)));
    }

    fn stop(&mut self, name: &str) {
        self.pods.retain(|p| p["metadata"]["name"] != name);
    }

    /// The scheduler's part: every pod that fits a node gets it.
    fn observe(&mut self) {
        let mut cluster = Snapshot::new(&self.nodes, &self.pods);
        self.seen.pending.clear();
        for object in &mut self.pods {
            let info = Arc::new(PodInfo::parse(object));
            if info.node.is_some() {
                continue;
            }
            match schedule(&info, &cluster) {
                Verdict::Fits(nodes) => {
                    object["spec"]["nodeName"] = json!(*nodes[0]);
                    cluster.set_pod(Arc::new(PodInfo::parse(object)));
                }
                Verdict::Waits(_) => self.seen.pending.push(info),
            }
        }
        self.seen.cluster = cluster;
    }

    /// Plans, does what was planned, and checks that planning again does nothing.
    fn plan(&mut self) -> Plan {
        self.observe();
        let plan = plan(&self.settings, &self.seen, &self.state, self.now);
        self.execute(&plan);
        self.observe();
        let again = super::plan(&self.settings, &self.seen, &self.state, self.now);
        assert!(
            again.is_idle(),
            "planned again: {again:#?}\nafter {plan:#?}"
        );
        let mut kept = self.state.clone();
        kept.follow(&self.settings, &self.seen, self.now);
        assert_eq!(again.state, kept);
        self.state = kept;
        plan
    }

    fn execute(&mut self, plan: &Plan) {
        self.state = plan.state.clone();
        let mut told: Vec<&Event> = Vec::new();
        for order in &plan.orders {
            let pool = self
                .seen
                .pools
                .iter_mut()
                .find(|p| p.group == order.group)
                .unwrap();
            assert!(order.to <= pool.max);
            for _ in pool.target..order.to {
                pool.instances.push(Instance {
                    name: format!("{}{:06}", order.group, self.next),
                    ordered: self.now,
                    state: InstanceState::Creating,
                });
                self.next += 1;
            }
            pool.target = order.to;
            told.extend(order.before.iter().chain(&order.accepted));
        }
        for change in &plan.taints {
            let node = self
                .nodes
                .iter_mut()
                .find(|n| n["metadata"]["name"] == change.node);
            let taints = node.unwrap()["spec"]["taints"].as_array_mut().unwrap();
            taints.retain(|t| t["key"] != change.key);
            if let Some(value) = &change.value {
                let taint = json!({"key": change.key, "value": value, "effect": change.effect});
                taints.push(taint);
            }
        }
        self.asked += plan.evictions.len();
        let evicted = plan.evictions.iter().filter(|_| !self.guarded);
        for key in evicted {
            // The ReplicaSet makes another one at once.
            let pod = self
                .pods
                .iter_mut()
                .find(|p| p["metadata"]["name"] == *key.name)
                .unwrap();
            pod["spec"].as_object_mut().unwrap().remove("nodeName");
        }
        for removal in &plan.removals {
            let pool = self
                .seen
                .pools
                .iter_mut()
                .find(|p| p.group == removal.group)
                .unwrap();
            pool.instances.retain(|i| i.name != removal.node);
            pool.target -= 1;
            self.nodes.retain(|n| n["metadata"]["name"] != removal.node);
            told.extend(&removal.accepted);
        }
        told.extend(&plan.events);
        for event in told {
            let about = match &event.target {
                Target::Pod(key, _) => format!("pod {}", key.name),
                Target::Node(name) => format!("node {name}"),
                Target::Status => "status".to_owned(),
            };
            self.log
                .push(format!("{about}: {} {}", event.reason, event.message));
        }
    }

    /// Everything ordered comes up.
    fn arrive(&mut self, gpus: u32) {
        for pool in &mut self.seen.pools {
            for instance in &mut pool.instances {
                instance.state = InstanceState::Running;
                if self
                    .nodes
                    .iter()
                    .any(|n| n["metadata"]["name"] == instance.name)
                {
                    continue;
                }
                let mut node = template(gpus);
                node["metadata"]["name"] = json!(instance.name);
                node["metadata"]["labels"]["kubernetes.io/hostname"] = json!(instance.name);
                self.nodes.push(node);
            }
        }
    }

    fn target(&self) -> u32 {
        self.seen.pools[0].target
    }

    fn count(&self, part: &str) -> usize {
        self.log.iter().filter(|l| l.contains(part)).count()
    }

    fn tainted(&self, key: &str) -> usize {
        let taints = self.nodes.iter().map(|n| n["spec"]["taints"].to_string());
        taints.filter(|t| t.contains(key)).count()
    }

    /// Two little used nodes, of which one is being emptied against a budget.
    fn draining() -> Self {
        let mut lab = Self::new(vec![pool(GPUS, 8, 3, 98.32)]);
        lab.run(&["a", "b"], 8);
        lab.plan();
        lab.arrive(8);
        lab.plan();
        lab.stop("a");
        lab.stop("b");
        for (i, (name, gpus)) in [("c", 2), ("d", 3)].into_iter().enumerate() {
            let mut pod = pod(name, gpus);
            pod["spec"]["nodeName"] = lab.nodes[i]["metadata"]["name"].clone();
            lab.pods.push(pod);
        }
        lab.guarded = true;
        lab.plan();
        lab.wait(600);
        lab.plan();
        assert_eq!((lab.tainted(LEAVING_TAINT), lab.asked), (1, 1));
        lab
    }

    /// Lets time pass from one planned look to the next, for so long at the most.
    fn follow(&mut self, seconds: i64) {
        let end = self.now.checked_add(seconds.seconds()).unwrap();
        loop {
            let mut rounds = 0;
            let wake = loop {
                self.observe();
                let plan = plan(&self.settings, &self.seen, &self.state, self.now);
                self.execute(&plan);
                rounds += 1;
                assert!(rounds < 6, "does not settle: {plan:#?}");
                // What a plan does is news, and news is planned again.
                if plan.is_idle() {
                    break plan.wake;
                }
            };
            match wake {
                Some(at) if at <= end => self.now = at,
                _ => break,
            }
        }
        self.now = end;
    }

    fn has(&self, line: &str) -> bool {
        self.log.iter().any(|l| l == line)
    }
}

#[test]
fn the_articles_pool_goes_from_zero_to_one_to_three_to_one_to_zero() {
    let mut lab = Lab::article();
    assert!(lab.plan().is_idle());
    lab.run(&["a"], 1);
    lab.plan();
    assert_eq!(lab.target(), 1);
    assert!(lab.has(&format!(
        "pod a: TriggeredScaleUp pod triggered scale-up: [{{{GPUS} 0->1 (max: 3)}}]"
    )));
    assert!(lab.has(&format!(
        "status: ScaledUpGroup Scale-up: setting group {GPUS} size to 1 instead of 0 (max: 3)"
    )));
    // Ordered, then there without its GPUs: still on its way, nothing more is ordered.
    lab.wait(120);
    assert!(lab.plan().is_idle());
    lab.arrive(0);
    lab.wait(20);
    assert!(lab.plan().is_idle());
    lab.nodes.clear();
    lab.arrive(1);
    assert!(lab.plan().is_idle());

    // Ten replicas: two more nodes, and seven pods that no pool can help.
    lab.run(&["b", "c", "d", "e", "f", "g", "h", "i", "j"], 1);
    lab.plan();
    assert_eq!(lab.target(), 3);
    let refused = |lab: &Lab| lab.log.iter().filter(|l| l.contains("NotTrigger")).count();
    assert_eq!(refused(&lab), 7);
    let why = "pod didn't trigger scale-up: 1 max node group size reached";
    assert!(lab.has(&format!("pod j: NotTriggerScaleUp {why}")));
    lab.wait(200);
    lab.arrive(1);
    lab.plan();
    lab.wait(150);
    lab.plan();
    assert_eq!(refused(&lab), 14, "told again after five minutes");

    // Load gone: the idle nodes leave after ten minutes, not before.
    for name in ["b", "c", "d", "e", "f", "g", "h", "i", "j"] {
        lab.stop(name);
    }
    let plan = lab.plan();
    assert!(plan.removals.is_empty());
    assert_eq!(plan.wake, Some(lab.now.checked_add(600.seconds()).unwrap()));
    lab.wait(599);
    assert!(lab.plan().is_idle());
    lab.wait(1);
    lab.plan();
    let last = format!("{GPUS}000002");
    assert!(lab.has(&format!(
        "node {last}: ScaleDown marked the node as toBeDeleted/unschedulable"
    )));
    assert!(lab.has(&format!(
        "status: ScaleDownEmpty Scale-down: removing empty node \"{last}\""
    )));
    assert_eq!(lab.target(), 3);
    lab.wait(5);
    lab.plan();
    assert!(lab.has(&format!(
        "status: ScaleDownEmpty Scale-down: empty node {last} removed"
    )));
    assert_eq!(lab.target(), 1);

    lab.stop("a");
    lab.plan();
    lab.wait(600);
    lab.plan();
    lab.wait(5);
    lab.plan();
    assert_eq!((lab.target(), lab.nodes.len()), (0, 0));
    assert!(lab.plan().is_idle());
}

#[test]
fn a_pod_that_comes_back_keeps_its_node() {
    let mut lab = Lab::article();
    lab.run(&["a"], 1);
    lab.plan();
    lab.arrive(1);
    lab.plan();
    lab.stop("a");
    lab.wait(700);
    lab.plan();
    let soft = |lab: &Lab| {
        lab.nodes[0]["spec"]["taints"]
            .to_string()
            .contains(CANDIDATE_TAINT)
    };
    assert!(soft(&lab), "an unneeded node is marked softly");
    lab.wait(590);
    lab.run(&["b"], 1);
    lab.plan();
    assert!(!soft(&lab));
    lab.wait(60);
    assert!(lab.plan().is_idle());
    // Also when the pod comes between taint and removal.
    lab.stop("b");
    lab.plan();
    lab.wait(600);
    lab.plan();
    let mut late = pod("c", 1);
    late["spec"]["nodeName"] = lab.nodes[0]["metadata"]["name"].clone();
    lab.pods.push(late);
    lab.wait(5);
    lab.plan();
    assert_eq!((lab.target(), lab.nodes.len()), (1, 1));
    assert!(
        !lab.nodes[0]["spec"]["taints"]
            .to_string()
            .contains(LEAVING_TAINT)
    );
}

#[test]
fn reasons_name_what_is_wrong_with_the_pod_or_the_pool() {
    let mut lab = Lab::article();
    let mut selector = pod("selector", 1);
    selector["spec"]["nodeSelector"] = json!({"zone": "moon"});
    let mut taint = pod("taint", 1);
    taint["spec"]["tolerations"] = json!([]);
    lab.pods = vec![selector, taint, pod("eight", 8)];
    assert!(lab.plan().orders.is_empty());
    let told = |who: &str, why: &str| {
        let line = format!("pod {who}: NotTriggerScaleUp pod didn't trigger scale-up: 1 {why}");
        assert!(lab.has(&line), "{line} not in {:#?}", lab.log);
    };
    told(
        "selector",
        "node(s) didn't match Pod's node affinity/selector",
    );
    told("taint", "node(s) had untolerated taint(s)");
    told("eight", "Insufficient nvidia.com/gpu");
}

#[test]
fn pods_share_nodes_and_the_cheaper_pool_is_asked() {
    let mut lab = Lab::new(vec![pool("big", 8, 10, 98.32), pool("small", 1, 10, 6.98)]);
    lab.run(&["a", "b"], 1);
    lab.run(&["c"], 4);
    let plan = lab.plan();
    let orders: Vec<_> = plan
        .orders
        .iter()
        .map(|o| (o.group.as_str(), o.to))
        .collect();
    assert_eq!(
        orders,
        [("big", 1)],
        "the two small ones fit beside the large one"
    );
    let mut lab = Lab::new(vec![pool("big", 8, 10, 98.32), pool("small", 1, 10, 6.98)]);
    lab.run(&["a", "b"], 1);
    let plan = lab.plan();
    assert_eq!(plan.orders[0].group, "small");
    assert_eq!(plan.orders[0].pods, ["default/a", "default/b"]);
}

#[test]
fn a_stockout_is_told_and_another_pool_steps_in() {
    let mut lab = Lab::new(vec![pool("cheap", 1, 3, 1.0), pool("dear", 1, 3, 9.0)]);
    lab.run(&["a"], 1);
    lab.plan();
    lab.seen.pools[0].instances[0].state = InstanceState::Failed {
        class: "OutOfResource".to_owned(),
        code: "ZonalAllocationFailed".to_owned(),
        message: "no H100 capacity in zone".to_owned(),
    };
    lab.wait(5);
    lab.plan();
    assert!(lab.has(
        "status: ScaleUpFailed Failed adding 1 nodes to group cheap due to \
         OutOfResource.ZonalAllocationFailed; source errors: no H100 capacity in zone"
    ));
    let targets: Vec<_> = lab.seen.pools.iter().map(|p| p.target).collect();
    assert_eq!(targets, [0, 1]);
}

#[test]
fn a_pool_in_backoff_is_tried_again_when_its_time_is_over() {
    let mut lab = Lab::article();
    lab.run(&["a"], 1);
    let order = lab.plan().orders[0].clone();
    // The cloud refuses.
    let mut lab = Lab::article();
    lab.run(&["a"], 1);
    lab.state.failed(&lab.settings, GPUS, lab.now);
    let told = Event::refused(&order, "quota used up");
    assert_eq!(
        told.message,
        format!("Scale-up failed for group {GPUS}: quota used up")
    );
    let plan = lab.plan();
    assert!(plan.orders.is_empty());
    let why = "pod didn't trigger scale-up: 1 in backoff after failed scale-up";
    assert!(lab.has(&format!("pod a: NotTriggerScaleUp {why}")));
    assert_eq!(plan.wake, Some(lab.now.checked_add(300.seconds()).unwrap()));
    lab.wait(300);
    assert_eq!(lab.plan().orders.len(), 1);
}

#[test]
fn a_machine_that_never_becomes_a_node_is_given_up() {
    let mut lab = Lab::article();
    lab.run(&["a"], 1);
    lab.plan();
    lab.wait(900);
    lab.plan();
    let told = format!(
        "status: ScaleUpTimedOut Nodes added to group {GPUS} failed to register within 15m0s"
    );
    assert!(lab.has(&told));
    assert!(lab.has(&format!(
        "status: DeleteUnregistered Removed unregistered node {GPUS}000000"
    )));
    assert_eq!(lab.target(), 0);
}

#[test]
fn a_little_used_node_is_emptied_if_its_pods_fit_elsewhere() {
    let mut lab = Lab::new(vec![pool(GPUS, 8, 3, 98.32)]);
    lab.run(&["a", "b"], 8);
    lab.plan();
    lab.arrive(8);
    lab.plan();
    lab.stop("a");
    lab.stop("b");
    for (i, (name, gpus)) in [("c", 2), ("d", 3)].into_iter().enumerate() {
        let mut pod = pod(name, gpus);
        pod["spec"]["nodeName"] = lab.nodes[i]["metadata"]["name"].clone();
        lab.pods.push(pod);
    }
    lab.plan();
    lab.wait(600);
    lab.plan();
    assert_eq!(
        lab.log
            .iter()
            .filter(|l| l.contains("pods to reschedule"))
            .count(),
        1
    );
    lab.wait(5);
    lab.plan();
    assert_eq!((lab.target(), lab.seen.pending.len()), (1, 0));
}

#[test]
fn a_minimum_is_filled_and_kept() {
    let mut lab = Lab::article();
    lab.seen.pools[0].min = 2;
    lab.plan();
    assert_eq!(lab.target(), 2);
    lab.arrive(1);
    lab.plan();
    lab.wait(3600);
    assert!(lab.plan().is_idle());
    assert_eq!(lab.target(), 2);
}

#[test]
fn planned_replicas_count_like_pods_and_low_priority_does_not() {
    let mut lab = Lab::article();
    let planned = Arc::new(PodInfo::parse(&pod("w", 1)));
    lab.seen.plans = vec![ReplicaPlan {
        pod: planned,
        missing: 2,
    }];
    let plan = lab.plan();
    assert_eq!(plan.orders[0].to, 2);
    assert!(plan.orders[0].pods.is_empty());
    let mut lab = Lab::article();
    let mut low = pod("low", 1);
    low["spec"]["priority"] = json!(-11);
    lab.pods.push(low);
    assert!(lab.plan().is_idle());
}

#[test]
fn thousands_of_waiting_pods_are_planned_quickly() {
    let mut lab = Lab::new(vec![pool(GPUS, 8, 300, 98.32)]);
    for i in 0..3000 {
        lab.pods.push(pod(&format!("p{i:04}"), 1));
    }
    lab.observe();
    let began = std::time::Instant::now();
    let plan = plan(&lab.settings, &lab.seen, &lab.state, lab.now);
    println!("3000 pods planned in {:?}", began.elapsed());
    assert_eq!(plan.orders[0].to, 300);
    assert_eq!(plan.orders[0].pods.len(), 2400);
    assert_eq!(plan.events.len(), 600);
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "work must not grow with the square"
    );
}
