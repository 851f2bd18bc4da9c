//! Ctrl-C and SIGTERM, heard on a thread of their own: the simulation's clock
//! stands still and its runtime has no I/O.

use anyhow::{Context as _, Result};
use lab::pacer::Bell;
use tokio::sync::oneshot;

/// Lets a bell be rung when the signal comes.
pub struct OnSignal(std::sync::mpsc::Sender<Bell>);

impl OnSignal {
    /// Rings `bell` on the signal, so that a waiting pacer hears of it.
    pub fn also_ring(&self, bell: Bell) {
        // The listener has ended: then there is nothing to ring for.
        let _ = self.0.send(bell);
    }
}

/// A receiver that resolves on the first Ctrl-C or SIGTERM. A second one ends
/// the process at once.
pub fn on_signal() -> Result<(oneshot::Receiver<()>, OnSignal)> {
    let (sender, receiver) = oneshot::channel();
    let (bells, to_ring) = std::sync::mpsc::channel::<Bell>();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot listen for Ctrl-C")?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                signal().await;
                let _ = sender.send(());
                for bell in to_ring.try_iter() {
                    bell.ring();
                }
                signal().await;
                std::process::exit(130);
            });
        })
        .context("cannot listen for Ctrl-C")?;
    Ok((receiver, OnSignal(bells)))
}

async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut term) = signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => {}
        _ = term.recv() => {}
    }
}
