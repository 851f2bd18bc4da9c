//! What a node of a pool offers: its labels, its capacity, its GPUs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Pool, PoolTaint};

/// What a node's labels say of the node itself.
#[derive(Clone, Copy, Debug)]
pub struct NodeName<'a> {
    /// Name of the node.
    pub name: &'a str,
    /// Resource group of the machines.
    pub resource_group: &'a str,
    /// Region.
    pub region: &'a str,
}

impl Pool {
    /// The resource and number of GPUs that the pool's device plugin reports.
    pub fn gpu_resource(&self) -> Option<(&'static str, u32)> {
        let resource = if self.gpu_model.starts_with("AMD") {
            "amd.com/gpu"
        } else {
            "nvidia.com/gpu"
        };
        (self.gpus > 0).then_some((resource, self.gpus))
    }

    /// Processor architecture of its nodes.
    pub fn architecture(&self) -> &'static str {
        if self.sku.contains("_GB200_") {
            "arm64"
        } else {
            "amd64"
        }
    }

    /// Labels of a node of the pool when everything has started on it, as AKS,
    /// its kubelet and the GPU feature discovery set them.
    pub fn node_labels(&self, node: &NodeName<'_>) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        let mut set = |key: &str, value: &str| {
            labels.insert(key.to_owned(), value.to_owned());
        };
        let arch = self.architecture();
        let sku = if self.sku.is_empty() {
            "custom"
        } else {
            &self.sku
        };
        let mode = if self.gpus == 0 { "system" } else { "user" };
        for key in ["agentpool", "kubernetes.azure.com/agentpool"] {
            set(key, &self.name);
        }
        for key in ["beta.kubernetes.io/arch", "kubernetes.io/arch"] {
            set(key, arch);
        }
        for key in ["beta.kubernetes.io/os", "kubernetes.io/os"] {
            set(key, "linux");
        }
        for key in [
            "beta.kubernetes.io/instance-type",
            "node.kubernetes.io/instance-type",
        ] {
            set(key, sku);
        }
        let regions = [
            "failure-domain.beta.kubernetes.io/region",
            "topology.kubernetes.io/region",
        ];
        for key in regions {
            set(key, node.region);
        }
        for key in [
            "failure-domain.beta.kubernetes.io/zone",
            "topology.kubernetes.io/zone",
        ] {
            set(key, "0");
        }
        set("kubernetes.io/hostname", node.name);
        for (key, value) in [
            ("cluster", node.resource_group),
            ("mode", mode),
            ("nodepool-type", "VirtualMachineScaleSets"),
            (
                "node-image-version",
                "AKSUbuntu-2204gen2containerd-202505.14.0",
            ),
            ("os-sku", "Ubuntu"),
            ("role", "agent"),
            ("sku-cpu", &self.cpus.to_string()),
            ("sku-memory", &(u64::from(self.memory) * 1024).to_string()),
            ("storageprofile", "managed"),
            ("storagetier", "Premium_LRS"),
        ] {
            set(&format!("kubernetes.azure.com/{key}"), value);
        }
        if let Some((resource, count)) = self.gpu_resource() {
            let nvidia = resource == "nvidia.com/gpu";
            set("accelerator", if nvidia { "nvidia" } else { "amd" });
            set(
                "kubernetes.azure.com/accelerator",
                if nvidia { "nvidia" } else { "amd" },
            );
            if nvidia {
                set("nvidia.com/gpu.present", "true");
                set("nvidia.com/gpu.product", &self.gpu_model.replace(' ', "-"));
                set("nvidia.com/gpu.count", &count.to_string());
                set(
                    "nvidia.com/gpu.memory",
                    &(u64::from(self.gpu_memory) * 1024).to_string(),
                );
            }
        }
        for (key, value) in &self.labels {
            set(key, value);
        }
        labels
    }

    /// A node of the pool when everything has started on it, as the scheduler
    /// sees it: labels, taints, what pods may use, GPUs included.
    pub fn node(&self, name: &NodeName<'_>) -> Value {
        let taint = |t: &PoolTaint| json!({"key": t.key, "value": t.value, "effect": t.effect});
        let taints: Vec<Value> = self.taints.iter().map(taint).collect();
        let mut amounts = self.node_amounts(true);
        if let Some((resource, count)) = self.gpu_resource() {
            amounts[resource] = json!(count.to_string());
        }
        json!({
            "metadata": {"name": name.name, "labels": self.node_labels(name)},
            "spec": {"taints": taints},
            "status": {
                "allocatable": amounts,
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        })
    }

    /// Capacity, or what pods may use of it after the reservations of AKS.
    pub fn node_amounts(&self, allocatable: bool) -> Value {
        let cpu = u64::from(self.cpus) * 1000;
        // The machine sees a little less than it is sold with.
        let memory = u64::from(self.memory) * 1024 * 1024 / 100 * 98;
        let disk = 129_886_128_u64;
        let (cpu, memory, disk) = if allocatable {
            let reserved = (20 * 110 + 50 + 100) * 1024;
            let memory = memory.saturating_sub(reserved.min(memory / 4));
            (
                cpu.saturating_sub(reserved_cpu(self.cpus)),
                memory,
                disk / 10 * 9,
            )
        } else {
            (cpu, memory, disk)
        };
        let cpu = if cpu % 1000 == 0 {
            (cpu / 1000).to_string()
        } else {
            format!("{cpu}m")
        };
        json!({
            "cpu": cpu, "memory": format!("{memory}Ki"), "ephemeral-storage": format!("{disk}Ki"),
            "hugepages-1Gi": "0", "hugepages-2Mi": "0", "pods": "110",
        })
    }
}

/// Millicores that AKS keeps for itself, by the size of the machine.
fn reserved_cpu(cpus: u32) -> u64 {
    match cpus {
        0..=1 => 60,
        2..=3 => 100,
        4..=7 => 140,
        8..=15 => 180,
        16..=31 => 260,
        32..=63 => 420,
        _ => 740,
    }
}
