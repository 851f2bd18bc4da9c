//! Messages of the cluster autoscaler's protocol `externalgrpc`, as far as it is
//! spoken here: `clusterautoscaler.cloudprovider.v1.externalgrpc`.
//!
//! Written by hand: the fields are few and their numbers are fixed, and a
//! generator would be the larger thing to keep. Unknown fields are skipped, as
//! everywhere in protobuf.

use std::collections::BTreeMap;

use decide::nodes::InstanceState;

/// Path of the service; the name of the call follows.
pub const SERVICE: &str = "/clusterautoscaler.cloudprovider.v1.externalgrpc.CloudProvider/";

/// A request or an answer without content.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Empty {}

/// A group of equal nodes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NodeGroup {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(int32, tag = "2")]
    pub min_size: i32,
    #[prost(int32, tag = "3")]
    pub max_size: i32,
    #[prost(string, tag = "4")]
    pub debug: String,
}

/// Answer of `NodeGroups`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NodeGroups {
    #[prost(message, repeated, tag = "1")]
    pub node_groups: Vec<NodeGroup>,
}

/// Request of the calls that are about one group.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct OfGroup {
    #[prost(string, tag = "1")]
    pub id: String,
}

/// Answer of `NodeGroupTargetSize`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TargetSize {
    #[prost(int32, tag = "1")]
    pub target_size: i32,
}

/// Request of `NodeGroupIncreaseSize` and, with a negative delta, of
/// `NodeGroupDecreaseTargetSize`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ChangeSize {
    #[prost(int32, tag = "1")]
    pub delta: i32,
    #[prost(string, tag = "2")]
    pub id: String,
}

/// A node as the protocol names it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ExternalNode {
    #[prost(string, tag = "1")]
    pub provider_id: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(btree_map = "string, string", tag = "3")]
    pub labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "4")]
    pub annotations: BTreeMap<String, String>,
}

/// Request of `NodeGroupDeleteNodes`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeleteNodes {
    #[prost(message, repeated, tag = "1")]
    pub nodes: Vec<ExternalNode>,
    #[prost(string, tag = "2")]
    pub id: String,
}

/// Answer of `NodeGroupNodes`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Instances {
    #[prost(message, repeated, tag = "1")]
    pub instances: Vec<Machine>,
}

/// A machine; its id is its node's `spec.providerID`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Machine {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(message, optional, tag = "2")]
    pub status: Option<MachineStatus>,
}

/// How a machine is.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MachineStatus {
    #[prost(enumeration = "MachineState", tag = "1")]
    pub state: i32,
    #[prost(message, optional, tag = "2")]
    pub error: Option<MachineError>,
}

/// Life of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
pub enum MachineState {
    Unspecified = 0,
    Running = 1,
    Creating = 2,
    Deleting = 3,
}

/// Class of errors that mean a stock-out.
const OUT_OF_RESOURCE: (i32, &str) = (1, "OutOfResource");
/// Class of all others.
const OTHER: (i32, &str) = (99, "Other");

impl Machine {
    /// What the cloud says about the machine.
    pub fn state(&self) -> InstanceState {
        let status = self.status.clone().unwrap_or_default();
        let state = status.state();
        if let Some(error) = status.error.filter(|error| !error.code.is_empty()) {
            let out = error.class == OUT_OF_RESOURCE.0;
            let class = if out { OUT_OF_RESOURCE.1 } else { OTHER.1 };
            return InstanceState::Failed {
                class: class.to_owned(),
                code: error.code,
                message: error.message,
            };
        }
        match state {
            MachineState::Creating => InstanceState::Creating,
            MachineState::Deleting => InstanceState::Deleting,
            // Servers that know no states say nothing.
            MachineState::Running | MachineState::Unspecified => InstanceState::Running,
        }
    }
}

impl MachineState {
    /// How the protocol tells a state, and what went wrong.
    pub fn of(state: &InstanceState) -> (Self, Option<MachineError>) {
        match state {
            InstanceState::Creating => (Self::Creating, None),
            InstanceState::Running => (Self::Running, None),
            InstanceState::Deleting => (Self::Deleting, None),
            InstanceState::Failed {
                class,
                code,
                message,
            } => {
                let out = class == OUT_OF_RESOURCE.1;
                let class = if out { OUT_OF_RESOURCE.0 } else { OTHER.0 };
                let error = MachineError {
                    code: code.clone(),
                    message: message.clone(),
                    class,
                };
                (Self::Creating, Some(error))
            }
        }
    }
}

/// Why a machine will not come; without a code there is no error.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MachineError {
    #[prost(string, tag = "1")]
    pub code: String,
    #[prost(string, tag = "2")]
    pub message: String,
    /// 1: out of resources; 99: other.
    #[prost(int32, tag = "3")]
    pub class: i32,
}

/// Answer of `NodeGroupTemplateNodeInfo`. Older servers fill the first field
/// with a Node message, newer ones the second with its bytes: the same on the wire.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TemplateNodeInfo {
    #[prost(bytes = "vec", tag = "1")]
    pub old: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub new: Vec<u8>,
}

/// Request of `PricingNodePrice`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NodePrice {
    #[prost(message, optional, tag = "1")]
    pub node: Option<ExternalNode>,
    /// For servers of before 2025-11: `metav1.Time`, the same on the wire.
    #[prost(message, optional, tag = "2")]
    pub old_start: Option<Moment>,
    /// The same for the end.
    #[prost(message, optional, tag = "3")]
    pub old_end: Option<Moment>,
    #[prost(message, optional, tag = "4")]
    pub start: Option<Moment>,
    #[prost(message, optional, tag = "5")]
    pub end: Option<Moment>,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Moment {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// Answer of `PricingNodePrice`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Price {
    #[prost(double, tag = "1")]
    pub price: f64,
}

/// What planning reads of Kubernetes' `v1.Node`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Node {
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<Metadata>,
    #[prost(message, optional, tag = "2")]
    pub spec: Option<NodeSpec>,
    #[prost(message, optional, tag = "3")]
    pub status: Option<NodeStatus>,
}

/// Part of `ObjectMeta`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Metadata {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(btree_map = "string, string", tag = "11")]
    pub labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "12")]
    pub annotations: BTreeMap<String, String>,
}

/// Part of `NodeSpec`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NodeSpec {
    #[prost(bool, tag = "4")]
    pub unschedulable: bool,
    #[prost(message, repeated, tag = "5")]
    pub taints: Vec<Taint>,
}

/// `v1.Taint`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Taint {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
    #[prost(string, tag = "3")]
    pub effect: String,
}

/// Part of `NodeStatus`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NodeStatus {
    #[prost(btree_map = "string, message", tag = "1")]
    pub capacity: BTreeMap<String, Quantity>,
    #[prost(btree_map = "string, message", tag = "2")]
    pub allocatable: BTreeMap<String, Quantity>,
}

/// `resource.Quantity`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Quantity {
    #[prost(string, tag = "1")]
    pub string: String,
}
