//! Query language, sample store and the Prometheus HTTP API as a function.

pub mod eval;
pub mod http;
pub mod labels;
pub mod number;
pub mod parser;
pub mod promqltest;
pub mod source;
pub mod store;
