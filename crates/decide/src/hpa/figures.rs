//! The numbers of one evaluation, before anything is put into words.

use std::collections::BTreeSet;

use api::selector::Selector;
use jiff::Timestamp;

use super::calculator::{Context, Tolerances};
use super::explanation::{Omitted, Otherwise, Recommendation, Rule};
use super::input::*;
use super::metrics::{Fault, Metric, Reading};
use super::normalize::{self, Normal, Rules};
use super::plan::{Course, course, scaled_to_zero};
use super::types::{HpaSpec, ScalingRules};

/// What an evaluation comes to in numbers.
pub(super) struct Figures {
    pub(super) current: i32,
    pub(super) running: i32,
    pub(super) desired: i32,
    pub(super) way: Way,
}

/// How it came to them.
pub(super) enum Way {
    /// The target stands at zero and is left alone.
    Paused,
    /// Outside the bounds: straight to the bound.
    Bound(&'static str),
    /// The pods cannot be told apart from others'.
    BadSelector(BadSelector),
    /// By metrics.
    Metrics(Measured),
}

/// A selector that does not do.
pub(super) struct BadSelector {
    pub(super) event: &'static str,
    pub(super) reason: &'static str,
    pub(super) text: String,
    pub(super) message: String,
}

/// What the metrics ask for and what becomes of it.
pub(super) struct Measured {
    pub(super) outcomes: Vec<Result<Reading, Fault>>,
    pub(super) tolerances: Tolerances,
    /// The place of the metric that asks for the most.
    pub(super) winner: Option<usize>,
    /// What it asks for.
    pub(super) asked: i32,
    pub(super) failed: usize,
    /// `asked` from zero, raised to the lower bound.
    pub(super) woken: i32,
    /// `None` where failed metrics keep the number as it is.
    pub(super) normal: Option<Normal>,
}

impl Measured {
    /// The first metric that failed.
    pub(super) fn fault(&self) -> Option<&Fault> {
        self.outcomes.iter().find_map(|o| o.as_ref().err())
    }

    /// The error of metrics that failed.
    pub(super) fn invalid(&self) -> String {
        let (failed, of) = (self.failed, self.outcomes.len());
        let first = self.fault().map_or("", |f| f.error.as_str());
        format!("invalid metrics ({failed} invalid out of {of}), first error is: {first}")
    }
}

/// The first evaluation finds the present count as its only recommendation.
pub(super) fn seed(memory: &mut HpaMemory, current: i32, now: Timestamp) {
    if memory.recommendations.is_none() {
        let first = Recommendation {
            replicas: current,
            at: now,
        };
        memory.recommendations = Some(vec![first]);
    }
}

/// An evaluation that can be done again without one of its rules.
pub(super) struct Arithmetic<'a> {
    input: &'a HpaInput,
    current: i32,
    running: i32,
    rules: Option<Rules>,
    pods: Vec<&'a PodObservation>,
    now: Timestamp,
}

impl<'a> Arithmetic<'a> {
    /// Prepares the evaluation of a target whose scale was read.
    pub(super) fn new(
        input: &'a HpaInput,
        (current, running): (i32, i32),
        now: Timestamp,
    ) -> Arithmetic<'a> {
        Arithmetic {
            input,
            current,
            running,
            rules: rules(input),
            pods: Vec::new(),
            now,
        }
    }

    /// The spec's behavior, with everything filled in.
    pub(super) fn rules(&self) -> Option<&Rules> {
        self.rules.as_ref()
    }

    /// The time of the evaluation.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// The numbers; `memory` is seeded.
    pub(super) fn run(&mut self, selector: &str, memory: &HpaMemory) -> Figures {
        let mut figures = Figures {
            current: self.current,
            running: self.running,
            desired: self.current,
            way: Way::Paused,
        };
        match course(self.input, self.current) {
            Course::Paused => {}
            Course::Bound(bound, reason) => {
                figures.desired = bound;
                figures.way = Way::Bound(reason);
            }
            Course::Metrics => match selected_pods(self.input, selector) {
                Err(bad) => figures.way = Way::BadSelector(bad),
                Ok(pods) => {
                    self.pods = pods;
                    let mut measured =
                        self.measure(tolerances(&self.input.spec, &self.input.config));
                    measured.normal = self.conclude(memory, &measured, None);
                    if let Some(normal) = &measured.normal {
                        figures.desired = normal.limited.replicas;
                    }
                    figures.way = Way::Metrics(measured);
                }
            },
        }
        figures
    }

    /// Takes note of what the metrics recommended.
    pub(super) fn remember(&self, figures: &Figures, memory: &mut HpaMemory) {
        if let Way::Metrics(measured) = &figures.way
            && measured.normal.is_some()
        {
            let (rules, config) = (self.rules.as_ref(), &self.input.config);
            normalize::remember(rules, config, memory, measured.woken, self.now);
        }
    }

    /// Evaluates every metric.
    fn measure(&self, tolerances: Tolerances) -> Measured {
        let input = self.input;
        let context = Context {
            pods: &self.pods,
            config: &input.config,
            now: self.now,
            tolerances,
        };
        let mut measured = Measured {
            outcomes: Vec::with_capacity(input.spec.metrics.len()),
            tolerances,
            winner: None,
            asked: 0,
            failed: 0,
            woken: 0,
            normal: None,
        };
        for (at, spec) in input.spec.metrics.iter().enumerate() {
            let metric = Metric {
                input,
                context,
                current: self.current,
                running: self.running,
                spec,
                reading: input.metrics.get(&at),
            };
            let outcome = metric.read();
            match &outcome {
                Ok(reading) => {
                    let replicas = reading.count.replicas;
                    if takes_over(measured.asked, replicas) {
                        measured.asked = replicas;
                        measured.winner = Some(at);
                    }
                }
                Err(_) => measured.failed += 1,
            }
            measured.outcomes.push(outcome);
        }
        measured.woken = self.woken(measured.asked.max(0));
        measured
    }

    /// From zero, no fewer than the lower bound.
    fn woken(&self, asked: i32) -> i32 {
        let (min, asleep) = (self.input.spec.min(), scaled_to_zero(self.input));
        match wakes_to_min(self.current, asleep, min, asked) {
            true => min,
            false => asked,
        }
    }

    /// What becomes of what the metrics ask for; `None` where those that failed
    /// keep the number as it is.
    fn conclude(
        &self,
        memory: &HpaMemory,
        measured: &Measured,
        omit: Option<Omitted>,
    ) -> Option<Normal> {
        let (failed, of) = (measured.failed, measured.outcomes.len());
        let ignored = omit == Some(Omitted::FailedMetrics) && failed < of;
        if failures_forbid(failed, of, measured.asked, self.current) && !ignored {
            return None;
        }
        let asked = match omit {
            Some(Omitted::Minimum) => measured.asked.max(0),
            _ => measured.woken,
        };
        let spec = &self.input.spec;
        Some(normalize::settle(
            self.rules.as_ref(),
            &self.input.config,
            memory,
            (spec.min(), spec.max_replicas),
            (self.current, asked),
            self.now,
            omit,
        ))
    }

    /// The rule that stabilized `asked`.
    pub(super) fn stabilization(&self, memory: &HpaMemory, asked: i32, stable: i32) -> Rule {
        let (rules, config) = (self.rules.as_ref(), &self.input.config);
        normalize::stabilization(rules, config, memory, (asked, stable), self.now)
    }

    /// What would come out without each of the rules that made a difference,
    /// nearest first.
    pub(super) fn otherwise(&self, figures: &Figures, memory: &HpaMemory) -> Vec<Otherwise> {
        let Way::Metrics(measured) = &figures.way else {
            return Vec::new();
        };
        let mut omitted: Vec<Omitted> = Vec::new();
        match &measured.normal {
            None => omitted.push(Omitted::FailedMetrics),
            Some(normal) => {
                if normal.stable.replicas != measured.woken {
                    omitted.push(Omitted::Stabilization);
                }
                if let Some(bind) = normal.limited.bind {
                    omitted.push(bind.omitted());
                } else if measured.woken != measured.asked.max(0) {
                    omitted.push(Omitted::Minimum);
                }
            }
        }
        let held = |r: &Reading| r.count.held && r.count.raw != r.count.replicas;
        let mut readings = measured.outcomes.iter().filter_map(|o| o.as_ref().ok());
        if readings.any(held) {
            omitted.push(Omitted::Tolerance);
        }
        let mut out: Vec<Otherwise> = Vec::with_capacity(omitted.len());
        for without in omitted {
            let other = match without {
                Omitted::Tolerance => {
                    let measured = self.measure(Tolerances::NONE);
                    self.conclude(memory, &measured, None)
                }
                _ => self.conclude(memory, measured, Some(without)),
            };
            let replicas = other.map_or(self.current, |n| n.limited.replicas);
            if replicas != figures.desired {
                out.push(Otherwise { without, replicas });
            }
        }
        let distance = |o: &Otherwise| (i64::from(o.replicas) - i64::from(figures.desired)).abs();
        out.sort_by_key(distance);
        out
    }
}

/// The pods of the selector, if it is good and no other HPA has a hand on them.
fn selected_pods<'a>(
    input: &'a HpaInput,
    selector: &str,
) -> Result<Vec<&'a PodObservation>, BadSelector> {
    if selector.is_empty() {
        return Err(BadSelector {
            event: "SelectorRequired",
            reason: "InvalidSelector",
            text: "selector is required".to_owned(),
            message: "the HPA target's scale is missing a selector".to_owned(),
        });
    }
    let parsed = Selector::parse(selector).map_err(|error| {
        let text = format!(
            "couldn't convert selector into a corresponding internal selector object: {error}"
        );
        BadSelector {
            event: "InvalidSelector",
            reason: "InvalidSelector",
            message: text.clone(),
            text,
        }
    })?;
    let pods: Vec<_> = input
        .pods
        .iter()
        .filter(|p| parsed.matches(&p.labels))
        .collect();
    let mut rivals: BTreeSet<&str> = BTreeSet::new();
    for other in &input.others {
        let theirs = match other.selector.is_empty() {
            true => None,
            false => Selector::parse(&other.selector).ok(),
        };
        if theirs.is_some_and(|s| pods.iter().any(|p| s.matches(&p.labels))) {
            rivals.insert(&other.name);
        }
    }
    if rivals.is_empty() {
        return Ok(pods);
    }
    let newer = input.config.version >= KubernetesVersion::V1_37;
    rivals.insert(&input.name);
    let names: Vec<String> = rivals
        .iter()
        .map(|name| format!("{}/{name}", input.namespace))
        .collect();
    let some = names.get(..2).unwrap_or(&names);
    let text = match newer {
        true => format!(
            "pods by selector {selector} are controlled by more than one HPA (e.g. [{}])",
            some.join(" ")
        ),
        false => format!(
            "pods by selector {selector} are controlled by multiple HPAs: [{}]",
            names.join(" ")
        ),
    };
    Err(BadSelector {
        event: "AmbiguousSelector",
        reason: "AmbiguousSelector",
        message: text.clone(),
        text,
    })
}

/// The spec's behavior, with everything filled in.
pub(super) fn rules(input: &HpaInput) -> Option<Rules> {
    let behavior = input.spec.behavior.as_ref();
    behavior.map(|b| Rules::of(b, &input.config))
}

/// How far a ratio may be from 1, by the spec or else by the settings.
pub(super) fn tolerances(spec: &HpaSpec, config: &HpaConfig) -> Tolerances {
    let behavior = spec
        .behavior
        .as_ref()
        .filter(|_| config.configurable_tolerance);
    let of = |rules: Option<&ScalingRules>| {
        rules
            .and_then(|r| r.tolerance.as_ref())
            .map_or(config.tolerance, |t| t.as_f64())
    };
    Tolerances {
        up: of(behavior.and_then(|b| b.scale_up.as_ref())),
        down: of(behavior.and_then(|b| b.scale_down.as_ref())),
    }
}

/// Whether a further proposal replaces the best one so far.
pub(super) fn takes_over(best: i32, proposal: i32) -> bool {
    best == 0 || proposal > best
}

/// Whether metrics that failed keep the count as it is: all of them did, or
/// those that did not ask for fewer replicas.
pub(super) fn failures_forbid(failed: usize, of: usize, asked: i32, current: i32) -> bool {
    failed > 0 && (failed >= of || asked < current)
}

/// Whether a target that sleeps at zero is woken to its minimum first.
pub(super) fn wakes_to_min(current: i32, asleep: bool, min: i32, desired: i32) -> bool {
    current == 0 && asleep && min != 0 && desired < min
}

/// Whether a written scale puts the target to sleep, to be woken by metrics.
pub(super) fn falls_asleep(from: i32, to: i32, min: i32, external: bool) -> bool {
    from > 0 && to == 0 && min == 0 && external
}
