//! Simulated kubelets: one task that runs the pods of all nodes.
//!
//! It talks to any Kubernetes API through a `kube::Client`. Pods that are bound to a node start
//! after a delay, run for ever (unless an annotation says otherwise) and end when they are
//! deleted. GPUs are given out by index; [`KubeletView`] tells which pod has which.

mod api;
mod machine;
mod pods;
mod status;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::watcher::{self, Event};
use serde_json::{Value, json};
use tokio::time::Instant;

use self::api::{PodRef, Writer};
use self::machine::Machine;
use self::pods::Running;
pub use self::view::{GpuUse, KubeletView};

/// Delays of the simulated kubelets.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// From a pod's arrival on its node until its containers run.
    pub start_delay: Duration,
    /// From a pod's deletion until its containers have ended.
    pub stop_delay: Duration,
    /// Between two renewals of a node's lease. A real kubelet renews every 10 s; nothing in a
    /// simulation fails for lack of it, so once a minute keeps the log short.
    pub heartbeat: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            start_delay: Duration::from_secs(5),
            stop_delay: Duration::from_secs(1),
            heartbeat: Duration::from_secs(60),
        }
    }
}

/// Renewals of the lease for each renewal of the node's conditions.
const BEATS: u64 = 5;
/// Wait after a failed request.
const RETRY: Duration = Duration::from_secs(1);

type PodKey = (String, String);

/// Something that is due at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Action {
    /// Renews a node's lease for the nth time.
    Beat(String, String, u64),
    Accept(PodRef),
    Start(PodRef),
    Finish(PodRef),
    Stop(PodRef),
}

/// All kubelets; the state of each pod's run is in [`pods`].
struct Kubelets {
    writer: Writer,
    view: KubeletView,
    options: Options,
    machines: BTreeMap<String, Machine>,
    appeared: u32,
    pods: BTreeMap<PodKey, Running>,
    by_node: BTreeMap<String, BTreeSet<PodKey>>,
    due: BTreeSet<(Instant, u64, Action)>,
    sequence: u64,
    /// What a list has not shown yet, while one is read.
    unseen_pods: Option<BTreeSet<PodKey>>,
    unseen_nodes: Option<BTreeSet<String>>,
}

/// Runs the kubelets of all nodes; never returns.
pub async fn run(client: kube::Client, view: KubeletView, options: Options) {
    let mut nodes = nodepools::watch(&client, &ApiResource::erase::<Node>(&()));
    let mut pods = nodepools::watch(&client, &ApiResource::erase::<Pod>(&()));
    let mut kubelets = Kubelets {
        writer: Writer::new(client),
        view,
        options,
        machines: BTreeMap::new(),
        appeared: 0,
        pods: BTreeMap::new(),
        by_node: BTreeMap::new(),
        due: BTreeSet::new(),
        sequence: 0,
        unseen_pods: None,
        unseen_nodes: None,
    };
    loop {
        let next = kubelets.due.first().map(|(at, ..)| *at);
        let due = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        // Watches come first: what they bring costs little, and a reader that falls behind has
        // to list everything again.
        tokio::select! {
            biased;
            Some(event) = nodes.next() => kubelets.node_event(event),
            Some(event) = pods.next() => kubelets.pod_event(event),
            () = due => kubelets.act().await,
        }
    }
}

impl Kubelets {
    fn schedule(&mut self, after: Duration, action: Action) {
        self.sequence += 1;
        self.due
            .insert((Instant::now() + after, self.sequence, action));
    }

    async fn act(&mut self) {
        let Some((at, sequence, action)) = self.due.pop_first() else {
            return;
        };
        if at > Instant::now() {
            self.due.insert((at, sequence, action));
            return;
        }
        let result = match &action {
            Action::Beat(node, uid, n) => self.beat(node, uid, *n).await,
            Action::Accept(pod) => self.accept(pod).await,
            Action::Start(pod) => self.start(pod).await,
            Action::Finish(pod) => self.finish(pod).await,
            Action::Stop(pod) => self.stop(pod).await,
        };
        match result {
            Ok(()) => {}
            Err(e) if api::is_gone(&e) => {}
            Err(e) => {
                tracing::warn!(error = %e, ?action, "kubelet: the API refused, trying again");
                self.schedule(RETRY, action);
            }
        }
    }

    fn node_event(&mut self, event: Result<Event<DynamicObject>, watcher::Error>) {
        match event {
            Ok(Event::Init) => self.unseen_nodes = Some(self.machines.keys().cloned().collect()),
            Ok(Event::InitApply(node) | Event::Apply(node)) => self.node_seen(&node),
            Ok(Event::InitDone) => {
                for node in self.unseen_nodes.take().unwrap_or_default() {
                    self.node_gone(&node);
                }
            }
            Ok(Event::Delete(node)) => self.node_gone(&name_of(&node)),
            Err(e) => tracing::warn!(error = %e, "kubelet: watching nodes failed"),
        }
    }

    fn node_seen(&mut self, node: &DynamicObject) {
        let name = name_of(node);
        if let Some(unseen) = &mut self.unseen_nodes {
            unseen.remove(&name);
        }
        let uid = node.metadata.uid.clone().unwrap_or_default();
        if self.machines.get(&name).is_some_and(|m| m.uid != uid) {
            self.node_gone(&name);
        }
        let is_new = !self.machines.contains_key(&name);
        if is_new {
            self.appeared += 1;
            let number = self.appeared - 1;
            let host_ip = node.data["status"]["addresses"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|a| a["type"] == "InternalIP")
                .and_then(|a| a["address"].as_str())
                .map_or_else(|| Machine::fallback_ip(number), str::to_owned);
            let machine = Machine {
                uid: uid.clone(),
                host_ip,
                number,
                ..Machine::default()
            };
            self.machines.insert(name.clone(), machine);
            self.schedule(Duration::ZERO, Action::Beat(name.clone(), uid, 0));
        }
        if let Some(machine) = self.machines.get_mut(&name) {
            machine.gpus = count(&node.data["status"]["allocatable"]["nvidia.com/gpu"]);
        }
        if is_new {
            for key in self.by_node.get(&name).cloned().unwrap_or_default() {
                self.take_on(&key);
            }
        }
    }

    /// A node that went takes its pods along.
    fn node_gone(&mut self, node: &str) {
        if self.machines.remove(node).is_none() {
            return;
        }
        for key in self.by_node.get(node).cloned().unwrap_or_default() {
            let Some(pod) = self.pods.get(&key) else {
                continue;
            };
            let id = pod.id.clone();
            self.view.release(&id.uid);
            self.schedule(Duration::ZERO, Action::Stop(id));
        }
    }

    async fn beat(&mut self, node: &str, uid: &str, n: u64) -> Result<(), kube::Error> {
        if self.machines.get(node).is_none_or(|m| m.uid != uid) {
            return Ok(());
        }
        let now = self.view.clock().now();
        self.writer.renew(node, uid, now).await?;
        if n.is_multiple_of(BEATS) {
            let current = self.writer.get(&format!("/api/v1/nodes/{node}")).await?;
            let mut conditions: Vec<Value> = current["status"]["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|c| json!({"type": c["type"], "lastHeartbeatTime": status::time(now)}))
                .collect();
            conditions.extend(status::missing_conditions(&current, now));
            self.writer.node_conditions(node, conditions).await?;
        }
        self.schedule(
            self.options.heartbeat,
            Action::Beat(node.to_owned(), uid.to_owned(), n + 1),
        );
        Ok(())
    }
}

fn name_of(object: &DynamicObject) -> String {
    object.metadata.name.clone().unwrap_or_default()
}

/// A whole number of devices, written as a number or as text.
fn count(quantity: &Value) -> u32 {
    match quantity {
        Value::String(s) => s.parse().unwrap_or(0),
        other => other
            .as_u64()
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(0),
    }
}
