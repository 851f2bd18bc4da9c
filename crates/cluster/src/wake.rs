//! Tells waiters that a number has changed, in the order in which they began to
//! wait. tokio's own `watch` channel wakes its receivers in a random order,
//! which would make two runs of a simulation differ.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

#[derive(Debug)]
struct Inner {
    version: AtomicU64,
    notify: Notify,
}

/// The side that tells.
#[derive(Clone, Debug)]
pub(crate) struct Sender(Arc<Inner>);

/// The side that waits.
#[derive(Clone, Debug)]
pub(crate) struct Receiver {
    inner: Arc<Inner>,
    seen: u64,
}

impl Sender {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            version: AtomicU64::new(0),
            notify: Notify::new(),
        }))
    }

    /// Wakes everyone who waits.
    pub(crate) fn wake(&self) {
        self.0.version.fetch_add(1, Ordering::Relaxed);
        self.0.notify.notify_waiters();
    }

    /// A receiver for what comes from now on.
    pub(crate) fn subscribe(&self) -> Receiver {
        Receiver {
            seen: self.0.version.load(Ordering::Relaxed),
            inner: Arc::clone(&self.0),
        }
    }
}

impl Receiver {
    /// Counts everything until now as seen.
    pub(crate) fn mark(&mut self) {
        self.seen = self.inner.version.load(Ordering::Relaxed);
    }

    /// Returns once there is something that was not seen.
    pub(crate) async fn changed(&mut self) {
        loop {
            let notified = self.inner.notify.notified();
            let version = self.inner.version.load(Ordering::Relaxed);
            if version != self.seen {
                self.seen = version;
                return;
            }
            notified.await;
        }
    }
}
