//! The front door: sockets, TLS and time limits, on real time and on a thread
//! of its own.
//!
//! The simulation has no sockets and its clock is not the caller's, so the
//! two sides meet over a bounded channel: a request goes in as a [`Knock`],
//! the answer comes back on its reply channel, and the pacer's [`Bell`] wakes
//! the simulation at once instead of at its next quantum. Nothing here knows
//! what a request means, with one exception: the time-out of a client's watch
//! is cut here, because the client counts real seconds.

mod desk;
mod kubeconfig;
mod serve;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

pub(crate) use desk::prometheus;
pub use desk::{Desk, receive};
pub use kubeconfig::{Kubeconfig, KubeconfigError};
pub use serve::{Doors, open};

/// Requests that may wait for the simulation before callers are told to slow
/// down: some thirty kubectl processes with eight requests in flight each.
pub const QUEUE: usize = 256;

/// Largest request body, as etcd-backed API servers have it.
pub const MAX_BODY: usize = 3 * 1024 * 1024;

/// Which server a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The Kubernetes API.
    Kubernetes,
    /// The Prometheus HTTP API of the embedded store.
    Prometheus,
}

/// One request on its way into the simulation.
#[derive(Debug)]
pub struct Knock {
    /// The server it is for.
    pub door: Door,
    /// Real time at which it came in.
    pub at: jiff::Timestamp,
    /// The request with its whole body.
    pub request: http::Request<Bytes>,
    /// Where the answer goes; the body may go on for hours (a watch).
    pub reply: oneshot::Sender<http::Response<Answer>>,
}

/// The body of an answer on its way out.
#[derive(Debug)]
pub enum Answer {
    /// All of it.
    Whole(Bytes),
    /// The chunks of a watch, until the sender is dropped.
    Stream(mpsc::Receiver<Bytes>),
}

/// What can go wrong when the doors are opened.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    /// The address is taken or not ours.
    #[error("cannot listen on {addr} (choose another with --listen, port 0 takes any)")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The certificate could not be made.
    #[error("cannot make the lab's certificate: {0}")]
    Certificate(String),
    /// The kubeconfig could not be written.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// The thread or its runtime could not be started.
    #[error("cannot start the front door: {0}")]
    Start(std::io::Error),
}

/// Where the lab listens and writes.
#[derive(Clone, Debug)]
pub struct FrontConfig {
    /// Address of the Kubernetes API; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Address of the Prometheus API.
    pub prometheus: SocketAddr,
    /// The kubeconfig to write, or a private one in a folder of the lab's own.
    pub kubeconfig: Option<PathBuf>,
}
