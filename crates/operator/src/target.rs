//! The workload behind a ScaledObject: its kind, its replicas, its scale.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;

use api::keda::{Gvkr, ScaledObject};
use kube::Client;
use kube::api::ApiResource;
use kube::core::GroupVersionKind;
use kube::discovery::oneshot;
use serde_json::Value;

use crate::io;
use crate::state::{Key, Shared};
use crate::watches::Source;

/// Kinds as the API server's discovery resolves them.
#[derive(Debug, Default)]
pub(crate) struct Kinds {
    known: Mutex<BTreeMap<(String, String, String), ApiResource>>,
}

/// Why a kind cannot be resolved.
#[derive(Debug)]
pub(crate) enum KindError {
    /// The API server does not have it.
    NoMatch(String),
    /// It cannot be asked.
    Other(String),
}

impl Kinds {
    pub(crate) async fn resolve(
        &self,
        client: &Client,
        object: &ScaledObject,
    ) -> Result<ApiResource, KindError> {
        let gvk = object.spec.scale_target_ref.gvk();
        let known = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&gvk)
            .cloned();
        if let Some(resource) = known {
            return Ok(resource);
        }
        let (group, version, kind) = &gvk;
        let asked = GroupVersionKind::gvk(group, version, kind);
        let found = oneshot::pinned_kind(client, &asked).await;
        let resource = match found {
            Ok((resource, _)) => resource,
            Err(kube::Error::Discovery(_)) => return Err(no_match(&gvk)),
            Err(error) if io::is_not_found(&error) => return Err(no_match(&gvk)),
            Err(error) => return Err(KindError::Other(io::message(&error))),
        };
        let mut map = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        map.insert(gvk, resource.clone());
        Ok(resource)
    }
}

fn no_match((group, version, kind): &(String, String, String)) -> KindError {
    let api_version = if group.is_empty() {
        version.clone()
    } else {
        format!("{group}/{version}")
    };
    KindError::NoMatch(format!(
        "no matches for kind \"{kind}\" in version \"{api_version}\""
    ))
}

pub(crate) fn gvkr(resource: &ApiResource) -> Gvkr {
    Gvkr {
        group: resource.group.clone(),
        version: resource.version.clone(),
        kind: resource.kind.clone(),
        resource: resource.plural.clone(),
    }
}

/// The resource that the status of a ScaledObject names.
pub(crate) fn resource(gvkr: &Gvkr) -> ApiResource {
    io::resource(&gvkr.group, &gvkr.version, &gvkr.kind, &gvkr.resource)
}

/// The target as last seen; an error text where it is missing.
pub(crate) async fn find(
    shared: &Shared,
    object: &ScaledObject,
) -> Result<std::sync::Arc<Value>, String> {
    let Some(gvkr) = object.status.scale_target_gvkr.clone() else {
        return Err("the scale target has not been resolved yet".to_owned());
    };
    let name = object.spec.scale_target_ref.name.clone();
    let namespace = object.metadata.namespace.clone();
    let kind = if gvkr.group.is_empty() {
        gvkr.kind.clone()
    } else {
        format!("{}.{}", gvkr.kind, gvkr.group)
    };
    let missing = format!("{kind} \"{name}\" not found");
    let group_resource = gvkr.group_resource();
    {
        let state = shared.state();
        if state
            .synced
            .contains(&Source::Target(group_resource.clone()))
        {
            let found = state.targets.get(&(group_resource, (namespace, name)));
            return found.cloned().ok_or(missing);
        }
    }
    let api = io::in_namespace(&shared.client, &namespace, &resource(&gvkr));
    match api.get(&name).await {
        Ok(found) => Ok(std::sync::Arc::new(io::to_value(&found))),
        Err(error) if io::is_not_found(&error) => Err(missing),
        Err(error) => Err(io::message(&error)),
    }
}

/// Replicas of a workload that the watch has brought, where its kind is known to
/// have a scale: one question less for each of a thousand objects.
pub(crate) fn seen_replicas(shared: &Shared, gvkr: &Gvkr, key: &Key, name: &str) -> Option<i32> {
    let scales = matches!(gvkr.resource.as_str(), "deployments" | "statefulsets");
    if gvkr.group != "apps" || !scales {
        return None;
    }
    let at = (gvkr.group_resource(), (key.0.clone(), name.to_owned()));
    shared.state().targets.get(&at).map(|found| replicas(found))
}

/// Replicas that a workload asks for; Kubernetes counts absence as one.
pub(crate) fn replicas(target: &Value) -> i32 {
    let count = target["spec"]["replicas"].as_i64().unwrap_or(1);
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Ready pods of a workload, where it says so.
pub(crate) fn ready(target: &Value) -> Option<i32> {
    let count = target["status"]["readyReplicas"].as_i64();
    count
        .or(target["status"].is_object().then_some(0))
        .and_then(|n| i32::try_from(n).ok())
}
