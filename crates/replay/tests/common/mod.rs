//! A workload, policies over it, and the traces of the shared folder.

#![allow(dead_code, clippy::unwrap_used)]

use std::path::PathBuf;

use replay::{Builder, Manifests, Policy};

pub const WORKLOAD: &str = include_str!("../../../../examples/replay/workload.yaml");

/// A ScaledObject with one trigger.
pub fn scaled_object(query: &str, threshold: &str, more: &str) -> String {
    format!(
        "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {{name: p}}\nspec:\n  \
         scaleTargetRef: {{name: my-gpu-workload}}\n  minReplicaCount: 1\n  maxReplicaCount: 20\n\
         {more}  triggers:\n  - type: prometheus\n    metadata:\n      serverAddress: http://p:9090\n      \
         query: '{query}'\n      threshold: '{threshold}'\n      activationThreshold: '2'\n"
    )
}

pub fn builder(policy: &str) -> Builder {
    let mut manifests = Manifests::default();
    manifests.add("workload.yaml", WORKLOAD).unwrap();
    manifests.add("policy.yaml", policy).unwrap();
    Builder {
        manifests,
        ..Builder::default()
    }
}

pub fn policy(text: &str) -> Policy {
    let builder = builder(text);
    builder.build(&builder.manifests.policies[0]).unwrap()
}

/// A file of the folder with load traces, or `None` with a message.
pub fn trace(name: &str) -> Option<String> {
    let folder = std::env::var_os("RHEOSTAT_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let path = folder.join("data").join(name);
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        println!("skipped: there is no {}", path.display());
    }
    text
}
