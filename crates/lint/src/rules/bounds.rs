//! Rules over what the HPA makes of a number: ceilings, run-aways, targets out
//! of reach.

use serde_json::Value;

use super::{Context, Trigger, behavior, own, plural};
use crate::arithmetic::{Hpa, Target, show};
use crate::finding::{Severity, Step};
use crate::metrics::{Bound, Kind, Origin};
use crate::query::{Meaning, Per, Query};

pub(super) fn check(cx: &mut Context<'_>, triggers: &[Trigger<'_>]) {
    for trigger in triggers {
        let (Some(query), Some(target)) = (trigger.read(), trigger.target()) else {
            continue;
        };
        let meaning = query.meaning();
        ceiling(cx, trigger, target, triggers);
        unreachable(cx, trigger, query, &meaning, target);
        totals(cx, trigger, query, &meaning, target);
    }
}

/// A bound in the unit of the threshold, and whether it is a guess.
fn bound(bound: Bound, target: f64) -> Option<(f64, bool)> {
    match bound {
        Bound::None => None,
        Bound::At(value) => Some((value, false)),
        Bound::Share => Some((if target <= 1.0 { 1.0 } else { 100.0 }, true)),
    }
}

/// The step that makes a trigger's target one of the value itself.
fn by_value(trigger: &Trigger<'_>) -> Step {
    Step::Set(
        format!("{}/metricType", trigger.pointer),
        Value::from("Value"),
    )
}

/// The end of what a trigger can ask for.
struct Ceiling {
    /// The most that its value can be.
    bound: f64,
    /// Whether that is guessed from the name.
    guessed: bool,
    /// The replicas at which it comes to rest.
    most: i32,
}

/// Where a bounded value that is divided by the replicas comes to rest.
fn ends_at(trigger: &Trigger<'_>) -> Option<Ceiling> {
    let target = trigger.target().filter(|target| target.average)?;
    let meaning = trigger.read()?.meaning();
    if !matches!(meaning.per, Per::Each | Per::Mean | Per::Extreme) {
        return None;
    }
    let (bound, guessed) = bound(meaning.bound, target.value)?;
    let (_, behavior) = behavior(&trigger.scaled.object);
    let most = Hpa::of(target, behavior)?.rests_at(|_| bound);
    Some(Ceiling {
        bound,
        guessed,
        most,
    })
}

fn ceiling(cx: &mut Context<'_>, trigger: &Trigger<'_>, target: Target, triggers: &[Trigger<'_>]) {
    let Some(Ceiling {
        bound,
        guessed,
        most,
    }) = ends_at(trigger)
    else {
        return;
    };
    let scaled = trigger.scaled;
    let max = scaled.spec.spec.max();
    let mut others = own(triggers, scaled)
        .iter()
        .filter(|t| t.pointer != trigger.pointer);
    // The HPA takes the largest proposal: a trigger without a ceiling below the
    // maximum lifts this one.
    let all_below = own(triggers, scaled).len() == scaled.spec.spec.triggers.len()
        && others.all(|t| ends_at(t).is_some_and(|end| end.most < max && !end.guessed));
    let severity = match most < max && all_below && !guessed {
        true => Severity::Error,
        false => Severity::Warning,
    };
    let (b, t) = (show(bound), show(target.value));
    let ceil = (bound / target.value).ceil();
    let mut message = format!(
        "the value is at most {b}, and AverageValue asks for value / {t}: never more than \
         ceil({b}/{t}) = {}",
        plural(ceil as i64, "replica")
    );
    let against = match most.cmp(&max) {
        std::cmp::Ordering::Less => format!(", while maxReplicaCount is {max}"),
        std::cmp::Ordering::Equal => ", which is maxReplicaCount".to_owned(),
        std::cmp::Ordering::Greater => format!(", maxReplicaCount is {max}"),
    };
    message.push_str(&against);
    if f64::from(most) < ceil {
        message.push_str(&format!(
            " (from 1 replica the HPA's tolerance holds it at {most})"
        ));
    }
    let usual = 0.7 * bound;
    if target.value < usual {
        message.push_str(&format!(
            "; at {} it would be {}",
            show(usual),
            show((bound / usual).ceil())
        ));
    }
    let load = 4.0_f64;
    message.push_str(&format!(
        ". It does not settle at {t} either: work for {load} full replicas settles near \
         sqrt({b}/{t} × {load}) = {:.1} replicas",
        (bound / target.value * load).sqrt()
    ));
    let object = &scaled.object;
    let at = object.at(&trigger.meta("threshold"));
    let finding = cx.report(
        ("bounded-metric-ceiling", severity),
        object,
        at,
        message,
        format!(
            "Use the sum with the share that one replica should have (`sum(…)`, threshold '{}'), \
             or keep the mean and set `metricType: Value` on the trigger.",
            show(usual)
        ),
    );
    let threshold = Step::Set(trigger.meta("threshold"), Value::from(show(usual)));
    finding.patched(
        [by_value(trigger)]
            .into_iter()
            .chain((target.value < usual).then_some(threshold)),
    );
    if guessed {
        finding.assumptions.push(format!(
            "the name says a share; its upper end is taken as {b}"
        ));
    }
}

/// Flags with which engines limit their batch, by the series that counts it.
const SLOTS: &[(&str, &[&str], Option<f64>)] = &[
    ("vllm:num_requests_running", &["--max-num-seqs"], None),
    ("sglang:num_running_reqs", &["--max-running-requests"], None),
    (
        "tgi_batch_current_size",
        &["--max-batch-size", "--max-concurrent-requests"],
        None,
    ),
    (
        "llamacpp:requests_processing",
        &["--parallel", "-np"],
        Some(1.0),
    ),
];

/// Batch slots of one replica, with the option that says so.
fn slots(cx: &Context<'_>, trigger: &Trigger<'_>, query: &Query) -> Option<(f64, String)> {
    let uses = query.uses();
    let [used] = uses.as_slice() else {
        return None;
    };
    let (_, flags, default) = SLOTS.iter().find(|(name, ..)| *name == used.name)?;
    let workload = cx.workload(trigger.scaled)?;
    match workload.option(flags) {
        Some((flag, text)) => Some((text.parse().ok()?, format!("{flag} {text}"))),
        None => default.map(|slots| (slots, format!("{} is {slots} unless given", flags[0]))),
    }
}

fn unreachable(
    cx: &mut Context<'_>,
    trigger: &Trigger<'_>,
    query: &Query,
    meaning: &Meaning,
    target: Target,
) {
    let gpus = cx.workload(trigger.scaled).map(|w| w.gpus().max(1));
    let slots = slots(cx, trigger, query);
    let dcgm = query.uses().iter().all(|u| u.metric.origin == Origin::Dcgm);
    // The most that one replica can show.
    let (most, why) = match (&slots, meaning.per) {
        (Some((slots, said)), Per::Total | Per::Mean | Per::Extreme | Per::Each) => (
            *slots,
            format!("one replica runs at most {slots} at a time ({said})"),
        ),
        (None, Per::Mean | Per::Extreme | Per::Each) => {
            let Some((bound, false)) = bound(meaning.bound, target.value) else {
                return;
            };
            (bound, format!("the value is at most {}", show(bound)))
        }
        (None, Per::Total) => {
            let Some((each, false)) = bound(meaning.each, target.value) else {
                return;
            };
            // Without the workload the GPUs of a replica are not known; the
            // largest nodes have 16.
            let count = match (dcgm, gpus) {
                (true, Some(gpus)) => gpus,
                (true, None) => 16,
                (false, _) => 1,
            };
            let most = each * count as f64;
            let of = match count {
                1 => String::new(),
                _ => format!(" ({count} GPUs × {})", show(each)),
            };
            (most, format!("one replica adds at most {}{of}", show(most)))
        }
        _ => return,
    };
    let (_, behavior) = behavior(&trigger.scaled.object);
    let Some(Err(tolerance)) = Hpa::of(target, behavior).map(|mut hpa| hpa.moves(most)) else {
        return;
    };
    let object = &trigger.scaled.object;
    let t = show(target.value);
    let message = if most < target.value {
        format!("the target {t} is out of reach: {why}, so nothing ever asks for a second replica")
    } else {
        format!(
            "the target {t} is out of reach: {why}, which the HPA's tolerance of {} % takes for \
             on target, so nothing ever asks for a second replica",
            show(tolerance * 100.0)
        )
    };
    let better = match most {
        most if most >= 10.0 => (most * 0.7).floor(),
        most => (most * 700.0).round() / 1000.0,
    };
    cx.report(
        ("unreachable-target", Severity::Error),
        object,
        object.at(&trigger.meta("threshold")),
        message,
        format!(
            "Set a target that a busy replica passes, for example '{}'.",
            show(better)
        ),
    )
    .patched([Step::Set(
        trigger.meta("threshold"),
        Value::from(show(better)),
    )]);
}

fn totals(
    cx: &mut Context<'_>,
    trigger: &Trigger<'_>,
    query: &Query,
    meaning: &Meaning,
    target: Target,
) {
    let uses = query.uses();
    let queue_of_a_broker = uses.len() == 1
        && uses[0].metric.origin == Origin::Broker
        && uses[0].metric.kind == Kind::Queue;
    let object = &trigger.scaled.object;
    let t = show(target.value);
    if !target.average && (meaning.per == Per::Total || queue_of_a_broker) {
        let span = object.at(&format!("{}/metricType", trigger.pointer));
        cx.report(
            ("total-with-value", Severity::Error),
            object,
            span,
            format!(
                "the query gives a total, and Value multiplies the replicas by total / {t}: twice \
                 {t} doubles them at every evaluation for as long as it lasts, whatever they \
                 already do, up to maxReplicaCount {}",
                trigger.scaled.spec.spec.max()
            ),
            "Leave metricType out (AverageValue): the total is then shared out over the replicas.",
        )
        .patched([Step::Remove(format!("{}/metricType", trigger.pointer))]);
        return;
    }
    if !target.average || queue_of_a_broker {
        return;
    }
    let bounded = meaning.bound != Bound::None;
    // The largest of a known engine's replicas is a replica's value too; of an
    // unknown series it may be one central queue scraped twice.
    let of_replicas = !uses.is_empty() && uses.iter().all(|u| u.metric.needs_replicas());
    let memory = uses.iter().any(|u| u.metric.kind == Kind::Memory);
    let unknown = uses.iter().all(|u| !u.metric.surely_many());
    let (what, severity) = match meaning.per {
        Per::Mean if !bounded && of_replicas => ("a mean per replica", Severity::Error),
        Per::Mean if !bounded && !unknown => ("a mean", Severity::Warning),
        Per::Extreme if !bounded && of_replicas && !memory => {
            ("the value of one replica", Severity::Error)
        }
        Per::Latency => (
            "a latency, which no replica has a share of,",
            Severity::Error,
        ),
        _ => return,
    };
    let span = object.at(&trigger.meta("query"));
    // A sum of latencies means nothing.
    let fix = match meaning.per {
        Per::Latency => "Set `metricType: Value` on the trigger.",
        _ => "Use `sum(…)` with AverageValue, or set `metricType: Value` on the trigger.",
    };
    cx.report(
        ("total-with-value", severity),
        object,
        span,
        format!(
            "the query gives {what} and AverageValue (the default) divides it by the replicas \
             once more: with {t} on each of 8 replicas the HPA sees {t}/8 and goes to \
             ceil({t}/{t}) = 1"
        ),
        fix,
    )
    .patched([by_value(trigger)]);
}
