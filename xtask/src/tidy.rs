//! The repository's own rules, each checked against the files as they are.
//!
//! | rule | why |
//! |---|---|
//! | a Rust file opens with `//!` | a reader learns first what the file owns |
//! | a room depends only on rooms above it | the arrows stay one-way (docs/ARCHITECTURE.md) |
//! | the core is pure ([`crate::purity`]) | decisions can be replayed |
//! | `tokio::select!` is `biased` | a simulation must not draw lots that no seed decides |
//! | no file over 1,000 lines | it has lost its subject |

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::purity;
use crate::reader::{self, Source};

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
    "doctor",
    "replay",
    "operator",
    "exporter",
    "nodepools",
    "lab",
    "rheostat",
    // Last, so that nobody may need it but tests and the task runner.
    "testbed",
];

/// Names and texts that have no place in some rooms.
struct Banned {
    rooms: &'static [&'static str],
    /// Crates, paths of two names, and names.
    names: &'static [&'static str],
    /// Parts of names and of texts in quotes.
    parts: &'static [&'static str],
}

const BANNED: &[Banned] = &[
    Banned {
        rooms: &["promql", "gpu", "exporter", "replay"],
        names: &["std::net", "tokio::net", "kube", "SystemTime"],
        parts: &[],
    },
    Banned {
        rooms: &["cluster"],
        names: &["SystemTime", "Timestamp::now"],
        parts: &["rheostat.dev", "keda"],
    },
];

const MAX_LINES: usize = 1000;

/// Checks every rule and reports every breach.
pub fn run(root: &Path) -> Result<()> {
    let (files, breaches) = check(root)?;
    for breach in &breaches {
        eprintln!("tidy: {breach}");
    }
    if !breaches.is_empty() {
        bail!("{} breaches of the repository's rules", breaches.len());
    }
    println!("tidy: {files} files in order");
    Ok(())
}

/// The number of files, and every breach.
fn check(root: &Path) -> Result<(usize, Vec<String>)> {
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
        breaches.extend(inside(&name, &text));
        breaches.extend(unbiased(&name, &text));
    }
    let needs = reader::needs(root)?;
    breaches.extend(impure(&needs));
    for (n, room) in ROOMS.iter().enumerate() {
        for below in needs.get(*room).into_iter().flatten() {
            if ROOMS[n + 1..].contains(&below.as_str()) {
                breaches.push(format!(
                    "crates/{room}: depends on {below}, a room below it"
                ));
            }
        }
    }
    Ok((files.len(), breaches))
}

/// Dependencies that make the core impure.
fn impure(needs: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut breaches = Vec::new();
    for room in purity::ROOMS {
        let names = needs.get(*room).into_iter().flatten();
        for name in names.filter(|name| purity::is_impure(name)) {
            breaches.push(format!(
                "crates/{room}/Cargo.toml: the core does without {name}"
            ));
        }
    }
    breaches
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

/// What a room's source says that has no place there. Tests may say anything;
/// modules of tests lie in files of their own, named so.
fn inside(name: &str, text: &str) -> Vec<String> {
    let mut parts = name.split('/');
    let (Some("crates"), Some(room), Some("src")) = (parts.next(), parts.next(), parts.next())
    else {
        return Vec::new();
    };
    if name.ends_with("tests.rs") || parts.any(|part| part == "tests") {
        return Vec::new();
    }
    let pure = purity::ROOMS.contains(&room);
    let rules: Vec<&Banned> = BANNED.iter().filter(|b| b.rooms.contains(&room)).collect();
    if !pure && rules.is_empty() {
        return Vec::new();
    }
    let source = match Source::parse(text) {
        Ok(source) => source,
        Err(why) => return vec![format!("{name}: {why}")],
    };
    let mut found = Vec::new();
    if pure {
        found.extend(purity::breaches(&source));
    }
    for rule in rules {
        for (line, what) in banned(rule, &source) {
            found.push(format!("{line}: `{what}` has no place in {room}"));
        }
    }
    found.iter().map(|f| format!("{name}:{f}")).collect()
}

/// Lines with what a rule bans.
fn banned(rule: &Banned, source: &Source) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for word in &source.words {
        let is = |name: &str| match name.split_once("::") {
            Some((of, name)) => word.is_path(of, name),
            None if name.starts_with(char::is_uppercase) => word.name == name,
            None => word.is_crate(name),
        };
        let names = rule.names.iter().filter(|name| is(name));
        let parts = rule.parts.iter().filter(|part| word.name.contains(**part));
        found.extend(names.chain(parts).map(|what| (word.line, *what)));
    }
    for (line, text) in &source.texts {
        let parts = rule.parts.iter().filter(|part| text.contains(**part));
        found.extend(parts.map(|part| (*line, *part)));
    }
    found
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_room_must_not_say_is_found_behind_its_tests_too() {
        let text = "//! Like keda.\n#[cfg(test)]\nmod tests { const A: &str = \"keda.sh\"; }\n\
                    const B: &str = \"keda.sh\";\nfn f() { Timestamp::now(); }\n\
                    fn g() { keda_like(); }";
        assert_eq!(
            inside("crates/cluster/src/a.rs", text),
            [
                "crates/cluster/src/a.rs:5: `Timestamp::now` has no place in cluster",
                "crates/cluster/src/a.rs:6: `keda` has no place in cluster",
                "crates/cluster/src/a.rs:4: `keda` has no place in cluster",
            ]
        );
        assert!(inside("crates/cluster/src/a/tests.rs", text).is_empty());
        assert!(inside("crates/lab/src/a.rs", text).is_empty());
        let found = inside(
            "crates/gpu/src/a.rs",
            "use kube::Client;\nuse std::{fmt, net};",
        );
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn the_repository_keeps_its_rules() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let root = root.canonicalize().unwrap();
        assert_eq!(check(&root).unwrap().1, Vec::<String>::new());
    }
}
