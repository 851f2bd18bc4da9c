//! The status ConfigMap, in the layout of the cluster autoscaler.

use std::fmt::Write as _;

use clock::Clock;
use decide::fit::Snapshot;
use decide::nodes::{NodeOutcome, Plan, PoolView};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::json;

/// Namespace of the ConfigMap.
pub(crate) const NAMESPACE: &str = "kube-system";
/// Its name.
pub(crate) const CONFIG_MAP: &str = "cluster-autoscaler-status";

/// Counts of nodes by state.
#[derive(Clone, Copy, Default)]
struct Counts {
    registered: usize,
    ready: usize,
    not_started: usize,
    unregistered: usize,
    candidates: usize,
}

/// Writes the status when something in it has changed.
pub(crate) struct Status {
    client: kube::Client,
    clock: Clock,
    written: String,
}

impl Status {
    pub fn new(client: kube::Client, clock: Clock) -> Self {
        Self {
            client,
            clock,
            written: String::new(),
        }
    }

    /// Writes the status if it is another than before.
    pub async fn write(&mut self, pools: &[PoolView], cluster: &Snapshot, plan: &Plan) {
        let body = body(pools, cluster, plan, self.clock.now());
        if body == self.written {
            return;
        }
        let now = self.clock.now();
        let time = now.strftime("%Y-%m-%d %H:%M:%S.%f +0000 UTC").to_string();
        let text = format!("time: {time}\n{}", body.replace(PROBE, &now.to_string()));
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": CONFIG_MAP, "namespace": NAMESPACE,
                "annotations": {"cluster-autoscaler.kubernetes.io/last-updated": time},
            },
            "data": {"status": text},
        });
        let resource = ApiResource::erase::<ConfigMap>(&());
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), NAMESPACE, &resource);
        let patched = api
            .patch(CONFIG_MAP, &PatchParams::default(), &Patch::Merge(&object))
            .await;
        let result = match patched {
            Ok(_) => Ok(()),
            Err(_) => match serde_json::from_value(object) {
                Ok(object) => api
                    .create(&PostParams::default(), &object)
                    .await
                    .map(|_| ()),
                Err(error) => Err(kube::Error::SerdeError(error)),
            },
        };
        match result {
            Ok(()) => self.written = body,
            Err(error) => tracing::warn!(%error, "writing {NAMESPACE}/{CONFIG_MAP} failed"),
        }
    }
}

/// Stands for the time until the text is written.
const PROBE: &str = "<probe>";

fn body(pools: &[PoolView], cluster: &Snapshot, plan: &Plan, now: jiff::Timestamp) -> String {
    let mut all = Counts {
        registered: cluster.len(),
        ready: cluster.nodes().filter(|n| n.ready).count(),
        ..Counts::default()
    };
    let mut groups = String::new();
    for pool in pools.iter().filter(|p| p.scales()) {
        let counts = count(pool, cluster, plan);
        all.not_started += counts.not_started;
        all.unregistered += counts.unregistered;
        all.candidates += counts.candidates;
        let scaling = counts.not_started + counts.unregistered > 0;
        let up = if plan.state.backs_off(&pool.group, now) {
            "Backoff"
        } else {
            progress(scaling)
        };
        let _ = write!(
            groups,
            "- name: {}\n  health:\n    status: Healthy\n    nodeCounts:\n{}    \
             cloudProviderTarget: {}\n    minSize: {}\n    maxSize: {}\n    \
             lastProbeTime: \"{PROBE}\"\n  scaleUp:\n    status: {up}\n    \
             lastProbeTime: \"{PROBE}\"\n  scaleDown:\n    status: {}\n{}    \
             lastProbeTime: \"{PROBE}\"\n",
            pool.group,
            node_counts(counts, "      "),
            pool.target,
            pool.min,
            pool.max,
            presence(counts.candidates),
            candidates(counts.candidates, "    "),
        );
    }
    let scaling = all.not_started + all.unregistered > 0;
    format!(
        "autoscalerStatus: Running\nclusterWide:\n  health:\n    status: Healthy\n    \
         nodeCounts:\n{}    lastProbeTime: \"{PROBE}\"\n  scaleUp:\n    status: {}\n    \
         lastProbeTime: \"{PROBE}\"\n  scaleDown:\n    status: {}\n{}    \
         lastProbeTime: \"{PROBE}\"\nnodeGroups:\n{groups}",
        node_counts(all, "      "),
        progress(scaling),
        presence(all.candidates),
        candidates(all.candidates, "    "),
    )
}

fn count(pool: &PoolView, cluster: &Snapshot, plan: &Plan) -> Counts {
    let mut counts = Counts::default();
    for instance in &pool.instances {
        let outcome = plan.explanation.nodes.get(&instance.name);
        let upcoming = matches!(outcome, Some(NodeOutcome::Upcoming { .. }));
        match cluster.node(&instance.name) {
            None => counts.unregistered += usize::from(upcoming),
            Some(_) if upcoming => {
                counts.registered += 1;
                counts.not_started += 1;
            }
            Some(_) => {
                counts.registered += 1;
                counts.ready += 1;
            }
        }
        counts.candidates += usize::from(matches!(outcome, Some(NodeOutcome::Unneeded { .. })));
    }
    counts
}

fn node_counts(c: Counts, indent: &str) -> String {
    format!(
        "{indent}registered:\n{indent}  total: {}\n{indent}  ready: {}\n{indent}  notStarted: \
         {}\n{indent}longUnregistered: 0\n{indent}unregistered: {}\n",
        c.registered, c.ready, c.not_started, c.unregistered
    )
}

fn progress(active: bool) -> &'static str {
    if active { "InProgress" } else { "NoActivity" }
}

fn presence(candidates: usize) -> &'static str {
    if candidates > 0 {
        "CandidatesPresent"
    } else {
        "NoCandidates"
    }
}

fn candidates(count: usize, indent: &str) -> String {
    if count > 0 {
        format!("{indent}candidates: {count}\n")
    } else {
        String::new()
    }
}
