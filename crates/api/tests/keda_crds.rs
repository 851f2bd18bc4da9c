//! The CRDs against the OpenAPI document of a server that has KEDA's own.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use serde_json::{Map, Value};

fn shared() -> Option<PathBuf> {
    let root = std::env::var_os("RHEOSTAT_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    root.is_dir().then_some(root)
}

/// Without descriptions; `properties` keeps a property of that name.
fn bare(value: &Value, names: bool) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(key, _)| names || *key != "description")
                .map(|(key, v)| (key.clone(), bare(v, key == "properties" && !names)))
                .collect::<Map<_, _>>(),
        ),
        Value::Array(items) => items.iter().map(|v| bare(v, false)).collect(),
        other => other.clone(),
    }
}

#[test]
fn schemas_are_those_of_kedas_crds() {
    let Some(shared) = shared() else {
        println!("skipped: RHEOSTAT_SHARED is not there");
        return;
    };
    let path =
        shared.join("golden/live/kubectl_http/discovery/openapi_v3_apis_keda.sh_v1alpha1.json");
    let document: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let schemas = document
        .get("components")
        .unwrap_or(&document)
        .get("schemas")
        .unwrap();
    let mut compared = 0;
    for crd in api::keda::crds() {
        if crd["spec"]["group"] != "keda.sh" {
            continue;
        }
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap();
        let mut recorded = bare(&schemas[format!("sh.keda.v1alpha1.{kind}")], false);
        let object = recorded.as_object_mut().unwrap();
        object.remove("x-kubernetes-group-version-kind");
        object["properties"]["metadata"] = serde_json::json!({"type": "object"});
        let ours = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        assert_eq!(bare(ours, false), recorded, "{kind}");
        compared += 1;
    }
    assert_eq!(compared, 4);
}

#[test]
fn names_and_scopes_are_what_kubectl_lists() {
    let listed: Vec<(String, String)> = api::keda::crds()
        .iter()
        .map(|crd| {
            let text = |v: &Value| v.as_str().unwrap().to_owned();
            (text(&crd["metadata"]["name"]), text(&crd["spec"]["scope"]))
        })
        .collect();
    let expected = [
        ("cloudeventsources.eventing.keda.sh", "Namespaced"),
        ("clustercloudeventsources.eventing.keda.sh", "Cluster"),
        ("clustertriggerauthentications.keda.sh", "Cluster"),
        ("scaledjobs.keda.sh", "Namespaced"),
        ("scaledobjects.keda.sh", "Namespaced"),
        ("triggerauthentications.keda.sh", "Namespaced"),
    ];
    assert_eq!(listed, expected.map(|(n, s)| (n.to_owned(), s.to_owned())));
}
