//! The cluster: one shared state, and the pipeline every write goes through.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use clock::Clock;
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::body::Body;
use crate::events::Recorder;
use crate::resource::{Registry, Resource};
use crate::service::ClientService;
use crate::status::Status;
use crate::store::{Changes, Key, Store};
use crate::value::{self, set_meta};
use crate::{admission, bootstrap, views};

/// How a cluster is made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Seed of every random choice: UIDs, generated names.
    pub seed: u64,
    /// Source of the time of day.
    pub clock: Clock,
}

/// A handler of a mounted API group.
pub type MountFn =
    Arc<dyn Fn(http::Request<Bytes>) -> BoxFuture<'static, http::Response<Bytes>> + Send + Sync>;

/// A validating admission hook: warnings, or the text of a denial.
pub type AdmitFn = Arc<dyn Fn(&Admission) -> Result<Vec<String>, String> + Send + Sync>;

/// Lines that a pod's container has written: namespace, pod, container.
pub type LogFn = Arc<dyn Fn(&str, &str, &str) -> Vec<String> + Send + Sync>;

/// What is asked of an admission hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    Create,
    /// A changed object.
    Update,
    /// An object is to go.
    Delete,
}

/// A write that an admission hook may refuse.
#[derive(Clone, Debug)]
pub struct Admission {
    /// What is being done.
    pub operation: Operation,
    /// Namespace, "" for cluster scope.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// The object as it would be stored; null for a deletion.
    pub object: Value,
    /// The object before; null for a creation.
    pub old: Arc<Value>,
    /// Whether nothing will be kept.
    pub dry_run: bool,
}

/// How a write is to be made.
#[derive(Clone, Debug, Default)]
pub(crate) struct WriteOptions {
    /// Do everything but keep it.
    pub dry_run: bool,
    /// Who writes, for managedFields; nobody is recorded when empty.
    pub manager: String,
    /// The subresource written to: "", "status" or "scale".
    pub subresource: &'static str,
    /// Server-side apply has already worked out managedFields.
    pub applied: bool,
    /// In-process writers may change what the REST API guards.
    pub internal: bool,
    /// The version of a custom kind that the object is written in; the stored one when empty.
    pub version: String,
}

impl WriteOptions {
    fn internal(subresource: &'static str) -> Self {
        Self {
            internal: true,
            subresource,
            ..Self::default()
        }
    }

    /// The version whose schema the written object has to fit.
    pub fn version_of<'a>(&'a self, row: &'a Resource) -> &'a str {
        if row.custom.is_none() || self.version.is_empty() {
            &row.version
        } else {
            &self.version
        }
    }
}

/// What a write came to.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub object: Arc<Value>,
    pub warnings: Vec<String>,
}

struct Hooks {
    mounts: BTreeMap<(String, String), MountFn>,
    admissions: Vec<(String, String, AdmitFn)>,
    logs: Option<LogFn>,
}

struct Inner {
    clock: Clock,
    store: Mutex<Store>,
    registry: Mutex<Arc<Registry>>,
    random: Mutex<u64>,
    hooks: Mutex<Hooks>,
    recorder: Mutex<Recorder>,
}

/// An embedded control plane. Cheap to clone; all clones are one cluster.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cluster")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    /// A cluster with the objects that every new cluster has.
    pub fn new(options: Options) -> Self {
        let cluster = Self {
            inner: Arc::new(Inner {
                clock: options.clock,
                store: Mutex::new(Store::new()),
                registry: Mutex::new(Arc::new(Registry::builtin())),
                random: Mutex::new(options.seed),
                hooks: Mutex::new(Hooks {
                    mounts: BTreeMap::new(),
                    admissions: Vec::new(),
                    logs: None,
                }),
                recorder: Mutex::new(Recorder::default()),
            }),
        };
        bootstrap::bootstrap(&cluster);
        cluster
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// The next random number below `below` (0 for 0), from the seed.
    pub fn random(&self, below: u64) -> u64 {
        let mut state = lock(&self.inner.random);
        // splitmix64: small, seedable, good enough for names.
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        if below == 0 { 0 } else { z % below }
    }

    /// A random UID.
    pub(crate) fn new_uid(&self) -> String {
        let high = self.random(u64::MAX);
        let low = self.random(u64::MAX);
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            0x8000 | (low >> 48) & 0x3fff,
            low & 0xffff_ffff_ffff
        )
    }

    /// The suffix of a generated name.
    pub(crate) fn name_suffix(&self) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        (0..5)
            .map(|_| char::from(LETTERS[self.random(LETTERS.len() as u64) as usize]))
            .collect()
    }

    pub(crate) fn with_store<T>(&self, f: impl FnOnce(&mut Store) -> T) -> T {
        f(&mut lock(&self.inner.store))
    }

    pub(crate) fn with_recorder<T>(&self, f: impl FnOnce(&mut Recorder) -> T) -> T {
        f(&mut lock(&self.inner.recorder))
    }

    /// What is served now.
    pub fn registry(&self) -> Arc<Registry> {
        lock(&self.inner.registry).clone()
    }

    pub(crate) fn change_registry(&self, f: impl FnOnce(&mut Registry)) {
        let mut current = lock(&self.inner.registry);
        let mut next = Registry::clone(&current);
        f(&mut next);
        *current = Arc::new(next);
    }

    pub(crate) fn row(&self, resource: &str) -> Result<Arc<Resource>, Status> {
        self.registry()
            .row(resource)
            .cloned()
            .ok_or_else(Status::no_such_resource)
    }

    /// Reads one object; `ns` is "" for cluster scope.
    pub fn get(&self, resource: &str, ns: &str, name: &str) -> Result<Arc<Value>, Status> {
        let key: Key = (ns.to_owned(), name.to_owned());
        self.with_store(|s| s.get(resource, &key).cloned())
            .ok_or_else(|| Status::not_found(resource, name))
    }

    /// Reads all objects of a kind, by namespace and name.
    pub fn list(&self, resource: &str, ns: Option<&str>) -> Vec<Arc<Value>> {
        self.with_store(|s| {
            let Some(shelf) = s.shelves.get(resource) else {
                return Vec::new();
            };
            match ns {
                None => shelf.objects.values().cloned().collect(),
                Some(ns) => shelf
                    .objects
                    .range((ns.to_owned(), String::new())..)
                    .take_while(|((n, _), _)| n == ns)
                    .map(|(_, object)| object.clone())
                    .collect(),
            }
        })
    }

    /// Makes an object.
    pub fn create(&self, resource: &str, object: Value) -> Result<Arc<Value>, Status> {
        let row = self.row(resource)?;
        self.create_row(&row, object, &WriteOptions::internal(""))
            .map(|w| w.object)
    }

    /// Changes an object; `f` sees the current one. Its status is left alone.
    pub fn modify(
        &self,
        resource: &str,
        ns: &str,
        name: &str,
        f: impl FnOnce(&mut Value),
    ) -> Result<Arc<Value>, Status> {
        self.modify_with(resource, ns, name, f, &WriteOptions::internal(""))
    }

    /// Changes an object's status; `f` sees the current object.
    pub fn modify_status(
        &self,
        resource: &str,
        ns: &str,
        name: &str,
        f: impl FnOnce(&mut Value),
    ) -> Result<Arc<Value>, Status> {
        self.modify_with(resource, ns, name, f, &WriteOptions::internal("status"))
    }

    fn modify_with(
        &self,
        resource: &str,
        ns: &str,
        name: &str,
        f: impl FnOnce(&mut Value),
        options: &WriteOptions,
    ) -> Result<Arc<Value>, Status> {
        let row = self.row(resource)?;
        let old = self.get(&row.name, ns, name)?;
        let mut new = views::current(&row, &old).into_owned();
        f(&mut new);
        self.update_row(&row, &old, new, options).map(|w| w.object)
    }

    /// Assigns a pod to a node.
    pub fn bind(&self, ns: &str, pod: &str, node: &str) -> Result<(), Status> {
        let row = self.row("pods")?;
        let old = self.get("pods", ns, pod)?;
        if value::deleting(&old) {
            let why = format!("pod {pod} is being deleted, cannot be assigned to a host");
            return Err(Status::conflict("pods/binding", pod, &why));
        }
        let assigned = value::text(&old, &["spec", "nodeName"]);
        if !assigned.is_empty() {
            let why = format!("pod {pod} is already assigned to node \"{assigned}\"");
            return Err(Status::conflict("pods/binding", pod, &why));
        }
        let mut new = Value::clone(&old);
        new["spec"]["nodeName"] = json!(node);
        // A pod has its place in the world among its labels.
        if let Ok(node) = self.get("nodes", "", node) {
            for key in [
                "topology.kubernetes.io/region",
                "topology.kubernetes.io/zone",
            ] {
                if let Some(place) = value::at(&node, &["metadata", "labels", key]) {
                    let labels = value::map_mut(&mut new, &["metadata", "labels"]);
                    labels.insert(key.to_owned(), place.clone());
                }
            }
        }
        let now = value::time(self.now());
        let status = value::map_mut(&mut new, &["status"]);
        let generation = value::integer(&old, &["metadata", "generation"]);
        let mut condition = json!({
            "type": "PodScheduled", "status": "True",
            "lastProbeTime": null, "lastTransitionTime": now,
        });
        if let Some(generation) = generation {
            condition["observedGeneration"] = json!(generation);
        }
        let conditions = status.entry("conditions").or_insert_with(|| json!([]));
        if let Some(list) = conditions.as_array_mut() {
            match list.iter_mut().find(|c| c["type"] == "PodScheduled") {
                Some(slot) => *slot = condition,
                None => list.push(condition),
            }
        }
        self.commit(&row, &old, new).map(|_| ())
    }

    /// A reader of every change from now on.
    pub fn subscribe(&self) -> Changes {
        self.with_store(|s| Changes::new(self.clone(), s))
    }

    /// Answers one request of the REST API.
    pub async fn request(&self, request: http::Request<Bytes>) -> http::Response<Body> {
        crate::rest::handle(self, request).await
    }

    /// The REST API as a tower service, as `kube::Client::new` takes it.
    pub fn client_service(&self) -> ClientService {
        ClientService::new(self.clone())
    }

    /// Serves an API group in process and lists it in discovery.
    pub fn mount(&self, group: &str, version: &str, handler: MountFn) {
        lock(&self.inner.hooks)
            .mounts
            .insert((group.to_owned(), version.to_owned()), handler);
        bootstrap::register_mount(self, group, version);
    }

    pub(crate) fn mounted(&self, group: &str, version: &str) -> Option<MountFn> {
        lock(&self.inner.hooks)
            .mounts
            .get(&(group.to_owned(), version.to_owned()))
            .cloned()
    }

    /// Groups and versions that are mounted.
    pub(crate) fn mounts(&self) -> Vec<(String, String)> {
        lock(&self.inner.hooks).mounts.keys().cloned().collect()
    }

    /// Asks `f` about every write to a kind.
    pub fn admit(&self, resource: &str, webhook_name: &str, f: AdmitFn) {
        let hook = (resource.to_owned(), webhook_name.to_owned(), f);
        lock(&self.inner.hooks).admissions.push(hook);
    }

    /// Where the lines of `pods/log` come from: namespace, pod, container.
    pub fn set_log_source(&self, f: LogFn) {
        lock(&self.inner.hooks).logs = Some(f);
    }

    pub(crate) fn log_source(&self) -> Option<LogFn> {
        lock(&self.inner.hooks).logs.clone()
    }

    /// Asks the admission hooks.
    pub(crate) fn ask(&self, row: &Resource, what: &Admission) -> Result<Vec<String>, Status> {
        let hooks: Vec<(String, AdmitFn)> = lock(&self.inner.hooks)
            .admissions
            .iter()
            .filter(|(resource, _, _)| **resource == *row.name)
            .map(|(_, name, f)| (name.clone(), f.clone()))
            .collect();
        let mut warnings = Vec::new();
        for (name, f) in hooks {
            match f(what) {
                Ok(more) => warnings.extend(more),
                Err(text) => {
                    let message =
                        format!("admission webhook \"{name}\" denied the request: {text}");
                    return Err(Status::new(403, "Forbidden", message));
                }
            }
        }
        Ok(warnings)
    }

    pub(crate) fn create_row(
        &self,
        row: &Arc<Resource>,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        let generated = value::name(&object).is_empty()
            && !value::text(&object, &["metadata", "generateName"]).is_empty();
        if !generated {
            return self.create_once(row, object, options);
        }
        // A clash of generated names is the server's own affair.
        let mut attempt = 0;
        loop {
            let result = self.create_once(row, object.clone(), options);
            attempt += 1;
            match result {
                Err(status) if status.is_already_exists() && attempt < 8 => {}
                other => return other,
            }
        }
    }

    fn create_once(
        &self,
        row: &Arc<Resource>,
        mut object: Value,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        if let Some(custom) = &row.custom {
            crate::crd::check_open(self, custom)?;
        }
        let version = options.version_of(row);
        admission::prepare_create(self, row, version, &mut object)?;
        admission::default_object(row, version, &mut object);
        // Who made the object owns what it sent, not what admission adds.
        if !options.manager.is_empty() && !options.applied {
            admission::track(row, None, &mut object, options, self.now());
        }
        admission::mutate_create(self, row, &mut object)?;
        admission::check(row, version, &object, None)?;
        let object = views::to_stored(row, version, object);
        let namespace = value::namespace(&object).to_owned();
        let name = value::name(&object).to_owned();
        let review = Admission {
            operation: Operation::Create,
            namespace: namespace.clone(),
            name: name.clone(),
            object,
            old: Arc::new(Value::Null),
            dry_run: options.dry_run,
        };
        let warnings = self.ask(row, &review)?;
        let key = (namespace, name);
        let written = self.with_store(|store| {
            if store.get(&row.name, &key).is_some() {
                return Err(Status::already_exists(&row.name, &key.1));
            }
            if options.dry_run {
                return Ok(Arc::new(review.object));
            }
            Ok(store.put(&row.name, key, review.object))
        })?;
        if options.dry_run {
            return Ok(Written {
                object: written,
                warnings,
            });
        }
        let object = self.after_write(row, written);
        Ok(Written { object, warnings })
    }

    pub(crate) fn update_row(
        &self,
        row: &Arc<Resource>,
        old: &Arc<Value>,
        mut new: Value,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        let version = options.version_of(row);
        let shown = views::at_version(row, version, old);
        admission::prepare_update(row, &shown, &mut new, options)?;
        if options.subresource != "status" || row.custom.is_some() {
            admission::default_object(row, version, &mut new);
        }
        // A status write may carry annotations (a deployment's revision): no new wish.
        if options.subresource != "status" {
            admission::set_generation(row, &shown, &mut new);
        }
        let same = match &shown {
            Cow::Borrowed(_) => admission::same(old, &new),
            Cow::Owned(_) => admission::same(old, &views::to_stored(row, version, new.clone())),
        };
        if same {
            return Ok(Written {
                object: old.clone(),
                warnings: Vec::new(),
            });
        }
        admission::check(row, version, &new, Some(&shown))?;
        if options.subresource.is_empty() && !options.internal {
            admission::keep_resources(row, &shown, &new)?;
        }
        if !options.manager.is_empty() && !options.applied {
            admission::track(row, Some(&shown), &mut new, options, self.now());
        }
        let new = views::to_stored(row, version, new);
        let review = Admission {
            operation: Operation::Update,
            namespace: value::namespace(old).to_owned(),
            name: value::name(old).to_owned(),
            object: new,
            old: old.clone(),
            dry_run: options.dry_run,
        };
        // Hooks are registered for the kind itself, not for its subresources.
        let warnings = if options.subresource.is_empty() {
            self.ask(row, &review)?
        } else {
            Vec::new()
        };
        let new = review.object;
        if options.dry_run {
            return Ok(Written {
                object: Arc::new(new),
                warnings,
            });
        }
        let written = if crate::deletion::is_finished(row, &new) {
            self.commit_removal(row, old, new)?
        } else {
            self.commit(row, old, new)?
        };
        let object = self.after_write(row, written);
        Ok(Written { object, warnings })
    }

    /// Stores the new state of an object, unless someone else was faster.
    pub(crate) fn commit(
        &self,
        row: &Resource,
        old: &Arc<Value>,
        new: Value,
    ) -> Result<Arc<Value>, Status> {
        let key = (
            value::namespace(old).to_owned(),
            value::name(old).to_owned(),
        );
        self.with_store(|store| match store.get(&row.name, &key) {
            Some(current) if Arc::ptr_eq(current, old) => Ok(store.put(&row.name, key, new)),
            Some(_) => Err(Status::modified(&row.name, &key.1)),
            None => Err(Status::not_found(&row.name, &key.1)),
        })
    }

    /// Removes an object, unless someone else was faster.
    pub(crate) fn commit_removal(
        &self,
        row: &Resource,
        old: &Arc<Value>,
        last: Value,
    ) -> Result<Arc<Value>, Status> {
        let key = (
            value::namespace(old).to_owned(),
            value::name(old).to_owned(),
        );
        self.with_store(|store| match store.get(&row.name, &key) {
            Some(current) if Arc::ptr_eq(current, old) => Ok(store.remove(&row.name, &key, last)),
            Some(_) => Err(Status::modified(&row.name, &key.1)),
            None => Err(Status::not_found(&row.name, &key.1)),
        })
    }

    /// What the server itself does once something was written.
    pub(crate) fn after_write(&self, row: &Resource, written: Arc<Value>) -> Arc<Value> {
        match &*row.name {
            "namespaces" => bootstrap::furnish_namespace(self, &written),
            "customresourcedefinitions.apiextensions.k8s.io" => {
                return crate::crd::after_write(self, written);
            }
            "apiservices.apiregistration.k8s.io" if value::deleting(&written) => {
                bootstrap::register_again(self, &written);
            }
            _ => {
                if row.custom.is_some() && value::deleting(&written) {
                    crate::crd::after_removal(self, row);
                }
            }
        }
        written
    }

    /// Whether the namespace exists and takes new objects.
    pub(crate) fn check_namespace(
        &self,
        row: &Resource,
        ns: &str,
        name: &str,
    ) -> Result<(), Status> {
        let namespace = self.get("namespaces", "", ns)?;
        if value::deleting(&namespace) {
            let why = format!(
                "unable to create new content in namespace {ns} because it is being terminated"
            );
            let mut status = Status::forbidden(&row.name, name, &why);
            status.causes.push(crate::Cause {
                reason: "NamespaceTerminating".to_owned(),
                message: format!("namespace {ns} is being terminated"),
                field: "metadata.namespace".to_owned(),
            });
            return Err(status);
        }
        Ok(())
    }

    /// Gives a new object the identity that the server assigns.
    pub(crate) fn stamp(&self, row: &Resource, object: &mut Value) {
        set_meta(object, "uid", Some(json!(self.new_uid())));
        set_meta(
            object,
            "creationTimestamp",
            Some(json!(value::time(self.now()))),
        );
        set_meta(object, "generation", row.generation.then(|| json!(1)));
        for key in ["resourceVersion", "selfLink", "deletionTimestamp"] {
            set_meta(object, key, None);
        }
        set_meta(object, "deletionGracePeriodSeconds", None);
    }
}
