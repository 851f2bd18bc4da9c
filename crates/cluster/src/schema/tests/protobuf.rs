//! Protobuf bodies: those that kubectl sent, and the API's own test data where the Go
//! module is at hand.

use super::golden;
use crate::schema::protobuf;
use serde_json::Value;
use std::path::{Path, PathBuf};

#[test]
fn bodies_that_kubectl_sent_are_decoded() {
    use base64::Engine as _;
    for line in golden("protobuf.jsonl") {
        let body = base64::engine::general_purpose::STANDARD
            .decode(line["base64"].as_str().unwrap())
            .unwrap();
        let mut expected = line["decoded"].clone();
        // client-go's reader leaves these out of its own printing of a create.
        let decoded = protobuf::decode(&body).unwrap();
        strip_nulls(&mut expected);
        let mut ours = decoded.clone();
        strip_nulls(&mut ours);
        assert_eq!(ours, expected, "{}", line["command"]);
    }
}

fn strip_nulls(v: &mut Value) {
    match v {
        Value::Object(o) => {
            o.retain(|_, v| !v.is_null());
            o.values_mut().for_each(strip_nulls);
        }
        Value::Array(a) => a.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

fn module_cache() -> Option<PathBuf> {
    let root = std::env::var_os("GOMODCACHE")
        .map(PathBuf::from)
        .or_else(|| {
            let home = std::env::var_os("GOPATH")
                .map(PathBuf::from)
                .or_else(|| std::env::var_os("HOME").map(|h| Path::new(&h).join("go")))?;
            Some(home.join("pkg/mod"))
        })?;
    let dir = root.join("k8s.io/api@v0.37.2/testdata/HEAD");
    dir.is_dir().then_some(dir)
}

#[test]
fn kubernetes_own_test_data_decodes_to_the_same_json() {
    let Some(dir) = module_cache() else {
        println!("skipped: module k8s.io/api@v0.37.2 is not in the Go module cache");
        return;
    };
    let (mut passed, mut total, mut failures) = (0, 0, Vec::new());
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "pb") {
            continue;
        }
        let expected: Value =
            serde_json::from_slice(&std::fs::read(path.with_extension("json")).unwrap()).unwrap();
        let known = {
            let api_version = expected["apiVersion"].as_str().unwrap_or("");
            let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
            crate::schema::is_builtin((group, version, expected["kind"].as_str().unwrap_or("")))
        };
        if !known {
            continue;
        }
        total += 1;
        match protobuf::decode(&std::fs::read(&path).unwrap()) {
            Ok(v) if v == expected => passed += 1,
            Ok(v) => failures.push(format!(
                "{}: {}",
                path.display(),
                difference("", &v, &expected)
            )),
            Err(e) => failures.push(format!("{}: {e}", path.display())),
        }
    }
    println!("{passed}/{total}\n{}", failures.join("\n"));
    assert!(
        total > 70 && passed == total,
        "{passed}/{total}\n{}",
        failures.join("\n")
    );
}

fn difference(path: &str, a: &Value, b: &Value) -> String {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let mut out = Vec::new();
            for (k, v) in x {
                match y.get(k) {
                    None => out.push(format!("{path}.{k} extra {v}")),
                    Some(w) if w != v => out.push(difference(&format!("{path}.{k}"), v, w)),
                    _ => {}
                }
            }
            out.extend(
                y.keys()
                    .filter(|k| !x.contains_key(*k))
                    .map(|k| format!("{path}.{k} missing")),
            );
            out.join("; ")
        }
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            let diffs: Vec<String> = x
                .iter()
                .zip(y)
                .enumerate()
                .filter(|(_, (v, w))| v != w)
                .map(|(i, (v, w))| difference(&format!("{path}[{i}]"), v, w))
                .collect();
            diffs.join("; ")
        }
        _ => format!("{path}: {a} is not {b}"),
    }
}

#[test]
fn broken_bodies_are_errors() {
    for body in [
        &b""[..],
        b"k8s",
        b"{}",
        b"k8s\0\x0a",
        b"k8s\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        assert!(protobuf::decode(body).is_err());
    }
    let valid = {
        use base64::Engine as _;
        let line = &golden("protobuf.jsonl")[0];
        base64::engine::general_purpose::STANDARD
            .decode(line["base64"].as_str().unwrap())
            .unwrap()
    };
    for end in 0..valid.len() {
        let _ = protobuf::decode(&valid[..end]);
        for bit in 0..8 {
            let mut bent = valid.clone();
            bent[end] ^= 1 << bit;
            let _ = protobuf::decode(&bent);
        }
    }
}
