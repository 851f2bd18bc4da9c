//! The rules. Each family is a file; `table` has a row for each rule.

mod bounds;
mod fields;
mod hpas;
mod labels;
mod missing;
mod pools;
mod queries;
mod scrape;
mod signals;
mod spec;
mod table;
mod timing;
mod writers;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::keda::ScaleTrigger;
use api::pointer::token;
use api::yaml::Span;
use cluster::schema::Structural;
use promql::parser::SyntaxError;
use serde_json::Value;
use triggers::{Input, MetricType};

use crate::arithmetic::Target;
use crate::finding::{Finding, Severity};
use crate::model::{Model, Object, Scaled, Workload};
use crate::query::Query;
use crate::{Assumptions, Exporter, Source};

pub use table::{RULES, Rule, explain, page};

/// Applies every rule; findings come in the order of files and lines.
pub fn apply(sources: &[Source], model: &Model<'_>, assume: &Assumptions) -> Vec<Finding> {
    let mut cx = Context {
        sources,
        model,
        assume,
        schemas: BTreeMap::new(),
        pools: pools::ask_all(model, &assume.pools),
        out: Vec::new(),
    };
    let triggers: Vec<Trigger<'_>> = model.scaled.iter().flat_map(Trigger::of).collect();
    spec::check(&mut cx);
    fields::check(&mut cx, &triggers);
    queries::check(&mut cx, &triggers);
    labels::check(&mut cx, &triggers);
    bounds::check(&mut cx, &triggers);
    hpas::check(&mut cx);
    missing::check(&mut cx, &triggers);
    signals::check(&mut cx, &triggers);
    pools::check(&mut cx, &triggers);
    timing::check(&mut cx, &triggers);
    writers::check(&mut cx);
    let mut found = cx.out;
    found.sort_by(|a, b| {
        let key = |f: &Finding| (f.source, f.span.line, f.span.column, f.severity, f.id);
        key(a).cmp(&key(b)).then_with(|| a.message.cmp(&b.message))
    });
    found.dedup();
    found
}

/// A trigger with what was read of it.
pub(crate) struct Trigger<'a> {
    /// The object it belongs to.
    pub scaled: &'a Scaled<'a>,
    /// Its pointer.
    pub pointer: String,
    /// Its entry in the list.
    pub trigger: &'a ScaleTrigger,
    /// The same as KEDA reads parameters from it.
    pub input: Input,
    /// Its PromQL, where it has one.
    pub query: Option<Result<Query, SyntaxError>>,
}

impl<'a> Trigger<'a> {
    fn of(scaled: &'a Scaled<'a>) -> Vec<Self> {
        let triggers = scaled.triggers().enumerate();
        triggers
            .map(|(n, (pointer, trigger))| {
                let input = input_of(scaled, n);
                let query = (trigger.trigger_type == "prometheus")
                    .then(|| input.text("query").map(Query::parse))
                    .flatten();
                Self {
                    scaled,
                    pointer,
                    trigger,
                    input,
                    query,
                }
            })
            .collect()
    }

    /// The query, where it can be read.
    pub fn read(&self) -> Option<&Query> {
        self.query.as_ref()?.as_ref().ok()
    }

    /// Pointer of a metadata key.
    pub fn meta(&self, key: &str) -> String {
        format!("{}/metadata/{}", self.pointer, token(key))
    }

    /// The threshold and how it is compared; `None` where it is not usable, or
    /// where a formula or a ScaledJob's own arithmetic takes its place.
    pub fn target(&self) -> Option<Target> {
        if self.scaled.is_job || self.scaled.spec.spec.modifiers().is_some() {
            return None;
        }
        let average = match MetricType::parse(self.input.metric_type.as_deref()) {
            Ok(MetricType::AverageValue) => true,
            Ok(MetricType::Value) => false,
            _ => return None,
        };
        let value = self.input.number("threshold")?;
        (value > 0.0 && value.is_finite()).then_some(Target { average, value })
    }

    /// Whether an empty answer counts as 0.
    pub fn empty_is_zero(&self) -> bool {
        self.input.flag("ignoreNullValues", true)
    }
}

/// The triggers of one object; the list is in the order of the objects.
pub(crate) fn own<'t, 'a>(triggers: &'t [Trigger<'a>], scaled: &Scaled<'_>) -> &'t [Trigger<'a>] {
    let before = |t: &Trigger<'_>| t.scaled.index < scaled.index;
    let start = triggers.partition_point(before);
    let rest = &triggers[start..];
    let count = rest.partition_point(|t| t.scaled.index == scaled.index);
    &rest[..count]
}

/// What a trigger says of itself. An object whose namespace is left to kubectl
/// is read as one in `default`, which is where it goes unless told otherwise.
fn input_of(scaled: &Scaled<'_>, n: usize) -> Input {
    let mut input = Input::of(&scaled.spec, n);
    if input.namespace.is_empty() {
        "default".clone_into(&mut input.namespace);
    }
    input
}

/// What the rules share.
pub(crate) struct Context<'a> {
    sources: &'a [Source],
    pub model: &'a Model<'a>,
    pub assume: &'a Assumptions,
    /// Of KEDA's kinds that were asked for.
    schemas: BTreeMap<String, (Value, Arc<Structural>)>,
    /// What each pool says to each workload, by the workload's index.
    pools: Vec<Vec<pools::Answer<'a>>>,
    out: Vec<Finding>,
}

impl<'a> Context<'a> {
    /// Reports a finding.
    pub fn report(
        &mut self,
        (id, severity): (&'static str, Severity),
        object: &Object<'_>,
        span: Span,
        message: String,
        fix: impl Into<String>,
    ) -> &mut Finding {
        debug_assert!(RULES.iter().any(|rule| rule.id == id), "no rule {id}");
        let source = object.source();
        self.out.push(Finding {
            id,
            severity,
            file: self.sources[source].name.clone(),
            source,
            span,
            object: object.title(),
            message,
            assumptions: Vec::new(),
            fix: fix.into(),
            patch: None,
        });
        let last = self.out.len() - 1;
        &mut self.out[last]
    }

    /// The place of a part of a query in its file; the whole value where the
    /// text was folded or escaped on its way.
    pub fn part(&self, trigger: &Trigger<'_>, (start, end): (usize, usize)) -> Span {
        let object = &trigger.scaled.object;
        let whole = object.at(&trigger.meta("query"));
        let text = &self.sources[object.source()].text;
        let (Some(query), Some(written)) = (trigger.read(), text.get(whole.start..whole.end))
        else {
            return whole;
        };
        let found = match written.find(query.text.trim_end()) {
            Some(at) => Some(at + start),
            None => query
                .text
                .get(start..end)
                .and_then(|part| written.find(part)),
        };
        let Some(at) = found.map(|at| whole.start + at) else {
            return whole;
        };
        // From the value's own place, whose line is known.
        let before = &text[whole.start..at];
        let line_start = text[..at].rfind('\n').map_or(0, |n| n + 1);
        Span {
            line: whole.line + before.matches('\n').count(),
            column: text[line_start..at].chars().count() + 1,
            start: at,
            end: text.floor_char_boundary((at + (end - start)).min(text.len())),
        }
    }

    /// The schema of one of KEDA's kinds.
    pub fn schema(&mut self, kind: &str) -> Option<Arc<Structural>> {
        if !self.schemas.contains_key(kind) {
            let openapi = api::keda::openapi(kind)?;
            let compiled = Arc::new(Structural::compile(&openapi));
            self.schemas.insert(kind.to_owned(), (openapi, compiled));
        }
        let (_, compiled) = self.schemas.get(kind)?;
        Some(Arc::clone(compiled))
    }

    /// The same as it is written, once it was asked for.
    pub fn openapi(&self, kind: &str) -> Option<&Value> {
        Some(&self.schemas.get(kind)?.0)
    }

    /// `dir/m.yaml:3`, where an object begins.
    pub fn place(&self, object: &Object<'_>) -> String {
        let file = &self.sources[object.source()].name;
        format!("{file}:{}", object.key("/kind").line)
    }

    /// The exporter in effect.
    pub fn exporter(&self) -> Exporter {
        self.assume.exporter.unwrap_or(Exporter::Dcgm)
    }

    /// Whether scrapes keep the exporter's labels: as given, else as the
    /// monitors among the documents say, else not.
    pub fn honor_labels(&self) -> bool {
        if let Some(given) = self.assume.honor_labels {
            return given;
        }
        let mut endpoints = self
            .model
            .gpu_monitors
            .iter()
            .flat_map(crate::model::endpoints)
            .map(|(_, endpoint)| endpoint["honorLabels"] == true)
            .peekable();
        endpoints.peek().is_some() && endpoints.all(|honors| honors)
    }

    /// The exporter and, where it matters, the scrape, as far as nobody has
    /// said which they are.
    pub fn assumed_scrape(&self, honor_labels: bool) -> Vec<String> {
        let mut assumed = Vec::new();
        if self.assume.exporter.is_none() {
            assumed.push(format!(
                "the exporter is {} (--exporter dcgm|dcgm-4.9|rheostat)",
                self.exporter().name()
            ));
        }
        let monitor = self.model.gpu_monitors.first();
        match (self.assume.honor_labels, monitor) {
            (None, Some(monitor)) if honor_labels => assumed.push(format!(
                "the scrape is that of {}, with honorLabels {} (--honor-labels true|false)",
                monitor.title(),
                self.honor_labels()
            )),
            (None, None) if honor_labels => assumed.push(format!(
                "the scrape has honorLabels {} (--honor-labels true|false)",
                self.honor_labels()
            )),
            _ => {}
        }
        assumed
    }

    /// The workload of a scaler.
    pub fn workload(&self, scaled: &Scaled<'_>) -> Option<&'a Workload<'a>> {
        self.model.workload(scaled.workload)
    }
}

/// The `behavior` of a scaler: of a ScaledObject's HPA, or of an HPA.
pub(crate) fn behavior<'v>(object: &Object<'v>) -> (&'static str, &'v Value) {
    const OF_KEDA: &str = "/spec/advanced/horizontalPodAutoscalerConfig/behavior";
    match object.kind {
        "HorizontalPodAutoscaler" => ("/spec/behavior", object.get("/spec/behavior")),
        _ => (OF_KEDA, object.get(OF_KEDA)),
    }
}

/// `1 replica`, `3 replicas`.
pub(crate) fn plural(count: i64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
