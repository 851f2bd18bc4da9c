//! What the Node objects of the simulated cloud look like.

use api::pool::{NodeName, Pool};
use jiff::Timestamp;
use serde_json::{Value, json};

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
            "labels": pool.node_labels(&NodeName {
                name: id.name,
                resource_group: &resource_group(id),
                region: id.region,
            }),
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
            "capacity": pool.node_amounts(false),
            "allocatable": pool.node_amounts(true),
            "conditions": conditions(id.now, false),
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": {
                "architecture": pool.architecture(), "operatingSystem": "linux",
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
    if let Some((resource, count)) = pool.gpu_resource() {
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
