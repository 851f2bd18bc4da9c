//! `info`: labels of info metrics added to other series.

use super::{Evaluator, QueryError, Result, Sample};
use crate::parser::ast::Expr;

impl Evaluator<'_> {
    pub(super) fn prepare_info(
        &mut self,
        _e: &Expr,
        _a: &[Expr],
        _lo: i64,
        _hi: i64,
    ) -> Result<()> {
        Ok(())
    }

    pub(super) fn info(&mut self, _e: &Expr, _args: &[Expr], _t: i64) -> Result<Vec<Sample>> {
        Err(QueryError::Unsupported("info()".into()))
    }
}
