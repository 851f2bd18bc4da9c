//! The other engine's answers as our types.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use promql::eval::QueryValue;
use promql::labels::Labels;
use promql::number::{is_stale, stale_nan};
use serde_json::{Value, json};

use super::queries::Query;
use super::series::Data;

/// What an engine says: a value or why there is none.
pub type Answer = Result<QueryValue, String>;

pub struct Referee(testbed::Referee);

impl Referee {
    pub fn start(binary: &Path) -> Result<Self> {
        let started = testbed::Referee::start(binary);
        let started = started.with_context(|| format!("cannot run {}", binary.display()))?;
        Ok(Self(started))
    }

    /// Replaces the series.
    pub fn load(&mut self, data: &Data) -> Result<()> {
        let series = data.iter().map(|(labels, samples)| {
            let labels: BTreeMap<&str, &str> = labels.iter().collect();
            let samples: Vec<Value> = samples
                .iter()
                .map(|(t, v)| json!({"t": t, "v": if is_stale(*v) { "stale".to_owned() } else { format!("{v:?}") }}))
                .collect();
            json!({"labels": labels, "samples": samples})
        });
        let series: Vec<Value> = series.collect();
        self.0.send(&json!({ "series": series }))?;
        let said = self.0.receive()?;
        if let Some(error) = said.get("error") {
            bail!("the referee cannot read the series: {error}");
        }
        Ok(())
    }

    /// Asks the queries over the series loaded last. `immediate` removes metric
    /// names at once, not at the end.
    pub fn ask(&mut self, queries: &[Query], immediate: bool) -> Result<Vec<Answer>> {
        for q in queries {
            self.0.send(&json!({
                "query": q.text, "start": q.start, "end": q.end, "step": q.step,
                "immediate": immediate,
            }))?;
        }
        queries.iter().map(|_| answer(&self.0.receive()?)).collect()
    }
}

fn answer(said: &Value) -> Result<Answer> {
    let text = |v: &Value| v.as_str().map(str::to_owned);
    if let Some(error) = said.get("error") {
        return Ok(Err(text(error).unwrap_or_default()));
    }
    let mut series = Vec::new();
    for one in said["series"].as_array().into_iter().flatten() {
        let labels = one["labels"].as_object().into_iter().flatten();
        let labels = Labels::from_pairs(labels.map(|(n, v)| (n, v.as_str().unwrap_or(""))));
        let points = one["samples"].as_array().into_iter().flatten().map(|p| {
            let v = match p["v"].as_str() {
                Some("stale") => stale_nan(),
                v => v.and_then(|v| v.parse().ok()).context("a value")?,
            };
            Ok((p["t"].as_i64().context("a time")?, v))
        });
        series.push((labels, points.collect::<Result<Vec<_>>>()?));
    }
    let firsts = |series: Vec<(Labels, Vec<(i64, f64)>)>| {
        let first = |(l, p): (Labels, Vec<(i64, f64)>)| Some((l, p.first()?.1));
        series.into_iter().filter_map(first).collect::<Vec<_>>()
    };
    Ok(Ok(match said["type"].as_str() {
        Some("scalar") => QueryValue::Scalar(firsts(series).first().context("a scalar")?.1),
        Some("string") => QueryValue::Text(text(&said["text"]).unwrap_or_default()),
        Some("vector") => QueryValue::Vector(firsts(series)),
        Some("matrix") => QueryValue::Matrix(series),
        other => bail!("the referee answered with a {other:?}"),
    }))
}
