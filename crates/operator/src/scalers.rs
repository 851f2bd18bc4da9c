//! The built triggers of a ScaledObject, kept until its spec changes or one fails.

use std::sync::{Arc, Mutex, PoisonError};

use api::keda::{ScaleTrigger, ScaledObject};
use decide::scale::conditions::Event;
use decide::scale::fallback::{MetricRead, Read, Target};
use decide::scale::hpa_spec::MetricSpec;
use decide::scale::modifiers::Composite;
use decide::scale::resource;
use serde_json::Value;
use triggers::{MetricType, Trigger};

use crate::state::{Key, Shared};
use crate::{auth, target};

/// All triggers of one generation of a ScaledObject.
pub(crate) struct Scalers {
    generation: i64,
    uid: String,
    /// The triggers that are read here.
    pub(crate) external: Vec<External>,
    /// How many the HPA reads itself.
    pub(crate) resources: usize,
    /// What a formula makes of them, where there is one.
    pub(crate) composite: Option<Composite>,
    /// What the HPA is told, in order of the triggers.
    pub(crate) specs: Vec<MetricSpec>,
}

/// A trigger that is read here.
pub(crate) struct External {
    index: usize,
    pub(crate) metric: String,
    pub(crate) target: Target,
    /// Whether the HPA is answered from the last poll.
    pub(crate) cached: bool,
    trigger: Mutex<Arc<dyn Trigger>>,
}

/// The built triggers of an object, built now where they are not kept.
pub(crate) async fn of(
    shared: &Shared,
    key: &Key,
    object: &ScaledObject,
) -> Result<Arc<Scalers>, String> {
    let kept = shared.state().scalers.get(key).cloned();
    if let Some(kept) = kept
        && kept.generation == object.metadata.generation
        && kept.uid == object.metadata.uid
    {
        return Ok(kept);
    }
    shared.drop_scalers(key);
    let mut built = Scalers {
        generation: object.metadata.generation,
        uid: object.metadata.uid.clone(),
        external: Vec::new(),
        resources: 0,
        composite: Composite::of(object),
        specs: Vec::new(),
    };
    let workload = target::find(shared, object).await.ok();
    for (index, entry) in object.spec.triggers.iter().enumerate() {
        if resource::is_resource(entry) {
            match resource::parse(entry) {
                Ok(spec) => built.specs.push(spec),
                Err(error) => {
                    failed(shared, object, &error.to_string());
                    return Err(error.to_string());
                }
            }
            built.resources += 1;
        } else {
            let trigger = build(shared, object, entry, index, workload.as_deref()).await?;
            let spec = trigger.spec();
            built.specs.push(spec.for_hpa());
            built.external.push(External {
                index,
                metric: spec.metric_name.clone(),
                target: match spec.metric_type {
                    MetricType::AverageValue => Target::Average(spec.target),
                    _ => Target::Value(spec.target),
                },
                cached: entry.use_cached_metrics,
                trigger: Mutex::new(Arc::clone(&trigger)),
            });
        }
        started(shared, object, &entry.trigger_type);
    }
    let built = Arc::new(built);
    shared
        .state()
        .scalers
        .insert(key.clone(), Arc::clone(&built));
    Ok(built)
}

/// Everything that a trigger is built from, credentials too.
pub(crate) async fn input(
    shared: &Shared,
    object: &ScaledObject,
    entry: &ScaleTrigger,
    index: usize,
    workload: Option<&Value>,
) -> triggers::Input {
    let resolved = auth::resolve(shared, object, entry.authentication_ref.as_ref(), workload).await;
    triggers::Input {
        auth_params: resolved.params,
        pod_identity: resolved.identity,
        ..triggers::Input::of(object, index)
    }
}

async fn build(
    shared: &Shared,
    object: &ScaledObject,
    entry: &ScaleTrigger,
    index: usize,
    workload: Option<&Value>,
) -> Result<Arc<dyn Trigger>, String> {
    let input = input(shared, object, entry, index, workload).await;
    match triggers::build(&entry.trigger_type, &input, &shared.triggers) {
        Ok(trigger) => Ok(Arc::from(trigger)),
        Err(error) => {
            failed(shared, object, &error.to_string());
            Err(error.to_string())
        }
    }
}

/// Reads one trigger; a failure is retried once on a freshly built trigger,
/// since its credentials may have changed.
pub(crate) async fn read(
    shared: &Shared,
    object: &ScaledObject,
    external: &External,
) -> MetricRead {
    let trigger = {
        let held = external
            .trigger
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&held)
    };
    let mut outcome = trigger.read().await.map_err(|error| error.to_string());
    if outcome.is_err()
        && let Some(entry) = object.spec.triggers.get(external.index)
    {
        let workload = target::find(shared, object).await.ok();
        match build(shared, object, entry, external.index, workload.as_deref()).await {
            Ok(fresh) => {
                started(shared, object, &entry.trigger_type);
                outcome = fresh.read().await.map_err(|error| error.to_string());
                *external
                    .trigger
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = fresh;
            }
            Err(error) => outcome = Err(error),
        }
    }
    let read = match outcome {
        // KEDA lets no negative value out.
        Ok(reading) => {
            let value = reading.quantity().as_f64();
            Read::Value {
                value: value.max(0.0),
                active: reading.active,
            }
        }
        Err(error) => Read::Failed(error),
    };
    MetricRead {
        metric: external.metric.clone(),
        target: external.target,
        read,
    }
}

fn started(shared: &Shared, object: &ScaledObject, trigger_type: &str) {
    let note = format!("Scaler {trigger_type} is built");
    let event = Event::looped("Normal", "KEDAScalersStarted", note);
    shared.record(object, &event);
}

fn failed(shared: &Shared, object: &ScaledObject, error: &str) {
    let event = Event::looped("Warning", "KEDAScalerFailed", error);
    shared.record(object, &event);
}
