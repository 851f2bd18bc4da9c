//! Functions that rewrite labels, and `absent`.

use super::{Evaluator, QueryError, Result, Sample, no_duplicates};
use crate::labels::{Labels, METRIC_NAME, MatchOp, anchored_regex};
use crate::parser::ast::{Expr, Kind};

impl Evaluator<'_> {
    pub(super) fn label_replace(&mut self, args: &[Expr], t: i64) -> Result<Vec<Sample>> {
        let mut v = self.vector(&args[0], t)?;
        let dst = self.text(&args[1], t)?;
        let template = self.text(&args[2], t)?;
        let src = self.text(&args[3], t)?;
        let pattern = self.text(&args[4], t)?;
        let regex = anchored_regex(&pattern).map_err(|_| {
            let message = format!("invalid regular expression in label_replace(): {pattern}");
            QueryError::Execution(message)
        })?;
        // The replacement character stands for bytes that are not UTF-8.
        if dst.is_empty() || dst.contains('\u{fffd}') {
            let message = "invalid destination label name in label_replace(): ";
            return Err(QueryError::Execution(message.into()));
        }
        for s in &mut v {
            let Some(found) = regex.captures(s.labels.get(&src)) else {
                continue;
            };
            let mut value = String::new();
            found.expand(&template, &mut value);
            s.labels = s.labels.with(&dst, &value);
            if dst == METRIC_NAME {
                s.drop_name = false;
            }
        }
        no_duplicates(v.iter().map(|s| &s.labels))?;
        Ok(v)
    }

    pub(super) fn label_join(&mut self, args: &[Expr], t: i64) -> Result<Vec<Sample>> {
        let mut v = self.vector(&args[0], t)?;
        let dst = self.text(&args[1], t)?;
        let separator = self.text(&args[2], t)?;
        let mut sources = Vec::new();
        for a in &args[3..] {
            sources.push(self.text(a, t)?);
        }
        if dst.is_empty() || sources.iter().any(String::is_empty) {
            let what = if dst.is_empty() {
                "destination"
            } else {
                "source"
            };
            let message = format!("invalid {what} label name in label_join(): ");
            return Err(QueryError::Execution(message));
        }
        for s in &mut v {
            let parts: Vec<&str> = sources.iter().map(|n| s.labels.get(n)).collect();
            s.labels = s.labels.with(&dst, &parts.join(&separator));
            if dst == METRIC_NAME {
                s.drop_name = false;
            }
        }
        no_duplicates(v.iter().map(|s| &s.labels))?;
        Ok(v)
    }
}

/// The labels that an absent series would certainly have had.
pub(super) fn absent_labels(e: &Expr) -> Labels {
    let Kind::Selector(s) = &e.kind else {
        return Labels::empty();
    };
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    let mut unclear: Vec<&str> = Vec::new();
    for m in s.matchers.iter().filter(|m| m.name != METRIC_NAME) {
        let repeated = pairs.iter().any(|(n, _)| *n == m.name);
        if m.op == MatchOp::Equal && !repeated {
            pairs.push((&m.name, &m.value));
        } else {
            unclear.push(&m.name);
        }
    }
    Labels::from_pairs(pairs.into_iter().filter(|(n, _)| !unclear.contains(n)))
}
