//! Reconcilers for KEDA's resources and the external metrics API.
//!
//! The operator watches ScaledObjects and what they point to, writes their
//! HPAs, conditions and events, polls their triggers and answers the HPA's
//! questions. What replicas follow from what was read is decided in
//! [`decide::scale`]; this room observes and executes.
//!
//! It talks to Kubernetes through a [`kube::Client`] alone and takes time from
//! tokio's clock, so it runs unchanged against the embedded control plane under
//! a paused clock. An ordered queue with a back-off of its own feeds a few
//! reconciles at a time; each running ScaledObject has one polling task.

mod answer;
mod auth;
mod controller;
mod diagnosis;
mod env;
mod events;
mod explain;
mod hpa;
mod io;
mod metrics_api;
mod poll;
mod queue;
mod reconcile;
mod scalers;
pub mod serve;
mod state;
mod target;
mod watches;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::{Semaphore, mpsc};

pub use decide::scale::Explanation;
pub use diagnosis::{diagnose, of_resource};
pub use explain::{EXPLAIN_GROUP, EXPLAIN_VERSION, Explanations};
pub use io::{connection_error, message};

use controller::Controller;
use state::Shared;
use watches::{Message, Task};

/// Answers requests of an aggregated API group.
pub type Handler =
    Arc<dyn Fn(http::Request<Bytes>) -> BoxFuture<'static, http::Response<Bytes>> + Send + Sync>;

/// Diagnoses at a time: each asks a metric store some dozens of questions.
const DIAGNOSES: usize = 4;

/// The group that the HPA asks for external metrics.
pub const METRICS_GROUP: &str = "external.metrics.k8s.io";
/// Its version.
pub const METRICS_VERSION: &str = "v1beta1";

/// Takes note of why a ScaledObject was treated as it was, and when.
pub type Report =
    Arc<dyn Fn(&api::keda::ScaledObject, jiff::Timestamp, &Explanation) + Send + Sync>;

/// Names that the operator writes into objects, and who is told of decisions.
#[derive(Clone)]
pub struct Options {
    /// KEDA version in the HPA's labels.
    pub version: String,
    /// Namespace whose Secrets cluster-wide authentications read.
    pub namespace: String,
    /// `reportingInstance` of events.
    pub instance: String,
    /// Called with each decision.
    pub on_decision: Option<Report>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("version", &self.version)
            .field("namespace", &self.namespace)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            version: "2.20.2".to_owned(),
            namespace: "keda".to_owned(),
            instance: "keda-operator-0".to_owned(),
            on_decision: None,
        }
    }
}

/// The operator. Cheap to clone; [`Operator::run`] does the work.
#[derive(Clone)]
pub struct Operator {
    shared: Arc<Shared>,
    inbox: Arc<Mutex<Option<Inbox>>>,
}

/// What the running operator takes in.
struct Inbox {
    news: mpsc::UnboundedReceiver<Message>,
    events: mpsc::Receiver<events::Write>,
}

impl std::fmt::Debug for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Operator")
    }
}

impl Operator {
    /// An operator on this cluster whose triggers use `context`; the time of
    /// day is the context's clock.
    pub fn new(client: kube::Client, context: triggers::Context, options: Options) -> Self {
        let (outbox, news) = mpsc::unbounded_channel();
        let (recorder, events) = events::Recorder::new(context.clock, &options.instance);
        let shared = Arc::new(Shared::new(client, context, options, outbox, recorder));
        Self {
            shared,
            inbox: Arc::new(Mutex::new(Some(Inbox { news, events }))),
        }
    }

    /// Runs until dropped. A second call on the same operator returns at once.
    pub async fn run(self) {
        let inbox = self
            .inbox
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(inbox) = inbox {
            let client = self.shared.client.clone();
            let _writing = Task::spawn(events::write(client, inbox.events));
            Controller::new(self.shared).run(inbox.news).await;
        }
    }

    /// The handler for `/apis/explain.rheostat.dev/v1`: the kept explanations,
    /// and below a ScaledObject's name `diagnosis`, which asks its triggers now.
    pub fn explain_handler(&self, explanations: &Explanations) -> Handler {
        let shared = Arc::clone(&self.shared);
        let rest = explanations.handler();
        let room = Arc::new(Semaphore::new(DIAGNOSES));
        Arc::new(move |request| match diagnosis::asked(&request) {
            None => rest(request),
            Some(key) => {
                let (shared, room) = (Arc::clone(&shared), Arc::clone(&room));
                Box::pin(async move {
                    let Ok(_place) = room.try_acquire() else {
                        let text = "enough triggers are being asked already, try again in a moment";
                        let code = http::StatusCode::TOO_MANY_REQUESTS;
                        return answer::refused(code, "TooManyRequests", text);
                    };
                    diagnosis::answer(&shared, &key).await
                })
            }
        })
    }

    /// The handler for `/apis/external.metrics.k8s.io/v1beta1`.
    pub fn external_metrics_handler(&self) -> Handler {
        let shared = Arc::clone(&self.shared);
        Arc::new(move |request| {
            let shared = Arc::clone(&shared);
            Box::pin(async move { metrics_api::answer(&shared, &request).await })
        })
    }
}
