//! `cargo xtask codegen`: rebuilds the committed table of Kubernetes' built-in types
//! (`crates/cluster/src/schema/types.txt`) from the public Go modules.
//!
//! Facts only: type and field names, protobuf field numbers, merge keys, list types,
//! defaults and REST paths. Descriptions stay where they are. The format is described
//! in `crates/cluster/src/schema/table.rs`, the only reader.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const KUBERNETES: &str = "k8s.io/kubernetes@v1.37.2";
const STAGING: &str = "v0.37.2";
const TABLE: &str = "crates/cluster/src/schema/types.txt";

/// Group versions of the table; everything else stays unknown to the lab.
const DOCUMENTS: &[&str] = &[
    "api__v1",
    "apis__admissionregistration.k8s.io__v1",
    "apis__apiextensions.k8s.io__v1",
    "apis__apiregistration.k8s.io__v1",
    "apis__apps__v1",
    "apis__authentication.k8s.io__v1",
    "apis__authorization.k8s.io__v1",
    "apis__autoscaling__v1",
    "apis__autoscaling__v2",
    "apis__batch__v1",
    "apis__certificates.k8s.io__v1",
    "apis__coordination.k8s.io__v1",
    "apis__discovery.k8s.io__v1",
    "apis__events.k8s.io__v1",
    "apis__flowcontrol.apiserver.k8s.io__v1",
    "apis__networking.k8s.io__v1",
    "apis__node.k8s.io__v1",
    "apis__policy__v1",
    "apis__rbac.authorization.k8s.io__v1",
    "apis__resource.k8s.io__v1",
    "apis__scheduling.k8s.io__v1",
    "apis__storage.k8s.io__v1",
];

/// Messages that no OpenAPI document holds but request bodies do.
const EXTRA: &[&str] = &[
    "meta.v1.CreateOptions",
    "meta.v1.UpdateOptions",
    "meta.v1.PatchOptions",
    "meta.v1.GetOptions",
    "meta.v1.ListOptions",
];

/// Structs whose fields JSON spreads into another struct: (outer, inner).
const EMBEDDED: &[(&str, &str)] = &[
    ("core.v1.Volume", "core.v1.VolumeSource"),
    (
        "core.v1.PersistentVolumeSpec",
        "core.v1.PersistentVolumeSource",
    ),
    ("core.v1.Probe", "core.v1.ProbeHandler"),
    (
        "core.v1.EphemeralContainer",
        "core.v1.EphemeralContainerCommon",
    ),
    ("core.v1.ConfigMapEnvSource", "core.v1.LocalObjectReference"),
    ("core.v1.SecretEnvSource", "core.v1.LocalObjectReference"),
    (
        "core.v1.ConfigMapKeySelector",
        "core.v1.LocalObjectReference",
    ),
    ("core.v1.SecretKeySelector", "core.v1.LocalObjectReference"),
    (
        "core.v1.ConfigMapProjection",
        "core.v1.LocalObjectReference",
    ),
    ("core.v1.SecretProjection", "core.v1.LocalObjectReference"),
    (
        "core.v1.ConfigMapVolumeSource",
        "core.v1.LocalObjectReference",
    ),
    (
        "networking.v1.IngressRule",
        "networking.v1.IngressRuleValue",
    ),
    (
        "admissionregistration.v1.RuleWithOperations",
        "admissionregistration.v1.Rule",
    ),
    (
        "admissionregistration.v1.NamedRuleWithOperations",
        "admissionregistration.v1.Rule",
    ),
    (
        "resource.v1.DeviceAllocationConfiguration",
        "resource.v1.DeviceConfiguration",
    ),
    (
        "resource.v1.DeviceClassConfiguration",
        "resource.v1.DeviceConfiguration",
    ),
    (
        "resource.v1.DeviceClaimConfiguration",
        "resource.v1.DeviceConfiguration",
    ),
];

#[derive(Clone, Default)]
struct Field {
    number: u32,
    /// `[]`, `{}` or nothing, then the element type.
    ty: String,
    attributes: String,
}

#[derive(Default)]
struct Type {
    flags: String,
    fields: BTreeMap<String, Field>,
}

/// Protobuf messages: short name -> (field, number, type).
type Messages = BTreeMap<String, Vec<(String, u32, String)>>;

/// Entry point of `cargo xtask codegen`; `--check` only compares.
pub fn run(args: &[String]) -> Result<()> {
    let check = args.iter().any(|a| a == "--check");
    let text = table(&Sources::download()?)?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(TABLE);
    if check {
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        if old != text {
            bail!("{TABLE} is stale: run `cargo xtask codegen`");
        }
    } else {
        std::fs::write(&path, &text).with_context(|| format!("cannot write {TABLE}"))?;
    }
    println!("{TABLE}: {} bytes", text.len());
    Ok(())
}

struct Sources {
    openapi: PathBuf,
    protos: Vec<PathBuf>,
}

/// How Go's JSON encoder treats a field.
#[derive(Clone, Copy)]
struct Tag {
    pointer: bool,
    omit_empty: bool,
    omit_zero: bool,
}

impl Sources {
    fn download() -> Result<Sources> {
        let openapi = module(KUBERNETES)?.join("api/openapi-spec/v3");
        let mut protos = Vec::new();
        for name in [
            "api",
            "apimachinery",
            "apiextensions-apiserver",
            "kube-aggregator",
        ] {
            find_protos(&module(&format!("k8s.io/{name}@{STAGING}"))?, &mut protos)?;
        }
        protos.sort();
        Ok(Sources { openapi, protos })
    }
}

fn module(name: &str) -> Result<PathBuf> {
    let out = Command::new("go")
        .args(["mod", "download", "-json", name])
        .env("GOFLAGS", "-mod=mod")
        .current_dir(std::env::temp_dir())
        .output()
        .context("codegen needs the Go toolchain to fetch Kubernetes' modules")?;
    let reply: Value = serde_json::from_slice(&out.stdout)
        .with_context(|| String::from_utf8_lossy(&out.stderr).into_owned())?;
    match reply["Dir"].as_str() {
        Some(dir) => Ok(dir.into()),
        None => bail!("go mod download {name}: {}", reply["Error"]),
    }
}

fn find_protos(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            find_protos(&path, found)?;
        } else if path.file_name().is_some_and(|n| n == "generated.proto") {
            found.push(path);
        }
    }
    Ok(())
}

/// Short form of a type's package, shared by OpenAPI (`io.k8s.…`) and protobuf (`k8s.io.…`).
fn short(full: &str) -> String {
    let full = full
        .trim_start_matches("io.k8s.")
        .trim_start_matches("k8s.io.");
    for prefix in [
        "api.",
        "apimachinery.pkg.apis.",
        "apimachinery.pkg.api.",
        "apimachinery.pkg.util.",
        "apimachinery.pkg.",
        "apiextensions_apiserver.pkg.apis.",
        "apiextensions-apiserver.pkg.apis.",
        "kube_aggregator.pkg.apis.",
        "kube-aggregator.pkg.apis.",
    ] {
        if let Some(rest) = full.strip_prefix(prefix) {
            return rest.to_owned();
        }
    }
    full.to_owned()
}

/// All messages of the proto files: short name -> (field, number, type).
fn messages(paths: &[PathBuf]) -> Result<Messages> {
    let mut all = BTreeMap::new();
    for path in paths {
        let text = std::fs::read_to_string(path)?;
        let mut package = String::new();
        let mut current: Option<String> = None;
        for line in text.lines().map(str::trim) {
            if line.starts_with("//") {
                continue;
            }
            if let Some(name) = line.strip_prefix("package ") {
                package = short(name.trim_end_matches(';'));
            } else if let Some(name) = line.strip_prefix("message ") {
                let name = format!("{package}.{}", name.trim_end_matches(" {"));
                all.insert(name.clone(), Vec::new());
                current = Some(name);
            } else if line == "}" {
                current = None;
            } else if let (Some(message), Some((left, number))) =
                (&current, line.trim_end_matches(';').rsplit_once(" = "))
            {
                let (ty, name) = left.rsplit_once(' ').context("field without type")?;
                let local = |t: &str| match t {
                    "string" | "bool" | "int32" | "int64" | "double" | "bytes" | "uint32"
                    | "uint64" => t.to_owned(),
                    _ if t.starts_with('.') => short(&t[1..]),
                    _ => format!("{package}.{t}"),
                };
                let ty = if let Some(t) = ty.strip_prefix("repeated ") {
                    format!("[]{}", local(t))
                } else if let Some(t) = ty.strip_prefix("map<string, ") {
                    format!("{{}}{}", local(t.trim_end_matches('>')))
                } else {
                    local(ty.trim_start_matches("optional "))
                };
                let fields = all.get_mut(message).context("message just inserted")?;
                fields.push((name.to_owned(), number.parse()?, ty));
            }
        }
    }
    Ok(all)
}

/// The JSON tags of the Go structs beside the proto files: (type, JSON name) -> tag.
fn tags(protos: &[PathBuf]) -> Result<BTreeMap<(String, String), Tag>> {
    let mut all = BTreeMap::new();
    for proto in protos {
        let text = std::fs::read_to_string(proto)?;
        let Some(package) = text.lines().find_map(|l| l.strip_prefix("package ")) else {
            continue;
        };
        let package = short(package.trim_end_matches(';'));
        let dir = proto.parent().context("proto file without folder")?;
        let mut files: Vec<PathBuf> = std::fs::read_dir(dir)?
            .map(|e| Ok(e?.path()))
            .collect::<Result<_>>()?;
        files.retain(|f| {
            f.extension().is_some_and(|e| e == "go")
                && !f
                    .file_name()
                    .is_some_and(|n| n.to_string_lossy().contains("generated"))
        });
        files.sort();
        for file in files {
            let mut current: Option<String> = None;
            for line in std::fs::read_to_string(file)?.lines() {
                if let Some(name) = line
                    .strip_prefix("type ")
                    .and_then(|l| l.strip_suffix(" struct {"))
                {
                    current = Some(format!("{package}.{name}"));
                } else if line == "}" {
                    current = None;
                } else if let (Some(ty), Some((left, tag))) =
                    (&current, line.trim_start().split_once("json:\""))
                {
                    let tag = tag.split('"').next().unwrap_or("");
                    let mut options = tag.split(',');
                    let name = options.next().unwrap_or("");
                    let options: Vec<&str> = options.collect();
                    let go_type = left.split_whitespace().nth(1).unwrap_or("");
                    let tag = Tag {
                        pointer: go_type.starts_with('*'),
                        omit_empty: options.contains(&"omitempty"),
                        omit_zero: options.contains(&"omitzero"),
                    };
                    all.insert((ty.clone(), name.to_owned()), tag);
                }
            }
        }
    }
    Ok(all)
}

/// JSON names that differ from protobuf's.
fn json_name(message: &str, field: &str) -> String {
    match (message, field) {
        ("apiextensions.v1.JSONSchemaProps", "ref") => "$ref".into(),
        ("apiextensions.v1.JSONSchemaProps", "schema") => "$schema".into(),
        ("apiextensions.v1.JSONSchemaProps", f) if f.starts_with("x") && f.len() > 1 => {
            let mut name = "x-kubernetes".to_owned();
            for c in f[1..].chars() {
                if c.is_ascii_uppercase() {
                    name.push('-');
                }
                name.push(c.to_ascii_lowercase());
            }
            name.replace("x-kubernetes-kubernetes", "x-kubernetes")
        }
        _ => field.to_owned(),
    }
}

fn reference(schema: &Value) -> Option<String> {
    let target = schema["$ref"]
        .as_str()
        .or_else(|| schema["allOf"][0]["$ref"].as_str())?;
    Some(short(target.trim_start_matches("#/components/schemas/")))
}

fn openapi_type(schema: &Value) -> String {
    if let Some(name) = reference(schema) {
        return name;
    }
    match schema["type"].as_str() {
        Some("array") => format!("[]{}", openapi_type(&schema["items"])),
        Some("object") if schema["additionalProperties"].is_object() => {
            format!("{{}}{}", openapi_type(&schema["additionalProperties"]))
        }
        Some("integer") if schema["format"] == "int32" => "int32".into(),
        Some("integer") => "int64".into(),
        Some("number") => "double".into(),
        Some("boolean") => "bool".into(),
        Some("string") if schema["format"] == "byte" => "bytes".into(),
        Some("string") => "string".into(),
        _ => "any".into(),
    }
}

fn text(v: &Value) -> Option<&str> {
    v.as_str()
}

fn attributes(schema: &Value, required: bool) -> String {
    let mut out = String::new();
    if required {
        out.push_str(" !");
    }
    for (letter, key) in [
        ('p', "x-kubernetes-patch-strategy"),
        ('k', "x-kubernetes-patch-merge-key"),
        ('l', "x-kubernetes-list-type"),
        ('m', "x-kubernetes-map-type"),
    ] {
        if let Some(v) = text(&schema[key]) {
            let _ = write!(out, " {letter}={v}");
        }
    }
    if let Some(keys) = schema["x-kubernetes-list-map-keys"].as_array() {
        let keys: Vec<&str> = keys.iter().filter_map(text).collect();
        let _ = write!(out, " K={}", keys.join(","));
    }
    if let Some(default) = schema.get("default").filter(|d| !d.is_object()) {
        let _ = write!(out, " d={default}");
    }
    out
}

fn table(sources: &Sources) -> Result<String> {
    let protos = messages(&sources.protos)?;
    let mut types: BTreeMap<String, Type> = BTreeMap::new();
    let mut kinds: BTreeSet<(String, String)> = BTreeSet::new();
    let mut paths = String::new();
    for name in DOCUMENTS {
        let file = sources.openapi.join(format!("{name}_openapi.json"));
        let doc: Value = serde_json::from_str(
            &std::fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?,
        )?;
        let schemas = doc["components"]["schemas"]
            .as_object()
            .context("no schemas")?;
        for (full, schema) in schemas {
            let short = short(full);
            if let Some(gvks) = schema["x-kubernetes-group-version-kind"].as_array()
                && let [gvk] = gvks.as_slice()
            {
                let gvk = format!(
                    "{}/{}/{}",
                    text(&gvk["group"]).unwrap_or(""),
                    text(&gvk["version"]).unwrap_or(""),
                    text(&gvk["kind"]).unwrap_or("")
                );
                kinds.insert((gvk, short.clone()));
            }
            types
                .entry(short.clone())
                .or_insert_with(|| from_schema(&short, schema, &protos));
        }
        rest_paths(name, &doc, &mut paths);
    }
    // What the messages need beyond the documents: options and embedded structs.
    let mut wanted: Vec<String> = EXTRA.iter().map(|s| (*s).to_owned()).collect();
    for t in types.values() {
        wanted.extend(
            t.fields
                .values()
                .filter(|f| f.attributes.contains(" ~"))
                .map(|f| f.ty.clone()),
        );
    }
    while let Some(name) = wanted.pop() {
        if types.contains_key(&name) || !name.contains('.') {
            continue;
        }
        let t = from_message(&name, &protos);
        wanted.extend(t.fields.values().map(|f| {
            f.ty.trim_start_matches("[]")
                .trim_start_matches("{}")
                .to_owned()
        }));
        types.insert(name, t);
    }
    let tags = tags(&sources.protos)?;
    for (name, t) in &mut types {
        for (field, f) in &mut t.fields {
            // Embedded structs repeat their fields in OpenAPI; those keep their own tags.
            let mut owners = vec![name.as_str()];
            owners.extend(EMBEDDED.iter().filter(|e| e.0 == name).map(|e| e.1));
            let Some(tag) = owners
                .iter()
                .find_map(|o| tags.get(&((*o).to_owned(), field.clone())))
            else {
                continue;
            };
            if tag.pointer {
                f.attributes.push_str(" *");
            }
            if tag.omit_zero {
                f.attributes.push_str(" z");
            } else if !tag.omit_empty {
                f.attributes.push_str(" +");
            }
        }
    }
    let mut out =
        String::from("# Generated by `cargo xtask codegen` from Kubernetes 1.37.2; do not edit.\n");
    for (gvk, name) in kinds {
        let _ = writeln!(out, "G {gvk} {name}");
    }
    out.push_str(&paths);
    for (name, t) in types {
        let _ = writeln!(out, "T {name}{}", t.flags);
        for (field, f) in t.fields {
            let _ = writeln!(out, "{field} {} {}{}", f.number, f.ty, f.attributes);
        }
    }
    Ok(out)
}

fn from_schema(name: &str, schema: &Value, protos: &Messages) -> Type {
    let mut t = Type::default();
    if let Some(v) = text(&schema["x-kubernetes-map-type"]) {
        let _ = write!(t.flags, " m={v}");
    }
    let required: BTreeSet<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(text)
        .collect();
    if let Some(properties) = schema["properties"].as_object() {
        for (field, s) in properties {
            let f = Field {
                number: 0,
                ty: openapi_type(s),
                attributes: attributes(s, required.contains(field.as_str())),
            };
            t.fields.insert(field.clone(), f);
        }
    } else if schema["type"] != "object" {
        let _ = write!(t.flags, " a={}", openapi_type(schema));
    }
    for (field, number, ty) in protos.get(name).into_iter().flatten() {
        let mut json = json_name(name, field);
        if !t.fields.contains_key(&json)
            && let Some(other) = t.fields.keys().find(|k| k.eq_ignore_ascii_case(&json))
        {
            json.clone_from(other);
        }
        match t.fields.get_mut(&json) {
            Some(f) => {
                f.number = *number;
                // Protobuf knows widths and special types better than OpenAPI does.
                f.ty.clone_from(ty);
            }
            None => {
                let attributes = if ty.contains('.') { " ~" } else { " -" }.to_owned();
                t.fields.insert(
                    json,
                    Field {
                        number: *number,
                        ty: ty.clone(),
                        attributes,
                    },
                );
            }
        }
    }
    t
}

fn from_message(name: &str, protos: &Messages) -> Type {
    let mut t = Type::default();
    for (field, number, ty) in protos.get(name).into_iter().flatten() {
        let f = Field {
            number: *number,
            ty: ty.clone(),
            attributes: String::new(),
        };
        t.fields.insert(json_name(name, field), f);
    }
    t
}

fn rest_paths(document: &str, doc: &Value, out: &mut String) {
    let root = format!("/{}/", document.replace("__", "/"));
    let _ = writeln!(
        out,
        "V {}",
        root.trim_matches('/').trim_start_matches("apis/")
    );
    for (path, item) in doc["paths"].as_object().into_iter().flatten() {
        let Some(rest) = path.strip_prefix(&root) else {
            continue;
        };
        if rest.is_empty() || rest.starts_with("watch/") || rest.contains("/proxy") {
            continue;
        }
        let mut methods = String::new();
        let mut gvk = None;
        for (method, letter) in [
            ("get", 'g'),
            ("post", 'c'),
            ("put", 'u'),
            ("patch", 'p'),
            ("delete", 'd'),
        ] {
            let op = &item[method];
            if op["x-kubernetes-action"] == "connect" {
                continue;
            }
            if let Some(kind) = text(&op["x-kubernetes-group-version-kind"]["kind"]) {
                methods.push(letter);
                // Collection deletion and DeleteOptions carry the same kind.
                gvk = Some(format!(
                    "{}/{}/{kind}",
                    text(&op["x-kubernetes-group-version-kind"]["group"]).unwrap_or(""),
                    text(&op["x-kubernetes-group-version-kind"]["version"]).unwrap_or(""),
                ));
            }
        }
        if let Some(gvk) = gvk {
            let _ = writeln!(out, "P {rest} {methods} {gvk}");
        }
    }
}
