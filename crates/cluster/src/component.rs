//! The parts of a control plane beside its API server, by Kubernetes' names.

use std::collections::BTreeSet;
use std::str::FromStr;

/// A part that can be left out, so that another program may stand in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// Gives pods their nodes.
    Scheduler,
    /// Makes replica sets.
    Deployment,
    /// Makes pods.
    ReplicaSet,
    /// Runs pods until so many have succeeded.
    Job,
    /// Sets replica counts by metrics.
    HorizontalPodAutoscaler,
    /// Deletes what has lost its owners.
    GarbageCollector,
    /// Empties namespaces that are to go.
    Namespace,
    /// Says how many pods a PodDisruptionBudget can spare.
    Disruption,
    /// Greets nodes and taints cordoned ones.
    NodeLifecycle,
    /// Deletes the pods of nodes that have vanished.
    PodGarbageCollector,
}

/// Parts that are left out.
pub type Without = BTreeSet<Component>;

impl Component {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Scheduler,
        Self::Deployment,
        Self::ReplicaSet,
        Self::Job,
        Self::HorizontalPodAutoscaler,
        Self::GarbageCollector,
        Self::Namespace,
        Self::Disruption,
        Self::NodeLifecycle,
        Self::PodGarbageCollector,
    ];

    /// The name of the program, or of the controller as `kube-controller-manager --controllers`
    /// takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scheduler => "kube-scheduler",
            Self::Deployment => "deployment-controller",
            Self::ReplicaSet => "replicaset-controller",
            Self::Job => "job-controller",
            Self::HorizontalPodAutoscaler => "horizontal-pod-autoscaler-controller",
            Self::GarbageCollector => "garbage-collector-controller",
            Self::Namespace => "namespace-controller",
            Self::Disruption => "disruption-controller",
            Self::NodeLifecycle => "node-lifecycle-controller",
            Self::PodGarbageCollector => "pod-garbage-collector-controller",
        }
    }
}

impl FromStr for Component {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|c| c.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("there is no '{text}' to leave out; there are {names}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for component in Component::ALL {
            assert_eq!(component.name().parse(), Ok(component));
        }
        let refused = "deployment".parse::<Component>().unwrap_err();
        assert!(refused.contains("deployment-controller"), "{refused}");
    }
}
