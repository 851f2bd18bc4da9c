//! What a scaling policy would have done on recorded load.
//!
//! The simulator steps a policy's controllers over a load in time: each
//! decision is taken by the functions of `decide` that the operator and the
//! control plane call, so a replay has no rule of its own. What it adds is a
//! model of the world around them ([`Model`]), a ledger of what it cost and
//! what went unserved ([`Outcome`]), and reports.

pub mod error;
pub mod load;
pub mod manifest;
pub mod model;
pub mod oracle;
pub mod policy;
pub mod prometheus;
pub mod report;
pub mod signal;
pub mod sim;
pub mod study;
pub mod sweep;

pub use error::InputError;
pub use load::{DemandOptions, Load, Observed};
pub use manifest::{Manifests, PolicySource};
pub use model::Model;
pub use policy::{Actuation, Builder, Policy};
pub use report::Report;
pub use sim::{Outcome, Watch, run};
