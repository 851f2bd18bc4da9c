//! The proof that the core is pure: no clock, randomness, I/O, async, logging,
//! threads, shared mutable state or iteration in hash order.
//!
//! Sources are read as tokens, not as text: a word in a comment or in a text is
//! no breach, a renamed or grouped import is one, and what follows a test
//! module counts. What crates could bring in is checked by their names, since a
//! pure crate with an impure dependency is impure.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Rooms whose sources and dependencies are pure.
pub const ROOMS: &[&str] = &["api", "decide", "lint"];

/// Names that have no place there, with the reason.
const NAMES: &[(&str, &str)] = &[
    (
        "HashMap",
        "its order differs from run to run; take a BTreeMap",
    ),
    (
        "HashSet",
        "its order differs from run to run; take a BTreeSet",
    ),
    ("RandomState", "randomness"),
    ("SystemTime", "the clock; time is a parameter"),
    ("Instant", "the clock; time is a parameter"),
    ("async", "async; an edge awaits"),
    ("await", "async; an edge awaits"),
    ("print", "I/O"),
    ("println", "I/O"),
    ("eprint", "I/O"),
    ("eprintln", "I/O"),
    ("dbg", "I/O"),
    ("thread_local", "shared state"),
    ("Mutex", "shared state"),
    ("RwLock", "shared state"),
    ("AtomicUsize", "shared state"),
    ("AtomicU64", "shared state"),
    ("AtomicBool", "shared state"),
];

/// Modules of the standard library that have no place there.
const STD: &[(&str, &str)] = &[
    ("fs", "I/O"),
    ("io", "I/O"),
    ("net", "I/O"),
    ("env", "I/O"),
    ("process", "I/O"),
    ("os", "I/O"),
    ("thread", "threads"),
];

/// Functions that have no place there, as type and name.
const CALLS: &[(&str, &str, &str)] = &[
    ("Timestamp", "now", "the clock; time is a parameter"),
    ("Zoned", "now", "the clock; time is a parameter"),
    ("TimeZone", "system", "the machine's settings"),
    ("TimeZone", "try_system", "the machine's settings"),
];

/// Crates that bring in what has no place there.
const CRATES: &[&str] = &[
    "ahash",
    "async_trait",
    "chrono",
    "clock",
    "crossbeam",
    "fastrand",
    "fxhash",
    "futures",
    "getrandom",
    "hashbrown",
    "hyper",
    "indicatif",
    "k8s_openapi",
    "kube",
    "log",
    "parking_lot",
    "rand",
    "rayon",
    "reqwest",
    "rustc_hash",
    "smol",
    "tokio",
    "tower",
    "tracing",
    "ureq",
    "uuid",
];

/// What in a source file breaks the rule, as `line: text`.
///
/// # Errors
/// When the text is no Rust.
pub fn breaches(text: &str) -> Result<Vec<String>, String> {
    let tokens: TokenStream = text.parse().map_err(|e| format!("cannot be read: {e}"))?;
    let mut found = Vec::new();
    walk(tokens, &mut found);
    Ok(found)
}

/// Dependencies of a manifest that break the rule; those for tests and
/// benchmarks may be anything.
pub fn dependencies(manifest: &str) -> Vec<String> {
    let mut section = "";
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
            continue;
        }
        let counts = section == "[dependencies]" || section.ends_with(".dependencies]");
        let name = line.split(['.', '=', ' ']).next().unwrap_or("");
        if counts && CRATES.contains(&name.replace('-', "_").as_str()) {
            found.push(name.to_owned());
        }
    }
    found
}

fn walk(tokens: TokenStream, found: &mut Vec<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        if is_test_attribute(&tokens[at..]) {
            at = after_item(&tokens, at + 2);
            continue;
        }
        match &tokens[at] {
            TokenTree::Group(group) => walk(group.stream(), found),
            TokenTree::Ident(ident) => {
                let name = ident.to_string();
                let line = ident.span().start().line;
                let mut tell = |what: &str, why: &str| {
                    found.push(format!("{line}: `{what}` has no place in the core ({why})"));
                };
                for (_, why) in NAMES.iter().filter(|(n, _)| *n == name) {
                    tell(&name, why);
                }
                let rooted = at < 2 || !is_path_separator(&tokens[at - 2..at]);
                let next = path_after(&tokens, at);
                if next.is_some() && rooted && CRATES.contains(&name.as_str()) {
                    tell(&name, "a crate that the core does without");
                }
                // `use tokio;` brings it in as well.
                let used = at > 0 && tokens[at - 1].to_string() == "use";
                if used && next.is_none() && CRATES.contains(&name.as_str()) {
                    tell(&name, "a crate that the core does without");
                }
                for path in next.into_iter().flat_map(heads) {
                    if name == "std" {
                        for (_, why) in STD.iter().filter(|(n, _)| *n == path) {
                            tell(&format!("std::{path}"), why);
                        }
                    }
                    for (_, call, why) in CALLS.iter().filter(|(t, c, _)| *t == name && *c == path)
                    {
                        tell(&format!("{name}::{call}"), why);
                    }
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// `#[cfg(test)]` or `#[test]`.
fn is_test_attribute(tokens: &[TokenTree]) -> bool {
    let [TokenTree::Punct(hash), TokenTree::Group(group), ..] = tokens else {
        return false;
    };
    let text: String = group.stream().to_string().split_whitespace().collect();
    let attribute = group.delimiter() == Delimiter::Bracket && hash.as_char() == '#';
    attribute && (text == "cfg(test)" || text == "test")
}

/// The place after the item that begins here: its body or its semicolon.
fn after_item(tokens: &[TokenTree], mut at: usize) -> usize {
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Punct(p) if p.as_char() == ';' => break,
            TokenTree::Group(g) if g.delimiter() == Delimiter::Brace => break,
            _ => {}
        }
    }
    at
}

fn is_path_separator(tokens: &[TokenTree]) -> bool {
    let colon = |t: &TokenTree| matches!(t, TokenTree::Punct(p) if p.as_char() == ':');
    tokens.len() == 2 && tokens.iter().all(colon)
}

/// What follows `name::`.
fn path_after(tokens: &[TokenTree], at: usize) -> Option<&TokenTree> {
    is_path_separator(tokens.get(at + 1..at + 3)?).then(|| tokens.get(at + 3))?
}

/// The first names of a path or of each path in a group.
fn heads(token: &TokenTree) -> Vec<String> {
    match token {
        TokenTree::Ident(ident) => vec![ident.to_string()],
        TokenTree::Group(group) => {
            let mut first = true;
            let mut out = Vec::new();
            for token in group.stream() {
                match token {
                    TokenTree::Ident(ident) if first => {
                        out.push(ident.to_string());
                        first = false;
                    }
                    TokenTree::Punct(p) if p.as_char() == ',' => first = true,
                    _ => {}
                }
            }
            out
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        breaches(text).unwrap()
    }

    #[test]
    fn each_kind_of_impurity_is_found_with_its_line() {
        for (text, what) in [
            (
                "fn f() {\n let t = std::time::SystemTime::now(); }",
                "2: `SystemTime`",
            ),
            ("use std::time::{Duration, Instant as Now};", "1: `Instant`"),
            (
                "fn f() { let t = jiff::Timestamp::now(); }",
                "1: `Timestamp::now`",
            ),
            ("fn f() { Zoned::now(); }", "1: `Zoned::now`"),
            ("fn f() { TimeZone::system(); }", "1: `TimeZone::system`"),
            ("use std::collections::HashMap as Map;", "1: `HashMap`"),
            ("type S = std::collections::HashSet<u8>;", "1: `HashSet`"),
            ("use std::{collections::BTreeMap, fs, fmt};", "1: `std::fs`"),
            ("fn f() { std::env::var(\"A\"); }", "1: `std::env`"),
            ("fn f() { std::thread::spawn(|| 1); }", "1: `std::thread`"),
            ("use std::net::TcpStream;", "1: `std::net`"),
            ("async fn f() {}", "1: `async`"),
            ("fn f() { println!(\"a\"); }", "1: `println`"),
            ("fn f() { tracing::info!(\"a\"); }", "1: `tracing`"),
            ("fn f() { log::info!(\"a\"); }", "1: `log`"),
            ("use rand::Rng;", "1: `rand`"),
            ("use tokio;", "1: `tokio`"),
            ("use kube::{Client, Config};", "1: `kube`"),
            ("static S: std::sync::Mutex<u8> = todo();", "1: `Mutex`"),
            ("#[cfg(test)]\nmod tests;\nuse std::fs;", "3: `std::fs`"),
            ("mod inner { fn f() { if true { dbg!(1); } } }", "1: `dbg`"),
        ] {
            let found = found(text);
            assert!(
                found.iter().any(|f| f.starts_with(what)),
                "{text}: {found:?}"
            );
        }
    }

    #[test]
    fn words_tests_and_likenesses_are_no_breach() {
        let text = r#"
            //! Not a HashMap, nor std::fs.
            use std::fmt;
            /// `SystemTime` has no place here.
            fn f(x: f64) -> f64 { let text = "HashMap of tokio::spawn"; x.log(2.0) }
            fn g(now: Timestamp) { self::log::entry(); crate::rand::draw(); }
            #[cfg(test)]
            mod tests { use std::collections::HashMap; fn t() { println!("{:?}", Instant::now()); } }
            #[cfg(test)]
            #[path = "other.rs"]
            mod other;
        "#;
        assert_eq!(found(text), Vec::<String>::new());
    }

    #[test]
    fn dependencies_count_and_those_of_tests_do_not() {
        let manifest = "[dependencies]\nserde.workspace = true\ntokio = \"1\"\n\n\
            [target.'cfg(unix)'.dependencies]\nk8s-openapi.workspace = true\n\n\
            [dev-dependencies]\nrand = \"1\"\n";
        assert_eq!(dependencies(manifest), ["tokio", "k8s-openapi"]);
    }

    #[test]
    fn the_core_is_pure() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let found = crate::tidy::impure(&root).unwrap();
        assert_eq!(found, Vec::<String>::new());
    }
}
