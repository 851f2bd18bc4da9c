//! Which of the nodes that would do is best, by the scheduler's default weights.

use std::collections::BTreeMap;

use super::around::matching;
use super::pod::PodInfo;
use super::snapshot::{NodeInfo, Snapshot};

const TAINTS: i64 = 3;
const NODE_AFFINITY: i64 = 2;
const SPREAD: i64 = 2;
const POD_AFFINITY: i64 = 2;
const LEAST_ALLOCATED: i64 = 1;
const BALANCE: i64 = 1;
const BEST: i64 = 100;

/// Total points of each candidate, in the order given.
pub fn score(pod: &PodInfo, candidates: &[&NodeInfo], cluster: &Snapshot) -> Vec<i64> {
    let mut totals = vec![0; candidates.len()];
    let mut add = |points: Vec<i64>, weight: i64| {
        for (total, points) in totals.iter_mut().zip(points) {
            *total += points * weight;
        }
    };
    let soft_taints = |n: &&NodeInfo| {
        let open = n
            .taints
            .iter()
            .filter(|t| t.effect == "PreferNoSchedule" && !pod.covers(t));
        i64::try_from(open.count()).unwrap_or(i64::MAX)
    };
    if candidates.iter().any(|n| !n.taints.is_empty()) {
        add(
            fewer_is_better(candidates.iter().map(soft_taints).collect()),
            TAINTS,
        );
    }
    if !pod.preferred.is_empty() {
        let weights = |n: &&NodeInfo| {
            let met = pod
                .preferred
                .iter()
                .filter(|p| p.term.matches(&n.name, &n.labels));
            met.map(|p| p.weight).sum()
        };
        add(
            more_is_better(candidates.iter().map(weights).collect()),
            NODE_AFFINITY,
        );
    }
    if let Some(points) = spread(pod, candidates, cluster) {
        add(points, SPREAD);
    }
    if !pod.preferred_pods.is_empty() {
        add(neighbours(pod, candidates, cluster), POD_AFFINITY);
    }
    add(
        candidates.iter().map(|n| least_allocated(pod, n)).collect(),
        LEAST_ALLOCATED,
    );
    if pod.requests.cpu > 0 || pod.requests.memory > 0 {
        add(
            candidates.iter().map(|n| balance(pod, n)).collect(),
            BALANCE,
        );
    }
    totals
}

/// The names of the best candidates, several when they are equal.
pub fn best<'n>(
    pod: &PodInfo,
    candidates: &[&'n NodeInfo],
    cluster: &Snapshot,
) -> Vec<&'n NodeInfo> {
    if candidates.len() < 2 {
        return candidates.to_vec();
    }
    let points = score(pod, candidates, cluster);
    let top = points.iter().copied().max().unwrap_or(0);
    candidates
        .iter()
        .zip(points)
        .filter(|(_, p)| *p == top)
        .map(|(n, _)| *n)
        .collect()
}

/// Mean over CPU and memory of the share that stays free.
fn least_allocated(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let free = |all: i64, used: i64| {
        if all <= 0 || used > all {
            0
        } else {
            (all - used).saturating_mul(BEST) / all
        }
    };
    let cpu = free(node.allocatable.cpu, node.compared.0 + pod.compared.0);
    let memory = free(node.allocatable.memory, node.compared.1 + pod.compared.1);
    (cpu + memory) / 2
}

/// How even the shares of CPU and memory would be.
fn balance(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let share = |used: i64, all: i64| {
        if all <= 0 {
            1.0
        } else {
            (used as f64 / all as f64).min(1.0)
        }
    };
    let cpu = share(node.used.cpu + pod.requests.cpu, node.allocatable.cpu);
    let memory = share(
        node.used.memory + pod.requests.memory,
        node.allocatable.memory,
    );
    let deviation = (cpu - memory).abs() / 2.0;
    ((1.0 - deviation) * BEST as f64) as i64
}

/// Soft spreading: the pod's own constraints, else the default ones for pods
/// of one controller.
fn spread(pod: &PodInfo, candidates: &[&NodeInfo], cluster: &Snapshot) -> Option<Vec<i64>> {
    if !pod.soft_spread.is_empty() {
        let raw = pod
            .soft_spread
            .iter()
            .map(|c| {
                spread_by(&c.topology_key, c.max_skew, candidates, cluster, &|n| {
                    matching(c, pod, n)
                })
            })
            .collect();
        return Some(normalised(raw));
    }
    let (_, owner) = pod.controller.as_ref().filter(|_| pod.spread.is_empty())?;
    let siblings = |n: &NodeInfo| {
        let same = n.pods.values().filter(|p| {
            !p.terminating && p.controller.as_ref().is_some_and(|(_, uid)| uid == owner)
        });
        i64::try_from(same.count()).unwrap_or(i64::MAX)
    };
    let raw = [
        ("kubernetes.io/hostname", 3),
        ("topology.kubernetes.io/zone", 5),
    ]
    .iter()
    .map(|(key, skew)| spread_by(key, *skew, candidates, cluster, &siblings))
    .collect();
    Some(normalised(raw))
}

/// Weighted counts of one constraint for each candidate.
fn spread_by(
    key: &str,
    max_skew: i64,
    candidates: &[&NodeInfo],
    cluster: &Snapshot,
    count: &dyn Fn(&NodeInfo) -> i64,
) -> Vec<f64> {
    let by_node = key == "kubernetes.io/hostname";
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    for node in candidates {
        if let Some(value) = node.labels.get(key) {
            counts.insert(value, 0);
        }
    }
    let size = counts.len();
    if !by_node {
        for node in cluster.nodes() {
            if let Some(entry) = node
                .labels
                .get(key)
                .and_then(|value| counts.get_mut(value.as_str()))
            {
                *entry += count(node);
            }
        }
    }
    let weight = ((size + 2) as f64).ln();
    candidates
        .iter()
        .map(|node| {
            let Some(value) = node.labels.get(key) else {
                return 0.0;
            };
            let found = if by_node {
                count(node)
            } else {
                counts.get(value.as_str()).copied().unwrap_or(0)
            };
            found as f64 * weight + (max_skew - 1) as f64
        })
        .collect()
}

fn normalised(constraints: Vec<Vec<f64>>) -> Vec<i64> {
    let nodes = constraints.first().map_or(0, Vec::len);
    let sums: Vec<i64> = (0..nodes)
        .map(|i| constraints.iter().map(|c| c[i]).sum::<f64>().round() as i64)
        .collect();
    let (low, high) = bounds(&sums);
    sums.iter()
        .map(|s| {
            if high == 0 {
                BEST
            } else {
                BEST * (high + low - s) / high
            }
        })
        .collect()
}

/// Preferred affinity and anti-affinity to pods.
fn neighbours(pod: &PodInfo, candidates: &[&NodeInfo], cluster: &Snapshot) -> Vec<i64> {
    let mut places: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for term in &pod.preferred_pods {
        for node in cluster.nodes() {
            let Some(value) = node.labels.get(&term.topology_key) else {
                continue;
            };
            let meant = node.pods.values().filter(|p| term.meant(p)).count();
            if meant > 0 {
                *places.entry((&term.topology_key, value)).or_default() +=
                    term.weight * i64::try_from(meant).unwrap_or(i64::MAX);
            }
        }
    }
    let raw: Vec<i64> = candidates
        .iter()
        .map(|node| {
            let here = places
                .iter()
                .filter(|((key, value), _)| node.labels.get(*key).is_some_and(|v| v == value));
            here.map(|(_, weight)| *weight).sum()
        })
        .collect();
    let (low, high) = bounds(&raw);
    raw.iter()
        .map(|r| {
            if high == low {
                0
            } else {
                BEST * (r - low) / (high - low)
            }
        })
        .collect()
}

fn bounds(values: &[i64]) -> (i64, i64) {
    (
        values.iter().copied().min().unwrap_or(0),
        values.iter().copied().max().unwrap_or(0),
    )
}

fn more_is_better(raw: Vec<i64>) -> Vec<i64> {
    let (_, high) = bounds(&raw);
    raw.iter()
        .map(|r| if high == 0 { 0 } else { BEST * r / high })
        .collect()
}

fn fewer_is_better(raw: Vec<i64>) -> Vec<i64> {
    let (_, high) = bounds(&raw);
    raw.iter()
        .map(|r| {
            if high == 0 {
                BEST
            } else {
                BEST - BEST * r / high
            }
        })
        .collect()
}
