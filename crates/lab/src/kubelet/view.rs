//! What the kubelets know and nobody else does: which GPU serves which container, and what a
//! container wrote to its log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clock::Clock;
use jiff::{Timestamp, ToSpan as _};

/// One GPU in use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GpuUse {
    /// The node.
    pub node: String,
    /// The GPU's index on the node.
    pub gpu: u32,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The pod's uid.
    pub pod_uid: String,
    /// The container.
    pub container: String,
    /// Kind of the workload that the pod belongs to: `Deployment`, `StatefulSet`, `Job`, or `Pod`
    /// for a pod on its own.
    pub owner_kind: String,
    /// Name of that workload.
    pub owner_name: String,
    /// Since when the container runs; `None` while it starts.
    pub ready_since: Option<Timestamp>,
}

/// A container that has run.
#[derive(Clone, Debug)]
pub(super) struct Ran {
    pub(super) node: String,
    pub(super) image: String,
    pub(super) gpus: Vec<u32>,
    pub(super) since: Timestamp,
    pub(super) until: Option<Timestamp>,
}

type ContainerKey = (String, String, String);

#[derive(Default)]
struct Inner {
    uses: BTreeMap<(String, u32), GpuUse>,
    snapshot: Option<Arc<[GpuUse]>>,
    containers: BTreeMap<ContainerKey, Ran>,
}

/// A shared look into the simulated kubelets. Cheap to clone.
#[derive(Clone)]
pub struct KubeletView {
    clock: Clock,
    inner: Arc<Mutex<Inner>>,
}

/// Most lines that a simulated log holds.
const LINES: i64 = 200;

impl KubeletView {
    /// A view of kubelets that have yet to start.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            inner: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// The GPUs in use, by node and index. The same allocation until something changes.
    pub fn gpus(&self) -> Arc<[GpuUse]> {
        let mut inner = self.lock();
        let Inner { uses, snapshot, .. } = &mut *inner;
        snapshot
            .get_or_insert_with(|| uses.values().cloned().collect())
            .clone()
    }

    /// The lines that a container wrote, oldest first; none if it never ran.
    pub fn logs(&self, namespace: &str, pod: &str, container: &str) -> Vec<String> {
        let key = (namespace.to_owned(), pod.to_owned(), container.to_owned());
        let Some(ran) = self.lock().containers.get(&key).cloned() else {
            return Vec::new();
        };
        let line = |t: Timestamp, text: String| {
            format!(
                "{} {text}",
                Timestamp::from_second(t.as_second()).unwrap_or(t)
            )
        };
        let mut lines = vec![line(
            ran.since,
            format!("container {container} started from {}", ran.image),
        )];
        if !ran.gpus.is_empty() {
            let all: Vec<String> = ran.gpus.iter().map(u32::to_string).collect();
            lines.push(line(
                ran.since,
                format!("using GPU {} of {}", all.join(", "), ran.node),
            ));
        }
        let end = ran.until.unwrap_or_else(|| self.clock.now());
        let minutes = end.duration_since(ran.since).as_secs() / 60;
        for minute in (minutes - LINES).max(0) + 1..=minutes {
            if let Ok(t) = ran.since.checked_add(minute.minutes()) {
                lines.push(line(t, format!("running for {minute} min")));
            }
        }
        if let Some(until) = ran.until {
            lines.push(line(until, "done".to_owned()));
        }
        lines
    }

    pub(super) fn take(&self, uses: Vec<GpuUse>) {
        let mut inner = self.lock();
        inner.snapshot = None;
        for one in uses {
            inner.uses.insert((one.node.clone(), one.gpu), one);
        }
    }

    pub(super) fn release(&self, pod_uid: &str) {
        let mut inner = self.lock();
        let before = inner.uses.len();
        inner.uses.retain(|_, u| u.pod_uid != pod_uid);
        if inner.uses.len() != before {
            inner.snapshot = None;
        }
    }

    pub(super) fn started(&self, pod: (&str, &str), container: &str, ran: Ran) {
        let key = (pod.0.to_owned(), pod.1.to_owned(), container.to_owned());
        self.lock().containers.insert(key, ran);
    }

    /// Ends the logs of a pod's containers; with `forget` they are gone.
    pub(super) fn ended(&self, namespace: &str, pod: &str, forget: bool) {
        let now = self.clock.now();
        let mut inner = self.lock();
        let first = (namespace.to_owned(), pod.to_owned(), String::new());
        let keys: Vec<ContainerKey> = inner
            .containers
            .range(first..)
            .take_while(|((ns, p, _), _)| ns == namespace && p == pod)
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            if forget {
                inner.containers.remove(&key);
            } else if let Some(ran) = inner.containers.get_mut(&key) {
                ran.until = Some(now);
            }
        }
    }
}
