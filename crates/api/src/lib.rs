//! KEDA's resources, Kubernetes quantities, durations, selectors and the
//! configuration types that more than one room reads. No network, no clock.

pub mod duration;
pub mod go;
pub mod golden;
pub mod hpa;
pub mod keda;
pub mod near;
pub mod pool;
pub mod quantity;
pub mod selector;
pub mod yaml;
