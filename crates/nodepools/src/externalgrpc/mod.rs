//! Clouds that speak the cluster autoscaler's `externalgrpc` protocol.
//!
//! Groups, sizes and machines are asked for anew in each round, what a new node
//! will be like and what it costs every few minutes. Options of groups are not
//! asked for: most servers answer with zeros for what they do not know, and the
//! autoscaler then removes machines that still boot.

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

pub use config::{CloudConfig, TlsFiles};

/// How often the cloud is looked at when nothing happens in the cluster; the
/// cluster autoscaler's `scan-interval`.
const REFRESH: Duration = Duration::from_secs(10);
/// How often the nodes are listed at most while a machine's is not known.
const LIST: Duration = Duration::from_secs(2);
/// Between a group's id and a number: a machine that is not told of yet.
const AWAITED: &str = "/awaited-";
/// How long a template and a price count.
const TEMPLATE: Duration = Duration::from_secs(300);

/// A cloud behind a gRPC server.
pub struct ExternalGrpc {
    channel: Channel,
    /// How messages name the server.
    address: String,
    timeout: Duration,
    client: kube::Client,
    clock: Clock,
    memory: Mutex<Memory>,
}

/// What is not asked for in each round.
#[derive(Default)]
struct Memory {
    refreshed: Option<Timestamp>,
    listed: Option<Timestamp>,
    groups: BTreeMap<String, Group>,
    /// Nodes by their provider id, as last listed.
    nodes: BTreeMap<String, Value>,
    /// When a machine, or one that was ordered and is not told of yet, was first
    /// seen.
    ordered: BTreeMap<String, Timestamp>,
}

#[derive(Clone)]
struct Group {
    /// What the cloud says that a new node will be like, if it does.
    template: Option<NodeInfo>,
    price: f64,
    /// When it was asked.
    asked: Timestamp,
    target: i32,
}

impl ExternalGrpc {
    /// The cloud at the other end of `channel`, which is `config`'s; nodes are
    /// found by their provider ids through `client`.
    pub fn new(channel: Channel, config: CloudConfig, client: kube::Client, clock: Clock) -> Self {
        Self {
            channel,
            address: config.address,
            timeout: config.timeout,
            client,
            clock,
            memory: Mutex::default(),
        }
    }

    /// What a question failed with; an order's refusal is the cloud's words alone.
    fn refusal(&self, call: &str, status: &Status) -> ProviderError {
        let address = &self.address;
        ProviderError(format!("{call} at {address}: {}", words(status)))
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
            ready.map_err(|error| Status::from_error(error.into()))?;
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
        let groups: wire::NodeGroups =
            asked.map_err(|status| self.refusal("NodeGroups", &status))?;
        let details = groups
            .node_groups
            .iter()
            .map(|group| self.details(&group.id));
        let details = try_join_all(details).await?;
        let machines = || details.iter().flat_map(|(_, machines)| machines);
        self.find_nodes(machines()).await?;
        let mut pools = Vec::new();
        for (group, (target, machines)) in groups.node_groups.iter().zip(&details) {
            let mut known = self.group(&group.id, *target).await?;
            if known.template.is_none() {
                known.template = self.learn(machines).await?;
            }
            pools.push(self.view(group, known, machines));
        }
        let mut memory = self.memory();
        let named = pools.iter().map(|pool| pool.group.as_str());
        let named: BTreeSet<&str> = named.collect();
        memory.groups.retain(|id, _| named.contains(id.as_str()));
        let there: BTreeSet<&str> = machines().map(|machine| machine.id.as_str()).collect();
        memory.nodes.retain(|id, _| there.contains(id.as_str()));
        let awaited = pools.iter().flat_map(|pool| &pool.instances);
        let awaited: BTreeSet<&str> = awaited.map(|instance| instance.name.as_str()).collect();
        memory
            .ordered
            .retain(|id, _| there.contains(id.as_str()) || awaited.contains(id.as_str()));
        Ok(pools)
    }

    async fn refresh(&self) -> Result<(), ProviderError> {
        let now = self.clock.now();
        if self
            .memory()
            .refreshed
            .is_some_and(|at| recent(at, now, REFRESH))
        {
            return Ok(());
        }
        let done = self.call::<_, wire::Empty>("Refresh", wire::Empty {}).await;
        done.map_err(|status| self.refusal("Refresh", &status))?;
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
        let size = size.map_err(|status| self.refusal("NodeGroupTargetSize", &status))?;
        let machines = machines.map_err(|status| self.refusal("NodeGroupNodes", &status))?;
        Ok((size.target_size, machines.instances))
    }

    /// Lists the nodes while a machine's is not known, every two seconds at the
    /// most.
    async fn find_nodes(
        &self,
        machines: impl Iterator<Item = &wire::Machine>,
    ) -> Result<(), ProviderError> {
        let now = self.clock.now();
        {
            let mut memory = self.memory();
            let mut machines = machines.filter(|m| m.state() != InstanceState::Deleting);
            let missing = machines.any(|machine| !memory.nodes.contains_key(&machine.id));
            if !missing || memory.listed.is_some_and(|at| recent(at, now, LIST)) {
                return Ok(());
            }
            memory.listed = Some(now);
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

    /// What the cloud says of a group.
    async fn group(&self, id: &str, target: i32) -> Result<Group, ProviderError> {
        let now = self.clock.now();
        let known = self.memory().groups.get(id).cloned();
        let known = known.filter(|group| recent(group.asked, now, TEMPLATE));
        let mut group = match known {
            Some(group) => group,
            None => {
                let of_group = wire::OfGroup { id: id.to_owned() };
                let name = "NodeGroupTemplateNodeInfo";
                let node = match self.call::<_, wire::TemplateNodeInfo>(name, of_group).await {
                    Ok(answer) => template(id, &answer)?,
                    Err(status) if status.code() == Code::Unimplemented => None,
                    Err(status) => return Err(self.refusal(name, &status)),
                };
                let price = match &node {
                    Some(node) => self.price(id, node).await,
                    None => 0.0,
                };
                Group {
                    template: node.as_ref().map(NodeInfo::parse),
                    price,
                    asked: now,
                    target,
                }
            }
        };
        group.target = target;
        self.memory().groups.insert(id.to_owned(), group.clone());
        Ok(group)
    }

    /// A node of the group as an example of a new one. Only one that has started
    /// will do: GPUs and labels come after a node has registered.
    async fn learn(&self, machines: &[wire::Machine]) -> Result<Option<NodeInfo>, ProviderError> {
        let names: Vec<String> = {
            let memory = self.memory();
            let names = machines
                .iter()
                .map(|machine| name(&memory.nodes, &machine.id));
            names.collect()
        };
        let nodes: Api<Node> = Api::all(self.client.clone());
        for name in names {
            let found = nodes.get_opt(&name).await;
            let found = found.map_err(|error| ProviderError(format!("nodes: {error}")))?;
            let node = found.map(|node| serde_json::to_value(node).unwrap_or_default());
            if let Some(example) = node.and_then(|node| node::example(node, self.clock.now())) {
                return Ok(Some(NodeInfo::parse(&example)));
            }
        }
        Ok(None)
    }

    /// Cost of such a node for an hour; 0 where the cloud does not tell.
    async fn price(&self, group: &str, node: &Value) -> f64 {
        let now = self.clock.now();
        let moment = |seconds: i64| {
            Some(wire::Moment {
                seconds: now.as_second() + seconds,
                nanos: 0,
            })
        };
        let question = wire::NodePrice {
            node: Some(external("", node)),
            old_start: moment(0),
            old_end: moment(3_600),
            start: moment(0),
            end: moment(3_600),
        };
        match self
            .call::<_, wire::Price>("PricingNodePrice", question)
            .await
        {
            Ok(answer) => answer.price,
            Err(status) if status.code() == Code::Unimplemented => 0.0,
            Err(status) => {
                // A price decides among pools; without one they can grow all the same.
                let why = words(&status);
                tracing::warn!("group {group}: the cloud tells no price, taken as 0: {why}");
                0.0
            }
        }
    }

    fn view(&self, group: &wire::NodeGroup, known: Group, machines: &[wire::Machine]) -> PoolView {
        let now = self.clock.now();
        let mut memory = self.memory();
        let mut instances = Vec::new();
        let mut first_seen = |id: &str| *memory.ordered.entry(id.to_owned()).or_insert(now);
        for machine in machines {
            instances.push(Instance {
                name: machine.id.clone(),
                ordered: first_seen(&machine.id),
                state: machine.state(),
            });
        }
        // What was ordered and is not told of yet is on its way nevertheless.
        let leaves = |machine: &&wire::Machine| machine.state() == InstanceState::Deleting;
        let alive = machines.len() - machines.iter().filter(leaves).count();
        let told = i32::try_from(alive).unwrap_or(i32::MAX);
        for n in 0..known.target.saturating_sub(told) {
            let name = format!("{}{AWAITED}{n}", group.id);
            instances.push(Instance {
                ordered: first_seen(&name),
                name,
                state: InstanceState::Creating,
            });
        }
        for instance in &mut instances {
            instance.name = name(&memory.nodes, &instance.name);
        }
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
        if node.starts_with(&format!("{group}{AWAITED}")) {
            let known = self.memory().groups.get(group).map(|group| group.target);
            let less = known.unwrap_or(0).saturating_sub(1);
            return self.change(group, u32::try_from(less).unwrap_or(0)).await;
        }
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

fn recent(at: Timestamp, now: Timestamp, limit: Duration) -> bool {
    now.duration_since(at).unsigned_abs() < limit
}

/// The cloud's words, or why they did not come.
fn words(status: &Status) -> String {
    match (status.message(), std::error::Error::source(status)) {
        (_, Some(source)) => api::causes(source),
        ("", None) => status.code().description().to_owned(),
        (message, None) => message.to_owned(),
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

/// The template's Node as JSON; an empty one is none.
fn template(group: &str, answer: &wire::TemplateNodeInfo) -> Result<Option<Value>, ProviderError> {
    let bytes = match answer.new.is_empty() {
        true => &answer.old,
        false => &answer.new,
    };
    if bytes.is_empty() {
        return Ok(None);
    }
    let node = wire::Node::decode(bytes.as_slice()).map_err(|error| {
        ProviderError(format!(
            "group {group}: the template's Node cannot be read: {error}"
        ))
    })?;
    Ok(Some(node::to_json(node)))
}
