//! Warnings and infos that accompany a result.

use super::{Evaluator, QueryResult, QueryValue};
use crate::parser::ast::Expr;
use crate::parser::position;
use std::collections::BTreeSet;

#[derive(Default)]
pub(crate) struct Notes {
    warnings: BTreeSet<String>,
    infos: BTreeSet<String>,
}

const MOST: usize = 1_000;

impl Notes {
    pub(super) fn finish(self, value: QueryValue) -> QueryResult {
        QueryResult {
            value,
            warnings: self.warnings.into_iter().collect(),
            infos: self.infos.into_iter().collect(),
        }
    }
}

impl Evaluator<'_> {
    /// Adds a warning about the expression `at`.
    pub(crate) fn warn(&mut self, at: &Expr, text: impl AsRef<str>) {
        if self.notes.warnings.len() < MOST {
            let place = position(self.query, at.start);
            self.notes
                .warnings
                .insert(format!("PromQL warning: {} ({place})", text.as_ref()));
        }
    }

    /// Adds an info about the expression `at`.
    pub(crate) fn info_note(&mut self, at: &Expr, text: impl AsRef<str>) {
        if self.notes.infos.len() < MOST {
            let place = position(self.query, at.start);
            self.notes
                .infos
                .insert(format!("PromQL info: {} ({place})", text.as_ref()));
        }
    }
}
