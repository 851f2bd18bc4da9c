//! The exporter's page of each GPU node, sampled and scraped in simulated
//! time.
//!
//! One task watches nodes and Deployments through the API, keeps an exporter
//! (the production code, over simulated devices) for each node whose device
//! plugin shows GPUs, and brings its page into the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use exporter::{Attribution, Exporter, Owner};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use gpu::SimulatedGpus;
use gpu::simulated::Work;
use jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::runtime::watcher::Event;
use kube::{Client, ResourceExt as _};
use promql::store::{ScrapeCache, Store, Target};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use crate::gpus::{ANNOTATION, Loads, Workloads};
use crate::kubelet::{GpuUse, KubeletView};

const RESOURCE: &str = "nvidia.com/gpu";
const PORT: u16 = 9400;
/// Share of a GPU's memory that a workload holds: a framework that allocates
/// nearly all of it at start, as the article's TensorFlow does.
const MEMORY: f64 = 0.9;
/// Time that a scrape may take.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);

/// The exporter of one node, for whoever scrapes it.
type Shared = Arc<Mutex<Exporter<SimulatedGpus>>>;

/// The exporters that there are, as a scraper finds them.
#[derive(Clone, Default)]
pub struct Exporters {
    by_node: Arc<Mutex<BTreeMap<String, (Vec<(String, String)>, Shared)>>>,
}

impl Exporters {
    /// Each node with the labels of its target.
    pub fn targets(&self) -> BTreeMap<String, Vec<(String, String)>> {
        let nodes = lock(&self.by_node);
        let labels = nodes.iter().map(|(name, (l, _))| (name.clone(), l.clone()));
        labels.collect()
    }

    /// A node's page as of now.
    pub fn page(&self, node: &str, now: Timestamp) -> Option<String> {
        let nodes = lock(&self.by_node);
        let (_, exporter) = nodes.get(node)?;
        Some(lock(exporter).page(now).to_owned())
    }
}

/// A panic elsewhere leaves an exporter whole.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the pages are made from and where they go.
pub(crate) struct Pages {
    pub client: Client,
    pub clock: clock::Clock,
    pub store: Store,
    pub exporters: Exporters,
    pub loads: Loads,
    pub kubelet: KubeletView,
    pub sample: Duration,
    pub scrape: Duration,
}

struct GpuNode {
    exporter: Shared,
    cache: ScrapeCache,
    target: Vec<(String, String)>,
    /// By GPU: whether a pod has it, as of the last sample.
    busy: Vec<bool>,
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<String, GpuNode>,
    exporters: Exporters,
    workloads: Workloads,
    /// Of a list that is under way: what it has not named yet.
    unseen_nodes: BTreeSet<String>,
    unseen_workloads: BTreeSet<String>,
}

enum Seen {
    Node(Event<DynamicObject>),
    Deployment(Event<DynamicObject>),
}

impl Pages {
    /// Samples and scrapes for ever.
    pub async fn run(self) {
        let mut seen = futures::stream::select_all([
            self.watch("", "v1", "Node", Seen::Node),
            self.watch("apps", "v1", "Deployment", Seen::Deployment),
        ]);
        let mut sample = interval(self.sample);
        let mut scrape = interval(self.scrape);
        sample.set_missed_tick_behavior(MissedTickBehavior::Skip);
        scrape.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut state = State {
            exporters: self.exporters.clone(),
            ..State::default()
        };
        loop {
            tokio::select! {
                biased;
                Some(change) = seen.next() => state.learn(change, &self.store, self.clock.now()),
                _ = sample.tick() => self.sample(&mut state).await,
                _ = scrape.tick() => self.scrape(&mut state),
            }
        }
    }

    fn watch(
        &self,
        group: &str,
        version: &str,
        kind: &'static str,
        seen: fn(Event<DynamicObject>) -> Seen,
    ) -> BoxStream<'static, Seen> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let stream = nodepools::watch(&self.client, &resource);
        Box::pin(stream.filter_map(move |event| {
            if let Err(error) = &event {
                tracing::warn!(kind, %error, "the watch for the GPU pages failed and goes on");
            }
            std::future::ready(event.ok().map(seen))
        }))
    }

    async fn sample(&self, state: &mut State) {
        let now = self.clock.now();
        let uses = self.kubelet.gpus();
        // A load that cannot be read is reported before any replica runs.
        let mut ready: BTreeMap<String, u32> = state.workloads.annotated_names();
        for name in uses
            .iter()
            .filter(|on| on.ready_since.is_some())
            .filter_map(workload)
        {
            *ready.entry(name).or_default() += 1;
        }
        let mut utilization = BTreeMap::new();
        let mut errors = Vec::new();
        for (workload, gpus) in ready {
            let (percent, error) = state
                .workloads
                .utilization(&workload, gpus, &self.loads, now);
            errors.extend(error.map(|error| (workload.clone(), error)));
            if gpus > 0 {
                utilization.insert(workload, percent);
            }
        }
        state.drive(&uses, &utilization);
        for node in state.nodes.values_mut() {
            lock(&node.exporter).sample(now);
        }
        self.loads.publish(utilization);
        for (workload, error) in errors {
            self.report(&workload, &error.to_string(), now).await;
        }
    }

    fn scrape(&self, state: &mut State) {
        let now = self.clock.now();
        let mut targets = Vec::new();
        for node in state.nodes.values_mut() {
            let mut exporter = lock(&node.exporter);
            let page = exporter.page(now);
            let summary =
                self.store
                    .ingest(page, &node.target, now.as_millisecond(), &mut node.cache);
            let labels: BTreeMap<_, _> = node.target.iter().cloned().collect();
            targets.push(Target {
                scrape_pool: labels["job"].clone(),
                scrape_url: format!("http://{}/metrics", labels["instance"]),
                discovered_labels: labels.clone(),
                labels,
                up: Some(summary.error.is_none()),
                last_error: summary
                    .error
                    .map_or_else(String::new, |error| error.to_string()),
                last_scrape_ms: Some(now.as_millisecond()),
                last_scrape_duration: 0.0,
                interval: self.scrape,
                timeout: SCRAPE_TIMEOUT.min(self.scrape),
            });
        }
        self.store.set_targets(targets);
    }

    /// Says on the Deployment that its load cannot be read.
    async fn report(&self, workload: &str, message: &str, now: Timestamp) {
        let Some((namespace, name)) = workload.split_once('/') else {
            return;
        };
        let time = Timestamp::from_second(now.as_second())
            .unwrap_or(now)
            .to_string();
        let event = json!({
            "metadata": {"generateName": format!("{name}."), "namespace": namespace},
            "involvedObject": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name,
                "namespace": namespace},
            "reason": "InvalidLoad", "message": message, "type": "Warning", "count": 1,
            "source": {"component": "lab"}, "firstTimestamp": time, "lastTimestamp": time,
        });
        let api: Api<k8s_openapi::api::core::v1::Event> =
            Api::namespaced(self.client.clone(), namespace);
        if let Ok(event) = serde_json::from_value(event)
            && let Err(error) = api.create(&PostParams::default(), &event).await
        {
            tracing::warn!(%workload, %error, "the event for an invalid load was not written");
        }
    }
}

impl State {
    fn learn(&mut self, seen: Seen, store: &Store, now: Timestamp) {
        match seen {
            Seen::Node(Event::Apply(node) | Event::InitApply(node)) => {
                self.unseen_nodes.remove(&node.name_any());
                self.node(&node, store, now);
            }
            Seen::Node(Event::Delete(node)) => self.end_node(&node.name_any(), store, now),
            Seen::Deployment(Event::Apply(deployment) | Event::InitApply(deployment)) => {
                self.unseen_workloads.remove(&key(&deployment));
                let annotation = deployment.annotations().get(ANNOTATION).map(String::as_str);
                self.workloads.annotated(&key(&deployment), annotation);
            }
            Seen::Deployment(Event::Delete(deployment)) => self.workloads.gone(&key(&deployment)),
            // A list begins: what it does not name was deleted while nobody
            // watched.
            Seen::Node(Event::Init) => self.unseen_nodes = self.nodes.keys().cloned().collect(),
            Seen::Node(Event::InitDone) => {
                for name in std::mem::take(&mut self.unseen_nodes) {
                    self.end_node(&name, store, now);
                }
            }
            Seen::Deployment(Event::Init) => self.unseen_workloads = self.workloads.names(),
            Seen::Deployment(Event::InitDone) => {
                for name in std::mem::take(&mut self.unseen_workloads) {
                    self.workloads.gone(&name);
                }
            }
        }
    }

    fn node(&mut self, node: &DynamicObject, store: &Store, now: Timestamp) {
        let name = node.name_any();
        let shown = node.data["status"]["allocatable"][RESOURCE].as_str();
        let gpus = shown.and_then(|text| text.parse().ok()).unwrap_or(0_usize);
        if self
            .nodes
            .get(&name)
            .is_some_and(|known| known.busy.len() == gpus)
        {
            return;
        }
        self.end_node(&name, store, now);
        if gpus == 0 {
            return;
        }
        let label = |key: &str| node.labels().get(key).cloned();
        let model = label("nvidia.com/gpu.product").unwrap_or_else(|| "NVIDIA H100 NVL".to_owned());
        // gpu-feature-discovery writes MiB.
        let memory = label("nvidia.com/gpu.memory").and_then(|mib| mib.parse::<u32>().ok());
        let memory_gib = memory.map_or(94, |mib| mib / 1024);
        let count = u32::try_from(gpus).unwrap_or(u32::MAX);
        let source = SimulatedGpus::new(&name, count, &model.replace('-', " "), memory_gib);
        let addresses = node.data["status"]["addresses"].as_array();
        let address = addresses
            .and_then(|list| list.iter().find(|a| a["type"] == "InternalIP"))
            .and_then(|a| a["address"].as_str())
            .unwrap_or(&name);
        let target = vec![
            ("job".to_owned(), "nvidia-dcgm-exporter".to_owned()),
            ("instance".to_owned(), format!("{address}:{PORT}")),
        ];
        let exporter = Exporter::new(&name, source, exporter::Options::default());
        let exporter = Arc::new(Mutex::new(exporter));
        let shared = (target.clone(), Arc::clone(&exporter));
        lock(&self.exporters.by_node).insert(name.clone(), shared);
        let gpu_node = GpuNode {
            exporter,
            cache: ScrapeCache::new(),
            target,
            busy: vec![false; gpus],
        };
        self.nodes.insert(name, gpu_node);
    }

    fn end_node(&mut self, name: &str, store: &Store, now: Timestamp) {
        lock(&self.exporters.by_node).remove(name);
        if let Some(mut node) = self.nodes.remove(name) {
            store.end_target(now.as_millisecond(), &mut node.cache);
        }
    }

    /// Says for whom each GPU works and how much, from its workload's
    /// utilization.
    fn drive(&mut self, uses: &[GpuUse], utilization: &BTreeMap<String, f64>) {
        for node in self.nodes.values_mut() {
            node.busy.fill(false);
        }
        for on in uses {
            let Some(node) = self.nodes.get_mut(&on.node) else {
                continue;
            };
            let index = on.gpu as usize;
            let percent = workload(on).and_then(|name| utilization.get(&name).copied());
            let work = match on.ready_since {
                Some(_) => Work {
                    utilization: percent.unwrap_or(100.0),
                    memory: MEMORY,
                },
                None => Work::default(),
            };
            let mut exporter = lock(&node.exporter);
            exporter.source_mut().set(index, work);
            exporter.attribute(index, Some(attribution(on)));
            if let Some(busy) = node.busy.get_mut(index) {
                *busy = true;
            }
        }
        for node in self.nodes.values_mut() {
            let mut exporter = lock(&node.exporter);
            for index in 0..node.busy.len() {
                if !node.busy[index] {
                    exporter.source_mut().set(index, Work::default());
                    exporter.attribute(index, None);
                }
            }
        }
    }
}

fn key(object: &DynamicObject) -> String {
    format!(
        "{}/{}",
        object.namespace().unwrap_or_default(),
        object.name_any()
    )
}

/// The Deployment whose load a GPU's pod shares.
fn workload(on: &GpuUse) -> Option<String> {
    (on.owner_kind == "Deployment").then(|| format!("{}/{}", on.namespace, on.owner_name))
}

fn attribution(on: &GpuUse) -> Attribution {
    let owner = Owner {
        kind: on.owner_kind.clone(),
        name: on.owner_name.clone(),
    };
    Attribution {
        namespace: on.namespace.clone(),
        pod: on.pod.clone(),
        container: on.container.clone(),
        // A pod on its own is its own workload, and the page names it already.
        owner: (on.owner_kind != "Pod").then_some(owner),
    }
}
