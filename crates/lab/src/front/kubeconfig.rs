//! The lab's own kubeconfig: private (0600), never merged into the user's.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;

/// First line of every file the lab writes, and what it looks for before it
/// overwrites one.
const MARK: &str = "# written by rheostat lab";

/// Why a kubeconfig could not be written.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// Somebody else's file stands there.
    #[error(
        "{0} exists and is not the lab's: it is left as it is (name another file with --kubeconfig)"
    )]
    Foreign(PathBuf),
    /// The file system said no.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
}

/// A kubeconfig on disk. A file in the lab's own folder goes when this is
/// dropped; one that the user named stays.
#[derive(Debug)]
pub struct Kubeconfig {
    path: PathBuf,
    own_folder: Option<PathBuf>,
}

impl Kubeconfig {
    /// Writes the kubeconfig for a server at `url` to `path`, or to a private
    /// folder under the system's temporary one.
    ///
    /// # Errors
    /// When the file is not the lab's or cannot be written.
    pub fn write(
        path: Option<&Path>,
        url: &str,
        ca_pem: &str,
        token: &str,
    ) -> Result<Self, KubeconfigError> {
        let (path, own_folder) = match path {
            Some(path) => (path.to_path_buf(), None),
            None => {
                // The token makes the name one of its own: a process id alone
                // comes again, and a killed lab leaves its folder.
                let own = token.get(..8).unwrap_or(token);
                let name = format!("rheostat-lab-{}-{own}", std::process::id());
                let folder = std::env::temp_dir().join(name);
                (folder.join("kubeconfig"), Some(folder))
            }
        };
        if let Some(folder) = &own_folder {
            let made = fs::DirBuilder::new().mode(0o700).create(folder);
            made.map_err(|source| KubeconfigError::Write {
                path: folder.clone(),
                source,
            })?;
        }
        if path.exists() {
            let ours = fs::read_to_string(&path).is_ok_and(|text| text.starts_with(MARK));
            if !ours {
                return Err(KubeconfigError::Foreign(path));
            }
            // Removed rather than truncated: the old file's mode would stay.
            let _ = fs::remove_file(&path);
        }
        let ca = base64::engine::general_purpose::STANDARD.encode(ca_pem);
        let text = format!(
            "{MARK}\napiVersion: v1\nkind: Config\ncurrent-context: rheostat-lab\nclusters:\n\
             - name: rheostat-lab\n  cluster:\n    server: {url}\n    certificate-authority-data: {ca}\n\
             contexts:\n- name: rheostat-lab\n  context:\n    cluster: rheostat-lab\n    user: lab-admin\n\
             users:\n- name: lab-admin\n  user:\n    token: {token}\n"
        );
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|source| KubeconfigError::Write {
                path: path.clone(),
                source,
            })?;
        Ok(Self { path, own_folder })
    }

    /// Where it was written.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Kubeconfig {
    fn drop(&mut self) {
        if let Some(folder) = &self.own_folder {
            let _ = fs::remove_file(&self.path);
            let _ = fs::remove_dir(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_file_is_private_and_a_foreign_one_is_never_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let written = Kubeconfig::write(Some(&path), "https://127.0.0.1:1", "CA", "t").unwrap();
        let mode = fs::metadata(written.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // A second lab may replace the first one's file.
        Kubeconfig::write(Some(&path), "https://127.0.0.1:2", "CA", "t").unwrap();
        fs::write(&path, "apiVersion: v1\nkind: Config\n").unwrap();
        let refused = Kubeconfig::write(Some(&path), "https://127.0.0.1:3", "CA", "t");
        assert!(
            matches!(refused, Err(KubeconfigError::Foreign(_))),
            "{refused:?}"
        );
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "apiVersion: v1\nkind: Config\n"
        );
    }
}
