//! What one evaluation reads and what it hands back.

use std::collections::BTreeMap;
use std::time::Duration;

use api::quantity::Quantity;
use api::selector::LabelSelector;
use jiff::Timestamp;
use serde_json::Value;

use super::explanation::{Explanation, Recommendation};
use super::types::{HpaSpec, HpaStatus, ObjectRef};

/// The Kubernetes release whose behaviour is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum KubernetesVersion {
    /// 1.36: scaling to zero is off, the generation is not observed.
    V1_36,
    /// 1.37.
    #[default]
    V1_37,
}

/// The controller's settings; `Default` is the controller manager's own.
#[derive(Clone, Debug, PartialEq)]
pub struct HpaConfig {
    /// How often each HPA is evaluated.
    pub sync_period: Duration,
    /// How long recommendations hold back scaling down.
    pub downscale_stabilization: Duration,
    /// How long after its start a pod's CPU reading may be start-up work.
    pub cpu_initialization_period: Duration,
    /// How long after its start an unready pod counts as not ready yet.
    pub initial_readiness_delay: Duration,
    /// How far a ratio may be from 1 without action.
    pub tolerance: f64,
    /// The release.
    pub version: KubernetesVersion,
    /// Gate HPAScaleToZero (on from 1.37).
    pub scale_to_zero: bool,
    /// Gate HPAConfigurableTolerance.
    pub configurable_tolerance: bool,
    /// Gate PodLevelResources.
    pub pod_level_resources: bool,
}

impl HpaConfig {
    /// The defaults of a release.
    pub fn of(version: KubernetesVersion) -> HpaConfig {
        HpaConfig {
            sync_period: Duration::from_secs(15),
            downscale_stabilization: Duration::from_secs(300),
            cpu_initialization_period: Duration::from_secs(300),
            initial_readiness_delay: Duration::from_secs(30),
            tolerance: 0.1,
            version,
            scale_to_zero: version >= KubernetesVersion::V1_37,
            configurable_tolerance: true,
            pod_level_resources: true,
        }
    }
}

impl Default for HpaConfig {
    fn default() -> Self {
        HpaConfig::of(KubernetesVersion::default())
    }
}

/// Everything one evaluation depends on, besides the memory and the time.
#[derive(Clone, Debug, Default)]
pub struct HpaInput {
    /// The HPA's namespace.
    pub namespace: String,
    /// The HPA's name.
    pub name: String,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// The spec, defaulted as the API server does.
    pub spec: HpaSpec,
    /// The status as last read.
    pub status: HpaStatus,
    /// The target's scale subresource.
    pub scale: ScaleObservation,
    /// One reading for each entry that [`super::wants`] names, keyed by its
    /// place in `spec.metrics`.
    pub metrics: BTreeMap<usize, MetricObservation>,
    /// When each External or Object reading was taken, where the API says so;
    /// keyed like `metrics`. Only the explanation shows it.
    pub sampled: BTreeMap<usize, Timestamp>,
    /// The pods of the namespace, in the API's order. Pods that the scale's
    /// selector does not select may be left out.
    pub pods: Vec<PodObservation>,
    /// The other HPAs of the namespace with the pod selectors of their
    /// targets, as far as known (the text form).
    pub others: Vec<OtherHpa>,
    /// The settings.
    pub config: HpaConfig,
}

/// Another HPA of the namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtherHpa {
    /// Its name.
    pub name: String,
    /// `status.selector` of its target's scale.
    pub selector: String,
}

/// The target's scale subresource as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScaleObservation {
    /// It was read.
    Found {
        /// `spec.replicas`.
        spec_replicas: i32,
        /// `status.replicas`.
        status_replicas: i32,
        /// `status.selector`.
        selector: String,
    },
    /// The API serves no such kind.
    UnknownKind,
    /// Reading failed; the API's message.
    Failed(String),
}

impl Default for ScaleObservation {
    fn default() -> Self {
        ScaleObservation::Failed("the scale was not read".to_owned())
    }
}

/// A metric as read. Errors are the message of the API (a Status' message).
#[derive(Clone, Debug)]
pub enum MetricObservation {
    /// The values of the items of an ExternalMetricValueList.
    External(Result<Vec<Quantity>, String>),
    /// The items of a PodMetricsList.
    Resource(Result<Vec<PodUsage>, String>),
    /// The items of a MetricValueList about pods.
    Pods(Result<Vec<PodValue>, String>),
    /// The value of the one item of a MetricValueList.
    Object(Result<Quantity, String>),
}

/// The resource usage of a pod.
#[derive(Clone, Debug)]
pub struct PodUsage {
    /// The pod.
    pub pod: String,
    /// When it was sampled.
    pub timestamp: Timestamp,
    /// Over which time.
    pub window: Duration,
    /// Usage by resource, for each container.
    pub containers: Vec<(String, BTreeMap<String, Quantity>)>,
}

/// The value of a custom metric for a pod.
#[derive(Clone, Debug)]
pub struct PodValue {
    /// The pod.
    pub pod: String,
    /// When it was sampled.
    pub timestamp: Timestamp,
    /// Over which time; a minute where the API does not say.
    pub window: Duration,
    /// The value.
    pub value: Quantity,
}

/// What matters of a pod.
#[derive(Clone, Debug, Default)]
pub struct PodObservation {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it has a deletion timestamp.
    pub deleting: bool,
    /// `status.phase`.
    pub phase: String,
    /// `status.startTime`.
    pub start_time: Option<Timestamp>,
    /// Status and last transition of its `Ready` condition.
    pub ready: Option<(String, Option<Timestamp>)>,
    /// Requests by resource, for each container and restartable init container.
    pub containers: Vec<(String, BTreeMap<String, Quantity>)>,
    /// Pod-level requests, where the pod has pod-level resources.
    pub pod_requests: Option<BTreeMap<String, Quantity>>,
}

impl PodObservation {
    /// Whether the pod runs and is ready.
    pub fn is_running_and_ready(&self) -> bool {
        self.phase == "Running"
            && self
                .ready
                .as_ref()
                .is_some_and(|(status, _)| status == "True")
    }

    /// Reads a v1 Pod.
    pub fn from_json(pod: &Value) -> PodObservation {
        let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
        let time = |v: &Value| v.as_str().and_then(|t| t.parse::<Timestamp>().ok());
        let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
        let requests = |v: &Value| -> BTreeMap<String, Quantity> {
            let entries = v.as_object().into_iter().flatten();
            entries
                .filter_map(|(k, q)| Some((k.clone(), Quantity::from_json(q).ok()?)))
                .collect()
        };
        let (meta, spec, status) = (&pod["metadata"], &pod["spec"], &pod["status"]);
        let sidecars = list(&spec["initContainers"])
            .into_iter()
            .filter(|c| c["restartPolicy"] == "Always")
            .collect::<Vec<_>>();
        let containers = list(&spec["containers"]);
        let resources = &spec["resources"];
        let pod_level = ["requests", "limits"]
            .iter()
            .any(|k| resources[k].as_object().is_some_and(|m| !m.is_empty()));
        PodObservation {
            name: text(&meta["name"]),
            labels: meta["labels"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(k, v)| (k.clone(), text(v)))
                .collect(),
            deleting: !meta["deletionTimestamp"].is_null(),
            phase: text(&status["phase"]),
            start_time: time(&status["startTime"]),
            ready: list(&status["conditions"])
                .iter()
                .find(|c| c["type"] == "Ready")
                .map(|c| (text(&c["status"]), time(&c["lastTransitionTime"]))),
            containers: containers
                .iter()
                .chain(&sidecars)
                .map(|c| (text(&c["name"]), requests(&c["resources"]["requests"])))
                .collect(),
            pod_requests: pod_level.then(|| requests(&resources["requests"])),
        }
    }
}

/// A metric to read before an evaluation, with its place in `spec.metrics`.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricQuery {
    /// The place in `spec.metrics`.
    pub index: usize,
    /// What to read.
    pub what: MetricWanted,
}

/// What to read.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricWanted {
    /// `external.metrics.k8s.io`.
    External {
        /// Name.
        name: String,
        /// Label selector in text form, empty for none.
        selector: String,
    },
    /// `metrics.k8s.io`, for the pods of the selector.
    Resource {
        /// Pod selector in text form.
        pods: String,
    },
    /// `custom.metrics.k8s.io` for pods.
    Pods {
        /// Name.
        name: String,
        /// Metric label selector in text form, empty for none.
        selector: String,
        /// Pod selector in text form.
        pods: String,
    },
    /// `custom.metrics.k8s.io` for another object.
    Object {
        /// Name.
        name: String,
        /// Metric label selector in text form, empty for none.
        selector: String,
        /// The object.
        object: ObjectRef,
    },
}

/// The text form of a metric's selector; an invalid one is no selector (the
/// evaluation reports it).
pub(super) fn selector_text(selector: Option<&LabelSelector>) -> String {
    selector
        .and_then(|s| s.to_selector().ok())
        .map(|s| s.to_string())
        .unwrap_or_default()
}

/// What the controller remembers of an HPA between evaluations. It is lost on
/// restart and outlives deletion and re-creation under the same name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HpaMemory {
    /// Earlier recommendations; `None` before the first evaluation.
    pub recommendations: Option<Vec<Recommendation>>,
    /// Steps up.
    pub up_events: Vec<ScaleEvent>,
    /// Steps down.
    pub down_events: Vec<ScaleEvent>,
}

/// An earlier step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaleEvent {
    /// Its size, never negative.
    pub change: i32,
    /// When.
    pub at: Timestamp,
    /// Whether its place may be reused.
    pub outdated: bool,
}

/// An event to record on the HPA (component `horizontal-pod-autoscaler`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HpaEvent {
    /// True for `Warning`, false for `Normal`.
    pub warning: bool,
    /// Reason.
    pub reason: String,
    /// Message.
    pub message: String,
}

impl HpaEvent {
    /// `Warning` or `Normal`.
    pub fn kind(&self) -> &'static str {
        if self.warning { "Warning" } else { "Normal" }
    }
}

/// How the scale write went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScaleWrite {
    /// The API took it.
    Done,
    /// It failed for good; the API's message.
    Failed(String),
}

/// What an evaluation decided, and why.
#[derive(Clone, Debug)]
pub struct HpaDecision {
    /// The replica count to write to the target's scale, if any.
    pub scale_to: Option<i32>,
    /// The whole status to write.
    pub status: Value,
    /// Whether the status differs from the one read.
    pub write_status: bool,
    /// Events to record, in order.
    pub events: Vec<HpaEvent>,
    /// What the controller would log and count as an error.
    pub error: Option<String>,
    /// What to remember.
    pub memory: HpaMemory,
    /// How it came about.
    pub explanation: Explanation,
}
