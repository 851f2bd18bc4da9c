//! KEDA's resources as the operator and the decision core read them.
//!
//! Fields that are only copied (HPA behavior, pod templates) stay JSON. A field
//! that is absent stays absent: KEDA's defaults are applied by the accessors,
//! never by the schema, so that a stored object is what the user wrote.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::VERSION;

/// The part of Kubernetes' object metadata that KEDA's controllers read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// Name.
    pub name: String,
    /// Namespace, empty for cluster-wide objects.
    pub namespace: String,
    /// Unique id.
    pub uid: String,
    /// Counts changes of the spec.
    pub generation: i64,
    /// Version of the object as read; a write that names it fails where another came between.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    /// RFC 3339 time of creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<String>,
    /// RFC 3339 time of the delete request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<String>,
    /// Labels.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// Finalizers.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub finalizers: Vec<String>,
}

fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Scales a workload by its triggers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaledObject {
    /// Always `keda.sh/v1alpha1`.
    pub api_version: String,
    /// Always `ScaledObject`.
    pub kind: String,
    /// Metadata.
    pub metadata: Meta,
    /// What the user asks for.
    pub spec: ScaledObjectSpec,
    /// What KEDA has done.
    #[serde(deserialize_with = "null_is_empty")]
    pub status: ScaledObjectStatus,
}

/// Spec of a [`ScaledObject`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaledObjectSpec {
    /// The workload.
    pub scale_target_ref: ScaleTarget,
    /// Seconds between polls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polling_interval: Option<i32>,
    /// Seconds without activity before going to zero or idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown_period: Option<i32>,
    /// Seconds after creation before a never active object goes to zero or idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_cooldown_period: Option<i32>,
    /// Replicas while inactive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_replica_count: Option<i32>,
    /// Lower bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_replica_count: Option<i32>,
    /// Upper bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_replica_count: Option<i32>,
    /// HPA settings, modifiers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advanced: Option<Advanced>,
    /// Where the metrics come from.
    #[serde(deserialize_with = "null_is_empty")]
    pub triggers: Vec<ScaleTrigger>,
    /// What to do while a trigger cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
}

impl ScaledObjectSpec {
    /// Seconds between polls; 30 unless given.
    pub fn polling_seconds(&self) -> u64 {
        u64::try_from(self.polling_interval.unwrap_or(30))
            .unwrap_or(30)
            .max(1)
    }

    /// Seconds of cooldown; 300 unless given.
    pub fn cooldown_seconds(&self) -> i64 {
        i64::from(self.cooldown_period.unwrap_or(300))
    }

    /// Seconds of cooldown after creation; 0 unless given.
    pub fn initial_cooldown_seconds(&self) -> i64 {
        i64::from(self.initial_cooldown_period.unwrap_or(0))
    }

    /// Lower bound; 0 unless given.
    pub fn min(&self) -> i32 {
        self.min_replica_count.unwrap_or(0)
    }

    /// Lower bound of the HPA, which has no zero.
    pub fn hpa_min(&self) -> i32 {
        match self.min_replica_count {
            Some(n) if n > 0 => n,
            _ => 1,
        }
    }

    /// Upper bound; 100 unless given.
    pub fn max(&self) -> i32 {
        self.max_replica_count.unwrap_or(100)
    }

    /// The modifiers, when any of their fields is set.
    pub fn modifiers(&self) -> Option<&ScalingModifiers> {
        let modifiers = self.advanced.as_ref()?.scaling_modifiers.as_ref()?;
        (*modifiers != ScalingModifiers::default()).then_some(modifiers)
    }
}

/// Reference to the scaled workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaleTarget {
    /// Name of the workload.
    pub name: String,
    /// Group and version, `apps/v1` unless given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// Kind, `Deployment` unless given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Container whose environment feeds `…FromEnv`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub env_source_container_name: String,
}

impl ScaleTarget {
    /// Group, version and kind with KEDA's defaults.
    pub fn gvk(&self) -> (String, String, String) {
        let kind = if self.kind.is_empty() {
            "Deployment"
        } else {
            &self.kind
        };
        let api_version = if self.api_version.is_empty() {
            "apps/v1"
        } else {
            &self.api_version
        };
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        (group.to_owned(), version.to_owned(), kind.to_owned())
    }
}

/// Settings beside the triggers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Advanced {
    /// HPA name and behavior.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub horizontal_pod_autoscaler_config: Option<HpaConfig>,
    /// Put the replicas back on deletion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_to_original_replica_count: Option<bool>,
    /// A formula over the triggers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling_modifiers: Option<ScalingModifiers>,
}

/// Name and behavior of the HPA.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HpaConfig {
    /// Name, `keda-hpa-<scaled object>` unless given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// HPA v2 behavior, copied as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behavior: Option<Value>,
}

/// A formula that makes one metric of several.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScalingModifiers {
    /// Expression over trigger names.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub formula: String,
    /// Target of the composite metric.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// The composite is active above this.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub activation_target: String,
    /// `AverageValue` or `Value`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub metric_type: String,
}

/// One source of a metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaleTrigger {
    /// Trigger type, for example `prometheus`.
    #[serde(rename = "type")]
    pub trigger_type: String,
    /// Name for formulas.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Answer the HPA from the last poll.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub use_cached_metrics: bool,
    /// Parameters.
    #[serde(deserialize_with = "null_is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication_ref: Option<AuthenticationRef>,
    /// `AverageValue`, `Value` or `Utilization`; empty when not given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub metric_type: String,
}

/// Names a trigger authentication.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthenticationRef {
    /// Name.
    pub name: String,
    /// `TriggerAuthentication` (also when empty) or `ClusterTriggerAuthentication`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
}

impl AuthenticationRef {
    /// Whether a cluster-wide authentication is meant.
    pub fn is_cluster(&self) -> bool {
        self.kind == "ClusterTriggerAuthentication"
    }
}

/// Replicas while a trigger fails.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Fallback {
    /// Failures beyond this number start the fallback.
    pub failure_threshold: i32,
    /// Replicas to fall back to.
    pub replicas: i32,
    /// How `replicas` and the present count are combined; empty is `static`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub behavior: String,
}

/// Status of a [`ScaledObject`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaledObjectStatus {
    /// `apps/v1.Deployment`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scale_target_kind: String,
    /// The target's kind in full.
    #[serde(rename = "scaleTargetGVKR", skip_serializing_if = "Option::is_none")]
    pub scale_target_gvkr: Option<Gvkr>,
    /// Replicas at the first successful reconcile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_replica_count: Option<i32>,
    /// When a trigger was last active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_active_time: Option<String>,
    /// Names of external metrics.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub external_metric_names: Vec<String>,
    /// Names of resource metrics.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_metric_names: Vec<String>,
    /// `composite-metric` with modifiers.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub composite_scaler_name: String,
    /// Conditions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Health of each metric, while a fallback is configured.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub health: BTreeMap<String, Health>,
    /// Activity of each metric.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub triggers_activity: BTreeMap<String, TriggerActivity>,
    /// Replicas while paused with a count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_replica_count: Option<i32>,
    /// The HPA in use.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hpa_name: String,
    /// Comma list of trigger types.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub triggers_types: Option<String>,
    /// Comma list of authentication names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentications_types: Option<String>,
}

/// Group, version, kind and resource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gvkr {
    /// API group, empty for the core.
    pub group: String,
    /// Version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Plural resource name.
    pub resource: String,
}

impl Gvkr {
    /// `group/version.Kind`, as KEDA writes it.
    pub fn kind_text(&self) -> String {
        format!("{}.{}", self.api_version(), self.kind)
    }

    /// `group/version`, or the version alone.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `resource.group`, as Kubernetes names it in errors.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() {
            self.resource.clone()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }
}

/// A condition; KEDA's have no transition time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// Type.
    #[serde(rename = "type")]
    pub condition_type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Reason in CamelCase.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Health of one metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Health {
    /// Failures in a row.
    pub number_of_failures: i32,
    /// `Happy` or `Failing`.
    pub status: String,
}

/// Activity of one metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TriggerActivity {
    /// Whether it was above its activation threshold.
    pub is_active: bool,
}

/// Credentials for triggers, in one namespace or cluster-wide.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TriggerAuthentication {
    /// Always `keda.sh/v1alpha1`.
    pub api_version: String,
    /// `TriggerAuthentication` or `ClusterTriggerAuthentication`.
    pub kind: String,
    /// Metadata.
    pub metadata: Meta,
    /// Where credentials come from.
    pub spec: TriggerAuthenticationSpec,
}

/// Spec of a [`TriggerAuthentication`]; secret stores that are not read here stay JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TriggerAuthenticationSpec {
    /// Cloud identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_identity: Option<PodIdentity>,
    /// Keys of Secrets.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub secret_target_ref: Vec<ParameterRef>,
    /// Keys of ConfigMaps.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub config_map_target_ref: Vec<ParameterRef>,
    /// Environment of the target's container.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub env: Vec<EnvRef>,
    /// OAuth 2 client credentials.
    #[serde(skip_serializing_if = "Option::is_none", rename = "oauth2")]
    pub oauth2: Option<Value>,
    /// A file below the operator's authentication root.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file_path: String,
    /// Service account tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_service_account_token: Option<Value>,
    /// HashiCorp Vault.
    #[serde(skip_serializing_if = "Option::is_none", rename = "hashiCorpVault")]
    pub hashi_corp_vault: Option<Value>,
    /// Azure Key Vault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azure_key_vault: Option<Value>,
    /// Google Secret Manager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gcp_secret_manager: Option<Value>,
    /// AWS Secrets Manager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws_secret_manager: Option<Value>,
}

/// An identity that a cloud gives to the pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodIdentity {
    /// `azure-workload`, `gcp`, `aws`, `aws-eks` or `none`.
    pub provider: String,
    /// Azure client id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_id: Option<String>,
    /// Azure tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_tenant_id: Option<String>,
    /// Azure authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_authority_host: Option<String>,
    /// `keda` or `workload`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_owner: Option<String>,
    /// AWS role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// AWS external id.
    #[serde(skip_serializing_if = "Option::is_none", rename = "externalID")]
    pub external_id: Option<String>,
}

/// One key of a Secret or ConfigMap for one parameter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ParameterRef {
    /// Trigger parameter.
    pub parameter: String,
    /// Object name.
    pub name: String,
    /// Key in it.
    pub key: String,
}

/// One environment variable for one parameter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvRef {
    /// Trigger parameter.
    pub parameter: String,
    /// Variable.
    pub name: String,
    /// Container; the first when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container_name: String,
}

/// Runs Jobs by the length of a queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaledJob {
    /// Always `keda.sh/v1alpha1`.
    pub api_version: String,
    /// Always `ScaledJob`.
    pub kind: String,
    /// Metadata.
    pub metadata: Meta,
    /// What the user asks for.
    pub spec: ScaledJobSpec,
}

/// Spec of a [`ScaledJob`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaledJobSpec {
    /// The Job to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_target_ref: Option<Value>,
    /// Seconds between polls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polling_interval: Option<i32>,
    /// Jobs that always run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_replica_count: Option<i32>,
    /// Most Jobs at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_replica_count: Option<i32>,
    /// How the number of new Jobs is found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling_strategy: Option<Value>,
    /// Where the metrics come from.
    #[serde(deserialize_with = "null_is_empty")]
    pub triggers: Vec<ScaleTrigger>,
}

/// `keda.sh/v1alpha1`.
pub fn api_version() -> String {
    format!("{}/{VERSION}", super::GROUP)
}
