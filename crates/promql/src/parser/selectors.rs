//! Series selectors and what may follow an expression: ranges, `offset`, `@`.

use super::ast::{At, Duration, Edges, Expr, Kind, Selector, TimeShift};
use super::lexer::Tok;
use super::{Parsed, Parser, SyntaxError};
use crate::labels::{METRIC_NAME, MatchOp, Matcher};

impl Parser<'_> {
    /// A selector; its name, if any, has been read.
    pub(super) fn selector(&mut self, name: Option<(String, usize)>) -> Parsed<Expr> {
        let start = name.as_ref().map_or(self.token().start, |n| n.1);
        let mut metric = name.map(|n| n.0);
        let mut matchers = Vec::new();
        if self.take_op("{") {
            while !self.take_op("}") {
                self.matcher(&mut metric, &mut matchers)?;
                if !self.take_op(",") && !self.is_op("}") {
                    return Err(self.unexpected_expecting("label matching", "}"));
                }
            }
        }
        if let Some(name) = metric {
            if let Some(m) = matchers
                .iter()
                .find(|m: &&Matcher| m.name == METRIC_NAME && m.op == MatchOp::Equal)
            {
                let message = format!(
                    "metric name must not be set twice: {name:?} or {:?}",
                    m.value
                );
                return Err(SyntaxError::at(start, message));
            }
            let m = Matcher::new(METRIC_NAME, MatchOp::Equal, &name)
                .map_err(|e| SyntaxError::at(start, e))?;
            matchers.insert(0, m);
        }
        let selector = Selector {
            matchers,
            range: None,
            edges: Edges::Plain,
            time: TimeShift::default(),
        };
        self.node(Kind::Selector(selector), start)
    }

    fn matcher(&mut self, metric: &mut Option<String>, out: &mut Vec<Matcher>) -> Parsed<()> {
        const CONTEXT: &str = "label matching";
        let t = self.next();
        let start = t.start;
        let (name, quoted) = match t.tok {
            Tok::Ident(n) => (n, false),
            Tok::Text(n) => (n, true),
            _ => {
                self.at -= 1;
                return Err(self.unexpected_expecting(CONTEXT, "identifier or \"}\""));
            }
        };
        let op = match self.peek() {
            Tok::Op("=") => MatchOp::Equal,
            Tok::Op("!=") => MatchOp::NotEqual,
            Tok::Op("=~") => MatchOp::Regex,
            Tok::Op("!~") => MatchOp::NotRegex,
            Tok::Op("," | "}") if quoted => {
                if let Some(first) = metric {
                    let message =
                        format!("metric name must not be set twice: {first:?} or {name:?}");
                    return Err(SyntaxError::at(start, message));
                }
                *metric = Some(name);
                return Ok(());
            }
            _ => return Err(self.unexpected_expecting(CONTEXT, "label matching operator")),
        };
        self.at += 1;
        let t = self.next();
        let Tok::Text(value) = t.tok else {
            self.at -= 1;
            return Err(self.unexpected_expecting(CONTEXT, "string"));
        };
        if !quoted && !crate::labels::is_label_name(&name) {
            return Err(SyntaxError::at(
                start,
                format!("{name:?} is not a label name"),
            ));
        }
        out.push(Matcher::new(&name, op, &value).map_err(|e| SyntaxError::at(t.start, e))?);
        Ok(())
    }

    /// `[range]` or `[range:step]` after an expression.
    pub(super) fn brackets(&mut self, mut e: Expr) -> Parsed<Expr> {
        let open = self.token().start;
        self.at += 1;
        let range = self.duration(0)?;
        let positive =
            |d: &Duration| d.depends_on_query() || d.seconds(0.0, 0.0).is_ok_and(|s| s > 0.0);
        let subquery = self.take_op(":");
        let step = if subquery && !self.is_op("]") {
            Some(self.duration(0)?)
        } else {
            None
        };
        self.expect("]", "range")?;
        if !positive(&range) || !step.as_ref().is_none_or(positive) {
            let message = "duration must be greater than 0".into();
            return Err(SyntaxError::at(open + 1, message));
        }
        if subquery {
            let start = e.start;
            let time = TimeShift::default();
            return self.node(
                Kind::Subquery {
                    expr: Box::new(e),
                    range,
                    step,
                    time,
                },
                start,
            );
        }
        let refuse = |what: &str| Err(SyntaxError::at(open, what.to_owned()));
        let Kind::Selector(s) = &mut e.kind else {
            return refuse("ranges only allowed for vector selectors");
        };
        if s.range.is_some() {
            return refuse("ranges only allowed for vector selectors");
        }
        if s.time.offset.is_some() {
            return refuse("no offset modifiers allowed before range");
        }
        if s.time.at.is_some() {
            return refuse("no @ modifiers allowed before range");
        }
        s.range = Some(range);
        e.end = self.last_end();
        Ok(e)
    }

    /// What follows `offset`.
    pub(super) fn offset(&mut self, mut e: Expr) -> Parsed<Expr> {
        let at = self.token().start;
        let d = self.signed_duration()?;
        let slot = match &mut e.kind {
            Kind::Selector(s) => &mut s.time.offset,
            Kind::Subquery { time, .. } => &mut time.offset,
            _ => {
                let message = "offset modifier must be preceded by an instant vector selector or \
                               range vector selector or a subquery";
                return Err(SyntaxError::at(at, message.into()));
            }
        };
        if slot.is_some() {
            let message = "offset may not be set multiple times".into();
            return Err(SyntaxError::at(at, message));
        }
        *slot = Some(d);
        e.end = self.last_end();
        Ok(e)
    }

    /// What follows `@`.
    pub(super) fn at_modifier(&mut self, mut e: Expr) -> Parsed<Expr> {
        let start = self.token().start;
        let at = match self.keyword().as_deref() {
            Some(word @ ("start" | "end")) => {
                self.at += 1;
                self.expect("(", "@ modifier")?;
                self.expect(")", "@ modifier")?;
                if word == "start" { At::Start } else { At::End }
            }
            _ => {
                let negative = self.take_op("-");
                if !negative {
                    self.take_op("+");
                }
                let t = self.next();
                let v = match &t.tok {
                    Tok::Number(v) | Tok::Duration(v) => *v,
                    Tok::Ident(w) => crate::number::parse_float(w).unwrap_or(f64::NAN),
                    _ => {
                        self.at -= 1;
                        return Err(self.unexpected_expecting("@ modifier", "timestamp"));
                    }
                };
                let ms = if negative { -v } else { v } * 1e3;
                if !ms.is_finite() || ms.abs() > 1e16 {
                    let message = format!("timestamp out of bounds for @ modifier: {v}");
                    return Err(SyntaxError::at(start, message));
                }
                At::Time(ms.round() as i64)
            }
        };
        let slot = match &mut e.kind {
            Kind::Selector(s) => &mut s.time.at,
            Kind::Subquery { time, .. } => &mut time.at,
            _ => {
                let message = "@ modifier must be preceded by an instant vector selector or range \
                               vector selector or a subquery";
                return Err(SyntaxError::at(start, message.into()));
            }
        };
        if slot.is_some() {
            let message = "@ <timestamp> may not be set multiple times".into();
            return Err(SyntaxError::at(start, message));
        }
        *slot = Some(at);
        e.end = self.last_end();
        Ok(e)
    }

    /// `anchored` or `smoothed` after a selector.
    pub(super) fn edges(&mut self, mut e: Expr) -> Parsed<Expr> {
        let t = self.next();
        let edges = if self.src[t.start..t.end].eq_ignore_ascii_case("anchored") {
            Edges::Anchored
        } else {
            Edges::Smoothed
        };
        let word = self.src[t.start..t.end].to_ascii_lowercase();
        let Kind::Selector(s) = &mut e.kind else {
            let message = format!("{word} modifier must be preceded by a selector");
            return Err(SyntaxError::at(t.start, message));
        };
        if s.edges != Edges::Plain {
            let message = "anchored and smoothed modifiers cannot be combined".into();
            return Err(SyntaxError::at(t.start, message));
        }
        if s.range.is_none() && edges == Edges::Anchored {
            let message = "anchored modifier can only be used with range vector selectors".into();
            return Err(SyntaxError::at(t.start, message));
        }
        s.edges = edges;
        e.end = self.last_end();
        Ok(e)
    }
}
