//! An account as a person reads it: three lines where nothing is out of the
//! ordinary, a line more for each thing that is, and everything with
//! `verbose`.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{Account, Explanation, Record, WaitingPods};
use crate::hpa::{self, Amount, Direction, Omitted, Proposal, Rule, Step};
use crate::nodes::PodOutcome;
use crate::scale;

/// Puts an account into words; each line ends with a newline.
pub fn render(account: &Account, verbose: bool) -> String {
    let mut out = Lines(String::new());
    let at = account.at;
    let hpa = account.hpa.as_ref().and_then(|r| match &r.explanation {
        Explanation::Hpa(e) => Some((r, e)),
        _ => None,
    });
    let poll = account
        .scaled_object
        .as_ref()
        .and_then(|r| match &r.explanation {
            Explanation::ScaledObject(e) => Some((r, e)),
            _ => None,
        });
    let waiting = account.nodes.as_ref().and_then(|r| match &r.explanation {
        Explanation::Nodes(w) => Some((r, w)),
        _ => None,
    });
    let target = format!(
        "{}/{} in {}",
        account.target.kind.to_lowercase(),
        account.target.name,
        account.namespace
    );
    // A step of the loop after the autoscaler's last word counts more.
    let stepped = poll.filter(|(r, e)| {
        let acts = e.to.is_some() || e.rule == scale::Rule::Paused;
        acts && hpa.is_none_or(|(h, _)| h.time <= r.time)
    });
    match (hpa, poll) {
        _ if stepped.is_some() => {
            if let Some((record, e)) = stepped {
                out.line(&format!("{target} {}{}", poll_move(e), ago(record, at)));
                poll_lines(&mut out, e);
            }
        }
        (Some((record, e)), _) => {
            out.line(&format!("{target} {}{}", hpa_move(e), ago(record, at)));
            hpa_lines(&mut out, e, poll.map(|(_, p)| p), record.time);
        }
        (None, Some((record, e))) => {
            out.line(&format!("{target} {}{}", poll_move(e), ago(record, at)));
            poll_lines(&mut out, e);
        }
        (None, None) => out.line(&format!("{target} has no scaler that has decided anything")),
    }
    if let Some((_, waiting)) = waiting {
        waiting_lines(&mut out, waiting, verbose);
    }
    if verbose {
        if let Some((record, e)) = hpa {
            hpa_verbose(&mut out, record, e);
        }
        if let Some((record, e)) = poll {
            poll_verbose(&mut out, record, e);
        }
    }
    out.0
}

struct Lines(String);

impl Lines {
    fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn under(&mut self, text: &str) {
        self.line(&format!("  {text}"));
    }

    fn deeper(&mut self, text: &str) {
        self.line(&format!("    {text}"));
    }
}

/// ` (2020-01-06 08:12:30, 12 s before)`.
fn ago(record: &Record, at: Timestamp) -> String {
    let before = match at.duration_since(record.time) {
        since if since.as_secs() > 0 => format!(", {} before", span(since.as_secs())),
        _ => String::new(),
    };
    format!(" ({}{before})", clock(record.time))
}

fn clock(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// `45 s`, `2 min 30 s`, `3 h`.
fn span(seconds: i64) -> String {
    match (seconds / 3600, seconds % 3600 / 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, 0) => format!("{m} min"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, 0, _) => format!("{h} h"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

/// A decimal number rather than thousandths.
fn plain(amount: Amount) -> String {
    match amount {
        Amount::Milli(milli) if milli % 1000 == 0 => (milli / 1000).to_string(),
        Amount::Milli(milli) => format!("{}", milli as f64 / 1000.0),
        Amount::Percent(percent) => format!("{percent} %"),
    }
}

fn count(replicas: i32) -> String {
    match replicas {
        1 => "1 replica".to_owned(),
        n => format!("{n} replicas"),
    }
}

fn hpa_move(e: &hpa::Explanation) -> String {
    match (e.desired, &e.error) {
        (desired, _) if desired != e.current => {
            format!("goes from {} to {}", e.current, count(desired))
        }
        (_, Some(_)) if e.winner.is_none() => {
            format!("stays at {}: nothing could be decided", count(e.current))
        }
        _ => format!("stays at {}", count(e.current)),
    }
}

/// The two lines after the first, and one for each thing out of the ordinary.
fn hpa_lines(
    out: &mut Lines,
    e: &hpa::Explanation,
    poll: Option<&scale::Explanation>,
    now: Timestamp,
) {
    if let Some(winner) = e.winner.and_then(|at| e.proposals.get(at)) {
        out.under(&proposal(winner));
    }
    let steps: Vec<&Step> = e.steps.iter().collect();
    match steps.as_slice() {
        [] if e.error.is_none() => {
            let bounds = format!("no rule changed that (bounds {} to {})", e.min, e.max);
            out.under(&with_otherwise(&bounds, e));
        }
        [] => {}
        [earlier @ .., last] => {
            for step in earlier {
                out.under(&rule(step, now));
            }
            out.under(&with_otherwise(&rule(last, now), e));
        }
    }
    for failed in &e.proposals {
        if let Some(error) = &failed.error {
            out.under(&format!("{} could not be read: {error}", failed.metric));
        }
    }
    if e.proposals.iter().all(|p| p.error.is_none())
        && let Some(error) = &e.error
    {
        out.under(error);
    }
    if let Some(poll) = poll {
        let ordinary = matches!(
            poll.rule,
            scale::Rule::Active | scale::Rule::Idle | scale::Rule::Activate
        );
        if !ordinary || poll.forced {
            poll_lines(out, poll);
        } else if matches!(poll.rule, scale::Rule::Idle) && e.current == 0 {
            out.under("no trigger is active; the first one that is wakes it");
        }
        for metric in poll.metrics.iter().filter(|m| m.fallback) {
            let value = metric.value.map_or(String::new(), |v| format!(" {v}"));
            out.under(&format!(
                "{}:{value} is the fallback's, its trigger does not answer",
                metric.metric
            ));
        }
    }
}

/// The sentence with the nearest counterfactual.
fn with_otherwise(text: &str, e: &hpa::Explanation) -> String {
    match e.otherwise.first() {
        Some(other) => format!(
            "{text}; would be {} without {}",
            other.replicas, other.without
        ),
        None => text.to_owned(),
    }
}

/// `s0-prometheus is 18 for a target of 5 a replica: asks for 4`.
fn proposal(p: &Proposal) -> String {
    let (Some(value), Some(target), Some(replicas)) = (p.value, p.target, p.replicas) else {
        let error = p.error.as_deref().unwrap_or("not read");
        return format!("{}: {error}", p.metric);
    };
    let each = if p.per_replica { " a replica" } else { "" };
    let reading = match p.total {
        Some(total) => format!("{} is {}", p.metric, plain(total)),
        None => format!("{} is {}{each}", p.metric, plain(value)),
    };
    let mut text = format!(
        "{reading} for a target of {}{each}: asks for {replicas}",
        plain(target)
    );
    if let (Some(tolerance), Some(ratio)) = (p.tolerance, p.ratio)
        && tolerance.held
        && p.raw.is_some_and(|raw| raw != replicas)
    {
        let off = (ratio - 1.0) * 100.0;
        let allowed = if ratio > 1.0 {
            tolerance.up
        } else {
            tolerance.down
        };
        text.push_str(&format!(
            " ({off:+.1} % off, within the tolerance of {} %)",
            (allowed * 1000.0).round() / 10.0
        ));
    }
    if let Some(pods) = p.pods.filter(|p| p.assumed) {
        text.push_str(&format!(
            " ({} pods without a reading, {} not ready)",
            pods.missing, pods.unready
        ));
    }
    if let Some(age) = p.age_ms.filter(|age| *age >= 60_000) {
        text.push_str(&format!(" (read {} before)", span(age / 1000)));
    }
    text
}

fn rule(step: &Step, now: Timestamp) -> String {
    let (from, to) = (step.from, step.to);
    match &step.rule {
        Rule::ScalingDisabled => {
            "at zero the autoscaler is off; only the ScaledObject or a hand wakes it".to_owned()
        }
        Rule::OutsideBounds => {
            format!("{from} is outside the bounds: straight to {to}, no metric was looked at")
        }
        Rule::MetricsFailed { failed, of } if failed == of => {
            "no metric could be read: nothing is scaled".to_owned()
        }
        Rule::MetricsFailed { failed, of } => format!(
            "{failed} of {of} metrics could not be read and the rest ask for {from}: nothing is \
             taken away"
        ),
        Rule::WakeToMinimum => format!("from zero it wakes to the minimum of {to}"),
        Rule::Stabilization {
            direction,
            window_seconds,
            held,
        } => {
            let way = match direction {
                Direction::Up => "scale-up",
                Direction::Down => "scale-down",
            };
            let window = span(*window_seconds);
            let Some(held) = held else {
                return format!("{from} becomes {to} by {way} stabilization of {window}");
            };
            let age = now.duration_since(held.at).as_secs();
            let length = SignedDuration::from_secs(*window_seconds);
            let until = held.at.saturating_add(length).unwrap_or(Timestamp::MAX);
            let age = match age {
                0 => "now".to_owned(),
                age => format!("{} before", span(age)),
            };
            format!(
                "{from} becomes {to} by {way} stabilization ({window}): {} was recommended {age} \
                 and holds until {}",
                held.replicas,
                until.strftime("%H:%M:%S")
            )
        }
        Rule::Minimum => format!("{from} becomes {to}, the minimum"),
        Rule::Maximum => format!("{from} becomes {to}, the maximum"),
        Rule::RatePolicy {
            direction,
            policy,
            value,
            period_seconds,
            start,
        } => {
            let way = match direction {
                Direction::Up => "scaleUp",
                Direction::Down => "scaleDown",
            };
            let amount = match policy.as_str() {
                "Percent" => format!("{value} %"),
                _ => format!("{value} pods"),
            };
            format!(
                "{from} becomes {to} by the {way} policy of {amount} in {} ({start} at its start)",
                span(i64::from(*period_seconds))
            )
        }
        Rule::RateDisabled { direction } => {
            let way = match direction {
                Direction::Up => "scaleUp",
                Direction::Down => "scaleDown",
            };
            format!("{from} becomes {to}: {way} is disabled by its selectPolicy")
        }
        Rule::DefaultRate => {
            format!("{from} becomes {to}: at most twice as many at a time, or 4")
        }
        Rule::DefaultRateOfPeriod {
            fewest,
            period_seconds,
        } => format!(
            "{from} becomes {to}: at most twice the fewest of the last {}, which were {fewest}, or 4",
            span(*period_seconds)
        ),
        Rule::BetweenSyncs { .. } if from < to => {
            format!("stays at {to} until the next sync: in between nothing is taken away")
        }
        Rule::BetweenSyncs { agreed: Some(_) } => {
            format!("{from} becomes {to}, which the samples of the last half period agree on")
        }
        Rule::BetweenSyncs { agreed: None } => format!(
            "stays at {to} until the next sync: not all samples of the last half period ask for more"
        ),
    }
}

fn poll_move(e: &scale::Explanation) -> String {
    match (e.from, e.to) {
        (Some(from), Some(to)) => format!("goes from {from} to {}", count(to)),
        (Some(from), None) => format!("stays at {}", count(from)),
        (None, None) if e.rule == scale::Rule::Paused => "keeps the replicas it has".to_owned(),
        _ => "cannot be scaled: its replicas are not known".to_owned(),
    }
}

fn poll_lines(out: &mut Lines, e: &scale::Explanation) {
    let active: Vec<&str> = e
        .metrics
        .iter()
        .filter(|m| m.active)
        .map(|m| m.metric.as_str())
        .collect();
    let cause = match (e.forced, active.is_empty()) {
        (true, _) => "the annotation that forces it".to_owned(),
        (false, true) => "a trigger".to_owned(),
        (false, false) => active.join(", "),
    };
    out.under(&match e.rule {
        scale::Rule::ReplicasUnknown => "the target's replicas could not be read".to_owned(),
        scale::Rule::Paused => "the ScaledObject is paused by its annotation".to_owned(),
        scale::Rule::Activate => format!("woken by {cause}"),
        scale::Rule::ActivationPaused => {
            format!("{cause} would wake it, but scale-out is paused by an annotation")
        }
        scale::Rule::PartlyFailing => "some of its triggers do not answer".to_owned(),
        scale::Rule::Active => format!("kept awake by {cause}"),
        scale::Rule::AwaitFallback => {
            "its triggers do not answer; the fallback waits for its number of failures".to_owned()
        }
        scale::Rule::Failing => "its triggers do not answer and it has no fallback".to_owned(),
        scale::Rule::Deactivate => "no trigger is active and the cooldown is over".to_owned(),
        scale::Rule::Cooldown => match &e.cooldown_until {
            Some(until) => format!("no trigger is active; cooling down until {until}"),
            None => "no trigger is active; cooling down".to_owned(),
        },
        scale::Rule::DeactivationPaused => {
            "no trigger is active, but scale-in is paused by an annotation".to_owned()
        }
        scale::Rule::RaiseToMinimum => "it stood below its minimum".to_owned(),
        scale::Rule::Idle => "no trigger is active".to_owned(),
    });
    for metric in &e.metrics {
        if let Some(error) = &metric.error {
            out.under(&format!("{} could not be read: {error}", metric.metric));
        }
    }
}

/// One line for each fate; each pod with `verbose`.
fn waiting_lines(out: &mut Lines, waiting: &WaitingPods, verbose: bool) {
    let mut fates: BTreeMap<String, usize> = BTreeMap::new();
    for (pod, outcome) in &waiting.pods {
        let fate = fate(outcome);
        if verbose {
            out.under(&format!("pod {pod} waits: {fate}"));
        }
        *fates.entry(fate).or_default() += 1;
    }
    if verbose {
        return;
    }
    for (fate, pods) in fates {
        let who = match pods {
            1 => "1 pod waits".to_owned(),
            n => format!("{n} pods wait"),
        };
        out.under(&format!("{who} for a node: {fate}"));
    }
}

fn fate(outcome: &PodOutcome) -> String {
    match outcome {
        PodOutcome::Fits { node } => format!("{node} has room"),
        PodOutcome::WaitsFor { node } => format!("{node} is on its way"),
        PodOutcome::Ordered { group } => format!("{group} was asked for one"),
        PodOutcome::Refused { reasons } if reasons.is_empty() => "no pool can help".to_owned(),
        PodOutcome::Refused { reasons } => {
            let all: Vec<String> = reasons
                .iter()
                .map(|(group, why)| format!("{group}: {}", why.join(", ")))
                .collect();
            format!("no pool can help ({})", all.join("; "))
        }
        PodOutcome::Expendable => "the priority is too low to be given one".to_owned(),
    }
}

fn hpa_verbose(out: &mut Lines, record: &Record, e: &hpa::Explanation) {
    out.under(&format!(
        "{} at {}: {} asked for, {} running, bounds {} to {}",
        record.object,
        clock(record.time),
        e.current,
        e.running,
        e.min,
        e.max
    ));
    for (at, p) in e.proposals.iter().enumerate() {
        let mark = if e.winner == Some(at) {
            " (counts)"
        } else {
            ""
        };
        out.deeper(&format!("{} {}{mark}", p.kind, proposal(p)));
        if let (Some(ratio), Some(raw), Some(t)) = (p.ratio, p.raw, p.tolerance) {
            let age = match p.age_ms {
                Some(age) => format!(", read {} before", span(age / 1000)),
                None => String::new(),
            };
            out.deeper(&format!(
                "  ratio {ratio:.3} gives {raw}; tolerance +{} -{}{}{age}",
                t.up,
                t.down,
                if t.held { " held" } else { " exceeded" }
            ));
        }
        if let Some(pods) = p.pods {
            out.deeper(&format!(
                "  pods: {} count, {} not ready, {} without a reading, {} ignored",
                pods.ready, pods.unready, pods.missing, pods.ignored
            ));
        }
    }
    for step in &e.steps {
        out.deeper(&format!(
            "{} -> {}: {}",
            step.from,
            step.to,
            rule(step, record.time)
        ));
    }
    out.deeper(&format!("result {}", e.desired));
    for other in &e.otherwise {
        let what: Omitted = other.without;
        out.deeper(&format!("without {what} it would be {}", other.replicas));
    }
    if !e.reason.is_empty() {
        out.deeper(&format!("reason: {}", e.reason));
    }
    if let Some(error) = &e.error {
        out.deeper(&format!("error: {error}"));
    }
}

fn poll_verbose(out: &mut Lines, record: &Record, e: &scale::Explanation) {
    out.under(&format!(
        "{} polled at {}",
        record.object,
        clock(record.time)
    ));
    for metric in &e.metrics {
        let state = if metric.active {
            "active"
        } else {
            "not active"
        };
        let value = match (metric.value, &metric.error) {
            (Some(value), _) => format!("{value}"),
            (None, Some(error)) => format!("no value: {error}"),
            (None, None) => "no value".to_owned(),
        };
        let made_up = if metric.fallback {
            ", by the fallback"
        } else {
            ""
        };
        out.deeper(&format!("{} is {value}, {state}{made_up}", metric.metric));
    }
}
