//! Clouds that speak the cluster autoscaler's `externalgrpc` protocol.
//!
//! A server that was written for the cluster autoscaler works unchanged:
//! groups, sizes and machines are asked for anew in each round, what a new node
//! will be like and what it costs once for each group. Options of groups are
//! not asked for: most servers answer with zeros for what they do not know, and
//! the autoscaler then removes machines that still boot.

mod config;
pub mod node;
#[allow(missing_docs)] // The fields are the protocol's.
pub mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clock::Clock;
use decide::fit::NodeInfo;
use decide::nodes::{Instance, InstanceState, PoolView};
use futures::future::{BoxFuture, try_join_all};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use prost::Message;
use serde_json::{Value, json};
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::provider::{Provider, ProviderError};
use wire::MachineState;

pub use config::{CloudConfig, TlsFiles};

/// How often the cloud is looked at when nothing happens in the cluster; the
/// cluster autoscaler's `scan-interval`.
const REFRESH: Duration = Duration::from_secs(10);

/// A cloud behind a gRPC server.
pub struct ExternalGrpc {
    channel: Channel,
    timeout: Duration,
    client: kube::Client,
    clock: Clock,
    memory: Mutex<Memory>,
}

/// What is not asked for in each round.
#[derive(Default)]
struct Memory {
    refreshed: Option<Timestamp>,
    groups: BTreeMap<String, Group>,
    /// Nodes by their provider id, as last listed.
    nodes: BTreeMap<String, Value>,
    /// When a machine was first told of.
    ordered: BTreeMap<String, Timestamp>,
}

#[derive(Clone)]
struct Group {
    /// What a new node will be like; nothing where neither the cloud nor a node
    /// has told so far.
    template: Option<NodeInfo>,
    price: f64,
    target: i32,
}

impl ExternalGrpc {
    /// The cloud at the other end of `channel`; nodes are found by their
    /// provider ids through `client`.
    pub fn new(channel: Channel, timeout: Duration, client: kube::Client, clock: Clock) -> Self {
        Self {
            channel,
            timeout,
            client,
            clock,
            memory: Mutex::default(),
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One call, with the deadline of all calls.
    async fn call<Q, A>(&self, name: &str, question: Q) -> Result<A, Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let path = format!("{}{name}", wire::SERVICE);
        let path = http::uri::PathAndQuery::from_maybe_shared(path)
            .map_err(|error| Status::internal(error.to_string()))?;
        let asked = async {
            let mut grpc = Grpc::new(self.channel.clone());
            let ready = grpc.ready().await;
            ready.map_err(|error| Status::unavailable(api::causes(&error)))?;
            let codec = tonic_prost::ProstCodec::<Q, A>::default();
            let request = tonic::Request::new(question);
            Ok(grpc.unary(request, path, codec).await?.into_inner())
        };
        let late = |_| Status::deadline_exceeded(format!("no answer within {:?}", self.timeout));
        tokio::time::timeout(self.timeout, asked)
            .await
            .unwrap_or_else(|elapsed| Err(late(elapsed)))
    }

    async fn look(&self) -> Result<Vec<PoolView>, ProviderError> {
        self.refresh().await?;
        let asked = self.call("NodeGroups", wire::Empty {}).await;
        let groups: wire::NodeGroups = asked.map_err(|status| refusal("NodeGroups", &status))?;
        let details = groups
            .node_groups
            .iter()
            .map(|group| self.details(&group.id));
        let details = try_join_all(details).await?;
        let machines = || details.iter().flat_map(|(_, machines)| machines);
        self.find_nodes(machines()).await?;
        let mut pools = Vec::new();
        for (group, (target, machines)) in groups.node_groups.iter().zip(&details) {
            let known = self.group(&group.id, *target, machines).await?;
            pools.push(self.view(group, known, machines));
        }
        let mut memory = self.memory();
        let there: BTreeSet<&String> = machines().map(|machine| &machine.id).collect();
        memory.ordered.retain(|id, _| there.contains(id));
        memory.nodes.retain(|id, _| there.contains(id));
        Ok(pools)
    }

    async fn refresh(&self) -> Result<(), ProviderError> {
        let now = self.clock.now();
        let fresh = |at: Timestamp| now.duration_since(at).unsigned_abs() < REFRESH;
        if self.memory().refreshed.is_some_and(fresh) {
            return Ok(());
        }
        let done = self.call::<_, wire::Empty>("Refresh", wire::Empty {}).await;
        done.map_err(|status| refusal("Refresh", &status))?;
        self.memory().refreshed = Some(now);
        Ok(())
    }

    async fn details(&self, group: &str) -> Result<(i32, Vec<wire::Machine>), ProviderError> {
        let of_group = || wire::OfGroup {
            id: group.to_owned(),
        };
        let (size, machines) = futures::join!(
            self.call::<_, wire::TargetSize>("NodeGroupTargetSize", of_group()),
            self.call::<_, wire::Instances>("NodeGroupNodes", of_group()),
        );
        let size = size.map_err(|status| refusal("NodeGroupTargetSize", &status))?;
        let machines = machines.map_err(|status| refusal("NodeGroupNodes", &status))?;
        Ok((size.target_size, machines.instances))
    }

    /// Lists the nodes where a running machine's is not known yet.
    async fn find_nodes(
        &self,
        machines: impl Iterator<Item = &wire::Machine>,
    ) -> Result<(), ProviderError> {
        let missing = {
            let memory = self.memory();
            let mut running = machines.filter(|machine| state(machine) == MachineState::Running);
            running.any(|machine| !memory.nodes.contains_key(&machine.id))
        };
        if !missing {
            return Ok(());
        }
        let nodes: Api<Node> = Api::all(self.client.clone());
        let listed = nodes.list(&ListParams::default()).await;
        let listed = listed.map_err(|error| ProviderError(format!("nodes: {error}")))?;
        let by_id = listed.items.iter().filter_map(|node| {
            let id = node.spec.as_ref()?.provider_id.clone()?;
            Some((id, serde_json::to_value(node).ok()?))
        });
        self.memory().nodes = by_id.collect();
        Ok(())
    }

    /// What is known of a group; asked for where it is not.
    async fn group(
        &self,
        id: &str,
        target: i32,
        machines: &[wire::Machine],
    ) -> Result<Group, ProviderError> {
        let known = self.memory().groups.get(id).cloned();
        let first = known.is_none();
        let mut group = match known {
            Some(group) if group.template.is_some() => group,
            _ => {
                let of_group = wire::OfGroup { id: id.to_owned() };
                let name = "NodeGroupTemplateNodeInfo";
                let node = match self.call::<_, wire::TemplateNodeInfo>(name, of_group).await {
                    Ok(answer) => Some(template(id, &answer)?),
                    Err(status) if status.code() == Code::Unimplemented => self.learn(machines),
                    Err(status) => return Err(refusal(name, &status)),
                };
                let price = match &node {
                    Some(node) => self.price(node).await?,
                    None => 0.0,
                };
                if node.is_none() && first {
                    tracing::warn!(
                        "group {id}: the cloud tells no template, and there is no node to learn \
                         from; it cannot grow"
                    );
                }
                Group {
                    template: node.as_ref().map(NodeInfo::parse),
                    price,
                    target,
                }
            }
        };
        group.target = target;
        self.memory().groups.insert(id.to_owned(), group.clone());
        Ok(group)
    }

    /// A group's node as an example of a new one.
    fn learn(&self, machines: &[wire::Machine]) -> Option<Value> {
        let memory = self.memory();
        let mut node = machines
            .iter()
            .find_map(|m| memory.nodes.get(&m.id))?
            .clone();
        drop(memory);
        node["metadata"]["name"] = json!("template");
        node["metadata"]["labels"]["kubernetes.io/hostname"] = json!("template");
        node["spec"]["unschedulable"] = json!(false);
        node["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
        if let Some(taints) = node["spec"]["taints"].as_array_mut() {
            let passing = ["node.kubernetes.io/", "node.cloudprovider.kubernetes.io/"];
            let ours = [
                "ToBeDeletedByClusterAutoscaler",
                "DeletionCandidateOfClusterAutoscaler",
            ];
            taints.retain(|taint| {
                let key = taint["key"].as_str().unwrap_or_default();
                !passing.iter().any(|prefix| key.starts_with(prefix)) && !ours.contains(&key)
            });
        }
        Some(node)
    }

    /// Cost of such a node for an hour; 0 where the cloud does not tell.
    async fn price(&self, node: &Value) -> Result<f64, ProviderError> {
        let start = self.clock.now();
        let moment = |seconds: i64| wire::Moment {
            seconds: start.as_second() + seconds,
            nanos: 0,
        };
        let question = wire::NodePrice {
            node: Some(external("", node)),
            start: Some(moment(0)),
            end: Some(moment(3_600)),
        };
        match self
            .call::<_, wire::Price>("PricingNodePrice", question)
            .await
        {
            Ok(answer) => Ok(answer.price),
            Err(status) if status.code() == Code::Unimplemented => Ok(0.0),
            Err(status) => Err(refusal("PricingNodePrice", &status)),
        }
    }

    fn view(&self, group: &wire::NodeGroup, known: Group, machines: &[wire::Machine]) -> PoolView {
        let now = self.clock.now();
        let mut memory = self.memory();
        let instances = machines.iter().map(|machine| Instance {
            name: name(&memory.nodes, &machine.id),
            ordered: *memory.ordered.entry(machine.id.clone()).or_insert(now),
            state: instance_state(machine),
        });
        let instances = instances.collect();
        let size = |n: i32| u32::try_from(n).unwrap_or(0);
        // One without amounts takes no pod.
        let nothing = || NodeInfo::parse(&json!({"metadata": {"name": "template"}}));
        PoolView {
            group: group.id.clone(),
            min: size(group.min_size),
            max: size(group.max_size),
            target: size(known.target),
            price: known.price,
            priority: None,
            template: known.template.unwrap_or_else(nothing),
            instances,
        }
    }

    async fn change(&self, group: &str, to: u32) -> Result<(), ProviderError> {
        let known = self.memory().groups.get(group).map(|group| group.target);
        let Some(target) = known else {
            return Err(ProviderError(format!("there is no group {group}")));
        };
        let to = i32::try_from(to).unwrap_or(i32::MAX);
        let call = match to.cmp(&target) {
            std::cmp::Ordering::Equal => return Ok(()),
            std::cmp::Ordering::Greater => "NodeGroupIncreaseSize",
            std::cmp::Ordering::Less => "NodeGroupDecreaseTargetSize",
        };
        let question = wire::ChangeSize {
            delta: to - target,
            id: group.to_owned(),
        };
        let done = self.call::<_, wire::Empty>(call, question).await;
        done.map_err(|status| ProviderError(words(&status)))?;
        if let Some(group) = self.memory().groups.get_mut(group) {
            group.target = to;
        }
        Ok(())
    }

    async fn delete(&self, group: &str, node: &str) -> Result<(), ProviderError> {
        let node = {
            let memory = self.memory();
            let found = memory
                .nodes
                .iter()
                .find(|(_, n)| n["metadata"]["name"] == node);
            match found {
                Some((id, found)) => external(id, found),
                // A machine whose node never came has its id for a name.
                None => external(node, &json!({"metadata": {"name": node}})),
            }
        };
        let question = wire::DeleteNodes {
            nodes: vec![node],
            id: group.to_owned(),
        };
        let done = self
            .call::<_, wire::Empty>("NodeGroupDeleteNodes", question)
            .await;
        done.map(drop)
            .map_err(|status| ProviderError(words(&status)))
    }
}

impl Provider for ExternalGrpc {
    fn pools(&self) -> BoxFuture<'_, Result<Vec<PoolView>, ProviderError>> {
        Box::pin(self.look())
    }

    fn resize(&self, group: &str, to: u32) -> BoxFuture<'_, Result<(), ProviderError>> {
        let group = group.to_owned();
        Box::pin(async move { self.change(&group, to).await })
    }

    fn remove(&self, group: &str, node: &str) -> BoxFuture<'_, Result<(), ProviderError>> {
        let (group, node) = (group.to_owned(), node.to_owned());
        Box::pin(async move { self.delete(&group, &node).await })
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(REFRESH))
    }
}

/// What a question failed with; an order's refusal is the cloud's words alone.
fn refusal(call: &str, status: &Status) -> ProviderError {
    ProviderError(format!("{call}: {}", words(status)))
}

fn words(status: &Status) -> String {
    match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    }
}

/// The name of a machine's node, or its id until there is one.
fn name(nodes: &BTreeMap<String, Value>, id: &str) -> String {
    let node = nodes.get(id);
    let name = node.and_then(|node| node["metadata"]["name"].as_str());
    name.unwrap_or(id).to_owned()
}

fn external(id: &str, node: &Value) -> wire::ExternalNode {
    let texts = |field: &str| -> BTreeMap<String, String> {
        serde_json::from_value(node["metadata"][field].clone()).unwrap_or_default()
    };
    wire::ExternalNode {
        provider_id: id.to_owned(),
        name: node["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        labels: texts("labels"),
        annotations: texts("annotations"),
    }
}

fn state(machine: &wire::Machine) -> MachineState {
    let state = machine
        .status
        .as_ref()
        .map_or(MachineState::Running, wire::MachineStatus::state);
    match state {
        // Servers that know no states say nothing.
        MachineState::Unspecified => MachineState::Running,
        state => state,
    }
}

fn instance_state(machine: &wire::Machine) -> InstanceState {
    let error = machine
        .status
        .as_ref()
        .and_then(|status| status.error.as_ref());
    if let Some(error) = error.filter(|error| !error.code.is_empty()) {
        return InstanceState::Failed {
            class: if error.class == 1 {
                "OutOfResource"
            } else {
                "Other"
            }
            .to_owned(),
            code: error.code.clone(),
            message: error.message.clone(),
        };
    }
    match state(machine) {
        MachineState::Creating => InstanceState::Creating,
        MachineState::Deleting => InstanceState::Deleting,
        MachineState::Running | MachineState::Unspecified => InstanceState::Running,
    }
}

fn template(group: &str, answer: &wire::TemplateNodeInfo) -> Result<Value, ProviderError> {
    let bytes = match answer.new.is_empty() {
        true => &answer.old,
        false => &answer.new,
    };
    let node = wire::Node::decode(bytes.as_slice()).map_err(|error| {
        ProviderError(format!(
            "group {group}: the template's Node cannot be read: {error}"
        ))
    })?;
    Ok(node::to_json(node))
}
