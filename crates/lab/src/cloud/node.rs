//! What the Node objects of the simulated cloud look like.

use api::pool::Pool;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Taint of a node that has not said Ready yet.
pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";

const SUBSCRIPTION: &str = "00000000-0000-0000-0000-000000000000";

/// Which machine a node is.
pub(super) struct Identity<'a> {
    pub name: &'a str,
    pub group: &'a str,
    pub number: u32,
    pub address: u32,
    pub seed: u64,
    pub kubelet: &'a str,
    pub region: &'a str,
    pub now: Timestamp,
}

/// The scale set of a pool: `aks-<pool>-<8 digits>-vmss`.
pub fn group_name(pool: &str, seed: u64) -> String {
    let digits = 10_000_000 + draw(seed, &format!("group/{pool}")) % 90_000_000;
    format!("aks-{pool}-{digits}-vmss")
}

/// The machine's number in base 36, six digits.
pub(super) fn machine_name(group: &str, number: u32) -> String {
    let mut digits = [b'0'; 6];
    let mut rest = number;
    for slot in digits.iter_mut().rev() {
        let digit = u8::try_from(rest % 36).unwrap_or(0);
        *slot = if digit < 10 {
            b'0' + digit
        } else {
            b'a' + digit - 10
        };
        rest /= 36;
    }
    format!("{group}{}", String::from_utf8_lossy(&digits))
}

/// A number that depends on the seed and on what it is for.
pub(super) fn draw(seed: u64, purpose: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for byte in purpose.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // The last bytes alone would differ in the low bits only.
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// The resource and number of GPUs that the pool's device plugin reports.
pub(super) fn gpu_resource(pool: &Pool) -> Option<(&'static str, u32)> {
    let resource = if pool.gpu_model.starts_with("AMD") {
        "amd.com/gpu"
    } else {
        "nvidia.com/gpu"
    };
    (pool.gpus > 0).then_some((resource, pool.gpus))
}

/// The node as its kubelet registers it: not Ready, without GPUs.
pub(super) fn registering(pool: &Pool, id: &Identity<'_>) -> Value {
    let mut taints: Vec<Value> = pool
        .taints
        .iter()
        .map(|t| {
            if t.value.is_empty() {
                json!({"key": t.key, "effect": t.effect})
            } else {
                json!({"key": t.key, "value": t.value, "effect": t.effect})
            }
        })
        .collect();
    taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
    let group = id.group;
    let provider = format!(
        "azure:///subscriptions/{SUBSCRIPTION}/resourceGroups/{}/providers/Microsoft.Compute/\
         virtualMachineScaleSets/{group}/virtualMachines/{}",
        resource_group(id),
        id.number
    );
    let pods = format!(
        "10.{}.{}.0/24",
        244 + (id.address >> 8) % 11,
        id.address & 0xff
    );
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": id.name,
            "labels": labels(pool, id),
            "annotations": {
                "node.alpha.kubernetes.io/ttl": "0",
                "volumes.kubernetes.io/controller-managed-attach-detach": "true",
            },
        },
        "spec": {
            "podCIDR": pods, "podCIDRs": [pods], "providerID": provider, "taints": taints,
        },
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": address(id.address)},
                {"type": "Hostname", "address": id.name},
            ],
            "capacity": amounts(pool, false),
            "allocatable": amounts(pool, true),
            "conditions": conditions(id.now, false),
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": {
                "architecture": architecture(pool), "operatingSystem": "linux",
                "bootID": uuid(id, "boot"), "machineID": uuid(id, "machine").replace('-', ""),
                "systemUUID": uuid(id, "system"), "kernelVersion": "5.15.0-1089-azure",
                "osImage": "Ubuntu 22.04.5 LTS",
                "containerRuntimeVersion": "containerd://1.7.27-1",
                "kubeletVersion": id.kubelet, "kubeProxyVersion": "",
            },
        },
    })
}

/// The same node when everything has started, as new ones will be in the end.
pub(super) fn finished(pool: &Pool, node: &Value) -> Value {
    let mut node = node.clone();
    if let Some(taints) = node["spec"]["taints"].as_array_mut() {
        taints.retain(|t| t["key"] != NOT_READY);
    }
    node["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
    if let Some((resource, count)) = gpu_resource(pool) {
        node["status"]["capacity"][resource] = json!(count.to_string());
        node["status"]["allocatable"][resource] = json!(count.to_string());
    }
    node
}

/// The kubelet's conditions.
pub(super) fn conditions(now: Timestamp, ready: bool) -> Value {
    let now = Timestamp::from_second(now.as_second())
        .unwrap_or(now)
        .to_string();
    let one = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        })
    };
    let (status, reason, message) = if ready {
        ("True", "KubeletReady", "kubelet is posting ready status")
    } else {
        let why = "container runtime network not ready: NetworkReady=false \
                   reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin \
                   not initialized";
        ("False", "KubeletNotReady", why)
    };
    json!([
        one(
            "MemoryPressure",
            "False",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available"
        ),
        one(
            "DiskPressure",
            "False",
            "KubeletHasNoDiskPressure",
            "kubelet has no disk pressure"
        ),
        one(
            "PIDPressure",
            "False",
            "KubeletHasSufficientPID",
            "kubelet has sufficient PID available"
        ),
        one("Ready", status, reason, message),
    ])
}

fn labels(pool: &Pool, id: &Identity<'_>) -> Value {
    let mut labels = Map::new();
    let mut set = |key: &str, value: &str| {
        labels.insert(key.to_owned(), json!(value));
    };
    let arch = architecture(pool);
    let sku = if pool.sku.is_empty() {
        "custom"
    } else {
        &pool.sku
    };
    let mode = if pool.gpus == 0 { "system" } else { "user" };
    for key in ["agentpool", "kubernetes.azure.com/agentpool"] {
        set(key, &pool.name);
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
        set(key, id.region);
    }
    for key in [
        "failure-domain.beta.kubernetes.io/zone",
        "topology.kubernetes.io/zone",
    ] {
        set(key, "0");
    }
    set("kubernetes.io/hostname", id.name);
    for (key, value) in [
        ("cluster", resource_group(id).as_str()),
        ("mode", mode),
        ("nodepool-type", "VirtualMachineScaleSets"),
        (
            "node-image-version",
            "AKSUbuntu-2204gen2containerd-202505.14.0",
        ),
        ("os-sku", "Ubuntu"),
        ("role", "agent"),
        ("sku-cpu", &pool.cpus.to_string()),
        ("sku-memory", &(u64::from(pool.memory) * 1024).to_string()),
        ("storageprofile", "managed"),
        ("storagetier", "Premium_LRS"),
    ] {
        set(&format!("kubernetes.azure.com/{key}"), value);
    }
    if let Some((resource, count)) = gpu_resource(pool) {
        let nvidia = resource == "nvidia.com/gpu";
        set("accelerator", if nvidia { "nvidia" } else { "amd" });
        set(
            "kubernetes.azure.com/accelerator",
            if nvidia { "nvidia" } else { "amd" },
        );
        if nvidia {
            set("nvidia.com/gpu.present", "true");
            set("nvidia.com/gpu.product", &pool.gpu_model.replace(' ', "-"));
            set("nvidia.com/gpu.count", &count.to_string());
            set(
                "nvidia.com/gpu.memory",
                &(u64::from(pool.gpu_memory) * 1024).to_string(),
            );
        }
    }
    for (key, value) in &pool.labels {
        set(key, value);
    }
    Value::Object(labels)
}

/// Capacity, or what pods may use of it after the reservations of AKS.
fn amounts(pool: &Pool, allocatable: bool) -> Value {
    let cpu = u64::from(pool.cpus) * 1000;
    // The machine sees a little less than it is sold with.
    let memory = u64::from(pool.memory) * 1024 * 1024 / 100 * 98;
    let disk = 129_886_128_u64;
    let (cpu, memory, disk) = if allocatable {
        let reserved = (20 * 110 + 50 + 100) * 1024;
        let memory = memory.saturating_sub(reserved.min(memory / 4));
        (
            cpu.saturating_sub(reserved_cpu(pool.cpus)),
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

fn architecture(pool: &Pool) -> &'static str {
    if pool.sku.contains("_GB200_") {
        "arm64"
    } else {
        "amd64"
    }
}

fn address(number: u32) -> String {
    format!("10.224.{}.{}", number / 250, 4 + number % 250)
}

fn resource_group(id: &Identity<'_>) -> String {
    format!("mc_rheostat_lab_{}", id.region)
}

fn uuid(id: &Identity<'_>, what: &str) -> String {
    let high = draw(id.seed, &format!("{what}/{}/1", id.name));
    let low = draw(id.seed, &format!("{what}/{}/2", id.name));
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | (low >> 48) & 0x3fff,
        low & 0xffff_ffff_ffff
    )
}
