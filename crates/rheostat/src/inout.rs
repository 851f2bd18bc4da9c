//! What several commands read and print alike.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// Prints on standard output; a reader that has gone away (`| head`) ends it
/// quietly.
pub fn print(text: &str) -> Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

/// The file, or the manifests (`.yaml`, `.yml`, `.json`) of a folder and the
/// folders in it, in the order of their names; hidden ones are left out.
///
/// # Errors
///
/// A folder that cannot be read, or in which there is no manifest.
pub fn manifests(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    collect(path, &mut found)?;
    if found.is_empty() {
        bail!("no .yaml, .yml or .json file in folder {}", path.display());
    }
    Ok(found)
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let unreadable = || format!("cannot read folder {}", folder.display());
    let mut entries = std::fs::read_dir(folder)
        .with_context(unreadable)?
        .collect::<Result<Vec<_>, _>>()
        .with_context(unreadable)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        let kind = entry.file_type().with_context(unreadable)?;
        let manifest = path
            .extension()
            .is_some_and(|ext| ["yaml", "yml", "json"].iter().any(|e| ext == *e));
        if hidden {
            continue;
        }
        // A link to a folder could lead round in a circle.
        if kind.is_dir() {
            collect(&path, found)?;
        } else if manifest && path.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

/// Text as part of a path.
pub fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
