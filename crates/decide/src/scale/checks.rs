//! Checks of a ScaledObject's spec that reconcile and admission share.

use std::collections::BTreeSet;

use api::keda::{ScaleTrigger, ScaledObject};

/// Replica bounds that contradict one another, in KEDA's words.
pub fn counts(object: &ScaledObject) -> Result<(), String> {
    let spec = &object.spec;
    let (min, max) = (spec.min(), spec.max());
    if min > max {
        return Err(format!(
            "MinReplicaCount={min} must be less than MaxReplicaCount={max}"
        ));
    }
    // KEDA compares an explicit minimum of 0 as the HPA's 1.
    let floor = spec.min_replica_count.map_or(0, |_| spec.hpa_min());
    match spec.idle_replica_count {
        Some(idle) if idle >= floor => Err(format!(
            "IdleReplicaCount={idle} must be less than MinReplicaCount={floor}"
        )),
        _ => Ok(()),
    }
}

/// A trigger list that cannot work, in KEDA's words.
pub fn triggers(triggers: &[ScaleTrigger]) -> Result<(), String> {
    if triggers.is_empty() {
        return Err("no triggers defined in the ScaledObject/ScaledJob".to_owned());
    }
    let mut names = BTreeSet::new();
    for trigger in triggers {
        let kind = trigger.trigger_type.as_str();
        if trigger.use_cached_metrics && matches!(kind, "cpu" | "memory" | "cron") {
            return Err(format!(
                "property \"useCachedMetrics\" is not supported for {kind:?} scaler"
            ));
        }
        if !trigger.name.is_empty() && !names.insert(&trigger.name) {
            return Err(format!(
                "triggerName {:?} is defined multiple times in the ScaledObject/ScaledJob, but it \
                 must be unique",
                trigger.name
            ));
        }
    }
    Ok(())
}
