//! Sources and manifests as the repository's rules read them.
//!
//! Sources are read as tokens, not as text: a word in a comment is not seen, a
//! renamed or grouped import is, and what follows a test module counts.
//! Manifests are read by cargo itself, which knows every way to write one.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A name in a source file.
pub struct Word {
    /// Line, from 1.
    pub line: usize,
    /// The name.
    pub name: String,
    /// Whether no `::` comes before it.
    rooted: bool,
    /// Whether `use` comes before it.
    used: bool,
    /// What follows it after `::`; several names where that is a group.
    pub next: Vec<String>,
}

impl Word {
    /// Whether it names the crate `name`, and not a likeness of it.
    pub fn is_crate(&self, name: &str) -> bool {
        self.name == name && (self.used || (self.rooted && !self.next.is_empty()))
    }

    /// Whether it is the path `of::name`.
    pub fn is_path(&self, of: &str, name: &str) -> bool {
        self.name == of && self.next.iter().any(|n| n == name)
    }
}

/// What a source file says outside its tests and comments.
#[derive(Default)]
pub struct Source {
    /// Names, in the order of the file.
    pub words: Vec<Word>,
    /// Texts in quotes and other literals, with their lines.
    pub texts: Vec<(usize, String)>,
}

impl Source {
    /// Reads a source file.
    ///
    /// # Errors
    /// When the text is no Rust.
    pub fn parse(text: &str) -> Result<Self, String> {
        let tokens: TokenStream = text.parse().map_err(|e| format!("cannot be read: {e}"))?;
        let mut source = Self::default();
        source.walk(tokens);
        Ok(source)
    }

    fn walk(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match attribute(&tokens[at..]) {
                Some((text, length)) if text == "cfg(test)" || text == "test" => {
                    at = after_item(&tokens, at + length);
                    continue;
                }
                // A comment for documentation.
                Some((text, length)) if text.starts_with("doc=") => {
                    at += length;
                    continue;
                }
                _ => {}
            }
            match &tokens[at] {
                TokenTree::Group(group) => self.walk(group.stream()),
                TokenTree::Ident(ident) => self.words.push(Word {
                    line: ident.span().start().line,
                    name: ident.to_string(),
                    rooted: at < 2 || !is_path_separator(&tokens[at - 2..at]),
                    used: at > 0 && tokens[at - 1].to_string() == "use",
                    next: path_after(&tokens, at).map_or_else(Vec::new, heads),
                }),
                TokenTree::Literal(literal) => {
                    let line = literal.span().start().line;
                    self.texts.push((line, literal.to_string()));
                }
                TokenTree::Punct(_) => {}
            }
            at += 1;
        }
    }
}

/// The attribute that begins here, without spaces, and its length in tokens.
fn attribute(tokens: &[TokenTree]) -> Option<(String, usize)> {
    let punct = |t: &TokenTree, c: char| matches!(t, TokenTree::Punct(p) if p.as_char() == c);
    tokens.first().filter(|t| punct(t, '#'))?;
    let inner = usize::from(tokens.get(1).is_some_and(|t| punct(t, '!')));
    match tokens.get(1 + inner) {
        Some(TokenTree::Group(g)) if g.delimiter() == Delimiter::Bracket => {
            let text = g.stream().to_string().split_whitespace().collect();
            Some((text, 2 + inner))
        }
        _ => None,
    }
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
        // `name::*` or a generic: a path all the same, and one without a name.
        other => vec![other.to_string()],
    }
}

/// What each package of the workspace needs to be built, by its folder's name:
/// names as its sources use them, those that only tests or build scripts need
/// left out.
///
/// # Errors
/// When cargo cannot read the manifests.
pub fn needs(root: &Path) -> Result<BTreeMap<String, Vec<String>>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(root)
        .output()
        .context("cargo metadata cannot be run")?;
    if !output.status.success() {
        bail!(
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let all: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    Ok(packages(&all))
}

fn packages(metadata: &serde_json::Value) -> BTreeMap<String, Vec<String>> {
    let list = |v: &serde_json::Value| v.as_array().cloned().unwrap_or_default();
    let mut packages = BTreeMap::new();
    for package in list(&metadata["packages"]) {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or(""));
        let folder = manifest.parent().and_then(Path::file_name);
        let needs = list(&package["dependencies"]);
        let needs = needs.iter().filter(|d| d["kind"].is_null());
        let needs = needs.filter_map(|d| d["rename"].as_str().or(d["name"].as_str()));
        packages.insert(
            folder.unwrap_or_default().to_string_lossy().into_owned(),
            needs.map(|name| name.replace('-', "_")).collect(),
        );
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_count_under_their_names_here_and_those_of_tests_do_not() {
        let metadata = serde_json::json!({"packages": [{
            "manifest_path": "/a/crates/lint/Cargo.toml",
            "dependencies": [
                {"name": "rheostat-decide", "rename": "decide", "kind": null},
                {"name": "k8s-openapi", "rename": null, "kind": null},
                {"name": "rand", "rename": null, "kind": "dev"},
            ],
        }]});
        assert_eq!(packages(&metadata)["lint"], ["decide", "k8s_openapi"]);
    }

    #[test]
    fn code_and_texts_are_seen_behind_a_test_module_and_documentation_is_not() {
        let text = "//! One.\n/// Two.\nfn f() {}\n#[cfg(test)]\nmod tests { fn g() { \"3\" } }\n\
                    fn h() { let s = \"four\"; }";
        let source = Source::parse(text).unwrap();
        assert_eq!(source.texts, [(6, "\"four\"".to_owned())]);
        assert!(source.words.iter().any(|w| w.name == "h"));
        assert!(source.words.iter().all(|w| w.name != "g"));
    }
}
