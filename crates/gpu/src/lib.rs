//! GPUs and what is told about them: the device model, the catalogue of
//! counters, the exposition text and the sources of samples.
//!
//! Nothing here knows Kubernetes: which pod a GPU works for is a set of labels
//! that the caller adds.

pub mod counters;
pub mod device;
pub mod exposition;
pub mod fields;
pub mod simulated;

use std::sync::Arc;

use jiff::Timestamp;

pub use counters::Counters;
pub use device::Device;
pub use fields::Field;
pub use simulated::SimulatedGpus;

/// A counter's value as the driver gives it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
}

impl Value {
    /// The value as a float.
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Int(value) => value as f64,
            Self::Float(value) => value,
        }
    }
}

/// What one GPU showed at one moment. What it cannot tell is absent.
#[derive(Clone, Debug)]
pub struct GpuSample {
    /// The GPU.
    pub device: Arc<Device>,
    /// When it was read.
    pub taken: Timestamp,
    values: [Option<Value>; Field::COUNT],
}

impl GpuSample {
    /// A sample without values.
    pub fn new(device: Arc<Device>, taken: Timestamp) -> Self {
        Self {
            device,
            taken,
            values: [None; Field::COUNT],
        }
    }

    /// One value.
    pub fn get(&self, field: Field) -> Option<Value> {
        self.values[field as usize]
    }

    /// Sets one value.
    pub fn set(&mut self, field: Field, value: Value) {
        self.values[field as usize] = Some(value);
    }
}

/// A source of samples: simulated, replayed or a driver.
pub trait Source: Send {
    /// The GPUs, in the order of their index.
    fn devices(&self) -> &[Arc<Device>];

    /// Reads every GPU; the samples replace those in `out`. A GPU that cannot
    /// be read is left out.
    fn sample(&mut self, now: Timestamp, out: &mut Vec<GpuSample>);
}
