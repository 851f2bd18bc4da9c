//! Replica counts from readings. The arithmetic keeps the order of operations
//! and the conversions of the original on amd64: results hang on single bits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::explanation::Pods;
use super::input::{HpaConfig, PodObservation};

/// A float as a 32-bit integer; out of range gives the minimum.
pub(super) fn to_i32(value: f64) -> i32 {
    if value > -2_147_483_649.0 && value < 2_147_483_648.0 {
        value as i32
    } else {
        i32::MIN
    }
}

/// A float as a 64-bit integer; out of range gives the minimum.
pub(super) fn to_i64(value: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&value) {
        value as i64
    } else {
        i64::MIN
    }
}

/// Like [`to_i32`], but too large gives the maximum.
fn to_i32_capped(value: f64) -> i32 {
    if value > f64::from(i32::MAX) {
        i32::MAX
    } else {
        to_i32(value)
    }
}

/// How far a ratio may be from 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tolerances {
    pub(super) up: f64,
    pub(super) down: f64,
}

impl Tolerances {
    /// Any difference counts.
    pub(super) const NONE: Tolerances = Tolerances { up: 0.0, down: 0.0 };

    fn cover(self, ratio: f64) -> bool {
        (1.0 - self.down..=1.0 + self.up).contains(&ratio)
    }
}

/// What a reading comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Count {
    pub(super) replicas: i32,
    /// The reading as the status shows it, in thousandths.
    pub(super) usage: i64,
    /// The reading as a percentage of requests.
    pub(super) utilization: Option<i32>,
    /// The reading of all replicas together, where it is read so but compared
    /// per replica.
    pub(super) total: Option<i64>,
    pub(super) ratio: f64,
    /// Replicas by the ratio alone, had the tolerance not held.
    pub(super) raw: i32,
    /// Whether the tolerance kept the number as it was.
    pub(super) held: bool,
    /// The pods that counted.
    pub(super) pods: Option<Pods>,
}

/// The reading of one pod.
#[derive(Clone, Copy, Debug)]
pub(super) struct PodMetric {
    pub(super) value: i64,
    pub(super) timestamp: Timestamp,
    pub(super) window: Duration,
}

/// The pods and settings that counts refer to.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) pods: &'a [&'a PodObservation],
    pub(super) config: &'a HpaConfig,
    pub(super) now: Timestamp,
    pub(super) tolerances: Tolerances,
}

const NO_PODS: &str = "no pods returned by selector while calculating replica count";
const NO_METRICS: &str = "did not receive metrics for targeted pods (pods might be unready)";

/// The sum of series against a target for the whole.
pub(super) fn sum(series: impl Iterator<Item = i64>) -> i64 {
    let mut total = 0i64;
    for value in series {
        match total.checked_add(value) {
            Some(sum) => total = sum,
            None if value > 0 => return i64::MAX,
            None => total = total.wrapping_add(value),
        }
    }
    total
}

/// The sum of series against a target per pod: any negative sum on the way
/// counts as an overflow.
pub(super) fn sum_per_pod(series: impl Iterator<Item = i64>) -> i64 {
    let mut total = 0i64;
    for value in series {
        total = total.wrapping_add(value);
        if total < 0 {
            return i64::MAX;
        }
    }
    total
}

/// A value for the whole against its target; `pods` gives the ready pods and
/// all of them.
pub(super) fn by_value(
    tolerances: Tolerances,
    current: i32,
    pods: impl FnOnce() -> (usize, usize),
    usage: i64,
    target: i64,
) -> Result<Count, String> {
    let ratio = usage as f64 / target as f64;
    let (ready, all) = pods();
    let count = |replicas, raw, held| Count {
        replicas,
        usage,
        ratio,
        raw,
        held,
        pods: Some(Pods {
            ready,
            unready: all.saturating_sub(ready),
            ..Pods::default()
        }),
        ..Count::default()
    };
    if current == 0 {
        let wanted = to_i32(ratio.ceil());
        return Ok(count(wanted, wanted, false));
    }
    let wanted = to_i32_capped((ratio * ready as f64).ceil());
    if tolerances.cover(ratio) {
        return Ok(count(current, wanted, true));
    }
    if all == 0 {
        return Err(format!("unable to calculate ready pods: {NO_PODS}"));
    }
    Ok(count(wanted, wanted, false))
}

/// A value for the whole against a target per pod.
pub(super) fn per_pod(
    tolerances: Tolerances,
    running: i32,
    usage: i64,
    target: i64,
    external: bool,
) -> Count {
    let ratio = usage as f64 / (target as f64 * f64::from(running));
    let wanted = (usage as f64 / target as f64).ceil();
    let raw = if external {
        to_i32_capped(wanted)
    } else {
        to_i32(wanted)
    };
    let held = tolerances.cover(ratio);
    let saturated = external && usage as f64 >= 9_223_372_036_854_775_808.0;
    let average = match saturated {
        true => i64::MAX,
        false => to_i64((usage as f64 / f64::from(running)).ceil()),
    };
    Count {
        replicas: if held { running } else { raw },
        usage: average,
        total: Some(usage),
        ratio,
        raw,
        held,
        ..Count::default()
    }
}

impl Context<'_> {
    /// A value for the whole against its target; scales the number of ready
    /// pods.
    pub(super) fn by_value(&self, current: i32, usage: i64, target: i64) -> Result<Count, String> {
        let pods = || {
            let ready = self.pods.iter().filter(|p| p.is_running_and_ready());
            (ready.count(), self.pods.len())
        };
        by_value(self.tolerances, current, pods, usage, target)
    }

    /// A value for the whole against a target per pod.
    pub(super) fn per_pod(&self, running: i32, usage: i64, target: i64, external: bool) -> Count {
        per_pod(self.tolerances, running, usage, target, external)
    }

    /// Readings of pods against an average value.
    pub(super) fn average(
        &self,
        current: i32,
        metrics: BTreeMap<String, PodMetric>,
        target: i64,
        resource: &str,
    ) -> Result<Count, String> {
        let groups = self.group(&metrics, resource)?;
        let mut values = groups.usable(metrics)?;
        let ratio_of = |values: &BTreeMap<String, i64>| {
            let total = values.values().fold(0i64, |sum, v| sum.wrapping_add(*v));
            let usage = total.wrapping_div(values.len() as i64);
            (usage as f64 / target as f64, usage)
        };
        let (ratio, usage) = ratio_of(&values);
        let rebalance = !groups.unready.is_empty() && ratio > 1.0;
        let assumed = rebalance || !groups.missing.is_empty();
        let count = |settled: Settled| Count {
            replicas: settled.replicas,
            usage,
            ratio,
            raw: settled.raw,
            held: settled.held,
            pods: Some(groups.counts(assumed)),
            ..Count::default()
        };
        if !assumed {
            return Ok(count(self.plain(current, ratio, groups.ready)));
        }
        for pod in &groups.missing {
            values.insert(pod.clone(), if ratio < 1.0 { target } else { 0 });
        }
        if rebalance {
            values.extend(groups.unready.iter().map(|pod| (pod.clone(), 0)));
        }
        let (patched, _) = ratio_of(&values);
        Ok(count(self.settle(current, ratio, patched, values.len())))
    }

    /// Readings of pods against a percentage of their requests.
    pub(super) fn utilization(
        &self,
        current: i32,
        metrics: BTreeMap<String, PodMetric>,
        target: i32,
        resource: &str,
        container: &str,
    ) -> Result<Count, String> {
        let groups = self.group(&metrics, resource)?;
        let mut values = groups.usable(metrics)?;
        let requests = self.requests(resource, container)?;
        let ratio_of = |values: &BTreeMap<String, i64>| {
            let (mut used, mut asked, mut entries) = (0i64, 0i64, 0i64);
            for (pod, value) in values {
                let Some(request) = requests.get(pod.as_str()) else {
                    continue;
                };
                used = used.wrapping_add(*value);
                asked = asked.wrapping_add(*request);
                entries += 1;
            }
            if asked == 0 {
                return Err("no metrics returned matched known pods".to_owned());
            }
            let percent = used.wrapping_mul(100).wrapping_div(asked) as i32;
            let ratio = f64::from(percent) / f64::from(target);
            Ok((ratio, percent, used.wrapping_div(entries)))
        };
        let (ratio, percent, usage) = ratio_of(&values)?;
        let rebalance = !groups.unready.is_empty() && ratio > 1.0;
        let assumed = rebalance || !groups.missing.is_empty();
        let count = |settled: Settled| Count {
            replicas: settled.replicas,
            usage,
            utilization: Some(percent),
            ratio,
            raw: settled.raw,
            held: settled.held,
            pods: Some(groups.counts(assumed)),
            ..Count::default()
        };
        if !assumed {
            return Ok(count(self.plain(current, ratio, groups.ready)));
        }
        for pod in &groups.missing {
            if ratio < 1.0 {
                let request = requests.get(pod.as_str()).copied().unwrap_or(0);
                let assumed = request.wrapping_mul(i64::from(target.max(100))) / 100;
                values.insert(pod.clone(), assumed);
            } else if ratio > 1.0 {
                values.insert(pod.clone(), 0);
            }
        }
        if rebalance {
            values.extend(groups.unready.iter().map(|pod| (pod.clone(), 0)));
        }
        let (patched, _, _) = ratio_of(&values)?;
        Ok(count(self.settle(current, ratio, patched, values.len())))
    }

    /// The count where every pod has a reading.
    fn plain(&self, current: i32, ratio: f64, ready: usize) -> Settled {
        let raw = to_i32((ratio * ready as f64).ceil());
        let held = self.tolerances.cover(ratio);
        Settled {
            replicas: if held { current } else { raw },
            raw,
            held,
        }
    }

    /// The count after readings were assumed for some pods: it may not turn
    /// the direction, nor overshoot in the other one.
    fn settle(&self, current: i32, ratio: f64, patched: f64, pods: usize) -> Settled {
        let turned = (ratio < 1.0 && patched > 1.0) || (ratio > 1.0 && patched < 1.0);
        let wanted = to_i32((patched * pods as f64).ceil());
        let wrong = (patched < 1.0 && wanted > current) || (patched > 1.0 && wanted < current);
        let raw = if turned || wrong { current } else { wanted };
        let held = self.tolerances.cover(patched);
        Settled {
            replicas: if held { current } else { raw },
            raw,
            held,
        }
    }

    fn group(
        &self,
        metrics: &BTreeMap<String, PodMetric>,
        resource: &str,
    ) -> Result<Groups, String> {
        if self.pods.is_empty() {
            return Err(NO_PODS.to_owned());
        }
        let mut groups = Groups::default();
        for pod in self.pods {
            if pod.deleting || pod.phase == "Failed" {
                groups.ignored.insert(pod.name.clone());
            } else if pod.phase == "Pending" {
                groups.unready.insert(pod.name.clone());
            } else if let Some(metric) = metrics.get(&pod.name) {
                if resource == "cpu" && self.cpu_reading_is_premature(pod, metric) {
                    groups.unready.insert(pod.name.clone());
                } else {
                    groups.ready += 1;
                }
            } else {
                groups.missing.insert(pod.name.clone());
            }
        }
        Ok(groups)
    }

    /// Whether a CPU reading may come from starting up.
    fn cpu_reading_is_premature(&self, pod: &PodObservation, metric: &PodMetric) -> bool {
        let (Some((ready, changed)), Some(start)) = (&pod.ready, pod.start_time) else {
            return true;
        };
        let plus = |time: Timestamp, span: Duration| {
            let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
            time.saturating_add(span).unwrap_or(Timestamp::MAX)
        };
        let changed = changed.unwrap_or(Timestamp::MIN);
        let unready = ready == "False";
        if plus(start, self.config.cpu_initialization_period) > self.now {
            return unready || metric.timestamp < plus(changed, metric.window);
        }
        unready && plus(start, self.config.initial_readiness_delay) > changed
    }

    fn requests(&self, resource: &str, container: &str) -> Result<BTreeMap<&str, i64>, String> {
        let mut out = BTreeMap::new();
        for pod in self.pods {
            let name = pod.name.as_str();
            let whole = pod.pod_requests.as_ref();
            if let Some(requests) =
                whole.filter(|_| self.config.pod_level_resources && container.is_empty())
            {
                let request = requests.get(resource).ok_or_else(|| {
                    format!("missing pod-level request for {resource} in Pod {name}")
                })?;
                out.insert(name, request.milli_value());
                continue;
            }
            let mut total = 0i64;
            let mut found = container.is_empty();
            for (c, requests) in &pod.containers {
                if !container.is_empty() && container != c {
                    continue;
                }
                found = true;
                let request = requests.get(resource).ok_or_else(|| {
                    format!("missing request for {resource} in container {c} of Pod {name}")
                })?;
                total = total.wrapping_add(request.milli_value());
            }
            if !found {
                return Err(format!("container {container} not found in Pod {name}"));
            }
            out.insert(name, total);
        }
        Ok(out)
    }
}

/// A count, with and without the tolerance.
#[derive(Clone, Copy)]
struct Settled {
    replicas: i32,
    raw: i32,
    held: bool,
}

#[derive(Debug, Default)]
struct Groups {
    ready: usize,
    unready: BTreeSet<String>,
    missing: BTreeSet<String>,
    ignored: BTreeSet<String>,
}

impl Groups {
    fn counts(&self, assumed: bool) -> Pods {
        Pods {
            ready: self.ready,
            unready: self.unready.len(),
            missing: self.missing.len(),
            ignored: self.ignored.len(),
            assumed,
        }
    }

    /// The readings that count.
    fn usable(
        &self,
        metrics: BTreeMap<String, PodMetric>,
    ) -> Result<BTreeMap<String, i64>, String> {
        let values: BTreeMap<String, i64> = metrics
            .into_iter()
            .filter(|(pod, _)| !self.ignored.contains(pod) && !self.unready.contains(pod))
            .map(|(pod, metric)| (pod, metric.value))
            .collect();
        if values.is_empty() {
            Err(NO_METRICS.to_owned())
        } else {
            Ok(values)
        }
    }
}
