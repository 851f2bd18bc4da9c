//! Node planning: many pods, pools and nodes at once.

use std::sync::Arc;
use std::time::Duration;

use benches::{Report, best};
use decide::fit::{NodeInfo, PodInfo, PodKey, Snapshot};
use decide::nodes::{Instance, InstanceState, Observed, Plan, PoolView, Settings, State, plan};
use jiff::Timestamp;
use serde_json::{Value, json};

fn main() {
    let mut report = Report::new("node planning, one core");
    let settings = Settings::default();
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap_or_default();
    let run = |seen: &Observed| -> Plan { plan(&settings, seen, &State::default(), now) };

    let mixed = mixed(10_000, 0, now);
    let took = best(5, || run(&mixed));
    describe(&run(&mixed));
    let limit = Duration::from_millis(500);
    report.within(
        "10,000 pods of 20 shapes, 50 pools, 1,000 nodes",
        took,
        limit,
    );

    let spread = self::mixed(10_000, 5, now);
    let took = best(3, || run(&spread));
    describe(&run(&spread));
    report.within("the same, 5 of the shapes spread over hosts", took, limit);

    let all = self::mixed(10_000, 20, now);
    let took = best(3, || run(&all));
    report.within(
        "the same, all shapes spread over hosts",
        took,
        Duration::from_secs(2),
    );

    let half = alike(50_000, 20_000);
    let whole = alike(100_000, 20_000);
    let (small, large) = (best(3, || run(&half)), best(3, || run(&whole)));
    report.within("100,000 pods alike", large, Duration::from_secs(1));
    report.beside(
        "twice as many pods alike",
        large,
        "half of them",
        small,
        2.6,
    );

    let full = alike(100_000, 100);
    let took = best(3, || run(&full));
    report.within(
        "100,000 pods alike of which 99,200 are refused",
        took,
        Duration::from_secs(1),
    );

    let (half, whole) = (idle(500, now), idle(1_000, now));
    let (small, large) = (best(3, || run(&half)), best(3, || run(&whole)));
    describe(&run(&whole));
    report.within(
        "1,000 nodes of 8 little pods each to consolidate",
        large,
        limit,
    );
    report.beside("twice as many nodes", large, "half of them", small, 4.0);
    report.finish();
}

fn describe(plan: &Plan) {
    let nodes: u32 = plan.orders.iter().map(|o| o.to - o.from).sum();
    println!(
        "    ({nodes} nodes ordered in {} pools, {} events, {} nodes explained)",
        plan.orders.len(),
        plan.events.len(),
        plan.explanation.nodes.len()
    );
}

fn template(gpus: u32, cpu: u32) -> Value {
    json!({
        "metadata": {"name": "template", "labels": {"kubernetes.io/hostname": "template"}},
        "spec": {"taints": [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}]},
        "status": {
            "allocatable": {
                "cpu": cpu, "memory": format!("{}Gi", cpu * 8), "pods": 110,
                "nvidia.com/gpu": gpus,
            },
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
        template: NodeInfo::parse(&template(gpus, 96)),
        instances: Vec::new(),
    }
}

fn pod(shape: u32, gpus: u32, spread: bool) -> Arc<PodInfo> {
    let app = format!("app{shape}");
    let mut object = json!({
        "metadata": {
            "name": "p", "namespace": "default", "labels": {"app": app},
            "ownerReferences": [{"kind": "ReplicaSet", "uid": app, "controller": true}],
        },
        "spec": {
            "containers": [{"resources": {
                "requests": {"cpu": format!("{}", 1 + shape % 5), "memory": "4Gi"},
                "limits": {"nvidia.com/gpu": gpus},
            }}],
            "tolerations": [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}],
        },
    });
    if spread {
        object["spec"]["topologySpreadConstraints"] = json!([{
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": app}},
        }]);
    }
    Arc::new(PodInfo::parse(&object))
}

fn named(pod: &PodInfo, name: String, node: Option<&str>) -> Arc<PodInfo> {
    Arc::new(PodInfo {
        key: PodKey {
            namespace: pod.key.namespace.clone(),
            name: Arc::from(name.as_str()),
        },
        uid: name,
        node: node.map(Arc::from),
        ..pod.clone()
    })
}

fn add_node(pool: &mut PoolView, cluster: &mut Snapshot, name: &str, now: Timestamp) {
    let mut node = template(8, 96);
    node["metadata"]["name"] = json!(name);
    node["metadata"]["labels"]["kubernetes.io/hostname"] = json!(name);
    cluster.set_node(&node);
    pool.target += 1;
    pool.max += 1;
    pool.instances.push(Instance {
        name: name.to_owned(),
        ordered: now,
        state: InstanceState::Running,
    });
}

/// Fifty pools with twenty used nodes each, and pods of twenty shapes.
fn mixed(pods: u32, spread: u32, now: Timestamp) -> Observed {
    let mut seen = Observed::default();
    let filler = pod(99, 6, false);
    for p in 0..50 {
        let mut pool = pool(&format!("pool{p:02}"), 8, 1_000, 10.0 + f64::from(p));
        for n in 0..20 {
            let name = format!("pool{p:02}-{n:03}");
            add_node(&mut pool, &mut seen.cluster, &name, now);
            seen.cluster
                .set_pod(named(&filler, format!("f-{name}"), Some(&name)));
        }
        seen.pools.push(pool);
    }
    let shapes: Vec<_> = (0..20).map(|s| pod(s, 1 + s % 4, s < spread)).collect();
    for n in 0..pods {
        let shape = &shapes[(n % 20) as usize];
        seen.pending.push(named(shape, format!("p{n:06}"), None));
    }
    seen
}

/// One pool of empty nodes to come, and pods that are all the same.
fn alike(pods: u32, max: u32) -> Observed {
    let shape = pod(0, 1, false);
    Observed {
        pools: vec![pool("gpunp", 8, max, 98.32)],
        pending: (0..pods)
            .map(|n| named(&shape, format!("p{n:06}"), None))
            .collect(),
        ..Observed::default()
    }
}

/// Nodes of which each has a few small pods, so that most could go.
fn idle(nodes: u32, now: Timestamp) -> Observed {
    let mut seen = Observed::default();
    let mut pool = pool("gpunp", 8, 0, 98.32);
    let shapes: Vec<_> = (0..4).map(|s| pod(s, 0, false)).collect();
    for n in 0..nodes {
        let name = format!("gpunp-{n:04}");
        add_node(&mut pool, &mut seen.cluster, &name, now);
        for p in 0..8 {
            let pod = named(&shapes[p % 4], format!("p{n:04}-{p}"), Some(&name));
            seen.cluster.set_pod(pod);
        }
    }
    seen.pools.push(pool);
    seen
}
