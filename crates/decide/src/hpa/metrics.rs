//! What each metric asks for. Numbers and faults here; the words that go with
//! a number are in [`super::words`].

use std::collections::BTreeMap;

use api::quantity::Quantity;
use api::selector::LabelSelector;

use super::calculator::{Context, Count, PodMetric, sum, sum_per_pod};
use super::explanation::Amount;
use super::input::{HpaInput, MetricObservation, PodUsage};
use super::types::{MetricIdentifier, MetricSource, MetricSpec, ResourceSource};

/// A metric that worked.
pub(super) struct Reading {
    pub(super) count: Count,
    pub(super) target: Amount,
    /// The key of the value in the status: `value` or `averageValue`.
    pub(super) key: &'static str,
}

/// A metric that did not.
#[derive(Clone)]
pub(super) struct Fault {
    /// Reason of condition and event.
    pub(super) reason: &'static str,
    /// Message of condition and event.
    pub(super) text: String,
    /// The error as the sum over all metrics names it.
    pub(super) error: String,
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

/// The source that an entry's type names.
pub(super) enum Source<'a> {
    External(&'a MetricSource),
    Object(&'a MetricSource),
    Pods(&'a MetricSource),
    Resource(&'a ResourceSource),
    ContainerResource(&'a ResourceSource),
    Unknown,
}

impl<'a> Source<'a> {
    pub(super) fn of(spec: &'a MetricSpec) -> Source<'a> {
        let named = |source: &'a Option<MetricSource>, kind: fn(&'a MetricSource) -> Source<'a>| {
            source.as_ref().map_or(Source::Unknown, kind)
        };
        let resource = |source: &'a Option<ResourceSource>,
                        kind: fn(&'a ResourceSource) -> Source<'a>| {
            source.as_ref().map_or(Source::Unknown, kind)
        };
        match spec.kind.as_str() {
            "External" => named(&spec.external, Source::External),
            "Object" => named(&spec.object, Source::Object),
            "Pods" => named(&spec.pods, Source::Pods),
            "Resource" => resource(&spec.resource, Source::Resource),
            "ContainerResource" => resource(&spec.container_resource, Source::ContainerResource),
            _ => Source::Unknown,
        }
    }
}

impl Metric<'_> {
    /// The replicas that this metric asks for.
    pub(super) fn read(&self) -> Result<Reading, Fault> {
        match Source::of(self.spec) {
            Source::External(source) => self.external(source),
            Source::Object(source) => self.object(source),
            Source::Pods(source) => self.pods(source),
            Source::Resource(source) => self.resource(source, false),
            Source::ContainerResource(source) => self.resource(source, true),
            Source::Unknown => {
                let text = format!("unknown metric source type \"{}\"", self.spec.kind);
                Err(Fault {
                    reason: "InvalidMetricSourceType",
                    error: text.clone(),
                    text,
                })
            }
        }
    }

    fn external(&self, source: &MetricSource) -> Result<Reading, Fault> {
        let name = &source.metric.name;
        let fault = |text: String, status_layer: String| Fault {
            reason: "FailedGetExternalMetric",
            error: format!("failed to get {name} external metric value: {status_layer}"),
            text,
        };
        if let Some(target) = &source.target.average_value {
            let target = target.milli_value();
            let series = self.external_series(&source.metric).map_err(|e| {
                fault(
                    e.clone(),
                    format!("failed to get {name} external metric: {e}"),
                )
            })?;
            let usage = sum_per_pod(series);
            Ok(Reading {
                count: self.context.per_pod(self.running, usage, target, true),
                target: Amount::Milli(target),
                key: "averageValue",
            })
        } else if let Some(target) = &source.target.value {
            let target = target.milli_value();
            let count = self
                .external_series(&source.metric)
                .and_then(|series| self.context.by_value(self.current, sum(series), target))
                .map_err(|e| {
                    fault(
                        e.clone(),
                        format!("failed to get external metric {name}: {e}"),
                    )
                })?;
            Ok(Reading {
                count,
                target: Amount::Milli(target),
                key: "value",
            })
        } else {
            let text = "invalid external metric source: neither a value target nor an average \
                        value target was set";
            Err(fault(text.to_owned(), text.to_owned()))
        }
    }

    fn external_series(
        &self,
        metric: &MetricIdentifier,
    ) -> Result<impl Iterator<Item = i64> + '_, String> {
        check(metric.selector.as_ref())?;
        let error = match self.reading {
            Some(MetricObservation::External(Ok(items))) if !items.is_empty() => {
                return Ok(items.iter().map(Quantity::milli_value));
            }
            Some(MetricObservation::External(Ok(_))) => {
                "no metrics returned from external metrics API".to_owned()
            }
            Some(MetricObservation::External(Err(error))) => api_error("external", error),
            _ => api_error("external", NOT_READ),
        };
        let namespace = &self.input.namespace;
        let selector = metric.printed_selector();
        Err(format!(
            "unable to get external metric {namespace}/{}/{selector}: {error}",
            metric.name
        ))
    }

    fn object(&self, source: &MetricSource) -> Result<Reading, Fault> {
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
        match (target.kind.as_str(), &target.value, &target.average_value) {
            ("Value", Some(target), _) => {
                let target = target.milli_value();
                let count = read()
                    .and_then(|usage| self.context.by_value(self.current, usage, target))
                    .map_err(|e| fault(e.clone(), e))?;
                Ok(Reading {
                    count,
                    target: Amount::Milli(target),
                    key: "value",
                })
            }
            ("AverageValue", _, Some(target)) => {
                let target = target.milli_value();
                let usage = read().map_err(|e| {
                    fault(
                        e.clone(),
                        format!("failed to get {name} object metric: {e}"),
                    )
                })?;
                Ok(Reading {
                    count: self.context.per_pod(self.running, usage, target, false),
                    target: Amount::Milli(target),
                    key: "averageValue",
                })
            }
            _ => {
                let text = "invalid object metric source: neither a value target nor an average \
                            value target was set";
                Err(fault(text.to_owned(), text.to_owned()))
            }
        }
    }

    fn pods(&self, source: &MetricSource) -> Result<Reading, Fault> {
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
        Ok(Reading {
            count,
            target: Amount::Milli(target),
            key: "averageValue",
        })
    }

    fn resource(&self, source: &ResourceSource, one_container: bool) -> Result<Reading, Fault> {
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
        let (count, target) = if let Some(target) = &source.target.average_value {
            let target = target.milli_value();
            let count = self
                .pod_usage(name, container)
                .and_then(|metrics| self.context.average(self.current, metrics, target, name))
                .map_err(|e| fault(format!("failed to get {name} usage: {e}")))?;
            (count, Amount::Milli(target))
        } else if let Some(target) = source.target.average_utilization {
            let count = self
                .pod_usage(name, container)
                .and_then(|metrics| {
                    self.context
                        .utilization(self.current, metrics, target, name, container)
                })
                .map_err(|e| fault(format!("failed to get {name} utilization: {e}")))?;
            (count, Amount::Percent(target))
        } else {
            return Err(fault(
                "invalid resource metric source: neither an average utilization target nor an \
                 average value (usage) target was set"
                    .to_owned(),
            ));
        };
        Ok(Reading {
            count,
            target,
            key: "averageValue",
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
