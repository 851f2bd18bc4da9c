//! The whole pipeline on one machine, in simulated time.
