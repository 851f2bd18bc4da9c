//! The loop: observe, plan, execute.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use decide::fit::PodKey;
use decide::nodes::{
    self, Event, Plan, PoolView, Priorities, Settings, State, TaintChange, Target,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::api::{Api, ApiResource, DynamicObject, EvictParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::ClusterView;
use crate::events::Recorder;
use crate::provider::{Provider, ProviderError};
use crate::status::Status;

/// Takes note of a plan.
pub type Report = Arc<dyn Fn(&Plan) + Send + Sync>;

/// How the controller runs.
#[derive(Clone)]
pub struct Options {
    /// Times and limits of the planner.
    pub settings: Settings,
    /// Wait after a change, so that what comes together is planned together.
    pub settle: Duration,
    /// Wait after the cloud has not answered.
    pub retry: Duration,
    /// Called with each plan, also with one that does nothing.
    pub on_plan: Option<Report>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            settle: Duration::from_millis(200),
            retry: Duration::from_secs(10),
            on_plan: None,
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("settings", &self.settings)
            .field("settle", &self.settle)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

/// Runs the controller; never returns.
pub async fn run(
    client: kube::Client,
    clock: Clock,
    provider: Arc<dyn Provider>,
    options: Options,
) {
    let mut view = ClusterView::new(&client);
    while !view.is_complete() {
        view.next().await;
    }
    let mut controller = Controller {
        recorder: Recorder::new(client.clone(), clock),
        status: Status::new(client.clone(), clock),
        client,
        clock,
        provider: provider.clone(),
        options,
        state: State::default(),
        untold: None,
        misread: None,
        priorities: None,
    };
    loop {
        let wake = controller.round(&mut view).await;
        if controller.untold.is_some() {
            // What changes in the cluster is no reason to ask a cloud that is
            // away five times a second.
            tokio::time::sleep(controller.options.retry).await;
            continue;
        }
        let wait = until(clock, wake);
        let mut timer = std::pin::pin!(sleep(wait));
        let mut changed = std::pin::pin!(provider.changed());
        loop {
            tokio::select! {
                biased;
                relevant = view.next() => if relevant { break },
                () = &mut changed => break,
                () = &mut timer => break,
            }
        }
        // What belongs together, such as the pods of one scaling, comes within moments.
        let mut settled = std::pin::pin!(tokio::time::sleep(controller.options.settle));
        loop {
            tokio::select! {
                biased;
                _ = view.next() => {}
                () = &mut settled => break,
            }
        }
    }
}

/// Time from now until `at`, `None` for never.
fn until(clock: Clock, at: Option<Timestamp>) -> Option<Duration> {
    at.map(|at| Duration::try_from(at.duration_since(clock.now())).unwrap_or(Duration::ZERO))
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// ConfigMap of priorities, its namespace and its key (cluster autoscaler,
/// priority expander).
const PRIORITIES: (&str, &str, &str) = (
    "cluster-autoscaler-priority-expander",
    "kube-system",
    "priorities",
);

/// Uids of nodes by name.
type Uids = BTreeMap<String, String>;

struct Controller {
    client: kube::Client,
    clock: Clock,
    provider: Arc<dyn Provider>,
    options: Options,
    recorder: Recorder,
    status: Status,
    state: State,
    /// Why the cloud does not tell its pools.
    untold: Option<ProviderError>,
    /// What was told last about priorities that cannot be read.
    misread: Option<String>,
    /// The priorities as last read.
    priorities: Option<Priorities>,
}

impl Controller {
    /// Plans and executes once; returns when to look again.
    async fn round(&mut self, view: &mut ClusterView) -> Option<Timestamp> {
        let now = self.clock.now();
        let pools = match self.provider.pools().await {
            Ok(pools) => {
                if self.untold.take().is_some() {
                    tracing::info!("the cloud tells its pools again");
                }
                pools
            }
            Err(error) => {
                // The same again every ten seconds would bury the rest.
                if self.untold.as_ref() != Some(&error) {
                    tracing::warn!("the cloud does not tell its pools, trying again: {error}");
                }
                self.untold = Some(error);
                return None;
            }
        };
        let mut seen = view.observe(pools);
        self.prioritise(&mut seen.pools).await;
        let plan = nodes::plan(&self.options.settings, &seen, &self.state, now);
        self.state = plan.state.clone();
        if let Some(report) = &self.options.on_plan {
            report(&plan);
        }
        let again = self.execute(&plan, &view.uids).await;
        self.status.write(&seen.pools, &seen.cluster, &plan).await;
        view.snapshot = seen.cluster;
        match (again, plan.wake) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Does what was planned; when something was asked of the cloud, the time to plan again.
    async fn execute(&mut self, plan: &Plan, uids: &Uids) -> Option<Timestamp> {
        // What was ordered is a new observation, with a time limit of its own.
        let ordered = !plan.orders.is_empty() || !plan.removals.is_empty();
        let mut again = ordered.then(|| self.clock.now());
        self.tell(&plan.events, uids).await;
        for order in &plan.orders {
            self.tell(&order.before, uids).await;
            match self.provider.resize(&order.group, order.to).await {
                Ok(()) => self.tell(&order.accepted, uids).await,
                Err(error) => {
                    let refused = Event::refused(order, &error.0);
                    self.tell(&[refused], uids).await;
                    let now = self.clock.now();
                    self.state.failed(&self.options.settings, &order.group, now);
                }
            }
        }
        for change in &plan.taints {
            if let Err(error) = self.taint(change).await {
                tracing::warn!(%error, node = change.node, "changing a taint failed");
            }
        }
        for key in &plan.evictions {
            if let Err(error) = self.evict(key).await {
                tracing::warn!(%error, pod = %key, "evicting a pod failed");
            }
        }
        for removal in &plan.removals {
            match self.provider.remove(&removal.group, &removal.node).await {
                Ok(()) => self.tell(&removal.accepted, uids).await,
                Err(error) => {
                    let told = Event::not_removed(&removal.node, &error.0);
                    self.tell(&[told], uids).await;
                    self.state.not_removed(&removal.node);
                    again = self.clock.now().checked_add(self.options.retry).ok();
                }
            }
        }
        again
    }

    /// Gives pools the priorities of the ConfigMap, where there is one: having it is
    /// asking for it, as nobody writes it for another expander, so it needs no
    /// option beside it. A text that cannot be read is told about, and the price
    /// decides meanwhile.
    async fn prioritise(&mut self, pools: &mut [PoolView]) {
        let (name, namespace, key) = PRIORITIES;
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let map = match api.get_opt(name).await {
            Ok(Some(map)) => map,
            Ok(None) => {
                (self.misread, self.priorities) = (None, None);
                return;
            }
            Err(error) => {
                // A hiccup must not order the nodes that the ranking puts last.
                tracing::warn!(%error, "reading {namespace}/{name} failed, the last ones count");
                rank(self.priorities.as_ref(), pools);
                return;
            }
        };
        let text = map.data.as_ref().and_then(|data| data.get(key));
        let problem = match text.map(|text| Priorities::parse(text)) {
            Some(Ok(priorities)) => {
                self.misread = None;
                self.priorities = Some(priorities);
                rank(self.priorities.as_ref(), pools);
                return;
            }
            Some(Err(error)) => error.to_string(),
            None => format!("there is no key {key}"),
        };
        self.priorities = None;
        if self.misread.as_ref() != Some(&problem) {
            let event = Event {
                target: Target::Status,
                warning: true,
                reason: "PriorityConfigMapInvalid",
                message: format!("ConfigMap {namespace}/{name}: {problem}; the price decides"),
            };
            self.recorder.tell(&event, &Uids::new()).await;
            self.misread = Some(problem);
        }
    }

    async fn tell(&mut self, events: &[Event], uids: &Uids) {
        for event in events {
            self.recorder.tell(event, uids).await;
        }
    }

    /// Reads the node's taints as they are now and writes them changed; the
    /// version makes sure that nobody else's change is lost.
    async fn taint(&self, change: &TaintChange) -> Result<(), kube::Error> {
        let resource = ApiResource::erase::<Node>(&());
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        let Some(node) = api.get_opt(&change.node).await? else {
            return Ok(());
        };
        let mut taints: Vec<Value> = node.data["spec"]["taints"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        taints.retain(|t| t["key"] != change.key);
        if let Some(value) = &change.value {
            taints.push(json!({"key": change.key, "value": value, "effect": change.effect}));
        }
        let taints = if taints.is_empty() {
            Value::Null
        } else {
            json!(taints)
        };
        let patch = json!({
            "metadata": {"resourceVersion": node.metadata.resource_version},
            "spec": {"taints": taints},
        });
        api.patch(&change.node, &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        Ok(())
    }

    async fn evict(&self, key: &PodKey) -> Result<(), kube::Error> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        api.evict(&key.name, &EvictParams::default()).await?;
        Ok(())
    }
}

fn rank(priorities: Option<&Priorities>, pools: &mut [PoolView]) {
    for pool in pools {
        pool.priority = priorities.and_then(|p| p.of(&pool.group));
    }
}
