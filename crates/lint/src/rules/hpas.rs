//! Rules over the metrics of plain HPAs. An adapter stands between them and
//! Prometheus: of an External metric it adds up what the name and selector
//! match, of a Pods metric the HPA takes the mean, an Object metric is one
//! number. Only names that are known say enough to be judged.

use api::quantity::Quantity;
use serde_json::Value;

use super::signals::{is_gpu_util, keeps_memory, reserving, shares, sharing};
use super::{Context, behavior, labels};
use crate::arithmetic::{Hpa as Evaluated, Target, show};
use crate::finding::Severity;
use crate::metrics::{self, Bound, Kind, Origin};
use crate::model::Hpa;

/// Where a metric comes from, as its `type` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Pods,
    Object,
    External,
}

/// One metric of an HPA with a known name.
struct Read<'a> {
    from: From,
    /// Pointer of its source, `/spec/metrics/0/external`.
    pointer: String,
    /// The series.
    name: &'a str,
    known: metrics::Metric,
    target: Option<Target>,
}

pub(super) fn check(cx: &mut Context<'_>) {
    let model = cx.model;
    for hpa in &model.hpas {
        let list = hpa.object.get("/spec/metrics").as_array();
        let all = list.map_or(&[][..], Vec::as_slice);
        let found: Vec<Read<'_>> = all.iter().enumerate().filter_map(read).collect();
        for metric in &found {
            total(cx, hpa, metric);
            bounded(cx, hpa, metric, all.len() == 1);
            signal(cx, hpa, metric);
            if metric.from == From::External {
                labels::of_selector(cx, &hpa.object, &metric.pointer, metric.name);
            }
        }
        wake(cx, hpa, all, &found);
    }
}

fn read((n, metric): (usize, &Value)) -> Option<Read<'_>> {
    let (from, field) = match metric["type"].as_str()? {
        "Pods" => (From::Pods, "pods"),
        "Object" => (From::Object, "object"),
        "External" => (From::External, "external"),
        _ => return None,
    };
    let source = &metric[field];
    let name = series(source["metric"]["name"].as_str()?);
    let target = &source["target"];
    let average = target["type"] == "AverageValue";
    let value = match average {
        true => &target["averageValue"],
        false => &target["value"],
    };
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let value = Quantity::parse(&text).ok().map(|q| q.as_f64());
    Some(Read {
        from,
        pointer: format!("/spec/metrics/{n}/{field}"),
        name,
        known: metrics::lookup(name),
        target: value
            .filter(|value| *value > 0.0)
            .map(|value| Target { average, value }),
    })
}

/// The series in a metric's name; Google's adapter writes
/// `prometheus.googleapis.com|NAME|gauge`.
fn series(name: &str) -> &str {
    const KINDS: &[&str] = &["gauge", "counter", "histogram", "summary", "unknown"];
    let parts = name.rsplit('|');
    let mut parts = parts.filter(|part| !KINDS.contains(part));
    parts.next().unwrap_or(name)
}

fn total(cx: &mut Context<'_>, hpa: &Hpa<'_>, metric: &Read<'_>) {
    let by_value = metric.target.filter(|target| !target.average);
    let (Some(target), Kind::Queue) = (by_value, metric.known.kind) else {
        return;
    };
    if metric.from == From::Pods {
        return;
    }
    let (name, target) = (metric.name, show(target.value));
    cx.report(
        ("total-with-value", Severity::Error),
        &hpa.object,
        hpa.object.at(&format!("{}/target/type", metric.pointer)),
        format!(
            "`{name}` is a total, and Value multiplies the replicas by total / {target} at every \
             evaluation, whatever they already do"
        ),
        "Use `type: AverageValue` with `averageValue`.",
    );
}

/// Ceilings and targets out of reach.
fn bounded(cx: &mut Context<'_>, hpa: &Hpa<'_>, metric: &Read<'_>, alone: bool) {
    let (Some(target), Bound::At(bound)) = (metric.target, metric.known.bound) else {
        return;
    };
    let (_, behavior) = behavior(&hpa.object);
    // The mean over the pods is compared as one number is.
    let target = Target {
        average: target.average && metric.from != From::Pods,
        ..target
    };
    let Some(mut evaluated) = Evaluated::of(target, behavior) else {
        return;
    };
    let gpus = cx.model.workload(hpa.workload).map(|w| w.gpus().max(1));
    let most = match (metric.from, gpus, metric.known.origin) {
        (From::Pods | From::Object, ..) => bound,
        // A sum over the GPUs of a replica; the largest nodes have 16.
        (From::External, gpus, Origin::Dcgm) => bound * gpus.unwrap_or(16) as f64,
        (From::External, ..) => bound,
    };
    let field = match (metric.from, target.average) {
        (From::Pods, _) | (_, true) => "averageValue",
        _ => "value",
    };
    let span = hpa.object.at(&format!("{}/target/{field}", metric.pointer));
    let (name, t) = (metric.name, show(target.value));
    // Of an External metric with Value the sum grows with the replicas.
    if metric.from == From::External && !target.average {
        return;
    }
    if evaluated.moves(most).is_err() {
        cx.report(
            ("unreachable-target", Severity::Error),
            &hpa.object,
            span,
            format!(
                "the target {t} is out of reach: one replica shows at most {} of `{name}`, so \
                 nothing ever asks for a second replica",
                show(most)
            ),
            format!(
                "Set a target that a busy replica passes, for example {}.",
                show(most * 0.7)
            ),
        );
        return;
    }
    if metric.from != From::Object || !target.average {
        return;
    }
    let rests = evaluated.rests_at(|_| bound);
    let max = hpa.object.get("/spec/maxReplicas").as_i64().unwrap_or(1);
    let severity = match i64::from(rests) < max && alone {
        true => Severity::Error,
        false => Severity::Warning,
    };
    cx.report(
        ("bounded-metric-ceiling", severity),
        &hpa.object,
        span,
        format!(
            "`{name}` is at most {b}, and averageValue asks for value / {t}: never more than \
             ceil({b}/{t}) = {rests}, maxReplicas is {max}",
            b = show(bound)
        ),
        "Use `type: Value`, or an External metric that is the sum over the replicas.",
    );
}

/// What the signal itself is worth.
fn signal(cx: &mut Context<'_>, hpa: &Hpa<'_>, metric: &Read<'_>) {
    let object = &hpa.object;
    let at = object.at(&format!("{}/metric/name", metric.pointer));
    let workload = cx.model.workload(hpa.workload);
    if is_gpu_util(metric.name) {
        cx.report(
            ("saturating-signal", Severity::Note),
            object,
            at,
            format!(
                "`{}` says that a kernel was running, not how much of the GPU it used: one small \
                 request can show 100 %",
                metric.name
            ),
            "For a server take its queue or running requests; for other work \
             DCGM_FI_PROF_SM_ACTIVE or DCGM_FI_PROF_PIPE_TENSOR_ACTIVE says more.",
        );
    }
    if metric.known.kind == Kind::Memory {
        keeps_memory(cx, object, at, metric.name, workload.and_then(reserving));
    }
    if metric.known.origin == Origin::Dcgm {
        labels::renamed(cx, object, at, metric.name, metric.target.map(|t| t.value));
        if let Some((how, mig)) = workload.and_then(sharing)
            && (!mig || metric.known.whole_device)
        {
            shares(cx, object, at, metric.name, &how, mig);
        }
    }
}

/// `minReplicas: 0` with nothing that could rise while no replica runs.
fn wake(cx: &mut Context<'_>, hpa: &Hpa<'_>, all: &[Value], found: &[Read<'_>]) {
    let object = &hpa.object;
    if object.get("/spec/minReplicas") != &Value::from(0) || all.is_empty() {
        return;
    }
    let of_pods = |metric: &Value| {
        matches!(
            metric["type"].as_str(),
            Some("Pods" | "Resource" | "ContainerResource")
        )
    };
    let asleep = |metric: &Read<'_>| metric.from == From::Pods || metric.known.needs_replicas();
    let others = all.iter().filter(|metric| !of_pods(metric)).count();
    let known = found.iter().filter(|m| m.from != From::Pods).count();
    if others != known || !found.iter().all(asleep) {
        return;
    }
    cx.report(
        ("no-wake-signal", Severity::Error),
        object,
        object.at("/spec/minReplicas"),
        "minReplicas 0, and every metric is one that only running replicas show: at 0 replicas \
         nothing wakes the workload"
            .to_owned(),
        "Add a metric that exists without replicas (the queue or the gateway in front), or set \
         minReplicas to 1.",
    );
}
