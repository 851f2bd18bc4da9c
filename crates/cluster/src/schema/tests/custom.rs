//! Custom resources: pruning, defaults, and errors as recorded.

use super::golden;
use crate::schema::{Structural, validate::aggregate};

use serde_json::{Value, json};

fn schema() -> Structural {
    Structural::compile(&json!({
        "type": "object", "required": ["spec"],
        "properties": {"spec": {
            "type": "object", "required": ["target", "triggers"],
            "x-kubernetes-validations": [{
                "rule": "!has(self.min) || self.min <= (has(self.max) ? self.max : 100)",
                "message": "min must be less than or equal to max"
            }],
            "properties": {
                "min": {"type": "integer", "minimum": 0},
                "max": {"type": "integer", "minimum": 1, "default": 10},
                "kind": {"type": "string", "enum": ["a", "b"]},
                "target": {"type": "string", "pattern": "^[a-z]+$"},
                "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "triggers": {
                    "type": "array", "minItems": 1,
                    "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
                    "items": {"type": "object", "required": ["type"], "properties": {
                        "type": {"type": "string"},
                        "metadata": {"type": "object", "additionalProperties": {"type": "string"}}
                    }}
                }
            }
        }}
    }))
}

fn errors(spec: Value) -> Vec<String> {
    let object =
        json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "x"}, "spec": spec});
    schema()
        .validate(&object, None)
        .iter()
        .map(ToString::to_string)
        .collect()
}

const NOT: &str = "<nil>: Invalid value: null: some validation rules were not checked because \
    the object was invalid; correct the existing errors to complete validation";

#[test]
fn errors_read_as_recorded() {
    assert_eq!(
        errors(json!({"target": "t", "triggers": [{"type": "a"}]})),
        [""; 0]
    );
    assert_eq!(
        errors(json!({"min": -1, "max": 0, "target": "t", "triggers": [{"type": "a"}]})),
        [
            "spec.max: Invalid value: 0: spec.max in body should be greater than or equal to 1",
            "spec.min: Invalid value: -1: spec.min in body should be greater than or equal to 0"
        ]
    );
    assert_eq!(
        errors(json!({"target": "t", "triggers": []})),
        ["spec.triggers: Invalid value: 0: spec.triggers in body should have at least 1 items"]
    );
    assert_eq!(
        errors(json!({"target": "t", "triggers": [{"type": "a", "metadata": {"threshold": 5}}]})),
        [
            "spec.triggers[0].metadata.threshold: Invalid value: \"integer\": \
             spec.triggers[0].metadata.threshold in body must be of type string: \"integer\"",
            NOT
        ]
    );
    assert_eq!(
        errors(json!({"triggers": [{}], "kind": "z"})),
        [
            "spec.target: Required value",
            "spec.kind: Unsupported value: \"z\": supported values: \"a\", \"b\"",
            "spec.triggers[0].type: Required value",
            NOT
        ]
    );
    assert_eq!(
        errors(json!({"max": "ten", "target": "t", "triggers": [{"type": "a"}]})),
        [
            "spec.max: Invalid value: \"string\": spec.max in body must be of type integer: \"string\"",
            NOT
        ]
    );
    assert_eq!(
        errors(json!({"target": "T", "port": true, "triggers": [{"type": "a"}, {"type": "a"}]})),
        [
            "spec.port: Invalid value: \"boolean\": spec.port in body must be of type \
             integer,string: \"boolean\"",
            "spec.target: Invalid value: \"T\": spec.target in body should match '^[a-z]+$'",
            "spec.triggers[1]: Duplicate value: {\"type\":\"a\"}",
            NOT
        ]
    );
}

#[test]
fn a_rule_across_fields_is_checked() {
    assert_eq!(
        errors(json!({"min": 11, "max": 10, "target": "t", "triggers": [{"type": "a"}]})),
        ["spec: Invalid value: min must be less than or equal to max"]
    );
}

#[test]
fn unknown_fields_are_pruned_and_defaults_filled_in() {
    let mut object = json!({
        "apiVersion": "g/v1", "kind": "K", "metadata": {"name": "x", "colour": 1}, "extra": 1,
        "spec": {"foo": 1, "max": null, "free": {"x": {"y": 1}},
            "triggers": [{"type": "a", "bar": 2, "metadata": {"any": "thing"}}]}
    });
    let unknown = schema().read(&mut object).unwrap();
    assert_eq!(
        unknown,
        [
            "unknown field \"extra\"",
            "unknown field \"metadata.colour\"",
            "unknown field \"spec.foo\"",
            "unknown field \"spec.triggers[0].bar\""
        ]
    );
    schema().default(&mut object);
    assert_eq!(
        object["spec"],
        json!({"max": 10, "free": {"x": {"y": 1}},
            "triggers": [{"type": "a", "metadata": {"any": "thing"}}]})
    );
}

/// What KEDA's resources are refused with, by our own definitions of them.
#[test]
fn keda_resources_are_refused_as_recorded() {
    let schemas: Vec<(String, Structural)> = api::keda::crds()
        .iter()
        .map(|crd| {
            let kind = crd["spec"]["names"]["kind"].as_str().unwrap().to_owned();
            let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            (kind, Structural::compile(schema))
        })
        .collect();
    let (mut passed, mut failures) = (0, Vec::new());
    for line in golden("keda_refusals.jsonl") {
        let mut object = line["object"].clone();
        let kind = line["object"]["kind"].as_str().unwrap();
        let schema = &schemas.iter().find(|(k, _)| k == kind).unwrap().1;
        schema.prune(&mut object);
        schema.default(&mut object);
        let errors = schema.validate(&object, None);
        let name = object["metadata"]["name"].as_str().unwrap();
        let ours = match errors.as_slice() {
            [] => String::new(),
            some => format!("{kind}.keda.sh \"{name}\" is invalid: {}", aggregate(some)),
        };
        let theirs = line["message"].as_str().unwrap_or_default();
        if ours == theirs {
            passed += 1;
        } else {
            failures.push(format!(
                "{}:\n  ours   {ours}\n  theirs {theirs}",
                line["name"]
            ));
        }
    }
    println!("{passed} of {}", passed + failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
