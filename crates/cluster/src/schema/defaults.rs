//! Defaults of built-in kinds: what the API server fills in when a field is unset.

use super::Gvk;
use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

/// Fills in the defaults of a built-in object.
pub fn apply_defaults(gvk: Gvk<'_>, object: &mut Value) {
    let Some(o) = object.as_object_mut() else {
        return;
    };
    match (gvk.0, gvk.2) {
        ("", "Pod") => pod(o),
        ("", "Service") => service(o),
        ("", "Namespace") => namespace(o),
        ("", "Secret") => set(o, "type", "Opaque"),
        ("", "Node") => node(o),
        ("", "ReplicationController") => replication_controller(o),
        ("", "PodTemplate") => template(o, "template"),
        ("", "PersistentVolumeClaim") => {
            set(map(o, "spec"), "volumeMode", "Filesystem");
            set(map(o, "status"), "phase", "Pending");
        }
        ("", "PersistentVolume") => {
            let spec = map(o, "spec");
            set(spec, "persistentVolumeReclaimPolicy", "Retain");
            set(spec, "volumeMode", "Filesystem");
            set(map(o, "status"), "phase", "Pending");
        }
        ("apps", "Deployment") => deployment(o),
        ("apps", "ReplicaSet") => {
            let spec = map(o, "spec");
            set(spec, "replicas", 1);
            template(spec, "template");
        }
        ("apps", "StatefulSet") => stateful_set(o),
        ("apps", "DaemonSet") => daemon_set(o),
        ("batch", "Job") => job_spec(map(o, "spec")),
        ("batch", "CronJob") => cron_job(o),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler(gvk.1, o),
        ("scheduling.k8s.io", "PriorityClass") => {
            set(o, "preemptionPolicy", "PreemptLowerPriority");
        }
        ("storage.k8s.io", "StorageClass") => {
            set(o, "reclaimPolicy", "Delete");
            set(o, "volumeBindingMode", "Immediate");
        }
        ("networking.k8s.io", "NetworkPolicy") => network_policy(o),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => binding(o),
        ("discovery.k8s.io", "EndpointSlice") => {
            for port in list(o, "ports") {
                set(port, "name", "");
                set(port, "protocol", "TCP");
            }
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => crd(o),
        (
            "admissionregistration.k8s.io",
            "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration",
        ) => webhooks(gvk.2, o),
        _ => {}
    }
}

/// Sets a field that is absent or null.
fn set(o: &mut Object, key: &str, value: impl Into<Value>) {
    match o.get(key) {
        None | Some(Value::Null) => {
            o.insert(key.to_owned(), value.into());
        }
        Some(_) => {}
    }
}

/// Sets a field that is absent, null or the empty string.
fn set_text(o: &mut Object, key: &str, value: &str) {
    if o.get(key).is_none_or(|v| v.is_null() || v == "") {
        o.insert(key.to_owned(), value.into());
    }
}

fn map<'a>(o: &'a mut Object, key: &str) -> &'a mut Object {
    let v = o.entry(key).or_insert_with(|| json!({}));
    if !v.is_object() {
        *v = json!({});
    }
    v.as_object_mut().expect("made an object above")
}

fn existing<'a>(o: &'a mut Object, key: &str) -> Option<&'a mut Object> {
    o.get_mut(key).and_then(Value::as_object_mut)
}

fn list<'a>(o: &'a mut Object, key: &str) -> impl Iterator<Item = &'a mut Object> {
    o.get_mut(key)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

fn pod(o: &mut Object) {
    let spec = map(o, "spec");
    pod_spec(spec);
    set(spec, "enableServiceLinks", true);
    // Pods, unlike templates, get requests from their limits.
    for field in ["initContainers", "containers"] {
        for container in list(spec, field) {
            let Some(resources) = existing(container, "resources") else {
                continue;
            };
            let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else {
                continue;
            };
            let requests = map(resources, "requests");
            for (name, amount) in limits {
                requests.entry(name).or_insert(amount);
            }
        }
    }
    set_text(map(o, "status"), "phase", "Pending");
}

fn template(o: &mut Object, key: &str) {
    let template = map(o, key);
    map(template, "metadata");
    pod_spec(map(template, "spec"));
}

fn pod_spec(spec: &mut Object) {
    set_text(spec, "dnsPolicy", "ClusterFirst");
    set_text(spec, "restartPolicy", "Always");
    set(spec, "terminationGracePeriodSeconds", 30);
    map(spec, "securityContext");
    set_text(spec, "schedulerName", "default-scheduler");
    // The deprecated name of the same field is kept in step.
    if let Some(account) = spec.get("serviceAccountName").filter(|v| *v != "").cloned() {
        set_text(spec, "serviceAccount", account.as_str().unwrap_or_default());
    } else if let Some(account) = spec.get("serviceAccount").filter(|v| *v != "").cloned() {
        spec.insert("serviceAccountName".into(), account);
    }
    let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        for c in list(spec, field) {
            container(c, host_network);
        }
    }
    for volume in list(spec, "volumes") {
        volume_defaults(volume);
    }
    for constraint in list(spec, "topologySpreadConstraints") {
        set(constraint, "nodeAffinityPolicy", "Honor");
        set(constraint, "nodeTaintsPolicy", "Ignore");
    }
}

fn container(c: &mut Object, host_network: bool) {
    map(c, "resources");
    set_text(c, "terminationMessagePath", "/dev/termination-log");
    set_text(c, "terminationMessagePolicy", "File");
    let image = c.get("image").and_then(Value::as_str).unwrap_or_default();
    let tag = image
        .rsplit_once('/')
        .map_or(image, |(_, last)| last)
        .split_once(':');
    let latest = !image.contains('@') && tag.is_none_or(|(_, t)| t == "latest");
    set_text(
        c,
        "imagePullPolicy",
        if latest { "Always" } else { "IfNotPresent" },
    );
    for port in list(c, "ports") {
        set_text(port, "protocol", "TCP");
        if host_network && let Some(p) = port.get("containerPort").cloned() {
            set(port, "hostPort", p);
        }
    }
    for variable in list(c, "env") {
        if let Some(r) = existing(variable, "valueFrom").and_then(|v| existing(v, "fieldRef")) {
            set_text(r, "apiVersion", "v1");
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = existing(c, name) else {
            continue;
        };
        for (field, value) in [
            ("timeoutSeconds", 1),
            ("periodSeconds", 10),
            ("successThreshold", 1),
            ("failureThreshold", 3),
        ] {
            if probe.get(field).is_none_or(|v| v.is_null() || *v == 0) {
                probe.insert(field.into(), value.into());
            }
        }
        handler(probe);
        if let Some(grpc) = existing(probe, "grpc") {
            set(grpc, "service", "");
        }
    }
    if let Some(lifecycle) = existing(c, "lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(h) = existing(lifecycle, hook) {
                handler(h);
            }
        }
    }
}

fn handler(h: &mut Object) {
    if let Some(get) = existing(h, "httpGet") {
        set_text(get, "path", "/");
        set_text(get, "scheme", "HTTP");
    }
}

fn volume_defaults(volume: &mut Object) {
    for name in ["secret", "configMap", "downwardAPI", "projected"] {
        let Some(source) = existing(volume, name) else {
            continue;
        };
        set(source, "defaultMode", 420);
        let field_refs = |holder: &mut Object| {
            for item in list(holder, "items") {
                if let Some(r) = existing(item, "fieldRef") {
                    set_text(r, "apiVersion", "v1");
                }
            }
        };
        field_refs(source);
        for projection in list(source, "sources") {
            if let Some(token) = existing(projection, "serviceAccountToken") {
                set(token, "expirationSeconds", 3600);
            }
            if let Some(down) = existing(projection, "downwardAPI") {
                field_refs(down);
            }
        }
    }
    if let Some(host) = existing(volume, "hostPath") {
        set(host, "type", "");
    }
    if let Some(claim) =
        existing(volume, "ephemeral").and_then(|e| existing(e, "volumeClaimTemplate"))
    {
        set(map(claim, "spec"), "volumeMode", "Filesystem");
    }
}

fn rolling(strategy: &mut Object, surge: Value) {
    let rolling = map(strategy, "rollingUpdate");
    set(rolling, "maxUnavailable", "25%");
    set(rolling, "maxSurge", surge);
}

fn deployment(o: &mut Object) {
    let spec = map(o, "spec");
    set(spec, "replicas", 1);
    template(spec, "template");
    let strategy = map(spec, "strategy");
    set_text(strategy, "type", "RollingUpdate");
    if strategy.get("type") == Some(&"RollingUpdate".into()) {
        rolling(strategy, "25%".into());
    }
    set(spec, "revisionHistoryLimit", 10);
    set(spec, "progressDeadlineSeconds", 600);
}

fn stateful_set(o: &mut Object) {
    let spec = map(o, "spec");
    set(spec, "replicas", 1);
    set_text(spec, "podManagementPolicy", "OrderedReady");
    set(spec, "revisionHistoryLimit", 10);
    let retention = map(spec, "persistentVolumeClaimRetentionPolicy");
    set_text(retention, "whenDeleted", "Retain");
    set_text(retention, "whenScaled", "Retain");
    let strategy = map(spec, "updateStrategy");
    set_text(strategy, "type", "RollingUpdate");
    if strategy.get("type") == Some(&"RollingUpdate".into()) {
        set(map(strategy, "rollingUpdate"), "partition", 0);
    }
    template(spec, "template");
    for claim in list(spec, "volumeClaimTemplates") {
        set_text(claim, "apiVersion", "v1");
        set_text(claim, "kind", "PersistentVolumeClaim");
        set(map(claim, "spec"), "volumeMode", "Filesystem");
        set(map(claim, "status"), "phase", "Pending");
    }
}

fn daemon_set(o: &mut Object) {
    let spec = map(o, "spec");
    template(spec, "template");
    set(spec, "revisionHistoryLimit", 10);
    let strategy = map(spec, "updateStrategy");
    set_text(strategy, "type", "RollingUpdate");
    if strategy.get("type") == Some(&"RollingUpdate".into()) {
        let rolling = map(strategy, "rollingUpdate");
        set(rolling, "maxUnavailable", 1);
        set(rolling, "maxSurge", 0);
    }
}

fn replication_controller(o: &mut Object) {
    let labels = o
        .get("spec")
        .and_then(|s| s.pointer("/template/metadata/labels"))
        .cloned()
        .filter(Value::is_object);
    let spec = map(o, "spec");
    set(spec, "replicas", 1);
    template(spec, "template");
    if let Some(labels) = labels {
        set(spec, "selector", labels.clone());
        set(map(o, "metadata"), "labels", labels);
    }
}

fn job_spec(spec: &mut Object) {
    let unset = |s: &Object, k: &str| s.get(k).is_none_or(Value::is_null);
    if unset(spec, "completions") && unset(spec, "parallelism") {
        set(spec, "completions", 1);
    }
    set(spec, "parallelism", 1);
    let limit = if unset(spec, "backoffLimitPerIndex") {
        6
    } else {
        i64::from(i32::MAX)
    };
    set(spec, "backoffLimit", limit);
    set_text(spec, "completionMode", "NonIndexed");
    set(spec, "suspend", false);
    set(spec, "manualSelector", false);
    let policy = if spec.get("podFailurePolicy").is_some_and(Value::is_object) {
        "Failed"
    } else {
        "TerminatingOrFailed"
    };
    set_text(spec, "podReplacementPolicy", policy);
    template(spec, "template");
}

fn cron_job(o: &mut Object) {
    let spec = map(o, "spec");
    set_text(spec, "concurrencyPolicy", "Allow");
    set(spec, "suspend", false);
    set(spec, "successfulJobsHistoryLimit", 3);
    set(spec, "failedJobsHistoryLimit", 1);
    let job = map(spec, "jobTemplate");
    map(job, "metadata");
    // The job's own defaults come when it is created.
    template(map(job, "spec"), "template");
}

fn namespace(o: &mut Object) {
    if let Some(name) = o
        .get("metadata")
        .and_then(|m| m["name"].as_str())
        .map(str::to_owned)
        && !name.is_empty()
    {
        let labels = map(map(o, "metadata"), "labels");
        set(labels, "kubernetes.io/metadata.name", name);
    }
    let spec = map(o, "spec");
    if spec.get("finalizers").is_none_or(Value::is_null)
        && o.get("metadata")
            .is_none_or(|m| m.get("deletionTimestamp").is_none())
    {
        map(o, "spec").insert("finalizers".into(), json!(["kubernetes"]));
    }
    set_text(map(o, "status"), "phase", "Active");
}

fn node(o: &mut Object) {
    if let Some(status) = existing(o, "status")
        && let Some(capacity) = status.get("capacity").and_then(Value::as_object).cloned()
    {
        let allocatable = map(status, "allocatable");
        for (name, amount) in capacity {
            allocatable.entry(name).or_insert(amount);
        }
    }
}

fn service(o: &mut Object) {
    let spec = map(o, "spec");
    set_text(spec, "sessionAffinity", "None");
    if spec.get("sessionAffinity") == Some(&"ClientIP".into()) {
        let config = map(map(spec, "sessionAffinityConfig"), "clientIP");
        set(config, "timeoutSeconds", 10_800);
    }
    set_text(spec, "type", "ClusterIP");
    let kind = spec
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    for port in list(spec, "ports") {
        set_text(port, "protocol", "TCP");
        let number = port.get("port").cloned().unwrap_or(Value::Null);
        if port
            .get("targetPort")
            .is_none_or(|t| t.is_null() || *t == 0 || *t == "")
        {
            port.insert("targetPort".into(), number);
        }
    }
    if kind == "ExternalName" {
        return;
    }
    set_text(spec, "internalTrafficPolicy", "Cluster");
    set(spec, "ipFamilies", json!(["IPv4"]));
    set_text(spec, "ipFamilyPolicy", "SingleStack");
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        set_text(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", true);
    }
    if spec.get("clusterIP") == Some(&"None".into()) {
        set(spec, "clusterIPs", json!(["None"]));
    }
}

fn autoscaler(version: &str, o: &mut Object) {
    if version == "v1" {
        let spec = map(o, "spec");
        set(spec, "minReplicas", 1);
        set(spec, "targetCPUUtilizationPercentage", 80);
        return;
    }
    map(o, "spec");
    if let Some(spec) = o.get_mut("spec") {
        api::hpa::default_spec(spec);
    }
}

fn network_policy(o: &mut Object) {
    let spec = map(o, "spec");
    if spec
        .get("policyTypes")
        .is_none_or(|t| t.as_array().is_none_or(Vec::is_empty))
    {
        let egress = spec.get("egress").is_some_and(|e| !e.is_null());
        let types = if egress {
            json!(["Ingress", "Egress"])
        } else {
            json!(["Ingress"])
        };
        spec.insert("policyTypes".into(), types);
    }
    for rules in ["ingress", "egress"] {
        for rule in list(spec, rules) {
            for port in list(rule, "ports") {
                set_text(port, "protocol", "TCP");
            }
        }
    }
}

fn binding(o: &mut Object) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    set_text(map(o, "roleRef"), "apiGroup", GROUP);
    for subject in list(o, "subjects") {
        if matches!(
            subject.get("kind").and_then(Value::as_str),
            Some("User" | "Group")
        ) {
            set_text(subject, "apiGroup", GROUP);
        }
    }
}

fn crd(o: &mut Object) {
    let spec = map(o, "spec");
    set(spec, "conversion", json!({"strategy": "None"}));
    let names = map(spec, "names");
    let kind = names
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    set_text(names, "singular", &kind.to_lowercase());
    set_text(names, "listKind", &format!("{kind}List"));
}

fn webhooks(kind: &str, o: &mut Object) {
    for hook in list(o, "webhooks") {
        set_text(hook, "failurePolicy", "Fail");
        set_text(hook, "matchPolicy", "Equivalent");
        map(hook, "namespaceSelector");
        map(hook, "objectSelector");
        set(hook, "timeoutSeconds", 10);
        if kind.starts_with("Mutating") {
            set_text(hook, "reinvocationPolicy", "Never");
        }
        for rule in list(hook, "rules") {
            set_text(rule, "scope", "*");
        }
        if let Some(service) = existing(hook, "clientConfig").and_then(|c| existing(c, "service")) {
            set(service, "port", 443);
        }
    }
}
