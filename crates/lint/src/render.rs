//! Findings as text, JSON and SARIF.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value, json};

use crate::finding::{Finding, Severity};
use crate::rules::RULES;
use crate::{Report, Source};

/// Where the project is.
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");
/// Where the rules are described.
const DOCUMENTATION: &str = "docs/lint.md";

/// How text is written.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// Whether to colour it.
    pub colour: bool,
    /// Columns of the terminal.
    pub width: usize,
}

/// Findings for a person: the place in the file, the message, the cure.
pub fn text(report: &Report, sources: &[Source], style: Text) -> String {
    let renderer = match style.colour {
        true => Renderer::styled(),
        false => Renderer::plain(),
    };
    let renderer = renderer.term_width(style.width);
    let mut out = String::new();
    for finding in &report.findings {
        let source = sources.get(finding.source).map_or("", |s| s.text.as_str());
        out.push_str(&one(finding, source, &renderer));
        out.push_str("\n\n");
    }
    let count = |severity: Severity| {
        let n = report.count(severity);
        format!("{n} {severity}{}", if n == 1 { "" } else { "s" })
    };
    out.push_str(&format!(
        "{}, {}, {} in {} object{}\n",
        count(Severity::Error),
        count(Severity::Warning),
        count(Severity::Note),
        report.objects,
        if report.objects == 1 { "" } else { "s" }
    ));
    out
}

fn one(finding: &Finding, source: &str, renderer: &Renderer) -> String {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(finding.message.as_str()).id(finding.id);
    let (line, marked) = marked(finding, source);
    let snippet = Snippet::source(line)
        .line_start(finding.span.line.max(1))
        .path(finding.file.as_str())
        .annotation(AnnotationKind::Primary.span(marked));
    let mut group: Group<'_> = title.element(snippet);
    for assumed in &finding.assumptions {
        group = group.element(Level::NOTE.with_name("assumed").message(assumed.as_str()));
    }
    group = group.element(Level::HELP.message(finding.fix.as_str()));
    if let Some(patch) = &finding.patch {
        group = group.element(Level::HELP.with_name("patch").message(patch.trim_end()));
    }
    renderer.render(&[group])
}

/// The first line of the span, which is all that is shown of it, and the
/// marked part of that line.
fn marked<'s>(finding: &Finding, source: &'s str) -> (&'s str, Range<usize>) {
    let (start, end) = bounds(finding, source);
    let from = source[..start].rfind('\n').map_or(0, |n| n + 1);
    let rest = &source[from..];
    let line = rest.split('\n').next().unwrap_or(rest);
    (
        line,
        start - from..(end - from).clamp(start - from, line.len().max(start - from)),
    )
}

/// The span's bytes, kept inside the source.
fn bounds(finding: &Finding, source: &str) -> (usize, usize) {
    let start = source.floor_char_boundary(finding.span.start.min(source.len()));
    let end = source.floor_char_boundary(finding.span.end.clamp(start, source.len()));
    (start, end)
}

/// The last line and column of a span, counted from 1.
fn end_of(finding: &Finding, source: &str) -> (usize, usize) {
    let (start, end) = bounds(finding, source);
    let line = finding.span.line + source[start..end].matches('\n').count();
    let from = source[..end].rfind('\n').map_or(0, |n| n + 1);
    (line.max(1), source[from..end].chars().count() + 1)
}

/// Findings for scripts.
pub fn json(report: &Report, sources: &[Source]) -> Value {
    let findings: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| {
            let source = sources.get(finding.source).map_or("", |s| s.text.as_str());
            let (end_line, end_column) = end_of(finding, source);
            json!({
                "id": finding.id,
                "severity": finding.severity.name(),
                "file": finding.file,
                "line": finding.span.line,
                "column": finding.span.column,
                "endLine": end_line,
                "endColumn": end_column,
                "object": finding.object,
                "message": finding.message,
                "assumptions": finding.assumptions,
                "fix": finding.fix,
                "patch": finding.patch,
                "documentation": format!("{DOCUMENTATION}#{}", finding.id),
            })
        })
        .collect();
    json!({
        "findings": findings,
        "summary": {
            "errors": report.count(Severity::Error),
            "warnings": report.count(Severity::Warning),
            "notes": report.count(Severity::Note),
            "objects": report.objects,
        },
    })
}

/// Findings as SARIF 2.1.0, for code hosts.
pub fn sarif(report: &Report, sources: &[Source], version: &str) -> Value {
    let rules: Vec<Value> = RULES
        .iter()
        .map(|rule| {
            json!({
                "id": rule.id,
                "shortDescription": {"text": rule.summary},
                "fullDescription": {"text": rule.text},
                "help": {"text": rule.text},
                "helpUri": format!("{REPOSITORY}/blob/main/{DOCUMENTATION}#{}", rule.id),
                "defaultConfiguration": {"level": rule.severity.name()},
            })
        })
        .collect();
    let results: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| {
            let source = sources.get(finding.source).map_or("", |s| s.text.as_str());
            let (end_line, end_column) = end_of(finding, source);
            let mut message = format!("{}\n\n{}", finding.message, finding.fix);
            for assumed in &finding.assumptions {
                message.push_str(&format!("\n\nAssumed: {assumed}"));
            }
            json!({
                "ruleId": finding.id,
                "ruleIndex": RULES.iter().position(|rule| rule.id == finding.id),
                "level": finding.severity.name(),
                "message": {"text": message},
                "locations": [{
                    "physicalLocation": {
                        "artifactLocation": {"uri": uri(&finding.file)},
                        "region": {
                            "startLine": finding.span.line.max(1),
                            "startColumn": finding.span.column.max(1),
                            "endLine": end_line,
                            "endColumn": end_column,
                        },
                    },
                    "logicalLocations": [{"fullyQualifiedName": finding.object}],
                }],
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "rheostat lint",
                "semanticVersion": version,
                "informationUri": REPOSITORY,
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

/// A path as a relative URI reference.
fn uri(path: &str) -> String {
    let mut out = String::new();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            b'\\' => out.push('/'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
