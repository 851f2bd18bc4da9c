//! An embedded, in-memory, Kubernetes-compatible control plane.
//!
//! A kind is a row of a table ([`resource`]); one store keeps every object and
//! its recent history ([`Cluster`]); the REST API, the controllers and the
//! scheduler all work on that one store. Nothing here knows of autoscaling of
//! GPUs: any Kubernetes client can be served.

mod admission;
mod body;
mod bootstrap;
mod cluster;
mod component;
pub mod controllers;
pub mod crd;
mod deletion;
pub mod events;
mod hooks;
mod printers;
pub mod resource;
mod rest;
pub mod scheduler;
pub mod schema;
mod service;
mod status;
mod store;
pub mod value;
mod views;
mod wake;

pub use body::Body;
pub use cluster::{Admission, AdmitFn, Cluster, MountFn, Operation, Options};
pub use component::{Component, Without};
pub use deletion::{DeleteOptions, Propagation};
pub use events::{EventRecord, EventSource};
pub use rest::WatchEnd;
pub use service::ClientService;
pub use status::{Cause, Details, Status};
pub use store::{Change, ChangeKind, Changes};
