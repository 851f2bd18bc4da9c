//! The repository's own rules, each checked against the files as they are.
//!
//! | rule | why |
//! |---|---|
//! | a Rust file opens with `//!` | a reader learns first what the file owns |
//! | a room depends only on rooms above it | the arrows stay one-way (docs/ARCHITECTURE.md) |
//! | the core is pure ([`crate::purity`]) | decisions can be replayed |
//! | `tokio::select!` is `biased` | a simulation must not draw lots that no seed decides |
//! | no file over 1,000 lines | it has lost its subject |

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::purity;

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
    // Last, so that nobody may need it but tests and the task runner.
    "testbed",
];

/// What must not appear in a room's source.
const BANNED: &[(&[&str], &[&str])] = &[
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
    breaches.extend(impure(root)?);
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

/// What makes the core impure.
pub(crate) fn impure(root: &Path) -> Result<Vec<String>> {
    let mut breaches = Vec::new();
    for room in purity::ROOMS {
        let folder = root.join("crates").join(room);
        let Ok(manifest) = fs::read_to_string(folder.join("Cargo.toml")) else {
            continue;
        };
        for name in purity::dependencies(&manifest) {
            breaches.push(format!(
                "crates/{room}/Cargo.toml: the core does without {name}"
            ));
        }
        let mut files = Vec::new();
        collect(&folder.join("src"), &mut files)?;
        // Modules of tests lie in files of their own, named so.
        files.retain(|file| {
            let part = |p: &std::ffi::OsStr| p.to_str().unwrap_or("").to_owned();
            let name = file.file_name().map(part).unwrap_or_default();
            !name.ends_with("tests.rs")
                && !file
                    .strip_prefix(root)
                    .unwrap_or(file)
                    .components()
                    .any(|c| c.as_os_str() == "tests")
        });
        for file in files {
            let name = file.strip_prefix(root).unwrap_or(&file).display();
            let text = fs::read_to_string(&file)?;
            match purity::breaches(&text) {
                Ok(found) => breaches.extend(found.iter().map(|f| format!("{name}:{f}"))),
                Err(why) => breaches.push(format!("{name}: {why}")),
            }
        }
    }
    Ok(breaches)
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
