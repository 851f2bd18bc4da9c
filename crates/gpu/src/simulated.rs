//! Simulated GPUs: utilization is set from outside, the other counters follow
//! from it and from the time that passes. No chance is involved.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{Device, Field, GpuSample, Source, Value};

/// Seconds in which a GPU's temperature goes most of the way to its new level.
const WARM_UP: f64 = 30.0;

/// What a simulated GPU is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Share of time with a kernel running, percent.
    pub utilization: f64,
    /// Framebuffer in use, as a share of what there is, 0 to 1.
    pub memory: f64,
}

#[derive(Clone, Debug)]
struct State {
    work: Work,
    energy_mj: f64,
    temperature: f64,
}

/// The GPUs of one simulated node.
#[derive(Clone, Debug)]
pub struct SimulatedGpus {
    devices: Vec<Arc<Device>>,
    states: Vec<State>,
    last: Option<Timestamp>,
}

impl SimulatedGpus {
    /// Idle GPUs of one model.
    pub fn new(node: &str, count: u32, model: &str, memory_gib: u32) -> Self {
        let device = |index| Arc::new(Device::simulated(node, index, model, memory_gib));
        let devices: Vec<_> = (0..count).map(device).collect();
        let idle = State {
            work: Work::default(),
            energy_mj: 0.0,
            temperature: IDLE_TEMPERATURE,
        };
        Self {
            states: vec![idle; devices.len()],
            devices,
            last: None,
        }
    }

    /// Sets what a GPU does from now on; what lies outside the range is cut.
    pub fn set(&mut self, index: usize, work: Work) {
        if let Some(state) = self.states.get_mut(index) {
            let cut = |value: f64, most: f64| if value > 0.0 { value.min(most) } else { 0.0 };
            state.work = Work {
                utilization: cut(work.utilization, 100.0),
                memory: cut(work.memory, 1.0),
            };
        }
    }

    /// What a GPU does.
    pub fn work(&self, index: usize) -> Option<Work> {
        self.states.get(index).map(|state| state.work)
    }
}

const IDLE_TEMPERATURE: f64 = 31.0;
const FULL_TEMPERATURE: f64 = 71.0;

impl Source for SimulatedGpus {
    fn devices(&self) -> &[Arc<Device>] {
        &self.devices
    }

    fn sample(&mut self, now: Timestamp, out: &mut Vec<GpuSample>) {
        let passed = self
            .last
            .map_or(0.0, |last| now.duration_since(last).as_secs_f64().max(0.0));
        self.last = Some(now);
        let same = out.len() == self.devices.len()
            && out
                .iter()
                .zip(&self.devices)
                .all(|(s, d)| Arc::ptr_eq(&s.device, d));
        if !same {
            out.clear();
            out.extend(self.devices.iter().map(|d| GpuSample::new(d.clone(), now)));
        }
        for (state, sample) in self.states.iter_mut().zip(out) {
            sample.taken = now;
            state.step(passed, sample);
        }
    }
}

impl State {
    fn step(&mut self, passed: f64, sample: &mut GpuSample) {
        let device = sample.device.clone();
        let share = self.work.utilization / 100.0;
        let watts = device.idle_watts + (device.full_watts - device.idle_watts) * share;
        self.energy_mj += watts * passed * 1000.0;
        let level = IDLE_TEMPERATURE + (FULL_TEMPERATURE - IDLE_TEMPERATURE) * share;
        self.temperature += (level - self.temperature) * (passed / WARM_UP).min(1.0);
        let usable = device.memory_mib - device.reserved_mib;
        let used = (usable as f64 * self.work.memory).round() as i64;
        let (slow, fast) = device.sm_clock_mhz;
        let int = |value: f64| Value::Int(value.round() as i64);
        let values = [
            (
                Field::SmClock,
                Value::Int(if share > 0.0 { fast } else { slow }),
            ),
            (Field::MemClock, Value::Int(device.memory_clock_mhz)),
            (Field::MemoryTemp, int(self.temperature + 7.0)),
            (Field::GpuTemp, int(self.temperature)),
            (Field::PowerUsage, Value::Float(watts)),
            (Field::Energy, int(self.energy_mj)),
            (Field::PcieReplay, Value::Int(0)),
            (Field::GpuUtil, int(self.work.utilization)),
            (Field::MemCopyUtil, int(self.work.utilization * 0.4)),
            (Field::EncUtil, Value::Int(0)),
            (Field::DecUtil, Value::Int(0)),
            (Field::XidErrors, Value::Int(0)),
            (Field::FbFree, Value::Int(usable - used)),
            (Field::FbUsed, Value::Int(used)),
            (Field::FbReserved, Value::Int(device.reserved_mib)),
            (Field::UncorrectableRows, Value::Int(0)),
            (Field::CorrectableRows, Value::Int(0)),
            (Field::RowRemapFailure, Value::Int(0)),
            (Field::NvlinkBandwidth, Value::Int(0)),
            (Field::VgpuLicense, Value::Int(0)),
            (Field::GrEngineActive, Value::Float(share)),
            (Field::TensorActive, Value::Float(share * 0.35)),
            (Field::DramActive, Value::Float(share * 0.45)),
            (Field::PcieTx, int(share * 4.0e8)),
            (Field::PcieRx, int(share * 1.2e9)),
            (Field::SmActive, Value::Float(share * 0.8)),
            (Field::SmOccupancy, Value::Float(share * 0.4)),
            (Field::Fp64Active, Value::Float(0.0)),
            (Field::Fp32Active, Value::Float(share * 0.15)),
            (Field::Fp16Active, Value::Float(share * 0.1)),
        ];
        for (field, value) in values {
            sample.set(field, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::ToSpan as _;

    fn get(samples: &[GpuSample], field: Field) -> f64 {
        samples[0].get(field).unwrap().as_f64()
    }

    #[test]
    fn counters_follow_the_utilization() {
        let start = Timestamp::UNIX_EPOCH;
        let mut gpus = SimulatedGpus::new("n", 2, "NVIDIA H100 NVL", 94);
        let mut samples = Vec::new();
        gpus.sample(start, &mut samples);
        assert_eq!(samples.len(), 2);
        let idle = get(&samples, Field::PowerUsage);
        gpus.set(
            0,
            Work {
                utilization: 150.0,
                memory: 0.5,
            },
        );
        gpus.sample(start + 1.second(), &mut samples);
        assert_eq!(get(&samples, Field::GpuUtil), 100.0);
        assert!(get(&samples, Field::PowerUsage) > 4.0 * idle);
        let (free, used) = (get(&samples, Field::FbFree), get(&samples, Field::FbUsed));
        assert!((free - used).abs() <= 1.0);
        let warm = get(&samples, Field::GpuTemp);
        gpus.sample(start + 60.seconds(), &mut samples);
        assert!(get(&samples, Field::GpuTemp) > warm, "it warms up");
        let watts = get(&samples, Field::PowerUsage);
        assert!((get(&samples, Field::Energy) - watts * 60_000.0).abs() <= 1.0);
        assert_eq!(samples[1].get(Field::GpuUtil), Some(Value::Int(0)));
    }

    #[test]
    fn time_that_runs_backwards_adds_no_energy() {
        let start = Timestamp::UNIX_EPOCH;
        let mut gpus = SimulatedGpus::new("n", 1, "x", 24);
        let mut samples = Vec::new();
        gpus.sample(start + 10.seconds(), &mut samples);
        gpus.sample(start, &mut samples);
        assert_eq!(get(&samples, Field::Energy), 0.0);
    }
}
