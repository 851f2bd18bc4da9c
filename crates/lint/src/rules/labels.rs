//! Rules over the labels and names that an exporter and a scrape give.

use promql::labels::{METRIC_NAME, Matcher};

use super::{Context, Trigger};
use crate::Exporter;
use crate::arithmetic::show;
use crate::finding::Severity;
use crate::metrics::{self, Origin};
use crate::model::endpoints;
use crate::query::Use;

/// Labels of a GPU's series on the page of dcgm-exporter, the workload's apart.
const DEVICE: &[&str] = &[
    "gpu",
    "UUID",
    "uuid",
    "pci_bus_id",
    "device",
    "modelName",
    "GPU_I_PROFILE",
    "GPU_I_ID",
    "Hostname",
    "hostname",
    "DCGM_FI_DRIVER_VERSION",
    "DCGM_FI_SYSTEM_DRIVER_VERSION",
    "err_code",
    "err_msg",
    "window_size_in_ms",
    "hpc_job",
    "vgpu",
    "pod_uid",
    "nvlink",
    "nvswitch",
];

/// Labels that scrapes and stores add.
const SCRAPE: &[&str] = &[
    "instance",
    "job",
    "service",
    "endpoint",
    "cluster",
    "cluster_name",
    "k8s_cluster",
    "cluster_id",
    "node",
    "nodename",
    "node_name",
    "kubernetes_node",
    "region",
    "zone",
    "location",
    "project_id",
    "env",
    "environment",
    "stage",
    "tenant",
    "tenant_id",
    "replica",
    "prometheus",
    "prometheus_replica",
    "metrics_path",
    "scheme",
    "kubernetes_io_os",
    "microsoft_resourceid",
    "microsoft_resourcegroup",
    "instance_type",
    METRIC_NAME,
    "__type__",
    "__unit__",
];

/// Labels with which dcgm-exporter says for whom a GPU works.
const WORKLOAD: &[&str] = &["pod", "namespace", "container"];

/// Labels of the pod's owner on Rheostat's page.
const OWNER: &[&str] = &[
    "deployment",
    "statefulset",
    "daemonset",
    "workload_kind",
    "workload_name",
];

pub(super) fn check(cx: &mut Context<'_>, triggers: &[Trigger<'_>]) {
    let added = labels_added(cx);
    for trigger in triggers {
        let Some(query) = trigger.read() else {
            continue;
        };
        for used in query.uses() {
            if used.metric.origin != Origin::Dcgm {
                continue;
            }
            for matcher in used.matchers {
                label(cx, trigger, &used, matcher, &added);
            }
            renamed(cx, trigger, &used);
        }
    }
}

/// What the given monitors add by relabelling, and whether the exporter is told
/// to carry pod labels ("*").
fn labels_added(cx: &Context<'_>) -> Vec<String> {
    let mut added = Vec::new();
    for monitor in cx.model.gpu_monitors() {
        for (_, endpoint) in endpoints(monitor) {
            for list in ["relabelings", "metricRelabelings"] {
                let rules = endpoint[list].as_array().into_iter().flatten();
                added.extend(
                    rules
                        .filter_map(|r| r["targetLabel"].as_str())
                        .map(str::to_owned),
                );
            }
        }
        for list in ["podTargetLabels", "targetLabels"] {
            let labels = monitor.get(&format!("/spec/{list}")).as_array();
            let labels = labels.into_iter().flatten().filter_map(|l| l.as_str());
            added.extend(labels.map(str::to_owned));
        }
    }
    let pod_labels = cx.model.workloads.iter().any(|workload| {
        workload.containers().iter().any(|(_, container)| {
            let env = container["env"].as_array().into_iter().flatten();
            env.into_iter().any(|e| {
                e["name"] == "DCGM_EXPORTER_KUBERNETES_ENABLE_POD_LABELS" && e["value"] == "true"
            })
        }) || workload.words().contains(&"--kubernetes-enable-pod-labels")
    });
    if pod_labels {
        added.push("*".to_owned());
    }
    added
}

fn label(
    cx: &mut Context<'_>,
    trigger: &Trigger<'_>,
    used: &Use<'_>,
    matcher: &Matcher,
    added: &[String],
) {
    let name = matcher.name.as_str();
    // A matcher that takes the empty text takes series without the label.
    if matcher.matches("") || added.iter().any(|a| a == name || a == "*") {
        return;
    }
    let honors = cx.honor_labels();
    let owners = cx.exporter() == Exporter::Rheostat;
    let bare = name.strip_prefix("exported_").unwrap_or(name);
    let carried = DEVICE.contains(&name)
        || SCRAPE.contains(&name)
        || (owners && OWNER.contains(&name))
        || name.starts_with("DCGM_FI_");
    if carried {
        return;
    }
    let (severity, why, better) = if WORKLOAD.contains(&bare) {
        match (name == bare, honors) {
            (true, true) | (false, false) => return,
            (false, true) => (
                Severity::Error,
                format!("a scrape that keeps the exporter's labels leaves `{bare}` as it is"),
                bare.to_owned(),
            ),
            (true, false) => {
                if of_the_exporter(matcher) {
                    return;
                }
                let severity = match name {
                    "namespace" => Severity::Warning,
                    _ => Severity::Error,
                };
                (
                    severity,
                    format!(
                        "here `{name}` is the exporter's own; the workload's arrives as \
                         `exported_{name}`"
                    ),
                    format!("exported_{name}"),
                )
            }
        }
    } else {
        let pod = if honors { "pod" } else { "exported_pod" };
        (
            Severity::Error,
            format!("the exporter emits no label `{name}`"),
            pod.to_owned(),
        )
    };
    let object = &trigger.scaled.object;
    let at = cx.part(trigger, matcher_range(trigger, used, matcher));
    let assumed = cx.assumed_scrape();
    let target = &trigger.scaled.spec.spec.scale_target_ref.name;
    let good = match WORKLOAD.contains(&bare) {
        true => {
            let mut wanted = matcher.to_string();
            wanted.replace_range(..name.len(), &better);
            wanted
        }
        false => format!("{better}=~\"{target}-.*\""),
    };
    let mut fix = format!("Select by `{good}`");
    if !owners && OWNER.contains(&name) {
        fix.push_str(
            ", or serve the page with `rheostat exporter`, which carries the owner's labels",
        );
    }
    fix.push('.');
    let finding = cx.report(
        ("label-not-exported", severity),
        object,
        at,
        format!("`{matcher}` matches nothing: {why}"),
        fix,
    );
    finding.assumptions.push(assumed);
}

/// Whether the pattern means the exporter's own pods.
fn of_the_exporter(matcher: &Matcher) -> bool {
    let names: &[&str] = match matcher.name.as_str() {
        "pod" => &["nvidia-dcgm-exporter-x7k2p", "dcgm-exporter-x7k2p"],
        "container" => &["nvidia-dcgm-exporter", "dcgm-exporter", "exporter"],
        _ => &[
            "gpu-operator",
            "gpu-operator-resources",
            "kube-system",
            "monitoring",
            "gpu-resources",
            "dcgm-exporter",
            "nvidia-gpu-operator",
            "observability",
            "gmp-system",
        ],
    };
    names.iter().any(|name| matcher.matches(name))
}

/// Where a matcher stands in the query.
fn matcher_range(trigger: &Trigger<'_>, used: &Use<'_>, matcher: &Matcher) -> (usize, usize) {
    let (start, end) = used.range;
    let Some(text) = trigger.read().and_then(|q| q.text.get(start..end)) else {
        return used.range;
    };
    let inside = text.find('{').unwrap_or(0);
    let mut from = inside;
    while let Some(at) = text[from..].find(&matcher.name).map(|n| n + from) {
        let whole = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
        let after = &text[at + matcher.name.len()..];
        if whole(text[..at].chars().next_back()) && whole(after.chars().next()) {
            let value = after.find(&matcher.value).unwrap_or(0);
            let stop = at + matcher.name.len() + value + matcher.value.len() + 1;
            return (start + at, start + stop.min(text.len()));
        }
        from = at + matcher.name.len();
    }
    used.range
}

fn renamed(cx: &mut Context<'_>, trigger: &Trigger<'_>, used: &Use<'_>) {
    let Some((other, classic, scale)) = metrics::renamed(used.name) else {
        return;
    };
    let severity = match (cx.assume.exporter, classic) {
        (Some(Exporter::Dcgm49), true) | (Some(Exporter::Dcgm), false) => Severity::Warning,
        (None, _) => Severity::Note,
        _ => return,
    };
    let (from, to) = match classic {
        true => ("4.9 on", used.name),
        false => ("4.8 and before", used.name),
    };
    let mut message = format!("dcgm-exporter {from} has no `{to}`: it is called `{other}` there");
    let mut fix = format!("Query `{other}` where that version runs");
    if scale != 1.0 {
        let factor = if classic { scale } else { 1.0 / scale };
        message.push_str(&format!(", and its values are {} times these", factor));
        let threshold = trigger.target().map(|t| (t.value, t.value * factor));
        if let Some((now, then)) = threshold {
            message.push_str(&format!(
                "; threshold {} would be {} there",
                show(now),
                show(then)
            ));
            fix.push_str(&format!(", with threshold '{}'", show(then)));
        }
    }
    fix.push('.');
    let object = &trigger.scaled.object;
    let at = cx.part(trigger, (used.range.0, used.range.0 + used.name.len()));
    let assumed = cx.assumed_scrape();
    let finding = cx.report(("renamed-metric", severity), object, at, message, fix);
    finding.assumptions.push(assumed);
}
