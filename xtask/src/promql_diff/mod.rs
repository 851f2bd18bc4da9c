//! `cargo xtask promql-diff`: random queries over random series, answered by
//! our engine and by Prometheus' own. A seed gives the same pairs everywhere.

mod queries;
mod referee;
mod series;
mod shrink;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use fastrand::Rng;
use promql::eval::{self, EvalOptions, QueryError, QueryValue, Span};
use promql::labels::Labels;
use promql::number::{SAME_RESULT, almost_equal, format_sample};
use promql::store::Store;

use queries::Query;
use referee::{Answer, Referee};
use series::Data;
use shrink::{Case, shrink};

const USAGE: &str = "usage: cargo xtask promql-diff [--pairs N] [--seed S] [--show K]";
/// Queries over one set of series: loading it costs as much as some of them.
const TOGETHER: usize = 20;

/// Samples of a series in a report.
const MOST_SHOWN: usize = 20;

/// Runs `--pairs` pairs from `--seed` and shows the first `--show` that differ.
pub fn run(args: &[String]) -> Result<()> {
    let (mut pairs, mut seed, mut show) = (1_000_usize, 1_u64, 5_usize);
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let value = words.next().and_then(|v| v.parse::<u64>().ok());
        match (word.as_str(), value) {
            ("--pairs", Some(n)) => pairs = usize::try_from(n)?,
            ("--seed", Some(n)) => seed = n,
            ("--show", Some(n)) => show = usize::try_from(n)?,
            _ => bail!("{USAGE}"),
        }
    }
    let binary = testbed::promql_referee().build(&mut |line| eprintln!("{line}"))?;
    let mut referee = Referee::start(&binary)?;
    let began = Instant::now();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut done = 0;
    let mut differences = 0;
    while done < pairs {
        // Each set has a seed of its own, so that a later one is the same
        // however many queries came before.
        let mut rng = Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(done as u64));
        let (data, start) = series::any(&mut rng);
        let store = store(&data);
        referee.load(&data)?;
        let few = TOGETHER.min(pairs - done);
        let asked: Vec<Query> = (0..few).map(|_| queries::any(&mut rng, start)).collect();
        let theirs = referee.ask(&asked, false)?;
        for (query, theirs) in asked.into_iter().zip(theirs) {
            let verdict = judge(&mut referee, &query, &ours(&store, &query), &theirs)?;
            *counts.entry(verdict.name()).or_default() += 1;
            if let Verdict::Differ(_) = verdict {
                differences += 1;
                if differences <= show {
                    report(
                        &mut referee,
                        Case {
                            data: data.clone(),
                            query,
                        },
                    )?;
                    referee.load(&data)?;
                }
            }
        }
        done += few;
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{done} pairs, seed {seed}, {seconds:.0} s: {}",
        list(&counts)
    );
    if differences > 0 {
        bail!("{differences} of {done} pairs differ");
    }
    Ok(())
}

fn list(counts: &BTreeMap<&str, usize>) -> String {
    let words: Vec<String> = counts
        .iter()
        .map(|(name, n)| format!("{n} {name}"))
        .collect();
    words.join(", ")
}

fn store(data: &Data) -> Store {
    let store = Store::default();
    for (labels, samples) in data {
        for (t, v) in samples {
            // Times ascend by construction; a refusal would show as a difference.
            let _ = store.append(labels, *t, *v);
        }
    }
    store
}

fn ours(store: &Store, q: &Query) -> Answer {
    let options = EvalOptions::default();
    let run = || match q.step {
        0 => eval::instant(store, &q.text, q.start, &options),
        step => eval::range(
            store,
            &q.text,
            Span {
                start: q.start,
                end: q.end,
                step,
            },
            &options,
        ),
    };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(result)) => Ok(result.value),
        Ok(Err(e @ QueryError::Unsupported(_))) => Err(format!("{UNSUPPORTED}{e}")),
        Ok(Err(e)) => Err(e.to_string()),
        Err(_) => Err(PANIC.to_owned()),
    }
}

const UNSUPPORTED: &str = "unsupported: ";
const PANIC: &str = "panic";

enum Verdict {
    Same,
    /// Both give the same empty answer, which proves less.
    SameEmpty,
    /// Theirs refuses because of a time that no step looks at: it evaluates a
    /// subquery also between the windows of the steps.
    SameStepwise,
    /// The same as from a server that removes metric names at once (the
    /// default) and not at the end (what Prometheus' test files assume).
    SameImmediate,
    BothRefuse,
    /// Ours says that it cannot: outside of what is compared.
    Unsupported,
    Differ(String),
}

impl Verdict {
    fn name(&self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::SameEmpty => "same and empty",
            Self::SameStepwise => "same step by step",
            Self::SameImmediate => "same as with immediate name removal",
            Self::BothRefuse => "refused by both",
            Self::Unsupported => "not supported",
            Self::Differ(_) => "different",
        }
    }
}

fn judge(referee: &mut Referee, query: &Query, ours: &Answer, theirs: &Answer) -> Result<Verdict> {
    let verdict = compare(query, ours, theirs);
    let Verdict::Differ(_) = verdict else {
        return Ok(verdict);
    };
    for theirs in referee.ask(std::slice::from_ref(query), true)? {
        if !matches!(compare(query, ours, &theirs), Verdict::Differ(_)) {
            return Ok(Verdict::SameImmediate);
        }
    }
    match (ours, theirs) {
        (Ok(QueryValue::Matrix(m)), Err(_)) if stepwise(referee, query, m)? => {
            Ok(Verdict::SameStepwise)
        }
        _ => Ok(verdict),
    }
}

/// Whether theirs gives the same when it is asked for one step at a time.
fn stepwise(referee: &mut Referee, q: &Query, ours: &[(Labels, Vec<(i64, f64)>)]) -> Result<bool> {
    if q.step == 0 {
        return Ok(false);
    }
    let times = (q.start..=q.end).step_by(usize::try_from(q.step)?);
    let text = &q.text;
    let steps: Vec<Query> = times
        .map(|t| Query {
            text: text.clone(),
            start: t,
            end: t,
            step: 0,
        })
        .collect();
    let theirs = referee.ask(&steps, false)?;
    Ok(steps.iter().zip(theirs).all(|(step, theirs)| {
        let here = ours.iter().filter_map(|(labels, points)| {
            let point = points.iter().find(|p| p.0 == step.start)?;
            Some((labels.clone(), point.1))
        });
        let here = Ok(QueryValue::Vector(here.collect()));
        !matches!(compare(step, &here, &theirs), Verdict::Differ(_))
    }))
}

fn compare(query: &Query, ours: &Answer, theirs: &Answer) -> Verdict {
    match (ours, theirs) {
        (Err(e), _) if e == PANIC => Verdict::Differ("ours panics".to_owned()),
        (Err(_), Err(_)) => Verdict::BothRefuse,
        (Err(e), _) if e.starts_with(UNSUPPORTED) => Verdict::Unsupported,
        (Err(e), Ok(_)) => Verdict::Differ(format!("only ours refuses: {e}")),
        (Ok(_), Err(e)) => Verdict::Differ(format!("only theirs refuses: {e}")),
        (Ok(a), Ok(b)) => match unlike(query, a, b) {
            Some(how) => Verdict::Differ(how),
            None if is_empty(a) => Verdict::SameEmpty,
            None => Verdict::Same,
        },
    }
}

fn is_empty(v: &QueryValue) -> bool {
    match v {
        QueryValue::Vector(v) => v.is_empty(),
        QueryValue::Matrix(m) => m.is_empty(),
        QueryValue::Scalar(_) | QueryValue::Text(_) => false,
    }
}

/// How two values differ.
fn unlike(query: &Query, a: &QueryValue, b: &QueryValue) -> Option<String> {
    // Only values: equal ones may stand in any order, and `sort_by_label` has
    // none where a label is missing.
    let order = query.step == 0
        && ["sort(", "sort_desc("]
            .iter()
            .any(|f| query.text.starts_with(f));
    match (a, b) {
        (QueryValue::Scalar(x), QueryValue::Scalar(y)) => {
            let same = almost_equal(*x, *y, SAME_RESULT);
            (!same).then(|| format!("ours {}, theirs {}", format_sample(*x), format_sample(*y)))
        }
        (QueryValue::Text(x), QueryValue::Text(y)) => {
            (x != y).then(|| format!("ours {x:?}, theirs {y:?}"))
        }
        (QueryValue::Vector(x), QueryValue::Vector(y)) => {
            let differ =
                |(a, b): (&(Labels, f64), &(Labels, f64))| !almost_equal(a.1, b.1, SAME_RESULT);
            if order && x.iter().zip(y).any(differ) {
                return Some(format!("ours in order {x:?}, theirs {y:?}"));
            }
            let points = |v: &[(Labels, f64)]| {
                v.iter()
                    .map(|(l, v)| (l.clone(), vec![(query.start, *v)]))
                    .collect()
            };
            unlike_series(points(x), points(y))
        }
        (QueryValue::Matrix(x), QueryValue::Matrix(y)) => {
            unlike_series(x.iter().cloned().collect(), y.iter().cloned().collect())
        }
        _ => Some("values of different types".to_owned()),
    }
}

type Points = BTreeMap<Labels, Vec<(i64, f64)>>;

fn unlike_series(a: Points, b: Points) -> Option<String> {
    for (labels, x) in &a {
        let Some(y) = b.get(labels) else {
            return Some(format!("only ours has {labels}"));
        };
        let times = |p: &[(i64, f64)]| p.iter().map(|p| p.0).collect::<Vec<_>>();
        if times(x) != times(y) {
            return Some(format!(
                "{labels}: ours at {:?}, theirs at {:?}",
                times(x),
                times(y)
            ));
        }
        for (p, q) in x.iter().zip(y) {
            if !almost_equal(p.1, q.1, SAME_RESULT) {
                let (ours, theirs) = (format_sample(p.1), format_sample(q.1));
                return Some(format!("{labels} at {}: ours {ours}, theirs {theirs}", p.0));
            }
        }
    }
    let theirs = b.keys().find(|labels| !a.contains_key(*labels))?;
    Some(format!("only theirs has {theirs}"))
}

/// Prints a case as small as it gets.
fn report(referee: &mut Referee, case: Case) -> Result<()> {
    let mut ask = |case: &Case| -> Result<Verdict> {
        referee.load(&case.data)?;
        let theirs = referee.ask(std::slice::from_ref(&case.query), false)?;
        let theirs = theirs.first().context("an answer")?;
        let ours = ours(&store(&case.data), &case.query);
        judge(referee, &case.query, &ours, theirs)
    };
    println!("--- different: {}", case.query.text);
    let differs = &mut |case: &Case| matches!(ask(case), Ok(Verdict::Differ(_)));
    let small = shrink(case, differs);
    let q = &small.query;
    println!("    {}", q.text);
    println!(
        "    start {} end {} step {} (milliseconds)",
        q.start, q.end, q.step
    );
    for (labels, samples) in &small.data {
        let shown = samples.iter().take(MOST_SHOWN);
        let points: Vec<String> = shown.map(|(t, v)| format!("{t}:{v:?}")).collect();
        let more = samples.len().saturating_sub(MOST_SHOWN);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        println!("    {labels} {}{more}", points.join(" "));
    }
    if let Verdict::Differ(how) = ask(&small)? {
        println!("    {how}");
    }
    Ok(())
}
