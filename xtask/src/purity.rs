//! The proof that the core is pure: no clock, randomness, I/O, async, logging,
//! threads, shared mutable state or iteration in hash order.
//!
//! What crates could bring in is checked by their names, since a pure crate with
//! an impure dependency is impure.

use crate::reader::{Source, Word};

/// Rooms whose sources and dependencies are pure.
pub const ROOMS: &[&str] = &["api", "decide", "lint", "doctor"];

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
pub fn breaches(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for word in &source.words {
        look(word, |what: &str, why: &str| {
            let line = word.line;
            found.push(format!("{line}: `{what}` has no place in the core ({why})"));
        });
    }
    found
}

/// Whether a dependency of this name breaks the rule.
pub fn is_impure(dependency: &str) -> bool {
    CRATES.contains(&dependency)
}

fn look(word: &Word, mut tell: impl FnMut(&str, &str)) {
    let name = word.name.as_str();
    for (_, why) in NAMES.iter().filter(|(n, _)| *n == name) {
        tell(name, why);
    }
    if CRATES.iter().any(|c| word.is_crate(c)) {
        tell(name, "a crate that the core does without");
    }
    for (module, why) in STD.iter().filter(|(m, _)| word.is_path("std", m)) {
        tell(&format!("std::{module}"), why);
    }
    for (of, call, why) in CALLS.iter().filter(|(t, c, _)| word.is_path(t, c)) {
        tell(&format!("{of}::{call}"), why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        breaches(&Source::parse(text).unwrap())
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
}
