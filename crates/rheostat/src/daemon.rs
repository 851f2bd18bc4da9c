//! What programs that run until they are told to stop have in common.

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

/// Runs `work` until it ends, or until the process is told to (SIGTERM, Ctrl-C).
///
/// # Errors
/// Those of `work`, and where the runtime cannot start.
pub fn run(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
        tokio::select! {
            biased;
            ended = work => ended,
            _ = terminate.recv() => Ok(()),
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    })
}
