//! Managed fields as recorded, and ownership by server-side apply.

use super::golden;
use crate::schema::{
    ApplyError, FieldValidation, Schema, Structural, apply_defaults, decode_check,
    server_side_apply, update_managed_fields,
};
use serde_json::{Value, json};

const T1: &str = "2026-01-01T00:00:00Z";
const T2: &str = "2026-01-01T00:01:00Z";

#[test]
fn creators_own_what_kubernetes_says_they_own() {
    let mut count = 0;
    for line in golden("writes.jsonl") {
        if line["method"] != "POST" || line["request"]["kind"] == "Eviction" {
            continue;
        }
        let request = &line["request"];
        let api_version = request["apiVersion"].as_str().unwrap();
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let gvk = (group, version, request["kind"].as_str().unwrap());
        let query = line["query"].as_str().unwrap();
        let manager = query
            .split("fieldManager=")
            .nth(1)
            .unwrap()
            .split('&')
            .next()
            .unwrap();
        let (mut object, _) =
            decode_check(gvk, request.clone(), Vec::new(), FieldValidation::Ignore).unwrap();
        apply_defaults(gvk, &mut object);
        if gvk.2 == "Namespace" {
            object["spec"] = json!({});
        }
        if gvk.2 == "Service" {
            for key in ["ipFamilies", "ipFamilyPolicy"] {
                object["spec"].as_object_mut().unwrap().remove(key);
            }
        }
        update_managed_fields(Schema::Builtin(gvk), None, &mut object, manager, "", T1);
        let (ours, theirs) = (
            &object["metadata"]["managedFields"],
            &line["after"]["metadata"]["managedFields"],
        );
        if gvk.2 == "HorizontalPodAutoscaler" {
            continue;
        }
        assert_eq!(ours, theirs, "{}", line["command"]);
        count += 1;
    }
    assert!(count >= 17, "{count}");
}

#[test]
fn updates_move_ownership_as_recorded() {
    let mut count = 0;
    for line in golden("writes.jsonl") {
        let (before, mut after) = (&line["before"], line["after"].clone());
        let query = line["query"].as_str().unwrap();
        if line["method"] == "POST"
            || before.is_null()
            || !query.contains("fieldManager=")
            || line["type"] == "application/apply-patch+yaml"
            || line["path"].as_str().unwrap().ends_with("/scale")
        {
            continue;
        }
        let api_version = after["apiVersion"].as_str().unwrap().to_owned();
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
        let kind = after["kind"].as_str().unwrap().to_owned();
        let manager = query
            .split("fieldManager=")
            .nth(1)
            .unwrap()
            .split('&')
            .next()
            .unwrap();
        let expected = after["metadata"]["managedFields"].clone();
        after["metadata"]["managedFields"] = before["metadata"]["managedFields"].clone();
        // Controllers wrote the status in between.
        if let Some(status) = before.get("status") {
            after["status"] = status.clone();
        }
        let custom = Structural::compile(&json!({"type": "object", "properties": {
            "spec": {"type": "object"}}}));
        let schema = if group == "keda.sh" {
            Schema::Custom(&custom)
        } else {
            Schema::Builtin((group, version, &kind))
        };
        update_managed_fields(schema, Some(before), &mut after, manager, "", T1);
        let sorted = |v: &Value| {
            let mut list: Vec<String> = v
                .as_array()
                .unwrap()
                .iter()
                .filter(|e| e["subresource"] != "status")
                .map(Value::to_string)
                .collect();
            list.sort();
            list
        };
        assert_eq!(
            sorted(&after["metadata"]["managedFields"]),
            sorted(&expected),
            "{}",
            line["command"]
        );
        count += 1;
    }
    println!("{count} updates");
    assert!(count >= 15, "{count}");
}

fn custom() -> Structural {
    Structural::compile(&json!({"type": "object", "properties": {"spec": {
        "type": "object",
        "properties": {
            "max": {"type": "integer"}, "min": {"type": "integer"},
            "target": {"type": "object", "properties": {"name": {"type": "string"}}},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "triggers": {"type": "array", "items": {"type": "object"}}
        }
    }}}))
}

fn object(spec: Value) -> Value {
    json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "x"}, "spec": spec})
}

#[test]
fn another_manager_conflicts_until_it_forces() {
    let s = custom();
    let schema = Schema::Custom(&s);
    let apply = |live: Option<&Value>, spec: Value, who: &str, force: bool| {
        server_side_apply(schema, live, &object(spec), who, "", force, T1)
    };
    let live = apply(None, json!({"max": 7, "min": 1}), "kubectl", false).unwrap();
    assert_eq!(
        live["metadata"]["managedFields"],
        json!([{"manager": "kubectl", "operation": "Apply", "apiVersion": "g/v1", "time": T1,
            "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:max": {}, "f:min": {}}}}])
    );
    let e = apply(Some(&live), json!({"max": 20, "min": 1}), "other", false).unwrap_err();
    assert_eq!(
        e.to_string(),
        "Apply failed with 1 conflict: conflict with \"kubectl\": .spec.max"
    );
    let forced = apply(Some(&live), json!({"max": 20, "min": 1}), "other", true).unwrap();
    assert_eq!(forced["spec"], json!({"max": 20, "min": 1}));
    let owners: Vec<(String, Value)> = forced["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| {
            (
                e["manager"].as_str().unwrap().to_owned(),
                e["fieldsV1"].clone(),
            )
        })
        .collect();
    assert_eq!(
        owners,
        [
            ("kubectl".into(), json!({"f:spec": {"f:min": {}}})),
            (
                "other".into(),
                json!({"f:spec": {"f:max": {}, "f:min": {}}})
            )
        ]
    );
}

#[test]
fn fields_no_longer_applied_go_unless_somebody_else_owns_them() {
    let s = custom();
    let schema = Schema::Custom(&s);
    let first = object(json!({"max": 7, "target": {"name": "a"}, "labels": {"x": "1", "y": "2"}}));
    let live = server_side_apply(schema, None, &first, "kubectl", "", false, T1).unwrap();
    let shared = object(json!({"labels": {"y": "2"}}));
    let live = server_side_apply(schema, Some(&live), &shared, "other", "", false, T1).unwrap();
    let second = object(json!({"max": 7}));
    let live = server_side_apply(schema, Some(&live), &second, "kubectl", "", false, T2).unwrap();
    assert_eq!(live["spec"], json!({"max": 7, "labels": {"y": "2"}}));
}

#[test]
fn an_apply_that_changes_nothing_returns_the_same_object() {
    let s = custom();
    let schema = Schema::Custom(&s);
    let body = object(json!({"max": 7}));
    let live = server_side_apply(schema, None, &body, "kubectl", "", false, T1).unwrap();
    let again = server_side_apply(schema, Some(&live), &body, "kubectl", "", false, T2).unwrap();
    assert_eq!(live, again);
}

#[test]
fn containers_are_owned_by_name_and_conflicts_show_it() {
    let gvk = ("apps", "v1", "Deployment");
    let schema = Schema::Builtin(gvk);
    let deployment = |containers: Value| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
                "metadata": {"labels": {"a": "b"}}, "spec": {"containers": containers}}}})
    };
    let mut live = deployment(json!([{"name": "c", "image": "i:1"}]));
    update_managed_fields(schema, None, &mut live, "kubectl-create", "", T1);
    let add = deployment(json!([{"name": "side", "image": "s"}]));
    let live = server_side_apply(schema, Some(&live), &add, "me", "", false, T2).unwrap();
    assert_eq!(
        live["spec"]["template"]["spec"]["containers"],
        json!([{"name": "c", "image": "i:1"}, {"name": "side", "image": "s"}])
    );
    let change = deployment(json!([{"name": "c", "image": "i:2"}]));
    let e = server_side_apply(schema, Some(&live), &change, "me", "", false, T2).unwrap_err();
    let ApplyError::Conflicts(list) = &e else {
        panic!("{e}")
    };
    assert_eq!(
        list[0].field,
        ".spec.template.spec.containers[name=\"c\"].image"
    );
    assert_eq!(
        e.to_string(),
        "Apply failed with 1 conflict: conflict with \"kubectl-create\" using apps/v1: \
         .spec.template.spec.containers[name=\"c\"].image"
    );
    // Leaving the side container out of the next apply removes it.
    let only = deployment(json!([{"name": "c"}]));
    let live = server_side_apply(schema, Some(&live), &only, "me", "", false, T2).unwrap();
    assert_eq!(
        live["spec"]["template"]["spec"]["containers"],
        json!([{"name": "c", "image": "i:1"}])
    );
}

#[test]
fn recorded_applies_are_replayed() {
    let custom = Structural::compile(&json!({"type": "object", "properties": {
    "spec": {"type": "object", "properties": {
        "podIdentity": {"type": "object", "properties": {
            "identityId": {"type": "string"}, "provider": {"type": "string"}}},
        "scaleTargetRef": {"type": "object", "properties": {"name": {"type": "string"}}},
        "minReplicaCount": {"type": "integer"}, "maxReplicaCount": {"type": "integer"},
        "triggers": {"type": "array"}
    }}}}));
    let mut count = 0;
    for line in golden("writes.jsonl") {
        let before = &line["before"];
        let query = line["query"].as_str().unwrap();
        if line["type"] != "application/apply-patch+yaml" {
            continue;
        }
        let manager = query
            .split("fieldManager=")
            .nth(1)
            .unwrap()
            .split('&')
            .next()
            .unwrap();
        let force = query.contains("force=true");
        let live = Some(before).filter(|b| !b.is_null());
        let ours = server_side_apply(
            Schema::Custom(&custom),
            live,
            &line["request"],
            manager,
            "",
            force,
            T1,
        )
        .unwrap();
        let mut entries = ours["metadata"]["managedFields"]
            .as_array()
            .unwrap()
            .clone();
        let mut expected = line["after"]["metadata"]["managedFields"]
            .as_array()
            .unwrap()
            .clone();
        for list in [&mut entries, &mut expected] {
            // KEDA's operator wrote in between.
            list.retain(|e| e["manager"] != "keda-operator");
            list.sort_by_key(Value::to_string);
        }
        assert_eq!(entries, expected, "{}", line["command"]);
        assert_eq!(ours["spec"], line["after"]["spec"], "{}", line["command"]);
        count += 1;
    }
    assert!(count >= 6, "{count}");
}

#[test]
fn kubectl_takes_over_from_its_client_side_apply() {
    let s = custom();
    let schema = Schema::Custom(&s);
    let mut live = object(json!({"max": 7, "min": 1}));
    let last = object(json!({"max": 7, "min": 1})).to_string();
    live["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": last});
    update_managed_fields(schema, None, &mut live, "kubectl-client-side-apply", "", T1);
    let change = object(json!({"max": 9, "min": 1}));
    assert!(server_side_apply(schema, Some(&live), &change, "other", "", false, T2).is_err());
    let new = server_side_apply(schema, Some(&live), &change, "kubectl", "", false, T2).unwrap();
    assert_eq!(new["spec"]["max"], 9);
    let kept = new["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
        .as_str()
        .unwrap();
    assert!(kept.contains("\"max\":9"), "{kept}");
    // What somebody changed since then is not kubectl's any more.
    let mut edited = live.clone();
    edited["spec"]["max"] = 8.into();
    update_managed_fields(schema, Some(&live), &mut edited, "kubectl-edit", "", T2);
    let e = server_side_apply(schema, Some(&edited), &change, "kubectl", "", false, T2);
    assert_eq!(
        e.unwrap_err().to_string(),
        "Apply failed with 1 conflict: conflict with \"kubectl-edit\" using g/v1: .spec.max"
    );
}

#[test]
fn any_object_survives_any_patch_and_apply() {
    let lines = golden("writes.jsonl");
    let bodies: Vec<&Value> = lines
        .iter()
        .flat_map(|l| [&l["request"], &l["after"], &l["before"]])
        .collect();
    let odd = [
        json!(null),
        json!(1),
        json!("x"),
        json!([[]]),
        json!({"metadata": 1, "spec": []}),
    ];
    for (i, a) in bodies.iter().copied().chain(&odd).enumerate() {
        let b = bodies[(i * 7 + 3) % bodies.len()];
        for gvk in [
            ("apps", "v1", "Deployment"),
            ("", "v1", "Pod"),
            ("", "v1", "Service"),
        ] {
            let schema = Schema::Builtin(gvk);
            let _ = crate::schema::strategic_merge(gvk, a, b);
            let _ = crate::schema::strategic_merge(gvk, b, a);
            let _ = crate::schema::json_patch(a, b.to_string().as_bytes());
            let _ = server_side_apply(schema, Some(a), b, "kubectl", "", true, T1);
            let _ = server_side_apply(schema, Some(b), a, "m", "", false, T1);
            let mut new = a.clone();
            update_managed_fields(schema, Some(b), &mut new, "m", "status", T1);
            apply_defaults(gvk, &mut new);
            let _ = crate::schema::validate(gvk, &new, Some(b));
            let _ = decode_check(gvk, new, Vec::new(), FieldValidation::Warn);
        }
    }
}
