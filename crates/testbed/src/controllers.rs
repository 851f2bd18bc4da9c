//! Kubernetes' scheduler and controllers in front of an API server that is
//! somebody else's.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::TestbedError;
use crate::program::Program;

/// A running kube-scheduler and kube-controller-manager. They stop when this is
/// dropped, and when the process that started them dies.
pub struct Controllers {
    programs: Vec<Program>,
    folder: PathBuf,
}

impl Controllers {
    /// Starts the two programs of `binary` (see [`crate::control_plane`]) as
    /// clients of the server that `kubeconfig` names; of the controllers those
    /// that `controllers` names run, as `kube-controller-manager --controllers`
    /// has it. Their logs are in `folder`, which must not exist yet.
    ///
    /// # Errors
    /// When a program cannot be started. They work in their own time: what they
    /// are to do is what to wait for.
    pub fn start(
        binary: &Path,
        folder: &Path,
        kubeconfig: &Path,
        controllers: &[&str],
    ) -> Result<Self, TestbedError> {
        DirBuilder::new()
            .mode(0o700)
            .create(folder)
            .map_err(TestbedError::io("cannot make", folder))?;
        // A leader's lease is for several of a kind, and port 0 because they
        // serve nothing of their own.
        let common = [
            format!("--kubeconfig={}", kubeconfig.display()),
            "--secure-port=0".to_owned(),
            "--leader-elect=false".to_owned(),
            // Each repeated list and watch is in the log.
            "-v=3".to_owned(),
        ];
        let only = format!("--controllers={}", controllers.join(","));
        let manager = [&common[..], &[only]].concat();
        let start = |name, arguments: &[String]| Program::start(binary, name, arguments, folder);
        Ok(Self {
            programs: vec![
                start("kube-scheduler", &common)?,
                start("kube-controller-manager", &manager)?,
            ],
            folder: folder.to_path_buf(),
        })
    }

    /// Stops the programs and returns when both are gone. Dropping does the
    /// same; this says so where it happens.
    pub fn stop(self) {}

    /// Fails when one of the programs has ended.
    ///
    /// # Errors
    /// The message has the end of its log.
    pub fn must_run(&mut self) -> Result<(), TestbedError> {
        self.programs.iter_mut().try_for_each(Program::must_run)
    }

    /// What the programs have written as errors and warnings, a line each.
    ///
    /// # Errors
    /// When a log cannot be read.
    pub fn complaints(&self) -> Result<Vec<String>, TestbedError> {
        let mut found = Vec::new();
        for program in &self.programs {
            let log = self.folder.join(format!("{}.log", program.name()));
            let text = fs::read(&log).map_err(TestbedError::io("cannot read", &log))?;
            let text = String::from_utf8_lossy(&text);
            let lines = text.lines().filter(|line| complains(line));
            found.extend(lines.map(|line| format!("{}: {line}", program.name())));
        }
        Ok(found)
    }
}

/// Whether a line of klog is an error or a warning: its first letter, then the
/// date.
fn complains(line: &str) -> bool {
    let mut letters = line.chars();
    matches!(letters.next(), Some('E' | 'W' | 'F'))
        && letters.next().is_some_and(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_warnings_are_told_from_the_rest_of_a_log() {
        assert!(complains(
            "E1128 11:09:16.938779   13905 x.go:1] \"Plugin Failed\""
        ));
        assert!(complains(
            "W1128 11:09:16.938779   13905 x.go:1] an old API"
        ));
        assert!(!complains(
            "I1128 11:09:16.938779   13905 x.go:1] \"Starting\""
        ));
        assert!(!complains("Error: the rest of an entry of several lines"));
    }
}
