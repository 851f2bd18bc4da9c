//! The whole pipeline on one machine, in simulated time.
//!
//! [`Lab::start`] wires it: the embedded control plane, simulated kubelets and
//! cloud, GPU pages and their scraping, the operator and the node planner, all
//! as tasks of the runtime it is called on. Under a paused clock the lab runs
//! as fast as it computes; [`pacer`] holds it to real time, and [`front`] lets
//! clients in.

pub mod admission;
pub mod authority;
pub mod cloud;
mod explain;
pub mod front;
mod gpus;
pub mod kubelet;
mod lab;
pub mod load;
pub mod names;
pub mod narrate;
pub mod pacer;
mod pages;
pub mod story;
pub mod usage;
pub mod view;
mod world;

pub use gpus::Loads;
pub use lab::{Delays, Lab, LabError, LabOptions};
pub use pages::Exporters;
pub use world::{Part, World};
