//! The HorizontalPodAutoscaler algorithm.
//!
//! An edge reads the HPA and its target's scale, asks [`wants`] which metrics
//! to read, reads them, and calls [`evaluate`]. If the evaluation has a
//! `scale_to`, the edge writes the scale (retrying on conflicts up to
//! [`SCALE_WRITE_TRIES`] times in all) and passes the outcome to
//! [`Evaluation::finish`], which gives the status to write, the events to
//! record and the memory to keep. [`reconcile`] does both for callers whose
//! write cannot fail.

mod input;
mod types;

use jiff::Timestamp;

pub use input::*;
pub use types::*;

/// How often a scale write is tried in all when the API answers Conflict; the
/// scale is read anew before each further try.
pub const SCALE_WRITE_TRIES: usize = 5;

/// What to read before an evaluation; empty where the evaluation will not look
/// at metrics (target paused at zero, or outside its bounds).
pub fn wants(input: &HpaInput) -> Vec<MetricQuery> {
    let _ = input;
    Vec::new()
}

/// An evaluation whose scale write, if any, is still to be made.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The replica count to write to the target's scale; `None` = no write.
    pub scale_to: Option<i32>,
    decision: HpaDecision,
}

/// Evaluates an HPA. Total and pure.
pub fn evaluate(input: &HpaInput, memory: &HpaMemory, now: Timestamp) -> Evaluation {
    let _ = now;
    let decision = HpaDecision {
        scale_to: None,
        status: input.status.to_json(),
        write_status: false,
        events: Vec::new(),
        error: None,
        memory: memory.clone(),
        explanation: Explanation::default(),
    };
    Evaluation {
        scale_to: None,
        decision,
    }
}

impl Evaluation {
    /// The decision, given how the scale write went (`None` = there was none
    /// to make).
    pub fn finish(self, write: Option<ScaleWrite>, now: Timestamp) -> HpaDecision {
        let _ = (write, now);
        self.decision
    }
}

/// Evaluates an HPA whose scale write succeeds.
pub fn reconcile(input: &HpaInput, memory: &HpaMemory, now: Timestamp) -> HpaDecision {
    let evaluation = evaluate(input, memory, now);
    let write = evaluation.scale_to.map(|_| ScaleWrite::Done);
    evaluation.finish(write, now)
}

/// The event and the error of a failed status write.
pub fn status_write_failed(name: &str, message: &str) -> (HpaEvent, String) {
    let event = HpaEvent {
        warning: true,
        reason: "FailedUpdateStatus".to_owned(),
        message: message.to_owned(),
    };
    (
        event,
        format!("failed to update status for {name}: {message}"),
    )
}
