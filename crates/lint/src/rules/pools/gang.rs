//! `gang`: replicas that need several GPUs or several pods at once.

use super::super::{Context, Trigger, behavior};
use super::{device_pointer, devices};
use crate::finding::Severity;
use crate::metrics::Origin;
use crate::model::{Object, Workload};
use crate::query::{Per, Query};

/// What says that several pods make one replica.
fn several_pods(workload: &Workload<'_>) -> Option<String> {
    let number = |names: &[&str]| {
        workload
            .option(names)
            .and_then(|(_, t)| t.parse::<i64>().ok())
    };
    let nodes = number(&["--nnodes", "--num-nodes", "--num_nodes"]).unwrap_or(1);
    if nodes > 1 {
        return Some(format!("its command starts {nodes} nodes for one model"));
    }
    let tensor = number(&["--tensor-parallel-size", "-tp", "--tp", "--tp-size"]);
    let pipeline = number(&["--pipeline-parallel-size", "-pp", "--pp-size"]);
    let gpus = workload.pod.requests.gpus();
    let wanted = tensor.unwrap_or(1).saturating_mul(pipeline.unwrap_or(1));
    (gpus > 0 && wanted > gpus)
        .then(|| format!("its command splits the model over {wanted} GPUs and a pod has {gpus}"))
}

/// A scaled replica that is several GPUs or several pods.
pub(super) fn check(
    cx: &mut Context<'_>,
    scaler: &Object<'_>,
    max: i32,
    workload: &Workload<'_>,
    own: &[Trigger<'_>],
) {
    let per_pod = workload.pod.requests.gpus();
    let object = &workload.object;
    let groups = object.kind == "LeaderWorkerSet";
    let device = devices(workload).first().map_or("", |(name, _)| *name);
    let span = match device.is_empty() {
        true => object.key(&workload.under("/spec")),
        false => object.key(&device_pointer(workload, device)),
    };
    if let Some(why) = several_pods(workload).filter(|_| !groups) {
        cx.report(
            ("gang", Severity::Warning),
            object,
            span,
            format!(
                "one replica is several pods ({why}), and {} adds and removes single pods: a part \
                 of a model serves nothing and holds its GPUs",
                scaler.title()
            ),
            "Scale a LeaderWorkerSet (or another kind that makes whole groups), or fit the model \
             into one pod.",
        );
        return;
    }
    if per_pod < 2 || groups {
        return;
    }
    let sums_gpus = |query: &Query| {
        let uses = query.uses();
        uses.iter().any(|u| u.metric.origin == Origin::Dcgm) && query.meaning().per == Per::Total
    };
    let summed = own.iter().filter_map(Trigger::read).any(sums_gpus);
    let (_, rules) = behavior(scaler);
    let step = match rules["scaleUp"]["policies"].is_array() {
        true => "as its policies say",
        false => "one pod or more at a time",
    };
    let counted = match summed {
        true => format!(
            ". The query adds up GPUs, so a target per GPU counts each replica {per_pod} times"
        ),
        false => String::new(),
    };
    cx.report(
        ("gang", Severity::Warning),
        object,
        span,
        format!(
            "a replica needs {per_pod} GPUs on one node at once and is scaled {step}: {max} \
             replicas are {} GPUs, and nodes with fewer than {per_pod} free ones do not help{counted}",
            i64::from(max).saturating_mul(per_pod)
        ),
        format!(
            "Use pools whose nodes have a multiple of {per_pod} GPUs, count maxReplicaCount in whole \
             replicas, and make the target that of a whole replica."
        ),
    );
}
