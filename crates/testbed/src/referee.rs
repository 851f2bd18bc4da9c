//! The other query engine, asked over a pipe (`testbed/promql/main.go`).

use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

/// A running referee: a line of JSON in, a line of JSON out, in order. It ends
/// when this is dropped.
pub struct Referee {
    child: Child,
    to: Option<BufWriter<ChildStdin>>,
    from: BufReader<ChildStdout>,
}

impl Referee {
    /// Starts the program of [`crate::promql_referee`].
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn start(binary: &Path) -> io::Result<Self> {
        let mut child = Command::new(binary)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take());
        let (Some(to), Some(from)) = pipes else {
            return Err(io::Error::other("no pipes"));
        };
        Ok(Self {
            child,
            to: Some(BufWriter::new(to)),
            from: BufReader::new(from),
        })
    }

    /// Sends a line.
    ///
    /// # Errors
    /// When the referee is gone.
    pub fn send(&mut self, line: &Value) -> io::Result<()> {
        let to = self.to.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(to, "{line}")
    }

    /// Waits for the next answer.
    ///
    /// # Errors
    /// When the referee is gone, or says what is no JSON.
    pub fn receive(&mut self) -> io::Result<Value> {
        if let Some(to) = &mut self.to {
            to.flush()?;
        }
        let mut line = String::new();
        if self.from.read_line(&mut line)? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the referee is gone",
            ));
        }
        serde_json::from_str(&line).map_err(io::Error::from)
    }
}

impl Drop for Referee {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.to.take());
        let _ = self.child.wait();
    }
}
