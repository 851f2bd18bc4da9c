//! Whether a pod fits a node: the scheduler's filters, points and sentences as
//! pure functions. The embedded scheduler and the node planner both ask here.

mod affinity;
mod around;
mod filter;
pub mod golden;
mod labels;
mod pod;
mod resources;
mod score;
mod snapshot;
mod verdict;

pub use around::Surroundings;
pub use filter::{Check, Reason, Rejection, filter};
pub use pod::{HostPort, PodInfo, PodKey, PodTerm, Spread, Taint, Toleration};
pub use resources::{Resources, is_gpu, of_pod};
pub use score::{best, score};
pub use snapshot::{NodeInfo, Snapshot};
pub use verdict::{Preemption, Refusal, Verdict, schedule, sentence};

#[cfg(test)]
mod tests;
