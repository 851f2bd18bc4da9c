//! The cluster as it will be when everything ordered has arrived.
//!
//! Pods of one class share what was found out about where they fit. Nodes only
//! fill up while a plan is made, so a class need not look again at a node that
//! has refused it for good: the work grows with the pods and with the nodes,
//! not with their product.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::LEAVING_TAINT;
use super::types::{InstanceState, Observed, Plan, PoolView, Settings, elapsed};
use crate::fit::{NodeInfo, PodInfo, Rejection, Snapshot, Surroundings, Taint, filter};

/// Names of imagined nodes begin with this, which sorts behind every real name.
const NEW: char = '~';
/// Prefixes of taints that a node carries until it has started.
const STARTING: [&str; 2] = [
    "startup-taint.cluster-autoscaler.kubernetes.io/",
    "ignore-taint.cluster-autoscaler.kubernetes.io/",
];
/// Prefix of taints that come and go on nodes that have started.
const STATUS: &str = "status-taint.cluster-autoscaler.kubernetes.io/";

/// Nodes to come beside those that are there.
pub(super) struct World {
    /// Nodes, imagined ones included, and the pods on them.
    pub cluster: Snapshot,
    /// Nodes that are ordered or not usable yet, and the place of their pool.
    pub upcoming: BTreeMap<String, usize>,
    /// Pods without a node that were given one here, by node.
    pub promised: BTreeMap<Arc<str>, usize>,
    /// A new node of each pool, with the pods that come with every node.
    pub templates: Vec<NodeInfo>,
    /// Number of each class of pods, by its text.
    numbers: BTreeMap<Arc<str>, usize>,
    classes: Vec<Class>,
    /// What has changed since the beginning, for classes to catch up with.
    log: Vec<Step>,
    made: usize,
}

/// What is known about the pods of one class.
struct Class {
    around: Surroundings,
    /// Steps of the log that `around` knows.
    read: usize,
    /// Nodes before it take no pod that waits.
    place: Arc<str>,
    /// Nodes before it take no pod that moves.
    refuge: Arc<str>,
}

enum Step {
    Opened(Arc<str>),
    Shifted(Arc<PodInfo>, Arc<str>, i64),
}

impl World {
    pub fn new(settings: &Settings, seen: &Observed, plan: &Plan, now: Timestamp) -> Self {
        let templates: Vec<NodeInfo> = seen.pools.iter().map(|p| template(p, seen)).collect();
        let mut cluster = seen.cluster.clone();
        let mut upcoming = BTreeMap::new();
        let removed: BTreeSet<&str> = plan.removals.iter().map(|r| r.node.as_str()).collect();
        for (at, (pool, template)) in seen.pools.iter().zip(&templates).enumerate() {
            for instance in &pool.instances {
                let node = seen.cluster.node(&instance.name);
                let leaves = node.is_some_and(|n| n.taints.iter().any(|t| t.key == LEAVING_TAINT));
                let gone = removed.contains(instance.name.as_str())
                    || plan.state.reported.contains(&instance.name);
                let comes = match instance.state {
                    InstanceState::Deleting | InstanceState::Failed { .. } => false,
                    InstanceState::Creating | InstanceState::Running => !gone && !leaves,
                };
                if !comes {
                    cluster.remove_node(&instance.name);
                    continue;
                }
                if node.is_some_and(|n| usable(n, pool)) {
                    continue;
                }
                // A node that has been there for long without being usable is not
                // on its way any more.
                if node.is_some() && elapsed(instance.ordered, now) >= settings.provision {
                    continue;
                }
                upcoming.insert(instance.name.clone(), at);
                let mut imagined = called(template, &instance.name);
                if let Some(node) = node {
                    imagined.labels = merged(&imagined.labels, &node.labels);
                    forget_present(&mut imagined, node);
                    for pod in node.pods.values() {
                        imagined.place(pod.clone());
                    }
                }
                cluster.imagine(imagined);
            }
        }
        Self {
            cluster,
            upcoming,
            promised: BTreeMap::new(),
            templates,
            numbers: BTreeMap::new(),
            classes: Vec::new(),
            log: Vec::new(),
            made: 0,
        }
    }

    /// The number of a pod's class. Equal pods have equal numbers, and comparing
    /// those costs less than comparing their texts.
    pub fn class(&mut self, pod: &PodInfo) -> usize {
        if let Some(number) = self.numbers.get(&pod.class) {
            return *number;
        }
        let number = self.classes.len();
        self.classes.push(Class {
            around: Surroundings::new(pod, &self.cluster),
            read: self.log.len(),
            place: Arc::from(""),
            refuge: Arc::from(""),
        });
        self.numbers.insert(pod.class.clone(), number);
        number
    }

    /// How often something has changed so far.
    pub fn changes(&self) -> usize {
        self.log.len()
    }

    /// Brings what is known about a pod's class up to date.
    fn catch_up(&mut self, pod: &PodInfo, class: usize) {
        let (cluster, log) = (&self.cluster, &self.log);
        let class = &mut self.classes[class];
        for step in &log[class.read..] {
            match step {
                Step::Opened(node) => {
                    if let Some(node) = cluster.node(node) {
                        class.around.opened(pod, node);
                    }
                }
                Step::Shifted(other, node, by) => {
                    if let Some(node) = cluster.node(node) {
                        class.around.shift(pod, other, node, *by);
                    }
                }
            }
        }
        class.read = log.len();
    }

    /// Puts a pod of this class onto the first node that takes it.
    pub fn place(&mut self, pod: &Arc<PodInfo>, class: usize) -> Option<Arc<str>> {
        self.catch_up(pod, class);
        let known = &mut self.classes[class];
        let (found, next) = first(pod, &known.around, &self.cluster, &known.place, |_| true);
        known.place = next;
        let node = found?;
        self.promise(pod, &node);
        Some(node)
    }

    /// Whether a new node of the pool at this place would take a pod of this
    /// class, as far as is known after [`World::place`].
    pub fn suits(&self, pod: &PodInfo, class: usize, pool: usize) -> Result<(), Rejection> {
        filter(pod, &self.classes[class].around, &self.templates[pool])
    }

    /// Adds a node of the pool at this place with the pod on it.
    pub fn open(&mut self, seen: &Observed, pool: usize, pod: &Arc<PodInfo>) -> Arc<str> {
        // The number comes first, so that a class that has looked through all
        // nodes so far does not miss a later one.
        let name = format!("{NEW}{:08}-{}", self.made, seen.pools[pool].group);
        self.made += 1;
        let node = called(&self.templates[pool], &name);
        let name = node.name.clone();
        let daemons: Vec<_> = node.pods.values().cloned().collect();
        self.cluster.imagine(node);
        self.log.push(Step::Opened(name.clone()));
        for daemon in daemons {
            self.note(&daemon, &name, 1);
        }
        self.promise(pod, &name);
        name
    }

    fn promise(&mut self, pod: &Arc<PodInfo>, node: &Arc<str>) {
        self.assign(pod, node);
        *self.promised.entry(node.clone()).or_default() += 1;
    }

    fn assign(&mut self, pod: &Arc<PodInfo>, node: &Arc<str>) {
        self.cluster.assign(pod.clone(), node);
        self.note(pod, node, 1);
    }

    fn note(&mut self, pod: &Arc<PodInfo>, node: &Arc<str>, by: i64) {
        self.log.push(Step::Shifted(pod.clone(), node.clone(), by));
    }

    fn take(&mut self, pod: &Arc<PodInfo>, node: &Arc<str>) {
        self.cluster.remove_pod(&pod.key);
        self.note(pod, node, -1);
    }

    /// Whether `pods` fit on the nodes other than those in `without`; if so,
    /// they are there afterwards, else everything is as it was.
    pub fn relocate(&mut self, pods: &[Arc<PodInfo>], without: &BTreeSet<String>) -> bool {
        let mut moved: Vec<Move> = Vec::new();
        let mut before: Vec<(usize, Arc<str>)> = Vec::new();
        for pod in pods {
            let Some(home) = self.cluster.place_of(&pod.key).cloned() else {
                continue;
            };
            self.take(pod, &home);
            let free = Arc::new(PodInfo {
                node: None,
                ..PodInfo::clone(pod)
            });
            let class = self.class(&free);
            self.catch_up(&free, class);
            let known = &mut self.classes[class];
            before.push((class, known.refuge.clone()));
            let upcoming = &self.upcoming;
            let open =
                |n: &NodeInfo| !without.contains(&*n.name) && !upcoming.contains_key(&*n.name);
            let (place, next) = first(&free, &known.around, &self.cluster, &known.refuge, open);
            known.refuge = next;
            if let Some(place) = place {
                self.assign(&free, &place);
                let pod = pod.clone();
                moved.push(Move {
                    pod,
                    free,
                    home,
                    place,
                });
                continue;
            }
            self.assign(pod, &home);
            for m in moved.iter().rev() {
                self.take(&m.free, &m.place);
                self.assign(&m.pod, &m.home);
            }
            for (class, refuge) in before.into_iter().rev() {
                self.classes[class].refuge = refuge;
            }
            return false;
        }
        for m in moved {
            *self.promised.entry(m.place).or_default() += 1;
        }
        true
    }
}

/// A pod that has moved in thought.
struct Move {
    pod: Arc<PodInfo>,
    /// The same without its node.
    free: Arc<PodInfo>,
    home: Arc<str>,
    place: Arc<str>,
}

/// The first node from `from` on that takes a pod, and the node from which to
/// look for the next one of its class.
fn first(
    pod: &PodInfo,
    around: &Surroundings,
    cluster: &Snapshot,
    from: &str,
    open: impl Fn(&NodeInfo) -> bool,
) -> (Option<Arc<str>>, Arc<str>) {
    // A refusal that others may lift is looked at again.
    let mut again: Option<Arc<str>> = None;
    let mut last: Option<&Arc<str>> = None;
    for node in cluster.nodes_from(from).filter(|n| open(n)) {
        last = Some(&node.name);
        match filter(pod, around, node) {
            Ok(()) => {
                let next = again.unwrap_or_else(|| node.name.clone());
                return (Some(node.name.clone()), next);
            }
            Err(rejection) if !rejection.is_lasting() => {
                again.get_or_insert_with(|| node.name.clone());
            }
            Err(_) => {}
        }
    }
    let end = last.cloned().unwrap_or_else(|| Arc::from(from));
    (None, again.unwrap_or(end))
}

/// Whether a node can take the pods that its pool is for: Ready, started, and
/// with its GPUs reported, under whatever name.
pub(super) fn usable(node: &NodeInfo, pool: &PoolView) -> bool {
    let starting = node.taints.iter().any(is_starting);
    let gpus = pool.template.allocatable.gpus() == 0 || node.allocatable.gpus() > 0;
    node.ready && !starting && gpus
}

fn is_starting(taint: &Taint) -> bool {
    STARTING.iter().any(|prefix| taint.key.starts_with(prefix))
}

/// A new node of a pool: without the taints of the first minutes, with the pods
/// that DaemonSets put on every such node.
fn template(pool: &PoolView, seen: &Observed) -> NodeInfo {
    // A host of its own, whatever host the template was taken from.
    let mut node = called(&pool.template, "~new");
    node.taints
        .retain(|t| !is_starting(t) && !t.key.starts_with(STATUS));
    let alone = Snapshot::default();
    for daemon in &seen.daemons {
        let around = Surroundings::new(daemon, &alone);
        if filter(daemon, &around, &node).is_ok() {
            node.place(daemon.clone());
        }
    }
    node
}

/// Takes the imagined DaemonSet pods off whose likes are on the node already.
fn forget_present(imagined: &mut NodeInfo, node: &NodeInfo) {
    let there: BTreeSet<_> = node
        .pods
        .values()
        .filter_map(|p| p.controller.as_ref())
        .collect();
    let known: Vec<_> = imagined
        .pods
        .values()
        .filter(|p| p.controller.as_ref().is_some_and(|c| there.contains(c)))
        .map(|p| p.key.clone())
        .collect();
    for key in known {
        imagined.take(&key);
    }
}

fn called(template: &NodeInfo, name: &str) -> NodeInfo {
    let mut node = template.clone();
    node.name = Arc::from(name);
    let mut labels = BTreeMap::clone(&node.labels);
    labels.insert("kubernetes.io/hostname".to_owned(), name.to_owned());
    node.labels = Arc::new(labels);
    node
}

fn merged(
    base: &BTreeMap<String, String>,
    over: &BTreeMap<String, String>,
) -> Arc<BTreeMap<String, String>> {
    let mut all = base.clone();
    all.extend(over.iter().map(|(k, v)| (k.clone(), v.clone())));
    Arc::new(all)
}
