//! Activation, fallback, pauses, HPA generation and admission: KEDA's rules.

pub mod admission;
pub mod checks;
pub mod conditions;
pub mod fallback;
pub mod hpa_spec;
pub mod modifiers;
pub mod pause;
pub mod resource;
mod step;

pub use step::{
    Decision, Explanation, HpaCondition, MetricExplanation, Observation, Rule, Scale, seconds, step,
};
