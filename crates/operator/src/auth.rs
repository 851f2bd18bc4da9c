//! Trigger authentications: what they give a trigger, and their own upkeep.

use std::collections::BTreeMap;

use api::keda::{FINALIZER, ScaledObject, TriggerAuthentication};
use decide::scale::conditions::Event;
use serde_json::{Value, json};

use crate::env;
use crate::events::Regarding;
use crate::io;
use crate::state::{Key, Shared};

/// What a trigger gets from its authentication.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    pub(crate) params: BTreeMap<String, String>,
    pub(crate) identity: triggers::PodIdentity,
}

/// Resolves the authentication of a trigger.
///
/// One that is not there, and a Secret that is not there, leave the parameters
/// empty: the trigger then names what it misses.
pub(crate) async fn resolve(
    shared: &Shared,
    object: &ScaledObject,
    reference: Option<&api::keda::AuthenticationRef>,
    target: Option<&Value>,
) -> Resolved {
    let mut resolved = Resolved::default();
    let Some(reference) = reference else {
        return resolved;
    };
    let cluster = reference.is_cluster();
    let own = object.metadata.namespace.clone();
    let key: Key = (
        if cluster { String::new() } else { own.clone() },
        reference.name.clone(),
    );
    let known = shared.state().auths.get(&key).cloned();
    let auth = match known {
        Some(auth) => auth,
        // The watch may not have brought it yet.
        None => match fetch(shared, &key).await {
            Some(auth) => std::sync::Arc::new(auth),
            None => {
                tracing::warn!(name = reference.name, "trigger authentication not found");
                return resolved;
            }
        },
    };
    let spec = &auth.spec;
    let namespace = if cluster {
        shared.options.namespace.clone()
    } else {
        own
    };
    for entry in &spec.env {
        let all = env::of_target(shared, object, target, &entry.container_name).await;
        let value = all.get(&entry.name).cloned().unwrap_or_default();
        resolved.params.insert(entry.parameter.clone(), value);
    }
    let sources = [
        (&spec.config_map_target_ref, false),
        (&spec.secret_target_ref, true),
    ];
    for (references, secret) in sources {
        for entry in references {
            let mut data = env::data(shared, &namespace, &entry.name, secret).await;
            let value = data.remove(&entry.key).unwrap_or_default();
            resolved.params.insert(entry.parameter.clone(), value);
        }
    }
    if let Some(identity) = &spec.pod_identity {
        resolved.identity = triggers::PodIdentity {
            provider: identity.provider.clone(),
            identity_id: identity.identity_id.clone(),
            identity_tenant_id: identity.identity_tenant_id.clone(),
            identity_authority_host: identity.identity_authority_host.clone(),
        };
    }
    resolved
}

async fn fetch(shared: &Shared, key: &Key) -> Option<TriggerAuthentication> {
    let resource = if key.0.is_empty() {
        io::cluster_auths()
    } else {
        io::auths()
    };
    let found = io::in_namespace(&shared.client, &key.0, &resource)
        .get(&key.1)
        .await
        .ok()?;
    serde_json::from_value(io::to_value(&found)).ok()
}

/// Brings an authentication's finalizer in order and tells what happened.
pub(crate) async fn upkeep(
    shared: &Shared,
    key: &Key,
    value: &Value,
    changed: bool,
) -> Result<(), kube::Error> {
    let cluster = key.0.is_empty();
    let resource = if cluster {
        io::cluster_auths()
    } else {
        io::auths()
    };
    let api = io::in_namespace(&shared.client, &key.0, &resource);
    let finalizers: Vec<&str> = value["metadata"]["finalizers"]
        .as_array()
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let version = value["metadata"]["resourceVersion"].as_str().unwrap_or("");
    let prefix = if cluster { "Cluster" } else { "" };
    let regarding = Regarding::of(value);
    if value["metadata"]["deletionTimestamp"].is_string() {
        if finalizers.contains(&FINALIZER) {
            let reason = if cluster {
                "ClusterTriggerAuthenticationDeleted"
            } else {
                "TriggerAuthenticationDeleted"
            };
            let note = format!("{prefix}TriggerAuthentication was deleted");
            let event = Event::reconciled("Normal", reason, note);
            shared.recorder.record(&regarding, &event);
            let mut rest = finalizers;
            rest.retain(|f| *f != FINALIZER);
            ignore_missing(io::set_finalizers(&api, &key.1, version, &rest).await)?;
        }
        return Ok(());
    }
    if !finalizers.contains(&FINALIZER) {
        let mut all = finalizers;
        all.push(FINALIZER);
        ignore_missing(io::set_finalizers(&api, &key.1, version, &all).await)?;
        let reason = if cluster {
            "ClusterTriggerAuthenticationAdded"
        } else {
            "TriggerAuthenticationAdded"
        };
        let note = format!("New {prefix}TriggerAuthentication configured");
        let event = Event::reconciled("Normal", reason, note);
        shared.recorder.record(&regarding, &event);
    } else if changed {
        // KEDA names the cluster-wide kind here in both cases.
        let note = format!("ClusterTriggerAuthentication {} is updated", key.1);
        let event = Event::reconciled("Normal", "ClusterTriggerAuthenticationUpdated", note);
        shared.recorder.record(&regarding, &event);
    }
    list_users(shared, key).await
}

/// Writes which ScaledObjects use an authentication.
pub(crate) async fn list_users(shared: &Shared, key: &Key) -> Result<(), kube::Error> {
    let names = {
        let state = shared.state();
        if !state.auths.contains_key(key) {
            return Ok(());
        }
        let names: Vec<String> = state
            .objects
            .values()
            .map(|cached| &cached.object)
            .filter(|object| object.metadata.deletion_timestamp.is_none())
            .filter(|object| key.0.is_empty() || object.metadata.namespace == key.0)
            .filter(|object| uses(object, key))
            .map(|object| object.metadata.name.clone())
            .collect();
        let names = names.join(",");
        let known = state.auth_status.get(key).map_or("", String::as_str);
        if known == names {
            return Ok(());
        }
        names
    };
    let resource = if key.0.is_empty() {
        io::cluster_auths()
    } else {
        io::auths()
    };
    let api = io::in_namespace(&shared.client, &key.0, &resource);
    let text = if names.is_empty() {
        Value::Null
    } else {
        json!(names)
    };
    ignore_missing(io::patch_status(&api, &key.1, &json!({"scaledobjects": text})).await)?;
    shared.state().auth_status.insert(key.clone(), names);
    Ok(())
}

/// The authentications that a ScaledObject names.
pub(crate) fn used_by(object: &ScaledObject) -> Vec<Key> {
    let mut keys: Vec<Key> = object
        .spec
        .triggers
        .iter()
        .filter_map(|trigger| trigger.authentication_ref.as_ref())
        .map(|reference| {
            let own = object.metadata.namespace.clone();
            let namespace = if reference.is_cluster() {
                String::new()
            } else {
                own
            };
            (namespace, reference.name.clone())
        })
        .collect();
    keys.sort();
    keys.dedup();
    keys
}

fn uses(object: &ScaledObject, key: &Key) -> bool {
    used_by(object).contains(key)
}

fn ignore_missing(outcome: Result<Value, kube::Error>) -> Result<(), kube::Error> {
    match outcome {
        Err(error) if !io::is_not_found(&error) => Err(error),
        _ => Ok(()),
    }
}
