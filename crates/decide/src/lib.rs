//! The pure decision core: observations in, commands and explanations out.
//!
//! Nothing here reads a clock, a random source, the network or a file; time is
//! a parameter, and iteration order never depends on a hash.

pub mod budget;
pub mod cron;
pub mod explain;
pub mod fit;
pub mod formula;
pub mod hpa;
pub mod nodes;
pub mod scale;
pub mod victims;
