//! Other releases of kubectl that a machine may have.

use std::path::PathBuf;
use std::process::Command;

/// A plain kubectl 1.32: named by `RHEOSTAT_KUBECTL_1_32`, or the sibling of a
/// dispatcher, or the one on the PATH if it is of that release.
pub fn kubectl_1_32() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("RHEOSTAT_KUBECTL_1_32") {
        return Some(path.into());
    }
    let which = Command::new("sh")
        .args(["-c", "command -v kubectl"])
        .output()
        .ok()?;
    let found = PathBuf::from(String::from_utf8(which.stdout).ok()?.trim());
    let real = found.canonicalize().ok()?;
    let sibling = real.with_file_name("kubectl.1.32");
    if sibling.exists() {
        return Some(sibling);
    }
    let version = Command::new(&real)
        .args(["version", "--client"])
        .output()
        .ok()?;
    String::from_utf8_lossy(&version.stdout)
        .contains("v1.32.")
        .then_some(real)
}
