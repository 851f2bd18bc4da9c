//! Which way an evaluation goes, and what it needs to read for that.

use api::selector::Selector;

use super::input::*;
use super::types::{MetricSource, MetricSpec, TO_ZERO};

/// Which way an evaluation goes, before any metric is read.
pub(super) enum Course {
    /// The target stands at zero and is left alone.
    Paused,
    /// Outside the bounds: straight to the bound.
    Bound(i32, &'static str),
    /// By metrics.
    Metrics,
}

pub(super) fn scaled_to_zero(input: &HpaInput) -> bool {
    input.config.scale_to_zero
        && input
            .status
            .condition(TO_ZERO)
            .is_some_and(|c| c.status == "True")
}

pub(super) fn course(input: &HpaInput, current: i32) -> Course {
    let spec = &input.spec;
    let bounds = (spec.min(), spec.max_replicas);
    let asleep = scaled_to_zero(input);
    way(bounds, spec.has_object_or_external(), asleep, current)
}

/// The course, from the numbers that decide it.
pub(super) fn way((min, max): (i32, i32), external: bool, asleep: bool, current: i32) -> Course {
    if current == 0 {
        return match asleep && (min != 0 || external) {
            true => Course::Metrics,
            false => Course::Paused,
        };
    }
    if current > max {
        Course::Bound(max, "Current number of replicas above Spec.MaxReplicas")
    } else if current < min {
        Course::Bound(min, "Current number of replicas below Spec.MinReplicas")
    } else {
        Course::Metrics
    }
}

/// What to read before an evaluation; empty where the evaluation will not look
/// at metrics (target paused at zero or outside its bounds, or not read).
pub fn wants(input: &HpaInput) -> Vec<MetricQuery> {
    let ScaleObservation::Found {
        spec_replicas,
        selector,
        ..
    } = &input.scale
    else {
        return Vec::new();
    };
    if !matches!(course(input, *spec_replicas), Course::Metrics)
        || selector.is_empty()
        || Selector::parse(selector).is_err()
    {
        return Vec::new();
    }
    let query = |(index, spec): (usize, &MetricSpec)| {
        let pods = selector.clone();
        let named = |s: &MetricSource| {
            (
                s.metric.name.clone(),
                selector_text(s.metric.selector.as_ref()),
            )
        };
        let what = match spec.kind.as_str() {
            "External" => {
                let (name, selector) = named(spec.external.as_ref()?);
                MetricWanted::External { name, selector }
            }
            "Resource" | "ContainerResource" => MetricWanted::Resource { pods },
            "Pods" => {
                let (name, selector) = named(spec.pods.as_ref()?);
                MetricWanted::Pods {
                    name,
                    selector,
                    pods,
                }
            }
            "Object" => {
                let source = spec.object.as_ref()?;
                let (name, selector) = named(source);
                MetricWanted::Object {
                    name,
                    selector,
                    object: source.described_object.clone(),
                }
            }
            _ => return None,
        };
        Some(MetricQuery { index, what })
    };
    input
        .spec
        .metrics
        .iter()
        .enumerate()
        .filter_map(query)
        .collect()
}

/// Whether an evaluation looks at pods: for every metric but averages of
/// External and Object ones, and wherever another HPA might have a hand on
/// the same pods.
pub fn needs_pods(input: &HpaInput) -> bool {
    let averages = |m: &MetricSpec| {
        let source = m.external.as_ref().or(m.object.as_ref());
        source.is_some_and(|s| s.target.average_value.is_some())
    };
    !input.others.is_empty() || !input.spec.metrics.iter().all(averages)
}
