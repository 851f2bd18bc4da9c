//! The whole pipeline on one machine, in simulated time.

pub mod authority;
pub mod load;
