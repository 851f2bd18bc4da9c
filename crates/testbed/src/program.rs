//! One running program on a leash: it ends when its standard input does, so
//! it ends with its starter however that dies, and needs no signal to stop.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::TestbedError;

/// How long a program may take to end before it is killed: longer than the ten
/// seconds after which the leash itself ends it (`testbed/main.go`).
const PATIENCE: Duration = Duration::from_secs(12);
const LOG_TAIL: usize = 15;

pub(crate) struct Program {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts the role `name` of the multi-call binary; it writes to
    /// `folder/NAME.log`.
    pub(crate) fn start(
        binary: &Path,
        name: &'static str,
        arguments: &[String],
        folder: &Path,
    ) -> Result<Self, TestbedError> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).map_err(TestbedError::io("cannot write", &log))?;
        let same = file
            .try_clone()
            .map_err(TestbedError::io("cannot write", &log))?;
        let child = Command::new(binary)
            .args(["-leash", name])
            .args(arguments)
            .current_dir(folder)
            .env_remove("KUBECONFIG")
            .stdin(Stdio::piped())
            .stdout(file)
            .stderr(same)
            .spawn()
            .map_err(TestbedError::io("cannot run", binary))?;
        Ok(Self { name, child, log })
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Fails when the program is no longer there.
    pub(crate) fn must_run(&mut self) -> Result<(), TestbedError> {
        let Some(status) = self
            .child
            .try_wait()
            .map_err(TestbedError::io("cannot watch", &self.log))?
        else {
            return Ok(());
        };
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        Err(TestbedError::Ended {
            program: self.name,
            status: status.to_string(),
            log: self.log.clone(),
            tail: lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n"),
        })
    }

    /// Lets go, waits, and kills what does not go by itself.
    pub(crate) fn stop(&mut self) {
        drop(self.child.stdin.take());
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            // An error means that there is nothing left to wait for.
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.stop();
    }
}
