//! What is told about a replay: as text, as JSON, as a page.

mod html;
mod scatter;
mod series;
mod text;

use serde_json::{Value, json};

use crate::load::{Load, Observed};
use crate::model::{Model, Starting};
use crate::sim::Outcome;
use crate::study::{Fidelity, Row};

/// Everything that a report shows.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the reader must know first, such as that the data is not whole.
    pub warnings: Vec<String>,
    /// Where the load comes from.
    pub source: String,
    /// The load.
    pub load: Load,
    /// What was observed, where the load is reconstructed.
    pub observed: Option<Observed>,
    /// How near the first policy came to what was observed.
    pub fidelity: Option<Fidelity>,
    /// The world.
    pub model: Model,
    /// The swept field.
    pub sweep: Option<String>,
    /// The policies.
    pub rows: Vec<Row>,
}

/// A duration in its largest whole unit.
pub(crate) fn span(seconds: f64) -> String {
    for (unit, name) in [(86_400.0, "d"), (3600.0, "h"), (60.0, "min")] {
        if seconds >= 2.0 * unit || (seconds >= unit && seconds % unit == 0.0) {
            let value = seconds / unit;
            return match value.fract() == 0.0 {
                true => format!("{value} {name}"),
                false => format!("{value:.1} {name}"),
            };
        }
    }
    format!("{seconds} s")
}

impl Report {
    /// The model, a line for each of its parts.
    pub fn model_lines(&self) -> Vec<(&'static str, String)> {
        let model = &self.model;
        let time = |t: std::time::Duration| span(t.as_secs_f64());
        let stages: Vec<String> = model
            .ready_lag
            .iter()
            .map(|s| match s.name.is_empty() {
                true => time(s.time),
                false => format!("{} {}", s.name, time(s.time)),
            })
            .collect();
        let mut lines = vec![
            (
                "signal",
                format!(
                    "exporter samples each {}, scraped each {}; a starting replica's GPU {}",
                    time(model.exporter),
                    time(model.scrape),
                    match model.starting {
                        Starting::Idle => "shows 0 %",
                        Starting::Hidden => "is not shown",
                    }
                ),
            ),
            (
                "control",
                format!(
                    "KEDA polls as the ScaledObject says, HPA {} after a sync that takes {} (direct: \
                     also each scrape)",
                    time(model.hpa.sync_period),
                    time(model.hpa_latency)
                ),
            ),
            (
                "replicas",
                format!("ready {} after they have a node", stages.join(" + ")),
            ),
        ];
        let pools: Vec<String> = model
            .pools
            .iter()
            .map(|p| {
                format!(
                    "{}: {} GPU a node, {} to {} nodes, {} at the start, ordered {} + {} before \
                     its GPUs can be used, {} $/h",
                    p.name,
                    p.gpus,
                    p.min,
                    p.max,
                    p.count,
                    time(p.provision),
                    time(model.gpu_ready),
                    p.price
                )
            })
            .collect();
        if pools.is_empty() {
            lines.push((
                "nodes",
                "not modelled (no --pool): every replica finds a GPU at once".into(),
            ));
        } else {
            for pool in pools {
                lines.push(("nodes", pool));
            }
            lines.push((
                "",
                format!(
                    "a node goes after {} without need",
                    time(model.nodes.unneeded)
                ),
            ));
        }
        lines.push((
            "overload",
            match model.queueing {
                true => "work that cannot be served waits".into(),
                false => "work that cannot be served when it comes is lost".into(),
            },
        ));
        lines
    }

    /// What is known of the demand where the GPUs were saturated.
    fn saturation(&self) -> Option<String> {
        let fraction = self.observed.as_ref()?.saturated_fraction();
        (fraction > 0.0).then(|| {
            format!(
                "for {:.1} % of the time the GPUs were saturated or no replica was ready: demand is only known to be at \
                 least what they did; results are also given for half as much again there",
                fraction * 100.0
            )
        })
    }

    /// For scripts.
    pub fn to_json(&self) -> Value {
        let outcome = |o: &Outcome| {
            json!({
                "gpu_hours": o.gpu_hours,
                "node_gpu_hours": o.node_gpu_hours,
                "unmet_fraction": o.unmet_fraction,
                "overloaded_fraction": o.overloaded_fraction,
                "scale_events": o.scale_events,
                "cost": o.cost,
                "mean_wait_seconds": o.mean_wait_seconds,
            })
        };
        let policies: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                let mut out = outcome(&row.outcome);
                out["name"] = json!(row.name);
                out["place"] = json!(row.place);
                out["actuation"] = json!(row.actuation);
                out["oracle_gpu_hours"] = json!(row.oracle_gpu_hours);
                if let Some(value) = row.swept {
                    out["value"] = json!(value);
                    out["efficient"] = json!(row.efficient);
                }
                if let Some(more) = &row.if_more {
                    out["if_saturated_demand_was_half_as_much_again"] = outcome(more);
                }
                out
            })
            .collect();
        let model: Vec<String> = self
            .model_lines()
            .into_iter()
            .map(|(what, text)| match what.is_empty() {
                true => text,
                false => format!("{what}: {text}"),
            })
            .collect();
        let mut out = json!({
            "policies": policies,
            "load": {
                "source": self.source,
                "seconds": self.load.end as f64 / 1000.0,
                "work_gpu_hours": self.load.gpu_hours(),
                "highest_gpus": self.load.highest(),
            },
            "model": model,
        });
        if !self.warnings.is_empty() {
            out["partial"] = json!(self.warnings);
        }
        if let Some(field) = &self.sweep {
            out["sweep"] = json!(field);
        }
        if let Some(fidelity) = &self.fidelity {
            out["fidelity"] = json!({
                "mean_error_replicas": fidelity.mean_error,
                "relative_error": fidelity.relative_error,
                "same_fraction": fidelity.same_fraction,
                "largest_error_replicas": fidelity.most,
            });
        }
        if let Some(observed) = &self.observed {
            out["saturated_fraction"] = json!(observed.saturated_fraction());
        }
        out
    }
}
