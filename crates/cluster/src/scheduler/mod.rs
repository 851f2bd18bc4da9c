//! The scheduler: gives each pod a node, or says why it waits.
//!
//! The rules are `decide::fit`'s; here is what they are applied to. Nodes and
//! pods are followed change by change, and pods that ask for the same share a
//! refusal, so that a thousand waiting replicas cost little more than one.

mod queue;
mod upkeep;

use std::collections::BTreeMap;
use std::sync::Arc;

use decide::fit::{PodInfo, PodKey, Preemption, Refusal, Snapshot, Verdict, schedule};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::value;
use crate::{
    Change, ChangeKind, Cluster, Component, DeleteOptions, EventRecord, EventSource, Without,
};
use queue::Queue;
use upkeep::Missing;

const NAME: &str = "default-scheduler";
/// Pods handled before other tasks get a turn.
const BATCH: usize = 32;
/// Longest note of an event.
const NOTE: usize = 1024;

/// Runs the scheduler, and what keeps up its picture of nodes, until the task is dropped.
pub async fn run(cluster: Cluster, without: Without) {
    let mut changes = cluster.subscribe();
    let mut scheduler = Scheduler::new(cluster, without);
    scheduler.relist();
    let mut handled = 0;
    loop {
        while let Some(change) = changes.try_next() {
            scheduler.observe(&change);
        }
        if scheduler.step() {
            handled += 1;
            if handled % BATCH == 0 {
                tokio::task::yield_now().await;
            }
            continue;
        }
        let overdue = scheduler
            .queue
            .overdue_at()
            .into_iter()
            .chain(scheduler.missing.due())
            .min();
        let timer = async {
            match overdue {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            change = changes.next() => scheduler.observe(&change),
            () = timer => scheduler.tick(),
        }
    }
}

struct Scheduler {
    cluster: Cluster,
    world: Snapshot,
    queue: Queue,
    /// Refusals that still hold, by class of pod; emptied by every change.
    refusals: BTreeMap<Arc<str>, Refusal>,
    /// Pods for which others were evicted, and the node they are to get.
    nominated: BTreeMap<PodKey, (Arc<PodInfo>, Arc<str>)>,
    missing: Missing,
    without: Without,
}

impl Scheduler {
    fn new(cluster: Cluster, without: Without) -> Self {
        Self {
            cluster,
            world: Snapshot::default(),
            queue: Queue::default(),
            refusals: BTreeMap::new(),
            nominated: BTreeMap::new(),
            missing: Missing::default(),
            without,
        }
    }

    /// Starts over from the objects as they are.
    fn relist(&mut self) {
        self.world = Snapshot::default();
        self.queue = Queue::default();
        self.refusals.clear();
        self.nominated.clear();
        for claim in self.cluster.list("persistentvolumeclaims", None) {
            self.world
                .set_claim(value::namespace(&claim), value::name(&claim), true);
        }
        for node in self.cluster.list("nodes", None) {
            self.see_node(&node);
        }
        for pod in self.cluster.list("pods", None) {
            self.see_pod(&pod);
        }
    }

    fn observe(&mut self, change: &Change) {
        let gone = change.kind == ChangeKind::Deleted;
        match &*change.resource {
            "" if change.kind == ChangeKind::Lagged => self.relist(),
            "nodes" if gone => {
                let name = value::name(&change.object);
                self.world.remove_node(name);
                self.refusals.clear();
                if !self.world.stranded(name).is_empty() {
                    self.vanished(name);
                }
            }
            "nodes" => self.see_node(&change.object),
            "pods" if gone => {
                let key = PodInfo::parse(&change.object).key;
                self.queue.remove(&key);
                self.nominated.remove(&key);
                if self.world.remove_pod(&key) {
                    self.changed(|_| true);
                }
            }
            "pods" => self.see_pod(&change.object),
            "persistentvolumeclaims" => {
                let (ns, name) = (
                    value::namespace(&change.object),
                    value::name(&change.object),
                );
                self.world.set_claim(ns, name, !gone);
                self.changed(|pod| !pod.claims.is_empty());
            }
            _ => {}
        }
    }

    /// Takes note that pods lie on a node that does not exist.
    fn vanished(&mut self, node: &str) {
        if !self.without.contains(&Component::PodGarbageCollector) {
            self.missing.note(node, Instant::now());
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        self.queue.wake_overdue(now);
        self.missing.give_up(&self.cluster, &self.world, now);
    }

    fn see_node(&mut self, node: &Value) {
        if !self.without.contains(&Component::NodeLifecycle) {
            upkeep::taint_cordoned(&self.cluster, node);
        }
        if self.world.set_node(node) {
            self.changed(|_| true);
        }
    }

    /// What was refused may be possible now, for the pods that `whom` names.
    fn changed(&mut self, whom: impl Fn(&PodInfo) -> bool) {
        self.refusals.clear();
        self.queue.wake(Instant::now(), whom);
    }

    fn see_pod(&mut self, object: &Value) {
        let pod = Arc::new(PodInfo::parse(object));
        if pod.node.is_some() || pod.finished {
            self.queue.remove(&pod.key);
            self.nominated.remove(&pod.key);
            let was = self.world.place_of(&pod.key).cloned();
            let freed = pod.finished && was.is_some();
            let moved = was != pod.node;
            self.world.set_pod(pod.clone());
            if let Some(node) = pod.node.as_deref().filter(|n| self.world.node(n).is_none())
                && !pod.finished
            {
                self.vanished(node);
            }
            if freed {
                self.changed(|_| true);
            } else if moved {
                self.changed(PodInfo::looks_at_others);
            }
            return;
        }
        let ours = object["spec"]["schedulerName"]
            .as_str()
            .is_none_or(|n| n == NAME);
        let gated = !value::list(object, &["spec", "schedulingGates"]).is_empty();
        let idle = self.without.contains(&Component::Scheduler);
        if !ours || gated || pod.terminating || idle {
            self.queue.remove(&pod.key);
            return;
        }
        self.queue.set(pod);
    }

    /// Handles one pod; false when nobody's turn has come.
    fn step(&mut self) -> bool {
        let Some(pod) = self.queue.next() else {
            return false;
        };
        if let Some(refusal) = self.refusals.get(&pod.class).cloned() {
            self.refuse(&pod, refusal);
            return true;
        }
        match self.decide(&pod) {
            Verdict::Fits(nodes) => self.assign(&pod, &nodes),
            Verdict::Waits(refusal) => {
                if refusal.preemption.is_none() && pod.nominated.is_none() {
                    self.refusals.insert(pod.class.clone(), refusal.clone());
                }
                self.refuse(&pod, refusal);
            }
        }
        true
    }

    /// The verdict, with the room kept free for nominated pods that matter as much.
    fn decide(&mut self, pod: &PodInfo) -> Verdict {
        let kept: Vec<_> = self
            .nominated
            .values()
            .filter(|(other, _)| other.key != pod.key && other.priority >= pod.priority)
            .cloned()
            .collect();
        for (other, node) in &kept {
            self.world.assign(other.clone(), node);
        }
        let verdict = schedule(pod, &self.world);
        for (other, _) in &kept {
            self.world.remove_pod(&other.key);
        }
        verdict
    }

    fn assign(&mut self, pod: &Arc<PodInfo>, nodes: &[Arc<str>]) {
        let draw = self
            .cluster
            .random(u64::try_from(nodes.len()).unwrap_or(1).max(1));
        let Some(node) = usize::try_from(draw).ok().and_then(|i| nodes.get(i)) else {
            return;
        };
        self.queue.remove(&pod.key);
        self.nominated.remove(&pod.key);
        let key = &pod.key;
        let version = self.version(pod);
        match self.cluster.bind(&key.namespace, &key.name, node) {
            Ok(()) => {
                let placed = PodInfo {
                    node: Some(node.clone()),
                    ..PodInfo::clone(pod)
                };
                self.world.set_pod(Arc::new(placed));
                self.changed(PodInfo::looks_at_others);
                let note = format!("Successfully assigned {key} to {node}");
                self.tell(pod, &version, "Normal", "Scheduled", "Binding", &note);
            }
            // The pod has gone or was assigned by someone else; its change is
            // on the way here.
            Err(status) => self.tell(
                pod,
                &version,
                "Warning",
                "FailedScheduling",
                "Scheduling",
                &format!("binding rejected: {}", status.message),
            ),
        }
    }

    fn refuse(&mut self, pod: &Arc<PodInfo>, refusal: Refusal) {
        let now = Instant::now();
        let Some(entry) = self.queue.refuse(&pod.key, now) else {
            return;
        };
        // The API server folds repetitions into a series; one each retry
        // period is what a reader of events sees of it.
        let fresh = entry
            .told
            .as_ref()
            .is_none_or(|(text, at)| *text != refusal.sentence || (now - *at).as_secs() >= 300);
        let changed = entry
            .told
            .as_ref()
            .is_none_or(|(text, _)| *text != refusal.sentence);
        if fresh {
            entry.told = Some((refusal.sentence.clone(), now));
        }
        if fresh {
            let note = shorten(&refusal.sentence);
            let version = self.version(pod);
            self.tell(
                pod,
                &version,
                "Warning",
                "FailedScheduling",
                "Scheduling",
                &note,
            );
        }
        if changed || refusal.preemption.is_some() {
            let node = refusal.preemption.as_ref().map(|p| p.node.clone());
            self.write_condition(pod, &refusal.sentence, node.as_deref());
        }
        if let Some(preemption) = refusal.preemption {
            self.evict(pod, &preemption);
        }
    }

    fn write_condition(&self, pod: &PodInfo, sentence: &str, nominated: Option<&str>) {
        let now = value::time(self.cluster.now());
        let (ns, name) = (&pod.key.namespace, &pod.key.name);
        // The pod may be gone; then there is nobody left to tell.
        let _ = self.cluster.modify_status("pods", ns, name, |object| {
            let generation = object["metadata"]["generation"].clone();
            let status = value::map_mut(object, &["status"]);
            if let Some(node) = nominated {
                status.insert("nominatedNodeName".to_owned(), json!(node));
            }
            let mut condition = json!({
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": sentence, "lastProbeTime": null, "lastTransitionTime": now,
            });
            if generation.is_number() {
                condition["observedGeneration"] = generation;
            }
            value::set_condition(status, condition);
        });
    }

    fn evict(&mut self, pod: &Arc<PodInfo>, preemption: &Preemption) {
        self.nominated
            .insert(pod.key.clone(), (pod.clone(), preemption.node.clone()));
        let now = value::time(self.cluster.now());
        for key in &preemption.victims {
            let (ns, name) = (&*key.namespace, &*key.name);
            let Ok(victim) = self.cluster.get("pods", ns, name) else {
                continue;
            };
            let _ = self.cluster.modify_status("pods", ns, name, |object| {
                let condition = json!({
                    "type": "DisruptionTarget", "status": "True",
                    "reason": "PreemptionByScheduler",
                    "message": format!("{NAME}: preempting to accommodate a higher priority pod"),
                    "lastProbeTime": null, "lastTransitionTime": now,
                });
                value::set_condition(value::map_mut(object, &["status"]), condition);
            });
            let note = format!("Preempted by pod {} on node {}", pod.uid, preemption.node);
            self.tell(
                &PodInfo::parse(&victim),
                value::resource_version(&victim),
                "Normal",
                "Preempted",
                "Preempting",
                &note,
            );
            // Already gone is as good as deleted.
            let _ = self
                .cluster
                .delete("pods", ns, name, DeleteOptions::default());
        }
    }

    /// The stored version of a pod: an event is about one, and another version's is no
    /// repetition.
    fn version(&self, pod: &PodInfo) -> String {
        let stored = self
            .cluster
            .get("pods", &pod.key.namespace, &pod.key.name)
            .unwrap_or_default();
        value::resource_version(&stored).to_owned()
    }

    fn tell(
        &self,
        pod: &PodInfo,
        version: &str,
        kind: &str,
        reason: &str,
        action: &str,
        note: &str,
    ) {
        self.cluster.event(EventRecord {
            regarding: json!({
                "apiVersion": "v1", "kind": "Pod", "namespace": *pod.key.namespace,
                "name": *pod.key.name, "uid": pod.uid, "resourceVersion": version,
            }),
            kind: kind.to_owned(),
            reason: reason.to_owned(),
            message: note.to_owned(),
            source: EventSource::Controller {
                controller: NAME.to_owned(),
                instance: format!("{NAME}-0"),
                action: action.to_owned(),
            },
        });
    }
}

/// Cuts a note to what an event may carry.
fn shorten(note: &str) -> String {
    const END: &str = " ...";
    if note.len() <= NOTE {
        return note.to_owned();
    }
    let mut end = NOTE - END.len();
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{END}", &note[..end])
}

#[cfg(test)]
mod tests;
