//! One pod against the whole cluster: the node it gets, the pods that must go
//! first, or the sentence that says why it waits.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use super::filter::{Check, Rejection};
use super::pod::{PodInfo, PodKey};
use super::score::best;
use super::snapshot::{NodeInfo, Snapshot};

/// What scheduling a pod comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// These nodes are equally good; one of them is to be drawn.
    Fits(Vec<Arc<str>>),
    /// No node takes it.
    Waits(Refusal),
}

/// Why no node takes a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The sentence of the event and of the condition.
    pub sentence: String,
    /// Pods to evict so that it can run on a node.
    pub preemption: Option<Preemption>,
}

/// Victims of a preemption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preemption {
    /// The node that becomes free.
    pub node: Arc<str>,
    /// The pods to evict, most important first.
    pub victims: Vec<PodKey>,
}

/// Decides about one pod.
pub fn schedule(pod: &PodInfo, cluster: &Snapshot) -> Verdict {
    if cluster.is_empty() {
        return waits("no nodes available to schedule pods".to_owned());
    }
    if let Some(claim) = cluster.missing_claim(pod) {
        let n = cluster.len();
        return waits(format!(
            "0/{n} nodes are available: persistentvolumeclaim \"{claim}\" not found. not found"
        ));
    }
    let check = Check::new(pod, cluster);
    let mut candidates = Vec::new();
    let mut refused = Vec::new();
    for node in cluster.nodes() {
        match check.filter(node) {
            Ok(()) => candidates.push(node),
            Err(rejection) => refused.push((node, rejection)),
        }
    }
    if !candidates.is_empty() {
        let nominated = pod.nominated.as_ref();
        if let Some(node) = candidates.iter().find(|n| Some(&n.name) == nominated) {
            return Verdict::Fits(vec![node.name.clone()]);
        }
        let top = best(pod, &candidates, cluster);
        return Verdict::Fits(top.iter().map(|n| n.name.clone()).collect());
    }
    let (text, preemption) = preempt(pod, &refused, cluster);
    let head = sentence(cluster.len(), refused.iter().flat_map(|(_, r)| &r.reasons));
    Verdict::Waits(Refusal {
        sentence: format!("{head} preemption: {text}"),
        preemption,
    })
}

fn waits(sentence: String) -> Verdict {
    Verdict::Waits(Refusal {
        sentence,
        preemption: None,
    })
}

/// `0/N nodes are available: COUNT REASON, COUNT REASON.`, sorted as text.
pub fn sentence<R: Display>(nodes: usize, reasons: impl IntoIterator<Item = R>) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason.to_string()).or_default() += 1;
    }
    let mut parts: Vec<String> = counts
        .into_iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    parts.sort();
    if parts.is_empty() {
        return format!("0/{nodes} nodes are available:");
    }
    format!("0/{nodes} nodes are available: {}.", parts.join(", "))
}

const NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

fn preempt(
    pod: &PodInfo,
    refused: &[(&NodeInfo, Rejection)],
    cluster: &Snapshot,
) -> (String, Option<Preemption>) {
    if pod.never_preempts {
        return (
            "not eligible due to preemptionPolicy=Never.".to_owned(),
            None,
        );
    }
    if let Some(nominated) = pod.nominated.as_deref().and_then(|n| cluster.node(n))
        && nominated
            .pods
            .values()
            .any(|p| p.terminating && p.priority < pod.priority)
    {
        let text = "not eligible due to a terminating pod on the nominated node.";
        return (text.to_owned(), None);
    }
    let mut texts: Vec<String> = Vec::new();
    let mut chosen: Option<(Cost, Preemption)> = None;
    for (node, rejection) in refused {
        if !rejection.resolvable {
            texts.push(NOT_HELPFUL.to_owned());
            continue;
        }
        match victims(pod, node, cluster) {
            Ok(victims) => {
                let cost = Cost::of(&victims);
                if chosen.as_ref().is_none_or(|(best, _)| cost < *best) {
                    let victims = victims.iter().map(|v| v.key.clone()).collect();
                    chosen = Some((
                        cost,
                        Preemption {
                            node: node.name.clone(),
                            victims,
                        },
                    ));
                }
            }
            Err(reasons) => texts.extend(reasons),
        }
    }
    match chosen {
        Some((_, preemption)) => {
            let text = format!(
                "found a potential placement for pod on node {}, preempting {} victims",
                preemption.node,
                preemption.victims.len()
            );
            (text, Some(preemption))
        }
        None => (sentence(cluster.len(), texts), None),
    }
}

/// What a preemption costs, cheapest first: the most important victim, the sum
/// of priorities, their number, and then the youngest of the important ones.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    highest: i64,
    sum: i64,
    count: usize,
    started: std::cmp::Reverse<String>,
}

impl Cost {
    fn of(victims: &[Arc<PodInfo>]) -> Self {
        let highest = victims.iter().map(|v| v.priority).max().unwrap_or(i64::MIN);
        // Shifted so that a victim of negative priority still counts as one.
        let sum = victims.iter().map(|v| v.priority + (1 << 31)).sum();
        let started = victims
            .iter()
            .filter(|v| v.priority == highest)
            .map(|v| v.started.clone());
        let started = std::cmp::Reverse(started.min().unwrap_or_default());
        Self {
            highest,
            sum,
            count: victims.len(),
            started,
        }
    }
}

/// The fewest lower-priority pods of `node` whose removal makes room, or the
/// reasons why none does.
fn victims(
    pod: &PodInfo,
    node: &NodeInfo,
    cluster: &Snapshot,
) -> Result<Vec<Arc<PodInfo>>, Vec<String>> {
    let mut lower: Vec<Arc<PodInfo>> = node
        .pods
        .values()
        .filter(|p| p.priority < pod.priority)
        .cloned()
        .collect();
    if lower.is_empty() {
        return Err(vec![NO_VICTIMS.to_owned()]);
    }
    let mut world = cluster.clone();
    for victim in &lower {
        world.remove_pod(&victim.key);
    }
    let try_in = |world: &Snapshot| match world.node(&node.name) {
        Some(node) => Check::new(pod, world).filter(node).map_err(|r| r.reasons),
        None => Ok(()),
    };
    if let Err(reasons) = try_in(&world) {
        return Err(reasons.iter().map(ToString::to_string).collect());
    }
    lower.sort_by(|a, b| b.priority.cmp(&a.priority).then(a.started.cmp(&b.started)));
    let mut out = Vec::new();
    for candidate in lower {
        world.assign(candidate.clone(), &node.name);
        if try_in(&world).is_err() {
            world.remove_pod(&candidate.key);
            out.push(candidate);
        }
    }
    Ok(out)
}
