//! The classic text exposition format, read line by line.

use crate::number::parse_float;

/// A page that does not parse, with the line at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ParseError {
    /// Line number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

/// A sample line taken apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Metric name (as `__name__`) and labels, in page order.
    pub labels: Vec<(String, String)>,
    /// Value.
    pub value: f64,
    /// Explicit time in milliseconds.
    pub t_ms: Option<i64>,
}

/// A line, its labels not yet taken apart.
pub(super) enum Line<'a> {
    Blank,
    Type {
        name: &'a str,
        kind: &'a str,
    },
    Help {
        name: &'a str,
        text: &'a str,
    },
    Sample {
        series: &'a str,
        value: f64,
        t_ms: Option<i64>,
    },
}

/// Reads a whole page into samples.
pub fn parse(text: &str) -> Result<Vec<Sample>, ParseError> {
    let mut out = Vec::new();
    for (i, raw) in text.lines().enumerate() {
        let at = |what: String| ParseError { line: i + 1, what };
        if let Line::Sample {
            series,
            value,
            t_ms,
        } = read_line(raw).map_err(at)?
        {
            out.push(Sample {
                labels: parse_series(series).map_err(at)?,
                value,
                t_ms,
            });
        }
    }
    Ok(out)
}

pub(super) fn read_line(raw: &str) -> Result<Line<'_>, String> {
    let line = raw.trim_matches([' ', '\t', '\r']);
    if line.is_empty() {
        return Ok(Line::Blank);
    }
    if let Some(comment) = line.strip_prefix('#') {
        return Ok(read_comment(comment));
    }
    let end = series_end(line)?;
    let (series, rest) = line.split_at(end);
    let (value, t_ms) = read_value(rest)?;
    Ok(Line::Sample {
        series: series.trim_end(),
        value,
        t_ms,
    })
}

/// What follows the series: a value and perhaps a time.
pub(super) fn read_value(rest: &str) -> Result<(f64, Option<i64>), String> {
    let mut fields = rest.split_ascii_whitespace();
    let value = fields.next().ok_or("a sample without a value")?;
    let value = parse_float(value).ok_or_else(|| format!("{value:?} is not a number"))?;
    let t_ms = match fields.next() {
        None => None,
        Some(t) => Some(
            t.parse()
                .map_err(|_| format!("{t:?} is not a time in milliseconds"))?,
        ),
    };
    if let Some(extra) = fields.next() {
        return Err(format!("unexpected {extra:?} after the sample"));
    }
    Ok((value, t_ms))
}

fn read_comment(comment: &str) -> Line<'_> {
    let comment = comment.trim_start();
    let (word, rest) = comment.split_once([' ', '\t']).unwrap_or((comment, ""));
    let rest = rest.trim_start();
    let (name, text) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
    match word {
        "TYPE" => Line::Type {
            name,
            kind: text.trim(),
        },
        "HELP" => Line::Help {
            name,
            text: text.trim_start(),
        },
        _ => Line::Blank,
    }
}

/// Where the series part of a sample line ends: after the closing brace or the name.
fn series_end(line: &str) -> Result<usize, String> {
    let bytes = line.as_bytes();
    let mut i = 0;
    while i < bytes.len() && !matches!(bytes[i], b'{' | b' ' | b'\t') {
        i += 1;
    }
    let mut j = i;
    while j < bytes.len() && matches!(bytes[j], b' ' | b'\t') {
        j += 1;
    }
    if bytes.get(j) != Some(&b'{') {
        return Ok(i);
    }
    let mut quoted = false;
    while j < bytes.len() {
        match bytes[j] {
            b'\\' if quoted => j += 1,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Ok(j + 1),
            _ => {}
        }
        j += 1;
    }
    Err("a label set without its closing brace".into())
}

/// Takes `name{a="b",…}` (or `{"name",a="b"}`) apart.
pub(super) fn parse_series(series: &str) -> Result<Vec<(String, String)>, String> {
    let (name, body) = match series.find('{') {
        Some(i) => (
            series[..i].trim_end(),
            series[i + 1..].strip_suffix('}').unwrap_or(""),
        ),
        None => (series, ""),
    };
    let mut out: Vec<(String, String)> = Vec::new();
    if !name.is_empty() {
        let ok = |(i, c): (usize, char)| {
            c.is_ascii_alphabetic() || c == '_' || c == ':' || (i > 0 && c.is_ascii_digit())
        };
        if !name.char_indices().all(ok) {
            return Err(format!("{name:?} is not a metric name"));
        }
        out.push(("__name__".into(), name.into()));
    }
    let mut rest = body.trim_start();
    while !rest.is_empty() {
        let label;
        if rest.starts_with('"') {
            let (text, after) = quoted(rest)?;
            rest = after.trim_start();
            if !rest.starts_with('=') {
                if out.iter().any(|(n, _)| n == "__name__") {
                    return Err("a second metric name in the braces".into());
                }
                out.push(("__name__".into(), text));
                rest = after_comma(rest)?;
                continue;
            }
            label = text;
        } else {
            let end = rest
                .find('=')
                .ok_or_else(|| format!("a label without a value: {rest:?}"))?;
            label = rest[..end].trim_end().to_owned();
            if !crate::labels::is_label_name(&label) {
                return Err(format!("{label:?} is not a label name"));
            }
            rest = &rest[end..];
        }
        let (value, after) = quoted(rest[1..].trim_start())?;
        if out.iter().any(|(n, _)| *n == label) {
            return Err(format!("label {label:?} is given twice"));
        }
        out.push((label, value));
        rest = after_comma(after.trim_start())?;
    }
    if !out.iter().any(|(n, _)| n == "__name__") {
        return Err("a sample without a metric name".into());
    }
    Ok(out)
}

fn after_comma(rest: &str) -> Result<&str, String> {
    match rest.strip_prefix(',') {
        Some(r) => Ok(r.trim_start()),
        None if rest.is_empty() => Ok(rest),
        None => Err(format!("a comma is missing before {rest:?}")),
    }
}

fn quoted(s: &str) -> Result<(String, &str), String> {
    let body = s
        .strip_prefix('"')
        .ok_or_else(|| format!("a quote is missing at {s:?}"))?;
    let mut out = String::new();
    let mut chars = body.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return Ok((out, &body[i + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => out.push('\n'),
                Some((_, c @ ('\\' | '"'))) => out.push(c),
                Some((_, c)) => {
                    out.push('\\');
                    out.push(c);
                }
                None => break,
            },
            c => out.push(c),
        }
    }
    Err("a label value without its closing quote".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_lines_of_every_shape_are_read() {
        let page = "# HELP a text\n# TYPE a gauge\n a { x = \"1\" , y=\"q\\\"}\\\\\\n\", }\t3e1 1500\n\
                    vllm:num_requests 1\nb NaN\n{\"c.d\",e=\"f\"} +Inf";
        let s = parse(page).unwrap();
        assert_eq!(s.len(), 4);
        assert_eq!(s[0].labels[2], ("y".into(), "q\"}\\\n".into()));
        assert_eq!((s[0].value, s[0].t_ms), (30.0, Some(1500)));
        assert_eq!(s[1].labels[0].1, "vllm:num_requests");
        assert!(s[2].value.is_nan());
        assert_eq!(s[3].labels[0], ("__name__".into(), "c.d".into()));
    }

    #[test]
    fn broken_lines_name_the_line() {
        for bad in [
            "a{x=\"1\" 2",
            "a{x=1} 2",
            "a",
            "a b",
            "a{x=\"1\"y=\"2\"} 3",
            "a 1 2 3",
            "1a 2",
        ] {
            let e = parse(&format!("ok 1\n{bad}\n")).unwrap_err();
            assert_eq!(e.line, 2, "{bad}");
        }
    }
}
