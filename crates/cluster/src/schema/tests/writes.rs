//! Writes that a real API server answered: what we decode, default and patch must be what
//! it stored.

use super::golden;
use crate::schema::{
    FieldValidation, apply_defaults, decode_check, json_patch, merge_patch, strategic_merge,
};
use serde_json::Value;

fn gvk(object: &Value) -> (String, String, String) {
    let api_version = object["apiVersion"].as_str().unwrap();
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    (
        group.into(),
        version.into(),
        object["kind"].as_str().unwrap().into(),
    )
}

/// Leaves out what other parts of the server fill in: identity, times, addresses, owners.
fn comparable(object: &Value) -> Value {
    let mut o = object.clone();
    let m = o["metadata"].as_object_mut().unwrap();
    for key in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "managedFields",
        "namespace",
    ] {
        m.remove(key);
    }
    if o["kind"] == "Service" {
        let spec = o["spec"].as_object_mut().unwrap();
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
    if o["kind"] == "Job" {
        for path in ["/metadata", "/spec/template/metadata"] {
            o.pointer_mut(path)
                .unwrap()
                .as_object_mut()
                .unwrap()
                .remove("labels");
        }
        o["spec"].as_object_mut().unwrap().remove("selector");
    }
    o
}

fn read(object: Value) -> Value {
    let (g, v, k) = gvk(&object);
    let gvk = (g.as_str(), v.as_str(), k.as_str());
    let (mut object, _) = decode_check(gvk, object, Vec::new(), FieldValidation::Ignore).unwrap();
    apply_defaults(gvk, &mut object);
    object
}

#[test]
fn created_objects_get_the_defaults_that_kubernetes_gave_them() {
    let mut count = 0;
    for line in golden("writes.jsonl") {
        if line["method"] != "POST" || line["request"]["kind"] == "Eviction" {
            continue;
        }
        if line["request"]["kind"] == "Pod" {
            // Admission does more to pods than defaulting.
            let ours = read(line["request"].clone());
            assert_eq!(ours["spec"]["containers"][0]["imagePullPolicy"], "Always");
            assert_eq!(ours["spec"]["enableServiceLinks"], true);
            continue;
        }
        let ours = read(line["request"].clone());
        assert_eq!(
            comparable(&ours),
            comparable(&line["after"]),
            "{}",
            line["command"]
        );
        count += 1;
    }
    assert!(count >= 17, "{count}");
}

#[test]
fn patches_give_what_kubernetes_stored() {
    let mut count = 0;
    for line in golden("writes.jsonl") {
        let (before, request) = (&line["before"], &line["request"]);
        if line["method"] != "PATCH"
            || before.is_null()
            || line["path"].as_str().unwrap().ends_with("/scale")
        {
            continue;
        }
        let (g, v, k) = gvk(before);
        let patched = match line["type"].as_str().unwrap() {
            "application/strategic-merge-patch+json" => {
                strategic_merge((&g, &v, &k), before, request).unwrap()
            }
            "application/merge-patch+json" => merge_patch(before, request),
            "application/json-patch+json" => {
                json_patch(before, request.to_string().as_bytes()).unwrap()
            }
            _ => continue,
        };
        let (mut ours, mut theirs) = (comparable(&read(patched)), comparable(&line["after"]));
        for o in [&mut ours, &mut theirs] {
            // Controllers wrote the status in between.
            o.as_object_mut().unwrap().remove("status");
        }
        assert_eq!(ours, theirs, "{}", line["command"]);
        count += 1;
    }
    assert!(count >= 20, "{count}");
}
