//! Which cluster a command speaks to.

use std::path::Path;

use anyhow::{Context as _, Result};

/// The configuration of `--kubeconfig`, or of $KUBECONFIG or ~/.kube/config.
///
/// # Errors
/// When there is none, or it cannot be read; the text names the file.
pub async fn config(path: Option<&Path>) -> Result<kube::Config> {
    let options = kube::config::KubeConfigOptions::default();
    let config = match path {
        Some(path) => {
            // Its text names the file and the cause already; the chain repeats them.
            let read = kube::config::Kubeconfig::read_from(path)
                .map_err(|error| anyhow::anyhow!("{error}"))?;
            kube::Config::from_custom_kubeconfig(read, &options).await
        }
        None => kube::Config::from_kubeconfig(&options).await,
    };
    config.context(
        "no cluster to ask: give a kubeconfig with --kubeconfig (`rheostat lab` prints the path \
         of its own)",
    )
}
