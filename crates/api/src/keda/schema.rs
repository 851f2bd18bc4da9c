//! The OpenAPI schemas of KEDA's resources, as a table in code.
//!
//! A schema is written once here and is what the API server validates, prunes
//! and defaults with. Only the pod template of a ScaledJob, which is Kubernetes'
//! own type, is data (`schema/job_spec.json`).

use serde_json::{Map, Value, json};

fn text() -> Value {
    json!({"type": "string"})
}

fn required_text() -> Value {
    json!({"type": "string", "minLength": 1})
}

fn boolean() -> Value {
    json!({"type": "boolean"})
}

fn int() -> Value {
    json!({"type": "integer", "format": "int32"})
}

fn at_least(minimum: i32) -> Value {
    json!({"type": "integer", "format": "int32", "minimum": minimum})
}

fn one_of(choices: &[&str]) -> Value {
    json!({"type": "string", "enum": choices})
}

fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

fn filled_list(items: Value) -> Value {
    json!({"type": "array", "items": items, "minItems": 1})
}

fn map_of(values: Value) -> Value {
    json!({"type": "object", "additionalProperties": values})
}

/// An object schema; a field whose name ends in `!` is required.
fn object(fields: Vec<(&str, Value)>) -> Value {
    let mut properties = Map::new();
    let mut required: Vec<String> = Vec::new();
    for (name, schema) in fields {
        let bare = name.trim_end_matches('!');
        if bare.len() < name.len() {
            required.push(bare.to_owned());
        }
        properties.insert(bare.to_owned(), schema);
    }
    required.sort();
    let mut out = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        out["required"] = json!(required);
    }
    out
}

fn with(mut schema: Value, key: &str, value: Value) -> Value {
    schema[key] = value;
    schema
}

fn root(spec: Value, status: Value, spec_required: bool) -> Value {
    object(vec![
        ("apiVersion", text()),
        ("kind", text()),
        ("metadata", json!({"type": "object"})),
        (if spec_required { "spec!" } else { "spec" }, spec),
        ("status", status),
    ])
}

fn conditions() -> Value {
    list(object(vec![
        ("message", text()),
        ("reason", text()),
        ("status!", text()),
        ("type!", text()),
    ]))
}

fn triggers_activity() -> Value {
    map_of(object(vec![("isActive", boolean())]))
}

fn date_time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

fn triggers() -> Value {
    filled_list(object(vec![
        (
            "authenticationRef",
            object(vec![
                (
                    "kind",
                    one_of(&["TriggerAuthentication", "ClusterTriggerAuthentication"]),
                ),
                ("name!", text()),
            ]),
        ),
        ("metadata!", map_of(text())),
        ("metricType", text()),
        ("name", text()),
        ("type!", required_text()),
        ("useCachedMetrics", boolean()),
    ]))
}

fn scaling_rules() -> Value {
    let policy = object(vec![
        ("periodSeconds!", int()),
        ("type!", text()),
        ("value!", int()),
    ]);
    let quantity = concat!(
        r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))",
        r"(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
    );
    object(vec![
        (
            "policies",
            with(list(policy), "x-kubernetes-list-type", json!("atomic")),
        ),
        ("selectPolicy", text()),
        ("stabilizationWindowSeconds", int()),
        (
            "tolerance",
            json!({
                "anyOf": [{"type": "integer"}, {"type": "string"}],
                "pattern": quantity,
                "x-kubernetes-int-or-string": true,
            }),
        ),
    ])
}

/// Schema of a ScaledObject.
pub(super) fn scaled_object() -> Value {
    let advanced = object(vec![
        (
            "horizontalPodAutoscalerConfig",
            object(vec![
                (
                    "behavior",
                    object(vec![
                        ("scaleDown", scaling_rules()),
                        ("scaleUp", scaling_rules()),
                    ]),
                ),
                ("name", text()),
            ]),
        ),
        ("restoreToOriginalReplicaCount", boolean()),
        (
            "scalingModifiers",
            object(vec![
                ("activationTarget", text()),
                ("formula", text()),
                ("metricType", one_of(&["AverageValue", "Value"])),
                ("target", text()),
            ]),
        ),
    ]);
    let behaviors = [
        "static",
        "currentReplicas",
        "currentReplicasIfHigher",
        "currentReplicasIfLower",
        "scalingModifiers",
    ];
    let fallback = object(vec![
        (
            "behavior",
            with(one_of(&behaviors), "default", json!("static")),
        ),
        ("failureThreshold!", at_least(0)),
        ("replicas!", at_least(0)),
    ]);
    let target = object(vec![
        ("apiVersion", text()),
        ("envSourceContainerName", text()),
        ("kind", text()),
        ("name!", required_text()),
    ]);
    let spec = object(vec![
        ("advanced", advanced),
        ("cooldownPeriod", at_least(0)),
        ("fallback", fallback),
        ("idleReplicaCount", at_least(0)),
        ("initialCooldownPeriod", at_least(0)),
        ("maxReplicaCount", at_least(1)),
        ("minReplicaCount", at_least(0)),
        ("pollingInterval", at_least(1)),
        ("scaleTargetRef!", target),
        ("triggers!", triggers()),
    ]);
    let min_below_max = json!([{
        "rule": "!has(self.minReplicaCount) || self.minReplicaCount <= \
                 (has(self.maxReplicaCount) ? self.maxReplicaCount : 100)",
        "message": "minReplicaCount must be less than or equal to maxReplicaCount",
    }]);
    let status = object(vec![
        ("authenticationsTypes", text()),
        ("compositeScalerName", text()),
        ("conditions", conditions()),
        ("externalMetricNames", list(text())),
        (
            "health",
            map_of(object(vec![
                ("numberOfFailures", int()),
                ("status", text()),
            ])),
        ),
        ("hpaName", text()),
        ("lastActiveTime", date_time()),
        ("originalReplicaCount", int()),
        ("pausedReplicaCount", int()),
        ("resourceMetricNames", list(text())),
        (
            "scaleTargetGVKR",
            object(vec![
                ("group!", text()),
                ("kind!", text()),
                ("resource!", text()),
                ("version!", text()),
            ]),
        ),
        ("scaleTargetKind", text()),
        ("triggersActivity", triggers_activity()),
        ("triggersTypes", text()),
    ]);
    root(
        with(spec, "x-kubernetes-validations", min_below_max),
        status,
        true,
    )
}

/// Schema of a ScaledJob.
pub(super) fn scaled_job() -> Value {
    let job: Value = serde_json::from_str(include_str!("schema/job_spec.json"))
        .expect("the committed schema is JSON, a test reads it");
    let spec = object(vec![
        ("envSourceContainerName", text()),
        ("failedJobsHistoryLimit", at_least(0)),
        ("jobTargetRef!", job),
        ("maxReplicaCount", at_least(1)),
        ("minReplicaCount", at_least(0)),
        ("pollingInterval", at_least(1)),
        (
            "rollout",
            object(vec![
                ("propagationPolicy", one_of(&["foreground", "background"])),
                ("strategy", one_of(&["gradual", "immediate"])),
            ]),
        ),
        ("rolloutStrategy", one_of(&["gradual", "immediate"])),
        (
            "scalingStrategy",
            object(vec![
                ("customScalingQueueLengthDeduction", int()),
                ("customScalingRunningJobPercentage", text()),
                (
                    "multipleScalersCalculation",
                    one_of(&["min", "avg", "sum", "max"]),
                ),
                ("pendingPodConditions", list(text())),
                (
                    "strategy",
                    one_of(&["default", "custom", "accurate", "eager"]),
                ),
            ]),
        ),
        ("successfulJobsHistoryLimit", at_least(0)),
        ("triggers!", triggers()),
    ]);
    let status = object(vec![
        ("Paused", text()),
        ("authenticationsTypes", text()),
        ("conditions", conditions()),
        ("externalMetricNames", list(text())),
        ("lastActiveTime", date_time()),
        ("triggersActivity", triggers_activity()),
        ("triggersTypes", text()),
    ]);
    root(spec, status, false)
}

fn pod_identity() -> Value {
    object(vec![
        ("externalID", text()),
        ("identityAuthorityHost", text()),
        ("identityId", text()),
        ("identityOwner", one_of(&["keda", "workload"])),
        ("identityTenantId", text()),
        (
            "provider!",
            one_of(&["azure-workload", "gcp", "aws", "aws-eks", "none"]),
        ),
        ("roleArn", text()),
    ])
}

fn value_from_secret() -> Value {
    let key = object(vec![("key!", text()), ("name!", text())]);
    object(vec![("valueFrom!", object(vec![("secretKeyRef!", key)]))])
}

fn parameter_refs() -> Value {
    list(object(vec![
        ("key!", text()),
        ("name!", text()),
        ("parameter!", text()),
    ]))
}

fn vault() -> Value {
    let pki = [
        "altNames",
        "commonName",
        "format",
        "ipSans",
        "otherSans",
        "ttl",
        "uriSans",
    ];
    object(vec![
        ("address!", text()),
        ("authentication!", one_of(&["token", "kubernetes"])),
        (
            "credential",
            object(vec![
                ("serviceAccount", text()),
                ("serviceAccountName", text()),
                ("token", text()),
            ]),
        ),
        ("mount", text()),
        ("namespace", text()),
        ("role", text()),
        (
            "secrets!",
            filled_list(object(vec![
                ("key!", text()),
                ("parameter!", text()),
                ("path!", text()),
                (
                    "pkiData",
                    object(pki.iter().map(|name| (*name, text())).collect()),
                ),
                ("type", one_of(&["", "secretV2", "secret", "pki"])),
            ])),
        ),
    ])
}

fn secret_managers() -> Vec<(&'static str, Value)> {
    let aws = object(vec![
        (
            "credentials",
            object(vec![
                ("accessKey!", value_from_secret()),
                ("accessSecretKey!", value_from_secret()),
                ("accessToken", value_from_secret()),
            ]),
        ),
        ("podIdentity", pod_identity()),
        ("region", text()),
        (
            "secrets!",
            filled_list(object(vec![
                ("name!", text()),
                ("parameter!", text()),
                ("secretKey", text()),
                ("versionId", text()),
                ("versionStage", text()),
            ])),
        ),
    ]);
    let azure = object(vec![
        (
            "cloud",
            object(vec![
                ("activeDirectoryEndpoint", text()),
                ("keyVaultResourceURL", text()),
                ("type!", text()),
            ]),
        ),
        (
            "credentials",
            object(vec![
                ("clientId!", text()),
                ("clientSecret!", value_from_secret()),
                ("tenantId!", text()),
            ]),
        ),
        ("podIdentity", pod_identity()),
        (
            "secrets!",
            filled_list(object(vec![
                ("name!", text()),
                ("parameter!", text()),
                ("version", text()),
            ])),
        ),
        ("vaultUri!", text()),
    ]);
    let gcp = object(vec![
        (
            "credentials",
            object(vec![("clientSecret!", value_from_secret())]),
        ),
        ("podIdentity", pod_identity()),
        (
            "secrets!",
            filled_list(object(vec![
                ("id!", text()),
                ("parameter!", text()),
                ("version", text()),
            ])),
        ),
    ]);
    vec![
        ("awsSecretManager", aws),
        ("azureKeyVault", azure),
        ("gcpSecretManager", gcp),
    ]
}

/// Schema of a TriggerAuthentication; the cluster-wide kind has the same.
pub(super) fn trigger_authentication() -> Value {
    let mut fields = secret_managers();
    fields.extend([
        (
            "boundServiceAccountToken",
            list(object(vec![
                ("parameter!", text()),
                ("serviceAccountName!", text()),
            ])),
        ),
        ("configMapTargetRef", parameter_refs()),
        (
            "env",
            list(object(vec![
                ("containerName", text()),
                ("name!", text()),
                ("parameter!", text()),
            ])),
        ),
        ("filePath", text()),
        ("hashiCorpVault", vault()),
        (
            "oauth2",
            object(vec![
                ("clientId!", text()),
                ("clientSecret", value_from_secret()),
                ("scopes", list(text())),
                ("tokenUrl!", text()),
                ("tokenUrlParams", map_of(text())),
                (
                    "type!",
                    with(
                        one_of(&["clientCredentials"]),
                        "default",
                        json!("clientCredentials"),
                    ),
                ),
            ]),
        ),
        ("podIdentity", pod_identity()),
        ("secretTargetRef", parameter_refs()),
    ]);
    let status = object(vec![("scaledjobs", text()), ("scaledobjects", text())]);
    root(object(fields), status, true)
}

/// Schema of a CloudEventSource; the cluster-wide kind has the same.
pub(super) fn cloud_event_source() -> Value {
    let spec = object(vec![
        (
            "authenticationRef",
            object(vec![
                (
                    "kind",
                    one_of(&["TriggerAuthentication", "ClusterTriggerAuthentication"]),
                ),
                ("name!", text()),
            ]),
        ),
        ("clusterName", text()),
        (
            "destination!",
            object(vec![
                ("azureEventGridTopic", object(vec![("endpoint!", text())])),
                ("http", object(vec![("uri!", text())])),
            ]),
        ),
        (
            "eventSubscription",
            object(vec![
                ("excludedEventTypes", list(text())),
                ("includedEventTypes", list(text())),
            ]),
        ),
    ]);
    root(spec, object(vec![("conditions", conditions())]), true)
}
