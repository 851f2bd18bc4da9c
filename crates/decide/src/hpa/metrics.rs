//! What each metric asks for, with the texts and status entries that go with
//! it.

use std::collections::BTreeMap;

use api::quantity::{Format, Quantity};
use api::selector::LabelSelector;
use serde_json::{Value, json};

use super::calculator::{Context, Count, PodMetric, sum, sum_per_pod};
use super::explanation::{Amount, Proposal};
use super::input::{HpaInput, MetricObservation, PodUsage};
use super::types::{MetricIdentifier, MetricSource, MetricSpec, ResourceSource};

/// A metric that worked.
pub(super) struct Evaluated {
    pub(super) replicas: i32,
    pub(super) name: String,
    pub(super) status: Value,
}

/// A metric that did not.
pub(super) struct Fault {
    /// Reason of condition and event.
    pub(super) reason: &'static str,
    /// Message of condition and event.
    pub(super) text: String,
    /// The error as the sum over all metrics names it.
    pub(super) error: String,
}

/// The status entry that stands for a metric that failed.
pub(super) fn failed_status() -> Value {
    json!({"type": ""})
}

fn milli(value: i64) -> String {
    Quantity::from_milli(value, Format::DecimalSI).to_string()
}

fn api_error(api: &str, error: &str) -> String {
    format!("unable to fetch metrics from {api} metrics API: {error}")
}

/// One evaluation of one metric.
pub(super) struct Metric<'a> {
    pub(super) input: &'a HpaInput,
    pub(super) context: Context<'a>,
    pub(super) current: i32,
    pub(super) running: i32,
    pub(super) spec: &'a MetricSpec,
    pub(super) reading: Option<&'a MetricObservation>,
}

impl Metric<'_> {
    /// The outcome; the proposal is filled in for the explanation.
    pub(super) fn evaluate(&self, proposal: &mut Proposal) -> Result<Evaluated, Fault> {
        let spec = self.spec;
        let result = match (spec.kind.as_str(), spec) {
            (
                "External",
                MetricSpec {
                    external: Some(source),
                    ..
                },
            ) => self.external(source, proposal),
            (
                "Object",
                MetricSpec {
                    object: Some(source),
                    ..
                },
            ) => self.object(source, proposal),
            (
                "Pods",
                MetricSpec {
                    pods: Some(source), ..
                },
            ) => self.pods(source, proposal),
            (
                "Resource",
                MetricSpec {
                    resource: Some(source),
                    ..
                },
            ) => self.resource(source, false, proposal),
            (
                "ContainerResource",
                MetricSpec {
                    container_resource: Some(source),
                    ..
                },
            ) => self.resource(source, true, proposal),
            (kind, _) => {
                let text = format!("unknown metric source type \"{kind}\"");
                Err(Fault {
                    reason: "InvalidMetricSourceType",
                    error: text.clone(),
                    text,
                })
            }
        };
        match &result {
            Ok(evaluated) => {
                proposal.metric = evaluated.name.clone();
                proposal.replicas = Some(evaluated.replicas);
            }
            Err(fault) => {
                proposal.metric = metric_label(spec);
                proposal.error = Some(fault.text.clone());
            }
        }
        result
    }

    fn external(&self, source: &MetricSource, proposal: &mut Proposal) -> Result<Evaluated, Fault> {
        let MetricIdentifier { name, selector } = &source.metric;
        let fault = |text: String, status_layer: String| Fault {
            reason: "FailedGetExternalMetric",
            error: format!("failed to get {name} external metric value: {status_layer}"),
            text,
        };
        let (count, key) = if let Some(target) = &source.target.average_value {
            let target = target.milli_value();
            let count = self
                .external_series(&source.metric)
                .map(|series| {
                    self.context
                        .per_pod(self.running, sum_per_pod(&series), target, true)
                })
                .map_err(|e| {
                    fault(
                        e.clone(),
                        format!("failed to get {name} external metric: {e}"),
                    )
                })?;
            explain(proposal, &count, Amount::Milli(target));
            (count, "averageValue")
        } else if let Some(target) = &source.target.value {
            let target = target.milli_value();
            let count = self
                .external_series(&source.metric)
                .and_then(|series| self.context.by_value(self.current, sum(&series), target))
                .map_err(|e| {
                    fault(
                        e.clone(),
                        format!("failed to get external metric {name}: {e}"),
                    )
                })?;
            explain(proposal, &count, Amount::Milli(target));
            (count, "value")
        } else {
            let text = "invalid external metric source: neither a value target nor an average \
                        value target was set";
            return Err(fault(text.to_owned(), text.to_owned()));
        };
        let _ = selector;
        Ok(Evaluated {
            replicas: count.replicas,
            name: format!("external metric {}", source.metric.with_selector()),
            status: json!({"type": "External", "external": {
                "metric": source.metric, "current": {key: milli(count.usage)}}}),
        })
    }

    fn external_series(&self, metric: &MetricIdentifier) -> Result<Vec<i64>, String> {
        check(metric.selector.as_ref())?;
        let read = match self.reading {
            Some(MetricObservation::External(Ok(items))) if items.is_empty() => {
                Err("no metrics returned from external metrics API".to_owned())
            }
            Some(MetricObservation::External(Ok(items))) => {
                Ok(items.iter().map(Quantity::milli_value).collect())
            }
            Some(MetricObservation::External(Err(error))) => Err(api_error("external", error)),
            _ => Err(api_error("external", NOT_READ)),
        };
        read.map_err(|error| {
            let namespace = &self.input.namespace;
            let selector = metric.printed_selector();
            format!(
                "unable to get external metric {namespace}/{}/{selector}: {error}",
                metric.name
            )
        })
    }

    fn object(&self, source: &MetricSource, proposal: &mut Proposal) -> Result<Evaluated, Fault> {
        let name = &source.metric.name;
        let kind = &source.described_object.kind;
        let fault = |text: String, status_layer: String| Fault {
            reason: "FailedGetObjectMetric",
            error: format!("failed to get object metric value: {status_layer}"),
            text,
        };
        let read = || -> Result<i64, String> {
            check(source.metric.selector.as_ref())?;
            let error = match self.reading {
                Some(MetricObservation::Object(Ok(value))) => return Ok(value.milli_value()),
                Some(MetricObservation::Object(Err(error))) => api_error("custom", error),
                _ => api_error("custom", NOT_READ),
            };
            // The original fills the places of this text in another order than
            // they were meant to be filled; conditions show it.
            let (namespace, object) = (&self.input.namespace, &source.described_object.name);
            Err(format!(
                "unable to get metric {name}: {kind} on {namespace} {object}/{error}"
            ))
        };
        let target = &source.target;
        let (count, key, title) = match (target.kind.as_str(), &target.value, &target.average_value)
        {
            ("Value", Some(target), _) => {
                let target = target.milli_value();
                let count = read()
                    .and_then(|usage| self.context.by_value(self.current, usage, target))
                    .map_err(|e| fault(e.clone(), e))?;
                explain(proposal, &count, Amount::Milli(target));
                (count, "value", format!("{kind} metric {name}"))
            }
            ("AverageValue", _, Some(target)) => {
                let target = target.milli_value();
                let count = read()
                    .map(|usage| self.context.per_pod(self.running, usage, target, false))
                    .map_err(|e| {
                        fault(
                            e.clone(),
                            format!("failed to get {name} object metric: {e}"),
                        )
                    })?;
                explain(proposal, &count, Amount::Milli(target));
                (
                    count,
                    "averageValue",
                    format!("external metric {}", source.metric.with_selector()),
                )
            }
            _ => {
                let text = "invalid object metric source: neither a value target nor an average \
                            value target was set";
                return Err(fault(text.to_owned(), text.to_owned()));
            }
        };
        Ok(Evaluated {
            replicas: count.replicas,
            name: title,
            status: json!({"type": "Object", "object": {
                "metric": source.metric, "current": {key: milli(count.usage)},
                "describedObject": source.described_object}}),
        })
    }

    fn pods(&self, source: &MetricSource, proposal: &mut Proposal) -> Result<Evaluated, Fault> {
        let name = &source.metric.name;
        let target = source
            .target
            .average_value
            .as_ref()
            .map_or(0, Quantity::milli_value);
        let read = || -> Result<BTreeMap<String, PodMetric>, String> {
            check(source.metric.selector.as_ref())?;
            let error = match self.reading {
                Some(MetricObservation::Pods(Ok(items))) if !items.is_empty() => {
                    return Ok(items
                        .iter()
                        .map(|item| {
                            let metric = PodMetric {
                                value: item.value.milli_value(),
                                timestamp: item.timestamp,
                                window: item.window,
                            };
                            (item.pod.clone(), metric)
                        })
                        .collect());
                }
                Some(MetricObservation::Pods(Ok(_))) => {
                    "no metrics returned from custom metrics API".to_owned()
                }
                Some(MetricObservation::Pods(Err(error))) => api_error("custom", error),
                _ => api_error("custom", NOT_READ),
            };
            Err(format!("unable to get metric {name}: {error}"))
        };
        let count = read()
            .and_then(|metrics| self.context.average(self.current, metrics, target, ""))
            .map_err(|e| Fault {
                reason: "FailedGetPodsMetric",
                error: format!("failed to get pods metric value: {e}"),
                text: e,
            })?;
        explain(proposal, &count, Amount::Milli(target));
        Ok(Evaluated {
            replicas: count.replicas,
            name: format!("pods metric {name}"),
            status: json!({"type": "Pods", "pods": {
                "metric": source.metric, "current": {"averageValue": milli(count.usage)}}}),
        })
    }

    fn resource(
        &self,
        source: &ResourceSource,
        one_container: bool,
        proposal: &mut Proposal,
    ) -> Result<Evaluated, Fault> {
        let name = source.name.as_str();
        let container = if one_container {
            source.container.as_str()
        } else {
            ""
        };
        let fault = |text: String| match one_container {
            true => Fault {
                reason: "FailedGetContainerResourceMetric",
                error: format!("failed to get {container} container metric value: {text}"),
                text,
            },
            false => Fault {
                reason: "FailedGetResourceMetric",
                error: format!("failed to get {name} resource metric value: {text}"),
                text,
            },
        };
        let format = if name == "memory" {
            Format::BinarySI
        } else {
            Format::DecimalSI
        };
        let shown = |usage| Quantity::from_milli(usage, format).to_string();
        let (count, title) = if let Some(target) = &source.target.average_value {
            let target = target.milli_value();
            let count = self
                .pod_usage(name, container)
                .and_then(|metrics| self.context.average(self.current, metrics, target, name))
                .map_err(|e| fault(format!("failed to get {name} usage: {e}")))?;
            explain(proposal, &count, Amount::Milli(target));
            (count, format!("{name} resource"))
        } else if let Some(target) = source.target.average_utilization {
            let count = self
                .pod_usage(name, container)
                .and_then(|metrics| {
                    self.context
                        .utilization(self.current, metrics, target, name, container)
                })
                .map_err(|e| fault(format!("failed to get {name} utilization: {e}")))?;
            explain(proposal, &count, Amount::Percent(target));
            let of = if one_container {
                "container resource"
            } else {
                "resource"
            };
            (
                count,
                format!("{name} {of} utilization (percentage of request)"),
            )
        } else {
            return Err(fault(
                "invalid resource metric source: neither an average utilization target nor an \
                 average value (usage) target was set"
                    .to_owned(),
            ));
        };
        let mut current = json!({"averageValue": shown(count.usage)});
        if let Some(percent) = count.utilization {
            current["averageUtilization"] = json!(percent);
        }
        let status = match one_container {
            true => json!({"type": "ContainerResource", "containerResource": {
                "name": name, "container": container, "current": current}}),
            false => json!({"type": "Resource", "resource": {"name": name, "current": current}}),
        };
        Ok(Evaluated {
            replicas: count.replicas,
            name: title,
            status,
        })
    }

    fn pod_usage(
        &self,
        resource: &str,
        container: &str,
    ) -> Result<BTreeMap<String, PodMetric>, String> {
        let error = match self.reading {
            Some(MetricObservation::Resource(Ok(items))) if !items.is_empty() => {
                return Ok(items
                    .iter()
                    .filter_map(|item| {
                        let metric = PodMetric {
                            value: usage_of(item, resource, container)?,
                            timestamp: item.timestamp,
                            window: item.window,
                        };
                        Some((item.pod.clone(), metric))
                    })
                    .collect());
            }
            Some(MetricObservation::Resource(Ok(_))) => {
                "no metrics returned from resource metrics API".to_owned()
            }
            Some(MetricObservation::Resource(Err(error))) => api_error("resource", error),
            _ => api_error("resource", NOT_READ),
        };
        Err(format!(
            "unable to get metrics for resource {resource}: {error}"
        ))
    }
}

const NOT_READ: &str = "the metric was not read";

/// The usage of one container or of all; a pod of which any part is unknown
/// has none.
fn usage_of(pod: &PodUsage, resource: &str, container: &str) -> Option<i64> {
    if !container.is_empty() {
        let (_, usage) = pod.containers.iter().find(|(name, _)| name == container)?;
        return usage.get(resource).map(Quantity::milli_value);
    }
    if pod.containers.is_empty() {
        return None;
    }
    pod.containers.iter().try_fold(0i64, |sum, (_, usage)| {
        Some(sum.wrapping_add(usage.get(resource)?.milli_value()))
    })
}

fn check(selector: Option<&LabelSelector>) -> Result<(), String> {
    selector.map_or(Ok(()), |s| s.to_selector().map(|_| ()).map_err(|e| e.0))
}

fn explain(proposal: &mut Proposal, count: &Count, target: Amount) {
    proposal.value = Some(match count.utilization {
        Some(percent) => Amount::Percent(percent),
        None => Amount::Milli(count.usage),
    });
    proposal.target = Some(target);
    proposal.ratio = count.ratio.is_finite().then_some(count.ratio);
}

/// A short name for a metric that failed.
fn metric_label(spec: &MetricSpec) -> String {
    let named = |s: &MetricSource| s.metric.name.clone();
    let resource = |s: &ResourceSource| s.name.clone();
    let name = spec
        .external
        .as_ref()
        .or(spec.object.as_ref())
        .or(spec.pods.as_ref())
        .map(named)
        .or_else(|| {
            spec.resource
                .as_ref()
                .or(spec.container_resource.as_ref())
                .map(resource)
        });
    format!("{} metric {}", spec.kind, name.unwrap_or_default())
}
