//! The `cron` trigger: a number of replicas inside a time window, none outside.

use decide::cron::{self, ParseError, Schedule, Window};
use futures::future::BoxFuture;

use crate::metadata::Reader;
use crate::{ConfigError, Context, Input, MetricSpec, MetricType, Reading, Trigger, TriggerError};

/// A parsed `cron` trigger.
#[derive(Clone, Debug)]
pub struct Config {
    /// HPA side; the target is 1, so the value is a number of replicas.
    pub spec: MetricSpec,
    /// When the replicas are wanted.
    pub window: Window,
    /// The name of the time zone; looked up at each read, as in KEDA.
    pub timezone: String,
    /// How many are wanted.
    pub desired_replicas: i64,
}

impl Config {
    /// Reads a trigger's parameters.
    pub fn parse(input: &Input) -> Result<Self, ConfigError> {
        let metric_type = MetricType::parse(input.metric_type.as_deref())?;
        let mut reader = Reader::new(input);
        let start = reader.required("start").unwrap_or_default();
        let end = reader.required("end").unwrap_or_default();
        let timezone = reader.required("timezone").unwrap_or_default();
        let desired_replicas = reader
            .required("desiredReplicas")
            .and_then(|value| reader.int("desiredReplicas", value))
            .unwrap_or_default();
        // The first contradiction ends the checks; what was missing stands
        // before it.
        let checked = check(start, end, desired_replicas);
        if let Err(text) = &checked {
            reader.fail(text.clone());
        }
        let wrap = |text| ConfigError(format!("error parsing cron metadata: {text}"));
        reader.finish().map_err(wrap)?;
        let window = checked.map_err(wrap)?;
        let name = format!("cron-{timezone}-{}-{}", plain(start), plain(end));
        Ok(Self {
            spec: MetricSpec {
                metric_name: crate::metric_name(input.trigger_index, &name),
                metric_type,
                target: 1.0,
            },
            window,
            timezone: timezone.to_owned(),
            desired_replicas,
        })
    }

    /// The window at `now`.
    pub fn edges(&self, now: jiff::Timestamp) -> Result<cron::Edges, TriggerError> {
        let zone = cron::zone(&self.timezone)
            .map_err(|error| TriggerError(format!("unable to load timezone: {error}")))?;
        let edges = self.window.at(now, &zone);
        edges.map_err(|error| TriggerError(error.to_string()))
    }
}

fn check(start: &str, end: &str, desired_replicas: i64) -> Result<Window, String> {
    let parse = |what: &str, text: &str| {
        Schedule::parse(text)
            .map_err(|ParseError(cause)| format!("error parsing {what} schedule: {cause}"))
    };
    let window = Window {
        start: parse("start", start)?,
        end: parse("end", end)?,
    };
    if start == end {
        return Err("start and end can not have exactly same time input".to_owned());
    }
    if desired_replicas == 0 {
        return Err("no desiredReplicas specified".to_owned());
    }
    Ok(window)
}

/// A schedule as it stands in the metric's name.
fn plain(schedule: &str) -> String {
    schedule
        .replace(' ', "")
        .replace('*', "x")
        .replace('/', "Sl")
        .replace('?', "Qm")
        .replace(',', "Cm")
}

/// A trigger that can be read: the clock is all it needs.
pub struct Cron {
    config: Config,
    clock: clock::Clock,
}

impl Cron {
    pub(crate) fn new(config: Config, ctx: &Context) -> Self {
        Self {
            config,
            clock: ctx.clock,
        }
    }
}

impl Trigger for Cron {
    fn spec(&self) -> &MetricSpec {
        &self.config.spec
    }

    fn read(&self) -> BoxFuture<'_, Result<Reading, TriggerError>> {
        let reading = self.config.edges(self.clock.now()).map(|edges| Reading {
            value: if edges.open {
                self.config.desired_replicas as f64
            } else {
                0.0
            },
            active: edges.open,
        });
        Box::pin(std::future::ready(reading))
    }
}
