//! What KEDA's admission webhooks refuse, and with which words.
//!
//! KEDA runs its checks in random order and stops at the first that fails; the
//! order here is fixed, the words are the same.

use api::keda::{
    HPA_OWNERSHIP, ScaledJob, ScaledObject, TRANSFER_HPA, TriggerAuthentication,
    TriggerAuthenticationSpec,
};
use serde_json::Value;

use super::hpa_spec::hpa_name;
use super::{checks, hpa_spec, resource};

/// The objects of the namespace that a ScaledObject is checked against.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Other ScaledObjects.
    pub scaled_objects: Vec<ScaledObject>,
    /// HorizontalPodAutoscalers.
    pub hpas: Vec<Value>,
    /// The workload, where it exists.
    pub workload: Option<Value>,
    /// LimitRanges.
    pub limit_ranges: Vec<Value>,
    /// Nothing will be kept.
    pub dry_run: bool,
}

/// Longest value of a label.
const LONGEST_LABEL: usize = 63;

/// Whether an update only lets go of finalizers, which no webhook checks.
pub fn only_finalizers_removed(old: &Value, new: &Value) -> bool {
    let count = |object: &Value| {
        object["metadata"]["finalizers"]
            .as_array()
            .map_or(0, Vec::len)
    };
    count(new) < count(old) && old["spec"] == new["spec"]
}

/// Checks a ScaledObject; what comes back are warnings.
pub fn scaled_object(object: &ScaledObject, around: &Surroundings) -> Result<Vec<String>, String> {
    checks::counts(object)?;
    names(object)?;
    fallback(object)?;
    owners(object, around)?;
    resources(object, around)?;
    modifiers(object)?;
    checks::triggers(&object.spec.triggers)?;
    Ok(warnings(object))
}

fn names(object: &ScaledObject) -> Result<(), String> {
    let name = &object.metadata.name;
    if name.len() > LONGEST_LABEL {
        return Err(format!(
            "scaledobject name {name:?} is {} characters long; must be no more than 63 characters \
             because it is used as the \"scaledobject.keda.sh/name\" label value",
            name.len()
        ));
    }
    let hpa = hpa_name(object);
    if hpa.len() > LONGEST_LABEL {
        return Err(format!(
            "HPA name {hpa:?} derived from scaledobject is {} characters long; must be no more \
             than 63 characters; set spec.advanced.horizontalPodAutoscalerConfig.name to a shorter \
             name or shorten the scaledobject name",
            hpa.len()
        ));
    }
    Ok(())
}

fn fallback(object: &ScaledObject) -> Result<(), String> {
    let Some(fallback) = &object.spec.fallback else {
        return Ok(());
    };
    if fallback.failure_threshold < 0 || fallback.replicas < 0 {
        return Err(format!(
            "FailureThreshold={} & Replicas={} must both be greater than or equal to 0",
            fallback.failure_threshold, fallback.replicas
        ));
    }
    let modifiers = object.spec.modifiers();
    let formula = modifiers.is_some_and(|modifiers| !modifiers.formula.is_empty());
    if fallback.behavior == "scalingModifiers" && !formula {
        return Err(
            "scalingModifiers fallback behavior requires scalingModifiers.formula to be \
                    defined"
                .to_owned(),
        );
    }
    let triggers = &object.spec.triggers;
    if modifiers.is_none() && !triggers.is_empty() && triggers.iter().all(resource::is_resource) {
        return Err(
            "at least one trigger (that is not cpu or memory) has to have the \
                    `AverageValue` type for the fallback to be enabled"
                .to_owned(),
        );
    }
    Ok(())
}

/// One workload, one owner: what the webhook says where another ScaledObject or
/// HPA scales the same workload, or another one uses the same HPA.
pub fn owners(object: &ScaledObject, around: &Surroundings) -> Result<(), String> {
    let target = &object.spec.scale_target_ref;
    let (group, version, kind) = target.gvk();
    let api_version = if group.is_empty() {
        version
    } else {
        format!("{group}/{version}")
    };
    let type_text = format!("{api_version}.{kind}");
    let name = &object.metadata.name;
    let configured = object
        .spec
        .advanced
        .as_ref()
        .and_then(|advanced| advanced.horizontal_pod_autoscaler_config.as_ref())
        .map_or("", |config| config.name.as_str());
    for hpa in &around.hpas {
        let meta = &hpa["metadata"];
        if meta["annotations"][HPA_OWNERSHIP] == "false" {
            continue;
        }
        let reference = &hpa["spec"]["scaleTargetRef"];
        let same = reference["name"] == target.name.as_str()
            && reference["kind"] == kind.as_str()
            && reference["apiVersion"] == api_version.as_str();
        let owners = meta["ownerReferences"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let ours = owners
            .iter()
            .any(|owner| owner["kind"] == "ScaledObject" && owner["name"] == name.as_str());
        if !same || ours {
            continue;
        }
        let hpa_name = meta["name"].as_str().unwrap_or_default();
        let transfer = object
            .metadata
            .annotations
            .get(TRANSFER_HPA)
            .is_some_and(|t| t == "true");
        if !transfer {
            return Err(format!(
                "the workload '{}' of type '{type_text}' is already managed by the hpa \
                 '{hpa_name}'",
                target.name
            ));
        }
        if configured != hpa_name {
            return Err(format!(
                "the existing hpa '{hpa_name}' for workload '{}' of type '{type_text}' must be \
                 specified by name in advanced settings to enable ownership transfer",
                target.name
            ));
        }
    }
    for other in &around.scaled_objects {
        if other.metadata.name == *name {
            continue;
        }
        let theirs = &other.spec.scale_target_ref;
        if theirs.name == target.name && theirs.gvk() == target.gvk() {
            return Err(format!(
                "the workload '{}' of type '{type_text}' is already managed by the ScaledObject \
                 '{}'",
                target.name, other.metadata.name
            ));
        }
        if hpa_name(other) == hpa_name(object) {
            return Err(format!(
                "the HPA '{}' is already managed by the ScaledObject '{}'",
                hpa_name(object),
                other.metadata.name
            ));
        }
    }
    Ok(())
}

/// cpu and memory triggers need requests, and cannot start from zero.
fn resources(object: &ScaledObject, around: &Surroundings) -> Result<(), String> {
    let triggers = &object.spec.triggers;
    let (_, _, kind) = object.spec.scale_target_ref.gvk();
    let has_template = matches!(kind.as_str(), "Deployment" | "StatefulSet");
    if has_template && !around.dry_run {
        for trigger in triggers
            .iter()
            .filter(|trigger| resource::is_resource(trigger))
        {
            requests(object, trigger, around)?;
        }
    }
    let only = !triggers.is_empty() && triggers.iter().all(resource::is_resource);
    if only && object.spec.min() == 0 {
        return Err(
            "scaledobject has only cpu/memory triggers AND minReplica is 0 (scale to zero \
                    doesn't work in this case)"
                .to_owned(),
        );
    }
    Ok(())
}

fn requests(
    object: &ScaledObject,
    trigger: &api::keda::ScaleTrigger,
    around: &Surroundings,
) -> Result<(), String> {
    let target = &object.spec.scale_target_ref;
    let Some(workload) = &around.workload else {
        let (_, _, kind) = target.gvk();
        return Err(format!("{kind}.apps {:?} not found", target.name));
    };
    let wanted = trigger.trigger_type.as_str();
    let only = trigger
        .metadata
        .get("containerName")
        .map_or("", String::as_str);
    let containers = workload["spec"]["template"]["spec"]["containers"].as_array();
    for container in containers.into_iter().flatten() {
        let name = container["name"].as_str().unwrap_or_default();
        let given = &container["resources"];
        let set = |list: &str| !given[list][wanted].is_null();
        let skipped = !only.is_empty() && only != name;
        if skipped || set("requests") || set("limits") || defaulted(around, wanted) {
            continue;
        }
        return Err(format!(
            "the scaledobject has a {wanted} trigger but the container {name} doesn't have the \
             {wanted} request defined"
        ));
    }
    Ok(())
}

fn defaulted(around: &Surroundings, wanted: &str) -> bool {
    let ranges = around.limit_ranges.iter();
    let items = ranges.flat_map(|range| range["spec"]["limits"].as_array().into_iter().flatten());
    items
        .filter(|item| item["type"] == "Container")
        .any(|item| !item["defaultRequest"][wanted].is_null() || !item["default"][wanted].is_null())
}

fn modifiers(object: &ScaledObject) -> Result<(), String> {
    let Some(modifiers) = object.spec.modifiers() else {
        return Ok(());
    };
    if modifiers.formula.is_empty() {
        return Err("error ScalingModifiers.Formula is mandatory".to_owned());
    }
    // A trigger without a name has no place in a formula.
    let unnamed = object
        .spec
        .triggers
        .iter()
        .position(|trigger| trigger.name.is_empty() && !resource::is_resource(trigger));
    if let Some(index) = unnamed {
        return Err(format!(
            "error validating formula in ScalingModifiers\ntrigger of type {:?} has no name but \
             can be referenced only by name (trigger {index})",
            object.spec.triggers[index].trigger_type
        ));
    }
    super::modifiers::formula(object)?;
    hpa_spec::composite(Some(modifiers))
        .map(drop)
        .map_err(|error| error.to_string())
}

fn warnings(object: &ScaledObject) -> Vec<String> {
    let spec = &object.spec;
    let mut warnings = Vec::new();
    if spec.min() < 1 || spec.idle_replica_count == Some(0) {
        return warnings;
    }
    let cached = spec
        .triggers
        .iter()
        .any(|trigger| trigger.use_cached_metrics);
    if spec.polling_interval.is_some() && !cached {
        warnings.push(
            "PollingInterval is configured but is not relevant. PollingInterval is only relevant \
             when minReplicaCount = 0 or idleReplicaCount = 0 or useCachedMetrics is enabled"
                .to_owned(),
        );
    }
    if spec.cooldown_period.is_some() {
        warnings.push(
            "CooldownPeriod is configured but is not relevant. CooldownPeriod is only relevant \
             when minReplicaCount = 0 or idleReplicaCount = 0"
                .to_owned(),
        );
    }
    warnings
}

/// Checks a ScaledJob.
pub fn scaled_job(job: &ScaledJob) -> Result<Vec<String>, String> {
    checks::triggers(&job.spec.triggers).map(|()| Vec::new())
}

/// Checks a TriggerAuthentication of either kind.
pub fn trigger_authentication(auth: &TriggerAuthentication) -> Result<Vec<String>, String> {
    if let Some(identity) = &auth.spec.pod_identity {
        let is = |field: &Option<String>, text: &str| field.as_deref() == Some(text);
        match identity.provider.as_str() {
            "azure-workload" => {
                for (field, name) in [
                    (&identity.identity_id, "identityId"),
                    (&identity.identity_tenant_id, "identityTenantId"),
                ] {
                    if is(field, "") {
                        return Err(format!(
                            "{name} of PodIdentity should not be empty. If it's set, {name} has \
                             to be different than \"\""
                        ));
                    }
                }
                let host = identity
                    .identity_authority_host
                    .as_deref()
                    .unwrap_or_default();
                if !host.is_empty() && identity.identity_tenant_id.is_none() {
                    return Err(
                        "identityTenantID of PodIdentity should not be nil or empty when \
                                identityAuthorityHost of PodIdentity is set"
                            .to_owned(),
                    );
                }
            }
            "aws" => {
                let role = identity.role_arn.as_deref().unwrap_or_default();
                if !role.is_empty() && is(&identity.identity_owner, "workload") {
                    return Err(
                        "roleArn of PodIdentity can't be set if KEDA isn't identityOwner"
                            .to_owned(),
                    );
                }
                let external = identity.external_id.as_deref().unwrap_or_default();
                if !external.is_empty() && role.is_empty() {
                    return Err("externalID of PodIdentity requires roleArn to be set".to_owned());
                }
            }
            _ => return Ok(Vec::new()),
        }
    }
    oauth(&auth.spec).map(|()| Vec::new())
}

fn oauth(spec: &TriggerAuthenticationSpec) -> Result<(), String> {
    let Some(oauth) = &spec.oauth2 else {
        return Ok(());
    };
    let text = |field: &str| oauth[field].as_str().unwrap_or_default();
    let kind = text("type");
    if kind != "clientCredentials" {
        return Err(format!(
            "oauth2.type must be 'clientCredentials', got '{kind}'"
        ));
    }
    if text("clientId").is_empty() {
        return Err("oauth2.clientId is required when oauth2 is configured".to_owned());
    }
    let url = text("tokenUrl");
    if url.is_empty() {
        return Err("oauth2.tokenUrl is required when oauth2 is configured".to_owned());
    }
    let host = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    if host.is_none_or(|host| host.is_empty() || host.starts_with('/')) {
        return Err("oauth2.tokenUrl must be a valid http or https URL".to_owned());
    }
    Ok(())
}

/// The resources that webhooks check, with the webhooks' names.
pub const WEBHOOKS: [(&str, &str); 4] = [
    ("scaledobjects.keda.sh", "vscaledobject.kb.io"),
    ("scaledjobs.keda.sh", "vscaledjob.kb.io"),
    (
        "triggerauthentications.keda.sh",
        "vstriggerauthentication.kb.io",
    ),
    (
        "clustertriggerauthentications.keda.sh",
        "vsclustertriggerauthentication.kb.io",
    ),
];

/// Checks an object of one of the [`WEBHOOKS`]' resources as it would be
/// stored; `old` is null for a creation. What comes back are warnings.
pub fn review(
    resource: &str,
    object: &Value,
    old: &Value,
    around: &Surroundings,
) -> Result<Vec<String>, String> {
    if object.is_null() || only_finalizers_removed(old, object) {
        return Ok(Vec::new());
    }
    fn read<T: serde::de::DeserializeOwned>(object: &Value) -> Result<T, String> {
        serde_json::from_value(object.clone()).map_err(|error| error.to_string())
    }
    match resource {
        "scaledobjects.keda.sh" => scaled_object(&read(object)?, around),
        "scaledjobs.keda.sh" => scaled_job(&read(object)?),
        _ => trigger_authentication(&read(object)?),
    }
}
