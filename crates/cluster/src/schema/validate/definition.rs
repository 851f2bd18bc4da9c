//! CustomResourceDefinitions: names, versions, subresources, columns and what may not change.
//! The schemas inside are next door, in `wellformed.rs`.

use super::{FieldError, child, immutable, items, meta, one_of, wellformed};
use serde_json::Value;
use std::collections::BTreeSet;

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = [
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "password",
];
/// What groups of Kubernetes' own have to carry.
const APPROVED: &str = "api-approved.kubernetes.io";

fn text(v: &Value) -> &str {
    v.as_str().unwrap_or_default()
}

/// Adds what is wrong with a name as one error.
fn named(path: &str, value: &str, faults: Vec<String>, out: &mut Vec<FieldError>) {
    if !faults.is_empty() {
        out.push(FieldError::invalid(path, value, faults.join(",")));
    }
}

/// Validates a definition; `old` is there on updates.
pub(super) fn definition(new: &Value, old: Option<&Value>, out: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    let (group, plural) = (text(&spec["group"]), text(&spec["names"]["plural"]));
    let name = text(&new["metadata"]["name"]);
    if old.is_none() && name != format!("{plural}.{group}") {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        out.push(FieldError::invalid("metadata.name", name, detail));
    }
    if group.is_empty() {
        out.push(FieldError::required("spec.group", ""));
    } else if let faults @ [_, ..] = meta::subdomain(group).as_slice() {
        named("spec.group", group, faults.to_vec(), out);
    } else if !group.contains('.') {
        let detail = "should be a domain with at least one dot";
        out.push(FieldError::invalid("spec.group", group, detail));
    }
    one_of(
        &spec["scope"],
        "spec.scope",
        &["Cluster", "Namespaced"],
        out,
    );
    versions(spec, out);
    for key in ["plural", "singular", "kind", "listKind"] {
        if text(&spec["names"][key]).is_empty() {
            out.push(FieldError::required(format!("spec.names.{key}"), ""));
        }
    }
    names(&spec["names"], "spec.names", out);
    if let Some(old) = old {
        changes(spec, old, out);
    }
    stored_versions(new, out);
    approval(new, old, group, out);
    if spec["preserveUnknownFields"] == true {
        out.push(FieldError::invalid(
            "spec.preserveUnknownFields",
            true,
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in \
             spec.versions[*].schema instead",
        ));
    }
}

fn versions(spec: &Value, out: &mut Vec<FieldError>) {
    let all = spec["versions"].as_array().map_or(&[][..], Vec::as_slice);
    for (path, version) in items(&spec["versions"], "spec.versions") {
        if !version["schema"]["openAPIV3Schema"].is_object() {
            let path = child(&path, "schema.openAPIV3Schema");
            out.push(FieldError::required(path, "schemas are required"));
        }
    }
    let mut seen = BTreeSet::new();
    let mut unique = true;
    for (path, version) in items(&spec["versions"], "spec.versions") {
        let name = text(&version["name"]);
        unique &= seen.insert(name);
        named(&child(&path, "name"), name, meta::label_1035(name), out);
    }
    // What is the same in all versions is reported once, where the server keeps it.
    let shared = |key: &str| all.iter().all(|v| v[key] == all[0][key]);
    for (key, kept, check) in [
        ("schema", "validation", schema as Check),
        ("subresources", "subresources", subresources),
        (
            "additionalPrinterColumns",
            "additionalPrinterColumns",
            columns,
        ),
    ] {
        if shared(key) {
            if let Some(first) = all.first() {
                check(&first[key], &format!("spec.{kept}"), out);
            }
        } else {
            for (path, version) in items(&spec["versions"], "spec.versions") {
                check(&version[key], &child(&path, key), out);
            }
        }
    }
    if !unique {
        let detail = "must contain unique version names";
        let all = spec["versions"].clone();
        out.push(FieldError::invalid("spec.versions", all, detail));
    }
    if all.iter().filter(|v| v["storage"] == true).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        let all = spec["versions"].clone();
        out.push(FieldError::invalid("spec.versions", all, detail));
    }
}

type Check = fn(&Value, &str, &mut Vec<FieldError>);

fn schema(v: &Value, path: &str, out: &mut Vec<FieldError>) {
    if v["openAPIV3Schema"].is_object() {
        wellformed::schema(&v["openAPIV3Schema"], &child(path, "openAPIV3Schema"), out);
    }
}

fn subresources(v: &Value, path: &str, out: &mut Vec<FieldError>) {
    let scale = &v["scale"];
    if !scale.is_object() {
        return;
    }
    for (key, root, required) in [
        ("specReplicasPath", "spec", true),
        ("statusReplicasPath", "status", true),
        ("labelSelectorPath", "status", false),
    ] {
        let (at, value) = (format!("{path}.scale.{key}"), text(&scale[key]));
        if value.is_empty() {
            if required {
                out.push(FieldError::required(at, ""));
            }
        } else if !value.starts_with('.') {
            let detail = "must be a simple json path starting with .";
            out.push(FieldError::invalid(at, value, detail));
        } else if !value.starts_with(&format!(".{root}.")) {
            let detail = format!("should be a json path under .{root}");
            out.push(FieldError::invalid(at, value, detail));
        }
    }
}

fn columns(list: &Value, path: &str, out: &mut Vec<FieldError>) {
    for (path, column) in items(list, path) {
        if text(&column["name"]).is_empty() {
            out.push(FieldError::required(child(&path, "name"), ""));
        }
        let (kind, types) = (text(&column["type"]), COLUMN_TYPES.join(","));
        if kind.is_empty() {
            let detail = format!("must be one of {types}");
            out.push(FieldError::required(child(&path, "type"), detail));
        } else if !COLUMN_TYPES.contains(&kind) {
            let detail = format!("must be one of {types}");
            out.push(FieldError::invalid(child(&path, "type"), kind, detail));
        }
        let format = text(&column["format"]);
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
            let detail = format!("must be one of {}", COLUMN_FORMATS.join(","));
            out.push(FieldError::invalid(child(&path, "format"), format, detail));
        }
        match text(&column["jsonPath"]) {
            "" => out.push(FieldError::required(child(&path, "JSONPath"), "")),
            at if !at.starts_with('.') => out.push(FieldError::invalid(
                child(&path, "JSONPath"),
                at,
                "must be a simple json path starting with .",
            )),
            _ => {}
        }
    }
}

fn names(names: &Value, path: &str, out: &mut Vec<FieldError>) {
    for key in ["plural", "singular"] {
        let name = text(&names[key]);
        if !name.is_empty() {
            named(&child(path, key), name, meta::label_1035(name), out);
        }
    }
    for key in ["kind", "listKind"] {
        let name = text(&names[key]);
        if let Some(fault) = meta::kind_name(name).filter(|_| !name.is_empty()) {
            out.push(FieldError::invalid(child(path, key), name, fault));
        }
    }
    let lists = ["shortNames", "categories"];
    for (path, name) in lists
        .iter()
        .flat_map(|key| items(&names[*key], &child(path, key)))
    {
        named(&path, text(name), meta::label_1035(text(name)), out);
    }
    if !text(&names["kind"]).is_empty() && names["kind"] == names["listKind"] {
        out.push(FieldError::invalid(
            child(path, "listKind"),
            text(&names["listKind"]),
            "kind and listKind may not be the same",
        ));
    }
}

/// What an existing definition may not change: names that paths and stored objects hold.
fn changes(spec: &Value, old: &Value, out: &mut Vec<FieldError>) {
    let before = &old["spec"];
    let established = items(&old["status"]["conditions"], "")
        .any(|(_, c)| c["type"] == "Established" && c["status"] == "True");
    if established {
        immutable(&spec["scope"], Some(&before["scope"]), "spec.scope", out);
        let kind = &spec["names"]["kind"];
        immutable(kind, Some(&before["names"]["kind"]), "spec.names.kind", out);
    }
    immutable(&spec["group"], Some(&before["group"]), "spec.group", out);
    let plural = &spec["names"]["plural"];
    immutable(
        plural,
        Some(&before["names"]["plural"]),
        "spec.names.plural",
        out,
    );
}

/// A version in which objects may still be stored has to stay.
fn stored_versions(new: &Value, out: &mut Vec<FieldError>) {
    for (path, stored) in items(&new["status"]["storedVersions"], "status.storedVersions") {
        let name = text(stored);
        if items(&new["spec"]["versions"], "").all(|(_, v)| text(&v["name"]) != name) {
            let detail = format!(
                "missing from spec.versions; {name} was previously a storage version, and must \
                 remain in spec.versions until a storage migration ensures no data remains \
                 persisted in {name} and removes {name} from status.storedVersions"
            );
            out.push(FieldError::invalid(path, name, detail));
        }
    }
}

fn approval(new: &Value, old: Option<&Value>, group: &str, out: &mut Vec<FieldError>) {
    let protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|own| group == *own || group.ends_with(&format!(".{own}")));
    if !protected || old.is_some() {
        return;
    }
    let path = format!("metadata.annotations[{APPROVED}]");
    let note = text(&new["metadata"]["annotations"][APPROVED]);
    if note.is_empty() {
        let detail = format!(
            "protected groups must have approval annotation \"{APPROVED}\", see \
             https://github.com/kubernetes/enhancements/pull/1111"
        );
        out.push(FieldError::required(path, detail));
    } else if !note.starts_with("unapproved") && !note.contains("://") {
        let detail = format!(
            "protected groups must have approval annotation \"{APPROVED}\" with either a URL or a \
             reason starting with \"unapproved\", see \
             https://github.com/kubernetes/enhancements/pull/1111"
        );
        out.push(FieldError::invalid(path, note, detail));
    }
}
