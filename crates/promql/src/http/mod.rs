//! The Prometheus HTTP API as a pure function.
use crate::store::Store;

/// Answers a request.
pub fn handle(
    _store: &Store,
    _method: &str,
    _path: &str,
    _query: &str,
    _body: &[u8],
    _now: jiff::Timestamp,
) -> (u16, String) {
    (503, String::new())
}
