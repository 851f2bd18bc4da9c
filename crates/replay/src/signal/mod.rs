//! What a trigger's query measures on the simulated replicas.
//!
//! The common shapes (an aggregation over one utilization metric of the
//! workload's replicas, arithmetic with numbers, quotients of such) are
//! computed from counts; every other query is evaluated by the query engine on
//! the simulated series. Both give the same number (`tests/signals.rs`).

mod engine;
mod shape;

pub(crate) use engine::{Engine, Scrape};
pub use shape::{Page, Shape};

use std::collections::BTreeMap;

use promql::labels::Matcher;
use promql::parser::ast::{Expr, Kind};

use crate::error::{InputError, Read};

/// How a metric shows how busy a GPU is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// 0 to 100, whole numbers, as the driver counts.
    WholePercent,
    /// 0 to 100.
    Percent,
    /// 0 to 1.
    Ratio,
}

impl Unit {
    /// The metric's value for a busy share.
    pub fn show(self, share: f64) -> f64 {
        match self {
            Self::WholePercent => (share * 100.0).round(),
            Self::Percent => share * 100.0,
            Self::Ratio => share,
        }
    }

    /// The busy share that a value stands for.
    pub fn share(self, value: f64) -> f64 {
        match self {
            Self::Ratio => value,
            _ => value / 100.0,
        }
    }
}

/// Metrics that the load model can produce.
#[derive(Clone, Debug)]
pub struct Metrics(BTreeMap<String, Unit>);

impl Default for Metrics {
    fn default() -> Self {
        let known = [
            ("DCGM_FI_DEV_GPU_UTIL", Unit::WholePercent),
            ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", Unit::Ratio),
            ("DCGM_FI_PROF_SM_ACTIVE", Unit::Ratio),
            ("nv_gpu_utilization", Unit::Ratio),
        ];
        Self(known.map(|(n, u)| (n.to_owned(), u)).into())
    }
}

impl Metrics {
    /// Adds `NAME=percent` or `NAME=ratio`.
    pub fn add(&mut self, text: &str) -> Read<()> {
        let (name, unit) = text.split_once('=').unwrap_or((text, ""));
        let unit = match unit {
            "percent" => Unit::Percent,
            "ratio" => Unit::Ratio,
            _ => {
                return Err(InputError::new(
                    format!("--metric {text}"),
                    "write NAME=percent (0 to 100) or NAME=ratio (0 to 1)",
                ));
            }
        };
        self.0.insert(name.to_owned(), unit);
        Ok(())
    }

    /// How a metric shows a busy share.
    pub fn unit(&self, name: &str) -> Option<Unit> {
        self.0.get(name).copied()
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.0.keys().map(String::as_str).collect();
        names.join(", ")
    }
}

/// So many names of pods are tried on a matcher to see whether it takes all.
const POD_NAMES: u64 = 1000;

/// The labels of the simulated series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Namespace.
    pub namespace: String,
    /// `Deployment`, `StatefulSet`, ….
    pub kind: String,
    /// Name.
    pub name: String,
    /// Container that asks for the GPUs.
    pub container: String,
}

impl Workload {
    /// Whether replicas have ordinals and go in their order.
    pub(crate) fn has_ordinals(&self) -> bool {
        self.kind == "StatefulSet"
    }

    /// Name of a replica's pod.
    pub(crate) fn pod(&self, number: u64) -> String {
        match self.kind.as_str() {
            "StatefulSet" => format!("{}-{number}", self.name),
            _ => format!("{}-7d4b9c6f8d-{number:05}", self.name),
        }
    }

    /// The value that a label has on the series of every replica; `None` for
    /// labels that the model does not know, which are taken to fit.
    fn label(&self, name: &str) -> Option<String> {
        let name = name.strip_prefix("exported_").unwrap_or(name);
        let owner = self.kind.to_ascii_lowercase();
        Some(match name {
            "namespace" => self.namespace.clone(),
            "container" => self.container.clone(),
            "pod" => self.pod(1),
            "deployment" | "statefulset" if name == owner => self.name.clone(),
            _ => return None,
        })
    }

    /// Whether a matcher may take some of the workload's GPUs and leave others.
    pub(crate) fn divides(&self, matcher: &Matcher) -> bool {
        match matcher.name.as_str() {
            "gpu" | "UUID" => true,
            // Such as `web-.*`: names differ in their numbers alone.
            "pod" | "exported_pod" => !(0..POD_NAMES).all(|n| matcher.matches(&self.pod(n))),
            _ => false,
        }
    }

    pub(crate) fn fits(&self, matcher: &Matcher) -> bool {
        self.label(&matcher.name)
            .is_none_or(|value| matcher.matches(&value))
    }
}

/// A query and how it is evaluated.
#[derive(Clone, Debug)]
pub struct Signal {
    /// As written.
    pub query: String,
    /// How it is computed.
    pub(crate) how: How,
}

#[derive(Clone, Debug)]
pub(crate) enum How {
    /// From counts.
    Counts(Shape),
    /// By the engine.
    Engine(Engine),
}

impl Signal {
    /// Reads a query. `place` names the trigger.
    pub fn read(place: &str, query: &str, metrics: &Metrics, workload: &Workload) -> Read<Self> {
        let fail = |problem: String| InputError::new(place, problem);
        let expr = promql::parser::parse(query)
            .map_err(|e| fail(format!("query {query}: {}", e.render(query))))?;
        check(&expr, query, metrics, workload).map_err(fail)?;
        let how = match Shape::of(&expr, metrics, workload) {
            Some(shape) => How::Counts(shape),
            None => How::Engine(Engine::of(query, &expr, metrics, workload)),
        };
        Ok(Self {
            query: query.to_owned(),
            how,
        })
    }

    /// A signal that is the sum of a metric over the replicas' GPUs.
    pub(crate) fn sum_of(metric: &str, unit: Unit) -> Self {
        Self {
            query: format!("sum({metric})"),
            how: How::Counts(Shape::sum(unit)),
        }
    }

    /// Whether the engine has to evaluate it.
    pub fn needs_engine(&self) -> bool {
        matches!(self.how, How::Engine(_))
    }

    /// The shape, where the query has one.
    pub fn shape(&self) -> Option<&Shape> {
        match &self.how {
            How::Counts(shape) => Some(shape),
            How::Engine(_) => None,
        }
    }
}

/// Every selector must be about a metric that the model produces and about
/// this workload.
fn check(expr: &Expr, query: &str, metrics: &Metrics, workload: &Workload) -> Result<(), String> {
    match &expr.kind {
        Kind::Selector(selector) => {
            let name = selector.matchers.iter().find(|m| m.name == "__name__");
            let name = name.map_or("", |m| m.value.as_str());
            if metrics.unit(name).is_none() {
                return Err(format!(
                    "query {query}: the load model produces how busy GPUs are ({}), not \
                     \"{name}\"; if that metric shows the same, say so with --metric \
                     {name}=percent or {name}=ratio",
                    metrics.names()
                ));
            }
            for matcher in &selector.matchers {
                if matcher.name != "__name__" && !workload.fits(matcher) {
                    return Err(format!(
                        "query {query}: the matcher on label {} does not fit {} {}/{}, so it \
                         would measure another workload; give the manifest of that one",
                        matcher.name, workload.kind, workload.namespace, workload.name
                    ));
                }
            }
            Ok(())
        }
        Kind::Paren(e) | Kind::Unary { expr: e, .. } | Kind::Subquery { expr: e, .. } => {
            check(e, query, metrics, workload)
        }
        Kind::Binary { lhs, rhs, .. } => {
            check(lhs, query, metrics, workload)?;
            check(rhs, query, metrics, workload)
        }
        Kind::Aggregate { expr: e, param, .. } => {
            if let Some(param) = param {
                check(param, query, metrics, workload)?;
            }
            check(e, query, metrics, workload)
        }
        Kind::Call { args, .. } => args
            .iter()
            .try_for_each(|a| check(a, query, metrics, workload)),
        Kind::Number(_) | Kind::Text(_) => Ok(()),
    }
}
