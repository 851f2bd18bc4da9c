//! Trigger sources and their credentials.
//!
//! A trigger turns one entry of a ScaledObject's `triggers` list into a number
//! and an activity flag. Parsing is pure ([`parse`], [`prometheus::Config`]),
//! so that lint and HPA generation read a trigger as the operator does;
//! reading goes through a [`HttpService`] that the caller provides. What the
//! number means for replicas is decided elsewhere.

pub mod azure;
pub mod cron;
mod described;
pub mod golden;
mod kinds;
mod metadata;
pub mod net;
pub mod prometheus;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use api::go;
use api::keda::ScaledObject;
use api::quantity::Quantity;
use decide::scale::hpa_spec;
use futures::future::BoxFuture;

pub use kinds::{build, is_known, parse};
use metadata::{From, Reader};

/// An HTTP client: a network client in production, in-process in the lab.
pub type HttpService = tower::util::BoxCloneSyncService<
    http::Request<bytes::Bytes>,
    http::Response<bytes::Bytes>,
    tower::BoxError,
>;

/// Reads a file by path; the lab answers from memory.
pub type FileReader =
    Arc<dyn Fn(String) -> BoxFuture<'static, std::io::Result<Vec<u8>>> + Send + Sync>;

/// Makes the HTTP client for a trigger's TLS settings.
pub type HttpClients = Arc<dyn Fn(&TlsOptions) -> Result<HttpService, String> + Send + Sync>;

/// What a trigger asks of its connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Accept any server certificate (`unsafeSsl`).
    pub insecure: bool,
    /// Client certificate and key, PEM.
    pub identity: Option<(String, String)>,
    /// One more trusted authority, PEM.
    pub ca: Option<String>,
}

/// The name of a trigger's external metric.
fn metric_name(index: usize, name: &str) -> String {
    let plain = name.replace(['/', '.', ':', '%', '(', ')'], "-");
    format!("s{index}-{plain}")
}

/// How the HPA compares a metric with its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricType {
    /// Divided by the number of replicas before it is compared.
    AverageValue,
    /// Compared as it is.
    Value,
    /// Anything else a user wrote; KEDA hands it to the API server, which
    /// refuses it.
    Other(String),
}

impl MetricType {
    /// Reads a trigger's `metricType`; absent or empty means AverageValue.
    pub fn parse(text: Option<&str>) -> Result<Self, ConfigError> {
        match text.unwrap_or("") {
            "" | "AverageValue" => Ok(Self::AverageValue),
            "Value" => Ok(Self::Value),
            "Utilization" => Err(ConfigError(
                "error getting scaler metric type: 'Utilization' metric type is unsupported for \
                 external metrics, allowed values are 'Value' or 'AverageValue'"
                    .to_owned(),
            )),
            other => Ok(Self::Other(other.to_owned())),
        }
    }

    /// The name as it stands in an HPA.
    pub fn as_str(&self) -> &str {
        match self {
            Self::AverageValue => "AverageValue",
            Self::Value => "Value",
            Self::Other(text) => text,
        }
    }
}

/// The HPA side of a trigger: the external metric's name and target.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSpec {
    /// `s<trigger index>-<name>`, for example `s0-prometheus`.
    pub metric_name: String,
    /// How the value is compared.
    pub metric_type: MetricType,
    /// The threshold.
    pub target: f64,
}

impl MetricSpec {
    /// The same as the HPA's builder takes it, which rounds the target.
    pub fn for_hpa(&self) -> hpa_spec::MetricSpec {
        hpa_spec::MetricSpec::External {
            name: self.metric_name.clone(),
            metric_type: self.metric_type.as_str().to_owned(),
            target: hpa_spec::target_text(self.target),
        }
    }
}

/// One reading of a trigger.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// The metric. KEDA clamps negative values to 0 after this point.
    pub value: f64,
    /// Whether the trigger alone would wake the workload.
    pub active: bool,
}

impl Reading {
    /// The value as KEDA hands it to the metrics API: read from a text with
    /// three decimals; what is not a number is 0.
    pub fn quantity(&self) -> Quantity {
        Quantity::from_f64(self.value).unwrap_or_default()
    }
}

/// The pod identity of a TriggerAuthentication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodIdentity {
    /// `azure-workload`, `gcp`, `aws`, `none` or empty.
    pub provider: String,
    /// Client id that overrides the environment's.
    pub identity_id: Option<String>,
    /// Tenant id that overrides the environment's.
    pub identity_tenant_id: Option<String>,
    /// Authority host that overrides the environment's.
    pub identity_authority_host: Option<String>,
}

impl PodIdentity {
    /// An identity of this provider without overrides.
    pub fn of(provider: &str) -> Self {
        Self {
            provider: provider.to_owned(),
            ..Self::default()
        }
    }

    /// Whether any identity is asked for.
    pub fn is_some(&self) -> bool {
        !matches!(self.provider.as_str(), "" | "none")
    }
}

/// Everything a trigger is parsed from.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// The trigger's `metadata`.
    pub metadata: BTreeMap<String, String>,
    /// Parameters resolved from the TriggerAuthentication.
    pub auth_params: BTreeMap<String, String>,
    /// Its pod identity.
    pub pod_identity: PodIdentity,
    /// The trigger's `metricType`.
    pub metric_type: Option<String>,
    /// Place of the trigger in the list.
    pub trigger_index: usize,
    /// Namespace of the ScaledObject.
    pub namespace: String,
    /// Whether the trigger only feeds a formula, whose target counts then.
    pub metric_source: bool,
    /// HTTP time limit where the trigger names none (KEDA: 3 s).
    pub http_timeout: Option<std::time::Duration>,
}

/// Every parameter that a credential can bring.
const CREDENTIALS: &[&str] = &[
    "bearerToken",
    "username",
    "password",
    "cert",
    "key",
    "ca",
    "customAuthHeader",
    "customAuthValue",
    "oauthTokenURI",
    "clientID",
    "clientSecret",
    "apiKey",
];

impl Input {
    /// What a ScaledObject itself says of its trigger at `index`; its
    /// surroundings (credentials, environment) are still to be filled in.
    pub fn of(object: &ScaledObject, index: usize) -> Self {
        let trigger = object.spec.triggers.get(index);
        Self {
            metadata: trigger.map(|t| t.metadata.clone()).unwrap_or_default(),
            metric_type: trigger
                .map(|t| t.metric_type.clone())
                .filter(|text| !text.is_empty()),
            trigger_index: index,
            namespace: object.metadata.namespace.clone(),
            metric_source: object.spec.modifiers().is_some(),
            ..Self::default()
        }
    }

    /// With a stand-in for every credential, for whoever checks a trigger and
    /// never reads it.
    pub fn with_any_credentials(mut self) -> Self {
        let all = CREDENTIALS.iter();
        self.auth_params = all
            .map(|name| ((*name).to_owned(), "given elsewhere".to_owned()))
            .collect();
        self
    }

    /// A parameter of the metadata as a trigger reads it; blank is absent.
    pub fn text(&self, name: &str) -> Option<&str> {
        Reader::new(self).text(&[name], &[From::Metadata])
    }

    /// The same as a number; `None` also where it is none.
    pub fn number(&self, name: &str) -> Option<f64> {
        Reader::new(self).float(name, self.text(name)?)
    }

    /// The same as a truth value; `default` also where it is none.
    pub fn flag(&self, name: &str, default: bool) -> bool {
        Reader::new(self).bool(name, default)
    }
}

/// What building a trigger needs from its surroundings. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// Makes HTTP clients.
    pub http: HttpClients,
    /// Client for token authorities.
    pub token_http: HttpService,
    /// Time of day.
    pub clock: clock::Clock,
    /// The operator's own Azure workload identity variables.
    pub azure: azure::Environment,
    /// Reads the projected token file.
    pub read_file: FileReader,
}

impl Context {
    /// A context in which one service answers everything and no file exists.
    pub fn new(service: HttpService, clock: clock::Clock) -> Self {
        let clients = service.clone();
        Self {
            http: Arc::new(move |_| Ok(clients.clone())),
            token_http: service,
            clock,
            azure: azure::Environment::default(),
            read_file: Arc::new(|_| {
                Box::pin(std::future::ready(Err(std::io::ErrorKind::NotFound.into())))
            }),
        }
    }

    /// Sets the Azure workload identity and where its token file is read.
    pub fn with_azure(mut self, azure: azure::Environment, read_file: FileReader) -> Self {
        self.azure = azure;
        self.read_file = read_file;
        self
    }
}

/// A trigger's parameters do not add up. The text is KEDA's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// A trigger could not be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// KEDA has no such trigger either.
    #[error("no scaler found for type: {0}")]
    UnknownType(String),
    /// KEDA has it, Rheostat does not yet.
    #[error(
        "trigger type {0} is not supported yet by Rheostat; supported: cpu, cron, memory, prometheus"
    )]
    NotSupported(String),
    /// The trigger's parameters are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The connection cannot be set up.
    #[error("{0}")]
    Connection(String),
}

/// A trigger could not be read. Never contains a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TriggerError(pub String);

/// A source of a metric.
pub trait Trigger: Send + Sync {
    /// The trigger's HPA side.
    fn spec(&self) -> &MetricSpec;

    /// Name of the external metric.
    fn metric_name(&self) -> &str {
        &self.spec().metric_name
    }

    /// Reads the source once.
    fn read(&self) -> BoxFuture<'_, Result<Reading, TriggerError>>;
}
