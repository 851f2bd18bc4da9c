//! Unknown, duplicate and mistyped fields, in the API server's words.

use crate::schema::{FieldValidation, Gvk, decode_check, decode_json};
use serde_json::{Value, json};

const DEPLOYMENT: Gvk<'static> = ("apps", "v1", "Deployment");

fn check(object: Value, mode: FieldValidation) -> Result<(Value, Vec<String>), String> {
    decode_check(DEPLOYMENT, object, Vec::new(), mode).map_err(|e| e.to_string())
}

#[test]
fn unknown_fields_are_errors_warnings_or_nothing() {
    let object = json!({"spec": {"foo": 1, "template": {"spec": {"containers": [
        {"name": "c", "bar": 2}]}}}});
    assert_eq!(
        check(object.clone(), FieldValidation::Strict).unwrap_err(),
        "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: \
         unknown field \"spec.foo\", unknown field \"spec.template.spec.containers[0].bar\""
    );
    let (read, warnings) = check(object.clone(), FieldValidation::Warn).unwrap();
    assert_eq!(
        warnings,
        [
            "unknown field \"spec.foo\"",
            "unknown field \"spec.template.spec.containers[0].bar\""
        ]
    );
    assert!(read["spec"].get("foo").is_none());
    assert!(check(object, FieldValidation::Ignore).unwrap().1.is_empty());
}

#[test]
fn duplicate_fields_are_found_and_the_last_one_counts() {
    let body = br#"{"spec": {"replicas": 1, "replicas": 2, "template": {"spec": {"containers": [
        {"name": "a", "name": "b"}]}}}}"#;
    let (value, duplicates) = decode_json(body).unwrap();
    assert_eq!(value["spec"]["replicas"], 2);
    assert_eq!(
        duplicates,
        [
            "duplicate field \"spec.replicas\"",
            "duplicate field \"spec.template.spec.containers[0].name\""
        ]
    );
    let e = decode_check(DEPLOYMENT, value, duplicates, FieldValidation::Strict).unwrap_err();
    assert!(
        e.to_string()
            .contains("strict decoding error: duplicate field \"spec.replicas\", ")
    );
}

#[test]
fn wrong_types_are_refused_in_gos_words() {
    let refused = |object: Value| check(object, FieldValidation::Warn).unwrap_err();
    let prefix = "Deployment in version \"v1\" cannot be handled as a Deployment: ";
    for (object, text) in [
        (
            json!({"spec": {"replicas": "three"}}),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"metadata": {"labels": {"a": 1}}}),
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": 5}]}}}}),
            "json: cannot unmarshal number into Go struct field \
             Container.spec.template.spec.containers.image of type string",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": {"name": "c"}}}}}),
            "json: cannot unmarshal object into Go struct field \
             PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "x"}}}]}}}}),
            "quantities must match the regular expression \
             '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ] {
        assert_eq!(refused(object), format!("{prefix}{text}"));
    }
}

#[test]
fn quantities_and_times_take_their_canonical_form() {
    let (read, _) = check(
        json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "resources": {
            "limits": {"cpu": 0.5, "memory": "1024Mi", "nvidia.com/gpu": 1}}}]}}}}),
        FieldValidation::Strict,
    )
    .unwrap();
    assert_eq!(
        read["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"],
        json!({"cpu": "500m", "memory": "1Gi", "nvidia.com/gpu": "1"})
    );
    let lease = json!({"spec": {"renewTime": "2026-01-01T02:00:00.5+01:00"}});
    let gvk = ("coordination.k8s.io", "v1", "Lease");
    let (read, _) = decode_check(gvk, lease, Vec::new(), FieldValidation::Strict).unwrap();
    assert_eq!(read["spec"]["renewTime"], "2026-01-01T01:00:00.500000Z");
}

#[test]
fn nonsense_never_panics() {
    for body in [
        &b""[..],
        b"{",
        b"[1,2",
        b"\"a",
        b"{\"a\":}",
        b"{\"a\":1}x",
        &[0xff, 0xfe],
    ] {
        assert!(decode_json(body).is_err());
    }
    assert!(decode_json("[".repeat(100_000).as_bytes()).is_err());
    for object in [json!(null), json!([]), json!("x"), json!(1)] {
        assert!(check(object, FieldValidation::Warn).is_err());
    }
}
