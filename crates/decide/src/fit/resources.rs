//! What a pod asks for and what a node has, in the scheduler's units.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::quantity::Quantity;
use serde_json::Value;

/// CPU counted for a pod that asks for none, when nodes are compared (millicores).
const UNSTATED_CPU: i64 = 100;
/// Memory counted for a pod that asks for none, when nodes are compared (bytes).
const UNSTATED_MEMORY: i64 = 200 * 1024 * 1024;

/// Amounts are cut here, far above any machine, so that sums do not overflow.
const MOST: i64 = 1 << 50;

/// Amounts of resources: CPU in millicores, everything else in whole units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Millicores.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral_storage: i64,
    /// How many pods.
    pub pods: i64,
    /// Extended resources such as `nvidia.com/gpu`.
    pub extended: BTreeMap<Arc<str>, i64>,
}

impl Resources {
    /// Reads a resource list; an amount that does not parse counts as absent,
    /// since the API server lets none through.
    pub fn parse(list: &Value) -> Self {
        let mut out = Self::default();
        for (name, value) in list.as_object().into_iter().flatten() {
            let quantity = Quantity::from_json(value).unwrap_or_default();
            let whole = bounded(&quantity, 0);
            match name.as_str() {
                "cpu" => out.cpu = bounded(&quantity, 3),
                "memory" => out.memory = whole,
                "ephemeral-storage" => out.ephemeral_storage = whole,
                "pods" => out.pods = whole,
                _ => {
                    out.extended.insert(Arc::from(name.as_str()), whole);
                }
            }
        }
        out
    }

    /// The amount of one resource by its Kubernetes name.
    pub fn get(&self, name: &str) -> i64 {
        match name {
            "cpu" => self.cpu,
            "memory" => self.memory,
            "ephemeral-storage" => self.ephemeral_storage,
            "pods" => self.pods,
            _ => self.extended.get(name).copied().unwrap_or(0),
        }
    }

    /// Adds `other` to every amount.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, i64::saturating_add);
    }

    /// Takes `other` off every amount.
    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, i64::saturating_sub);
    }

    /// Keeps the larger of each amount.
    pub fn raise(&mut self, other: &Self) {
        self.combine(other, i64::max);
    }

    fn combine(&mut self, other: &Self, f: impl Fn(i64, i64) -> i64) {
        self.cpu = f(self.cpu, other.cpu);
        self.memory = f(self.memory, other.memory);
        self.ephemeral_storage = f(self.ephemeral_storage, other.ephemeral_storage);
        self.pods = f(self.pods, other.pods);
        for (name, amount) in &other.extended {
            match self.extended.get_mut(name) {
                Some(mine) => *mine = f(*mine, *amount),
                None => {
                    self.extended.insert(name.clone(), f(0, *amount));
                }
            }
        }
    }

    /// GPUs of any vendor and cut: whole devices, shared ones and MIG slices.
    pub fn gpus(&self) -> i64 {
        self.extended
            .iter()
            .filter(|(name, _)| is_gpu(name))
            .map(|(_, n)| n)
            .sum()
    }
}

/// Whether a resource name stands for a GPU or a slice of one.
pub fn is_gpu(name: &str) -> bool {
    matches!(
        name,
        "nvidia.com/gpu" | "nvidia.com/gpu.shared" | "amd.com/gpu" | "gpu.intel.com/xe"
    ) || name.starts_with("nvidia.com/mig-")
        || matches!(name, "habana.ai/gaudi" | "microsoft.com/directx")
}

/// A quantity in units of `10^-digits`. Kubernetes lets what is too large wrap
/// around; here it is cut.
fn bounded(quantity: &Quantity, digits: i32) -> i64 {
    if quantity.as_f64() * 10_f64.powi(digits) >= MOST as f64 {
        return MOST;
    }
    quantity.scaled_value(-digits).clamp(0, MOST)
}

/// What a pod asks of its node, and the same with the defaults that count when
/// nodes are compared (CPU millicores, memory bytes).
pub fn of_pod(spec: &Value) -> (Resources, (i64, i64)) {
    let mut total = Resources::default();
    let mut stated = (0, 0);
    for container in array(spec, "containers") {
        let asked = of_container(container);
        stated.0 += asked.0.cpu + if asked.1.0 { 0 } else { UNSTATED_CPU };
        stated.1 += asked.0.memory + if asked.1.1 { 0 } else { UNSTATED_MEMORY };
        total.add(&asked.0);
    }
    // Sidecars stay: each later init container runs beside the ones before it.
    let mut sidecars = Resources::default();
    let mut starting = Resources::default();
    for container in array(spec, "initContainers") {
        let (asked, said) = of_container(container);
        let mut beside = sidecars.clone();
        beside.add(&asked);
        if container["restartPolicy"] == "Always" {
            stated.0 += asked.cpu + if said.0 { 0 } else { UNSTATED_CPU };
            stated.1 += asked.memory + if said.1 { 0 } else { UNSTATED_MEMORY };
            total.add(&asked);
            sidecars.add(&asked);
        }
        starting.raise(&beside);
    }
    total.raise(&starting);
    // A pod-level request replaces the sum for the resources that it names.
    if let Some(whole) = spec
        .pointer("/resources/requests")
        .filter(|r| r.is_object())
    {
        let whole_pod = Resources::parse(whole);
        if whole.get("cpu").is_some() {
            total.cpu = whole_pod.cpu;
            stated.0 = whole_pod.cpu;
        }
        if whole.get("memory").is_some() {
            total.memory = whole_pod.memory;
            stated.1 = whole_pod.memory;
        }
    }
    total.add(&Resources::parse(&spec["overhead"]));
    total.pods = 1;
    let compared = (stated.0.max(total.cpu), stated.1.max(total.memory));
    (total, compared)
}

/// A container's requests, its limits standing in for those it leaves out, and
/// whether it says something about CPU and memory.
fn of_container(container: &Value) -> (Resources, (bool, bool)) {
    let resources = &container["resources"];
    let mut list = resources["limits"].as_object().cloned().unwrap_or_default();
    for (name, value) in resources["requests"].as_object().into_iter().flatten() {
        list.insert(name.clone(), value.clone());
    }
    let said = (list.contains_key("cpu"), list.contains_key("memory"));
    (Resources::parse(&Value::Object(list)), said)
}

/// The elements of an array field; none when it is absent.
pub(super) fn array<'a>(of: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    of[field].as_array().into_iter().flatten()
}
