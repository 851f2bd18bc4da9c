//! Rules over the choice of a signal.

use api::yaml::Span;

use super::{Context, Trigger, behavior, own};
use crate::arithmetic::{Hpa, show};
use crate::finding::Severity;
use crate::metrics::{Bound, Kind, Origin};
use crate::model::{Object, Workload};
use crate::query::{Per, Use};

pub(super) fn check(cx: &mut Context<'_>, triggers: &[Trigger<'_>]) {
    for trigger in triggers {
        let Some(query) = trigger.read() else {
            continue;
        };
        let uses = query.uses();
        if let Some(used) = uses.iter().find(|u| is_gpu_util(u.name)) {
            saturating(cx, trigger, used);
        }
        if let Some(used) = uses.iter().find(|u| u.metric.kind == Kind::Memory) {
            memory(cx, trigger, used, triggers);
        }
        if let Some(used) = uses.iter().find(|u| u.metric.origin == Origin::Dcgm) {
            shared(cx, trigger, used, &uses);
        }
    }
}

/// Whether a series is the share of time in which any kernel ran.
pub(super) fn is_gpu_util(name: &str) -> bool {
    matches!(
        name,
        "DCGM_FI_DEV_GPU_UTIL" | "DCGM_FI_DEV_GPU_UTIL_RATIO" | "dcgm_gpu_utilization"
    )
}

fn saturating(cx: &mut Context<'_>, trigger: &Trigger<'_>, used: &Use<'_>) {
    let object = &trigger.scaled.object;
    let at = cx.part(trigger, used.range);
    let mut message = format!(
        "`{}` says that a kernel was running, not how much of the GPU it used: one small request \
         can show 100 %",
        used.name
    );
    let meaning = trigger.read().map(crate::query::Query::meaning);
    let full = match used.metric.bound {
        Bound::At(full) => full,
        _ => 100.0,
    };
    let max = trigger.scaled.spec.spec.max();
    let grows = meaning.is_some_and(|m| m.per == Per::Total);
    let target = trigger.target().filter(|t| grows == t.average);
    if let Some(target) = target.filter(|t| t.value < full) {
        let value = |n: i32| if grows { full * f64::from(n) } else { full };
        let (_, behavior) = behavior(object);
        let start = trigger.scaled.spec.spec.min().max(1);
        let hpa = Hpa::of(target, behavior).filter(|_| target.average || max <= 64);
        let evaluations = hpa.and_then(|mut hpa| hpa.evaluations(start, max, value));
        if let Some(evaluations) = evaluations.filter(|n| *n > 0) {
            let rules = match behavior["scaleUp"].is_object() {
                true => " under behavior.scaleUp",
                false => "",
            };
            message.push_str(&format!(
                ". Once it is at {}, each evaluation can only ask for {}/{} = {:.2} times the \
                 replicas: a step of load takes {evaluations} evaluations (15 s each){rules} from \
                 {start} to {max}",
                show(full),
                show(full),
                show(target.value),
                full / target.value
            ));
        }
    }
    cx.report(
        ("saturating-signal", Severity::Note),
        object,
        at,
        message,
        "For a server take its queue or running requests; for other work \
         DCGM_FI_PROF_SM_ACTIVE or DCGM_FI_PROF_PIPE_TENSOR_ACTIVE says more.",
    );
}

/// Parts of image names and commands of engines that reserve GPU memory at
/// start.
const RESERVING: &[(&str, &str)] = &[
    ("vllm", "vLLM"),
    ("text-generation-inference", "TGI"),
    ("text-generation-launcher", "TGI"),
    ("sglang", "SGLang"),
    ("lmdeploy", "LMDeploy"),
    ("tensorrt-llm", "TensorRT-LLM"),
    ("trtllm", "TensorRT-LLM"),
    ("nvcr.io/nim/", "NIM"),
    ("tensorflow", "TensorFlow"),
    ("samples-tf-", "TensorFlow"),
];

/// The engine of a workload, where it reserves GPU memory at start.
pub(super) fn reserving(workload: &Workload<'_>) -> Option<&'static str> {
    let containers = workload.containers();
    let images = containers.iter().filter_map(|(_, c)| c["image"].as_str());
    images.chain(workload.words()).find_map(|text| {
        let text = text.to_ascii_lowercase();
        let found = RESERVING.iter().find(|(part, _)| text.contains(part));
        found.map(|(_, name)| *name)
    })
}

fn memory(cx: &mut Context<'_>, trigger: &Trigger<'_>, used: &Use<'_>, all: &[Trigger<'_>]) {
    let by_workload = cx.workload(trigger.scaled).and_then(reserving);
    let by_series = || {
        let beside = own(all, trigger.scaled).iter();
        let names = beside.filter_map(Trigger::read).flat_map(|q| {
            let names = q.uses().into_iter().map(|u| u.name.to_owned());
            names.collect::<Vec<_>>()
        });
        let mut names = names;
        names.find_map(|name| match name.split_once([':', '_'])?.0 {
            "vllm" => Some("vLLM"),
            "sglang" => Some("SGLang"),
            "tgi" => Some("TGI"),
            _ => None,
        })
    };
    let engine = by_workload.or_else(by_series);
    let object = &trigger.scaled.object;
    let at = cx.part(trigger, used.range);
    keeps_memory(cx, object, at, used.name, engine);
}

/// `memory-as-load` about a series and the engine that shows it, if known.
pub(super) fn keeps_memory(
    cx: &mut Context<'_>,
    object: &Object<'_>,
    at: Span,
    name: &str,
    engine: Option<&str>,
) {
    let (severity, message) = match engine {
        Some(engine) => (
            Severity::Warning,
            format!(
                "`{}` is no load: {engine} reserves GPU memory when it starts and keeps it, so \
                 the value is the same idle and busy, and replicas are never taken away",
                name
            ),
        ),
        None => (
            Severity::Note,
            format!(
                "`{}` is a load only where memory follows the work; engines that reserve it at \
                 start (vLLM, TGI, SGLang, TensorFlow) show the same idle and busy",
                name
            ),
        ),
    };
    cx.report(
        ("memory-as-load", severity),
        object,
        at,
        message,
        "Scale on waiting or running requests, or on the engine's KV-cache share with metricType \
         Value.",
    );
}

/// How the pod shares its GPU, where it says so.
pub(super) fn sharing(workload: &Workload<'_>) -> Option<(String, bool)> {
    let asked = workload.pod.requests.extended.keys();
    for name in asked {
        if name.starts_with("nvidia.com/mig-") {
            return Some((format!("{name} is a slice of a GPU"), true));
        }
        if &**name == "nvidia.com/gpu.shared" {
            return Some((format!("{name} is a GPU shared in time"), false));
        }
    }
    workload.pod.node_selector.iter().find_map(|(key, value)| {
        let said = format!("nodeSelector {key}: {value}");
        match key.as_str() {
            "nvidia.com/gpu.sharing-strategy" if value != "none" => Some((said, false)),
            "nvidia.com/gpu.product" if value.ends_with("-SHARED") => Some((said, false)),
            "nvidia.com/gpu.product" if value.contains("-MIG-") => Some((said, true)),
            "nvidia.com/mig.config" | "nvidia.com/mig.strategy" if value != "all-disabled" => {
                Some((said, true))
            }
            _ => None,
        }
    })
}

fn shared(cx: &mut Context<'_>, trigger: &Trigger<'_>, first: &Use<'_>, uses: &[Use<'_>]) {
    let by_query = uses.iter().find(|u| {
        u.matchers
            .iter()
            .any(|m| matches!(m.name.as_str(), "GPU_I_ID" | "GPU_I_PROFILE") && !m.matches(""))
    });
    let found = match by_query {
        Some(_) => Some(("the query selects a MIG slice".to_owned(), true)),
        None => cx.workload(trigger.scaled).and_then(sharing),
    };
    let Some((how, mig)) = found else {
        return;
    };
    // A MIG slice has its own engine activity and memory.
    let used = match mig {
        true => uses.iter().find(|u| u.metric.whole_device),
        false => Some(first),
    };
    let Some(used) = used else { return };
    let at = cx.part(trigger, used.range);
    shares(cx, &trigger.scaled.object, at, used.name, &how, mig);
}

/// `shared-gpu` about a series of a whole device: `how` it is shared, and
/// whether in slices.
pub(super) fn shares(
    cx: &mut Context<'_>,
    object: &Object<'_>,
    at: Span,
    name: &str,
    how: &str,
    mig: bool,
) {
    let (why, fix) = match mig {
        true => (
            "it is measured for the whole GPU (GPU_UTIL not at all while MIG is on)",
            "On MIG take DCGM_FI_PROF_GR_ENGINE_ACTIVE, which each slice has, or a signal of the \
             server.",
        ),
        false => (
            "it is measured for the whole GPU, so every pod on it shows the load of all of them",
            "Take a signal of the server itself, such as its queue.",
        ),
    };
    cx.report(
        ("shared-gpu", Severity::Warning),
        object,
        at,
        format!("`{name}` does not tell this workload's part: {how}, and {why}"),
        fix,
    );
}
