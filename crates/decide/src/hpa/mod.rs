//! The HorizontalPodAutoscaler algorithm.
//!
//! An edge reads the HPA and its target's scale, asks [`wants`] which metrics
//! to read, reads them, and calls [`evaluate`]. If the evaluation has a
//! `scale_to`, the edge writes the scale (retrying on conflicts up to
//! [`SCALE_WRITE_TRIES`] times in all) and passes the outcome to
//! [`Evaluation::finish`], which gives the status to write, the events to
//! record and the memory to keep. [`reconcile`] does both for callers whose
//! write cannot fail.

mod calculator;
mod direct;
mod evaluate;
mod explanation;
mod figures;
pub mod golden;
mod input;
mod metrics;
mod normalize;
mod numbers;
mod plan;
mod types;
mod words;

use jiff::Timestamp;

pub use direct::{DirectMemory, Occasion, direct, direct_explained};
pub use evaluate::{Evaluation, decide, evaluate};
pub use explanation::{
    Amount, Direction, Explanation, Omitted, Otherwise, Pods, Proposal, Recommendation, Rule, Step,
    Tolerance,
};
pub use input::*;
pub use numbers::{Goal, Numbers, Outcome, Seen};
pub use plan::{needs_pods, wants};
pub use types::*;

/// How often a scale write is tried in all when the API answers Conflict; the
/// scale is read anew before each further try.
pub const SCALE_WRITE_TRIES: usize = 5;

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
