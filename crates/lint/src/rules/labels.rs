//! Rules over the labels and names that an exporter and a scrape give.

use promql::labels::Matcher;

use super::scrape::{Carried, Scrapes, WORKLOAD};
use super::{Context, Trigger};
use crate::Exporter;
use crate::arithmetic::show;
use crate::finding::Severity;
use crate::metrics::{self, OWNER, Origin};
use crate::query::Use;

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
            renamed(cx, trigger, &used);
        }
    }
}

fn label(
    cx: &mut Context<'_>,
    trigger: &Trigger<'_>,
    used: &Use<'_>,
    matcher: &Matcher,
    scrapes: &Scrapes,
) {
    // A matcher that takes the empty text takes series without the label.
    if matcher.matches("") {
        return;
    }
    let name = matcher.name.as_str();
    let bare = name.strip_prefix("exported_").unwrap_or(name);
    let carried = scrapes.carry(name, cx.workload(trigger.scaled));
    let why = match carried {
        Carried::Yes => return,
        Carried::OfTheExporter if of_the_exporter(matcher) => return,
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
    let object = &trigger.scaled.object;
    let range = matcher_range(trigger, used, matcher);
    let good = instead(trigger, matcher, scrapes);
    let mut fix = format!("Select by `{good}`");
    if cx.exporter() != Exporter::Rheostat && OWNER.contains(&name) {
        fix.push_str(
            ", or serve the page with `rheostat exporter`, which carries the owner's labels",
        );
    }
    fix.push('.');
    let at = cx.part(trigger, range);
    let assumed = cx.assumed_scrape(true);
    let finding = cx.report(
        ("label-not-exported", severity),
        object,
        at,
        format!("`{matcher}` matches nothing: {why}"),
        fix,
    );
    finding.assumptions.extend(assumed);
}

/// A matcher that says the same in labels that are there.
fn instead(trigger: &Trigger<'_>, matcher: &Matcher, scrapes: &Scrapes) -> String {
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
    let scaled = trigger.scaled;
    let target = match scaled.is_job {
        true => scaled.object.name,
        false => scaled.spec.spec.scale_target_ref.name.as_str(),
    };
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
        if whole(text[..at].chars().next_back()) && whole(after.chars().next()) {
            let value = after.find(&matcher.value).unwrap_or(0);
            let stop = at + matcher.name.len() + value + matcher.value.len() + 1;
            return (start + at, start + stop.min(text.len()));
        }
        from = at + matcher.name.len();
    }
    used.range
}

fn renamed(cx: &mut Context<'_>, trigger: &Trigger<'_>, used: &Use<'_>) {
    let Some((other, classic, scale)) = metrics::renamed(used.name) else {
        return;
    };
    let severity = match (cx.assume.exporter, classic) {
        (Some(Exporter::Dcgm49), true) | (Some(Exporter::Dcgm), false) => Severity::Warning,
        (None, _) => Severity::Note,
        _ => return,
    };
    let (from, to) = match classic {
        true => ("4.9 on", used.name),
        false => ("4.8 and before", used.name),
    };
    let mut message = format!("dcgm-exporter {from} has no `{to}`: it is called `{other}` there");
    let mut fix = format!("Query `{other}` where that version runs");
    if scale != 1.0 {
        let factor = if classic { scale } else { 1.0 / scale };
        message.push_str(&format!(", and its values are {} times these", factor));
        let threshold = trigger.target().map(|t| (t.value, t.value * factor));
        if let Some((now, then)) = threshold {
            message.push_str(&format!(
                "; threshold {} would be {} there",
                show(now),
                show(then)
            ));
            fix.push_str(&format!(", with threshold '{}'", show(then)));
        }
    }
    fix.push('.');
    let object = &trigger.scaled.object;
    let at = cx.part(trigger, (used.range.0, used.range.0 + used.name.len()));
    let assumed = cx.assumed_scrape(false);
    let finding = cx.report(("renamed-metric", severity), object, at, message, fix);
    finding.assumptions.extend(assumed);
}
