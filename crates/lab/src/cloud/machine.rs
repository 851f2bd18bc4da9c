//! The life of one machine: ordered, registered, Ready, with GPUs, gone.

use std::time::Duration;

use decide::nodes::InstanceState;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::node::{self, Identity};
use super::{Account, Cloud};

impl Cloud {
    /// Runs a machine from its order until its GPUs show.
    pub(super) async fn live(self, at: usize, number: u32) {
        let fault = self.books().pools[at].fault.clone();
        if let Some((code, message)) = fault.stock_out {
            tokio::time::sleep(self.shared.options.failure).await;
            self.set_state(
                at,
                number,
                InstanceState::Failed {
                    class: "OutOfResource".to_owned(),
                    code,
                    message,
                },
            );
            self.news();
            return;
        }
        let provision = self.books().pools[at].pool.provision;
        tokio::time::sleep(provision + fault.slower + self.jitter(at, number)).await;
        self.set_state(at, number, InstanceState::Running);
        if fault.never_registers {
            return;
        }
        for step in 0..3 {
            let delay = match step {
                0 => Duration::ZERO,
                1 => self.shared.options.ready,
                _ => self
                    .shared
                    .options
                    .gpu_ready
                    .saturating_sub(self.shared.options.ready),
            };
            tokio::time::sleep(delay).await;
            if !self.exists(at, number) {
                return;
            }
            let done = match step {
                0 => self.register(at, number).await,
                1 => self.make_ready(at, number).await,
                _ => self.show_gpus(at, number).await,
            };
            if let Err(error) = done {
                // Someone removed the Node object: the machine runs on without it.
                tracing::warn!(%error, "a simulated machine could not show itself");
                return;
            }
        }
    }

    /// Removes a machine and then its Node.
    pub(super) async fn leave(self, at: usize, number: u32) {
        let registered = self.machine(at, number, |m| m.registered).unwrap_or(false);
        if registered {
            tokio::time::sleep(self.shared.options.removal).await;
        }
        let name = self.machine(at, number, |m| m.instance.name.clone());
        self.books().pools[at].machines.remove(&number);
        if let Some(name) = name.filter(|_| registered) {
            let gone = self.nodes().delete(&name, &DeleteParams::default()).await;
            if let Err(error) = gone
                && !matches!(&error, kube::Error::Api(status) if status.code == 404)
            {
                tracing::warn!(%error, node = name, "removing a simulated node failed");
            }
        }
        self.news();
    }

    fn nodes(&self) -> Api<DynamicObject> {
        Api::all_with(self.shared.client.clone(), &ApiResource::erase::<Node>(&()))
    }

    fn set_state(&self, at: usize, number: u32, state: InstanceState) {
        let mut books = self.books();
        if let Some(machine) = books.pools[at].machines.get_mut(&number)
            && machine.instance.state != InstanceState::Deleting
        {
            machine.instance.state = state;
        }
    }

    fn machine<T>(
        &self,
        at: usize,
        number: u32,
        read: impl FnOnce(&super::Machine) -> T,
    ) -> Option<T> {
        self.books().pools[at].machines.get(&number).map(read)
    }

    fn exists(&self, at: usize, number: u32) -> bool {
        self.machine(at, number, |m| m.instance.state != InstanceState::Deleting) == Some(true)
    }

    /// A pool's node object for a machine, as it registers.
    pub(super) fn describe(
        &self,
        account: &Account,
        name: &str,
        number: u32,
        address: u32,
    ) -> Value {
        let options = &self.shared.options;
        let identity = Identity {
            name,
            group: &account.group,
            number,
            address,
            seed: options.seed,
            kubelet: &options.kubelet,
            region: &options.region,
            now: self.shared.clock.now(),
        };
        node::registering(&account.pool, &identity)
    }

    /// Makes the Node object.
    pub(super) async fn register(&self, at: usize, number: u32) -> Result<(), kube::Error> {
        let object = {
            let mut books = self.books();
            let account = &mut books.pools[at];
            let Some(machine) = account.machines.get_mut(&number) else {
                return Ok(());
            };
            machine.registered = true;
            machine.instance.state = InstanceState::Running;
            let machine = machine.clone();
            self.describe(account, &machine.instance.name, number, machine.address)
        };
        let status = json!({"status": object["status"]});
        let name = object["metadata"]["name"].as_str().unwrap_or("").to_owned();
        let object: DynamicObject =
            serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
        let nodes = self.nodes();
        nodes.create(&PostParams::default(), &object).await?;
        nodes
            .patch_status(&name, &PatchParams::default(), &Patch::Merge(&status))
            .await?;
        Ok(())
    }

    /// The kubelet says that it is Ready, and the taint of new nodes goes.
    pub(super) async fn make_ready(&self, at: usize, number: u32) -> Result<(), kube::Error> {
        let Some(name) = self.machine(at, number, |m| m.instance.name.clone()) else {
            return Ok(());
        };
        let nodes = self.nodes();
        let status =
            json!({"status": {"conditions": node::conditions(self.shared.clock.now(), true)}});
        nodes
            .patch_status(&name, &PatchParams::default(), &Patch::Merge(&status))
            .await?;
        let node = nodes.get(&name).await?;
        let mut taints: Vec<Value> = node.data["spec"]["taints"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        taints.retain(|t| t["key"] != node::NOT_READY);
        let taints = if taints.is_empty() {
            Value::Null
        } else {
            json!(taints)
        };
        let patch = json!({"spec": {"taints": taints}});
        nodes
            .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        Ok(())
    }

    /// The device plugin registers the GPUs.
    pub(super) async fn show_gpus(&self, at: usize, number: u32) -> Result<(), kube::Error> {
        let Some(name) = self.machine(at, number, |m| m.instance.name.clone()) else {
            return Ok(());
        };
        let Some(gpus) = self.books().pools[at].pool.gpu_resource() else {
            return Ok(());
        };
        let (resource, count) = gpus;
        let amount = json!({resource: count.to_string()});
        let patch = json!({"status": {"capacity": amount, "allocatable": amount}});
        self.nodes()
            .patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        Ok(())
    }

    /// A machine's own addition to the provisioning delay.
    fn jitter(&self, at: usize, number: u32) -> Duration {
        let most = u64::try_from(self.shared.options.jitter.as_millis()).unwrap_or(u64::MAX);
        if most == 0 {
            return Duration::ZERO;
        }
        let group = self.books().pools[at].group.clone();
        let drawn = node::draw(
            self.shared.options.seed,
            &format!("jitter/{group}/{number}"),
        );
        Duration::from_millis(drawn % most.saturating_add(1))
    }
}
