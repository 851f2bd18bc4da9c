//! OpenAPI v3 documents for kubectl: of built-in group versions from the table of types, of
//! custom resources from their definitions. They carry what clients compute with (kinds,
//! types, merge keys, `fieldValidation`, patch types) and what `kubectl explain` shows.

use super::descriptions;
use super::table::{Elem, Field, ListKind, RestPath, Shape, Table, Type};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The document of a built-in group version (`""`, `v1` for the core group).
pub fn openapi_v3(group: &str, version: &str) -> Option<Value> {
    let table = Table::get();
    let group_version = if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("{group}/{version}")
    };
    let mut paths = Map::new();
    let mut wanted = BTreeSet::new();
    for path in table
        .paths
        .iter()
        .filter(|p| p.group_version == group_version)
    {
        let root = if group.is_empty() { "" } else { "apis/" };
        let gvk = split_kind(path.kind);
        wanted.extend(table.kind(gvk.0, gvk.1, gvk.2));
        paths.insert(
            format!("/{root}{group_version}/{}", path.path),
            path_item(path, gvk, true),
        );
    }
    if paths.is_empty() {
        return None;
    }
    Some(document(paths, schemas(wanted)))
}

/// The document of one version of a custom resource's group.
pub fn openapi_v3_for_crd(crd: &Value, version: &str) -> Option<Value> {
    openapi_v3_for_crds(&[crd], version)
}

/// The document of a group version that several custom resources share.
pub fn openapi_v3_for_crds(crds: &[&Value], version: &str) -> Option<Value> {
    let mut paths = Map::new();
    let mut components = schemas(
        Table::get()
            .index("meta.v1.ObjectMeta")
            .into_iter()
            .collect(),
    );
    for crd in crds {
        let spec = &crd["spec"];
        let Some(v) = spec["versions"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|v| v["name"] == version && v["served"] != false)
        else {
            continue;
        };
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let (group, plural) = (text(&spec["group"]), text(&spec["names"]["plural"]));
        let kind = text(&spec["names"]["kind"]);
        let base = match spec["scope"].as_str() {
            Some("Namespaced") => format!("namespaces/{{namespace}}/{plural}"),
            _ => plural.clone(),
        };
        let mut rest = vec![(base.clone(), "gcd"), (format!("{base}/{{name}}"), "gupd")];
        if base != plural {
            rest.push((plural, "g"));
        }
        if v["subresources"]["status"].is_object() {
            rest.push((format!("{base}/{{name}}/status"), "gup"));
        }
        let gvk = (group.as_str(), version, kind.as_str());
        for (path, methods) in rest {
            let item = RestPath {
                group_version: "",
                path: "",
                methods,
                kind: "",
            };
            paths.insert(
                format!("/apis/{group}/{version}/{path}"),
                path_item(&item, gvk, false),
            );
        }
        let mut reversed: Vec<&str> = group.split('.').rev().collect();
        reversed.extend([version, kind.as_str()]);
        let mut schema = v["schema"]["openAPIV3Schema"].clone();
        if !schema.is_object() {
            schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        }
        if let Some(properties) = schema
            .as_object_mut()
            .map(|o| o.entry("properties").or_insert_with(|| json!({})))
            .and_then(Value::as_object_mut)
        {
            let about = |field| descriptions::of_object(field).map_or("", |d| d.text);
            for field in ["apiVersion", "kind"] {
                let known = properties
                    .entry(field)
                    .or_insert_with(|| json!({"type": "string"}));
                if known.get("description").is_none() {
                    known["description"] = about(field).into();
                }
            }
            let meta = reference(&full_name("meta.v1.ObjectMeta"));
            let meta = json!({"allOf": [meta], "description": about("metadata")});
            properties.insert("metadata".into(), meta);
        }
        schema["x-kubernetes-group-version-kind"] =
            json!([{"group": group, "version": version, "kind": kind}]);
        components.insert(reversed.join("."), schema);
    }
    if paths.is_empty() {
        return None;
    }
    Some(document(paths, components))
}

fn document(paths: Map<String, Value>, schemas: Map<String, Value>) -> Value {
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.37.2"},
        "paths": paths,
        "components": {"schemas": schemas},
    })
}

fn split_kind(gvk: &str) -> (&str, &str, &str) {
    let mut parts = gvk.splitn(3, '/');
    let mut part = || parts.next().unwrap_or("");
    (part(), part(), part())
}

fn path_item(path: &RestPath, gvk: (&str, &str, &str), builtin: bool) -> Value {
    let (group, version, kind) = gvk;
    let gvk = json!({"group": group, "version": version, "kind": kind});
    let query = |name: &str| json!({"in": "query", "name": name, "schema": {"type": "string", "uniqueItems": true}});
    let mut item = Map::new();
    for method in path.methods.chars() {
        let (verb, action) = match method {
            'g' if path.path.ends_with('}') => ("get", "get"),
            'g' => ("get", "list"),
            'c' => ("post", "post"),
            'u' => ("put", "put"),
            'p' => ("patch", "patch"),
            _ => ("delete", "delete"),
        };
        let mut op = json!({
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": gvk,
            "responses": {"200": {"description": "OK"}},
        });
        if matches!(method, 'c' | 'u' | 'p') {
            op["parameters"] = json!([
                query("dryRun"),
                query("fieldManager"),
                query("fieldValidation")
            ]);
        }
        if method == 'p' {
            let mut types = vec![
                "application/apply-patch+yaml",
                "application/json-patch+json",
                "application/merge-patch+json",
            ];
            if builtin {
                types.push("application/strategic-merge-patch+json");
            }
            let content: Map<String, Value> = types
                .into_iter()
                .map(|t| (t.to_owned(), json!({})))
                .collect();
            op["requestBody"] = json!({"content": content, "required": true});
        }
        item.insert(verb.into(), op);
    }
    Value::Object(item)
}

/// The name under which OpenAPI knows a type of the table.
fn full_name(short: &str) -> String {
    let package = match short.split('.').next().unwrap_or("") {
        "meta" => "io.k8s.apimachinery.pkg.apis.",
        "runtime" | "version" => "io.k8s.apimachinery.pkg.",
        "resource" if !short.starts_with("resource.v") => "io.k8s.apimachinery.pkg.api.",
        "intstr" => "io.k8s.apimachinery.pkg.util.",
        "apiextensions" => "io.k8s.apiextensions-apiserver.pkg.apis.",
        "apiregistration" => "io.k8s.kube-aggregator.pkg.apis.",
        _ => "io.k8s.api.",
    };
    format!("{package}{short}")
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// The schemas of these types and of all that they hold.
fn schemas(mut wanted: BTreeSet<u32>) -> Map<String, Value> {
    let table = Table::get();
    let mut out = Map::new();
    for (name, schema) in [
        (
            "resource.Quantity",
            json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        ),
        (
            "intstr.IntOrString",
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
        ),
        (
            "meta.v1.Time",
            json!({"type": "string", "format": "date-time"}),
        ),
        (
            "meta.v1.MicroTime",
            json!({"type": "string", "format": "date-time"}),
        ),
        ("meta.v1.Duration", json!({"type": "string"})),
        ("meta.v1.FieldsV1", json!({"type": "object"})),
        ("runtime.RawExtension", json!({"type": "object"})),
    ] {
        out.insert(full_name(name), schema);
    }
    let mut done = BTreeSet::new();
    while let Some(index) = wanted.pop_first() {
        if !done.insert(index) {
            continue;
        }
        let ty = table.ty(index);
        for field in &ty.fields {
            if let (Elem::Struct(i), false) = (field.elem, field.inline) {
                wanted.insert(i);
            }
        }
        let mut schema = type_schema(ty);
        let gvks: Vec<Value> = table
            .kinds
            .iter()
            .filter(|(_, i)| *i == index)
            .map(|(gvk, _)| {
                let (group, version, kind) = split_kind(gvk);
                json!({"group": group, "version": version, "kind": kind})
            })
            .collect();
        if !gvks.is_empty() {
            schema["x-kubernetes-group-version-kind"] = gvks.into();
        }
        out.insert(full_name(ty.name), schema);
    }
    out
}

fn type_schema(ty: &Type) -> Value {
    let fields = || ty.fields.iter().filter(|f| !f.inline && !f.hidden);
    let properties: Map<String, Value> = fields()
        .map(|f| (f.name.to_owned(), described_field(ty, f)))
        .collect();
    let mut schema = json!({"type": "object", "properties": properties});
    if let Some(text) = descriptions::of_type(ty.name) {
        schema["description"] = text.into();
    }
    let required: Vec<&str> = fields().filter(|f| f.required).map(|f| f.name).collect();
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    if ty.atomic {
        schema["x-kubernetes-map-type"] = "atomic".into();
    }
    schema
}

fn described_field(ty: &Type, field: &Field) -> Value {
    let mut schema = field_schema(field);
    let object = ty.fields.iter().any(|f| f.name == "metadata");
    let described = descriptions::of_field(ty.name, field.name)
        .or_else(|| descriptions::of_object(field.name).filter(|_| object));
    if let Some(described) = described {
        schema["description"] = described.text.into();
        if !described.values.is_empty() {
            schema["enum"] = described.values.clone().into();
        }
    }
    schema
}

fn field_schema(field: &Field) -> Value {
    let mut schema = match field.shape {
        Shape::One => match elem_schema(field.elem) {
            inner if inner.get("$ref").is_some() => json!({"allOf": [inner]}),
            inner => inner,
        },
        Shape::List => json!({"type": "array", "items": elem_schema(field.elem)}),
        Shape::Map => json!({"type": "object", "additionalProperties": elem_schema(field.elem)}),
    };
    let mut set = |key: &str, value: Value| schema[key] = value;
    if let Some(default) = field.default.and_then(|d| serde_json::from_str(d).ok()) {
        set("default", default);
    }
    match (field.merge, field.retain_keys) {
        (true, true) => set("x-kubernetes-patch-strategy", "merge,retainKeys".into()),
        (true, false) => set("x-kubernetes-patch-strategy", "merge".into()),
        (false, true) => set("x-kubernetes-patch-strategy", "retainKeys".into()),
        (false, false) => {}
    }
    if let Some(key) = field.merge_key {
        set("x-kubernetes-patch-merge-key", key.into());
    }
    if field.shape == Shape::List {
        match field.list {
            ListKind::Map => {
                let keys: Vec<&str> = field.list_keys.split(',').collect();
                set("x-kubernetes-list-type", "map".into());
                set("x-kubernetes-list-map-keys", keys.into());
            }
            ListKind::Set => set("x-kubernetes-list-type", "set".into()),
            ListKind::Atomic => set("x-kubernetes-list-type", "atomic".into()),
        }
    }
    if field.atomic_map {
        set("x-kubernetes-map-type", "atomic".into());
    }
    schema
}

fn elem_schema(elem: Elem) -> Value {
    let name = match elem {
        Elem::String => return json!({"type": "string"}),
        Elem::Bool => return json!({"type": "boolean"}),
        Elem::Int32 => return json!({"type": "integer", "format": "int32"}),
        Elem::Int64 => return json!({"type": "integer", "format": "int64"}),
        Elem::Double => return json!({"type": "number", "format": "double"}),
        Elem::Bytes => return json!({"type": "string", "format": "byte"}),
        Elem::Strings => return json!({"type": "array", "items": {"type": "string"}}),
        Elem::Json => return json!({}),
        Elem::Quantity => "resource.Quantity",
        Elem::IntOrString => "intstr.IntOrString",
        Elem::Time => "meta.v1.Time",
        Elem::MicroTime => "meta.v1.MicroTime",
        Elem::Duration => "meta.v1.Duration",
        Elem::FieldsV1 => "meta.v1.FieldsV1",
        Elem::Raw => "runtime.RawExtension",
        Elem::Struct(i) => Table::get().ty(i).name,
    };
    reference(&full_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectl_finds_patch_types_and_merge_keys() {
        let doc = openapi_v3("apps", "v1").unwrap();
        let patch =
            &doc["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        assert_eq!(
            patch["x-kubernetes-group-version-kind"],
            json!({"group": "apps", "version": "v1", "kind": "Deployment"})
        );
        assert!(
            patch["requestBody"]["content"]["application/strategic-merge-patch+json"].is_object()
        );
        let pod = &doc["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"];
        assert_eq!(pod["containers"]["x-kubernetes-patch-merge-key"], "name");
        for reference in references(&doc) {
            assert!(
                doc.pointer(reference.trim_start_matches('#')).is_some(),
                "{reference}"
            );
        }
        assert!(openapi_v3("apps", "v2").is_none());
    }

    fn references(v: &Value) -> Vec<String> {
        match v {
            Value::Object(o) => o
                .iter()
                .flat_map(|(k, v)| match v {
                    Value::String(s) if k == "$ref" => vec![s.clone()],
                    v => references(v),
                })
                .collect(),
            Value::Array(a) => a.iter().flat_map(references).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn every_served_group_version_of_the_core_has_a_document() {
        for (group, version) in [
            ("", "v1"),
            ("batch", "v1"),
            ("autoscaling", "v1"),
            ("autoscaling", "v2"),
        ] {
            assert!(openapi_v3(group, version).is_some(), "{group}/{version}");
        }
    }

    #[test]
    fn a_custom_resource_is_patched_by_merge_only() {
        let crd = json!({"spec": {
            "group": "keda.sh", "scope": "Namespaced",
            "names": {"plural": "scaledobjects", "kind": "ScaledObject"},
            "versions": [{"name": "v1alpha1", "served": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object"}}}}}]
        }});
        let doc = openapi_v3_for_crd(&crd, "v1alpha1").unwrap();
        let path = "/apis/keda.sh/v1alpha1/namespaces/{namespace}/scaledobjects/{name}";
        let content = &doc["paths"][path]["patch"]["requestBody"]["content"];
        assert!(content["application/merge-patch+json"].is_object());
        assert!(content["application/strategic-merge-patch+json"].is_null());
        let schema = &doc["components"]["schemas"]["sh.keda.v1alpha1.ScaledObject"];
        assert_eq!(
            schema["x-kubernetes-group-version-kind"][0]["kind"],
            "ScaledObject"
        );
        assert!(openapi_v3_for_crd(&crd, "v1").is_none());
    }
}
