//! KEDA's conditions and events: types, reasons and sentences.

use api::keda::Condition;

/// The object is valid and its triggers answer.
pub const READY: &str = "Ready";
/// At least one trigger is active.
pub const ACTIVE: &str = "Active";
/// A trigger is replaced by its fallback.
pub const FALLBACK: &str = "Fallback";
/// An annotation holds the object.
pub const PAUSED: &str = "Paused";
/// The HPA has a metric to act on.
pub const HPA_ACTIVE: &str = "HPAActive";

/// Reason of Ready while all is well.
pub const READY_REASON: &str = "ScaledObjectReady";
/// Message of Ready while all is well.
pub const READY_MESSAGE: &str = "ScaledObject is defined correctly and is ready for scaling";
/// Message of Ready and Paused while paused.
pub const PAUSED_MESSAGE: &str = "ScaledObject is paused";
/// Message of Paused after a pause.
pub const UNPAUSED_MESSAGE: &str = "pause annotation removed for ScaledObject";
/// Reason of Ready after a failed reconcile, and of the event.
pub const CHECK_FAILED: &str = "ScaledObjectCheckFailed";
const NOT_ACTIVE_MESSAGE: &str = "Scaling is not performed because triggers are not active";

/// A Kubernetes event to record on the ScaledObject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `Normal` or `Warning`.
    pub event_type: &'static str,
    /// Reason in CamelCase.
    pub reason: &'static str,
    /// What was done; KEDA repeats the reason, or the note in reconciles.
    pub action: String,
    /// The sentence.
    pub note: String,
}

impl Event {
    /// An event of the scale loop: the action is the reason.
    pub fn looped(event_type: &'static str, reason: &'static str, note: impl Into<String>) -> Self {
        Self {
            event_type,
            reason,
            action: reason.to_owned(),
            note: note.into(),
        }
    }

    /// An event of a reconcile: the action is the note.
    pub fn reconciled(
        event_type: &'static str,
        reason: &'static str,
        note: impl Into<String>,
    ) -> Self {
        let note = note.into();
        Self {
            event_type,
            reason,
            action: note.clone(),
            note,
        }
    }
}

/// The conditions of a new object.
pub fn initial() -> Vec<Condition> {
    [
        (READY, "Unknown"),
        (ACTIVE, "Unknown"),
        (FALLBACK, "Unknown"),
        (PAUSED, "False"),
    ]
    .into_iter()
    .map(|(kind, status)| Condition {
        condition_type: kind.to_owned(),
        status: status.to_owned(),
        ..Condition::default()
    })
    .collect()
}

/// The status of a condition, `Unknown` where it is missing.
pub fn status_of<'a>(conditions: &'a [Condition], kind: &str) -> &'a str {
    conditions
        .iter()
        .find(|c| c.condition_type == kind)
        .map_or("Unknown", |c| c.status.as_str())
}

/// Sets a condition in its place, or adds it at the end.
pub fn set(
    conditions: &mut Vec<Condition>,
    kind: &str,
    status: &str,
    reason: &str,
    message: impl Into<String>,
) {
    let next = Condition {
        condition_type: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.into(),
    };
    match conditions.iter_mut().find(|c| c.condition_type == kind) {
        Some(condition) => *condition = next,
        None => conditions.push(next),
    }
}

/// Ready=True.
pub fn ready(conditions: &mut Vec<Condition>) {
    set(conditions, READY, "True", READY_REASON, READY_MESSAGE);
}

/// What a failed reconcile leaves: Ready=False with the cause, Active unknown.
pub fn check_failed(conditions: &mut Vec<Condition>, message: &str) {
    set(conditions, READY, "False", CHECK_FAILED, message);
    set(
        conditions,
        ACTIVE,
        "Unknown",
        "UnknownState",
        "ScaledObject check failed",
    );
}

/// Active=False because no trigger is.
pub fn not_active(conditions: &mut Vec<Condition>) {
    set(
        conditions,
        ACTIVE,
        "False",
        "ScalerNotActive",
        NOT_ACTIVE_MESSAGE,
    );
}

/// Active=False while the cooldown runs.
pub fn cooling_down(conditions: &mut Vec<Condition>) {
    let message = "Scaler cooling down because triggers are not active";
    set(conditions, ACTIVE, "False", "ScalerCooldown", message);
}

/// Active=True, by triggers or by annotation.
pub fn active(conditions: &mut Vec<Condition>, forced: bool) {
    let message = if forced {
        "Scaling is performed because activation is being forced by annotation"
    } else {
        "Scaling is performed because triggers are active"
    };
    set(conditions, ACTIVE, "True", "ScalerActive", message);
}

/// Fallback, on or off.
pub fn fallback(conditions: &mut Vec<Condition>, on: bool) {
    if on {
        let message = "At least one trigger is falling back on this scaled object";
        set(conditions, FALLBACK, "True", "FallbackExists", message);
    } else {
        let message = "No fallbacks are active on this scaled object";
        set(conditions, FALLBACK, "False", "NoFallbackFound", message);
    }
}

/// Paused, on or off.
pub fn paused(conditions: &mut Vec<Condition>, on: bool) {
    if on {
        set(
            conditions,
            PAUSED,
            "True",
            "ScaledObjectPaused",
            PAUSED_MESSAGE,
        );
    } else {
        set(
            conditions,
            PAUSED,
            "False",
            "ScaledObjectUnpaused",
            UNPAUSED_MESSAGE,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_replaced_where_it_stands() {
        let mut conditions = initial();
        ready(&mut conditions);
        set(
            &mut conditions,
            HPA_ACTIVE,
            "True",
            "HPAActive",
            "HPA is actively scaling",
        );
        not_active(&mut conditions);
        let order: Vec<&str> = conditions
            .iter()
            .map(|c| c.condition_type.as_str())
            .collect();
        assert_eq!(order, [READY, ACTIVE, FALLBACK, PAUSED, HPA_ACTIVE]);
        assert_eq!(status_of(&conditions, READY), "True");
        assert_eq!(status_of(&conditions, ACTIVE), "False");
    }
}
