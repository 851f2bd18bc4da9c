//! Query text to a checked syntax tree.
//!
//! A precedence-climbing parser of our own: it knows source positions, which error messages
//! and annotations need, and it bounds size, nesting and operator count before any tree grows.

pub mod ast;
mod check;
mod durations;
pub mod functions;
mod lexer;
mod operators;
mod selectors;

use ast::{AggOp, Expr, Kind, Matching};
use lexer::{Tok, Token};

pub use lexer::parse_duration;

/// Longest accepted query text in bytes.
pub const MAX_QUERY_BYTES: usize = 64 * 1024;
/// Deepest accepted nesting of expressions.
pub const MAX_DEPTH: usize = 200;
/// Most accepted expressions in a query.
const MAX_NODES: usize = 10_000;

/// A query that does not parse or has a type error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Byte offset.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
}

impl SyntaxError {
    pub(crate) fn at(offset: usize, message: String) -> Self {
        Self { offset, message }
    }

    /// The message with line and column, as Prometheus words it.
    pub fn render(&self, src: &str) -> String {
        format!(
            "{}: parse error: {}",
            position(src, self.offset),
            self.message
        )
    }
}

/// `line:column` of a byte offset, both from 1.
pub fn position(src: &str, offset: usize) -> String {
    let before = &src.as_bytes()[..offset.min(src.len())];
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
    format!("{line}:{column}")
}

/// Parses and checks a query.
pub fn parse(src: &str) -> Result<Expr, SyntaxError> {
    if src.len() > MAX_QUERY_BYTES {
        let message = format!("the query is longer than {MAX_QUERY_BYTES} bytes");
        return Err(SyntaxError::at(0, message));
    }
    let mut p = Parser::new(src)?;
    if p.peek() == &Tok::End {
        return Err(SyntaxError::at(0, "no expression found in input".into()));
    }
    let e = p.expr(0)?;
    match p.peek() {
        Tok::End => Ok(e),
        _ => Err(p.unexpected("")),
    }
}

/// Parses a selector on its own, as `match[]` parameters hold it.
pub fn parse_selector(src: &str) -> Result<Vec<crate::labels::Matcher>, SyntaxError> {
    match parse(src)?.kind {
        Kind::Selector(s)
            if s.range.is_none() && s.time.offset.is_none() && s.time.at.is_none() =>
        {
            Ok(s.matchers)
        }
        _ => Err(SyntaxError::at(0, "not a plain series selector".into())),
    }
}

struct Parser<'a> {
    src: &'a str,
    tokens: Vec<Token>,
    at: usize,
    nodes: usize,
    nesting: usize,
    /// Inside the second argument of `info`, whose selector may match everything.
    any_selector: bool,
}

type Parsed<T> = Result<T, SyntaxError>;

impl<'a> Parser<'a> {
    fn new(src: &'a str) -> Parsed<Self> {
        Ok(Self {
            src,
            tokens: lexer::lex(src)?,
            at: 0,
            nodes: 0,
            nesting: 0,
            any_selector: false,
        })
    }

    fn token(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn peek(&self) -> &Tok {
        &self.token().tok
    }

    fn peek_after(&self, n: usize) -> &Tok {
        &self.tokens[(self.at + n).min(self.tokens.len() - 1)].tok
    }

    fn next(&mut self) -> Token {
        let t = self.token().clone();
        self.at += 1;
        t
    }

    fn last_end(&self) -> usize {
        self.at
            .checked_sub(1)
            .and_then(|i| self.tokens.get(i))
            .map_or(0, |t| t.end)
    }

    fn is_op(&self, op: &str) -> bool {
        matches!(self.peek(), Tok::Op(o) if *o == op)
    }

    fn take_op(&mut self, op: &str) -> bool {
        let hit = self.is_op(op);
        if hit {
            self.at += 1;
        }
        hit
    }

    fn expect(&mut self, op: &str, context: &str) -> Parsed<()> {
        if self.take_op(op) {
            Ok(())
        } else {
            Err(self.unexpected_expecting(context, op))
        }
    }

    fn keyword(&self) -> Option<String> {
        match self.peek() {
            Tok::Ident(s) => Some(s.to_ascii_lowercase()),
            _ => None,
        }
    }

    fn is_keyword(&self, word: &str) -> bool {
        matches!(self.peek(), Tok::Ident(s) if s.eq_ignore_ascii_case(word))
    }

    fn take_keyword(&mut self, word: &str) -> bool {
        let hit = self.is_keyword(word);
        if hit {
            self.at += 1;
        }
        hit
    }

    fn describe(&self) -> String {
        match self.peek() {
            Tok::End => "end of input".into(),
            Tok::Ident(s) => format!("identifier {s:?}"),
            Tok::Number(_) => format!("number {:?}", self.text()),
            Tok::Duration(_) => format!("duration {:?}", self.text()),
            Tok::Text(_) => format!("string {}", self.text()),
            Tok::Op(o) => format!("{o:?}"),
        }
    }

    fn text(&self) -> &str {
        &self.src[self.token().start..self.token().end]
    }

    fn unexpected(&self, context: &str) -> SyntaxError {
        let context = if context.is_empty() {
            String::new()
        } else {
            format!(" in {context}")
        };
        SyntaxError::at(
            self.token().start,
            format!("unexpected {}{context}", self.describe()),
        )
    }

    fn unexpected_expecting(&self, context: &str, what: &str) -> SyntaxError {
        let mut e = self.unexpected(context);
        e.message += &format!(", expected {what:?}");
        e
    }

    /// Makes a node, checking the limits.
    fn node(&mut self, kind: Kind, start: usize) -> Parsed<Expr> {
        let depth = 1 + match &kind {
            Kind::Number(_) | Kind::Text(_) | Kind::Selector(_) => 0,
            Kind::Subquery { expr, .. } | Kind::Paren(expr) | Kind::Unary { expr, .. } => {
                expr.depth
            }
            Kind::Binary { lhs, rhs, .. } => lhs.depth.max(rhs.depth),
            Kind::Call { args, .. } => args.iter().map(|a| a.depth).max().unwrap_or(0),
            Kind::Aggregate { expr, param, .. } => {
                expr.depth.max(param.as_ref().map_or(0, |p| p.depth))
            }
        };
        if depth > MAX_DEPTH || self.nodes >= MAX_NODES {
            return Err(SyntaxError::at(
                start,
                format!(
                    "the query nests deeper than {MAX_DEPTH} levels or has more than {MAX_NODES} parts"
                ),
            ));
        }
        self.nodes += 1;
        let e = Expr {
            kind,
            start,
            end: self.last_end(),
            id: self.nodes - 1,
            depth,
        };
        check::check(&e, self.any_selector)?;
        Ok(e)
    }

    /// An expression of operators that bind at least as tightly as `min`.
    fn expr(&mut self, min: u8) -> Parsed<Expr> {
        self.nesting += 1;
        if self.nesting > MAX_DEPTH {
            let message = format!("the query nests deeper than {MAX_DEPTH} levels");
            return Err(SyntaxError::at(self.token().start, message));
        }
        let mut lhs = self.unary()?;
        while let Some((op, level)) = self.binary_operator()? {
            if level < min {
                break;
            }
            self.at += 1;
            let start = lhs.start;
            let (return_bool, matching) = self.modifiers(op)?;
            // Only `^` groups to the right.
            let right = if level == operators::POW {
                level
            } else {
                level + 1
            };
            let rhs = self.expr(right)?;
            let kind = Kind::Binary {
                op,
                return_bool,
                matching: check::complete(op, matching),
                lhs: Box::new(lhs),
                rhs: Box::new(rhs),
            };
            lhs = self.node(kind, start)?;
        }
        self.nesting -= 1;
        Ok(lhs)
    }

    fn unary(&mut self) -> Parsed<Expr> {
        let start = self.token().start;
        let negative = match self.peek() {
            Tok::Op("-") => true,
            Tok::Op("+") => false,
            _ => return self.postfix(),
        };
        self.at += 1;
        let expr = self.expr(operators::POW)?;
        if let Kind::Number(n) = expr.kind {
            return self.node(Kind::Number(if negative { -n } else { n }), start);
        }
        self.node(
            Kind::Unary {
                negative,
                expr: Box::new(expr),
            },
            start,
        )
    }

    fn postfix(&mut self) -> Parsed<Expr> {
        let mut e = self.primary()?;
        loop {
            if self.is_op("[") {
                e = self.brackets(e)?;
            } else if self.is_keyword("offset") {
                self.at += 1;
                e = self.offset(e)?;
            } else if self.is_op("@") {
                self.at += 1;
                e = self.at_modifier(e)?;
            } else if self.is_keyword("anchored") || self.is_keyword("smoothed") {
                e = self.edges(e)?;
            } else {
                return Ok(e);
            }
        }
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let start = self.token().start;
        match self.peek().clone() {
            Tok::Number(n) | Tok::Duration(n) => {
                self.at += 1;
                self.node(Kind::Number(n), start)
            }
            Tok::Text(t) => {
                self.at += 1;
                self.node(Kind::Text(t), start)
            }
            Tok::Op("(") => {
                self.at += 1;
                let e = self.expr(0)?;
                self.expect(")", "parenthesized expression")?;
                self.node(Kind::Paren(Box::new(e)), start)
            }
            Tok::Op("{") => self.selector(None),
            Tok::Ident(name) => self.named(&name),
            Tok::End => Err(self.unexpected("")),
            _ => Err(self.unexpected("")),
        }
    }

    fn named(&mut self, name: &str) -> Parsed<Expr> {
        let start = self.token().start;
        let lower = name.to_ascii_lowercase();
        let next_word = match self.peek_after(1) {
            Tok::Ident(w) => w.to_ascii_lowercase(),
            _ => String::new(),
        };
        let call = self.peek_after(1) == &Tok::Op("(");
        if let Some(op) = AggOp::by_name(name)
            && (call || next_word == "by" || next_word == "without")
        {
            return self.aggregate(op);
        }
        if call {
            return self.call(name);
        }
        if self.peek_after(1) != &Tok::Op("{") && (lower == "inf" || lower == "nan") {
            self.at += 1;
            let v = if lower == "inf" {
                f64::INFINITY
            } else {
                f64::NAN
            };
            return self.node(Kind::Number(v), start);
        }
        self.at += 1;
        self.selector(Some((name.to_owned(), start)))
    }

    fn call(&mut self, name: &str) -> Parsed<Expr> {
        let start = self.token().start;
        // `step()` and its kin are the only names that may be written in any case.
        let lower = name.to_ascii_lowercase();
        let known = functions::by_name(name).or_else(|| {
            ["step", "range", "start", "end", "min_of", "max_of"]
                .contains(&lower.as_str())
                .then(|| functions::by_name(&lower))?
        });
        let Some(func) = known else {
            return Err(SyntaxError::at(
                start,
                format!("unknown function with name {name:?}"),
            ));
        };
        self.at += 2;
        let mut args = Vec::new();
        if !self.take_op(")") {
            loop {
                self.any_selector = func.name == "info" && args.len() == 1;
                let arg = self.expr(0);
                self.any_selector = false;
                args.push(arg?);
                if self.take_op(")") {
                    break;
                }
                if !self.take_op(",") {
                    return Err(self.unexpected_expecting("call", ")"));
                }
                if self.is_op(")") {
                    return Err(SyntaxError::at(
                        self.token().start,
                        "trailing commas not allowed in function call args".into(),
                    ));
                }
            }
        }
        self.node(Kind::Call { func, args }, start)
    }

    fn aggregate(&mut self, op: AggOp) -> Parsed<Expr> {
        let start = self.token().start;
        self.at += 1;
        let mut grouping = None;
        if !self.is_op("(") {
            grouping = self.grouping()?;
        }
        self.expect("(", "aggregation")?;
        let mut args = Vec::new();
        if !self.is_op(")") {
            loop {
                args.push(self.expr(0)?);
                if !self.take_op(",") {
                    break;
                }
            }
        }
        self.expect(")", "aggregation")?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        let (without, grouping) = grouping.unwrap_or((false, Vec::new()));
        let want = 1 + usize::from(op.has_param());
        if args.len() != want {
            return Err(SyntaxError::at(
                start,
                format!(
                    "wrong number of arguments for aggregate expression provided, expected {want}, got {}",
                    args.len()
                ),
            ));
        }
        let expr = Box::new(args.pop().ok_or_else(|| self.unexpected("aggregation"))?);
        let param = args.pop().map(Box::new);
        self.node(
            Kind::Aggregate {
                op,
                grouping,
                without,
                param,
                expr,
            },
            start,
        )
    }

    fn grouping(&mut self) -> Parsed<Option<(bool, Vec<String>)>> {
        let without = self.is_keyword("without");
        if !without && !self.is_keyword("by") {
            return Ok(None);
        }
        self.at += 1;
        Ok(Some((without, self.label_list("grouping opts")?)))
    }

    /// `(a, b, "c.d")`
    fn label_list(&mut self, context: &str) -> Parsed<Vec<String>> {
        self.expect("(", context)?;
        let mut out = Vec::new();
        while !self.take_op(")") {
            let t = self.next();
            match t.tok {
                Tok::Ident(n) if crate::labels::is_label_name(&n) => out.push(n),
                Tok::Text(n) if !n.is_empty() => out.push(n),
                _ => {
                    self.at -= 1;
                    return Err(self.unexpected_expecting(context, "label"));
                }
            }
            if !self.take_op(",") && !self.is_op(")") {
                return Err(self.unexpected_expecting(context, ")"));
            }
        }
        Ok(out)
    }

    fn modifiers(&mut self, op: ast::BinOp) -> Parsed<(bool, Matching)> {
        let return_bool = self.is_keyword("bool") && !self.word_is_operand();
        if return_bool {
            if !op.is_comparison() {
                return Err(SyntaxError::at(
                    self.token().start,
                    "bool modifier can only be used on comparison operators".into(),
                ));
            }
            self.at += 1;
        }
        Ok((return_bool, self.matching()?))
    }
}

#[cfg(test)]
mod tests;
