//! Durations in brackets and after `offset`, which may be computed.

use super::ast::Duration;
use super::lexer::Tok;
use super::{Parsed, Parser, SyntaxError};

impl Parser<'_> {
    /// A full duration expression, as brackets hold it.
    pub(super) fn duration(&mut self, min: u8) -> Parsed<Duration> {
        self.nesting += 1;
        if self.nesting > super::MAX_DEPTH {
            let message = format!("the query nests deeper than {} levels", super::MAX_DEPTH);
            return Err(SyntaxError::at(self.token().start, message));
        }
        // A sign reaches over `^`, which binds tighter.
        let mut lhs = if self.take_op("-") {
            Duration::Neg(Box::new(self.duration(3)?))
        } else {
            self.signed_duration()?
        };
        let mut terms = 0;
        loop {
            let (op, level, right) = match self.peek() {
                Tok::Op("+") => ('+', 1, 2),
                Tok::Op("-") => ('-', 1, 2),
                Tok::Op("*") => ('*', 2, 3),
                Tok::Op("/") => ('/', 2, 3),
                Tok::Op("%") => ('%', 2, 3),
                Tok::Op("^") => ('^', 3, 3),
                _ => break,
            };
            terms += 1;
            if level < min || terms > super::MAX_DEPTH {
                break;
            }
            self.at += 1;
            let rhs = self.duration(right)?;
            lhs = Duration::Op(op, Box::new(lhs), Box::new(rhs));
        }
        self.nesting -= 1;
        Ok(lhs)
    }

    /// A duration with an optional sign and no operators, as `offset` takes it.
    pub(super) fn signed_duration(&mut self) -> Parsed<Duration> {
        if self.take_op("-") {
            let d = self.duration_primary()?;
            return Ok(Duration::Neg(Box::new(d)));
        }
        self.take_op("+");
        self.duration_primary()
    }

    fn duration_primary(&mut self) -> Parsed<Duration> {
        match self.peek().clone() {
            Tok::Number(s) | Tok::Duration(s) => {
                self.at += 1;
                Ok(Duration::Seconds(s))
            }
            Tok::Op("(") => {
                self.at += 1;
                let d = self.duration(0)?;
                self.expect(")", "duration")?;
                Ok(d)
            }
            Tok::Ident(word) => {
                let word = word.to_ascii_lowercase();
                if self.peek_after(1) != &Tok::Op("(") {
                    return Err(self.unexpected_expecting("duration", "number or duration"));
                }
                match word.as_str() {
                    "step" | "range" => {
                        self.at += 2;
                        self.expect(")", "duration")?;
                        Ok(if word == "step" {
                            Duration::Step
                        } else {
                            Duration::Range
                        })
                    }
                    "min_of" | "max_of" => {
                        self.at += 2;
                        let a = self.duration(0)?;
                        self.expect(",", "duration")?;
                        let b = self.duration(0)?;
                        self.expect(")", "duration")?;
                        let op = if word == "min_of" { '<' } else { '>' };
                        Ok(Duration::Op(op, Box::new(a), Box::new(b)))
                    }
                    _ => Err(self.unexpected_expecting("duration", "number or duration")),
                }
            }
            _ => Err(self.unexpected_expecting("duration", "number or duration")),
        }
    }
}
