//! The node-pool controller and its providers.
//!
//! It watches pods and nodes, asks `decide::nodes` what to do and does it on a
//! [`Provider`]. No rule about pools lives here.

mod cluster;
mod controller;
mod events;
pub mod externalgrpc;
mod followed;
mod provider;
mod status;

pub use controller::{Options, Report, run};
pub use decide::nodes::Settings;
pub use followed::{Objects, watch};
pub use provider::{Provider, ProviderError};
