//! Rules over the labels and names that an exporter and a scrape give.

use api::pointer::token;
use api::yaml::Span;
use promql::labels::{MatchOp, Matcher};
use serde_json::Value;

use super::scrape::{Carried, Scrapes, WORKLOAD};
use super::{Context, Trigger};
use crate::Exporter;
use crate::arithmetic::show;
use crate::finding::{Severity, Step};
use crate::metrics::OWNER;
use crate::metrics::{self, Origin};
use crate::model::{Object, Workload};
use crate::query::{Join, Query, Use};

pub(super) fn check(cx: &mut Context<'_>, triggers: &[Trigger<'_>]) {
    let scrapes = Scrapes::of(cx);
    for trigger in triggers {
        let Some(query) = trigger.read() else {
            continue;
        };
        for used in query.uses() {
            if used.metric.origin != Origin::Dcgm {
                continue;
            }
            for matcher in used.matchers {
                label(cx, trigger, &used, matcher, &scrapes);
            }
            let start = used.range.0;
            let at = cx.part(trigger, (start, start + used.name.len()));
            let threshold = trigger.target().map(|t| t.value);
            renamed(cx, &trigger.scaled.object, at, used.name, threshold);
        }
        for join in query.joins() {
            joined(cx, trigger, &join, &scrapes);
        }
    }
}

/// A join of GPU series with those of pods, by labels that name another pod.
fn joined(cx: &mut Context<'_>, trigger: &Trigger<'_>, join: &Join<'_>, scrapes: &Scrapes) {
    let wrong = join.labels.iter().find(|label| {
        WORKLOAD.contains(&label.as_str()) && scrapes.carry(label, None) == Carried::OfTheExporter
    });
    let Some(label) = wrong else { return };
    let object = &trigger.scaled.object;
    let at = cx.part(trigger, join.range);
    let assumed = cx.assumed_scrape(true);
    let finding = cx.report(
        ("label-not-exported", Severity::Error),
        object,
        at,
        format!(
            "`on ({})` pairs the GPUs with the exporter's pods: on the GPUs' series `{label}` is \
             the exporter's own, and the workload's is `exported_{label}`",
            join.labels.join(", ")
        ),
        format!(
            "Select the workload by `exported_pod` without a join, or copy the label first: \
             `label_replace(…, \"{label}\", \"$1\", \"exported_{label}\", \"(.+)\")`."
        ),
    );
    finding.assumptions.extend(assumed);
}

/// What is wrong with a selection, and what would be right.
struct Verdict {
    severity: Severity,
    message: String,
    /// The matcher to take instead.
    good: String,
    fix: String,
}

/// Judges a matcher on a GPU's series of the workload whose name is `target`.
fn judge(
    cx: &Context<'_>,
    scrapes: &Scrapes,
    matcher: &Matcher,
    workload: Option<&Workload<'_>>,
    target: &str,
) -> Option<Verdict> {
    // A matcher that takes the empty text takes series without the label.
    if matcher.matches("") {
        return None;
    }
    let name = matcher.name.as_str();
    let bare = name.strip_prefix("exported_").unwrap_or(name);
    let carried = scrapes.carry(name, workload);
    let why = match carried {
        Carried::Yes => return None,
        Carried::OfTheExporter if of_the_exporter(matcher) => return None,
        Carried::OfTheExporter => format!(
            "here `{name}` is the exporter's own; the workload's arrives as `exported_{bare}`"
        ),
        Carried::Dropped => format!("a relabelling rule of the monitor drops `{name}`"),
        Carried::NotOnThePod => format!(
            "the exporter copies the labels of pods, and the pod template has no label `{name}`"
        ),
        Carried::No if WORKLOAD.contains(&bare) && name != bare => {
            format!("a scrape that keeps the exporter's labels leaves `{bare}` as it is")
        }
        Carried::No => format!("the exporter emits no label `{name}`"),
    };
    // The exporter may be installed beside the workload.
    let severity = match (carried, name) {
        (Carried::OfTheExporter, "namespace") => Severity::Warning,
        _ => Severity::Error,
    };
    let good = instead(matcher, scrapes, target);
    let mut fix = format!("Select by `{good}`");
    if cx.exporter() != Exporter::Rheostat && OWNER.contains(&name) {
        fix.push_str(
            ", or serve the page with `rheostat exporter`, which carries the owner's labels",
        );
    }
    fix.push('.');
    Some(Verdict {
        severity,
        message: format!("`{matcher}` matches nothing: {why}"),
        good,
        fix,
    })
}

fn label(
    cx: &mut Context<'_>,
    trigger: &Trigger<'_>,
    used: &Use<'_>,
    matcher: &Matcher,
    scrapes: &Scrapes,
) {
    let scaled = trigger.scaled;
    let target = match scaled.is_job {
        true => scaled.object.name,
        false => scaled.spec.spec.scale_target_ref.name.as_str(),
    };
    let Some(verdict) = judge(cx, scrapes, matcher, cx.workload(scaled), target) else {
        return;
    };
    let Verdict {
        severity,
        message,
        good,
        fix,
    } = verdict;
    let range = matcher_range(trigger, used, matcher);
    let at = cx.part(trigger, range);
    let assumed = cx.assumed_scrape(true);
    let id = ("label-not-exported", severity);
    let finding = cx.report(id, &scaled.object, at, message, fix);
    finding.assumptions.extend(assumed);
    let Some(query) = trigger.read().filter(|_| range != used.range) else {
        return;
    };
    let (start, end) = range;
    let (before, after) = (query.text.get(..start), query.text.get(end..));
    if let (Some(before), Some(after)) = (before, after) {
        let text = format!("{before}{good}{after}");
        // Escapes and comments can hide where a matcher ends.
        if Query::parse(&text).is_ok() {
            finding.patched([Step::Set(trigger.meta("query"), Value::from(text))]);
        }
    }
}

/// The labels by which an HPA's External metric is selected; `pointer` is that
/// of its source.
pub(super) fn of_selector(cx: &mut Context<'_>, hpa: &Object<'_>, pointer: &str, name: &str) {
    if metrics::lookup(name).origin != Origin::Dcgm {
        return;
    }
    let list = format!("{pointer}/metric/selector/matchLabels");
    let scrapes = Scrapes::of(cx);
    let target = hpa.get("/spec/scaleTargetRef/name").as_str().unwrap_or("");
    for (key, value) in hpa.get(&list).as_object().into_iter().flatten() {
        // Google's adapter names the labels of a series so.
        let plain = key.strip_prefix("metric.labels.").unwrap_or(key);
        let value = value.as_str().unwrap_or("");
        let Ok(matcher) = Matcher::new(plain, MatchOp::Equal, value) else {
            continue;
        };
        if let Some(verdict) = judge(cx, &scrapes, &matcher, None, target) {
            let at = hpa.key(&format!("{list}/{}", token(key)));
            let assumed = cx.assumed_scrape(true);
            let id = ("label-not-exported", verdict.severity);
            let finding = cx.report(id, hpa, at, verdict.message, verdict.fix);
            finding.assumptions.extend(assumed);
        }
    }
}

/// A matcher that says the same in labels that are there.
fn instead(matcher: &Matcher, scrapes: &Scrapes, target: &str) -> String {
    let name = matcher.name.as_str();
    let bare = name.strip_prefix("exported_").unwrap_or(name);
    let pod = scrapes.pod();
    if WORKLOAD.contains(&bare) {
        let better = match pod {
            "pod" => bare.to_owned(),
            _ => format!("exported_{bare}"),
        };
        let mut wanted = matcher.to_string();
        wanted.replace_range(..name.len(), &better);
        return wanted;
    }
    format!("{pod}=~\"{target}-.*\"")
}

/// Whether the pattern means the exporter's own pods.
fn of_the_exporter(matcher: &Matcher) -> bool {
    let names: &[&str] = match matcher.name.as_str() {
        "pod" => &["nvidia-dcgm-exporter-x7k2p", "dcgm-exporter-x7k2p"],
        "container" => &["nvidia-dcgm-exporter", "dcgm-exporter", "exporter"],
        _ => &[
            "gpu-operator",
            "gpu-operator-resources",
            "kube-system",
            "monitoring",
            "gpu-resources",
            "dcgm-exporter",
            "nvidia-gpu-operator",
            "observability",
            "gmp-system",
        ],
    };
    names.iter().any(|name| matcher.matches(name))
}

/// Where a matcher stands in the query.
fn matcher_range(trigger: &Trigger<'_>, used: &Use<'_>, matcher: &Matcher) -> (usize, usize) {
    let (start, end) = used.range;
    let Some(text) = trigger.read().and_then(|q| q.text.get(start..end)) else {
        return used.range;
    };
    let inside = text.find('{').unwrap_or(0);
    let mut from = inside;
    while let Some(at) = text[from..].find(&matcher.name).map(|n| n + from) {
        let whole = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
        let after = &text[at + matcher.name.len()..];
        let compares = after.trim_start().starts_with(['=', '!']);
        if whole(text[..at].chars().next_back()) && whole(after.chars().next()) && compares {
            let value = after.find(&matcher.value).unwrap_or(0);
            let stop = at + matcher.name.len() + value + matcher.value.len() + 1;
            return (start + at, start + stop.min(text.len()));
        }
        from = at + matcher.name.len();
    }
    used.range
}

/// `renamed-metric` about a series, with the target that it is compared with.
pub(super) fn renamed(
    cx: &mut Context<'_>,
    object: &Object<'_>,
    at: Span,
    name: &str,
    threshold: Option<f64>,
) {
    let Some((other, classic, scale)) = metrics::renamed(name) else {
        return;
    };
    let severity = match (cx.assume.exporter, classic) {
        (Some(Exporter::Dcgm49), true) | (Some(Exporter::Dcgm), false) => Severity::Warning,
        (None, _) => Severity::Note,
        _ => return,
    };
    let version = match classic {
        true => "from 4.9 on",
        false => "up to 4.8",
    };
    let mut message =
        format!("dcgm-exporter has no `{name}` {version}: it is called `{other}` there");
    let mut fix = format!("Query `{other}` where that version runs");
    if scale != 1.0 {
        let factor = if classic { scale } else { 1.0 / scale };
        message.push_str(&format!(", and its values are {} times these", factor));
        if let Some((now, then)) = threshold.map(|now| (now, now * factor)) {
            message.push_str(&format!(
                "; threshold {} would be {} there",
                show(now),
                show(then)
            ));
            fix.push_str(&format!(", with threshold '{}'", show(then)));
        }
    }
    fix.push('.');
    let assumed = cx.assumed_scrape(false);
    let finding = cx.report(("renamed-metric", severity), object, at, message, fix);
    finding.assumptions.extend(assumed);
}
