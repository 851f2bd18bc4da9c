//! A real Kubernetes control plane on loopback and real clients of it, for
//! tests: the Go programs of `testbed/`, built once a machine; the control plane
//! is started with certificates of its own and stopped without a trace. It knows nothing of the rest of Rheostat, and only
//! tests and the task runner may need it.

mod certificates;
mod client;
mod control_plane;
mod controllers;
mod golang;
mod kubectl;
mod program;
mod referee;

use std::io;
use std::path::{Path, PathBuf};

pub use control_plane::ControlPlane;
pub use controllers::Controllers;
pub use golang::{GoProgram, control_plane, helm3, helm4, promql_referee};
pub use kubectl::kubectl_1_32;
pub use referee::Referee;

/// For tests: the program, or nothing after a word on standard output where it is
/// only not there.
///
/// # Panics
/// When building it failed, and under CI (`CI` is set) when it is not there.
pub fn or_skip(found: Result<PathBuf, TestbedError>) -> Option<PathBuf> {
    match found {
        Ok(path) => Some(path),
        Err(e) if e.is_absence() && std::env::var_os("CI").is_none() => {
            println!("skipped: {e}");
            None
        }
        Err(e) => panic!("{e}"),
    }
}

/// Why there is no testbed.
#[derive(Debug, thiserror::Error)]
pub enum TestbedError {
    /// Nothing is built yet, and nothing can be.
    #[error(
        "{program} is not built yet and there is no Go here to build it: install Go 1.26 or newer \
         (https://go.dev/dl) and see that `go version` runs; Rheostat itself needs no Go"
    )]
    NoGo {
        /// What was to be built.
        program: &'static str,
    },
    /// A plain test may not build what takes minutes.
    #[error(
        "{program} is not built yet: `cargo xtask testbed build` builds it once on this machine \
         ({cold}; needs Go)"
    )]
    NotBuilt {
        /// What was to be run.
        program: &'static str,
        /// How long its build takes.
        cold: &'static str,
    },
    /// `go build` said no.
    #[error("go build in {folder} failed ({status}):\n{tail}", folder = folder.display())]
    Build {
        /// The module.
        folder: PathBuf,
        /// How it ended.
        status: String,
        /// Its last lines.
        tail: String,
    },
    /// The file system or the process table said no.
    #[error("{what} {path}", path = path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A key or certificate could not be made.
    #[error("no certificate: {0}")]
    Certificate(String),
    /// A program ended while it was needed.
    #[error("{program} ended ({status}); the end of {log}:\n{tail}", log = log.display())]
    Ended {
        /// Its name.
        program: &'static str,
        /// How it ended.
        status: String,
        /// Its whole log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// It runs but does not serve.
    #[error(
        "the control plane did not serve {what} within {seconds} s ({last}); the logs are in {folder}",
        folder = folder.display()
    )]
    Late {
        /// What was waited for.
        what: &'static str,
        /// How long.
        seconds: u64,
        /// The last answer.
        last: String,
        /// Where the logs are.
        folder: PathBuf,
    },
}

impl TestbedError {
    /// Whether a program is only not there, on a machine that need not have it.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::NoGo { .. } | Self::NotBuilt { .. })
    }

    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { what, path, source }
    }
}
