//! What was given: objects with the places of their values, and what they are
//! to one another (which scaler scales which workload).

use std::collections::BTreeMap;
use std::sync::Arc;

use api::keda::{ScaleTarget, ScaleTrigger, ScaledJob, ScaledObject, TriggerAuthentication};
use api::pool::Pool;
use api::yaml::{self, Place, Places, Span};
use decide::fit::PodInfo;
use serde_json::{Value, json};

use crate::Source;

/// A text that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct Unreadable {
    /// Name of the source.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1.
    pub column: usize,
    /// Why.
    pub message: String,
}

/// A document, or an item of a List, with its source.
#[derive(Debug)]
pub struct Doc {
    source: usize,
    value: Value,
    // Items of one List share them.
    places: Arc<Places>,
    base: String,
}

/// Reads every object of the sources. Documents that are no Kubernetes objects
/// (no `kind`) are left out.
pub fn read(sources: &[Source]) -> Result<Vec<Doc>, Unreadable> {
    let mut docs = Vec::new();
    for (source, Source { name, text }) in sources.iter().enumerate() {
        let read = yaml::parse_documents_with_places(text).map_err(|error| Unreadable {
            file: name.clone(),
            line: error.line,
            column: error.column,
            message: error.message,
        })?;
        for mut document in read {
            let places = Arc::new(document.places);
            let doc = |value, base| Doc {
                source,
                value,
                places: Arc::clone(&places),
                base,
            };
            let kind = document.value["kind"].as_str();
            let is_list = kind.is_some_and(|kind| kind.ends_with("List"));
            match document.value.get_mut("items").filter(|_| is_list) {
                Some(Value::Array(items)) => {
                    let items = std::mem::take(items).into_iter().enumerate();
                    docs.extend(items.map(|(n, item)| doc(item, format!("/items/{n}"))));
                }
                _ => docs.push(doc(document.value, String::new())),
            }
        }
    }
    docs.retain(|doc| doc.value["kind"].is_string() && doc.value["apiVersion"].is_string());
    Ok(docs)
}

/// A Kubernetes object.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    doc: &'a Doc,
    /// Its place among all objects.
    pub index: usize,
    /// The object.
    pub value: &'a Value,
    /// Kind.
    pub kind: &'a str,
    /// API group, "" for the core.
    pub group: &'a str,
    /// Name.
    pub name: &'a str,
    /// Namespace as written, "" where it is left to kubectl.
    pub namespace: &'a str,
}

impl<'a> Object<'a> {
    fn of((index, doc): (usize, &'a Doc)) -> Self {
        let value = &doc.value;
        let text = |v: &'a Value| v.as_str().unwrap_or("");
        let version = text(&value["apiVersion"]);
        Self {
            doc,
            index,
            value,
            kind: text(&value["kind"]),
            group: version.split_once('/').map_or("", |(group, _)| group),
            name: text(&value["metadata"]["name"]),
            namespace: text(&value["metadata"]["namespace"]),
        }
    }

    /// Which source it is from.
    pub fn source(&self) -> usize {
        self.doc.source
    }

    /// `Deployment web`, with the namespace where it is written.
    pub fn title(&self) -> String {
        let Self {
            kind,
            name,
            namespace,
            ..
        } = self;
        match namespace.is_empty() {
            true => format!("{kind} {name}"),
            false => format!("{kind} {namespace}/{name}"),
        }
    }

    /// The value at a pointer.
    pub fn get(&self, pointer: &str) -> &'a Value {
        self.value.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// Whether a field is there and not null.
    pub fn has(&self, pointer: &str) -> bool {
        !self.get(pointer).is_null()
    }

    /// Whether something is the same object.
    pub fn is(&self, other: &Object<'_>) -> bool {
        self.index == other.index
    }

    /// Its namespace, an unwritten one being `default`.
    pub fn home(&self) -> &'a str {
        match self.namespace {
            "" => "default",
            written => written,
        }
    }

    /// Whether both are in one namespace.
    pub fn beside(&self, other: &Object<'_>) -> bool {
        self.home() == other.home()
    }

    /// Whether both can be in one namespace: kubectl may put an unwritten one
    /// anywhere.
    fn may_be_beside(&self, other: &Object<'_>) -> bool {
        self.namespace.is_empty() || other.namespace.is_empty() || self.beside(other)
    }

    fn place(&self, pointer: &str) -> Place {
        let mut whole = format!("{}{pointer}", self.doc.base);
        loop {
            if let Some(place) = self.doc.places.get(&whole) {
                return *place;
            }
            match whole.rfind('/') {
                Some(at) => whole.truncate(at),
                None => return Place::default(),
            }
        }
    }

    /// Where a key stands; the next one around it where it does not.
    pub fn key(&self, pointer: &str) -> Span {
        let place = self.place(pointer);
        place.key.unwrap_or(place.value)
    }

    /// Where a value stands; a list's or map's key.
    pub fn at(&self, pointer: &str) -> Span {
        match self.get(pointer) {
            Value::Object(_) | Value::Array(_) | Value::Null => self.key(pointer),
            _ => self.place(pointer).value,
        }
    }
}

/// A workload with a pod template.
#[derive(Debug)]
pub struct Workload<'a> {
    /// Its place among the model's workloads.
    pub index: usize,
    /// The object.
    pub object: Object<'a>,
    /// Where its pod template (or the pod itself) is.
    pub template: &'static str,
    /// The pod of one replica as the scheduler sees it.
    pub pod: PodInfo,
    /// The same as JSON.
    pub pod_json: Value,
    /// Pods that make one replica.
    pub pods_per_replica: i64,
}

/// Where pod templates are, the first that fits.
const TEMPLATES: [&str; 5] = [
    "/spec/template",
    "/spec/leaderWorkerTemplate/workerTemplate",
    "/spec/jobTargetRef/template",
    "/spec/jobTemplate/spec/template",
    "",
];

impl<'a> Workload<'a> {
    fn of(object: Object<'a>) -> Option<Self> {
        let holds = |t: &&&str| object.get(&format!("{t}/spec/containers")).is_array();
        let template = *TEMPLATES.iter().find(holds)?;
        let found = object.get(template);
        let pod_json = json!({
            "metadata": {
                "name": object.name,
                "namespace": object.home(),
                "labels": found["metadata"]["labels"],
                "annotations": found["metadata"]["annotations"],
            },
            "spec": found["spec"],
        });
        let count = |pointer: &str| object.get(pointer).as_i64().unwrap_or(1).max(1);
        Some(Self {
            index: 0,
            pod: PodInfo::parse(&pod_json),
            pods_per_replica: match template {
                "/spec/leaderWorkerTemplate/workerTemplate" => {
                    count("/spec/leaderWorkerTemplate/size")
                }
                "/spec/jobTargetRef/template" => count("/spec/jobTargetRef/parallelism"),
                _ => 1,
            },
            object,
            template,
            pod_json,
        })
    }

    /// A pointer below the pod template.
    pub fn under(&self, pointer: &str) -> String {
        format!("{}{pointer}", self.template)
    }

    /// The containers with their pointers.
    pub fn containers(&self) -> Vec<(String, &'a Value)> {
        let list = self.under("/spec/containers");
        let found = self.object.get(&list).as_array();
        found
            .into_iter()
            .flatten()
            .enumerate()
            .map(|(n, container)| (format!("{list}/{n}"), container))
            .collect()
    }

    /// GPUs, or slices of them, of one replica.
    pub fn gpus(&self) -> i64 {
        self.pod
            .requests
            .gpus()
            .saturating_mul(self.pods_per_replica)
    }

    /// Command and arguments of all containers.
    pub fn words(&self) -> Vec<&'a str> {
        let containers = self.containers();
        let lists = containers
            .iter()
            .flat_map(|(_, c)| [&c["command"], &c["args"]])
            .filter_map(Value::as_array);
        lists
            .flatten()
            .filter_map(Value::as_str)
            .flat_map(str::split_whitespace)
            .collect()
    }

    /// A command-line option as it is written and its value: `--name=value` or
    /// `--name value`.
    pub fn option(&self, names: &[&str]) -> Option<(&'a str, &'a str)> {
        let words = self.words();
        words.iter().enumerate().find_map(|(n, word)| {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            if !names.contains(&name) {
                return None;
            }
            match value.is_empty() {
                true => words.get(n + 1).map(|value| (name, *value)),
                false => Some((name, value)),
            }
        })
    }
}

/// What scales a workload.
#[derive(Debug)]
pub struct Scaled<'a> {
    /// Its place among the model's.
    pub index: usize,
    /// The ScaledObject or ScaledJob.
    pub object: Object<'a>,
    /// As KEDA reads it; a ScaledJob's fields stand where a ScaledObject has
    /// the same.
    pub spec: ScaledObject,
    /// Whether it is a ScaledJob.
    pub is_job: bool,
    /// Index of the workload among the model's.
    pub workload: Option<usize>,
}

impl Scaled<'_> {
    /// Whether it goes to no replica at all by itself.
    pub fn to_zero(&self) -> bool {
        let spec = &self.spec.spec;
        spec.min() == 0 || spec.idle_replica_count == Some(0)
    }

    /// Whether KEDA's scale loop has nothing to decide: from one replica up the
    /// HPA has the last word.
    pub fn always_on(&self) -> bool {
        let spec = &self.spec.spec;
        !self.is_job && spec.min() >= 1 && spec.idle_replica_count.is_none()
    }

    /// The triggers with their pointers.
    pub fn triggers(&self) -> impl Iterator<Item = (String, &ScaleTrigger)> {
        let triggers = self.spec.spec.triggers.iter().enumerate();
        triggers.map(|(n, trigger)| (format!("/spec/triggers/{n}"), trigger))
    }
}

/// A HorizontalPodAutoscaler.
#[derive(Debug)]
pub struct Hpa<'a> {
    /// The object.
    pub object: Object<'a>,
    /// Index of the workload among the model's.
    pub workload: Option<usize>,
}

/// Everything that was given.
#[derive(Debug, Default)]
pub struct Model<'a> {
    /// All objects.
    pub objects: Vec<Object<'a>>,
    /// ScaledObjects and ScaledJobs that could be read.
    pub scaled: Vec<Scaled<'a>>,
    /// HorizontalPodAutoscalers.
    pub hpas: Vec<Hpa<'a>>,
    /// Everything with a pod template.
    pub workloads: Vec<Workload<'a>>,
    /// TriggerAuthentications of both kinds.
    pub authentications: Vec<(Object<'a>, TriggerAuthentication)>,
    /// PodMonitors and ServiceMonitors that scrape a DCGM exporter, by their
    /// names and selectors.
    pub gpu_monitors: Vec<Object<'a>>,
    /// Workloads by name.
    named: BTreeMap<&'a str, Vec<usize>>,
    /// Services by the first label that they select.
    services: BTreeMap<(&'a str, &'a str), Vec<Object<'a>>>,
}

impl<'a> Model<'a> {
    /// Joins what belongs together.
    pub fn of(docs: &'a [Doc]) -> Self {
        let objects: Vec<Object<'a>> = docs.iter().enumerate().map(Object::of).collect();
        let mut model = Self {
            workloads: objects.iter().copied().filter_map(Workload::of).collect(),
            gpu_monitors: objects.iter().copied().filter(scrapes_gpus).collect(),
            ..Self::default()
        };
        for (index, workload) in model.workloads.iter_mut().enumerate() {
            workload.index = index;
            let named = model.named.entry(workload.object.name);
            named.or_default().push(index);
        }
        for object in &objects {
            let selector = object.get("/spec/selector").as_object();
            let first = selector.and_then(|selector| selector.iter().next());
            if object.kind == "Service"
                && object.group.is_empty()
                && let Some((key, Value::String(value))) = first
            {
                let beside = model.services.entry((key, value));
                beside.or_default().push(*object);
            }
        }
        for object in &objects {
            match (object.group, object.kind) {
                ("keda.sh", "ScaledObject") => {
                    if let Ok(spec) = serde_json::from_value::<ScaledObject>(lenient(object.value))
                    {
                        let workload = model.target(object, &spec.spec.scale_target_ref);
                        model.scaled.push(Scaled {
                            index: model.scaled.len(),
                            object: *object,
                            spec,
                            is_job: false,
                            workload,
                        });
                    }
                }
                ("keda.sh", "ScaledJob") => {
                    if let Ok(job) = serde_json::from_value::<ScaledJob>(lenient(object.value)) {
                        let named = model.named.get(object.name).into_iter().flatten();
                        let own = |n: &usize| model.workloads[*n].object.is(object);
                        let workload = named.copied().find(own);
                        model.scaled.push(Scaled {
                            index: model.scaled.len(),
                            object: *object,
                            spec: as_object(job),
                            is_job: true,
                            workload,
                        });
                    }
                }
                ("keda.sh", "TriggerAuthentication" | "ClusterTriggerAuthentication") => {
                    if let Ok(auth) = serde_json::from_value(object.value.clone()) {
                        model.authentications.push((*object, auth));
                    }
                }
                ("autoscaling", "HorizontalPodAutoscaler") => {
                    let text = |f: &str| {
                        let value = object.get(&format!("/spec/scaleTargetRef/{f}"));
                        value.as_str().unwrap_or("").to_owned()
                    };
                    let reference = ScaleTarget {
                        name: text("name"),
                        api_version: text("apiVersion"),
                        kind: text("kind"),
                        ..ScaleTarget::default()
                    };
                    let workload = model.target(object, &reference);
                    model.hpas.push(Hpa {
                        object: *object,
                        workload,
                    });
                }
                _ => {}
            }
        }
        model.objects = objects;
        model
    }

    fn target(&self, scaler: &Object<'_>, reference: &ScaleTarget) -> Option<usize> {
        let (group, _, kind) = reference.gvk();
        let same = |w: &Workload<'_>| w.object.kind == kind && w.object.group == group;
        let named = self.named.get(reference.name.as_str())?.iter().copied();
        let named: Vec<usize> = named.filter(|n| same(&self.workloads[*n])).collect();
        let mut all = named.iter().copied();
        all.clone()
            .find(|n| self.workloads[*n].object.beside(scaler))
            .or_else(|| all.find(|n| self.workloads[*n].object.may_be_beside(scaler)))
    }

    /// The workload of an index.
    pub fn workload(&self, index: Option<usize>) -> Option<&Workload<'a>> {
        self.workloads.get(index?)
    }

    /// A Service that sends requests to the workload's pods.
    pub fn service_of(&self, workload: &Workload<'_>) -> Option<Object<'a>> {
        let labels = &workload.pod.labels;
        let selects = |object: &&Object<'a>| {
            let selector = object.get("/spec/selector").as_object();
            let mut wanted = selector.into_iter().flatten();
            object.may_be_beside(&workload.object)
                && wanted.all(|(key, value)| labels.get(key).is_some_and(|own| value == own))
        };
        let candidates = labels
            .iter()
            .filter_map(|(key, value)| self.services.get(&(key.as_str(), value.as_str())));
        let found = candidates.filter_map(|services| services.iter().find(selects));
        found.copied().min_by_key(|service| service.index)
    }
}

fn scrapes_gpus(object: &Object<'_>) -> bool {
    let of_gpus = |text: &str| text.contains("dcgm") || text.contains("gpu-metrics");
    matches!(object.kind, "PodMonitor" | "ServiceMonitor")
        && (of_gpus(object.name)
            || of_gpus(&object.get("/spec/selector").to_string())
            || of_gpus(&object.get("/spec/jobLabel").to_string()))
}

/// The endpoints of a PodMonitor or ServiceMonitor, with pointers.
pub fn endpoints<'a>(monitor: &Object<'a>) -> Vec<(String, &'a Value)> {
    let field = match monitor.kind {
        "PodMonitor" => "/spec/podMetricsEndpoints",
        _ => "/spec/endpoints",
    };
    let found = monitor.get(field).as_array();
    found
        .into_iter()
        .flatten()
        .enumerate()
        .map(|(n, endpoint)| (format!("{field}/{n}"), endpoint))
        .collect()
}

/// Numbers and booleans of trigger metadata as text, so that the rest of an
/// object that the API server would refuse can still be looked at.
fn lenient(object: &Value) -> Value {
    let mut object = object.clone();
    let triggers = object.pointer_mut("/spec/triggers");
    for trigger in triggers.and_then(Value::as_array_mut).into_iter().flatten() {
        let metadata = trigger.get_mut("metadata").and_then(Value::as_object_mut);
        for (_, value) in metadata.into_iter().flatten() {
            if value.is_number() || value.is_boolean() {
                *value = Value::String(value.to_string());
            }
        }
    }
    object
}

fn as_object(job: ScaledJob) -> ScaledObject {
    let mut object = ScaledObject {
        api_version: job.api_version,
        kind: job.kind,
        metadata: job.metadata,
        ..ScaledObject::default()
    };
    object.spec.polling_interval = job.spec.polling_interval;
    object.spec.min_replica_count = job.spec.min_replica_count;
    object.spec.max_replica_count = job.spec.max_replica_count;
    object.spec.triggers = job.spec.triggers;
    object
}

/// The names of pools, for messages.
pub fn pool_names(pools: &[Pool]) -> String {
    let names: Vec<&str> = pools.iter().map(|p| p.name.as_str()).collect();
    names.join(", ")
}
