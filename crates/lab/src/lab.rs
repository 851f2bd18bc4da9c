//! Putting the lab together.

use std::sync::Arc;
use std::time::Duration;

use api::pool::Pool;
use cluster::{Cluster, Without};
use jiff::Timestamp;
use kube::Client;
use operator::{Explanations, Operator};
use promql::store::Store;

use crate::authority::Authority;
use crate::cloud::Cloud;
use crate::gpus::Loads;
use crate::view::Snapshot;
use crate::world::World;

/// Simulated delays.
#[derive(Clone, Debug)]
pub struct Delays {
    /// Between two samples of a GPU.
    pub sample: Duration,
    /// Between two scrapes of a page.
    pub scrape: Duration,
    /// Period of the HorizontalPodAutoscaler controller.
    pub hpa_period: Duration,
    /// From a new node's Ready until its device plugin shows the GPUs.
    pub gpu_ready: Duration,
    /// From a pod's binding until it runs.
    pub pod_start: Duration,
    /// How long a node is unneeded before it goes.
    pub unneeded: Duration,
}

impl Default for Delays {
    fn default() -> Self {
        Self {
            sample: Duration::from_secs(1),
            scrape: Duration::from_secs(5),
            hpa_period: Duration::from_secs(15),
            gpu_ready: Duration::from_secs(20),
            pod_start: Duration::from_secs(5),
            unneeded: Duration::from_secs(600),
        }
    }
}

/// What a lab is made of.
#[derive(Clone, Debug)]
pub struct LabOptions {
    /// Seed of everything random.
    pub seed: u64,
    /// Node pools.
    pub pools: Vec<Pool>,
    /// Simulated delays.
    pub delays: Delays,
    /// Simulated time at the start. So far back that no speed overtakes the
    /// real date while anyone looks: kubectl would show `<invalid>` ages.
    pub start: Timestamp,
    /// Whether the node planner runs.
    pub plan_nodes: bool,
    /// Whether kubelets are simulated, and with them the GPU pages and the
    /// usage of pods. Without, the pods are run by somebody else (kwok, a test).
    pub kubelets: bool,
    /// Whether the operator's pod has a federated identity, as the workload
    /// identity webhook gives it one.
    pub identity: bool,
    /// `host:port` of servers that stand for the store, beside Service names.
    pub store_hosts: Vec<String>,
    /// Controllers that are left out, for others in their place. Programs beside the lab live in
    /// real time, so its day should begin now.
    pub without: Without,
}

/// 2020-01-06T08:00:00Z, a Monday morning.
const START: i64 = 1_578_297_600;

impl Default for LabOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            pools: Pool::defaults(),
            delays: Delays::default(),
            start: Timestamp::from_second(START).unwrap_or(Timestamp::UNIX_EPOCH),
            plan_nodes: true,
            kubelets: true,
            identity: true,
            store_hosts: Vec::new(),
            without: Without::new(),
        }
    }
}

/// Why a lab does not start.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The embedded API refused something that the lab itself brings.
    #[error("the lab's own {what} was refused: {why}")]
    Refused {
        /// What.
        what: String,
        /// The API's words.
        why: String,
    },
}

/// A running lab. Its tasks belong to the runtime it was started on and end
/// with it.
#[derive(Clone)]
pub struct Lab {
    /// The embedded control plane.
    pub cluster: Cluster,
    /// A client of it, in process.
    pub client: Client,
    /// The embedded sample store.
    pub store: Store,
    /// Simulated time.
    pub clock: clock::Clock,
    /// Loads of the workloads.
    pub loads: Loads,
    /// Why its replica counts are what they are; the latest
    /// [`decide::explain::Limits`] of it.
    pub explanations: Explanations,
    /// What it was made of.
    pub options: LabOptions,
    /// The simulated cloud.
    pub cloud: Cloud,
    /// The token authority.
    pub authority: Authority,
    failed: tokio::sync::watch::Sender<Option<&'static str>>,
}

impl Lab {
    /// Starts everything as tasks of the current runtime.
    ///
    /// # Errors
    /// When the embedded API refuses a CRD or a node, which is a bug.
    pub async fn start(options: LabOptions) -> Result<Self, LabError> {
        let clock = clock::Clock::simulated(options.start);
        let cluster = Cluster::new(cluster::Options {
            seed: options.seed,
            clock,
        });
        for crd in api::keda::crds() {
            let name = cluster::value::name(&crd).to_owned();
            let created = cluster.create("customresourcedefinitions.apiextensions.k8s.io", crd);
            created.map_err(|status| LabError::Refused {
                what: name,
                why: status.message,
            })?;
        }
        crate::admission::guard(&cluster);
        let client = Client::new(cluster.client_service(), "default");
        let world = World::new(client.clone(), clock, &options);
        let lab = Self {
            cloud: world.cloud.clone(),
            cluster,
            client,
            store: world.store.clone(),
            clock,
            loads: world.loads.clone(),
            authority: world.authority.clone(),
            explanations: Explanations::new(clock, decide::explain::Limits::default()),
            failed: tokio::sync::watch::Sender::new(None),
            options,
        };
        lab.spawn(&world).await?;
        Ok(lab)
    }

    async fn spawn(&self, world: &World) -> Result<(), LabError> {
        if self.options.kubelets {
            let logs = world.kubelet.clone();
            self.cluster
                .set_log_source(Arc::new(move |namespace, pod, container| {
                    logs.logs(namespace, pod, container)
                }));
            let usage = crate::usage::handler(self.cluster.clone(), self.loads.clone());
            self.cluster
                .mount(crate::usage::GROUP, crate::usage::VERSION, usage);
        }
        let mut context = triggers::Context::new(world.names().service(), self.clock);
        if self.options.identity {
            let authority = &self.authority;
            context = context.with_azure(authority.environment(), authority.file_reader());
        }
        let explanations = &self.explanations;
        let options = operator::Options {
            on_decision: Some(explanations.report()),
            ..operator::Options::default()
        };
        let operator = Operator::new(self.client.clone(), context, options);
        self.cluster.mount(
            operator::EXPLAIN_GROUP,
            operator::EXPLAIN_VERSION,
            operator.explain_handler(explanations),
        );
        let metrics = operator.external_metrics_handler();
        self.cluster
            .mount(operator::METRICS_GROUP, operator::METRICS_VERSION, metrics);

        let controllers = cluster::controllers::Options {
            hpa_period: self.options.delays.hpa_period,
            on_hpa: Some(crate::explain::of_hpas(explanations.clone())),
            without: self.options.without.clone(),
            ..cluster::controllers::Options::default()
        };
        self.essential(
            "controllers",
            cluster::controllers::run(self.cluster.clone(), controllers),
        );
        let without = self.options.without.clone();
        let scheduler = cluster::scheduler::run(self.cluster.clone(), without);
        self.essential("scheduler", scheduler);
        if self.options.kubelets {
            for (name, part) in world.parts() {
                self.essential(name, part);
            }
        }
        self.essential("operator", operator.run());
        self.cloud
            .start()
            .await
            .map_err(|error| LabError::Refused {
                what: "first nodes".to_owned(),
                why: error.to_string(),
            })?;
        if self.options.plan_nodes {
            let on_plan = crate::explain::of_plans(
                self.explanations.clone(),
                self.cluster.clone(),
                self.clock,
            );
            let (name, part) = world.planner(Some(on_plan));
            self.essential(name, part);
        }
        Ok(())
    }

    /// Runs a part that never ends; [`Lab::failed`] tells when it did.
    fn essential(&self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        let task = tokio::spawn(part);
        let failed = self.failed.clone();
        tokio::spawn(async move {
            // A panic has been printed by now; returning is as bad.
            let _ = task.await;
            failed.send_replace(Some(name));
        });
    }

    /// Resolves with the name of a part that has stopped, which is a bug: a
    /// lab that goes on without its scheduler would only look like a cluster.
    pub async fn failed(&self) -> &'static str {
        let mut failed = self.failed.subscribe();
        match failed.wait_for(Option::is_some).await {
            Ok(name) => name.unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// What the lab shows now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::take(&self.cluster, &self.cloud.summaries(), |namespace, name| {
            self.loads.utilization(namespace, name)
        })
    }
}
