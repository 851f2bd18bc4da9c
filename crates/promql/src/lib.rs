//! Query language, sample store and the Prometheus HTTP API as a function.
