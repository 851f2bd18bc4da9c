//! GPU device model, counter catalogue and exposition.
