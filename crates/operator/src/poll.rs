//! The scale loop of one ScaledObject: read, decide, write, sleep.

use std::sync::Arc;

use decide::scale::{HpaCondition, Observation, step};
use futures::future::join_all;
use serde_json::Value;
use tokio::time::Instant;

use crate::state::{Key, Shared};
use crate::{io, scalers, target};

/// Polls until the object is gone or the task is ended.
pub(crate) async fn run(shared: Arc<Shared>, key: Key) {
    let mut told = None;
    loop {
        let start = Instant::now();
        let Some(object) = shared.object(&key) else {
            return;
        };
        if object.metadata.deletion_timestamp.is_some() {
            return;
        }
        let period = std::time::Duration::from_secs(object.spec.polling_seconds());
        let failed = poll(&shared, &key).await.err();
        // The same again each period would bury the rest of the log.
        if let Some(error) = failed.as_ref().filter(|_| failed != told) {
            tracing::warn!(namespace = key.0, name = key.1, error, "poll abandoned");
        }
        told = failed;
        tokio::time::sleep_until(start + period).await;
    }
}

/// One poll. An error means that nothing was decided.
async fn poll(shared: &Shared, key: &Key) -> Result<(), String> {
    let Some(object) = shared.object(key) else {
        return Ok(());
    };
    let scalers = scalers::of(shared, key, &object).await?;
    let reads = scalers
        .external
        .iter()
        .map(|external| scalers::read(shared, &object, external));
    let metrics = join_all(reads).await;
    {
        let mut state = shared.state();
        for (metric, external) in metrics.iter().zip(&scalers.external) {
            if external.cached {
                let at = (key.clone(), metric.metric.clone());
                state.reads.insert(at, metric.read.clone());
            }
        }
    }

    let lock = shared.lock_of(key);
    let _held = lock.lock().await;
    let Some(object) = shared.object(key) else {
        return Ok(());
    };
    if object.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let workload = target::find(shared, &object).await;
    let seen = Observation {
        metrics,
        resource_triggers: scalers.resources,
        replicas: workload
            .as_deref()
            .map(target::replicas)
            .map_err(Clone::clone),
        ready_pods: workload.as_deref().ok().and_then(target::ready),
        hpa: hpa_condition(shared, &object.metadata.namespace, &object.status.hpa_name),
        now: shared.triggers.clock.now(),
    };
    let decision = step(&object, scalers.composite.as_ref(), &seen);
    for event in &decision.events {
        shared.record(&object, event);
    }
    let mut status = &decision.status;
    if let Some(scale) = &decision.scale
        && let Some(gvkr) = &object.status.scale_target_gvkr
    {
        let resource = target::resource(gvkr);
        let api = io::in_namespace(&shared.client, &object.metadata.namespace, &resource);
        let written = io::scale(&api, &object.spec.scale_target_ref.name, scale.to).await;
        let event = match &written {
            Ok(()) => &scale.done,
            Err(error) => {
                tracing::warn!(namespace = key.0, name = key.1, %error, "scale write failed");
                status = &decision.status_if_failed;
                &scale.failed
            }
        };
        if let Some(event) = event {
            shared.record(&object, event);
        }
    }
    shared.explain(&object, seen.now, &decision.explanation);
    shared
        .write_status(&object, status)
        .await
        .map_err(|error| io::message(&error))?;
    if decision.failed {
        shared.state().scalers.remove(key);
    }
    Ok(())
}

/// The HPA's ScalingActive condition, where it has one.
fn hpa_condition(shared: &Shared, namespace: &str, name: &str) -> Option<HpaCondition> {
    let hpa = shared
        .state()
        .hpas
        .get(&(namespace.to_owned(), name.to_owned()))
        .cloned()?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let conditions = hpa["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|c| c["type"] == "ScalingActive")?;
    Some(HpaCondition {
        active: found["status"] == "True",
        reason: text(&found["reason"]),
        message: text(&found["message"]),
    })
}
