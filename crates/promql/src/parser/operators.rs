//! Binary operators and their vector-matching modifiers.

use super::ast::{BinOp, Cardinality, Matching};
use super::lexer::Tok;
use super::{Parsed, Parser, SyntaxError};
use crate::number::parse_float;

/// Binding strength of `^`, which unary signs do not reach into.
pub(super) const POW: u8 = 6;

impl Parser<'_> {
    /// The binary operator at the cursor and its binding strength.
    pub(super) fn binary_operator(&self) -> Parsed<Option<(BinOp, u8)>> {
        Ok(Some(match self.peek() {
            Tok::Op(op) => match *op {
                "+" => (BinOp::Add, 4),
                "-" => (BinOp::Sub, 4),
                "*" => (BinOp::Mul, 5),
                "/" => (BinOp::Div, 5),
                "%" => (BinOp::Mod, 5),
                "^" => (BinOp::Pow, POW),
                "==" => (BinOp::Eq, 3),
                "!=" => (BinOp::Ne, 3),
                "<" => (BinOp::Lt, 3),
                "<=" => (BinOp::Le, 3),
                ">" => (BinOp::Gt, 3),
                ">=" => (BinOp::Ge, 3),
                "</" | ">/" => {
                    return Err(SyntaxError::at(
                        self.token().start,
                        format!(
                            "operator {op:?} works on native histograms, which are not supported"
                        ),
                    ));
                }
                _ => return Ok(None),
            },
            Tok::Ident(word) => match word.to_ascii_lowercase().as_str() {
                "atan2" => (BinOp::Atan2, 5),
                "and" => (BinOp::And, 2),
                "unless" => (BinOp::Unless, 2),
                "or" => (BinOp::Or, 1),
                _ => return Ok(None),
            },
            _ => return Ok(None),
        }))
    }

    /// Whether the word at the cursor is a metric name rather than a modifier, judged by what
    /// follows it.
    pub(super) fn word_is_operand(&self) -> bool {
        match self.peek_after(1) {
            Tok::End => true,
            Tok::Op(op) => matches!(*op, "{" | "[" | ")" | "," | "]" | "@"),
            _ => false,
        }
    }

    /// `on(…)`, `ignoring(…)`, `group_left(…)`, `fill(…)` after an operator.
    pub(super) fn matching(&mut self) -> Parsed<Matching> {
        let mut m = Matching::default();
        let call = |p: &Self| p.peek_after(1) == &Tok::Op("(");
        if (self.is_keyword("on") || self.is_keyword("ignoring")) && call(self) {
            m.on = self.is_keyword("on");
            m.explicit = true;
            self.at += 1;
            m.labels = self.label_list("grouping opts")?;
            for (word, card) in [
                ("group_left", Cardinality::ManyToOne),
                ("group_right", Cardinality::OneToMany),
            ] {
                if self.take_keyword(word) {
                    m.card = card;
                    // A parenthesis may also begin the right operand.
                    if self.is_op("(") && self.parenthesis_is_label_list() {
                        m.include = self.label_list("grouping opts")?;
                    }
                }
            }
        }
        while let Some(word) = self.keyword() {
            if !matches!(word.as_str(), "fill" | "fill_left" | "fill_right") || !call(self) {
                break;
            }
            let start = self.token().start;
            self.at += 2;
            let negative = self.take_op("-");
            if !negative {
                self.take_op("+");
            }
            let t = self.next();
            let v = match &t.tok {
                Tok::Number(v) | Tok::Duration(v) => Some(*v),
                Tok::Ident(w) => parse_float(w),
                _ => None,
            };
            let Some(v) = v else {
                self.at -= 1;
                return Err(self.unexpected_expecting("fill modifier", "number"));
            };
            let v = if negative { -v } else { v };
            self.expect(")", "fill modifier")?;
            let (left, right) = (word != "fill_right", word != "fill_left");
            if (left && m.fill_left.is_some()) || (right && m.fill_right.is_some()) {
                let message = format!("duplicate fill modifier {word:?}");
                return Err(SyntaxError::at(start, message));
            }
            if left {
                m.fill_left = Some(v);
            }
            if right {
                m.fill_right = Some(v);
            }
        }
        Ok(m)
    }

    fn parenthesis_is_label_list(&self) -> bool {
        let mut i = 1;
        loop {
            match self.peek_after(i) {
                Tok::Op(")") => break,
                Tok::Ident(_) | Tok::Text(_) => i += 1,
                _ => return false,
            }
            match self.peek_after(i) {
                Tok::Op(",") => i += 1,
                Tok::Op(")") => break,
                _ => return false,
            }
        }
        // `group_left (a) b`: something must follow as the operand.
        match self.peek_after(i + 1) {
            Tok::End => false,
            Tok::Op(op) => matches!(*op, "(" | "{" | "-" | "+"),
            Tok::Ident(w) => !matches!(w.to_ascii_lowercase().as_str(), "and" | "or" | "unless"),
            _ => true,
        }
    }
}
