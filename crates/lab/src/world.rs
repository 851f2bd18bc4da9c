//! What surrounds a control plane: kubelets, GPU pages, cloud and node planner,
//! all through a Kubernetes client. The lab has one around its embedded API
//! server; the end-to-end tests put one around a real API server.

use std::sync::Arc;

use futures::future::BoxFuture;
use kube::Client;
use promql::store::{Store, StoreOptions};

use crate::authority::Authority;
use crate::cloud::{self, Cloud};
use crate::gpus::Loads;
use crate::kubelet::{self, KubeletView};
use crate::names::Names;
use crate::pages::{Exporters, Pages};
use crate::{Delays, LabOptions};

/// Memory for samples: two weeks of a small cluster, one day of a large one.
const SAMPLES: usize = 48 << 20;

/// A part that never ends, by name.
pub type Part = (&'static str, BoxFuture<'static, ()>);

/// Simulated nodes, their GPUs and their cloud, around any API server.
#[derive(Clone)]
pub struct World {
    /// A client of the API server.
    pub client: Client,
    /// Time of day.
    pub clock: clock::Clock,
    /// The sample store.
    pub store: Store,
    /// Loads of the workloads.
    pub loads: Loads,
    /// The simulated cloud.
    pub cloud: Cloud,
    /// The token authority.
    pub authority: Authority,
    /// What the kubelets know of their pods.
    pub kubelet: KubeletView,
    /// The exporters of the GPU nodes, which the store scrapes.
    pub exporters: Exporters,
    delays: Delays,
    aliases: Vec<String>,
}

impl World {
    /// A world at rest; its parts are run by the caller.
    pub fn new(client: Client, clock: clock::Clock, options: &LabOptions) -> Self {
        let cloud = cloud::Options {
            gpu_ready: options.delays.gpu_ready,
            ..cloud::Options::new(options.pools.clone(), options.seed)
        };
        Self {
            cloud: Cloud::new(client.clone(), clock, cloud),
            store: Store::new(StoreOptions {
                max_bytes: SAMPLES,
                ..StoreOptions::default()
            }),
            loads: Loads::default(),
            authority: Authority::new(clock, options.seed),
            kubelet: KubeletView::new(clock),
            exporters: Exporters::default(),
            delays: options.delays.clone(),
            aliases: options.store_hosts.clone(),
            client,
            clock,
        }
    }

    /// Kubelets and GPU pages.
    pub fn parts(&self) -> [Part; 2] {
        let kubelets = kubelet::Options {
            start_delay: self.delays.pod_start,
            ..kubelet::Options::default()
        };
        let kubelets = kubelet::run(self.client.clone(), self.kubelet.clone(), kubelets);
        let pages = Pages {
            client: self.client.clone(),
            clock: self.clock,
            store: self.store.clone(),
            exporters: self.exporters.clone(),
            loads: self.loads.clone(),
            kubelet: self.kubelet.clone(),
            sample: self.delays.sample,
            scrape: self.delays.scrape,
        };
        [
            ("kubelets", Box::pin(kubelets)),
            ("GPU pages", Box::pin(pages.run())),
        ]
    }

    /// The node planner; `on_plan` is told of each plan.
    pub fn planner(&self, on_plan: Option<nodepools::Report>) -> Part {
        let mut planner = nodepools::Options {
            on_plan,
            ..nodepools::Options::default()
        };
        planner.settings.unneeded = self.delays.unneeded;
        // The autoscaler's ten minutes after a scale-up are for clusters
        // that keep a node ten minutes; who asks for less means it.
        let after_add = planner.settings.delay_after_add.min(self.delays.unneeded);
        planner.settings.delay_after_add = after_add;
        let cloud = Arc::new(self.cloud.clone());
        let run = nodepools::run(self.client.clone(), self.clock, cloud, planner);
        ("node planner", Box::pin(run))
    }

    /// The network as triggers see it.
    pub fn names(&self) -> Names {
        Names {
            store: self.store.clone(),
            server: None,
            authority: self.authority.clone(),
            clock: self.clock,
            aliases: self.aliases.clone(),
        }
    }
}
