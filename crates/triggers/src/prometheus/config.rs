//! Parameters of the `prometheus` trigger, read and checked without touching
//! anything outside.

use std::time::Duration;

use super::DEFAULT_TIMEOUT;
use crate::metadata::{From, Reader};
use crate::{BuildError, ConfigError, Input, MetricSpec, MetricType, PodIdentity, TlsOptions, go};

const MODES: [&str; 6] = ["apiKey", "basic", "tls", "bearer", "custom", "oauth"];
const EXCLUSIVE: [&str; 3] = ["bearer", "basic", "oauth"];

/// The credential that is put in the request.
#[derive(Clone, PartialEq, Eq)]
pub enum Auth {
    /// None; also for apiKey and oauth, which KEDA checks but never applies here.
    None,
    /// A bearer token.
    Bearer(String),
    /// User name and password.
    Basic(String, String),
    /// A header of the user's.
    Custom(String, String),
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Bearer(_) => "Bearer(..)",
            Self::Basic(..) => "Basic(..)",
            Self::Custom(..) => "Custom(..)",
        })
    }
}

/// A parsed `prometheus` trigger.
#[derive(Clone, Debug)]
pub struct Config {
    /// Base URL, used as written.
    pub server_address: String,
    /// The query.
    pub query: String,
    /// HPA side.
    pub spec: MetricSpec,
    /// Active above this value.
    pub activation_threshold: f64,
    /// Appended raw as `&namespace=`.
    pub namespace: Option<String>,
    /// Appended escaped, ordered by name.
    pub query_parameters: Vec<(String, String)>,
    /// Sent as headers.
    pub custom_headers: Vec<(String, String)>,
    /// Read an empty answer, NaN and infinities as 0.
    pub ignore_null_values: bool,
    /// Time limit of a query.
    pub timeout: Duration,
    /// Credential in the request.
    pub auth: Auth,
    /// Connection settings.
    pub tls: TlsOptions,
    /// Identity that stands in for a credential.
    pub pod_identity: PodIdentity,
    /// Another cloud's credentials, which cannot be applied yet.
    pub(super) unsupported: Option<&'static str>,
    cloud: Option<String>,
    resource_url: Option<String>,
}

impl Config {
    /// Reads a trigger's parameters.
    pub fn parse(input: &Input) -> Result<Self, ConfigError> {
        let metric_type = MetricType::parse(input.metric_type.as_deref())?;
        let wrap = |text: String| ConfigError(format!("error parsing prometheus metadata: {text}"));
        let mut reader = Reader::new(input);
        let (auth, modes, identity, ca) = auth(&mut reader);
        let meta = [From::Metadata];
        let server_address = reader.required("serverAddress");
        let query = reader.required("query");
        let query_parameters = reader.map("queryParameters");
        let threshold = reader
            .required("threshold")
            .and_then(|v| reader.float("threshold", v));
        let activation_threshold = reader
            .text(&["activationThreshold"], &meta)
            .and_then(|v| reader.float("activationThreshold", v));
        let namespace = reader.text(&["namespace"], &meta).map(str::to_owned);
        let custom_headers = reader.map("customHeaders");
        let ignore_null_values = reader.bool("ignoreNullValues", true);
        let unsafe_ssl = reader.bool("unsafeSsl", false);
        let timeout = reader.duration("timeout").filter(|t| !t.is_zero());
        let cloud = reader.text(&["cloud"], &meta).map(str::to_owned);
        let resource_url = reader
            .text(&["azureManagedPrometheusResourceURL"], &meta)
            .map(str::to_owned);
        let unsupported = if modes.is_empty() {
            foreign(&reader, input)
        } else {
            None
        };
        reader
            .finish()
            .map_err(|text| wrap(format!("error parsing prometheus metadata: {text}")))?;
        if input.pod_identity.is_some() && !modes.is_empty() {
            return Err(wrap(
                "pod identity cannot be enabled with other auth types".to_owned(),
            ));
        }
        let missing = || wrap("required parameter is missing".to_owned());
        // KEDA builds another transport for a client certificate or a CA,
        // which does not know unsafeSsl; without authModes a CA is not used.
        let ca = ca.filter(|_| !modes.is_empty());
        let insecure = unsafe_ssl && identity.is_none() && ca.is_none();
        Ok(Self {
            server_address: server_address.ok_or_else(missing)?.to_owned(),
            query: query.ok_or_else(missing)?.to_owned(),
            spec: MetricSpec {
                metric_name: format!("s{}-prometheus", input.trigger_index),
                metric_type,
                target: threshold.ok_or_else(missing)?,
            },
            activation_threshold: activation_threshold.unwrap_or(0.0),
            namespace,
            query_parameters,
            custom_headers,
            ignore_null_values,
            timeout: timeout.or(input.http_timeout).unwrap_or(DEFAULT_TIMEOUT),
            auth,
            tls: TlsOptions {
                insecure,
                identity,
                ca,
            },
            pod_identity: if modes.is_empty() {
                input.pod_identity.clone()
            } else {
                PodIdentity::default()
            },
            unsupported,
            cloud,
            resource_url,
        })
    }

    /// Whether the client certificate is one at all; what is inside is the
    /// connection's to judge.
    pub(super) fn check_tls(&self) -> Result<(), BuildError> {
        let Some((cert, key)) = &self.tls.identity else {
            return Ok(());
        };
        for (what, text) in [("certificate", cert), ("key", key)] {
            if !text.contains("-----BEGIN ") {
                return Err(BuildError::Connection(format!(
                    "error creating the TLS config: error parse X509KeyPair: tls: failed to find \
                     any PEM data in {what} input"
                )));
            }
        }
        Ok(())
    }

    /// The token scope where an Azure workload identity is asked for.
    pub(super) fn azure_scope(&self) -> Result<Option<String>, BuildError> {
        if self.pod_identity.provider != "azure-workload" {
            return Ok(None);
        }
        let resource = match self
            .cloud
            .as_deref()
            .map(str::to_ascii_uppercase)
            .as_deref()
        {
            None | Some("AZUREPUBLICCLOUD") => "https://prometheus.monitor.azure.com",
            Some("AZUREUSGOVERNMENTCLOUD") => "https://prometheus.monitor.azure.us",
            Some("AZURECHINACLOUD") => "https://prometheus.monitor.azure.cn",
            Some("PRIVATE") => self.resource_url.as_deref().ok_or_else(|| {
                ConfigError(
                    "azureManagedPrometheusResourceURL must be provided for Private cloud type"
                        .to_owned(),
                )
            })?,
            Some(_) => {
                let cloud = self.cloud.as_deref().unwrap_or_default();
                return Err(ConfigError(format!("invalid cloud environment {cloud}")).into());
            }
        };
        Ok(Some(format!("{resource}/.default")))
    }
}

/// Credentials of clouds whose signing is not there yet.
fn foreign(reader: &Reader<'_>, input: &Input) -> Option<&'static str> {
    let secret = |name| reader.text(&[name], &[From::Auth]).is_some();
    let meta = |name| reader.text(&[name], &[From::Metadata]).is_some();
    let provider = input.pod_identity.provider.as_str();
    if provider == "gcp"
        || secret("GoogleApplicationCredentials")
        || (meta("credentialsFromEnv") || meta("credentialsFromEnvFile"))
    {
        Some("Google Cloud credentials")
    } else if provider == "aws"
        || secret("awsRoleArn")
        || (secret("awsAccessKeyID") && secret("awsSecretAccessKey"))
    {
        Some("AWS request signing")
    } else {
        None
    }
}

type Credentials = (Auth, Vec<String>, Option<(String, String)>, Option<String>);

/// Reads `authModes` and what they need. The first of bearer, basic and custom
/// goes in the request.
fn auth(reader: &mut Reader<'_>) -> Credentials {
    let names = ["authModes", "authMode"];
    let secret = [From::Auth];
    let Some(value) = reader.text(&names, &[From::Metadata, From::Auth]) else {
        return (Auth::None, Vec::new(), None, None);
    };
    let modes: Vec<String> = value.split(',').map(|m| m.trim().to_owned()).collect();
    let refuse = |reader: &mut Reader<'_>, cause: String| {
        let value = go::quote(value);
        reader.fail(format!(
            "parameter \"authModes,authMode\" value {value} must {cause}"
        ));
        (Auth::None, modes.clone(), None, None)
    };
    if modes.iter().any(|mode| !MODES.contains(&mode.as_str())) {
        return refuse(reader, format!("be one of [{}]", MODES.join(" ")));
    }
    if modes
        .iter()
        .filter(|mode| EXCLUSIVE.contains(&mode.as_str()))
        .count()
        > 1
    {
        return refuse(
            reader,
            format!("contain only one of [{}]", EXCLUSIVE.join(" ")),
        );
    }
    let has = |mode: &str| modes.iter().any(|m| m == mode);
    let own = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let token = own(reader.text(&["bearerToken", "token"], &secret));
    let username = own(reader.text(&["username"], &secret));
    let password = own(reader.text(&["password"], &secret));
    let cert = own(reader.text(&["cert"], &secret));
    let key = own(reader.text(&["key"], &secret));
    let ca = reader.text(&["ca"], &secret).map(str::to_owned);
    let header = own(reader.text(&["customAuthHeader"], &secret));
    let header_value = own(reader.text(&["customAuthValue"], &secret));
    let token_uri = own(reader.text(&["oauthTokenURI", "tokenURI"], &secret));
    let client_id = own(reader.text(&["clientID"], &secret));
    let api_key = own(reader.text(&["apiKey"], &secret));
    // Secrets never show: only whether they are there.
    let shown = |text: &str| {
        if text.is_empty() {
            "<empty>"
        } else {
            "<present>"
        }
    };
    if has("bearer") && token.is_empty() {
        reader.fail("bearer token=<empty> is required when bearer auth is enabled".to_owned());
    }
    if has("basic") && username.is_empty() {
        reader.fail("username=<empty> is required when basic auth is enabled".to_owned());
    }
    if has("tls") && (cert.is_empty() || key.is_empty()) {
        reader.fail(format!(
            "cert={} and key={} are required when tls auth is enabled",
            shown(&cert),
            shown(&key)
        ));
    }
    if has("custom") && (header.is_empty() || header_value.is_empty()) {
        reader.fail(format!(
            "customAuthHeader={} and customAuthValue={} are required when custom auth is enabled",
            shown(&header),
            shown(&header_value)
        ));
    }
    if has("oauth") && (token_uri.is_empty() || client_id.is_empty()) {
        reader.fail(format!(
            "oauthTokenURI={} and clientID={} are required when oauth is enabled",
            shown(&token_uri),
            shown(&client_id)
        ));
    }
    if has("apiKey") && api_key.is_empty() {
        reader.fail("apiKey is required when apiKey auth is enabled".to_owned());
    }
    let auth = if has("bearer") {
        Auth::Bearer(token)
    } else if has("basic") {
        Auth::Basic(username, password)
    } else if has("custom") {
        Auth::Custom(header, header_value)
    } else {
        Auth::None
    };
    let identity = has("tls").then_some((cert, key));
    (auth, modes, identity, ca)
}
