//! The rules' rows: id, usual severity, one line, and what `--explain` says.

use std::fmt::Write as _;

use crate::finding::Severity;
use api::near::nearest;

/// A rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Stable id.
    pub id: &'static str,
    /// The severity it usually has.
    pub severity: Severity,
    /// One line.
    pub summary: &'static str,
    /// Why, when, and what to do.
    pub text: &'static str,
}

const fn rule(
    id: &'static str,
    severity: Severity,
    summary: &'static str,
    text: &'static str,
) -> Rule {
    Rule {
        id,
        severity,
        summary,
        text,
    }
}

use Severity::{Error, Note, Warning};

/// Every rule, in the order of the documentation.
pub static RULES: &[Rule] = &[
    rule(
        "bounded-metric-ceiling",
        Error,
        "a bounded metric with AverageValue has a ceiling",
        "KEDA's default metric type is AverageValue: the HPA divides the value by the replicas and \
         asks for ceil(value / threshold). A mean (or maximum) of a percentage is never above 100, so \
         there are never more than ceil(100 / threshold) replicas: 20 at threshold 5, 2 at threshold \
         70, whatever the load. It does not settle at the threshold either: work for L full replicas \
         settles near sqrt(bound / threshold × L).\n\n\
         An error where the ceiling is below maxReplicaCount and no other trigger can go beyond it, \
         else a warning. Where only the name says that a series is a share, its unit is guessed from \
         the threshold and the finding stays a warning.\n\n\
         Cure: the sum with the share that one replica should have, or the mean with `metricType: \
         Value`.",
    ),
    rule(
        "total-with-value",
        Error,
        "a total with Value, or a mean with AverageValue",
        "A total (a sum, a queue) belongs with AverageValue, which shares it out. With Value the HPA \
         multiplies the present replicas by total / threshold at every evaluation, and since a total \
         does not fall when replicas are added, they run away to maxReplicaCount. A mean per replica \
         of something unbounded, or a latency, belongs with Value; AverageValue divides it by the \
         replicas a second time.\n\n\
         A warning for the mean of a series that is not known to come from the replicas.",
    ),
    rule(
        "many-elements",
        Error,
        "the query can return more than one element",
        "KEDA wants one element. A bare selector, an aggregation `by` labels that are not fixed by \
         `=`, `topk(2, …)` or `or` between different labels can give several, and then the trigger \
         only fails with `returned multiple elements`: the workload goes from 1 to 2 and never \
         further. Buckets summed by `le` under histogram_quantile are one element.\n\n\
         A warning where the series may be a single one: a recording rule, or a name without a \
         prefix.",
    ),
    rule(
        "label-not-exported",
        Error,
        "the selector uses a label that the exporter and scrape do not carry",
        "dcgm-exporter knows pod, namespace and container, not the Deployment. Prometheus keeps its \
         own labels of these names (honorLabels false, as dcgm-exporter's chart and AKS' PodMonitor \
         have it), so the workload's arrive as exported_pod, exported_namespace and \
         exported_container, and `pod` is the exporter's. A selector on anything else matches \
         nothing, which KEDA reads as 0. Labels that the monitors among the files add by \
         relabelling count as carried.\n\n\
         A warning for `namespace`, since the exporter may be installed beside the workload. \
         `rheostat exporter` carries deployment, statefulset and daemonset. Assumptions: --exporter, \
         --honor-labels.",
    ),
    rule(
        "renamed-metric",
        Warning,
        "the series has another name and unit in dcgm-exporter 4.9",
        "dcgm-exporter 4.9 renamed most series and changed the unit of eleven: DCGM_FI_DEV_GPU_UTIL \
         (0 to 100) is DCGM_FI_DEV_GPU_UTIL_RATIO (0 to 1) there, so query and threshold both change \
         meaning. A warning with `--exporter dcgm-4.9` (or, for the new names, with `--exporter \
         dcgm`), a note while the exporter is only assumed, nothing when another one is given.",
    ),
    rule(
        "missing-is-zero",
        Warning,
        "an empty answer counts as a load of 0",
        "With `ignoreNullValues` true, the default, a query that finds nothing is a success with \
         value 0: an exporter restart, a renamed label or a lost scrape scales the workload down at \
         its busiest, and a fallback does not start, because nothing failed.\n\n\
         An error with minReplicaCount 0, where everything stops. Silent for queries that say \
         themselves what nothing means (`or vector(0)`, `absent`).",
    ),
    rule(
        "fallback-too-small",
        Warning,
        "the fallback is smaller than the minimum, or no trigger can use it",
        "fallback.replicas below minReplicaCount scales down just when nothing can be seen. A \
         fallback is never used where all triggers are cpu, memory (read by the HPA) or cron (does not \
         fail), and a scalingModifiers target that is no whole number switches it off.",
    ),
    rule(
        "activation-without-effect",
        Warning,
        "an activation value that decides nothing",
        "Activation values decide between 0 and 1 replica (or idleReplicaCount and the minimum). With \
         minReplicaCount 1 or more and no idleReplicaCount they only colour the Active condition: the \
         HPA scales below them all the same.",
    ),
    rule(
        "ignored-field",
        Warning,
        "a field that nothing reads",
        "A warning for what KEDA no longer or never reads (metricName of the prometheus trigger, \
         unknown metadata keys, fields that its resources do not have), a note for what has no effect \
         in this combination: pollingInterval with minReplicaCount 1 or more and neither \
         idleReplicaCount, fallback nor useCachedMetrics; cooldownPeriod and initialCooldownPeriod \
         where nothing goes to zero.",
    ),
    rule(
        "max-beyond-pool",
        Error,
        "more replicas than the pools can hold",
        "maxReplicaCount × GPUs of a replica against the pools whose nodes take the pod, counted with \
         the scheduler's own filters. What is beyond waits as Pending pods, and a node autoscaler \
         tries again and again. A warning for a ScaledJob, where waiting Jobs are a queue. Silent \
         without --pool.",
    ),
    rule(
        "no-pool-fits",
        Error,
        "no node of any pool can take the pod",
        "A taint that is not tolerated, a resource name that no node has, a request larger than a \
         node, a MIG profile that is not there, a label that contradicts the pool. Labels that a \
         pool's description does not mention are taken to match. Silent without --pool, and for pods \
         that ask for no device.",
    ),
    rule(
        "no-wake-signal",
        Error,
        "scales to zero and nothing can wake it",
        "With minReplicaCount 0 (or idleReplicaCount 0) some trigger must rise while no replica runs. \
         GPU utilization, an engine's queue and anything else that the replicas themselves show \
         vanish with the last replica. The wake-up has to come from what stands before them: a \
         gateway, a broker, a push, a schedule.\n\n\
         A warning where the query takes in other workloads' GPUs, which may wake it by chance.",
    ),
    rule(
        "unreachable-target",
        Error,
        "the target lies beyond what the metric can reach",
        "A replica that is full shows a known most: 1 for a ratio, 100 for a percentage, its batch \
         slots for running requests (--max-num-seqs, --parallel, …). With a target at or above that \
         (within the HPA's tolerance of 10 %) a second replica is never asked for.",
    ),
    rule(
        "memory-as-load",
        Warning,
        "GPU memory as a load",
        "vLLM, TGI, SGLang, TensorFlow and others reserve GPU memory when they start: the value is the \
         same idle and busy. A warning where the workload's image, command or other triggers name \
         such an engine, else a note.",
    ),
    rule(
        "shared-gpu",
        Warning,
        "a whole device's metric on a shared GPU",
        "On time-sliced GPUs every pod shows the load of all pods on the device. On MIG, GPU_UTIL is \
         not defined, and only engine activity and memory exist for a slice.",
    ),
    rule(
        "saturating-signal",
        Note,
        "GPU_UTIL says busy, not how busy",
        "GPU_UTIL is the share of time in which any kernel ran. It reaches 100 with one small request \
         at a time, and once there each evaluation can only ask for 100 / threshold times the \
         replicas, so a step of load is climbed in small factors.",
    ),
    rule(
        "jump-to-zero",
        Warning,
        "the step to zero knows no scale-down policy",
        "When all triggers are inactive for cooldownPeriod, KEDA writes 0 replicas at once, from any \
         number. HPA policies and stabilization do not apply to that step.",
    ),
    rule(
        "shorter-than-ready",
        Warning,
        "windows shorter than a replica's start, or than the query's range",
        "Where a scale-up period and window are shorter than the time a replica needs to serve \
         (--ready-lag), the next evaluations order the same replicas again; where the scale-down \
         window is, replicas go in a lull and are missed after it. A scale-down window shorter than \
         the query's range makes replicas come and go on load that is over. The first part is silent \
         without --ready-lag; a pool's provisioning time is never taken for it.",
    ),
    rule(
        "scale-down-without-drain",
        Note,
        "scaling down cuts work off",
        "No scaleDown behavior, no preStop hook and no grace period beyond the default. A warning \
         where a Service sends requests to the pods.",
    ),
    rule(
        "two-writers",
        Error,
        "two write one replica count",
        "Two ScaledObjects or HPAs on one workload, or an HPA that has the name KEDA gives its own. A \
         warning for `replicas:` in a scaled workload that carries the marks of Argo CD, Flux or \
         Helm: each sync sets it back.",
    ),
    rule(
        "pool-from-zero",
        Warning,
        "nothing known of a pool's nodes says that one would help",
        "A node autoscaler plans with a template of a pool that has no node. A pod that selects a label \
         which is not known to be on it (feature discovery's labels, AKS' accelerator label on newer \
         sizes) waits for ever, as it does where the template's GPUs are not known.",
    ),
    rule(
        "gang",
        Warning,
        "replicas of several GPUs or pods, scaled one pod at a time",
        "A replica of several GPUs needs them free on one node; a replica of several pods is useless \
         until all of them run. Scalers add and remove single pods, and a target per GPU counts a \
         replica several times. LeaderWorkerSets are scaled in whole groups and are left alone.",
    ),
    rule(
        "slow-chain",
        Note,
        "how long a rise in load takes to be answered",
        "Exporter interval, scrape, the query's range, poll, HPA period, scheduler, provisioning and \
         readiness, added up from the manifests and the assumptions, against --objective where it is \
         given.",
    ),
    rule(
        "spec-value",
        Error,
        "KEDA or the API server refuses it",
        "What the resource's schema, KEDA's admission webhook or KEDA's reading of a trigger refuse, \
         in their words.",
    ),
    rule(
        "query-syntax",
        Error,
        "Prometheus cannot parse the query",
        "The query is read with the same parser as the embedded Prometheus. A warning where the server \
         is VictoriaMetrics, whose language is larger.",
    ),
    rule(
        "query-result",
        Error,
        "the query does not give a list of elements",
        "KEDA reads the elements of an instant vector. A scalar or text makes every read fail, a range \
         counts as empty.",
    ),
];

/// The explanation of a rule; where there is none of that id, the nearest one.
pub fn explain(id: &str) -> Result<String, &'static str> {
    match RULES.iter().find(|rule| rule.id == id) {
        Some(rule) => {
            let mut out = format!("{} ({})\n{}\n", rule.id, rule.severity, rule.summary);
            for paragraph in rule.text.split("\n\n") {
                out.push('\n');
                out.push_str(&wrapped(paragraph, 80));
            }
            Ok(out)
        }
        None => {
            let ids = RULES.iter().map(|rule| rule.id);
            Err(nearest(id, ids).map_or("", |(near, _)| near))
        }
    }
}

fn wrapped(text: &str, width: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            out.push('\n');
            column = 0;
        }
        if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push('\n');
    out
}

/// The rules as a documentation page.
pub fn page() -> String {
    let mut out = String::from("| id | usually | finding |\n|---|---|---|\n");
    for rule in RULES {
        let Rule {
            id,
            severity,
            summary,
            ..
        } = rule;
        let _ = writeln!(out, "| [{id}](#{id}) | {severity} | {summary} |");
    }
    for rule in RULES {
        let _ = write!(out, "\n### {}\n\n{}\n", rule.id, rule.text);
    }
    out
}
