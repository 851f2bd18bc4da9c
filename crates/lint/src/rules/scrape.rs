//! Which labels a GPU's series carries once it is stored: the exporter's, what
//! a scrape does to them, and what the monitors among the documents add, rename
//! and drop.

use std::collections::BTreeSet;

use promql::labels::{METRIC_NAME, anchored_regex};
use serde_json::Value;

use super::Context;
use crate::Exporter;
use crate::metrics::OWNER;
use crate::model::{Object, Workload, endpoints};

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
pub(super) const WORKLOAD: &[&str] = &["pod", "namespace", "container"];

/// The labels of one scrape's series.
#[derive(Clone, Debug)]
struct Labels {
    /// By name.
    names: BTreeSet<String>,
    /// Those of them that speak of the workload, not of the exporter's pod.
    of_workload: BTreeSet<String>,
    /// Whether there are more whose names manifests do not tell.
    open: bool,
}

/// The labels of every scrape that may serve the GPU series.
pub(super) struct Scrapes {
    all: Vec<Labels>,
    /// Whether the exporter is told to copy its pods' own labels.
    pod_labels: bool,
}

/// What is to be said of a label that a query selects by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carried {
    /// It is there, or may be.
    Yes,
    /// It is there and speaks of the exporter's own pod.
    OfTheExporter,
    /// A relabelling rule of the monitor takes it away.
    Dropped,
    /// The exporter copies pod labels and the workload's pods have none of
    /// that name.
    NotOnThePod,
    /// Nothing emits it.
    No,
}

impl Scrapes {
    /// Reads the monitors and the exporter among the documents.
    pub fn of(cx: &Context<'_>) -> Self {
        let given = cx.assume.honor_labels;
        let mut all: Vec<Labels> = Vec::new();
        for monitor in &cx.model.gpu_monitors {
            for (_, endpoint) in endpoints(monitor) {
                let honors = given.unwrap_or(endpoint["honorLabels"] == true);
                let mut labels = Labels::on_the_page(cx.exporter(), honors);
                labels.of_monitor(monitor, endpoint);
                all.push(labels);
            }
        }
        if all.is_empty() {
            all.push(Labels::on_the_page(cx.exporter(), cx.honor_labels()));
        }
        let pod_labels = cx.model.workloads.iter().any(copies_pod_labels);
        Self { all, pod_labels }
    }

    /// Whether the series of a workload carry a label.
    pub fn carry(&self, name: &str, workload: Option<&Workload<'_>>) -> Carried {
        let any = |f: fn(&Labels, &str) -> bool| self.all.iter().any(|labels| f(labels, name));
        let bare = name.strip_prefix("exported_").unwrap_or(name);
        let about_pods = WORKLOAD.contains(&bare);
        if any(|l, n| l.of_workload.contains(n)) {
            return Carried::Yes;
        }
        if any(|l, n| l.names.contains(n)) {
            return match about_pods {
                true => Carried::OfTheExporter,
                false => Carried::Yes,
            };
        }
        if !about_pods && (any(|l, _| l.open) || name.starts_with("DCGM_FI_")) {
            return Carried::Yes;
        }
        if !about_pods && self.pod_labels {
            return match workload {
                Some(workload) if !on_the_pod(workload, name) => Carried::NotOnThePod,
                _ => Carried::Yes,
            };
        }
        let usual = DEVICE.contains(&name) || SCRAPE.contains(&name);
        match usual {
            true => Carried::Dropped,
            false => Carried::No,
        }
    }

    /// The label that names the workload's pod.
    pub fn pod(&self) -> &'static str {
        let of_pods = |name: &str| self.all.iter().all(|l| l.of_workload.contains(name));
        match of_pods("pod") {
            true => "pod",
            false => "exported_pod",
        }
    }
}

impl Labels {
    fn on_the_page(exporter: Exporter, honors: bool) -> Self {
        let own = |names: &[&str]| -> BTreeSet<String> {
            names.iter().map(|n| (*n).to_owned()).collect()
        };
        let mut of_workload = match honors {
            true => own(WORKLOAD),
            false => own(&["exported_pod", "exported_namespace", "exported_container"]),
        };
        if exporter == Exporter::Rheostat {
            of_workload.extend(own(OWNER));
        }
        let mut names = own(DEVICE);
        names.extend(own(SCRAPE));
        names.extend(own(WORKLOAD));
        names.extend(of_workload.iter().cloned());
        Self {
            names,
            of_workload,
            open: false,
        }
    }

    fn of_monitor(&mut self, monitor: &Object<'_>, endpoint: &Value) {
        for list in ["podTargetLabels", "targetLabels"] {
            let labels = monitor.get(&format!("/spec/{list}")).as_array();
            let labels = labels.into_iter().flatten().filter_map(Value::as_str);
            self.names.extend(labels.map(sanitised));
        }
        for list in ["relabelings", "metricRelabelings"] {
            for rule in endpoint[list].as_array().into_iter().flatten() {
                self.relabel(rule);
            }
        }
    }

    /// What one relabelling rule does to the names.
    fn relabel(&mut self, rule: &Value) {
        let text = |key: &str| rule[key].as_str();
        let action = text("action").unwrap_or("replace").to_ascii_lowercase();
        let pattern = anchored_regex(text("regex").unwrap_or("(.*)"));
        let replacement = text("replacement").unwrap_or("$1");
        match action.as_str() {
            "labelmap" => {
                let Ok(pattern) = pattern else { return };
                // Meta labels (`__meta_kubernetes_pod_label_…`) are known to
                // the scrape only.
                self.open |= text("regex").unwrap_or("").contains("__meta_");
                for (names, into) in [(self.names.clone(), 0), (self.of_workload.clone(), 1)] {
                    let mapped = names
                        .iter()
                        .filter(|name| pattern.is_match(name))
                        .map(|name| pattern.replace(name, replacement).into_owned());
                    match into {
                        0 => self.names.extend(mapped),
                        _ => self.of_workload.extend(mapped),
                    }
                }
            }
            "labeldrop" | "labelkeep" => {
                let Ok(pattern) = pattern else { return };
                let keeps = action == "labelkeep";
                self.names.retain(|name| pattern.is_match(name) == keeps);
                self.of_workload
                    .retain(|name| pattern.is_match(name) == keeps);
            }
            "replace" | "lowercase" | "uppercase" | "hashmod" => {
                let Some(target) = text("targetLabel") else {
                    return;
                };
                if target.contains('$') {
                    self.open = true;
                    return;
                }
                if replacement.is_empty() && action == "replace" {
                    self.names.remove(target);
                    self.of_workload.remove(target);
                    return;
                }
                let sources = rule["sourceLabels"].as_array().into_iter().flatten();
                let mut sources = sources.filter_map(Value::as_str);
                if sources.any(|source| self.of_workload.contains(source)) {
                    self.of_workload.insert(target.to_owned());
                }
                self.names.insert(target.to_owned());
            }
            // The others keep or drop whole targets and samples.
            _ => {}
        }
    }
}

/// A Kubernetes label's key as a Prometheus label.
fn sanitised(key: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    key.chars().map(plain).collect()
}

fn on_the_pod(workload: &Workload<'_>, name: &str) -> bool {
    workload.pod.labels.keys().any(|key| sanitised(key) == name)
}

/// Whether a workload is an exporter that copies its pods' labels.
fn copies_pod_labels(workload: &Workload<'_>) -> bool {
    const FLAG: &str = "--kubernetes-enable-pod-labels";
    let by_env = workload.containers().iter().any(|(_, container)| {
        let env = container["env"].as_array().into_iter().flatten();
        env.into_iter().any(|e| {
            e["name"] == "DCGM_EXPORTER_KUBERNETES_ENABLE_POD_LABELS" && e["value"] == "true"
        })
    });
    let says = |word: &&str| *word == FLAG || *word == format!("{FLAG}=true");
    by_env || workload.words().iter().any(says)
}
