//! The repository's own rules, each checked against the files as they are.
//!
//! | rule | why |
//! |---|---|
//! | a Rust file opens with `//!` | a reader learns first what the file owns |
//! | a room depends only on rooms above it | the arrows stay one-way (docs/ARCHITECTURE.md) |
//! | the core has no clock, network, logging or hash order | decisions can be replayed |
//! | `tokio::select!` is `biased` | a simulation must not draw lots that no seed decides |
//! | no file over 1,000 lines | it has lost its subject |

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Rooms from the top of the table down: each may use those before it.
const ROOMS: &[&str] = &[
    "api",
    "clock",
    "decide",
    "promql",
    "gpu",
    "triggers",
    "cluster",
    "lint",
    "replay",
    "operator",
    "exporter",
    "nodepools",
    "lab",
    "rheostat",
];

/// What must not appear in a room's source.
const BANNED: &[(&[&str], &[&str])] = &[
    (
        &["api", "decide"],
        &[
            "tokio::",
            "SystemTime",
            "Timestamp::now",
            "Instant::now",
            "HashMap",
            "HashSet",
            "tracing::",
            "std::thread",
            "std::net",
            "std::fs",
            "k8s_openapi",
            "kube::",
        ],
    ),
    (
        &["lint"],
        &[
            "tokio::",
            "SystemTime",
            "Timestamp::now",
            "Instant::now",
            "HashMap",
            "HashSet",
            "tracing::",
            "std::thread",
            "std::net",
            "std::fs",
            "kube::",
        ],
    ),
    (
        &["promql", "gpu", "exporter", "replay"],
        &["std::net", "tokio::net", "kube::", "SystemTime"],
    ),
    (
        &["cluster"],
        &["rheostat.dev", "keda", "SystemTime", "Timestamp::now"],
    ),
];

const MAX_LINES: usize = 1000;

/// Checks every rule and reports every breach.
pub fn run(root: &Path) -> Result<()> {
    let mut breaches = Vec::new();
    let mut files = Vec::new();
    for folder in ["crates", "xtask", "benches", "fuzz"] {
        collect(&root.join(folder), &mut files)?;
    }
    for file in &files {
        let text = fs::read_to_string(file)?;
        let name = file
            .strip_prefix(root)
            .unwrap_or(file)
            .display()
            .to_string();
        if !text.starts_with("//!") {
            breaches.push(format!("{name}: does not open with `//!`"));
        }
        let lines = text.lines().count();
        if lines > MAX_LINES {
            breaches.push(format!("{name}: {lines} lines, at most {MAX_LINES}"));
        }
        breaches.extend(banned(&name, &text));
        breaches.extend(unbiased(&name, &text));
    }
    for (n, room) in ROOMS.iter().enumerate() {
        let manifest = root.join("crates").join(room).join("Cargo.toml");
        let Ok(text) = fs::read_to_string(&manifest) else {
            continue;
        };
        let needs = text.split("[dev-dependencies]").next().unwrap_or("");
        for below in &ROOMS[n + 1..] {
            if needs
                .lines()
                .any(|line| line.starts_with(&format!("{below}.")))
            {
                breaches.push(format!(
                    "crates/{room}: depends on {below}, a room below it"
                ));
            }
        }
    }
    for breach in &breaches {
        eprintln!("tidy: {breach}");
    }
    if !breaches.is_empty() {
        bail!("{} breaches of the repository's rules", breaches.len());
    }
    println!("tidy: {} files in order", files.len());
    Ok(())
}

/// Selects that draw lots.
fn unbiased(name: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let draws = |pair: &[&str]| pair[0].ends_with("select! {") && pair[1] != "biased;";
    let found = lines.windows(2).enumerate().filter(|(_, pair)| draws(pair));
    found
        .map(|(n, _)| format!("{name}:{}: select! without `biased;`", n + 1))
        .collect()
}

/// Words that a room must not use, outside comments and tests.
fn banned(name: &str, text: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    let Some(room) = name
        .strip_prefix("crates/")
        .and_then(|rest| rest.split('/').next())
    else {
        return breaches;
    };
    if !name.contains("/src/") || name.ends_with("tests.rs") || name.contains("/tests/") {
        return breaches;
    }
    let code = text.split("#[cfg(test)]").next().unwrap_or("");
    for (rooms, words) in BANNED {
        if !rooms.contains(&room) {
            continue;
        }
        for (n, line) in code.lines().enumerate() {
            let line = line.split("//").next().unwrap_or("");
            for word in *words {
                if line.contains(word) {
                    breaches.push(format!("{name}:{}: `{word}` has no place in {room}", n + 1));
                }
            }
        }
    }
    breaches
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}
