//! `rheostat lint` from outside: exit codes, what is read, what is refused.

#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const POOL: &str =
    "name=gpunp,sku=Standard_NC40ads_H100_v5,gpus=1,min=0,max=3,taint=sku=gpu:NoSchedule";

fn examples(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/aks-article");
    path.join(name).display().to_string()
}

fn lint(args: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_rheostat"))
        .arg("lint")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

fn refused(args: &[&str], stdin: &str) -> String {
    let out = lint(args, stdin);
    let error = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{error}");
    assert!(out.stdout.is_empty());
    error
}

fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn the_article_fails_and_its_corrected_form_passes() {
    let article = lint(&["-f", &examples("manifests"), "--pool", POOL], "");
    assert_eq!(article.status.code(), Some(1));
    let text = String::from_utf8(article.stdout).unwrap();
    assert!(text.contains("error[max-beyond-pool]"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colour into a pipe");
    let corrected = lint(&["-f", &examples("corrected"), "--pool", POOL], "");
    assert_eq!(corrected.status.code(), Some(0));
}

#[test]
fn standard_input_json_and_a_file_of_pools_are_read() {
    let text =
        std::fs::read_to_string(Path::new(&examples("manifests")).join("my-gpu-workload.yaml"));
    let pools = folder("lint-pools").join("pools.yaml");
    std::fs::write(&pools, "- {name: cpu, cpu: 8, count: 2}\n").unwrap();
    let pools = pools.display().to_string();
    let out = lint(
        &["-f", "-", "--pools", &pools, "--format", "json"],
        &text.unwrap(),
    );
    assert_eq!(out.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(found["findings"][0]["id"], "no-pool-fits");
    assert_eq!(found["findings"][0]["file"], "<stdin>");
}

#[test]
fn what_cannot_be_used_is_refused_with_its_place() {
    assert!(refused(&["-f", "/no/such/file.yaml"], "").contains("/no/such/file.yaml"));
    let bad = refused(&["-f", "-"], "a: 1\nb: [1\nc: 2\n");
    assert!(bad.contains("<stdin>:3:"), "{bad}");
    assert!(refused(&["-f", "-"], "a: 1\n").contains("no Kubernetes object"));
    let empty = folder("lint-empty").display().to_string();
    assert!(refused(&["-f", &empty], "").contains("no .yaml"));
    let error = refused(&["--explain", "many-element"], "");
    assert!(error.contains("did you mean \"many-elements\""), "{error}");
    let error = refused(&["-f", "-", "--pool", "name=a,gpus=1,skus=x"], "");
    assert!(error.contains("did you mean \"sku\""), "{error}");
    assert!(refused(&["-f", "-", "--ready-lag", "soon"], "").contains("soon"));
    assert!(!refused(&[], "").is_empty());
}

#[test]
fn rules_are_explained() {
    let out = lint(&["--explain", "bounded-metric-ceiling"], "");
    assert_eq!(out.status.code(), Some(0));
    let text = String::from_utf8(out.stdout).unwrap();
    let words: Vec<&str> = text.split_whitespace().collect();
    assert!(words.join(" ").contains("ceil(100 / threshold)"), "{text}");
}
