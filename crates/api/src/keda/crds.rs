//! The CustomResourceDefinitions that KEDA installs.

use serde_json::{Value, json};

use super::describe::describe;
use super::schema;

/// A printer column: name, type, JSONPath and priority.
type Column = (&'static str, &'static str, &'static str, i32);

const READY: Column = (
    "Ready",
    "string",
    ".status.conditions[?(@.type==\"Ready\")].status",
    0,
);
const ACTIVE: Column = (
    "Active",
    "string",
    ".status.conditions[?(@.type==\"Active\")].status",
    0,
);
const FALLBACK: Column = (
    "Fallback",
    "string",
    ".status.conditions[?(@.type==\"Fallback\")].status",
    0,
);
const PAUSED: Column = (
    "Paused",
    "string",
    ".status.conditions[?(@.type==\"Paused\")].status",
    0,
);
const MIN: Column = ("Min", "integer", ".spec.minReplicaCount", 0);
const MAX: Column = ("Max", "integer", ".spec.maxReplicaCount", 0);
const TRIGGERS: Column = ("Triggers", "string", ".status.triggersTypes", 0);
const AUTHENTICATIONS: Column = (
    "Authentications",
    "string",
    ".status.authenticationsTypes",
    0,
);
const AGE: Column = ("Age", "date", ".metadata.creationTimestamp", 0);
const POD_IDENTITY: Column = ("PodIdentity", "string", ".spec.podIdentity.provider", 0);
const SECRET: Column = ("Secret", "string", ".spec.secretTargetRef[*].name", 0);
const ENV: Column = ("Env", "string", ".spec.env[*].name", 0);
const FILE_PATH: Column = ("FilePath", "string", ".spec.filePath", 0);
const VAULT: Column = ("VaultAddress", "string", ".spec.hashiCorpVault.address", 0);
const SCALED_OBJECTS: Column = ("ScaledObjects", "string", ".status.scaledobjects", 1);
const SCALED_JOBS: Column = ("ScaledJobs", "string", ".status.scaledjobs", 1);

struct Row {
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    short_names: &'static [&'static str],
    namespaced: bool,
    columns: &'static [Column],
    schema: fn() -> Value,
}

const TABLE: &[Row] = &[
    Row {
        group: "eventing.keda.sh",
        kind: "CloudEventSource",
        plural: "cloudeventsources",
        short_names: &[],
        namespaced: true,
        columns: &[ACTIVE],
        schema: schema::cloud_event_source,
    },
    Row {
        group: "eventing.keda.sh",
        kind: "ClusterCloudEventSource",
        plural: "clustercloudeventsources",
        short_names: &[],
        namespaced: false,
        columns: &[ACTIVE],
        schema: schema::cloud_event_source,
    },
    Row {
        group: super::GROUP,
        kind: "ClusterTriggerAuthentication",
        plural: "clustertriggerauthentications",
        short_names: &["cta", "clustertriggerauth"],
        namespaced: false,
        columns: &[
            POD_IDENTITY,
            SECRET,
            ENV,
            FILE_PATH,
            VAULT,
            SCALED_OBJECTS,
            SCALED_JOBS,
        ],
        schema: schema::trigger_authentication,
    },
    Row {
        group: super::GROUP,
        kind: "ScaledJob",
        plural: "scaledjobs",
        short_names: &["sj"],
        namespaced: true,
        columns: &[
            MIN,
            MAX,
            READY,
            ACTIVE,
            PAUSED,
            TRIGGERS,
            AUTHENTICATIONS,
            AGE,
        ],
        schema: schema::scaled_job,
    },
    Row {
        group: super::GROUP,
        kind: "ScaledObject",
        plural: "scaledobjects",
        short_names: &["so"],
        namespaced: true,
        columns: &[
            ("ScaleTargetKind", "string", ".status.scaleTargetKind", 0),
            ("ScaleTargetName", "string", ".spec.scaleTargetRef.name", 0),
            MIN,
            MAX,
            READY,
            ACTIVE,
            FALLBACK,
            PAUSED,
            TRIGGERS,
            AUTHENTICATIONS,
            AGE,
        ],
        schema: schema::scaled_object,
    },
    Row {
        group: super::GROUP,
        kind: "TriggerAuthentication",
        plural: "triggerauthentications",
        short_names: &["ta", "triggerauth"],
        namespaced: true,
        columns: &[
            POD_IDENTITY,
            SECRET,
            ENV,
            VAULT,
            SCALED_OBJECTS,
            SCALED_JOBS,
        ],
        schema: schema::trigger_authentication,
    },
];

/// The manifests of all of KEDA's CRDs (apiextensions.k8s.io/v1), by name.
pub fn crds() -> Vec<Value> {
    TABLE.iter().map(manifest).collect()
}

/// The OpenAPI schema of one of KEDA's kinds, as its definition holds it.
pub fn openapi(kind: &str) -> Option<Value> {
    let row = TABLE.iter().find(|row| row.kind == kind)?;
    Some((row.schema)())
}

fn manifest(row: &Row) -> Value {
    let mut names = json!({
        "kind": row.kind,
        "listKind": format!("{}List", row.kind),
        "plural": row.plural,
        "singular": row.kind.to_lowercase(),
    });
    if !row.short_names.is_empty() {
        names["shortNames"] = json!(row.short_names);
    }
    let columns: Vec<Value> = row.columns.iter().map(column).collect();
    let mut schema = (row.schema)();
    describe(row.kind, &mut schema);
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{}.{}", row.plural, row.group)},
        "spec": {
            "group": row.group,
            "names": names,
            "scope": if row.namespaced { "Namespaced" } else { "Cluster" },
            "versions": [{
                "name": super::VERSION,
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": schema},
                "subresources": {"status": {}},
                "additionalPrinterColumns": columns,
            }],
        },
    })
}

fn column(&(name, kind, path, priority): &Column) -> Value {
    let mut column = json!({"name": name, "type": kind, "jsonPath": path});
    if priority > 0 {
        column["priority"] = json!(priority);
    }
    column
}
