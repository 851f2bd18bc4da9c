//! What a cloud has to be able to do.

use decide::nodes::PoolView;
use futures::future::BoxFuture;

/// A cloud's refusal, in its own words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProviderError(pub String);

/// A cloud with node pools.
pub trait Provider: Send + Sync {
    /// The pools as they are now, in the order of configuration.
    fn pools(&self) -> BoxFuture<'_, Result<Vec<PoolView>, ProviderError>>;

    /// Asks for `to` nodes in all in a group.
    fn resize(&self, group: &str, to: u32) -> BoxFuture<'_, Result<(), ProviderError>>;

    /// Asks to remove one machine, and not to replace it.
    fn remove(&self, group: &str, node: &str) -> BoxFuture<'_, Result<(), ProviderError>>;

    /// Ends when something changed that no Node object shows, such as a
    /// machine that will not come.
    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}
