//! The `rheostat` program: one file for each command.
fn main() {}
