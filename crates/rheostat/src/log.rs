//! Where logs go: standard error, or the lines above a live panel while there
//! is one (a log written across it would tear it).

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use tracing_subscriber::EnvFilter;

/// Lines that may wait for the panel's next frame; more are dropped, since a
/// flood of equal warnings must not stop the simulation.
const WAITING: usize = 200;

static PANEL: Mutex<Option<SyncSender<String>>> = Mutex::new(None);

/// What kube says of failed connections and watches is said again, and better,
/// by those who wanted them.
const QUIET: &str = "kube_client::client=off,kube_runtime::watcher=off";

/// Starts logging; `RHEOSTAT_LOG` says what, warnings otherwise.
pub fn start() {
    let wanted = std::env::var("RHEOSTAT_LOG").unwrap_or_default();
    let level = if wanted.is_empty() { "warn" } else { &wanted };
    let text = match level.contains("kube_") {
        true => level.to_owned(),
        false => format!("{level},{QUIET}"),
    };
    let filter = EnvFilter::try_new(text).unwrap_or_else(|error| {
        eprintln!("RHEOSTAT_LOG is not used: {error}");
        EnvFilter::new(format!("warn,{QUIET}"))
    });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Sink)
        .with_ansi(false)
        .init();
}

/// Takes the logs from now on, until the receiver is dropped.
pub fn take() -> Receiver<String> {
    let (sender, receiver) = sync_channel(WAITING);
    *PANEL.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
    receiver
}

struct Sink;

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let panel = PANEL.lock().unwrap_or_else(PoisonError::into_inner);
        match &*panel {
            Some(panel) => {
                let line = String::from_utf8_lossy(bytes).trim_end().to_owned();
                match panel.try_send(line) {
                    Err(std::sync::mpsc::TrySendError::Disconnected(line)) => {
                        writeln!(io::stderr(), "{line}")?;
                    }
                    Ok(()) | Err(std::sync::mpsc::TrySendError::Full(_)) => {}
                }
            }
            None => io::stderr().write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
