//! Recordings of a real API server, replayed through the pure functions.

mod custom;
mod decoding;
mod owners;
mod protobuf;
mod writes;

use serde_json::Value;
use std::path::PathBuf;

/// A recorded file, one JSON document a line.
fn golden(name: &str) -> Vec<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/schema")
        .join(name);
    std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str(&l.replace("<time>", "2026-01-01T00:00:00Z")).unwrap())
        .collect()
}
