//! The controllers: what Kubernetes' controller manager does, as far as this control plane has it.
//!
//! One task reads the changes of all objects, turns them into keys of an ordered queue and works
//! them off one by one; each sync is synchronous and reads the store as it is at that moment. The
//! HorizontalPodAutoscaler has a task of its own, since it waits for metrics.

mod deployment;
pub(crate) mod disruption;
mod expiry;
mod gc;
pub mod hpa;
mod index;
pub(crate) mod job;
mod namespace;
mod object;
mod queue;
mod replicaset;
mod selector;
mod victims;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use self::expiry::Expiry;
use self::index::{Index, Place};
use self::object::{controller_of, has_finalizer, name, namespace, text, uid};
use self::queue::Queue;
use self::selector::Selector;
use crate::value::{deleting, list, set_meta};
use crate::{Change, ChangeKind, Changes, Cluster, Component, EventRecord, Status, Without};

/// Settings of the controllers.
#[derive(Clone)]
pub struct Options {
    /// How long an event is kept after it was last written.
    pub event_ttl: Duration,
    /// What `kube-root-ca.crt` holds in each namespace.
    pub root_ca: String,
    /// The HorizontalPodAutoscaler's period.
    pub hpa_period: Duration,
    /// Called with each decision about a HorizontalPodAutoscaler.
    pub on_hpa: Option<hpa::Report>,
    /// Controllers that do not run.
    pub without: Without,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("event_ttl", &self.event_ttl)
            .field("hpa_period", &self.hpa_period)
            .field("without", &self.without)
            .finish_non_exhaustive()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            event_ttl: Duration::from_secs(3600),
            root_ca: String::new(),
            hpa_period: Duration::from_secs(15),
            on_hpa: None,
            without: Without::new(),
        }
    }
}

/// When a key is to be looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requeue {
    /// When something changes.
    Done,
    /// Once the changes of this sync are known.
    Now,
    /// After this time, or when something changes.
    After(Duration),
}

/// What is to be looked at. The order of the variants is the order of work.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Namespace(Arc<str>),
    Collect(Place),
    Deployment(Arc<str>, Arc<str>),
    ReplicaSet(Arc<str>, Arc<str>),
    Job(Arc<str>, Arc<str>),
    Budget(Arc<str>, Arc<str>),
}

impl Key {
    /// Whose work it is.
    fn of(&self) -> Component {
        match self {
            Self::Namespace(_) => Component::Namespace,
            Self::Collect(_) => Component::GarbageCollector,
            Self::Deployment(..) => Component::Deployment,
            Self::ReplicaSet(..) => Component::ReplicaSet,
            Self::Job(..) => Component::Job,
            Self::Budget(..) => Component::Disruption,
        }
    }
}

/// What a sync works with.
pub(crate) struct Ctx<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) index: &'a Index,
    pub(crate) options: &'a Options,
    pub(crate) now: Timestamp,
    /// Objects that the garbage collector shall look at.
    collect: RefCell<Vec<Place>>,
}

impl Ctx<'_> {
    /// Has the garbage collector look at an object.
    pub(crate) fn collect(&self, place: Place) {
        self.collect.borrow_mut().push(place);
    }

    /// Records an event of a controller about an object.
    pub(crate) fn event(&self, source: &str, about: &Value, kind: &str, reason: &str, text: &str) {
        record(self.cluster, source, about, kind, reason, text);
    }
}

/// Records an old-style event: from a component, without an action.
pub(crate) fn record(
    cluster: &Cluster,
    source: &str,
    about: &Value,
    kind: &str,
    reason: &str,
    text: &str,
) {
    cluster.event(EventRecord::new(about, kind, reason, text, source));
}

/// Runs the controllers; never returns.
pub async fn run(cluster: Cluster, options: Options) {
    let autoscaler = hpa::run(cluster.clone(), options.hpa_period, options.on_hpa.clone());
    let scales = !options
        .without
        .contains(&Component::HorizontalPodAutoscaler);
    let manager = Manager::new(cluster, options).run();
    if scales {
        tokio::join!(biased; manager, autoscaler);
    } else {
        manager.await;
    }
}

struct Manager {
    cluster: Cluster,
    options: Options,
    changes: Changes,
    index: Index,
    events: Expiry,
    queue: Queue<Key>,
}

impl Manager {
    fn new(cluster: Cluster, options: Options) -> Self {
        let mut manager = Self {
            changes: cluster.subscribe(),
            cluster,
            options,
            index: Index::default(),
            events: Expiry::default(),
            queue: Queue::new(),
        };
        manager.relist();
        manager
    }

    /// Takes in everything there is.
    fn relist(&mut self) {
        self.index = Index::default();
        let rows: Vec<Arc<str>> = self
            .cluster
            .registry()
            .rows()
            .map(|row| row.name.clone())
            .collect();
        // First all objects, so that owners are known when dependents are judged.
        for judge in [false, true] {
            for resource in &rows {
                for object in self.cluster.list(resource, None) {
                    if judge {
                        self.notice(resource, ChangeKind::Added, &object, None);
                    } else if **resource != *"events" {
                        self.index.put(resource, &object);
                    }
                }
            }
        }
    }

    async fn run(mut self) {
        let mut turns = 0u32;
        loop {
            self.drain();
            let now = Instant::now();
            if let Some(key) = self.queue.pop(now) {
                self.work(key, now);
                turns += 1;
                if turns.is_multiple_of(64) {
                    // A large rollout must not keep readers waiting.
                    tokio::task::yield_now().await;
                }
                continue;
            }
            self.events
                .sweep(&self.cluster, self.options.event_ttl, now);
            let next = [
                self.queue.next_at(),
                self.events.next_at(self.options.event_ttl),
            ];
            let wake = next.into_iter().flatten().min();
            let sleep = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                change = self.changes.next() => self.observe(change),
                () = sleep => {}
            }
            // Changes made in the same turn are taken in together.
            tokio::task::yield_now().await;
        }
    }

    fn drain(&mut self) {
        while let Some(change) = self.changes.try_next() {
            self.observe(change);
        }
    }

    fn observe(&mut self, change: Change) {
        let Change {
            resource,
            kind,
            object,
            old,
        } = change;
        match kind {
            ChangeKind::Lagged => return self.relist(),
            ChangeKind::Deleted if &*resource == "events" => self.events.forget(&object),
            ChangeKind::Deleted => self.index.remove(&object),
            _ if &*resource == "events" => {}
            _ => self.index.put(&resource, &object),
        }
        self.notice(&resource, kind, &object, old.as_deref());
    }

    /// Decides who has to look at a change.
    fn notice(
        &mut self,
        resource: &Arc<str>,
        kind: ChangeKind,
        object: &Value,
        old: Option<&Value>,
    ) {
        let gone = kind == ChangeKind::Deleted;
        let ns: Arc<str> = namespace(object).into();
        match &**resource {
            "events" => {
                if !gone {
                    self.events.touch(object, Instant::now());
                }
                return;
            }
            "namespaces" => self.queue.add(Key::Namespace(name(object).into())),
            "deployments.apps" => self
                .queue
                .add(Key::Deployment(ns.clone(), name(object).into())),
            job::RESOURCE => self.queue.add(Key::Job(ns.clone(), name(object).into())),
            replicaset::RESOURCE => {
                self.queue
                    .add(Key::ReplicaSet(ns.clone(), name(object).into()));
                self.wake_controllers(&ns, object, old);
            }
            "pods" => {
                self.wake_controllers(&ns, object, old);
                self.wake_budgets(&ns, object, old);
            }
            disruption::RESOURCE if !gone => {
                self.queue.add(Key::Budget(ns.clone(), name(object).into()));
            }
            "nodes" if kind == ChangeKind::Added => self.greet(object),
            "configmaps" | "serviceaccounts"
                if gone && [namespace::ROOT_CA, "default"].contains(&name(object)) =>
            {
                self.queue.add(Key::Namespace(ns.clone()));
            }
            _ => {}
        }
        self.notice_ownership(resource, kind, object, &ns);
    }

    /// Wakes those who control the object, did so before, or might adopt it.
    fn wake_controllers(&mut self, ns: &Arc<str>, object: &Value, old: Option<&Value>) {
        let mut controlled = false;
        for reference in [controller_of(object), old.and_then(controller_of)]
            .into_iter()
            .flatten()
        {
            controlled = true;
            let name: Arc<str> = reference["name"].as_str().unwrap_or("").into();
            match reference["kind"].as_str() {
                Some("ReplicaSet") => self.queue.add(Key::ReplicaSet(ns.clone(), name)),
                Some("Deployment") => self.queue.add(Key::Deployment(ns.clone(), name)),
                Some("Job") => self.queue.add(Key::Job(ns.clone(), name)),
                _ => {}
            }
        }
        if controlled || deleting(object) {
            return;
        }
        let (resource, is_pod) = match text(object, &["kind"]) {
            "Pod" => (replicaset::RESOURCE, true),
            _ => (deployment::RESOURCE, false),
        };
        for owner in self.cluster.list(resource, Some(ns)) {
            let selector = Selector::of(&owner["spec"]["selector"]);
            if !selector.is_everything() && selector.matches(&object["metadata"]["labels"]) {
                let name: Arc<str> = name(&owner).into();
                self.queue.add(if is_pod {
                    Key::ReplicaSet(ns.clone(), name)
                } else {
                    Key::Deployment(ns.clone(), name)
                });
            }
        }
    }

    /// Wakes the budgets that select a pod, or did so before.
    fn wake_budgets(&mut self, ns: &Arc<str>, pod: &Value, old: Option<&Value>) {
        let mut all = vec![&pod["metadata"]["labels"]];
        all.extend(old.map(|old| &old["metadata"]["labels"]));
        for budget in disruption::budgets_of(&self.cluster, ns, &all) {
            self.queue.add(Key::Budget(ns.clone(), budget));
        }
    }

    /// Has the garbage collector look where owners came or went.
    fn notice_ownership(
        &mut self,
        resource: &Arc<str>,
        kind: ChangeKind,
        object: &Value,
        ns: &Arc<str>,
    ) {
        if kind == ChangeKind::Deleted {
            let dependents = self.index.dependents(uid(object));
            for (place, _) in dependents {
                self.queue.add(Key::Collect(place));
            }
            for reference in list(object, &["metadata", "ownerReferences"]) {
                let owner = reference["uid"]
                    .as_str()
                    .and_then(|uid| self.index.find(uid));
                if let Some(owner) = owner.cloned() {
                    self.collect_if_waiting(owner);
                }
            }
            self.wake_terminating(ns);
            return;
        }
        let here = || Place {
            resource: resource.clone(),
            namespace: ns.clone(),
            name: name(object).into(),
        };
        let waits = has_finalizer(object, gc::ORPHAN) || has_finalizer(object, gc::FOREGROUND);
        if deleting(object) && waits {
            self.queue.add(Key::Collect(here()));
        } else if kind == ChangeKind::Added
            && !ns.is_empty()
            && self
                .cluster
                .get("namespaces", "", ns)
                .is_ok_and(|n| deleting(&n))
        {
            self.queue.add(Key::Namespace(ns.clone()));
        }
        let lost = list(object, &["metadata", "ownerReferences"])
            .iter()
            .any(|r| {
                r["uid"]
                    .as_str()
                    .and_then(|uid| self.index.find(uid))
                    .is_none_or(|owner| !owner.namespace.is_empty() && owner.namespace != *ns)
            });
        if lost && !deleting(object) {
            self.queue.add(Key::Collect(here()));
        }
    }

    fn collect_if_waiting(&mut self, owner: Place) {
        let waiting = self
            .cluster
            .get(&owner.resource, &owner.namespace, &owner.name)
            .is_ok_and(|o| deleting(&o) && has_finalizer(&o, gc::FOREGROUND));
        if waiting {
            self.queue.add(Key::Collect(owner));
        }
    }

    /// A namespace that is being emptied looks again when the last object went, and before that
    /// now and then: looking costs as much as it still holds.
    fn wake_terminating(&mut self, ns: &Arc<str>) {
        if ns.is_empty()
            || !self
                .cluster
                .get("namespaces", "", ns)
                .is_ok_and(|n| deleting(&n))
        {
            return;
        }
        let key = Key::Namespace(ns.clone());
        if self.index.is_empty(ns) {
            self.queue.add(key);
        } else {
            self.queue
                .add_at(key, Instant::now() + Duration::from_secs(1));
        }
    }

    fn greet(&self, node: &Value) {
        if self.options.without.contains(&Component::NodeLifecycle) {
            return;
        }
        let name = name(node);
        let text = format!("Node {name} event: Registered Node {name} in Controller");
        // The node controller names the node, not a version of it.
        let mut node = node.clone();
        set_meta(&mut node, "resourceVersion", None);
        record(
            &self.cluster,
            "node-controller",
            &node,
            "Normal",
            "RegisteredNode",
            &text,
        );
    }

    fn work(&mut self, key: Key, now: Instant) {
        if self.options.without.contains(&key.of()) {
            return;
        }
        let ctx = Ctx {
            cluster: &self.cluster,
            index: &self.index,
            options: &self.options,
            now: self.cluster.now(),
            collect: RefCell::default(),
        };
        let result: Result<Requeue, Status> = match &key {
            Key::Namespace(ns) => namespace::sync(&ctx, ns),
            Key::Collect(place) => gc::sync(&ctx, place),
            Key::Deployment(ns, name) => deployment::sync(&ctx, ns, name),
            Key::ReplicaSet(ns, name) => replicaset::sync(&ctx, ns, name),
            Key::Job(ns, name) => job::sync(&ctx, ns, name),
            Key::Budget(ns, name) => disruption::sync(&ctx, ns, name),
        };
        let collect = ctx.collect.into_inner();
        for place in collect {
            self.queue.add(Key::Collect(place));
        }
        match result {
            Ok(requeue) => {
                self.queue.forget(&key);
                match requeue {
                    Requeue::Done => {}
                    Requeue::Now => self.queue.add(key),
                    Requeue::After(wait) => self.queue.add_at(key, now + wait),
                }
            }
            // The object moved on since it was read: the change that says so is on its way.
            Err(_) => self.queue.retry(key, now),
        }
    }
}
