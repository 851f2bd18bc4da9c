//! The commands of a test file.

use super::series::{self, Values};
use super::{Stored, eval::Span};
use crate::eval::QueryResult;
use crate::labels::{Labels, METRIC_NAME};
use crate::number::{HISTOGRAM_BITS, parse_float};
use crate::parser::parse_duration;
use std::collections::BTreeMap;

pub(super) enum Command {
    Clear,
    Load(BTreeMap<Labels, Stored>),
    Eval(Box<Eval>),
    /// A block that cannot be read; `counts` when it is a case.
    Bad {
        message: String,
        counts: bool,
    },
}

#[derive(Clone, Copy)]
pub(super) enum Kind {
    Instant(i64),
    Range(Span),
}

/// What a message must look like.
pub(super) enum Pattern {
    Any,
    Text(String),
    Regex(regex::Regex),
}

impl Pattern {
    pub(super) fn matches(&self, s: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Text(t) => s == t || s.ends_with(&format!("parse error: {t}")),
            Self::Regex(r) => r.is_match(s),
        }
    }
}

/// One case.
pub(super) struct Eval {
    pub(super) query: String,
    pub(super) kind: Kind,
    pub(super) fail: Option<Vec<Pattern>>,
    pub(super) ordered: bool,
    pub(super) scalar: Option<f64>,
    pub(super) text: Option<String>,
    /// Times of an expected range vector.
    pub(super) times: Option<Span>,
    pub(super) series: Vec<(Labels, Values)>,
    warn: Vec<Pattern>,
    info: Vec<Pattern>,
    no_warn: bool,
    no_info: bool,
}

impl Eval {
    pub(super) fn check_annotations(&self, r: &QueryResult) -> Result<(), String> {
        for (kind, expected, none, found) in [
            ("warning", &self.warn, self.no_warn, &r.warnings),
            ("info", &self.info, self.no_info, &r.infos),
        ] {
            if none && let Some(f) = found.first() {
                return Err(format!("unexpected {kind}: {f}"));
            }
            if expected.is_empty() {
                continue;
            }
            if found.is_empty() {
                return Err(format!("no {kind} but one was expected"));
            }
            if !expected.iter().all(|e| found.iter().any(|f| e.matches(f))) {
                return Err(format!("an expected {kind} is missing, found {found:?}"));
            }
            if let Some(f) = found
                .iter()
                .find(|f| !expected.iter().any(|e| e.matches(f)))
            {
                return Err(format!("unexpected {kind}: {f}"));
            }
        }
        Ok(())
    }
}

/// Commands with their line numbers.
pub(super) fn parse(text: &str) -> Vec<(usize, Command)> {
    let lines: Vec<&str> = text
        .lines()
        .map(|l| {
            let l = l.trim();
            if l.starts_with('#') { "" } else { l }
        })
        .collect();
    let mut out = Vec::new();
    let mut i = 0;
    while i < lines.len() {
        let (at, line) = (i, lines[i]);
        i += 1;
        if line.is_empty() {
            continue;
        }
        let word = line
            .split_whitespace()
            .next()
            .unwrap_or("")
            .to_ascii_lowercase();
        let block_end = (i..lines.len())
            .find(|&j| lines[j].is_empty())
            .unwrap_or(lines.len());
        let block = &lines[i..block_end];
        let command = if word == "clear" {
            Ok(Command::Clear)
        } else if word.starts_with("load") {
            i = block_end;
            load(line, word == "load_with_nhcb", block).map(Command::Load)
        } else if word.starts_with("eval") {
            i = block_end;
            case(&word, line, block).map(|e| Command::Eval(Box::new(e)))
        } else {
            Err(format!("{word:?} is not a command"))
        };
        let counts = word.starts_with("eval");
        let bad = |message| Command::Bad { message, counts };
        out.push((at + 1, command.unwrap_or_else(bad)));
    }
    out
}

fn time_ms(text: &str) -> Result<i64, String> {
    let (sign, body) = match text.strip_prefix('-') {
        Some(b) => (-1.0, b),
        None => (1.0, text),
    };
    parse_duration(body)
        .or_else(|| parse_float(body))
        .map(|s| (sign * s * 1e3).round() as i64)
        .ok_or_else(|| format!("{text:?} is not a time"))
}

fn load(line: &str, nhcb: bool, block: &[&str]) -> Result<BTreeMap<Labels, Stored>, String> {
    let step = time_ms(line.split_whitespace().nth(1).unwrap_or(""))?;
    let mut out: BTreeMap<Labels, Stored> = BTreeMap::new();
    let mut starts: BTreeMap<Labels, Values> = BTreeMap::new();
    for l in block {
        let (head, tail) = series::split(l)?;
        if let Some(name) = head.strip_suffix("@st") {
            starts.insert(series::labels(name)?, series::offsets(tail)?);
            continue;
        }
        let labels = series::labels(head)?;
        let offsets = starts.get(&labels);
        let mut stored = Stored::new();
        for (i, v) in series::values(tail)?.into_iter().enumerate() {
            let t = i as i64 * step;
            let start = offsets.and_then(|o| o.get(i).copied().flatten());
            if let Some(v) = v {
                stored.insert(t, (v, start.map_or(0, |s| t + s as i64)));
            }
        }
        if nhcb && let Some(base) = labels.name().strip_suffix("_bucket") {
            let whole = labels.with(METRIC_NAME, base).with("le", "");
            let marks = stored
                .keys()
                .map(|t| (*t, (f64::from_bits(HISTOGRAM_BITS), 0)));
            out.entry(whole)
                .or_default()
                .extend(marks.collect::<Stored>());
        }
        out.insert(labels, stored);
    }
    Ok(out)
}

fn case(word: &str, line: &str, block: &[&str]) -> Result<Eval, String> {
    let mut fields = Fields(line);
    fields.word();
    let kind = match fields.word().to_ascii_lowercase().as_str() {
        "instant" => {
            fields.expect("at")?;
            Kind::Instant(time_ms(fields.word())?)
        }
        "range" => Kind::Range(fields.span()?),
        other => return Err(format!("eval {other}?")),
    };
    let mut e = Eval {
        query: fields.0.trim().to_owned(),
        kind,
        fail: (word == "eval_fail").then(Vec::new),
        ordered: word == "eval_ordered",
        scalar: None,
        text: None,
        times: None,
        series: Vec::new(),
        warn: if word == "eval_warn" {
            vec![Pattern::Any]
        } else {
            Vec::new()
        },
        info: if word == "eval_info" {
            vec![Pattern::Any]
        } else {
            Vec::new()
        },
        no_warn: false,
        no_info: false,
    };
    for l in block {
        let mut f = Fields(l);
        match f.word().to_ascii_lowercase().as_str() {
            "expect" => e.expectation(f)?,
            "expected_fail_message" => {
                e.fail
                    .get_or_insert_default()
                    .push(Pattern::Text(f.0.trim().into()));
            }
            "expected_fail_regexp" => {
                e.fail.get_or_insert_default().push(pattern("regex", f.0)?);
            }
            _ => {
                if block.len() <= 4
                    && let Some(v) = parse_float(l)
                {
                    e.scalar = Some(v);
                    continue;
                }
                let (head, tail) = series::split(l)?;
                e.series
                    .push((series::labels(head)?, series::values(tail)?));
            }
        }
    }
    Ok(e)
}

impl Eval {
    fn expectation(&mut self, mut f: Fields<'_>) -> Result<(), String> {
        let what = f.word().to_ascii_lowercase();
        match what.as_str() {
            "ordered" => self.ordered = true,
            "no_warn" => self.no_warn = true,
            "no_info" => self.no_info = true,
            "fail" | "warn" | "info" => {
                let rest = f.0.trim();
                let p = match rest.split_once(':') {
                    Some((kind @ ("msg" | "regex"), text)) => pattern(kind, text)?,
                    _ => Pattern::Any,
                };
                match what.as_str() {
                    "fail" => self.fail.get_or_insert_default().push(p),
                    "warn" => self.warn.push(p),
                    _ => self.info.push(p),
                }
            }
            "string" => {
                let parsed = crate::parser::parse(f.0).map_err(|e| e.render(f.0))?;
                let crate::parser::ast::Kind::Text(t) = parsed.kind else {
                    return Err("not a string".into());
                };
                self.text = Some(t);
            }
            "range" => {
                f.expect("vector")?;
                self.times = Some(f.span()?);
            }
            other => return Err(format!("expect {other}?")),
        }
        Ok(())
    }
}

fn pattern(kind: &str, text: &str) -> Result<Pattern, String> {
    let text = text.trim();
    if kind == "msg" {
        return Ok(Pattern::Text(text.to_owned()));
    }
    regex::Regex::new(text)
        .map(Pattern::Regex)
        .map_err(|e| e.to_string())
}

struct Fields<'a>(&'a str);

impl<'a> Fields<'a> {
    fn word(&mut self) -> &'a str {
        let s = self.0.trim_start();
        let end = s.find(char::is_whitespace).unwrap_or(s.len());
        self.0 = &s[end..];
        &s[..end]
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        let found = self.word();
        if found.eq_ignore_ascii_case(word) {
            return Ok(());
        }
        Err(format!("{word:?} is missing before {found:?}"))
    }

    /// `from A to B step S`
    fn span(&mut self) -> Result<Span, String> {
        self.expect("from")?;
        let start = time_ms(self.word())?;
        self.expect("to")?;
        let end = time_ms(self.word())?;
        self.expect("step")?;
        let step = time_ms(self.word())?;
        if step <= 0 || end < start || (end - start) / step > 100_000 {
            return Err("not a usable range".into());
        }
        Ok(Span { start, end, step })
    }
}
