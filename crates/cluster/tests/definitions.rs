//! CustomResourceDefinitions themselves: what is refused, what may not change, who gets a name.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use serde_json::{Value, json};
use support::{call, cluster};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

fn definition(plural: &str, kind: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.example.com")},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"size": {"type": "integer"}}},
                }}},
            }],
        },
    })
}

/// The causes of a refusal as `field: message`.
fn causes(status: &Value) -> Vec<String> {
    let list = status["details"]["causes"].as_array();
    list.unwrap_or_else(|| panic!("{status}"))
        .iter()
        .map(|c| {
            format!(
                "{}: {}",
                c["field"].as_str().unwrap(),
                c["message"].as_str().unwrap()
            )
        })
        .collect()
}

fn condition<'a>(crd: &'a Value, kind: &str) -> &'a Value {
    let list = crd["status"]["conditions"].as_array().unwrap();
    list.iter().find(|c| c["type"] == kind).unwrap()
}

/// Where a definition is changed (a JSON pointer), to what, and why that is refused.
fn faults() -> Vec<(&'static str, Value, &'static str)> {
    let schema = "/spec/versions/0/schema/openAPIV3Schema";
    let size = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/size";
    vec![
        (
            "/spec/group",
            json!("example"),
            "spec.group: Invalid value: \"example\": should be a domain with at least one dot",
        ),
        (
            "/spec/scope",
            json!("Galaxy"),
            "spec.scope: Unsupported value: \"Galaxy\": supported values: \"Cluster\", \
             \"Namespaced\"",
        ),
        (
            "/spec/versions/0/storage",
            json!(false),
            "must have exactly one version marked as storage version",
        ),
        (
            "/spec/versions/0/schema",
            json!({}),
            "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
        ),
        (
            "/spec/versions/0/additionalPrinterColumns",
            json!([{"name": "Size", "type": "size", "jsonPath": ".spec.size"}]),
            "spec.additionalPrinterColumns[0].type: Invalid value: \"size\": must be one of \
             boolean,date,integer,number,string",
        ),
        (
            "/spec/versions/0/subresources",
            json!({"scale": {"specReplicasPath": ".status.n", "statusReplicasPath": "status.n"}}),
            "spec.subresources.scale.specReplicasPath: Invalid value: \".status.n\": should be a \
             json path under .spec",
        ),
        (
            schema,
            json!({"properties": {}}),
            "spec.validation.openAPIV3Schema.type: Required value: must not be empty at the root",
        ),
        (
            size,
            json!({"description": "of what?"}),
            "spec.validation.openAPIV3Schema.properties[spec].properties[size].type: Required \
             value: must not be empty for specified object fields",
        ),
        (
            size,
            json!({"type": "integer", "anyOf": [{"type": "integer"}]}),
            "spec.validation.openAPIV3Schema.properties[spec].properties[size].anyOf[0].type: \
             Forbidden: must be empty to be structural",
        ),
        (
            size,
            json!({"type": "object", "oneOf": [{"properties": {"a": {"minimum": 1}}}]}),
            "spec.validation.openAPIV3Schema.properties[spec].properties[size].properties[a]: \
             Required value: because it is defined in \
             spec.validation.openAPIV3Schema.properties[spec].properties[size].oneOf[0].properties[a]",
        ),
        (
            size,
            json!({"type": "integer", "default": "two"}),
            "spec.validation.openAPIV3Schema.properties[spec].properties[size].default: Invalid \
             value: \"string\": \
             spec.validation.openAPIV3Schema.properties[spec].properties[size].default in body \
             must be of type integer: \"string\"",
        ),
        (
            size,
            json!({"type": "array"}),
            "spec.validation.openAPIV3Schema.properties[spec].properties[size].items: Required \
             value: must be specified",
        ),
        (
            size,
            json!({"type": "int"}),
            "spec.validation.openAPIV3Schema.properties[spec].properties[size].type: Unsupported \
             value: \"int\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \
             \"object\", \"string\"",
        ),
        (
            size,
            json!({
                "type": "object", "properties": {"a": {"type": "string"}},
                "additionalProperties": {"type": "string"},
            }),
            "additionalProperties: Forbidden: additionalProperties and properties are mutual \
             exclusive",
        ),
        (
            size,
            json!({
                "type": "array", "x-kubernetes-list-type": "map",
                "items": {"type": "object", "properties": {"a": {"type": "string"}}},
            }),
            "x-kubernetes-list-map-keys: Required value: must not be empty if \
             x-kubernetes-list-type is map",
        ),
        (
            size,
            json!({"type": "object", "$ref": "#/definitions/x"}),
            "$ref: Forbidden: $ref is not supported",
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn definitions_that_cannot_work_are_refused() {
    let cluster = cluster();
    for (at, to, why) in faults() {
        let mut crd = definition("widgets", "Widget");
        let (parent, key) = at.rsplit_once('/').unwrap();
        crd.pointer_mut(parent).unwrap()[key] = to;
        if at == "/spec/group" {
            crd["metadata"]["name"] = json!("widgets.example");
        }
        let (code, status) = call(&cluster, "POST", CRDS, crd).await;
        assert_eq!(code, 422, "{at}: {status}");
        let causes = causes(&status);
        assert!(
            causes.iter().any(|c| c.ends_with(why)),
            "{causes:#?}\n{why}"
        );
    }
    let mut twice = definition("widgets", "Widget");
    let mut second = twice["spec"]["versions"][0].clone();
    second["storage"] = json!(false);
    twice["spec"]["versions"]
        .as_array_mut()
        .unwrap()
        .push(second);
    let (_, status) = call(&cluster, "POST", CRDS, twice).await;
    assert!(
        causes(&status)[0].ends_with("must contain unique version names"),
        "{status}"
    );
    // Groups of Kubernetes' own need a note that this was agreed upon.
    let mut theirs = definition("widgets", "Widget");
    theirs["metadata"]["name"] = json!("widgets.apps.k8s.io");
    theirs["spec"]["group"] = json!("apps.k8s.io");
    let (_, status) = call(&cluster, "POST", CRDS, theirs.clone()).await;
    assert!(
        causes(&status)[0]
            .starts_with("metadata.annotations[api-approved.kubernetes.io]: Required"),
        "{status}"
    );
    theirs["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": "unapproved, a test"});
    assert_eq!(call(&cluster, "POST", CRDS, theirs).await.0, 201);
    // What is allowed in a good schema is allowed here.
    let mut good = definition("widgets", "Widget");
    good["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"] = json!({
        "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 9}}},
        "spec": {"type": "object", "default": {}, "properties": {
            "port": {
                "x-kubernetes-int-or-string": true,
                "anyOf": [{"type": "integer"}, {"type": "string"}],
            },
            "free": {"x-kubernetes-preserve-unknown-fields": true},
            "size": {"type": "integer", "default": 2},
            "pairs": {
                "type": "array", "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["key"],
                "items": {
                    "type": "object", "required": ["key"],
                    "properties": {"key": {"type": "string"}},
                },
            },
        }, "oneOf": [{"required": ["port"]}, {"properties": {"size": {"minimum": 2}}}]},
    });
    let (code, status) = call(&cluster, "POST", CRDS, good).await;
    assert_eq!(code, 201, "{status}");
}

#[tokio::test(start_paused = true)]
async fn what_stored_objects_rest_on_stays() {
    let cluster = cluster();
    call(&cluster, "POST", CRDS, definition("widgets", "Widget")).await;
    let path = format!("{CRDS}/widgets.example.com");
    for (patch, why) in [
        (
            json!({"scope": "Cluster"}),
            "spec.scope: Invalid value: \"Cluster\": field is immutable",
        ),
        (
            json!({"names": {"kind": "Gadget"}}),
            "spec.names.kind: Invalid value: \"Gadget\": field is immutable",
        ),
        (
            json!({"group": "example.org"}),
            "spec.group: Invalid value: \"example.org\": field is immutable",
        ),
        (
            json!({"names": {"plural": "gadgets"}}),
            "spec.names.plural: Invalid value: \"gadgets\": field is immutable",
        ),
    ] {
        let (code, status) = call(&cluster, "PATCH", &path, json!({"spec": patch})).await;
        assert_eq!(code, 422, "{status}");
        assert_eq!(causes(&status), [why]);
    }
    let mut versions = definition("widgets", "Widget")["spec"]["versions"].clone();
    versions[0]["name"] = json!("v2");
    let patch = json!({"spec": {"versions": versions}});
    let (code, status) = call(&cluster, "PATCH", &path, patch.clone()).await;
    assert_eq!(code, 422);
    assert!(
        causes(&status)[0].starts_with(
            "status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions; v1 was \
             previously a storage version"
        ),
        "{status}"
    );
    let (_, crd) = call(&cluster, "GET", &path, Value::Null).await;
    assert_eq!(crd["status"]["storedVersions"], json!(["v1"]));
}

#[tokio::test(start_paused = true)]
async fn a_name_goes_to_the_first() {
    let cluster = cluster();
    let mut first = definition("widgets", "Widget");
    first["spec"]["names"]["shortNames"] = json!(["wd"]);
    call(&cluster, "POST", CRDS, first).await;
    let (code, second) = call(&cluster, "POST", CRDS, definition("gadgets", "Widget")).await;
    assert_eq!(code, 201);
    let accepted = condition(&second, "NamesAccepted");
    assert_eq!(accepted["status"], "False");
    assert_eq!(accepted["reason"], "ListKindConflict");
    assert_eq!(accepted["message"], "\"WidgetList\" is already in use");
    let established = condition(&second, "Established");
    assert_eq!(established["status"], "False");
    assert_eq!(established["reason"], "NotAccepted");
    assert_eq!(established["message"], "not all names are accepted");
    let gadgets = "/apis/example.com/v1/namespaces/default/gadgets";
    assert_eq!(call(&cluster, "GET", gadgets, Value::Null).await.0, 404);
    // A short name that is taken later does not take the kind away.
    let (_, third) = call(&cluster, "POST", CRDS, definition("things", "Thing")).await;
    assert_eq!(condition(&third, "Established")["status"], "True");
    let patch = json!({"spec": {"names": {"shortNames": ["wd"]}}});
    let path = format!("{CRDS}/things.example.com");
    let (_, third) = call(&cluster, "PATCH", &path, patch).await;
    let accepted = condition(&third, "NamesAccepted");
    assert_eq!(accepted["reason"], "ShortNamesConflict");
    assert_eq!(accepted["message"], "\"wd\" is already in use");
    assert_eq!(condition(&third, "Established")["status"], "True");
    assert!(third["status"]["acceptedNames"]["shortNames"].is_null());
    let things = "/apis/example.com/v1/namespaces/default/things";
    assert_eq!(call(&cluster, "GET", things, Value::Null).await.0, 200);
    // Once the first has gone, the others get what they wait for.
    let path = format!("{CRDS}/widgets.example.com");
    call(&cluster, "DELETE", &path, Value::Null).await;
    assert_eq!(call(&cluster, "GET", gadgets, Value::Null).await.0, 200);
    let (_, third) = call(
        &cluster,
        "GET",
        &format!("{CRDS}/things.example.com"),
        Value::Null,
    )
    .await;
    assert_eq!(condition(&third, "NamesAccepted")["status"], "True");
    assert_eq!(
        third["status"]["acceptedNames"]["shortNames"],
        json!(["wd"])
    );
}

#[tokio::test(start_paused = true)]
async fn a_built_in_kind_stays_what_it_is() {
    let cluster = cluster();
    let mut crd = definition("ingresses", "Ingress");
    crd["metadata"] = json!({
        "name": "ingresses.networking.k8s.io",
        "annotations": {"api-approved.kubernetes.io": "unapproved, a test"},
    });
    crd["spec"]["group"] = json!("networking.k8s.io");
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "i"},
        "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}},
    });
    let path = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
    assert_eq!(call(&cluster, "POST", path, ingress).await.0, 201);
    let (_, made) = call(&cluster, "POST", CRDS, crd).await;
    assert_eq!(condition(&made, "NamesAccepted")["status"], "False");
    let (_, kept) = call(&cluster, "GET", &format!("{path}/i"), Value::Null).await;
    assert_eq!(kept["spec"]["defaultBackend"]["service"]["name"], "s");
    let definition = format!("{CRDS}/ingresses.networking.k8s.io");
    let (code, _) = call(&cluster, "DELETE", &definition, Value::Null).await;
    assert_eq!(code, 200);
    assert_eq!(call(&cluster, "GET", &definition, Value::Null).await.0, 404);
    let (code, _) = call(&cluster, "GET", &format!("{path}/i"), Value::Null).await;
    assert_eq!(code, 200);
}
