//! Label sets, label matchers and their text forms.

use std::fmt;
use std::sync::Arc;

/// The label that carries a series' metric name.
pub const METRIC_NAME: &str = "__name__";
/// Label that carries the metric type when type and unit labels are in use.
pub const METRIC_TYPE: &str = "__type__";
/// Label that carries the metric unit when type and unit labels are in use.
pub const METRIC_UNIT: &str = "__unit__";

/// Whether a label describes the metric itself and disappears with its name.
pub fn is_metadata_label(name: &str) -> bool {
    name == METRIC_NAME || name == METRIC_TYPE || name == METRIC_UNIT
}

/// An immutable label set, sorted by name, without empty values. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Labels(Arc<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// The set without labels.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Builds a set from pairs in any order; a later pair replaces an earlier one of the same
    /// name, and a pair with an empty value means "no such label".
    pub fn from_pairs<I, N, V>(pairs: I) -> Self
    where
        I: IntoIterator<Item = (N, V)>,
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let mut out: Vec<(Arc<str>, Arc<str>)> = Vec::new();
        for (n, v) in pairs {
            let (n, v) = (n.as_ref(), v.as_ref());
            match out.binary_search_by(|(have, _)| have.as_ref().cmp(n)) {
                Ok(i) if v.is_empty() => {
                    out.remove(i);
                }
                Ok(i) => out[i].1 = Arc::from(v),
                Err(_) if v.is_empty() => {}
                Err(i) => out.insert(i, (Arc::from(n), Arc::from(v))),
            }
        }
        Self(out.into())
    }

    /// The value of a label, or "" when the set lacks it.
    pub fn get(&self, name: &str) -> &str {
        self.0
            .binary_search_by(|(have, _)| have.as_ref().cmp(name))
            .map_or("", |i| self.0[i].1.as_ref())
    }

    /// The pairs in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_ref(), v.as_ref()))
    }

    /// Number of labels.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no label at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The metric name, or "".
    pub fn name(&self) -> &str {
        self.get(METRIC_NAME)
    }

    /// The set with only those labels for which `keep` holds.
    #[must_use]
    pub fn filter(&self, keep: impl Fn(&str) -> bool) -> Self {
        if self.0.iter().all(|(n, _)| keep(n)) {
            return self.clone();
        }
        Self(self.0.iter().filter(|(n, _)| keep(n)).cloned().collect())
    }

    /// The set without the metric's name, type and unit.
    #[must_use]
    pub fn without_metadata(&self) -> Self {
        self.filter(|n| !is_metadata_label(n))
    }

    /// The set with one label set (or removed, when `value` is empty).
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut out: Vec<_> = self.0.to_vec();
        match out.binary_search_by(|(have, _)| have.as_ref().cmp(name)) {
            Ok(i) if value.is_empty() => {
                out.remove(i);
            }
            Ok(i) => out[i].1 = Arc::from(value),
            Err(_) if value.is_empty() => return self.clone(),
            Err(i) => out.insert(i, (Arc::from(name), Arc::from(value))),
        }
        Self(out.into())
    }

    pub(crate) fn from_sorted(pairs: Vec<(Arc<str>, Arc<str>)>) -> Self {
        Self(pairs.into())
    }

    /// Where the set lies in memory. Sets with the same address are equal, as long as both are
    /// held.
    pub(crate) fn address(&self) -> usize {
        self.0.as_ptr().addr()
    }

    pub(crate) fn arcs(&self) -> &[(Arc<str>, Arc<str>)] {
        &self.0
    }

    /// A stable 64-bit hash (FNV-1a over names and values with separators).
    pub fn stable_hash(&self) -> u64 {
        let mut h: u64 = 0xcbf2_9ce4_8422_2325;
        let mut eat = |b: u8| {
            h ^= u64::from(b);
            h = h.wrapping_mul(0x0100_0000_01b3);
        };
        for (n, v) in self.iter() {
            n.bytes().for_each(&mut eat);
            eat(0xff);
            v.bytes().for_each(&mut eat);
            eat(0xff);
        }
        // FNV's high bits mix poorly for short inputs, so finish with an avalanche step.
        h ^= h >> 33;
        h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
        h ^= h >> 33;
        h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        h ^ (h >> 33)
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (n, v)) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            if is_label_name(n) {
                write!(f, "{n}={}", quote(v))?;
            } else {
                write!(f, "{}={}", quote(n), quote(v))?;
            }
        }
        f.write_str("}")
    }
}

/// A double-quoted string with the escapes of the query language.
pub fn quote(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Whether a name can be written without quotes as a label name.
pub fn is_label_name(s: &str) -> bool {
    let mut b = s.bytes();
    b.next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == b'_')
        && b.all(|c| c.is_ascii_alphanumeric() || c == b'_')
}

/// How a [`Matcher`] compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

/// One label matcher of a selector.
#[derive(Clone, Debug)]
pub struct Matcher {
    /// Label name.
    pub name: String,
    /// Comparison.
    pub op: MatchOp,
    /// Right side as written.
    pub value: String,
    regex: Option<regex::Regex>,
    alternatives: Option<Vec<String>>,
}

impl Matcher {
    /// Compiles a matcher; the error is the regular expression's.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Self, String> {
        let mut m = Self {
            name: name.to_owned(),
            op,
            value: value.to_owned(),
            regex: None,
            alternatives: None,
        };
        if matches!(op, MatchOp::Regex | MatchOp::NotRegex) {
            let plain = |s: &str| {
                s.chars()
                    .all(|c| c.is_alphanumeric() || "_-:/ ".contains(c))
            };
            if value.split('|').all(plain) {
                m.alternatives = Some(value.split('|').map(str::to_owned).collect());
            } else {
                m.regex = Some(anchored_regex(value)?);
            }
        }
        Ok(m)
    }

    /// Whether a label value satisfies the matcher.
    pub fn matches(&self, v: &str) -> bool {
        let hit = || match (&self.alternatives, &self.regex) {
            (Some(a), _) => a.iter().any(|x| x == v),
            (None, Some(r)) => r.is_match(v),
            (None, None) => false,
        };
        match self.op {
            MatchOp::Equal => self.value == v,
            MatchOp::NotEqual => self.value != v,
            MatchOp::Regex => hit(),
            MatchOp::NotRegex => !hit(),
        }
    }

    /// The values that can match when they are few and known: `=` and plain alternations.
    pub(crate) fn candidates(&self) -> Option<Vec<&str>> {
        match self.op {
            MatchOp::Equal => Some(vec![&self.value]),
            MatchOp::Regex => self
                .alternatives
                .as_ref()
                .map(|a| a.iter().map(String::as_str).collect()),
            _ => None,
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        };
        write!(f, "{}{op}{}", self.name, quote(&self.value))
    }
}

/// Compiles a pattern as the query language does: matched as a whole, dot includes newline.
/// Size limits keep a hostile pattern from eating memory.
pub fn anchored_regex(pattern: &str) -> Result<regex::Regex, String> {
    regex::RegexBuilder::new(&format!("^(?s:{pattern})$"))
        .size_limit(1 << 20)
        .nest_limit(100)
        .build()
        .map_err(|e| {
            let text = e.to_string();
            let last = text
                .lines()
                .last()
                .unwrap_or("invalid regular expression")
                .trim();
            format!(
                "error parsing regexp: {}: `{pattern}`",
                last.trim_start_matches("error: ")
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_and_empty_values_are_absent() {
        let l = Labels::from_pairs([("b", "2"), ("a", "1"), ("c", "")]);
        assert_eq!(l.to_string(), r#"{a="1", b="2"}"#);
        assert_eq!(l.get("c"), "");
        assert_eq!(l.with("b", "").to_string(), r#"{a="1"}"#);
    }

    #[test]
    fn regex_matchers_are_anchored_and_cross_lines() {
        let m = Matcher::new("a", MatchOp::Regex, "fo.").unwrap();
        assert!(m.matches("foo") && m.matches("fo\n") && !m.matches("xfoo"));
        let m = Matcher::new("a", MatchOp::NotRegex, "a|b").unwrap();
        assert!(m.matches("ab") && !m.matches("b"));
        assert!(Matcher::new("a", MatchOp::Regex, "(").is_err());
    }
}
