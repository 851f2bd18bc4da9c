//! `info`: labels of info metrics added to the series that share `instance` and `job`.

use super::select::newest;
use super::{Evaluator, QueryError, Result, Sample};
use crate::labels::{Labels, METRIC_NAME, MatchOp, Matcher};
use crate::number::is_histogram;
use crate::parser::ast::{Expr, Kind};
use std::collections::HashMap;
use std::rc::Rc;

const IDENTIFYING: [&str; 2] = ["instance", "job"];

fn identity(l: &Labels) -> Labels {
    l.filter(|n| IDENTIFYING.contains(&n))
}

/// The matchers on the info metric's name, and those on its labels.
fn matchers(args: &[Expr]) -> Result<(Vec<Matcher>, Vec<Matcher>)> {
    let mut names = Vec::new();
    let mut data = Vec::new();
    if let Some(Kind::Selector(s)) = args.get(1).map(|a| &a.kind) {
        for m in &s.matchers {
            if m.name == METRIC_NAME {
                names.push(m.clone())
            } else {
                data.push(m.clone())
            }
        }
    }
    // Without a name, and with exclusions only, there is a usual set to start from.
    let positive = |m: &Matcher| matches!(m.op, MatchOp::Equal | MatchOp::Regex);
    if names.is_empty() {
        let usual = Matcher::new(METRIC_NAME, MatchOp::Equal, "target_info");
        names.push(usual.map_err(QueryError::Execution)?);
    } else if !names.iter().any(positive) {
        let usual = Matcher::new(METRIC_NAME, MatchOp::Regex, ".+_info");
        names.push(usual.map_err(QueryError::Execution)?);
    }
    Ok((names, data))
}

impl Evaluator<'_> {
    /// The time at which the series inside `e` are looked at when `e` is evaluated at `t`.
    fn reference_time(&self, e: &Expr, t: i64) -> Result<Option<i64>> {
        match &e.kind {
            Kind::Selector(s) => self.shifted(&s.time, t, e).map(Some),
            Kind::Subquery { expr, time, .. } => {
                self.reference_time(expr, self.shifted(time, t, e)?)
            }
            Kind::Paren(x) | Kind::Unary { expr: x, .. } | Kind::Aggregate { expr: x, .. } => {
                self.reference_time(x, t)
            }
            Kind::Binary { lhs, rhs, .. } => match self.reference_time(lhs, t)? {
                Some(t) => Ok(Some(t)),
                None => self.reference_time(rhs, t),
            },
            Kind::Call { args, .. } => {
                for a in args {
                    if let Some(t) = self.reference_time(a, t)? {
                        return Ok(Some(t));
                    }
                }
                Ok(None)
            }
            Kind::Number(_) | Kind::Text(_) => Ok(None),
        }
    }

    pub(super) fn prepare_info(&mut self, e: &Expr, args: &[Expr], lo: i64, hi: i64) -> Result<()> {
        let (names, data) = matchers(args)?;
        let back = self.options.lookback_ms;
        let lo = self
            .reference_time(&args[0], lo)?
            .unwrap_or(lo)
            .saturating_sub(back);
        let hi = self.reference_time(&args[0], hi)?.unwrap_or(hi);
        let all: Vec<Matcher> = names.into_iter().chain(data).collect();
        let series = self.source.select(&all, lo.saturating_add(1), hi, false);
        self.work += series
            .iter()
            .map(|s| s.points.len() as u64 + 1)
            .sum::<u64>();
        self.read.insert(e.id, Rc::new(series));
        Ok(())
    }

    pub(super) fn info(&mut self, e: &Expr, args: &[Expr], t: i64) -> Result<Vec<Sample>> {
        let (names, data) = matchers(args)?;
        let base = self.vector(&args[0], t)?;
        let at = self.reference_time(&args[0], t)?.unwrap_or(t);
        // The newest sample of each info metric for each identity.
        let series = self.series_of(e);
        let mut found: HashMap<Labels, Vec<(i64, &Labels)>> = HashMap::new();
        for x in series.iter() {
            let Some(i) = newest(x, at, self.options.lookback_ms) else {
                continue;
            };
            let (pt, v) = x.points[i];
            if is_histogram(v) {
                let message = "this should be an info metric, with float samples: ";
                return Err(QueryError::Execution(format!("{message}{}", x.labels)));
            }
            let list = found.entry(identity(&x.labels)).or_default();
            match list.iter_mut().find(|(_, l)| l.name() == x.labels.name()) {
                Some(have) if have.0 <= pt => *have = (pt, &x.labels),
                Some(_) => {}
                None => list.push((pt, &x.labels)),
            }
        }
        self.hold(base.len())?;
        let is_info = |l: &Labels| names.iter().all(|m| m.matches(l.name()));
        let wanted = |n: &str| data.is_empty() || data.iter().any(|m| m.name == n);
        let mut out = Vec::with_capacity(base.len());
        for mut s in base {
            let id = identity(&s.labels);
            if is_info(&s.labels) {
                out.push(s);
                continue;
            }
            let infos = if id.is_empty() { None } else { found.get(&id) };
            let Some(infos) = infos else {
                if data.iter().all(|m| m.matches("")) {
                    out.push(s);
                }
                continue;
            };
            let own = s.labels.clone();
            for (_, info) in infos {
                for (n, v) in info.iter() {
                    let skip = n == METRIC_NAME || IDENTIFYING.contains(&n) || !wanted(n);
                    if skip || !own.get(n).is_empty() {
                        continue;
                    }
                    let have = s.labels.get(n);
                    if !have.is_empty() && have != v {
                        return Err(QueryError::Execution(format!("conflicting label: {n}")));
                    }
                    s.labels = s.labels.with(n, v);
                }
            }
            out.push(s);
        }
        Ok(out)
    }
}
