//! A simulated cloud: node pools whose machines appear after a while.
//!
//! Like any cloud it keeps its own books and shows machines as Node objects
//! through the Kubernetes API. A machine that was ordered registers after its
//! pool's provisioning delay, becomes Ready, and shows its GPUs once the device
//! plugin has started. Stock-outs, refusals and slow machines can be injected.

pub mod grpc;
mod machine;
mod node;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use api::pool::Pool;
use clock::Clock;
use decide::fit::NodeInfo;
use decide::nodes::{Instance, InstanceState, PoolView};
use futures::future::BoxFuture;
use nodepools::{Provider, ProviderError};
use tokio::sync::watch;

pub use node::group_name;

/// How the cloud behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The pools.
    pub pools: Vec<Pool>,
    /// Seed of names and of jitter.
    pub seed: u64,
    /// From a machine's Ready until its GPUs are allocatable.
    pub gpu_ready: Duration,
    /// From a machine's registration until it is Ready.
    pub ready: Duration,
    /// From the order to remove a machine until its Node is gone.
    pub removal: Duration,
    /// From an order that meets a stock-out until the machine is reported as failed.
    pub failure: Duration,
    /// Largest random addition to the provisioning delay, drawn from the seed.
    pub jitter: Duration,
    /// Version that the kubelets report.
    pub kubelet: String,
    /// Region in labels and addresses.
    pub region: String,
}

impl Options {
    /// A cloud with these pools and the lab's default delays.
    pub fn new(pools: Vec<Pool>, seed: u64) -> Self {
        Self {
            pools,
            seed,
            gpu_ready: Duration::from_secs(20),
            ready: Duration::from_secs(2),
            removal: Duration::from_secs(10),
            failure: Duration::from_secs(5),
            jitter: Duration::ZERO,
            kubelet: "v1.37.2".to_owned(),
            region: "eastus".to_owned(),
        }
    }
}

/// What goes wrong in a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// New machines fail after a moment, with this code and message.
    pub stock_out: Option<(String, String)>,
    /// Orders are refused with these words.
    pub refused: Option<String>,
    /// Machines take this much longer.
    pub slower: Duration,
    /// Machines come up, but their nodes never register.
    pub never_registers: bool,
    /// Who asks by gRPC what a new node will be like is told nothing.
    pub no_template: bool,
    /// Who asks by gRPC is told of a new machine only after this long.
    pub listed_after: Duration,
}

/// A pool as the lab's view shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolSummary {
    /// The pool.
    pub pool: Pool,
    /// The cloud's name of its group.
    pub group: String,
    /// Machines asked for.
    pub target: u32,
    /// Machines whose nodes are registered.
    pub registered: u32,
}

/// A simulated cloud. Cheap to clone.
#[derive(Clone)]
pub struct Cloud {
    shared: Arc<Shared>,
}

struct Shared {
    client: kube::Client,
    clock: Clock,
    options: Options,
    books: Mutex<Books>,
    news: watch::Sender<u64>,
}

/// What the cloud knows about its machines.
struct Books {
    pools: Vec<Account>,
    addresses: u32,
}

struct Account {
    pool: Pool,
    group: String,
    target: u32,
    /// Number of the next machine; never used twice, as in a scale set.
    next: u32,
    fault: Fault,
    machines: BTreeMap<u32, Machine>,
}

#[derive(Clone, Debug)]
struct Machine {
    instance: Instance,
    address: u32,
    registered: bool,
}

impl Cloud {
    /// A cloud without machines; [`Cloud::start`] brings up the first ones.
    pub fn new(client: kube::Client, clock: Clock, options: Options) -> Self {
        let pools = options
            .pools
            .iter()
            .map(|pool| Account {
                group: group_name(&pool.name, options.seed),
                pool: pool.clone(),
                target: 0,
                next: 0,
                fault: Fault::default(),
                machines: BTreeMap::new(),
            })
            .collect();
        let shared = Shared {
            client,
            clock,
            options,
            books: Mutex::new(Books {
                pools,
                addresses: 0,
            }),
            news: watch::Sender::new(0),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Brings up each pool's first machines, Ready and with their GPUs at once.
    ///
    /// # Errors
    /// When the API refuses a node.
    pub async fn start(&self) -> Result<(), kube::Error> {
        let mut first = Vec::new();
        {
            let mut books = self.books();
            for at in 0..books.pools.len() {
                for _ in 0..books.pools[at].pool.count {
                    first.push((at, self.enter(&mut books, at)));
                }
                books.pools[at].target = books.pools[at].pool.count;
            }
        }
        for (at, number) in first {
            self.register(at, number).await?;
            self.make_ready(at, number).await?;
            self.show_gpus(at, number).await?;
        }
        Ok(())
    }

    /// Makes something go wrong in a pool from now on; true if there is such a pool.
    pub fn inject(&self, pool: &str, fault: Fault) -> bool {
        let mut books = self.books();
        let found = books.pools.iter_mut().find(|a| a.pool.name == pool);
        found.map(|account| account.fault = fault).is_some()
    }

    /// The pools as they are.
    pub fn summaries(&self) -> Vec<PoolSummary> {
        let books = self.books();
        let summary = |account: &Account| PoolSummary {
            pool: account.pool.clone(),
            group: account.group.clone(),
            target: account.target,
            registered: u32::try_from(account.machines.values().filter(|m| m.registered).count())
                .unwrap_or(u32::MAX),
        };
        books.pools.iter().map(summary).collect()
    }

    /// The cloud as the node-pool controller takes it.
    pub fn provider(&self) -> Arc<dyn Provider> {
        Arc::new(self.clone())
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Nobody panics while holding it; if one did, the numbers are still whole.
        self.shared
            .books
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn news(&self) {
        self.shared.news.send_modify(|n| *n += 1);
    }

    /// Enters a new machine into the books.
    fn enter(&self, books: &mut Books, at: usize) -> u32 {
        books.addresses += 1;
        let address = books.addresses;
        let account = &mut books.pools[at];
        let number = account.next;
        account.next += 1;
        let instance = Instance {
            name: node::machine_name(&account.group, number),
            ordered: self.shared.clock.now(),
            state: InstanceState::Creating,
        };
        account.machines.insert(
            number,
            Machine {
                instance,
                address,
                registered: false,
            },
        );
        number
    }

    fn view(&self) -> Vec<PoolView> {
        let books = self.books();
        let view = |account: &Account| {
            let sample = self.describe(account, "template", 0, 0);
            PoolView {
                group: account.group.clone(),
                min: account.pool.min,
                max: account.pool.max,
                target: account.target,
                price: account.pool.price,
                priority: None,
                template: NodeInfo::parse(&node::finished(&account.pool, &sample)),
                instances: account
                    .machines
                    .values()
                    .map(|m| m.instance.clone())
                    .collect(),
            }
        };
        books.pools.iter().map(view).collect()
    }

    /// A Node of the group as it will be, where the cloud tells that.
    fn sample(&self, group: &str) -> Option<serde_json::Value> {
        let books = self.books();
        let account = books.pools.iter().find(|a| a.group == group)?;
        let node = self.describe(account, "template", 0, 0);
        (!account.fault.no_template).then(|| node::finished(&account.pool, &node))
    }

    /// The machines of a group, each with its provider id.
    fn machines_of(&self, group: &str) -> Vec<(String, Instance)> {
        let books = self.books();
        let accounts = books.pools.iter().filter(|a| a.group == group);
        let now = self.shared.clock.now();
        let listed = |account: &Account, machine: &Machine| {
            let age = now.duration_since(machine.instance.ordered).unsigned_abs();
            age >= account.fault.listed_after
        };
        let machines = accounts.flat_map(|a| a.machines.iter().map(move |m| (a, m)));
        let machines = machines.filter(|(account, (_, machine))| listed(account, machine));
        let with_id = machines.map(|(account, (number, machine))| {
            let name = &machine.instance.name;
            let node = self.describe(account, name, *number, machine.address);
            let id = node["spec"]["providerID"].as_str().unwrap_or_default();
            (id.to_owned(), machine.instance.clone())
        });
        with_id.collect()
    }

    fn order(&self, group: &str, to: u32) -> Result<(), ProviderError> {
        let mut books = self.books();
        let Some(at) = books.pools.iter().position(|a| a.group == group) else {
            return Err(ProviderError(format!("there is no group {group}")));
        };
        let account = &books.pools[at];
        if let Some(words) = &account.fault.refused {
            return Err(ProviderError(words.clone()));
        }
        if to > account.pool.max {
            let max = account.pool.max;
            return Err(ProviderError(format!(
                "group {group} holds at most {max} nodes"
            )));
        }
        let new = to.saturating_sub(account.target);
        books.pools[at].target += new;
        for _ in 0..new {
            let number = self.enter(&mut books, at);
            tokio::spawn(self.clone().live(at, number));
        }
        drop(books);
        self.news();
        Ok(())
    }

    fn release(&self, group: &str, name: &str) -> Result<(), ProviderError> {
        let mut books = self.books();
        let found = books
            .pools
            .iter_mut()
            .enumerate()
            .find(|(_, a)| a.group == group);
        let Some((at, account)) = found else {
            return Err(ProviderError(format!("there is no group {group}")));
        };
        let machine = account
            .machines
            .iter_mut()
            .find(|(_, m)| m.instance.name == name);
        let Some((number, machine)) = machine else {
            return Err(ProviderError(format!(
                "group {group} has no machine {name}"
            )));
        };
        if machine.instance.state != InstanceState::Deleting {
            machine.instance.state = InstanceState::Deleting;
            account.target = account.target.saturating_sub(1);
            tokio::spawn(self.clone().leave(at, *number));
        }
        drop(books);
        self.news();
        Ok(())
    }
}

impl Provider for Cloud {
    fn pools(&self) -> BoxFuture<'_, Result<Vec<PoolView>, ProviderError>> {
        Box::pin(async { Ok(self.view()) })
    }

    fn resize(&self, group: &str, to: u32) -> BoxFuture<'_, Result<(), ProviderError>> {
        let result = self.order(group, to);
        Box::pin(async { result })
    }

    fn remove(&self, group: &str, node: &str) -> BoxFuture<'_, Result<(), ProviderError>> {
        let result = self.release(group, node);
        Box::pin(async { result })
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        let mut news = self.shared.news.subscribe();
        Box::pin(async move {
            // The sender lives as long as `self`.
            let _ = news.changed().await;
        })
    }
}
