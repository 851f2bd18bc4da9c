//! Reads and writes of Kubernetes objects, as JSON.

use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Map, Value, json};

/// Field manager of the operator's writes; KEDA's binary has this name.
const MANAGER: &str = "keda";

/// The resource of a kind; `plural` must be given, guesses differ.
pub(crate) fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

pub(crate) fn scaled_objects() -> ApiResource {
    resource(
        api::keda::GROUP,
        api::keda::VERSION,
        "ScaledObject",
        "scaledobjects",
    )
}

pub(crate) fn scaled_jobs() -> ApiResource {
    resource(
        api::keda::GROUP,
        api::keda::VERSION,
        "ScaledJob",
        "scaledjobs",
    )
}

pub(crate) fn auths() -> ApiResource {
    let (group, version) = (api::keda::GROUP, api::keda::VERSION);
    resource(
        group,
        version,
        "TriggerAuthentication",
        "triggerauthentications",
    )
}

pub(crate) fn cluster_auths() -> ApiResource {
    let (group, version) = (api::keda::GROUP, api::keda::VERSION);
    resource(
        group,
        version,
        "ClusterTriggerAuthentication",
        "clustertriggerauthentications",
    )
}

pub(crate) fn hpas() -> ApiResource {
    resource(
        "autoscaling",
        "v2",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
    )
}

/// An API in one namespace, or of cluster scope where it is empty.
pub(crate) fn in_namespace(
    client: &Client,
    namespace: &str,
    resource: &ApiResource,
) -> Api<DynamicObject> {
    if namespace.is_empty() {
        Api::all_with(client.clone(), resource)
    } else {
        Api::namespaced_with(client.clone(), namespace, resource)
    }
}

pub(crate) fn to_value(object: &DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

fn from_value(value: Value) -> Result<DynamicObject, kube::Error> {
    serde_json::from_value(value).map_err(kube::Error::SerdeError)
}

pub(crate) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether an object of that name is there already.
pub(crate) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// The message of an error as a user should read it.
pub fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        kube::Error::Service(error) => api::causes(error.as_ref()),
        other => api::causes(other),
    }
}

/// Why the API server cannot be spoken to, with the cure where a certificate
/// or a credential is the reason.
pub fn connection_error(error: &kube::Error) -> String {
    let why = message(error);
    if matches!(error, kube::Error::Api(status) if status.code == 401) {
        return format!("the credentials are not accepted (have they expired?): {why}");
    }
    match doctor::certificate_cure(&why) {
        Some(cure) => format!("{why} ({cure})"),
        None => why,
    }
}

/// Merge-patches an object and returns it.
pub(crate) async fn patch(
    api: &Api<DynamicObject>,
    name: &str,
    patch: &Value,
) -> Result<Value, kube::Error> {
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..Default::default()
    };
    Ok(to_value(
        &api.patch(name, &params, &Patch::Merge(patch)).await?,
    ))
}

/// Replaces an object's finalizers; a conflict where it has changed since `version`, because
/// another controller's finalizer would be lost.
pub(crate) async fn set_finalizers(
    api: &Api<DynamicObject>,
    name: &str,
    version: &str,
    finalizers: &[&str],
) -> Result<Value, kube::Error> {
    let metadata = json!({"resourceVersion": version, "finalizers": finalizers});
    patch(api, name, &json!({"metadata": metadata})).await
}

/// Merge-patches an object's status and returns the object.
pub(crate) async fn patch_status(
    api: &Api<DynamicObject>,
    name: &str,
    status: &Value,
) -> Result<Value, kube::Error> {
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..Default::default()
    };
    let body = json!({"status": status});
    Ok(to_value(
        &api.patch_status(name, &params, &Patch::Merge(body)).await?,
    ))
}

/// Creates an object and returns it.
pub(crate) async fn create(api: &Api<DynamicObject>, object: Value) -> Result<Value, kube::Error> {
    let params = PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..Default::default()
    };
    Ok(to_value(&api.create(&params, &from_value(object)?).await?))
}

/// Replaces an object, whatever its version.
pub(crate) async fn replace(
    api: &Api<DynamicObject>,
    name: &str,
    object: Value,
) -> Result<Value, kube::Error> {
    let params = PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..Default::default()
    };
    Ok(to_value(
        &api.replace(name, &params, &from_value(object)?).await?,
    ))
}

/// Deletes an object; one that is gone is no error.
pub(crate) async fn delete(api: &Api<DynamicObject>, name: &str) -> Result<(), kube::Error> {
    match api.delete(name, &DeleteParams::default()).await {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Sets the replicas of a workload through its scale subresource.
pub(crate) async fn scale(
    api: &Api<DynamicObject>,
    name: &str,
    replicas: i32,
) -> Result<(), kube::Error> {
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..Default::default()
    };
    let body = json!({"spec": {"replicas": replicas}});
    api.patch_scale(name, &params, &Patch::Merge(body))
        .await
        .map(drop)
}

/// The merge patch that makes `new` of `old`, or nothing when they are equal.
pub(crate) fn merge_diff(old: &Value, new: &Value) -> Option<Value> {
    match (old, new) {
        (old, new) if old == new => None,
        (Value::Object(old), Value::Object(new)) => {
            let mut patch = Map::new();
            for key in old.keys().filter(|key| !new.contains_key(*key)) {
                patch.insert(key.clone(), Value::Null);
            }
            for (key, value) in new {
                let change = match old.get(key) {
                    Some(before) => merge_diff(before, value),
                    None => Some(value.clone()),
                };
                if let Some(change) = change {
                    patch.insert(key.clone(), change);
                }
            }
            Some(Value::Object(patch))
        }
        (_, new) => Some(new.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_names_only_what_changed() {
        let old = json!({"a": 1, "b": {"c": 1, "d": 2}, "e": [1]});
        let new = json!({"b": {"c": 1, "d": 3}, "e": [1, 2], "f": true});
        let expected = json!({"a": null, "b": {"d": 3}, "e": [1, 2], "f": true});
        assert_eq!(merge_diff(&old, &new), Some(expected));
        assert_eq!(merge_diff(&old, &old), None);
    }
}
