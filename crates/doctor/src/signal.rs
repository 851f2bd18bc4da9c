//! The links from the metric store to the number that a trigger reads.

use lint::metrics;

use crate::cluster::{exporters, gpu_nodes, series_names};
use crate::scaling::Scale;
use crate::seen::{
    ClusterSeen, Diagnosis, Look, MatcherSeen, ObjectSeen, SelectorSeen, TriggerSeen,
};
use crate::{Link, State, lasting, some};

/// A newest sample older than this is no longer read by an instant query soon
/// (Prometheus looks back five minutes), in seconds.
const OLD: f64 = 180.0;

/// What a trigger's links are judged by.
struct Around<'a> {
    cluster: &'a ClusterSeen,
    scale: &'a Scale,
    /// Behind each link's name, where there are several triggers.
    suffix: String,
}

impl Around<'_> {
    fn name(&self, link: &str) -> String {
        format!("{link}{}", self.suffix)
    }

    /// Whether series that come from the workload itself can be expected.
    fn runs(&self) -> bool {
        self.scale.ready > 0
    }

    fn no_gpu_node(&self) -> bool {
        self.cluster.nodes.got().is_some() && gpu_nodes(self.cluster).iter().all(|n| n.gpus == 0)
    }
}

/// The links of all triggers.
pub(crate) fn links(cluster: &ClusterSeen, object: &ObjectSeen, scale: &Scale) -> Vec<Link> {
    let mut links: Vec<Link> = object.auths.iter().filter_map(authentication).collect();
    let diagnosis = match &object.diagnosis {
        Look::Got(diagnosis) => diagnosis,
        Look::Missing => {
            links.push(Link::unknown(
                "trigger",
                "Nothing here can ask the triggers as the operator does",
                "Run it where the trigger's server can be reached, or let rheostat operator serve \
                 explain.rheostat.dev.",
            ));
            return links;
        }
        other => {
            links.extend(other.unseen("trigger", "The operator's diagnosis"));
            return links;
        }
    };
    for trigger in &diagnosis.triggers {
        let suffix = match diagnosis.triggers.len() {
            1 => String::new(),
            _ => format!(" of trigger {}", trigger.index),
        };
        let around = Around {
            cluster,
            scale,
            suffix,
        };
        of_trigger(&around, diagnosis, trigger, &mut links);
    }
    links
}

fn authentication(auth: &crate::seen::AuthSeen) -> Option<Link> {
    const NAME: &str = "authentication";
    let what = format!("{} {}", auth.kind, auth.name);
    match &auth.object {
        Look::Got(_) => None,
        Look::Missing => Some(Link::broken(
            NAME,
            format!("{what} does not exist, so the trigger is asked without credentials"),
            format!(
                "Create it, or correct authenticationRef; a TriggerAuthentication must lie in the \
                 ScaledObject's own namespace (kubectl get {} -A).",
                auth.kind.to_lowercase()
            ),
        )),
        unseen => unseen.unseen(NAME, &what),
    }
}

fn of_trigger(
    around: &Around<'_>,
    diagnosis: &Diagnosis,
    trigger: &TriggerSeen,
    links: &mut Vec<Link>,
) {
    let name = |link: &str| around.name(link);
    if let Some(why) = &trigger.not_asked {
        let label = name("trigger");
        let read = matches!(trigger.kind.as_str(), "cpu" | "memory");
        links.push(match read {
            true => Link::skipped(label, why.clone()),
            false => Link::unknown(
                label,
                format!("{} trigger: {why}", trigger.kind),
                "Run rheostat operator, which asks with its own credentials, or look at the \
                 operator's log.",
            ),
        });
        return;
    }
    if let Some(why) = &trigger.not_built {
        links.push(Link::broken(
            name("trigger"),
            format!("The {} trigger cannot be used: {why}", trigger.kind),
            "Correct the trigger's metadata; `rheostat lint` shows the line.",
        ));
        return;
    }
    if !trigger.empty_credentials.is_empty() {
        links.push(Link::broken(
            name("authentication"),
            format!(
                "These parameters of the authentication came out empty: {}",
                trigger.empty_credentials.join(", ")
            ),
            "The Secret or ConfigMap of the authentication must exist in its namespace and have \
             the key that it names.",
        ));
        return;
    }
    if let Some(why) = &trigger.no_credential {
        links.push(Link::broken(
            name("authentication"),
            format!("No token can be had: {why}"),
            token_cure(why),
        ));
        return;
    }
    if let Some(refused) = refused(around, trigger) {
        links.push(refused);
        return;
    }
    if !trigger.server.is_empty() {
        links.push(Link::ok(
            name("authentication"),
            format!("{} is let in by {}", diagnosis.asked_by, trigger.server),
        ));
    }
    let before = links.len();
    for selector in &trigger.selectors {
        links.push(scrape(around, selector));
        links.push(labels(around, selector));
    }
    let idle = links[before..].iter().any(|l| l.state == State::Skipped);
    links.push(answer(around, trigger, idle));
    if trigger.value.is_some() {
        links.push(activation(around, trigger));
    }
}

fn token_cure(why: &str) -> &'static str {
    if why.contains("is not set") {
        "The operator's pod has no workload identity: its ServiceAccount needs the annotation \
         azure.workload.identity/client-id, its pod the label azure.workload.identity/use=true; \
         then restart it."
    } else if why.contains("refused the token request") {
        "The identity's federated credential must name this cluster's OIDC issuer and the \
         operator's ServiceAccount as its subject, and identityId the right client id; a new \
         credential needs up to ten minutes."
    } else if why.contains("token file") {
        "The projected token is not in the operator's pod: the workload identity webhook must \
         run, and the pod be started after it."
    } else {
        "The token authority must be reachable from the operator's pod; check egress rules and \
         DNS."
    }
}

/// A server that did not let the trigger in, or did not answer.
fn refused(around: &Around<'_>, trigger: &TriggerSeen) -> Option<Link> {
    let why = trigger.failed.as_deref()?;
    let azure = trigger.server.contains(".prometheus.monitor.azure.");
    let status = |code: &str| why.contains(&format!("status: {code}"));
    if status("401") || status("403") {
        let cure = match azure {
            true => {
                "Give the identity the role Monitoring Data Reader on the Azure Monitor workspace, \
                 and the trigger an authenticationRef whose TriggerAuthentication has podIdentity \
                 azure-workload."
            }
            false => {
                "Give the trigger an authenticationRef with the credentials that the server asks \
                 for, and authModes to say which."
            }
        };
        return Some(Link::broken(
            around.name("authentication"),
            format!("{} refuses the trigger: {why}", trigger.server),
            cure,
        ));
    }
    if why.contains("no such host") || why.contains("dns error") || why.contains("lookup") {
        return Some(Link::broken(
            around.name("metric store"),
            format!(
                "The host of serverAddress {} is not known: {why}",
                trigger.server
            ),
            "Write the Service as http://NAME.NAMESPACE.svc:PORT, or the query endpoint of the \
             workspace as the portal shows it.",
        ));
    }
    let answered = why.contains("status: 4") || why.contains("multiple elements");
    let about_the_answer = answered || why.contains("may be lost") || why.contains("returns");
    (!about_the_answer && !trigger.server.is_empty()).then(|| {
        Link::broken(
            around.name("metric store"),
            format!("{} does not answer: {why}", trigger.server),
            "The server must run and be reachable from the operator's pod (NetworkPolicy, port, \
             http or https); a slow one needs a longer `timeout` in the trigger's metadata.",
        )
    })
}

fn scrape(around: &Around<'_>, selector: &SelectorSeen) -> Link {
    let label = around.name("scrape");
    let name = &selector.name;
    if let Some(why) = &selector.failed {
        return Link::unknown(
            label,
            format!("The store did not say what it has of {name}: {why}"),
            "Ask it by hand: the query is the bare name of the series.",
        );
    }
    if let Some(age) = selector.age {
        let series = match selector.matching {
            0 => format!("{} series", selector.named),
            n => format!("{n} series selected"),
        };
        if age > OLD {
            return Link::broken(
                label,
                format!("The newest sample of {name} is {} old", lasting(age)),
                "The scrape has stopped or its interval is too long: below a minute for scaling. \
                 Look at the targets page of the metric store, and at the exporter's pod.",
            );
        }
        return Link::ok(
            label,
            format!("{name}: {series}, newest sample {} old", lasting(age)),
        );
    }
    absent(around, selector)
}

/// No series of the name is there.
fn absent(around: &Around<'_>, selector: &SelectorSeen) -> Link {
    let label = around.name("scrape");
    let name = selector.name.as_str();
    let metric = metrics::lookup(name);
    let near: Vec<&str> = selector.near_names.iter().map(String::as_str).collect();
    let renamed = metrics::renamed(name).map(|(other, ..)| other);
    if let Some(other) = renamed.filter(|other| near.contains(other)) {
        return Link::broken(
            label,
            format!("The store has no {name}; this exporter calls it {other}"),
            format!(
                "Query {other}, and mind its unit: {}.",
                "dcgm-exporter 4.9 gives shares of 1 where 4.8 gave percent"
            ),
        );
    }
    if metric.origin == metrics::Origin::Dcgm && around.no_gpu_node() {
        return Link::skipped(
            label,
            format!("The store has no {name} now, as no node has GPUs"),
        );
    }
    if metric.origin == metrics::Origin::Engine && !around.runs() {
        return Link::skipped(
            label,
            format!("The store has no {name} now, as no replica runs that would serve it"),
        );
    }
    let mut finding = match selector.last_seen {
        Some(ago) => format!("The store has had no {name} for {}", lasting(ago)),
        None => format!("The store has no {name}"),
    };
    if !selector.down.is_empty() {
        let down = some(selector.down.iter().map(String::as_str));
        finding.push_str(&format!(", and cannot scrape {down}"));
        return Link::broken(
            label,
            finding,
            "Open that address from the store's pod: the port must match the exporter's (9400), \
             and a NetworkPolicy let it through.",
        );
    }
    let has = |page: &&crate::seen::Page| {
        let text = page.text.got();
        text.is_some_and(|text| series_names(text).contains(name))
    };
    if let Some(page) = around.cluster.pages.iter().find(has) {
        return Link::broken(
            label,
            format!("{finding}, though the page of {} has it", page.pod),
            "Nothing scrapes the exporter: add a ServiceMonitor or PodMonitor whose selector \
             matches the labels of the exporter's Service or pods, in the API group that this \
             store reads (azmonitoring.coreos.com on Azure).",
        );
    }
    if let Some(nearest) = near.first() {
        return Link::broken(
            label,
            format!("{finding}; nearest is {nearest}"),
            match metric.origin {
                metrics::Origin::Dcgm => format!(
                    "Query {nearest} if that was meant; else add {name} to the exporter's counters \
                     file."
                ),
                _ => format!("Query {nearest} if that was meant; else scrape what serves {name}."),
            },
        );
    }
    let cure = match (
        metric.origin,
        selector.targets,
        exporters(around.cluster).is_empty(),
    ) {
        (_, Some(0), _) => {
            "The store has no scrape target at all: check that it is the right serverAddress, and \
             that the store's own scraping works."
        }
        (metrics::Origin::Dcgm, _, true) => {
            "Install an exporter on the GPU nodes (rheostat exporter or dcgm-exporter) and a \
             ServiceMonitor or PodMonitor for it."
        }
        (metrics::Origin::Dcgm, ..) => {
            "The exporter runs and nothing scrapes it: add a ServiceMonitor or PodMonitor whose \
             selector matches the labels of its Service or pods."
        }
        _ => "Scrape what serves this series, and check its name on that page.",
    };
    Link::broken(label, finding, cure)
}

fn labels(around: &Around<'_>, selector: &SelectorSeen) -> Link {
    let label = around.name("labels");
    let text = &selector.text;
    if selector.matching > 0 {
        let n = selector.matching;
        return Link::ok(label, format!("{text} selects {n} series"));
    }
    if selector.age.is_none() || selector.failed.is_some() {
        return Link::skipped(
            label,
            format!("There is no series that {text} could select"),
        );
    }
    let needs = metrics::lookup(&selector.name).needs_replicas();
    let idle = needs && !around.runs();
    let Some(wrong) = selector.matchers.iter().find(|m| m.together == 0) else {
        return Link::unknown(
            label,
            format!("{text} selects nothing, though its matchers do one by one"),
            "Run it again: the series may have just changed.",
        );
    };
    let matcher = &wrong.matcher;
    // GPUs that nobody uses name no pod, so nothing can be said of the labels.
    if idle {
        return Link::skipped(
            label,
            format!("{matcher} selects nothing now, as no replica of the workload runs"),
        );
    }
    if wrong.alone > 0 {
        return Link::broken(
            label,
            format!(
                "{matcher} selects {} series, none of which satisfies the matchers before it",
                wrong.alone
            ),
            "Take matchers out one by one until the query gives something.",
        );
    }
    let finding = match wrong.with_label {
        0 => format!(
            "{matcher} matches nothing: none of {} {} has a label {}",
            many(selector),
            selector.name,
            wrong.label
        ),
        n => format!(
            "{matcher} matches nothing: {n} series have {}, with {}",
            wrong.label,
            values(wrong)
        ),
    };
    Link::broken(label, finding, label_cure(wrong))
}

fn many(selector: &SelectorSeen) -> String {
    match selector.named {
        n if n >= crate::ask::MOST as u64 => format!("the newest {n} series of"),
        n => format!("{n} series of"),
    }
}

fn values(matcher: &MatcherSeen) -> String {
    let shown: Vec<String> = matcher.values.iter().map(|v| format!("{v:?}")).collect();
    match shown.as_slice() {
        [] => "no value".to_owned(),
        [one] => format!("the value {one}"),
        more => format!("values such as {}", more.join(", ")),
    }
}

fn label_cure(wrong: &MatcherSeen) -> String {
    let mut cure = match &wrong.instead {
        Some(instead) => format!("Select by {instead} instead"),
        None if wrong.with_label > 0 => "Correct the value".to_owned(),
        None => format!(
            "Remove {}, or let a relabelling rule add the label",
            wrong.matcher
        ),
    };
    if wrong.with_label == 0 && metrics::OWNER.contains(&wrong.label.as_str()) {
        cure.push_str(
            ", or serve the page with rheostat exporter, which carries the labels of a pod's \
             owner (dcgm-exporter does not)",
        );
    }
    cure.push('.');
    cure
}

fn answer(around: &Around<'_>, trigger: &TriggerSeen, idle: bool) -> Link {
    let label = around.name("trigger's answer");
    let empty = trigger.elements == Some(0);
    if let Some(why) = &trigger.failed {
        if idle && empty {
            return Link::skipped(label, format!("Nothing to read while nothing runs: {why}"));
        }
        let cure = match why {
            why if why.contains("multiple elements") => {
                "KEDA takes a query that gives one element: wrap it in sum(…), avg(…) or max(…)."
            }
            _ if empty => {
                "The query gives nothing. Mend the links before this one; ignoreNullValues: \
                 \"true\" would read 0 instead of failing."
            }
            why if why.contains("status: 4") => "The server refuses the query: correct it.",
            _ => "Ask the server the trigger's query by hand.",
        };
        return Link::broken(label, why.clone(), cure);
    }
    let Some(value) = trigger.value else {
        return Link::unknown(
            label,
            "It was not read",
            "Run it again, or look at the operator's log.",
        );
    };
    let value = number(value);
    if empty {
        let finding = format!("The query gives nothing, which KEDA reads as {value}");
        return match idle {
            true => Link::skipped(label, format!("{finding}; nothing runs that it could show")),
            false => Link::broken(
                label,
                finding,
                "The series are there, so the query takes them away: a comparison, a join or a \
                 range without samples. Ask it in parts; ignoreNullValues: \"false\" makes an \
                 empty answer an error instead of 0.",
            ),
        };
    }
    let metric = &trigger.metric;
    Link::ok(label, format!("{metric} is {value}"))
}

fn activation(around: &Around<'_>, trigger: &TriggerSeen) -> Link {
    let label = around.name("activation");
    let value = number(trigger.value.unwrap_or_default());
    let above = match trigger.activation {
        Some(above) => format!(" (activationThreshold {})", number(above)),
        None => String::new(),
    };
    if trigger.active {
        return Link::ok(label, format!("active at {value}{above}"));
    }
    let finding = format!("not active at {value}{above}");
    let scale = around.scale;
    if scale.min > 0 {
        return Link::ok(
            label,
            format!(
                "{finding}, which counts only from zero; minReplicaCount is {}",
                scale.min
            ),
        );
    }
    let own = trigger.selectors.first().filter(|_| {
        let all = &mut trigger.selectors.iter();
        all.all(|s| metrics::lookup(&s.name).needs_replicas())
    });
    match own {
        Some(selector) if scale.replicas == Some(0) && trigger.elements == Some(0) => Link::broken(
            label,
            format!(
                "{finding}: {} comes from the replicas themselves, and at zero replicas nothing \
                 can wake it",
                selector.name
            ),
            "Set minReplicaCount to 1, or add a trigger on something that exists without replicas: \
             a queue, requests at the gateway, a cron schedule.",
        ),
        _ => Link::ok(label, finding),
    }
}

fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
