//! A policy ready to be replayed: the HPA that belongs to it, what its triggers
//! measure, and the replica that it adds or takes away.

use api::keda::{Gvkr, ScaledObject};
use decide::explain::{Kind, Object};
use decide::fit::PodInfo;
use decide::hpa::{HpaConfig, HpaSpec, Numbers, ScalingPolicy, ScalingRules};
use decide::scale::fallback::Target as Compared;
use decide::scale::hpa_spec;
use decide::scale::modifiers::Composite;
use decide::scale::pause::Steering;
use decide::scale::{checks, resource};
use promql::labels::{MatchOp, Matcher};
use serde_json::{Value, json};
use triggers::MetricType;
use triggers::prometheus::Config;

use crate::error::{InputError, Read};
use crate::manifest::{Manifests, PolicySource, hpa_faults, kind, name, namespace};
use crate::signal::{Metrics, Signal, Workload};

/// How replicas are acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actuation {
    /// Kubernetes' HPA, once a sync period.
    Hpa,
    /// Rheostat itself, on each new sample.
    Direct,
}

impl Actuation {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hpa => "hpa",
            Self::Direct => "direct",
        }
    }
}

/// The annotation that chooses the actuation.
const ACTUATION: &str = "rheostat.dev/actuation";

/// One trigger.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// Name of the external metric.
    pub metric: String,
    /// What it measures.
    pub signal: Signal,
    /// Threshold and comparison.
    pub(crate) target: Compared,
    /// Active above this.
    pub(crate) activation: f64,
    /// Read nothing as 0.
    pub(crate) ignore_null: bool,
    /// The HPA is answered from the last poll.
    pub(crate) cached: bool,
    /// Where its metrics are.
    pub server: String,
}

/// A policy with the workload that it scales.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How reports name it.
    pub name: String,
    /// The ScaledObject or HorizontalPodAutoscaler.
    pub object: Object,
    /// File and line.
    pub place: String,
    /// The HPA's spec.
    pub spec: HpaSpec,
    /// How it acts.
    pub actuation: Actuation,
    /// Its triggers: one for each metric of the spec, or all of the formula.
    pub triggers: Vec<Trigger>,
    /// The workload.
    pub workload: Workload,
    /// GPUs of a replica.
    pub gpus: u32,
    /// Replicas that the workload's manifest asks for.
    pub initial: i32,
    pub(crate) numbers: Numbers,
    pub(crate) keda: Option<ScaledObject>,
    /// The one metric that a formula makes of several.
    pub(crate) composite: Option<Composite>,
    /// Fully paused: nothing acts; at so many replicas, where given.
    pub(crate) paused: Option<Option<i32>>,
    pub(crate) pod: PodInfo,
    /// A StatefulSet that makes its pods one after the other.
    pub(crate) ordered: bool,
}

impl Policy {
    /// The HPA that acts for it.
    pub(crate) fn hpa(&self) -> Object {
        let name = match &self.keda {
            Some(object) => hpa_spec::hpa_name(object),
            None => self.object.name.clone(),
        };
        Object {
            kind: Kind::Hpa.name().to_owned(),
            name,
            namespace: self.object.namespace.clone(),
        }
    }

    /// What the model takes it to do, beside what the report says of all: how
    /// often it looks, how fast it may move, what is assumed of its metrics.
    pub fn terms(&self) -> Vec<String> {
        let mut out = Vec::new();
        if let Some(object) = &self.keda {
            out.push(match self.actuation {
                Actuation::Hpa => format!("polled each {} s", object.spec.polling_seconds()),
                Actuation::Direct => "polled with each scrape".to_owned(),
            });
        }
        let window = HpaConfig::default().downscale_stabilization.as_secs();
        let modifiers = self.keda.as_ref().and_then(|o| o.spec.modifiers());
        if let Some(modifiers) = modifiers {
            out.push(format!("one metric by the formula {}", modifiers.formula));
        }
        match &self.spec.behavior {
            None => out.push(format!(
                "up to twice the replicas, or 4, a sync; down after {window} s of stabilization"
            )),
            Some(behavior) => {
                let up = "4 pods or 100 % each 15 s, whichever is more";
                out.push(format!("up {}", rates(behavior.scale_up.as_ref(), up, 0)));
                let down = "100 % each 15 s";
                let window = i32::try_from(window).unwrap_or(i32::MAX);
                out.push(format!(
                    "down {}",
                    rates(behavior.scale_down.as_ref(), down, window)
                ));
            }
        }
        if self.keda.is_none() {
            for trigger in &self.triggers {
                out.push(format!(
                    "metric {} is taken as the sum over the workload's GPUs",
                    trigger.metric
                ));
            }
        }
        out
    }

    /// Whether an evaluation looks at metrics.
    pub(crate) fn wants(&self, current: i32, asleep: bool) -> bool {
        self.numbers.wants(current, asleep)
    }
}

/// What building a policy needs beside its manifest.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    /// Workloads.
    pub manifests: Manifests,
    /// Metrics that the model can produce.
    pub metrics: Metrics,
    /// The HPA controller's settings.
    pub hpa: HpaConfig,
}

impl Builder {
    /// Builds a policy.
    pub fn build(&self, source: &PolicySource) -> Read<Policy> {
        match kind(&source.object) {
            "ScaledObject" => self.scaled_object(source),
            _ => self.hpa(source),
        }
    }

    fn scaled_object(&self, source: &PolicySource) -> Read<Policy> {
        let fail = |problem: String| InputError::new(&source.place, problem);
        let mut object: ScaledObject =
            serde_json::from_value(source.object.clone()).map_err(|e| fail(e.to_string()))?;
        namespace(&source.object).clone_into(&mut object.metadata.namespace);
        checks::counts(&object).map_err(fail)?;
        checks::triggers(&object.spec.triggers).map_err(fail)?;
        let (group, version, kind) = object.spec.scale_target_ref.gvk();
        let workload = object.spec.scale_target_ref.name.clone();
        let (workload, template) = self.target(source, &kind, &workload)?;
        let mut specs = Vec::new();
        let mut list = Vec::new();
        for (index, entry) in object.spec.triggers.iter().enumerate() {
            let place = format!("{} trigger {index}", source.place);
            let fail = |problem: String| InputError::new(&place, problem);
            if resource::is_resource(entry) {
                return Err(fail(format!(
                    "a load in GPUs says nothing about {}; take this trigger out for the replay",
                    entry.trigger_type
                )));
            }
            if entry.trigger_type != "prometheus" {
                let problem = match triggers::is_known(&entry.trigger_type) {
                    true => "cannot be replayed yet, only prometheus triggers can",
                    false => "is no trigger type of KEDA",
                };
                return Err(fail(format!("type {} {problem}", entry.trigger_type)));
            }
            let input = triggers::Input::of(&object, index).with_any_credentials();
            let config = Config::parse(&input).map_err(|e| fail(e.to_string()))?;
            let threshold = config.spec.target;
            if !threshold.is_finite() || threshold <= 0.0 {
                return Err(fail(format!("threshold {threshold} is not above 0")));
            }
            specs.push(config.spec.for_hpa());
            list.push(Trigger {
                metric: config.spec.metric_name.clone(),
                signal: Signal::read(&place, &config.query, &self.metrics, &workload)?,
                target: match &config.spec.metric_type {
                    MetricType::AverageValue => Compared::Average(threshold),
                    MetricType::Value => Compared::Value(threshold),
                    MetricType::Other(other) => {
                        return Err(fail(format!(
                            "metricType {other}: the API server refuses the HPA with it; it may \
                             be AverageValue or Value"
                        )));
                    }
                },
                activation: config.activation_threshold,
                ignore_null: config.ignore_null_values,
                cached: entry.use_cached_metrics,
                server: config.server_address,
            });
        }
        let target = Gvkr {
            group,
            version,
            kind,
            resource: String::new(),
        };
        let plan =
            hpa_spec::hpa_for(&object, &specs, &target, "").map_err(|e| fail(e.to_string()))?;
        let metadata = json!({"name": object.metadata.name, "namespace": "default"});
        let hpa = json!({"metadata": metadata, "spec": plan.hpa["spec"]});
        if let Some(fault) = hpa_faults(hpa).first() {
            return Err(fail(format!(
                "the API server would refuse its HPA: {fault}"
            )));
        }
        let spec = HpaSpec::from_json(&plan.hpa["spec"]).map_err(|e| fail(e.to_string()))?;
        let steering = Steering::of(&object.metadata.annotations);
        let paused = match steering.full {
            true => Some(steering.replica_count().map_err(fail)?),
            false => None,
        };
        let written = object.metadata.annotations.get(ACTUATION);
        let actuation = match written.map(String::as_str) {
            Some("direct") => Actuation::Direct,
            // What would be done is what a replay shows anyway.
            None | Some("hpa" | "shadow") => Actuation::Hpa,
            Some(other) => {
                return Err(fail(format!(
                    "annotation {ACTUATION} is \"{other}\"; it may be hpa, direct or shadow"
                )));
            }
        };
        self.finish(
            source,
            Policy {
                name: String::new(),
                object: Object {
                    kind: Kind::ScaledObject.name().to_owned(),
                    namespace: object.metadata.namespace.clone(),
                    name: object.metadata.name.clone(),
                },
                place: source.place.clone(),
                numbers: self.numbers(source, &spec)?,
                spec,
                actuation,
                triggers: list,
                workload,
                gpus: 0,
                initial: 1,
                composite: Composite::of(&object),
                keda: Some(object),
                paused,
                pod: PodInfo::parse(&Value::Null),
                ordered: false,
            },
            &template,
        )
    }

    fn hpa(&self, source: &PolicySource) -> Read<Policy> {
        let fail = |problem: String| InputError::new(&source.place, problem);
        let spec = HpaSpec::from_json(&source.object["spec"]).map_err(|e| fail(e.to_string()))?;
        if spec.min() > spec.max_replicas {
            return Err(fail(format!(
                "minReplicas {} is above maxReplicas {}",
                spec.min(),
                spec.max_replicas
            )));
        }
        let reference = &spec.scale_target_ref;
        let (workload, template) = self.target(source, &reference.kind, &reference.name.clone())?;
        let mut list = Vec::new();
        for (index, metric) in spec.metrics.iter().enumerate() {
            let place = format!("{} metric {index}", source.place);
            let fail = |problem: String| InputError::new(&place, problem);
            let Some(external) = metric
                .external
                .as_ref()
                .filter(|_| metric.kind == "External")
            else {
                return Err(fail(format!(
                    "type {} cannot be replayed: only External metrics can; with KEDA, give the \
                     ScaledObject instead",
                    metric.kind
                )));
            };
            let name = &external.metric.name;
            let Some(unit) = self.metrics.unit(name) else {
                return Err(fail(format!(
                    "what metric {name} measures is not known here: give the ScaledObject with \
                     its query, or say --metric {name}=percent or {name}=ratio"
                )));
            };
            let selected = external.metric.selector.as_ref();
            if selected.is_some_and(|s| !s.match_expressions.is_empty()) {
                return Err(fail(format!(
                    "matchExpressions of metric {name} are not read; write matchLabels, or give \
                     the ScaledObject with its query"
                )));
            }
            for (label, value) in selected.into_iter().flat_map(|s| &s.match_labels) {
                let matcher = Matcher::new(label, MatchOp::Equal, value).map_err(&fail)?;
                if !workload.fits(&matcher) || workload.divides(&matcher) {
                    return Err(fail(format!(
                        "label {label}={value} of the selector of metric {name} does not take \
                         all of {} {}/{}, which is what would be summed",
                        workload.kind, workload.namespace, workload.name
                    )));
                }
            }
            let target = &external.target;
            let goal = match (&target.average_value, &target.value) {
                (Some(goal), _) => Compared::Average(goal.as_f64()),
                (None, Some(goal)) => Compared::Value(goal.as_f64()),
                _ => {
                    return Err(fail(
                        "its target has neither averageValue nor value".to_owned(),
                    ));
                }
            };
            list.push(Trigger {
                metric: name.clone(),
                signal: Signal::sum_of(name, unit),
                target: goal,
                activation: 0.0,
                ignore_null: false,
                cached: false,
                server: String::new(),
            });
        }
        self.finish(
            source,
            Policy {
                name: String::new(),
                object: Object {
                    kind: Kind::Hpa.name().to_owned(),
                    namespace: namespace(&source.object).to_owned(),
                    name: name(&source.object).to_owned(),
                },
                place: source.place.clone(),
                numbers: self.numbers(source, &spec)?,
                spec,
                actuation: Actuation::Hpa,
                triggers: list,
                workload,
                gpus: 0,
                initial: 1,
                composite: None,
                keda: None,
                paused: None,
                pod: PodInfo::parse(&Value::Null),
                ordered: false,
            },
            &template,
        )
    }

    fn numbers(&self, source: &PolicySource, spec: &HpaSpec) -> Read<Numbers> {
        Numbers::of(spec, &self.hpa).ok_or_else(|| {
            InputError::new(
                &source.place,
                "the policy has no metric with a usable target",
            )
        })
    }

    /// The workload of a policy and its manifest.
    fn target(&self, source: &PolicySource, kind: &str, name: &str) -> Read<(Workload, Value)> {
        let namespace = namespace(&source.object);
        let key = (kind.to_owned(), namespace.to_owned(), name.to_owned());
        let target = self.manifests.targets.get(&key).ok_or_else(|| {
            InputError::new(
                &source.place,
                format!(
                    "its target {kind} {namespace}/{name} is in none of the files; add its \
                     manifest, which says how many GPUs a replica asks for"
                ),
            )
        })?;
        let containers = target.object["spec"]["template"]["spec"]["containers"].as_array();
        let with_gpu = containers.into_iter().flatten().find(|c| {
            let limits = c["resources"]["limits"].as_object();
            limits.is_some_and(|l| l.keys().any(|k| decide::fit::is_gpu(k)))
        });
        let workload = Workload {
            namespace: namespace.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            container: with_gpu
                .map_or("", |c| c["name"].as_str().unwrap_or(""))
                .to_owned(),
        };
        Ok((workload, target.object.clone()))
    }

    fn finish(&self, source: &PolicySource, policy: Policy, target: &Value) -> Read<Policy> {
        let workload = &policy.workload;
        let template = &target["spec"]["template"];
        let pod = PodInfo::parse(&json!({
            "metadata": {
                "name": workload.name, "namespace": workload.namespace,
                "labels": template["metadata"]["labels"],
                "annotations": template["metadata"]["annotations"],
                "ownerReferences": [{"kind": "ReplicaSet", "controller": true, "uid": "rs"}],
            },
            "spec": template["spec"],
        }));
        let gpus = u32::try_from(pod.requests.gpus()).unwrap_or(0);
        if gpus == 0 {
            let key = (
                workload.kind.clone(),
                workload.namespace.clone(),
                workload.name.clone(),
            );
            let place = self.manifests.targets.get(&key).map(|t| t.place.clone());
            return Err(InputError::new(
                place.unwrap_or_else(|| source.place.clone()),
                format!(
                    "{} {} asks for no GPU; add resources.limits nvidia.com/gpu to its container",
                    workload.kind, workload.name
                ),
            ));
        }
        let ordered =
            workload.kind == "StatefulSet" && target["spec"]["podManagementPolicy"] != "Parallel";
        let initial = target["spec"]["replicas"].as_i64().unwrap_or(1);
        let object = &policy.object;
        Ok(Policy {
            name: format!("{} {}/{}", object.kind, object.namespace, object.name),
            gpus,
            pod,
            ordered,
            initial: i32::try_from(initial).unwrap_or(1).max(0),
            ..policy
        })
    }
}

/// The rates of one direction in words; `preset` and `window` are Kubernetes'
/// defaults where the behavior leaves them out.
fn rates(rules: Option<&ScalingRules>, preset: &str, window: i32) -> String {
    let select = rules.and_then(|r| r.select_policy.as_deref());
    if select == Some("Disabled") {
        return "disabled".to_owned();
    }
    let given = rules.map_or(&[][..], |r| &r.policies);
    let one = |p: &ScalingPolicy| {
        let unit = if p.kind == "Percent" { "%" } else { "pods" };
        format!("{} {unit} each {} s", p.value, p.period_seconds)
    };
    let mut text = match given {
        [] => preset.to_owned(),
        list => list.iter().map(one).collect::<Vec<_>>().join(" or "),
    };
    if given.len() > 1 {
        text += match select {
            Some("Min") => ", whichever is less",
            _ => ", whichever is more",
        };
    }
    let window = rules
        .and_then(|r| r.stabilization_window_seconds)
        .unwrap_or(window);
    match window {
        0 => text,
        _ => format!("{text}, after {window} s of stabilization"),
    }
}
