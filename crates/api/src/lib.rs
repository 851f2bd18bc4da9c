//! KEDA's resources, Kubernetes quantities, durations, selectors and the
//! configuration types that more than one room reads. No network, no clock.

mod causes;
pub mod duration;
pub mod go;
pub mod golden;
pub mod hpa;
pub mod keda;
pub mod near;
pub mod pointer;
pub mod pool;
pub mod quantity;
pub mod selector;
pub mod yaml;

pub use causes::causes;
