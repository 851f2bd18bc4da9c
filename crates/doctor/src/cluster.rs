//! The links that a whole cluster shares: API server, KEDA's resources, GPU
//! nodes, device plugin, exporter and its pages.

use std::collections::BTreeSet;

use api::pool::SKUS;
use serde_json::Value;

use crate::seen::{ClusterSeen, Look};
use crate::{Link, State, count, some};

/// Node labels that clouds and NVIDIA's feature discovery set on GPU nodes.
const GPU_LABELS: &[&str] = &[
    "nvidia.com/gpu.present",
    "nvidia.com/gpu.count",
    "kubernetes.azure.com/accelerator",
    "cloud.google.com/gke-accelerator",
    "k8s.amazonaws.com/accelerator",
    "karpenter.k8s.aws/instance-gpu-count",
];

/// A node that has GPUs or should.
#[derive(Debug)]
pub(crate) struct GpuNode<'a> {
    pub(crate) name: &'a str,
    /// GPUs and slices that pods can have.
    pub(crate) gpus: i64,
    /// Why it is not ready; nothing when it is.
    not_ready: Option<String>,
    taints: Vec<String>,
}

/// The links of the cluster, in order. Where the API server is not reached,
/// there is only that one.
pub fn cluster(seen: &ClusterSeen) -> Vec<Link> {
    let server = server(seen);
    if server.state != State::Ok {
        return vec![server];
    }
    let mut links = vec![server, keda(seen)];
    match seen.nodes.unseen("GPU nodes", "Nodes") {
        Some(unseen) => links.push(unseen),
        None => {
            let nodes = gpu_nodes(seen);
            links.push(ready(&nodes));
            if !nodes.is_empty() {
                links.push(device_plugin(seen, &nodes));
                links.push(exporter(seen, &nodes));
                links.extend(pages(seen));
            }
        }
    }
    links
}

fn server(seen: &ClusterSeen) -> Link {
    const NAME: &str = "API server";
    let server = &seen.server;
    let rights = "Take a kubeconfig whose user and certificate are valid; `kubectl auth whoami` \
                  shows whom the server sees.";
    match &seen.version {
        Look::Got(version) => Link::ok(NAME, format!("Kubernetes {version} at {server}")),
        Look::Denied(message) => Link::broken(
            NAME,
            format!("{server} refuses this user: {message}"),
            rights,
        ),
        Look::Missing => Link::broken(
            NAME,
            format!("{server} answers, but has no /version: it is no Kubernetes API server"),
            "Give the kubeconfig of the cluster with --kubeconfig.",
        ),
        Look::Failed(why) if why.contains("401") || why.contains("Unauthorized") => {
            Link::broken(NAME, format!("{server} refuses this user: {why}"), rights)
        }
        Look::Failed(why) => Link::broken(
            NAME,
            format!("{server} cannot be reached: {why}"),
            certificate_cure(why).unwrap_or(
                "Check the server's address in the kubeconfig, the network (VPN, private cluster) \
                 and whether the cluster runs.",
            ),
        ),
    }
}

/// What to do about a server whose certificate is not taken; `why` is what
/// rustls said of it.
pub fn certificate_cure(why: &str) -> Option<&'static str> {
    let is = |text: &str| why.contains(text);
    if !is("invalid peer certificate") {
        None
    } else if is("expired") || is("not valid yet") {
        Some(
            "Renew the server's certificate, or set this machine's clock: one of the two is not \
             of today.",
        )
    } else if is("not valid for name") {
        Some(
            "Take the server's address that its certificate names, or give that name as \
             tls-server-name in the kubeconfig.",
        )
    } else if is("UnknownIssuer") || is("BadSignature") {
        Some(
            "The certificate is not of the authority in the kubeconfig: take a fresh kubeconfig \
             of this cluster, and see that no other server or proxy answers at its address.",
        )
    } else {
        Some("See which server answers at that address, and what certificate it has.")
    }
}

fn keda(seen: &ClusterSeen) -> Link {
    const NAME: &str = "KEDA resources";
    if let Some(unseen) = seen.keda.unseen(NAME, "The API group keda.sh") {
        return unseen;
    }
    let served = seen.keda.got().map_or(&[][..], Vec::as_slice);
    let missing: Vec<&str> = ["scaledobjects", "triggerauthentications"]
        .into_iter()
        .filter(|name| !served.iter().any(|s| s == name))
        .collect();
    if missing.is_empty() {
        return Link::ok(NAME, "keda.sh/v1alpha1 is served");
    }
    Link::broken(
        NAME,
        format!(
            "The API server knows no {} in keda.sh/v1alpha1",
            missing.join(" and ")
        ),
        "Install the operator; its CustomResourceDefinitions alone come with `rheostat crds | \
         kubectl apply --server-side -f -`.",
    )
}

/// The nodes that have GPUs or, by their labels or machine type, should.
pub(crate) fn gpu_nodes(seen: &ClusterSeen) -> Vec<GpuNode<'_>> {
    let nodes = seen.nodes.got().map_or(&[][..], Vec::as_slice);
    let gpus = |node: &Value| -> Option<i64> {
        let amounts = node["status"]["allocatable"].as_object()?;
        let all = amounts
            .iter()
            .filter(|(name, _)| is_gpu(name))
            .filter_map(|(_, n)| n.as_str()?.parse::<i64>().ok());
        Some(all.sum())
    };
    let one = |node| {
        let shown = gpus(node).unwrap_or(0);
        (shown > 0 || should_have(node)).then(|| GpuNode {
            name: text(&node["metadata"]["name"]),
            gpus: shown,
            not_ready: not_ready(node),
            taints: taints(node),
        })
    };
    nodes.iter().filter_map(one).collect()
}

/// Whether a resource is a GPU or a slice of one.
pub(crate) fn is_gpu(resource: &str) -> bool {
    resource.starts_with("nvidia.com/gpu") || resource.starts_with("nvidia.com/mig-")
}

fn should_have(node: &Value) -> bool {
    let labels = &node["metadata"]["labels"];
    let machine = text(&labels["node.kubernetes.io/instance-type"]);
    let nvidia = |label: &&str| match text(&labels[*label]) {
        "" | "false" | "0" | "amd" => false,
        other => !other.starts_with("tpu"),
    };
    GPU_LABELS.iter().any(nvidia)
        || SKUS
            .iter()
            .any(|sku| sku.name == machine && sku.gpus > 0 && !sku.gpu_model.starts_with("AMD"))
}

fn not_ready(node: &Value) -> Option<String> {
    let conditions = node["status"]["conditions"].as_array();
    let ready = conditions.and_then(|all| all.iter().find(|c| c["type"] == "Ready"));
    match ready {
        Some(ready) if ready["status"] == "True" => None,
        Some(ready) => Some(match text(&ready["message"]) {
            "" => text(&ready["reason"]).to_owned(),
            message => message.to_owned(),
        }),
        None => Some("its kubelet has not reported yet".to_owned()),
    }
}

fn taints(node: &Value) -> Vec<String> {
    let all = node["spec"]["taints"].as_array().into_iter().flatten();
    all.filter(|taint| !text(&taint["key"]).starts_with("node.kubernetes.io/"))
        .map(|taint| {
            let (key, effect) = (text(&taint["key"]), text(&taint["effect"]));
            match text(&taint["value"]) {
                "" => format!("{key}:{effect}"),
                value => format!("{key}={value}:{effect}"),
            }
        })
        .collect()
}

fn ready(nodes: &[GpuNode<'_>]) -> Link {
    const NAME: &str = "GPU nodes";
    let down: Vec<&GpuNode<'_>> = nodes.iter().filter(|n| n.not_ready.is_some()).collect();
    let names = some(down.iter().map(|n| n.name));
    let first = down.first().and_then(|n| n.not_ready.as_deref());
    match (nodes.len(), down.len()) {
        (0, _) => Link::skipped(
            NAME,
            "No node has GPUs now, as with a pool that is at zero; the links of a GPU node are \
             left out",
        ),
        (all, 0) => {
            let taints: BTreeSet<&str> = nodes
                .iter()
                .flat_map(|n| n.taints.iter().map(String::as_str))
                .collect();
            let taints = match taints.is_empty() {
                true => String::new(),
                false => format!(
                    ", tainted {}",
                    taints.into_iter().collect::<Vec<_>>().join(" ")
                ),
            };
            Link::ok(NAME, format!("{} ready{taints}", count(all, "GPU node")))
        }
        (all, n) if all == n => Link::broken(
            NAME,
            format!(
                "No GPU node is ready: {names} ({})",
                first.unwrap_or_default()
            ),
            "A new node needs some minutes. One that stays so: kubectl describe node, then the \
             kubelet's log on it, or delete the machine so that the pool makes another.",
        ),
        (all, n) => Link::ok(
            NAME,
            format!(
                "{} of {all} GPU nodes ready; not {names} ({})",
                all - n,
                first.unwrap_or_default()
            ),
        ),
    }
}

fn device_plugin(seen: &ClusterSeen, nodes: &[GpuNode<'_>]) -> Link {
    const NAME: &str = "device plugin";
    let ready: Vec<&GpuNode<'_>> = nodes.iter().filter(|n| n.not_ready.is_none()).collect();
    let without: Vec<&GpuNode<'_>> = ready.iter().copied().filter(|n| n.gpus == 0).collect();
    let Some(first) = without.first() else {
        let gpus: i64 = ready.iter().map(|n| n.gpus).sum();
        return match ready.is_empty() {
            true => Link::skipped(NAME, "No GPU node is ready"),
            false => Link::ok(
                NAME,
                format!("{gpus} GPUs can be had on {}", count(ready.len(), "node")),
            ),
        };
    };
    let finding = format!(
        "{} ready and {} no nvidia.com/gpu in allocatable",
        some(without.iter().map(|n| n.name)),
        if without.len() == 1 { "shows" } else { "show" }
    );
    let tolerate = match first.taints.is_empty() {
        true => String::new(),
        false => format!(
            " Its pods must tolerate the node's taint {}.",
            first.taints.join(" and ")
        ),
    };
    let cure = match daemon_sets(seen, &["device-plugin"]).first() {
        Some(set) => format!(
            "Look at the device plugin's DaemonSet {}: {}.{tolerate} Then at its log for the \
             driver; a node that has just come needs a minute.",
            place(set),
            pods_of(set)
        ),
        None => format!(
            "Install NVIDIA's device plugin or GPU operator: no DaemonSet here looks like it.\
             {tolerate} Then the driver must be on the node."
        ),
    };
    Link::broken(NAME, finding, cure)
}

/// DaemonSets whose name or image has one of these parts.
pub(crate) fn daemon_sets<'a>(seen: &'a ClusterSeen, parts: &[&str]) -> Vec<&'a Value> {
    let all = seen.daemon_sets.got().map_or(&[][..], Vec::as_slice);
    let is = |set: &&Value| {
        let spec = &set["spec"]["template"]["spec"];
        let containers = spec["containers"].as_array().into_iter().flatten();
        let mut words: Vec<&str> = containers.map(|c| text(&c["image"])).collect();
        words.push(text(&set["metadata"]["name"]));
        // The device plugin of another vendor is none of ours.
        let nvidia = |word: &str| !word.contains("amd") && !word.contains("intel");
        words
            .iter()
            .any(|word| nvidia(word) && parts.iter().any(|part| word.contains(part)))
    };
    all.iter().filter(is).collect()
}

/// DaemonSets that serve GPU series: dcgm-exporter and our own.
pub fn exporters(seen: &ClusterSeen) -> Vec<&Value> {
    daemon_sets(seen, &["dcgm-exporter", "rheostat-exporter"])
}

fn place(object: &Value) -> String {
    let meta = &object["metadata"];
    format!("{}/{}", text(&meta["namespace"]), text(&meta["name"]))
}

fn pods_of(set: &Value) -> String {
    let status = &set["status"];
    let number = |field: &str| status[field].as_i64().unwrap_or(0);
    format!(
        "{} of {} pods ready",
        number("numberReady"),
        number("desiredNumberScheduled")
    )
}

fn exporter(seen: &ClusterSeen, nodes: &[GpuNode<'_>]) -> Link {
    const NAME: &str = "exporter";
    if let Some(unseen) = seen.daemon_sets.unseen(NAME, "DaemonSets") {
        return unseen;
    }
    let sets = exporters(seen);
    if sets.is_empty() {
        return Link::skipped(
            NAME,
            "No DaemonSet looks like dcgm-exporter or rheostat exporter; it may run on the nodes \
             themselves, which the scrape shows",
        );
    }
    let number = |field: &str| -> i64 {
        let all = sets.iter().map(|set| set["status"][field].as_i64());
        all.flatten().sum()
    };
    let (desired, ready) = (number("desiredNumberScheduled"), number("numberReady"));
    let serving = nodes.iter().filter(|n| n.gpus > 0).count();
    let names: Vec<String> = sets.iter().map(|set| place(set)).collect();
    let names = some(names.iter().map(String::as_str));
    if ready < desired {
        return Link::broken(
            NAME,
            format!("{names}: {ready} of {desired} pods ready"),
            format!(
                "kubectl describe the pods that are not ready and read their log: {}.",
                "dcgm-exporter restarts where it finds no driver or is killed for memory"
            ),
        );
    }
    if desired < i64::try_from(serving).unwrap_or(i64::MAX) {
        let taints: Vec<&str> = nodes
            .iter()
            .flat_map(|n| n.taints.iter().map(String::as_str))
            .collect();
        return Link::broken(
            NAME,
            format!("{names} wants {desired} pods for {serving} nodes with GPUs"),
            format!(
                "Its nodeSelector and tolerations must take all GPU nodes{}.",
                match taints.first() {
                    Some(taint) => format!("; their taint is {taint}"),
                    None => String::new(),
                }
            ),
        );
    }
    Link::ok(NAME, format!("{names}: {ready} of {desired} pods ready"))
}

fn pages(seen: &ClusterSeen) -> Option<Link> {
    const NAME: &str = "exporter's page";
    let first = seen.pages.first()?;
    for page in &seen.pages {
        let pod = &page.pod;
        if let Some(unseen) = page.text.unseen(NAME, &format!("The page of {pod}")) {
            return Some(match page.text {
                Look::Denied(_) => unseen,
                _ => Link::broken(
                    NAME,
                    unseen.finding,
                    "Read the pod's log; nothing that scrapes it gets more than this.",
                ),
            });
        }
        let has = |text: &String| series_names(text).iter().any(|n| n.starts_with("DCGM_"));
        if !page.text.got().is_some_and(has) {
            return Some(Link::broken(
                NAME,
                format!("The page of {pod} has no GPU series"),
                "Read the pod's log: without a working driver or profiling rights, DCGM gives \
                 nothing and the page is empty.",
            ));
        }
    }
    let names = first.text.got().map_or(0, |text| series_names(text).len());
    let of = seen.pages.len();
    Some(Link::ok(
        NAME,
        format!(
            "{} read; {} has {names} kinds of series",
            count(of, "page"),
            first.pod
        ),
    ))
}

/// Names of the series on a page in the text format.
pub(crate) fn series_names(page: &str) -> BTreeSet<&str> {
    page.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .filter(|name| !name.is_empty())
        .collect()
}

/// The text of a field, "" where it is none.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
