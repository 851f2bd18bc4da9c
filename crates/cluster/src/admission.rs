//! What the server adds to, keeps of and refuses in an object that is written.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cluster::{Cluster, WriteOptions};
use crate::hooks;
use crate::resource::{Resource, api_version};
use crate::status::{Cause, Status};
use crate::value::{self, copy_field, set_meta};

/// Identity, namespace and name of a new object; its status is the server's to write.
pub(crate) fn prepare_create(
    cluster: &Cluster,
    row: &Resource,
    version: &str,
    object: &mut Value,
) -> Result<(), Status> {
    if !object.is_object() {
        return Err(Status::bad_request("the body is not an object"));
    }
    object["apiVersion"] = json!(api_version(&row.group, version));
    object["kind"] = json!(row.kind);
    if !value::resource_version(object).is_empty() {
        let mut status =
            Status::bad_request("resourceVersion should not be set on objects to be created");
        status.code = 500;
        status.reason = String::new();
        return Err(status);
    }
    let meta = value::metadata_mut(object);
    let prefix = meta
        .get("generateName")
        .and_then(Value::as_str)
        .unwrap_or("")
        .to_owned();
    let name = meta
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or("")
        .to_owned();
    if name.is_empty() {
        if prefix.is_empty() {
            let cause = Cause {
                reason: "FieldValueRequired".to_owned(),
                message: "Required value: name or generateName is required".to_owned(),
                field: "metadata.name".to_owned(),
            };
            return Err(Status::invalid(&row.kind, &row.group, "", vec![cause]));
        }
        let base: String = prefix.chars().take(58).collect();
        meta.insert(
            "name".to_owned(),
            json!(format!("{base}{}", cluster.name_suffix())),
        );
    }
    if row.namespaced {
        if meta
            .get("namespace")
            .and_then(Value::as_str)
            .is_none_or(str::is_empty)
        {
            meta.insert("namespace".to_owned(), json!("default"));
        }
    } else {
        meta.remove("namespace");
    }
    if row.namespaced {
        let (ns, name) = (
            value::namespace(object).to_owned(),
            value::name(object).to_owned(),
        );
        cluster.check_namespace(row, &ns, &name)?;
    }
    cluster.stamp(row, object);
    let initial = match &*row.name {
        // A kubelet registers its node with the status it has.
        "nodes" | "componentstatuses" | "events" => return Ok(()),
        "pods" => json!({"phase": "Pending"}),
        "namespaces" => json!({"phase": "Active"}),
        "services" => json!({"loadBalancer": {}}),
        "persistentvolumes" | "persistentvolumeclaims" => json!({"phase": "Pending"}),
        "horizontalpodautoscalers.autoscaling" => {
            json!({"desiredReplicas": 0, "currentMetrics": null})
        }
        "replicasets.apps" => json!({"replicas": 0}),
        "statefulsets.apps" => json!({"availableReplicas": 0, "replicas": 0}),
        "poddisruptionbudgets.policy" => json!({
            "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0,
        }),
        "ingresses.networking.k8s.io" => json!({"loadBalancer": {}}),
        _ if row.custom.is_some() && row.has_status() => {
            if let Some(map) = object.as_object_mut() {
                map.remove("status");
            }
            return Ok(());
        }
        _ if row.has_status() => json!({}),
        _ => return Ok(()),
    };
    object["status"] = initial;
    Ok(())
}

/// Fills in the defaults of a kind.
pub(crate) fn default_object(row: &Resource, version: &str, object: &mut Value) {
    hooks::apply_defaults(row, version, object);
}

/// The admission plug-ins that every cluster runs.
pub(crate) fn mutate_create(
    cluster: &Cluster,
    row: &Resource,
    object: &mut Value,
) -> Result<(), Status> {
    match &*row.name {
        "pods" => mutate_pod(cluster, object),
        "namespaces" => {
            let name = value::name(object).to_owned();
            value::map_mut(object, &["metadata", "labels"])
                .insert("kubernetes.io/metadata.name".to_owned(), json!(name));
            value::map_mut(object, &["spec"])
                .insert("finalizers".to_owned(), json!(["kubernetes"]));
            Ok(())
        }
        "services" => {
            assign_address(cluster, object);
            Ok(())
        }
        "jobs.batch" => {
            crate::controllers::job::identify(object);
            Ok(())
        }
        _ => Ok(()),
    }
}

fn mutate_pod(cluster: &Cluster, pod: &mut Value) -> Result<(), Status> {
    let class = value::text(pod, &["spec", "priorityClassName"]).to_owned();
    let (priority, preemption) = if class.is_empty() {
        (json!(0), json!("PreemptLowerPriority"))
    } else {
        let found = cluster
            .get("priorityclasses.scheduling.k8s.io", "", &class)
            .map_err(|_| {
                let why = format!("no PriorityClass with name {class} was found");
                Status::forbidden("pods", value::name(pod), &why)
            })?;
        let policy = found.get("preemptionPolicy").cloned();
        (
            found["value"].clone(),
            policy.unwrap_or_else(|| json!("PreemptLowerPriority")),
        )
    };
    let spec = value::map_mut(pod, &["spec"]);
    spec.insert("priority".to_owned(), priority);
    spec.entry("preemptionPolicy").or_insert(preemption);
    let account = spec
        .get("serviceAccountName")
        .and_then(Value::as_str)
        .filter(|s| !s.is_empty())
        .unwrap_or("default")
        .to_owned();
    spec.insert("serviceAccountName".to_owned(), json!(account));
    spec.insert("serviceAccount".to_owned(), json!(account));
    let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
    if let Some(list) = tolerations.as_array_mut() {
        for key in [
            "node.kubernetes.io/not-ready",
            "node.kubernetes.io/unreachable",
        ] {
            let tolerated = list.iter().any(|t| {
                let effect = value::text(t, &["effect"]);
                (value::text(t, &["key"]) == key || value::text(t, &["key"]).is_empty())
                    && (effect.is_empty() || effect == "NoExecute")
            });
            if !tolerated {
                list.push(json!({
                    "key": key, "operator": "Exists", "effect": "NoExecute",
                    "tolerationSeconds": 300,
                }));
            }
        }
    }
    if spec.get("automountServiceAccountToken") != Some(&json!(false)) {
        mount_token(spec, &cluster.name_suffix());
    }
    let qos = qos_class(pod);
    value::map_mut(pod, &["status"]).insert("qosClass".to_owned(), json!(qos));
    Ok(())
}

/// Adds the volume through which a container reads its service account's token.
fn mount_token(spec: &mut serde_json::Map<String, Value>, suffix: &str) {
    const PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
    let volume = format!("kube-api-access-{suffix}");
    let mut used = false;
    for key in ["initContainers", "containers"] {
        let Some(containers) = spec.get_mut(key).and_then(Value::as_array_mut) else {
            continue;
        };
        for container in containers {
            let Some(container) = container.as_object_mut() else {
                continue;
            };
            let mounts = container.entry("volumeMounts").or_insert_with(|| json!([]));
            let Some(mounts) = mounts.as_array_mut() else {
                continue;
            };
            if mounts.iter().any(|m| m["mountPath"] == PATH) {
                continue;
            }
            mounts.push(json!({"mountPath": PATH, "name": volume, "readOnly": true}));
            used = true;
        }
    }
    let volumes = spec.entry("volumes").or_insert_with(|| json!([]));
    if let Some(volumes) = volumes.as_array_mut()
        && used
    {
        volumes.push(json!({
            "name": volume,
            "projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {"configMap": {
                    "items": [{"key": "ca.crt", "path": "ca.crt"}], "name": "kube-root-ca.crt",
                }},
                {"downwardAPI": {"items": [{
                    "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                    "path": "namespace",
                }]}},
            ]},
        }));
    }
    if volumes.as_array().is_some_and(Vec::is_empty) {
        spec.remove("volumes");
    }
}

/// Guaranteed, Burstable or BestEffort, by what the containers ask for.
fn qos_class(pod: &Value) -> &'static str {
    let mut any = false;
    let mut all = true;
    for key in ["containers", "initContainers"] {
        for container in value::list(pod, &["spec", key]) {
            for resource in ["cpu", "memory"] {
                let request = value::at(container, &["resources", "requests", resource]);
                let limit = value::at(container, &["resources", "limits", resource]);
                any |= request.is_some() || limit.is_some();
                all &= limit.is_some() && (request.is_none() || request == limit);
            }
        }
    }
    match (any, all) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// Gives a Service its address inside the cluster.
fn assign_address(cluster: &Cluster, service: &mut Value) {
    let spec = value::map_mut(service, &["spec"]);
    if spec.get("type") == Some(&json!("ExternalName")) {
        return;
    }
    let given = spec
        .get("clusterIP")
        .and_then(Value::as_str)
        .unwrap_or("")
        .to_owned();
    let address = if given.is_empty() {
        let taken: Vec<Arc<Value>> = cluster.list("services", None);
        loop {
            let n = cluster.random(65_000) + 10;
            let address = format!("10.0.{}.{}", n / 256, n % 256);
            if !taken
                .iter()
                .any(|s| value::text(s, &["spec", "clusterIP"]) == address)
            {
                break address;
            }
        }
    } else {
        given
    };
    spec.insert("clusterIPs".to_owned(), json!([address]));
    spec.insert("clusterIP".to_owned(), json!(address));
    spec.entry("internalTrafficPolicy")
        .or_insert(json!("Cluster"));
    spec.entry("ipFamilies").or_insert(json!(["IPv4"]));
    spec.entry("ipFamilyPolicy").or_insert(json!("SingleStack"));
    let numbered = matches!(
        spec.get("type").and_then(Value::as_str),
        Some("NodePort" | "LoadBalancer")
    );
    if let Some(ports) = spec.get_mut("ports").and_then(Value::as_array_mut)
        && numbered
    {
        for port in ports {
            if port.get("nodePort").and_then(Value::as_i64).unwrap_or(0) == 0 {
                port["nodePort"] = json!(30_000 + cluster.random(2767));
            }
        }
    }
}

/// Refuses what does not pass validation.
pub(crate) fn check(
    row: &Resource,
    version: &str,
    object: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    let causes = hooks::validate(row, version, object, old);
    if causes.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(
        &row.kind,
        &row.group,
        value::name(object),
        causes,
    ))
}

/// Refuses other resources of a running pod: they change by its subresource `resize` alone.
pub(crate) fn keep_resources(row: &Resource, old: &Value, new: &Value) -> Result<(), Status> {
    let of = |pod: &Value| -> Vec<Value> {
        let lists = ["initContainers", "containers"].map(|key| value::list(pod, &["spec", key]));
        let all = lists.into_iter().flatten();
        all.map(|c| {
            let amounts = |key| value::at(c, &["resources", key]).cloned();
            json!([amounts("requests"), amounts("limits")])
        })
        .collect()
    };
    if &*row.name != "pods" || of(old) == of(new) {
        return Ok(());
    }
    let cause = Cause {
        reason: "FieldValueForbidden".to_owned(),
        message: format!("Forbidden: {}", crate::schema::validate::MAY_CHANGE),
        field: "spec".to_owned(),
    };
    let name = value::name(new);
    Err(Status::invalid(&row.kind, &row.group, name, vec![cause]))
}

/// Restores what a writer may not change.
pub(crate) fn prepare_update(
    row: &Resource,
    old: &Value,
    new: &mut Value,
    options: &WriteOptions,
) -> Result<(), Status> {
    if !new.is_object() {
        return Err(Status::bad_request("the body is not an object"));
    }
    new["apiVersion"] = json!(api_version(&row.group, options.version_of(row)));
    new["kind"] = json!(row.kind);
    let name = value::name(old).to_owned();
    let version = value::resource_version(new);
    if !version.is_empty() && version != "0" && version != value::resource_version(old) {
        return Err(Status::modified(&row.name, &name));
    }
    if version.is_empty() && !options.internal && row.versioned {
        let cause = Cause {
            reason: "FieldValueInvalid".to_owned(),
            message: "Invalid value: 0: must be specified for an update".to_owned(),
            field: "metadata.resourceVersion".to_owned(),
        };
        return Err(Status::invalid(&row.kind, &row.group, &name, vec![cause]));
    }
    let uid = value::uid(new);
    if !uid.is_empty() && uid != value::uid(old) {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            value::uid(old)
        );
        return Err(Status::conflict(&row.name, &name, &why));
    }
    refuse_new_finalizers(row, old, new)?;
    match options.subresource {
        "status" => keep_all_but_status(row, old, new),
        _ => {
            if row.has_status() {
                copy_field(new, old, "status");
            }
            if &*row.name == "namespaces" && !options.internal {
                let finalizers = old["spec"].get("finalizers").cloned();
                let spec = value::map_mut(new, &["spec"]);
                match finalizers {
                    Some(list) => spec.insert("finalizers".to_owned(), list),
                    None => spec.remove("finalizers"),
                };
            }
        }
    }
    for key in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "generation",
        "resourceVersion",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generateName",
    ] {
        let kept = old["metadata"].get(key).cloned();
        set_meta(new, key, kept);
    }
    set_meta(new, "selfLink", None);
    for key in [
        "labels",
        "annotations",
        "finalizers",
        "ownerReferences",
        "managedFields",
    ] {
        let empty = new["metadata"].get(key).is_some_and(|v| match v {
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::Null => true,
            _ => false,
        });
        if empty {
            set_meta(new, key, None);
        }
    }
    Ok(())
}

fn refuse_new_finalizers(row: &Resource, old: &Value, new: &Value) -> Result<(), Status> {
    if !value::deleting(old) {
        return Ok(());
    }
    let before = value::strings(old, &["metadata", "finalizers"]);
    let added: Vec<&str> = value::strings(new, &["metadata", "finalizers"])
        .into_iter()
        .filter(|f| !before.contains(f))
        .collect();
    if added.is_empty() {
        return Ok(());
    }
    let quoted: Vec<String> = added.iter().map(|f| format!("\"{f}\"")).collect();
    let cause = Cause {
        reason: "FieldValueForbidden".to_owned(),
        message: format!(
            "Forbidden: no new finalizers can be added if the object is being deleted, \
             found new finalizers []string{{{}}}",
            quoted.join(", ")
        ),
        field: "metadata.finalizers".to_owned(),
    };
    Err(Status::invalid(
        &row.kind,
        &row.group,
        value::name(old),
        vec![cause],
    ))
}

fn keep_all_but_status(row: &Resource, old: &Value, new: &mut Value) {
    let mut kept = old.clone();
    copy_field(&mut kept, new, "status");
    let free: &[&str] = match row.group.as_str() {
        _ if row.custom.is_some() => &["managedFields"],
        "apps" => &[
            "annotations",
            "finalizers",
            "managedFields",
            "ownerReferences",
        ],
        _ => &["labels", "annotations", "finalizers", "managedFields"],
    };
    for key in free {
        let value = new["metadata"].get(*key).cloned();
        set_meta(&mut kept, key, value);
    }
    *new = kept;
}

/// Raises metadata.generation where what is wished for has changed.
pub(crate) fn set_generation(row: &Resource, old: &Value, new: &mut Value) {
    if !row.generation {
        return;
    }
    let wished = |object: &Value| -> Value {
        let mut copy = object.clone();
        if let Some(map) = copy.as_object_mut() {
            map.remove("metadata");
            if row.custom.is_none() || row.has_status() {
                map.remove("status");
            }
        }
        copy
    };
    let changed = if row.custom.is_some() {
        wished(old) != wished(new)
    } else {
        let annotations = &*row.name == "deployments.apps"
            && old["metadata"].get("annotations") != new["metadata"].get("annotations");
        let fields = [
            "spec",
            "value",
            "webhooks",
            "validations",
            "endpoints",
            "ports",
        ];
        annotations || fields.iter().any(|f| old.get(*f) != new.get(*f))
    };
    if changed {
        let generation = value::integer(old, &["metadata", "generation"]).unwrap_or(0);
        set_meta(new, "generation", Some(json!(generation + 1)));
    }
}

/// Whether two states differ in nothing that counts as a change.
pub(crate) fn same(old: &Value, new: &Value) -> bool {
    let (Some(a), Some(b)) = (old.as_object(), new.as_object()) else {
        return old == new;
    };
    let rest = |m: &serde_json::Map<String, Value>| m.keys().filter(|k| *k != "metadata").count();
    if rest(a) != rest(b)
        || a.iter()
            .any(|(k, v)| k != "metadata" && b.get(k) != Some(v))
    {
        return false;
    }
    let empty = serde_json::Map::new();
    let ma = a
        .get("metadata")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let mb = b
        .get("metadata")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let ignored = |k: &str| k == "managedFields" || k == "resourceVersion";
    let count = |m: &serde_json::Map<String, Value>| m.keys().filter(|k| !ignored(k)).count();
    count(ma) == count(mb)
        && ma.iter().all(|(k, v)| ignored(k) || mb.get(k) == Some(v))
        && hooks::same_owners(ma.get("managedFields"), mb.get("managedFields"))
}

/// Writes down in managedFields who set what.
pub(crate) fn track(
    row: &Arc<Resource>,
    old: Option<&Value>,
    new: &mut Value,
    options: &WriteOptions,
    now: Timestamp,
) {
    hooks::track(row, old, new, options, now);
}
